"""`trivium rate`: a file of judgements in, a table and JSON out."""

import json
from dataclasses import asdict

import pytest

from tests.evaluation.stats.judged import drawn
from trivium import cli
from trivium.evaluation.stats.judgements import Judgement, both_orders
from trivium.evaluation.stats.ratings import bradley_terry

JUDGED = drawn([0.8, 0.0, -0.8], prompts=40, nu=0.4, position=0.5, judges=2)


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(json.dumps(asdict(one)) for one in JUDGED))
    return str(path)


def test_the_table_and_the_file_hold_the_ratings(records, tmp_path, capsys):
    out = tmp_path / "ratings.json"
    assert cli.run(["rate", records, "--covariates", "position", "--elo", "--out", str(out)]) == cli.OK
    said, written = capsys.readouterr().out, json.loads(out.read_text())
    rated, plain = bradley_terry(JUDGED, covariates=("position",)), bradley_terry(JUDGED)
    assert [row["system"] for row in written["table"]] == ["a", "b", "c"]
    assert written["table"][0]["score"] == pytest.approx(rated["a"].score)
    assert written["without_covariates"]["table"][0]["score"] == pytest.approx(plain["a"].score)
    assert len(written["elo"]) == 3
    assert written["provenance"]
    for text in (
        f"{rated['a'].score:.0f}",
        f"{plain['a'].score:.0f}",
        "without covariates",
        "position: +",
        "120 judge",
    ):
        assert text in said


def test_options_reach_the_model(records, capsys):
    words = ["--ties", "davidson", "--cluster", "both", "--ridge", "0.5", "--both-orders", "--json"]
    assert cli.run(["rate", records, *words]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    mine = bradley_terry(both_orders(JUDGED), ties="davidson", cluster="both", ridge=0.5)
    assert found["tie"] == pytest.approx(mine.tie)
    assert found["covariance"] == pytest.approx(mine.covariance)
    assert cli.run(["rate", records, "--resamples", "100", "--seed", "3", "--json"]) == cli.OK
    drawn_again = bradley_terry(JUDGED, resamples=100, seed=3)
    assert json.loads(capsys.readouterr().out)["table"][0]["low"] == pytest.approx(drawn_again.table[0].low)
    assert cli.run(["rate", records, "--ties", "davidson", "--ridge", "0.5"]) == cli.OK
    assert "Davidson's nu" in (said := capsys.readouterr().out)
    assert "prior of precision 0.5" in said


def test_what_cannot_be_rated_is_said(tmp_path, capsys):
    path = tmp_path / "few.jsonl"
    path.write_text("\n".join(json.dumps(asdict(Judgement(p, "x", "y", "a"))) for p in "pq"))
    assert cli.run(["rate", str(path)]) == cli.BAD_INPUT
    assert "ridge=0.1" in capsys.readouterr().err
    assert cli.run(["rate", str(tmp_path / "none.jsonl")]) == cli.IN_THE_WAY
