"""Records of a run as the harness's sample files."""

import json
from pathlib import Path

import pytest

from trivium import cli
from trivium.compare.folder import RunFolder
from trivium.compare.samples import exported
from trivium.evaluation.multiple_choice import MultipleChoice
from trivium.models.sources import load


def run_of(place, outputs, contender="greedy(x=1)"):
    folder = RunFolder(place)
    with folder.held({"format": 1}):
        for seed in (0, 1):
            for number, output in enumerate(outputs):
                folder.append(
                    {
                        "contender": contender, "config": contender, "phase": "score", "trial": None, "seed": seed,
                        "example": f"e{number}", "values": {}, "spent": {}, "output": output, "error": None,
                    }
                )  # fmt: skip
    return place


def test_lines_are_the_samples_of_the_records(tmp_path, capsys):
    task, tiny = MultipleChoice(items=None), load("tiny")
    seen = [task.score(tiny, example) for example in task.examples("test")[:3]]
    run_of(tmp_path, [one.shown for one in seen])
    assert cli.run(["samples", str(tmp_path), "--into", str(tmp_path / "out"), "--json"]) == cli.OK
    (path,) = json.loads(capsys.readouterr().out)
    assert path == str(tmp_path / "out" / "greedy_x=1" / "samples_arc_run.jsonl")
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 3  # once, of however many seeds
    for line, one, question in zip(lines, seen, task.questions("test"), strict=False):
        assert line["doc"]["question"] == question.question
        assert line["acc"] == one.values["accuracy"]
        assert line["acc_mutual_info"] == one.values["pmi"]
        assert len(line["arguments"]) == len(line["resps"]) == 2 * len(question.options)
        assert line["arguments"]["gen_args_0"] == {"arg_0": question.question, "arg_1": f" {question.options[0]}"}
        totals = [float(answer[0][0]) for answer in line["resps"]][: len(question.options)]
        if line["acc"] == 1.0:
            assert totals.index(max(totals)) == question.answer
    assert cli.run(["samples", str(tmp_path)]) == cli.OK
    assert (tmp_path / "samples" / "greedy_x=1" / "samples_arc_run.jsonl").is_file()


def test_a_run_without_requests_is_refused(tmp_path, capsys):
    run_of(tmp_path / "a", [{"text": "x"}])
    with pytest.raises(ValueError, match="is of a task that does not keep its requests; harness_task"):
        exported(tmp_path / "a", tmp_path / "out")
    run_of(tmp_path / "b", [])
    with pytest.raises(ValueError, match="holds no scored example"):
        exported(tmp_path / "b", tmp_path / "out")
    assert cli.run(["samples", str(tmp_path / "b")]) == cli.BAD_INPUT
    assert "holds no scored example" in capsys.readouterr().err
