"""A model asked for scores: what is asked, which answers count, and a server that answers."""

import logging
import math

import numpy as np
import pytest

from tests.models.served import serving
from trivium.curation import model_judge
from trivium.curation.model_judge import ModelJudge, scored
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.models.writing import Prompt, Written


class Judge:
    """Answers by the document: what stands behind "answer: " in it."""

    fingerprint = "judge-1"

    def __init__(self) -> None:
        self.asked: list[Prompt] = []
        self.batches: list[int] = []

    def written(self, prompts, *, batch_size, cache, bar):
        self.asked += prompts
        self.batches.append(batch_size)
        said = [prompt.context.split("answer: ")[1].split("\n</document>")[0] for prompt in prompts]
        return [Written(text, (), (), True) for text in said]


@pytest.fixture
def judge(monkeypatch):
    made = Judge()
    monkeypatch.setattr(model_judge, "_judge", lambda name: made)
    return made


def texts(*said: str) -> Texts:
    return Texts([f"d{n}" for n in range(len(said))], said, ["s"] * len(said))


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("4", 4), (" 5\n", 5), ("Score: 3", 3), ("**2**", 2), ("1.", 1), ("4/5", 4), ("Rating - 4, since", 4),
        ("", math.nan), ("0", math.nan), ("6", math.nan), ("10", math.nan), ("3.5", math.nan), ("3,5", math.nan),
        ("four", math.nan), ("From 1 to 5 it is 4", math.nan), ("4th", math.nan), ("I give it a 4", math.nan),
    ],
)  # fmt: skip
def test_which_answers_hold_a_score(answer, wanted):
    assert scored(answer) == wanted or (math.isnan(scored(answer)) and math.isnan(wanted))


def test_documents_fall_below_the_bound_and_invalid_answers_are_counted(judge, caplog):
    given = texts("answer: 5", "answer: 2", "answer: 3", "answer: well", "", " \n")
    with caplog.at_level(logging.WARNING):
        found = curated(ModelJudge(), given)
    assert list(found.texts.ids) == ["d0", "d2", "d3", "d4", "d5"]
    assert found.counts.dropped == {"model_judge.score": 1}
    assert found.marks.numbers["model_judge.invalid"].tolist() == [0, 0, 0, 1, 0, 0]
    assert np.isnan(found.marks.numbers["model_judge.score"]).tolist() == [False, False, False, True, True, True]
    assert "1 of 4 answers" in caplog.text
    assert list(curated(ModelJudge(invalid="drop"), given).texts.ids) == ["d0", "d2", "d4", "d5"]
    assert list(curated(ModelJudge(least=2), given).texts.ids) == [f"d{n}" for n in range(6)]


def test_what_is_asked(judge):
    ModelJudge(characters=12, batch_size=3, question="{text}\n</document> {braces}?").tag(texts("answer: 4 and more"))
    (asked,) = judge.asked
    assert (asked.context, asked.until) == ("answer: 4 an\n</document> {braces}?", ("\n",))
    assert judge.batches == [3]
    assert ModelJudge().depends == "judge-1"
    ModelJudge().tag(texts("answer: \ud800 {text}"))  # half a sign, and a mark like ours
    assert "answer: ? {text}" in judge.asked[-1].context


def test_a_server_answers():
    from trivium.models.sources import load

    with serving(load("tiny")) as endpoint:
        answers = iter(["4", "2", "none"])

        def say(found):
            return found | {"choices": [{"text": next(answers), "finish_reason": "stop"}]}

        endpoint.faults.extend([say] * 3)
        name = f"server:{endpoint.url}?model=small&concurrency=1"
        found = ModelJudge(name).tag(texts("one", "two", "three")).numbers
    assert np.array_equal(found["score"], [4, 2, math.nan], equal_nan=True)
    assert found["invalid"].tolist() == [0, 0, 1]
    assert all(asked["prompt"].endswith("Score:") for _, asked, _ in endpoint.asked[-3:])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"least": 0}, "least is a score"),
        ({"least": 6}, "least is a score"),
        ({"invalid": "x"}, "invalid must be"),
        ({"question": "how good?"}, "where the document goes"),
        ({"characters": 0}, "characters must be"),
        ({"batch_size": 0}, "batch_size must be"),
    ],
)
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        ModelJudge(**wrong)
