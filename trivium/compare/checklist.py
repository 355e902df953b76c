"""Questions that a reader may ask of any evaluation, from surveys of the field, and what a run answers to each.

What the run does not say is printed as missing: it is for whoever publishes the numbers to fill in.
"""

from collections.abc import Mapping
from typing import Any

Answer = dict[str, Any]
"""{"topic", "question", "answer": text, empty where it is missing}."""


def checklist(shown: Mapping[str, Any], report: Mapping[str, Any]) -> list[Answer]:
    """From what was asked (``comparison.json``'s "shown") and the report: ten topics, several questions each."""
    models = [entry.get("facts", {}) for entry in report["contenders"]]
    tasks = report["tasks"]
    said = lambda key: _join(f"{label}: {task['said'][key]}" for label, task in tasks.items() if _says(task, key))  # noqa: E731
    of = lambda key: _join(f"{facts['name']}: {facts[key]}" for facts in models if facts.get(key))  # noqa: E731
    measures = {measure["name"]: measure["title"] for measure in report["measures"]}
    spent = [entry["spent"] for entry in report["contenders"] if entry["spent"]]
    provenance, statistics = report["provenance"], report["statistics"]
    pairs = [pair for pair in report["pairs"] if pair.get("detectable")]
    cost = lambda unit: _join(f"{s[unit]['total']:,.4g}" for s in spent if "total" in s.get(unit, {}))  # noqa: E731
    rows = [
        ("data", "What is asked, and from where?", _join(f"{at}: {task['config']}" for at, task in tasks.items())),
        ("data", "How many examples, and which split?", f"test; {_join(_counted(tasks))}"),
        ("data", "Are the examples those that were meant?", f"SHA-256 {provenance['examples']}"
         if provenance.get("examples") else ""),
        ("data", "Under which licence?", said("licence")),
        ("data", "Were they seen in training (contamination)?", said("contamination")),
        ("data", "In which languages?", said("language")),
        ("model", "Which weights?", of("fingerprint")),
        ("model", "In which number format?", of("dtype")),
        ("model", "Which tokenizer?", of("tokenizer")),
        ("model", "How long a context?", of("context")),
        ("model", "With a chat template?", said("chat")),
        ("task", "What sort of task is each?", said("sort")),
        ("task", "By which measure, and why that one?", _join(measures[name] for name in report["leading"])),
        ("prompt", "What exactly was the model given?", "every prompt is in records.jsonl and on the report page"),
        ("prompt", "Which examples in the prompt, in which order?", said("examples")),
        ("prompt", "How many formats were tried?", said("formats")),
        ("decoding", "With which settings and stop rules?", said("decoding")),
        ("baselines", "What would chance or the majority reach?", said("chance")),
        ("baselines", "What does a simple or a tuned small model reach?", said("simple")),
        ("uncertainty", "With which intervals and tests?",
         _join([*statistics["interval"], *statistics["test"]]) or "intervals over clusters of examples"),
        ("uncertainty", "For how many comparisons were they corrected?",
         statistics["family"] if len(report["contenders"]) > 1 else "none: a single model"),
        ("uncertainty", "How large a difference would have been seen?",
         _join(f"{measures[p['measure']]} {p['detectable']:.3g}" for p in pairs[:12])),
        ("safety", "Is it biased, toxic, private?", _join(_measured(report, ("bias", "stereotype", "toxic", "fair")))),
        ("efficiency", "How many tokens were read?", cost("positions")),
        ("efficiency", "How many seconds?", cost("seconds")),
        ("efficiency", "How much memory?", cost("peak_bytes")),
        ("limits", "What does the result not show?", said("limits")),
    ]  # fmt: skip
    return [{"topic": topic, "question": question, "answer": answer} for topic, question, answer in rows]


def missing(answers: list[Answer]) -> list[Answer]:
    """Those without an answer."""
    return [one for one in answers if not one["answer"]]


def _join(parts: Any) -> str:
    return "; ".join(str(part) for part in parts)


def _says(task: Mapping[str, Any], key: str) -> bool:
    return bool((task.get("said") or {}).get(key))


def _counted(tasks: Mapping[str, Any]) -> list[str]:
    return [f"{label} {task['examples']}" for label, task in tasks.items() if "examples" in task]


def _measured(report: Mapping[str, Any], words: tuple[str, ...]) -> list[str]:
    have = {name for entry in report["contenders"] for name in entry["measures"]}
    return [
        one["title"] for one in report["measures"] if one["name"] in have and any(word in one["name"] for word in words)
    ]
