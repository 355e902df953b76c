"""What a run does with wrong input: an error before anything is asked, or an exclusion that its tables count."""

import json
import logging

import pytest
import torch

from tests.compare.fakes import Uniform
from tests.models.made import folder
from trivium.architectures.llama import Llama
from trivium.compare.comparison import Comparison
from trivium.core.errors import NotFinite
from trivium.evaluation.battery import Battery
from trivium.evaluation.harness_task import HarnessTask
from trivium.evaluation.multiple_choice import MultipleChoice
from trivium.models.answers import AnswerCache
from trivium.models.saving import save
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

ROW = {"goal": "Jack rests", "sol1": "walk", "sol2": "stand", "label": 1}


class Unasked(Uniform):
    """A model that nothing may be asked of."""

    def run(self, ids, **given):
        raise AssertionError("it was asked")


def unasked():
    return System(Unasked(), ByteTokenizer(), "unasked")


def asked(task, made):
    return [task.score(made, example) for example in task.examples("test")]


def choices(place, *rows, **settings):
    path = place / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return MultipleChoice(str(path), "piqa", **settings)


def declared(place, rows, **changed):
    (place / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "task": "t", "output_type": "multiple_choice", "test_split": "test", "doc_to_text": "{{goal}}",
        "doc_to_choice": "{{[sol1, sol2]}}", "doc_to_target": "label", **changed,
    }  # fmt: skip
    (place / "t.yaml").write_text(json.dumps(config))
    return HarnessTask(str(place / "t.yaml"), data=str(place / "rows.jsonl"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": 2}, "option 2 of 2|the right answer is 2, which is none of 2 choices"),
        ({"label": -1}, "option -1 of 2|the right answer is -1"),
        ({"sol1": ""}, "at least two options with text|choice 0 is empty"),
    ],
)
def test_a_gold_index_out_of_range_and_an_empty_choice_are_errors_before_anything_is_asked(tmp_path, change, said):
    for task in (choices(tmp_path, ROW, {**ROW, **change}), declared(tmp_path, [ROW, {**ROW, **change}])):
        with pytest.raises(ValueError, match=rf"(line 2|document 1).*({said})"):
            asked(task, unasked())


def test_a_template_that_refers_to_a_missing_field_is_an_error_before_anything_is_asked(tmp_path):
    task = declared(tmp_path, [ROW], doc_to_text="{{goal}} {{where}}")
    with pytest.raises(ValueError, match=r"document 0: doc_to_text refers to what is not there .*'where' is undefined"):
        asked(task, unasked())


def test_identical_choices_share_their_credit_and_are_counted(tmp_path):
    rows = [ROW, {**ROW, "sol2": "walk"}]
    made = System(Uniform(), ByteTokenizer(), "uniform")
    for task, name in ((choices(tmp_path, *rows), "accuracy"), (declared(tmp_path, rows), "acc")):
        seen = asked(task, made)
        assert [one.values["identical"] for one in seen] == [0.0, 1.0]
        assert seen[1].values[name] == 0.5


def test_a_context_longer_than_the_window_is_cut_on_the_left_and_counted(tmp_path, caplog):
    made = System(Uniform(), ByteTokenizer(), "uniform")  # 512 bytes
    rows = [ROW, {**ROW, "goal": "x" * 600}]
    with caplog.at_level(logging.WARNING):
        for task in (choices(tmp_path, *rows), declared(tmp_path, rows)):
            assert [one.values["truncated"] for one in asked(task, made)] == [0.0, 1.0]
    assert "uniform, of 4 requests: contexts cut on the left to fit 2" in caplog.text


def test_text_that_the_tokenizer_cannot_spell_is_counted(tmp_path, caplog):
    """Half a surrogate pair, which a byte-level tokenizer replaces."""
    made = load(folder(tmp_path / "model"))
    rows = [ROW, {**ROW, "goal": "\ud83d is half"}]
    with caplog.at_level(logging.WARNING):
        assert [one.values["altered"] for one in asked(choices(tmp_path, *rows), made)] == [0.0, 1.0]
        assert [one.values["altered"] for one in asked(declared(tmp_path, rows), made)] == [0.0, 1.0]
    assert "texts that the tokenizer cannot spell 2" in caplog.text
    read = declared(
        tmp_path, rows, output_type="loglikelihood_rolling", doc_to_text="", doc_to_choice=None, doc_to_target="goal"
    )
    assert [one.values["altered"] for one in asked(read, made)] == [0.0, 1.0]


def test_a_model_that_gives_nan_is_an_error_in_the_table_and_no_score(tmp_path):
    class Broken(Uniform):
        def run(self, ids, **given):
            out = super().run(ids, **given)
            return type(out)(out.logits.fill_(float("nan")), out.hidden)

    made = System(Broken(), ByteTokenizer(), "broken")
    with pytest.raises(NotFinite, match="broken gives no finite likelihood"):
        asked(choices(tmp_path, ROW), made)
    model = Llama(width=16, heads=2).build(259)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    save(model, tmp_path / "model", ByteTokenizer())
    battery = Battery((choices(tmp_path, ROW, ROW | {"goal": "Ann"}),), ("t",))
    report = Comparison("evaluation", [str(tmp_path / "model")], task=battery, seeds=1).run(tmp_path / "run").data
    (bad,) = report["contenders"]
    assert bad["measures"] == {}
    assert bad["absent"]["t.accuracy"]["word"] == "failed"
    assert "no finite likelihood" in bad["absent"]["t.accuracy"]["why"]


def test_a_cache_of_another_version_is_refused_and_kept(tmp_path):
    tiny = load("tiny")
    with pytest.raises(ValueError, match="of another format or model"):
        cache = AnswerCache(tmp_path, tiny)
        cache.close()
        text = cache.path.read_text().replace('"format": 1', '"format": 0')
        cache.path.write_text(text)
        AnswerCache(tmp_path, tiny)
    assert cache.path.read_text() == text  # nothing of it is lost
