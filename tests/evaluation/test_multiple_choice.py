import gzip
import json
import math
from pathlib import Path

import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.core.meter import Meter
from trivium.evaluation.multiple_choice import MultipleChoice, brier, credit
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

SHARED = Path(__file__).parents[3] / "shared"


def test_every_normaliser_has_its_own_winner():
    """Two accented letters are two characters and four bytes: -7.4 / 7 and -8.0 / 8 against -7.4 / 11 and -8.0 / 8."""
    sums, options = [-7.4, -8.0], ["été été", "abcdefgh"]
    assert credit([x / len(o) for x, o in zip(sums, options, strict=True)], 1) == 1.0
    assert credit([x / len(o.encode()) for x, o in zip(sums, options, strict=True)], 1) == 0.0


def test_ties():
    numbers = [-1.0, -1.0, -2.0]
    assert [credit(numbers, answer, "shared") for answer in (0, 1, 2)] == [0.5, 0.5, 0.0]
    assert [credit(numbers, answer, "first") for answer in (0, 1, 2)] == [1.0, 0.0, 0.0]
    assert [credit(numbers, answer, "wrong") for answer in (0, 1, 2)] == [0.0, 0.0, 0.0]
    assert credit([-3.0, -1.0], 1, "wrong") == 1.0
    rounded = [-1.0, -1.0 + 1e-9]  # as near as single precision can tell
    assert credit(rounded, 0) == 0.5
    assert credit(rounded, 0, "first") == 0.0


def test_brier_by_hand():
    assert brier([math.log(0.5), math.log(0.25), math.log(0.25)], 0) == pytest.approx(0.25 + 2 * 0.0625)
    assert brier([-1000.0, 0.0], 0) == pytest.approx(2.0)
    assert brier([-5.0, -5.0], 1) == pytest.approx(0.5)


class Bytes(Uniform):
    """The next byte depends on the last one by a fixed random table."""

    def __init__(self) -> None:
        super().__init__()
        self.law = torch.randn(259, 259, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)

    def run(self, ids, **given):
        out = super().run(ids, **given)
        return type(out)(self.law[ids], out.hidden)


def test_equals_a_slow_loop_over_questions_and_choices():
    task, tokenizer, model = MultipleChoice(), ByteTokenizer(), Bytes()
    made = System(model, tokenizer, "bytes")
    for example, question in zip(task.examples("test")[:6], task.questions("test"), strict=False):
        seen = task.score(made, example).values
        ways = {"accuracy": [], "per_character": [], "per_byte": [], "per_token": [], "pmi": []}
        for option in question.options:
            text = f" {option}".encode()

            def cost(before, text=text):
                return sum(float(model.law[a, b]) for a, b in zip([before, *text[:-1]], text, strict=True))

            total = cost(question.question.encode()[-1])
            ways["accuracy"].append(total)
            ways["per_character"].append(total / len(option))
            ways["per_byte"].append(total / len(option.encode()))
            ways["per_token"].append(total / len(text))
            ways["pmi"].append(total - cost(tokenizer.bos))
        for name, numbers in ways.items():
            assert seen[name] == credit(numbers, question.answer), name
        assert seen["brier"] == pytest.approx(brier(ways["accuracy"], question.answer))
        assert seen["tied"] == 0.0


def test_a_model_without_an_opinion_has_no_full_marks():
    """Where all choices are equally long, a uniform model ties, and is given its share."""
    task = MultipleChoice()
    tied = [(e, q) for e, q in zip(task.examples("test"), task.questions("test"), strict=True)]
    for example, question in tied:
        lengths = [len(option) for option in question.options]
        seen = task.score(system(), example).values
        best = [at for at, length in enumerate(lengths) if length == min(lengths)]
        assert seen["tied"] == float(len(best) > 1)
        assert seen["accuracy"] == (1 / len(best) if question.answer in best else 0.0)


def test_a_split_is_scored_together_and_once():
    task, made = MultipleChoice(), System(Bytes(), ByteTokenizer(), "bytes")
    with Meter() as meter:
        for example in task.examples("test"):
            task.score(made, example)
    once = meter.spent.calls
    with Meter() as meter:
        task.score(System(Bytes(), ByteTokenizer(), "other"), task.examples("test")[3])
    assert meter.spent.calls == once


def test_splits_of_a_file_and_bad_settings(tmp_path):
    path = tmp_path / "some.jsonl"
    rows = [{"goal": f"{n}", "sol1": "walk", "sol2": "stand", "label": n % 2} for n in range(10)]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = MultipleChoice(str(path), "piqa", items=4)
    assert [e.text for e in task.examples("test")] == [f"Question: {n}\nAnswer:" for n in range(4)]
    assert [e.text for e in task.examples("validation")] == ["Question: 4\nAnswer:", "Question: 5\nAnswer:"]
    assert len(MultipleChoice(str(path), "piqa").examples("test")) == 10
    with pytest.raises(ValueError, match="the splits are 'validation' and 'test', got 'train'"):
        task.examples("train")
    for changed, said in (
        ({"ties": "half"}, "ties must be one of shared, first, wrong; got 'half'"),
        ({"form": "quiz"}, "form must be one of aqua, .*; got 'quiz'"),
        ({"items": 0}, "items must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            MultipleChoice(**changed)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "path", "form"), [("openbookqa", "openbookqa/validation.jsonl", "openbookqa")])
def test_the_harness_s_accuracies(name, path, form):
    vectors = SHARED / "vectors" / "lm_eval" / f"sh_{name}.jsonl.gz"
    if not vectors.exists():
        pytest.skip(f"{vectors} is not here")
    with gzip.open(vectors, "rt", encoding="utf-8") as file:
        told = [json.loads(line)["metrics_bs8"] for line in file][:20]
    smol = load("smollm2-135m", dtype="bfloat16")
    smol.model.float()
    task = MultipleChoice(str(SHARED / "data" / path), form, items=20)
    names = {"acc": "accuracy", "acc_norm": "per_character", "acc_bytes": "per_byte", "acc_mutual_info": "pmi"}
    for example, theirs in zip(task.examples("test"), told, strict=True):
        seen = task.score(smol, example).values
        assert {name: seen[names[name]] for name in theirs} == theirs
