"""The examples that a page carries: as many as it can hold, evenly taken, with long texts cut and counted."""

from collections.abc import Iterable, Mapping
from typing import Any

from trivium.compare._report import wording
from trivium.compare._report.columns import leading, titles
from trivium.compare._report.markup import Fragment

Report = Mapping[str, Any]
Example = Mapping[str, Any]

EXAMPLE_BYTES = 4_000_000
"""About how much text of examples a page carries; beyond it the page holds an even sample and says so."""
SHOWN_VALUES = 4
"""Measures beside each output."""
TEXT_LIMIT = 20_000
"""Characters of one prompt or output that a page shows; beyond it the page says how many are left out."""


def kept(report: Report) -> list[Example]:
    """All examples where they fit, else an even sample over the groups in their own order; an example keeps all its
    seeds."""
    examples = report.get("examples") or []
    groups: dict[str, dict[str, list[int]]] = {}
    for index, example in enumerate(examples):
        group = groups.setdefault(str(example.get("group") or ""), {})
        group.setdefault(str(example.get("id", index)), []).append(index)
    queues = [list(items.values()) for items in groups.values()]
    chosen: list[int] = []
    room = EXAMPLE_BYTES
    for turn in range(max(map(len, queues), default=0)):
        for indices in (queue[turn] for queue in queues if turn < len(queue)):
            room -= sum(_weight(examples[index]) for index in indices)
            if room < 0 and chosen:
                return [examples[index] for index in sorted(chosen)]
            chosen += indices
    return [examples[index] for index in sorted(chosen)]


def data(report: Report) -> dict[str, Any]:
    """What the page's script shows."""
    names = [contender["name"] for contender in report["contenders"]]
    shown = kept(report)
    outputs = [output for example in shown for output in (example.get("outputs") or {}).values()]
    scales = {name: wording.measure_scale([_values(output).get(name) for output in outputs]) for name in titles(report)}
    told = {name: titles(report)[name] for name in leading(report)[:SHOWN_VALUES]}
    homes = {name: label for label, task in (report.get("tasks") or {}).items() for name in task["measures"]}
    if homes:  # of several tasks, the measures of the example's own
        told = {name: titles(report)[name].removeprefix(f"{label}: ") for name, label in homes.items()}
    kinds = {str(span.get("kind", "plain")) for output in outputs for span in output.get("spans") or ()}
    items = []
    for index, example in enumerate(shown):
        prompt = str(example.get("prompt") or "")
        items.append(
            {
                "id": str(example.get("id", index)),
                "group": str(example.get("group") or ""),
                "seed": str(example.get("seed", "")),
                "prompt": prompt[:TEXT_LIMIT],
                "left": max(0, len(prompt) - TEXT_LIMIT),
                "outputs": {
                    names.index(name): _output(output, told, scales)
                    for name, output in (example.get("outputs") or {}).items()
                    if name in names
                },
            }
        )
    return {"contenders": names, "kinds": sorted(kinds - {"plain"}), "items": items}


def _output(output: Mapping[str, Any], names: Mapping[str, str], scales: Mapping[str, wording.Scale]) -> dict[str, Any]:
    text, values = str(output.get("text") or ""), _values(output)
    return {
        "spans": _runs(text, output.get("spans") or ()),
        "left": max(0, len(text) - TEXT_LIMIT),
        "values": [[names[n], scales[n](values[n])] for n in names if wording.finite(values.get(n)) is not None],
        "choices": _choices(output),
        "copies": [[str(name), str(text)[:TEXT_LIMIT]] for name, text in output.get("copies") or ()],
        "fragment": Fragment(str(output["html"])).nodes if output.get("html") else None,
        "error": str(output.get("error") or ""),
    }


SHADES = (0.05, 0.25, 0.7, 2.0, 5.0)
"""Nats that a token costs, where the shade grows darker."""


def _choices(output: Mapping[str, Any]) -> list[list[Any]]:
    """[right, taken, sum, [[text, cost, shade], ...]] of each choice, and of a text that was written."""
    found = []
    written = output.get("tokens")
    for choice in [*(output.get("choices") or ()), *([{"tokens": written}] if written else [])]:
        tokens = [[str(text), round(float(x), 2), sum(-x > edge for edge in SHADES)] for text, x in choice["tokens"]]
        total = wording.Scale(decimals=2)(sum(x for _, x, _ in tokens))
        found.append([bool(choice.get("right")), bool(choice.get("taken")), total, tokens])
    return found


def _values(output: Mapping[str, Any]) -> Mapping[str, Any]:
    return output.get("values") or {}


def _runs(text: str, spans: Iterable[Mapping[str, Any]]) -> list[list[str]]:
    """[kind, text] runs of at most TEXT_LIMIT characters; plain neighbours are joined."""
    runs: list[list[str]] = []
    room = TEXT_LIMIT
    for span in spans or [{"kind": "plain", "text": text}]:
        kind, piece = str(span.get("kind", "plain")), str(span.get("text", ""))[:room]
        room -= len(piece)
        if piece and runs and runs[-1][0] == kind == "plain":
            runs[-1][1] += piece
        elif piece:
            runs.append([kind, piece])
    return runs


def _weight(example: Example) -> int:
    """About the bytes of an example within the page."""
    outputs = (example.get("outputs") or {}).values()
    texts = [example.get("prompt"), *(output.get("text") for output in outputs)]
    told = sum(30 * len(choice["tokens"]) for out in outputs for choice in out.get("choices") or ())
    marked = told + sum(16 * len(output.get("spans") or ()) + len(str(output.get("html") or "")) for output in outputs)
    return sum(min(len(str(text or "")), TEXT_LIMIT) for text in texts) + marked + 200
