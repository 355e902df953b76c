"""What the prompting claims share: questions with their options in eight orders, put to one model."""

from pathlib import Path
from typing import Any

from trivium.core.progress import Bar
from trivium.core.protocols import Prompting
from trivium.core.seeds import generator
from trivium.evaluation.order_sensitivity import OrderSensitivity
from trivium.models.sources import load

CSQA = Path(__file__).resolve().parents[3] / "shared" / "data" / "commonsense_qa" / "validation.jsonl"


def task() -> OrderSensitivity:
    """60 questions of CommonsenseQA where the file is beside the checkout, else the 40 built-in ones."""
    return OrderSensitivity(path=str(CSQA)) if CSQA.is_file() else OrderSensitivity()


def source() -> str:
    return "CommonsenseQA, validation" if CSQA.is_file() else "built-in questions"


def asked(prompting: Prompting, bar: Bar) -> dict[str, Any]:
    """Per question whether its answer changes, the largest change of a log-probability, and whether it is right in
    each order; and the accuracy of each order over all questions."""
    questions, system = task(), load("smollm2-135m")
    put = prompting(questions, system, generator=generator(0, "claim"))
    changed, spread, right = [], [], []
    for example in questions.examples("test"):
        seen = questions.score(system, example, put)
        options, answer = example.fields["options"], example.fields["answer"]
        changed.append(seen.values["changed"])
        spread.append(seen.values["spread"])
        right.append([float(options[place] == options[answer]) for place in seen.shown["chosen"]])
        bar.advance(1)
    accuracies = [sum(column) / len(column) for column in zip(*right, strict=True)]
    return {"changed": changed, "spread": spread, "right": right, "accuracies": accuracies}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
