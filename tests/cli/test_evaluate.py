"""``trivium evaluate`` and ``trivium compare evaluation``: one folder, one report, the same tests."""

import json

from trivium import cli

TASKS = ["multiple_choice", "recall(sort=needle)"]


def test_evaluate(tmp_path, capsys):
    words = ["evaluate", "tiny", "--tasks", *TASKS, "--items", "4", "--batch-size", "8", "--folder", str(tmp_path)]
    assert cli.run(words) == cli.OK
    out = capsys.readouterr().out
    assert "multiple_choice: Accuracy" in out
    assert "questions answered; missing:" in out
    assert "data: Under which licence?" in out
    records = (tmp_path / "records.jsonl").read_text()
    assert len(records.splitlines()) == 8
    assert cli.run([*words, "--json"]) == cli.OK  # gone on with: nothing is left to do
    data = json.loads(capsys.readouterr().out)
    assert data["kind"] == "evaluation"
    assert [data["tasks"][label]["examples"] for label in TASKS[:1]] == [4]
    assert (tmp_path / "records.jsonl").read_text() == records
    assert data["command"].startswith("trivium evaluate tiny --tasks multiple_choice")
    assert cli.run(["report", str(tmp_path)]) == cli.OK
    capsys.readouterr()


def test_compare_is_the_same(tmp_path, capsys):
    words = ["compare", "evaluation", "--contenders", "tiny", "tiny(dtype='bfloat16')", "--seeds", "1"]
    words += ["--task", "multiple_choice(items=3)", "recall(sort=needle, documents=2)", "--folder", str(tmp_path)]
    assert cli.run([*words, "--json"]) == cli.OK
    data = json.loads(capsys.readouterr().out)
    assert [row["config"] for row in data["contenders"]] == ["tiny", "tiny(dtype='bfloat16')"]
    assert {pair["measure"] for pair in data["pairs"]} == {"multiple_choice.accuracy", "recall.accuracy"}
    assert data["contenders"][1]["facts"]["dtype"] == "bfloat16"


def test_bad_input(tmp_path, capsys):
    for words, said in (
        (["evaluate", "tiny"], "give either --suite, such as quick, or --tasks"),
        (["evaluate", "tiny", "--suite", "quick", "--tasks", "recall"], "give either --suite"),
        (["evaluate", "tiny", "--tasks", "recall", "--data", str(tmp_path)], "--data belongs to a suite"),
        (["evaluate", "tiny", "--suite", "quik"], "did you mean 'quick'"),
        (["evaluate", "tiny", "--tasks", "continuation"], "does not score a system by itself"),
        (["evaluate", "tiny", "--suite", "helm", "--data", str(tmp_path)], "holds none of the sets that are known"),
        (["compare", "evaluation"], "which models? write --contenders"),
    ):
        assert (
            cli.run([*words, *([] if words[0] == "compare" else ["--folder", str(tmp_path / "run")])]) == cli.BAD_INPUT
        )
        assert said in capsys.readouterr().err, words
