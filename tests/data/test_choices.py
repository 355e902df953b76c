"""Multiple-choice questions: made ones and those of a file."""

import json
from pathlib import Path

import pytest

from trivium.data.choices import KINDS, Choice, made, read

CSQA = Path(__file__).parents[3] / "shared" / "data" / "commonsense_qa" / "validation.jsonl"


def test_made_questions_have_one_right_answer_and_splits_are_apart():
    test, validation = made("test"), made("validation")
    assert (len(test), len(validation)) == (40, 20)
    assert not {one.id for one in test} & {one.id for one in validation}
    for one in (*test, *validation):
        words = KINDS[one.group].split()
        assert [option in words for option in one.options] == [place == one.answer for place in range(5)]
    places = [one.answer for one in test]
    assert [places.count(place) for place in range(5)] == [8] * 5  # no place gives the answer away
    with pytest.raises(ValueError, match="splits"):
        made("train")


def test_every_word_is_of_one_kind():
    words = [word for kind in KINDS.values() for word in kind.split()]
    assert len(words) == len(set(words)) == 100


def line(**changes):
    entry = {"id": "q", "question": "Which?", "choices": {"label": ["A", "B"], "text": ["x", "y"]}, "answerKey": "B"}
    return json.dumps(entry | changes)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(line() + "\n\n" + line(id="r", answerKey="A") + "\n")
    assert read(path) == (Choice("q", "Which?", ("x", "y"), 1), Choice("r", "Which?", ("x", "y"), 0))


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        line(answerKey="C"),
        line(choices={"label": ["A", "B"], "text": ["x"]}),
        line(choices={"label": ["A"], "text": ["x"]}, answerKey="A"),
        line(choices={"label": ["A", "B"], "text": ["x", " "]}),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad):
    path = tmp_path / "q.jsonl"
    path.write_text(line() + "\n" + bad + "\n")
    with pytest.raises(ValueError, match="line 2 is no multiple-choice question"):
        read(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no question"):
        read(path)


@pytest.mark.skipif(not CSQA.is_file(), reason="CommonsenseQA is not beside the checkout")
def test_commonsense_qa_is_read():
    found = read(CSQA)
    assert len(found) == 1221
    assert {len(one.options) for one in found} == {5}
    assert found[0].options[found[0].answer] == "bank"
