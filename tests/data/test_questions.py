"""Questions are put as the harness puts them, and files that are no questions are named by line."""

import gzip
import json
from pathlib import Path

import pytest

from trivium.data.questions import FORMS, made, read

SHARED = Path(__file__).parents[3] / "shared"
FILES = {
    "arc_easy": ("arc/arc_easy_validation.jsonl", "arc"),
    "blimp_adjunct_island": ("blimp/adjunct_island.jsonl.gz", "blimp"),
    "commonsense_qa": ("commonsense_qa/validation.jsonl", "commonsense_qa"),
    "hellaswag": ("hellaswag/validation_part.jsonl", "hellaswag"),
    "openbookqa": ("openbookqa/validation.jsonl", "openbookqa"),
    "piqa": ("piqa/validation.jsonl", "piqa"),
    "sciq": ("sciq/validation.jsonl", "sciq"),
}


@pytest.mark.parametrize("name", FILES)
def test_questions_are_put_as_the_harness_puts_them(name):
    path, form = FILES[name]
    vectors = SHARED / "vectors" / "lm_eval" / f"sh_{name}.jsonl.gz"
    if not vectors.exists():
        pytest.skip(f"{vectors} is not here")
    with gzip.open(vectors, "rt", encoding="utf-8") as file:
        told = [json.loads(line) for line in file]
    asked = read(SHARED / "data" / path, form)
    for one, item in zip(asked, told, strict=False):
        requests = [(each["context"], each["continuation"]) for each in item["requests"] if not each["unconditional"]]
        assert [(one.question, f" {option}") for option in one.options] == requests
        gold = item["gold"] if isinstance(item["gold"], int) else one.options.index(item["gold"])
        assert one.answer == gold


def test_our_own_questions():
    one = made("test")[0]
    assert one.question.startswith("Question: Which of these is an animal?\nAnswer:")
    assert len(made("test")) == 40
    assert len(one.options) == 5


ROWS = {
    "arc": {"question": "Which?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"},
    "blimp": {"sentence_good": "It is.", "sentence_bad": "It are.", "UID": "agreement"},
    "piqa": {"goal": "To go", "sol1": "walk", "sol2": "stand", "label": 0},
}


@pytest.mark.parametrize("form", ROWS)
def test_lines_that_are_not_of_a_form_are_named(form, tmp_path):
    path = tmp_path / "some.jsonl"
    broken = {**ROWS[form]}
    broken.pop(next(iter(broken)))
    path.write_text(json.dumps(ROWS[form]) + "\n\n" + json.dumps(broken) + "\n")
    with pytest.raises(ValueError, match=rf"some.jsonl, line 3 is no question in the form of {form}"):
        read(path, form)
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no question"):
        read(path, form)
    with pytest.raises(ValueError, match=f"no form is called 'quiz'; there are {', '.join(FORMS)}"):
        read(path, "quiz")


def test_a_pair_of_equal_sentences_is_refused(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({**ROWS["blimp"], "sentence_bad": "It is."}))
    with pytest.raises(ValueError, match=r"line 1 .*both sentences are"):
        read(path, "blimp")


def test_an_answer_that_is_none_of_the_choices_is_refused(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text(json.dumps({**ROWS["piqa"], "label": 2}))
    with pytest.raises(ValueError, match="is option 2 of 2"):
        read(path, "piqa")
