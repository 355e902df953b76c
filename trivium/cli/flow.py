"""``trivium flow``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.core.files import write
from trivium.core.meter import Meter
from trivium.core.progress import progress
from trivium.core.provenance import provenance
from trivium.data.spans import Span, find_span
from trivium.evaluation._flow import Asked, Sweep, ask, pairs_of
from trivium.evaluation._flow_page import HEADS, Shown, numbers, sentences, to_html
from trivium.evaluation.information_flow import InformationFlow, sweep
from trivium.models.sources import load
from trivium.models.system import System


@dataclass(frozen=True)
class Command:
    """Show in which layers some words of a prompt tell others what the answer needs: attention is cut between them, in
    one window of layers after another.

    Example: trivium flow "When Mary and John went to the store, John gave a drink to" --answer " Mary" --span
    receiver=Mary giver:1=John --flow "receiver->last" "giver->last" --html runs/flow.html

    A span is a name and a piece that occurs in the text once; write name:2=piece for where it occurs the second time.
    "last", the last position, and "rest", all that has no name, are there in every prompt.

    Without a text or --prompts, it asks prompts of our own that name two people, and one of them again; their spans are
    "indirect" (the answer's first mention), "subject" and "again".
    """

    text: Positional[str | None] = None
    """The text before the answer."""
    answer: str | None = None
    """What should come next, with the space before it; its first token counts. By default what the model says."""
    span: tuple[str, ...] = ()
    """Named pieces of the text, such as subject=Mary."""
    prompts: Path | None = None
    """A file with a prompt on each line, as JSON: {"text": ..., "answer": ..., "spans": {"subject": "Mary"}}; a span is
    a piece that occurs once, or two places in characters, [5, 9]."""
    flow: tuple[str, ...] = ()
    """What is cut, as source->target; by default every named span to the last position."""
    window: int = 9
    """Layers that are cut at once, around each layer in turn."""
    heads: tuple[int, ...] | None = None
    """Heads that are cut in these layers; all by default."""
    renormalize: bool = True
    """Whether the softmax gives others what the source would have got; otherwise it goes to nobody."""
    all: bool = False
    """Count prompts too that the model does not answer right."""
    least: float = 0.0
    """Count only prompts whose answer has this probability at least."""
    items: int = 24
    """How many prompts of our own, or of the file at most."""
    model: str = "smollm2-135m"
    """A folder, a known name or a hub identifier."""
    html: Path | None = None
    """Also write a page with the curves that works offline."""
    batch_size: int = 32
    """Rows per pass."""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Precision of the weights."""
    device: str = "cpu"
    """Where the model runs, such as cpu, cuda or cuda:1."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        if self.text is not None and self.prompts is not None:
            raise ValueError("give either a text or --prompts")
        if self.text is None and (self.span or self.answer is not None):
            raise ValueError("--span and --answer belong to a text; prompts of a file bring their own")
        if self.items < 1:
            raise ValueError(f"--items must be at least 1, got {self.items}")
        if self.window < 1:
            raise ValueError(f"--window must hold at least one layer, got {self.window}")
        asked: list[tuple[Asked, Shown]] = []
        lines = self._lines()
        system = load(self.model, dtype=self.dtype, device=self.device)
        for name, text, answer, spans in lines:
            answer = self._said(system, text) if answer is None else answer
            asked.append((ask(system, text, answer, spans, name), Shown(text, _places(spans), answer)))
        named = list(dict.fromkeys(name for _, shown in asked for name in shown.spans))
        flows = pairs_of(self.flow or [(name, "last") for name in named])
        with Meter() as meter, progress("cutting attention", len(asked)) as bar:
            found = sweep(
                system.model,
                [one for one, _ in asked],
                flows,
                window=self.window,
                heads=self.heads,
                renormalize=self.renormalize,
                answered=not self.all,
                least=self.least,
                batch_size=self.batch_size,
                bar=bar,
            )
        facts = {"model": system.name, "window": f"{self.window} layers", **self._cut()}
        if self.html is not None:
            kept = [shown for (_, shown), keep in zip(asked, found.kept.tolist(), strict=True) if keep]
            write(self.html, to_html(found, title=self._title(flows), facts=facts, prompts=kept))
        if self.json:
            print_json(
                {
                    "model": system.name,
                    "fingerprint": system.fingerprint,
                    "window": self.window,
                    "heads": self.heads,
                    "renormalize": self.renormalize,
                    "prompts": [
                        {"name": name, "probability": p, "answered": right, "counted": keep}
                        for name, p, right, keep in zip(
                            found.names,
                            found.plain.exp().tolist(),
                            found.answered.tolist(),
                            found.kept.tolist(),
                            strict=True,
                        )
                    ],
                    "windows": found.rows(),
                    "spent": meter.spent.to_dict(),
                    "provenance": provenance(),
                }
            )
            return 0
        self._print(found, system)
        return 0

    def _print(self, found: Sweep, system: System) -> None:
        out = console()
        for flow in found.flows:
            shown = table(*HEADS, title=f"{system.name}: {flow.source} → {flow.target}")
            for row in flow.rows():
                shown.add_row(*numbers(row))
            out.print(shown)
            out.print()
        for line in sentences(found):
            out.print(line, markup=False)
        if any(window.clipped for flow in found.flows for window in flow.windows):
            out.print("* the window reaches over an end of the model, so fewer layers are cut", style="dim")
        if self.html is not None:
            out.print(f"page: {self.html}", style="dim", markup=False)

    def _lines(self) -> list[tuple[str, str, str | None, dict[str, Span]]]:
        """Name, text, answer and spans of each prompt, all checked before a model is loaded."""
        if self.text is not None:
            spans = dict(_named(self.text, each) for each in self.span)
            if len(spans) < len(self.span):
                raise ValueError(f"each span needs a name of its own; got {', '.join(self.span)}")
            if not spans:
                raise ValueError("name at least one piece of the text, such as --span subject=Mary")
            return [("prompt", self.text, self.answer, spans)]
        if self.prompts is not None:
            return _read(self.prompts, self.items)
        made = []
        for one in InformationFlow(items=self.items).examples("test"):
            spans = {n: Span(one.text, *one.fields["spans"][n]) for n in ("indirect", "subject", "again")}
            made.append((one.id, one.text, one.fields["answer"], spans))
        return made

    def _said(self, system: System, text: str) -> str:
        token = int(system.model(system.prompt(text), logits_to_keep=1).logits[0, -1].argmax())
        return system.tokenizer.decode([token])

    def _cut(self) -> dict[str, str]:
        found = {} if self.heads is None else {"heads": ", ".join(map(str, self.heads))}
        return found | ({} if self.renormalize else {"weights": "taken out after the softmax"})

    def _title(self, flows: list[tuple[str, str]]) -> str:
        return "Information flow: " + ", ".join(f"{source} → {target}" for source, target in flows)


def _named(text: str, written: str) -> tuple[str, Span]:
    """'subject=Mary', or 'subject:2=Mary' for where it occurs the second time."""
    name, equals, piece = written.partition("=")
    name, colon, number = name.strip().partition(":")
    if not (name and equals and piece) or (colon and not number.strip().isdecimal()):
        raise ValueError(f"a span is written name=piece or name:2=piece, such as subject=Mary; got {written!r}")
    try:
        return name, find_span(text, piece, which=int(number) if colon else None)
    except ValueError as error:
        more = "" if colon else f", such as --span {name}:1={piece}"
        raise ValueError(f"span {name!r}: {error}{more if 'say which one' in str(error) else ''}") from None


def _places(spans: Mapping[str, Span]) -> dict[str, tuple[int, int]]:
    return {name: (span.start, span.stop) for name, span in spans.items()}


def _read(path: Path, most: int) -> list[tuple[str, str, str | None, dict[str, Span]]]:
    """The prompts of a file. Raises ValueError with the line that is wrong."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            given: Any = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where}: no JSON: {error}") from None
        if not (isinstance(given, dict) and isinstance(given.get("text"), str)):
            raise ValueError(f'{where}: a prompt is an object such as {{"text": ..., "answer": ..., "spans": {{...}}}}')
        answer, spans = given.get("answer"), given.get("spans")
        if not (isinstance(answer, str | None) and isinstance(spans, dict) and spans):
            raise ValueError(f'{where}: it needs "spans" with at least one name, and an "answer" that is text')
        try:
            pieces = {name: _piece(given["text"], piece) for name, piece in spans.items()}
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from None
        found.append((str(given.get("name", f"line {number}")), given["text"], answer, pieces))
    if not found:
        raise ValueError(f"{path} holds no prompt")
    return found[:most]


def _piece(text: str, given: object) -> Span:
    if isinstance(given, str):
        return find_span(text, given)
    if isinstance(given, list) and len(given) == 2 and all(isinstance(at, int) for at in given):
        return Span(text, *given)
    raise ValueError(f"a span is a piece of the text or two numbers, such as [5, 9]; got {given!r}")
