"""The harness's own decisions: its tasks, declared in its words, asked of the same weights."""

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.evaluation.harness_task import HarnessTask
from trivium.evaluation.stats.verdicts import Verdict
from trivium.models.sources import load

SHARED = Path(__file__).resolve().parents[3] / "shared"
ITEMS = 50
CLOSE = 1e-3
"""Nats by which the harness's best two scores must differ for its decision to be one: it rounds in float32."""

FORMS = {
    "arc_easy": (
        "arc/arc_easy_validation.jsonl",
        {
            "doc_to_text": "Question: {{question}}\nAnswer:",
            "doc_to_choice": "{{choices.text}}",
            "doc_to_target": "{{choices.label.index(answerKey)}}",
        },
    ),
    "piqa": (
        "piqa/validation.jsonl",
        {
            "doc_to_text": "Question: {{goal}}\nAnswer:",
            "doc_to_choice": "{{[sol1, sol2]}}",
            "doc_to_target": "{{label}}",
        },
    ),
    "openbookqa": (
        "openbookqa/validation.jsonl",
        {
            "doc_to_text": "question_stem",
            "doc_to_choice": "{{choices.text}}",
            "doc_to_target": "{{choices.label.index(answerKey)}}",
        },
    ),
    "hellaswag": (
        "hellaswag/validation_part.jsonl",
        {"doc_to_text": "query", "doc_to_choice": "choices", "doc_to_target": "{{gold}}"},
    ),
}


def run(bar: Bar) -> ClaimResult:
    """Per set: items asked, decisions that differ, and the largest difference of a log-probability."""
    vectors = SHARED / "vectors" / "lm_eval"
    if not vectors.is_dir():
        return ClaimResult("not visible at this scale", {}, "the harness's records are not beside the checkout")
    system = load("smollm2-135m", dtype="bfloat16")
    system.model.float()
    bar.total = len(FORMS)
    figures: dict[str, Any] = {}
    for name, (source, form) in FORMS.items():
        bar.note(name)
        with gzip.open(vectors / f"sh_{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            told = [json.loads(line) for _, line in zip(range(ITEMS), file, strict=False)]
        figures[name] = compared(system, form, SHARED / "data" / source, told)
        bar.advance()
    wrong = sum(len(found["differ"]) for found in figures.values())
    verdict: Verdict = "contradicted" if wrong else "supported"
    return ClaimResult(verdict, figures, "SmolLM2-135M-Instruct in the weights that the harness was given, float32.")


def compared(system: Any, form: dict[str, str], data: Path, told: list[dict[str, Any]]) -> dict[str, Any]:
    """Our task against what the harness wrote down of the same items."""
    metrics = sorted(told[0]["metrics_bs8" if "metrics_bs8" in told[0] else "metrics_bs1"])
    with TemporaryDirectory() as folder:
        path = Path(folder) / "task.yaml"
        path.write_text(
            json.dumps(  # which is YAML too
                {
                    "task": "asked",
                    "output_type": "multiple_choice",
                    "test_split": "test",
                    "metric_list": [{"metric": name} for name in metrics],
                    **form,
                }
            ),
            encoding="utf-8",
        )
        task = HarnessTask(str(path), data=str(data), items=len(told))
        seen = [task.score(system, example) for example in task.examples("test")]
    differ, undecided, largest = [], 0, 0.0
    for number, (ours, theirs) in enumerate(zip(seen, told, strict=True)):
        batch = "bs1" if "ll_bs1" in theirs else "bs8"
        scores = theirs[f"ll_{batch}"]
        mine = [float(answer[0][0]) for answer in ours.shown["samples"][0]["resps"]]
        largest = max(largest, *(abs(a - b) for a, b in zip(mine, scores, strict=True)))
        for metric in metrics:
            if ours.values[metric] != theirs[f"metrics_{batch}"][metric]:
                best = sorted(scores[: len(theirs["requests"])], reverse=True)
                if metric == "acc" and best[0] - best[1] < CLOSE:
                    undecided += 1
                else:
                    differ.append([number, metric])
    return {
        "items": len(told),
        "accuracies": {name: sum(one.values[name] for one in seen) / len(seen) for name in metrics},
        "differ": differ,
        "too_close_to_decide": undecided,
        "largest_difference_nats": largest,
    }


claim = Claim(
    statement="Asked through the harness's declarations, a model makes the harness's own decisions, item by item.",
    paper="Biderman et al. 2024 (arXiv:2405.14782): scores depend on prompts, normalisation and implementation, so "
    "that they are comparable only where all of these are the same.",
    rule="On the first 50 items each of ARC-Easy, PIQA, OpenBookQA and HellaSwag every metric that the harness "
    "recorded is the same per item: supported. One that differs, unless the harness's best two scores lie within 0.001 "
    "nats: contradicted.",
    run=run,
)
