"""Items of evaluation sets as they are to be looked for: without what a form puts around them."""

import gzip
import json
from pathlib import Path

import pytest

from trivium.data.benchmark_items import read
from trivium.data.contamination import Item
from trivium.data.planted import items

DATA = Path(__file__).parents[3] / "shared" / "data"


def test_lines(tmp_path):
    path = tmp_path / "mine.jsonl.gz"
    rows = [{"id": 7, "question": "Who?", "answer": "She."}, {"text": "A text."}]
    path.write_bytes(gzip.compress("\n\n".join(map(json.dumps, rows)).encode()))
    assert read(str(path)) == [Item("mine.jsonl.gz", "7", "Who?", "She."), Item("mine.jsonl.gz", "3", "A text.")]
    for wrong in ("[1]", "{}", '{"question": 3}', "no json", '{"question": "a", "answer": 1}'):
        plain = tmp_path / "wrong.jsonl"
        plain.write_text('{"text": "a"}\n' + wrong)
        with pytest.raises(ValueError, match="line 2: expected an object"):
            read(str(plain))
    with pytest.raises(FileNotFoundError, match="FORM=PATH with a form of aqua, arc"):
        read("nowhere.jsonl")
    assert [item.question for item in read("planted")] == items(0)


def test_forms(tmp_path):
    path = tmp_path / "arc.jsonl"
    row = {
        "id": "q1",
        "question": "Why is it?",
        "answerKey": "B",
        "choices": {"text": ["no", "so"], "label": ["A", "B"]},
    }
    path.write_text(json.dumps(row))
    assert read(f"arc={path}") == [Item("arc.jsonl", "q1", "Why is it?", "so")]
    row = {"support": "It is so.", "question": "Is it?", "correct_answer": "yes"}
    path.write_text(json.dumps(row | {f"distractor{n}": f"no {n}" for n in (1, 2, 3)}))
    assert read(f"sciq={path}") == [Item("arc.jsonl", "arc-00001", "It is so.\nIs it?", "yes")]


def test_tasks_of_the_harness(tmp_path):
    (tmp_path / "data.jsonl").write_text(
        json.dumps({"q": "Why?", "options": ["no", "so"], "right": 1, "plain": "The whole."}) + "\n"
    )
    task = {"task": "mine", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": "data.jsonl"}},
            "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{q}}",
            "doc_to_choice": "options", "doc_to_target": "right"}  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(task))
    assert read(str(path)) == [Item("mine", "0", "Why?", "so")]
    path.write_text(json.dumps(task | {"should_decontaminate": True, "doc_to_decontamination_query": "plain"}))
    assert read(str(path)) == [Item("mine", "0", "The whole.", "")]


def test_real_files():
    path = DATA / "arc" / "arc_easy_validation.jsonl"
    if not path.exists():
        pytest.skip("the data are not there")
    found = read(f"arc={path}")
    assert len(found) == 570
    assert not any(item.question.startswith("Question") or item.question.endswith("Answer:") for item in found)
