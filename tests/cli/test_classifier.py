"""``trivium classifier``: what it prints and writes, what it refuses."""

import json

import pytest

from trivium.cli import BAD_INPUT, OK, run
from trivium.data.linear import LinearClassifier


@pytest.fixture
def examples(tmp_path):
    good = "".join(json.dumps({"id": n, "text": f"the river {n} rose in the night"}) + "\n" for n in range(50))
    (tmp_path / "good.jsonl").write_text(good)
    (tmp_path / "bad").mkdir()
    for n in range(50):
        (tmp_path / "bad" / f"{n}.txt").write_text(f"cheap watches {n} buy now")
    return ["--positives", str(tmp_path / "good.jsonl"), "--negatives", str(tmp_path / "bad"), "--folder",
            str(tmp_path / "made"), "--buckets", "4096"]  # fmt: skip


def test_it_trains_judges_and_saves(examples, tmp_path, capsys):
    assert run(["classifier", *examples, "--json"]) == OK
    told = json.loads(capsys.readouterr().out)
    made = LinearClassifier.load(tmp_path / "made")
    assert told["digest"] == made.digest
    assert told["held_out"]["accuracy"] == 1.0
    assert made.scores(["the river rose", "buy cheap watches"]).round().tolist() == [1, 0]
    assert run(["classifier", *examples]) == BAD_INPUT
    assert "choose another folder, or say --replace" in capsys.readouterr().err
    assert run(["classifier", *examples, "--replace"]) == OK
    assert "50 positive and 50 negative texts" in capsys.readouterr().out


def test_what_cannot_be_read_is_said(examples, tmp_path, capsys):
    (tmp_path / "bad" / "x.txt").write_bytes(b"\xff\xfe\xff")
    assert run(["classifier", *examples]) == BAD_INPUT
    assert "x.txt, record 1: InvalidUtf8" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()
