"""`trivium dsl`: a table in, corrected estimates out."""

import csv
import json

import numpy as np
import pytest

from trivium import cli
from trivium.evaluation.stats.coverage import drawn
from trivium.evaluation.stats.dsl import dsl

X, Y, Q = drawn(200, np.random.default_rng(0))
SAMPLED = np.arange(200) % 4 == 0
L = np.where(SAMPLED, Y, np.nan)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["label", "guess", "words", "pi", "paper", "kind", "guessed", "R"])
        for n in range(200):
            kind, guessed = ("sport" if v[n] else "news" for v in (Y, Q))
            hand = [L[n], kind] if SAMPLED[n] else ["", "NA"]
            rows.writerow([hand[0], Q[n], X[n], 0.25, n % 40, hand[1], guessed, int(SAMPLED[n])])
    return str(path)


BASIC = ["--outcome", "label", "--surrogate", "guess", "--covariates", "words"]


def test_the_table_and_the_file_hold_the_estimates(table, tmp_path, capsys):
    out = tmp_path / "fit.json"
    assert cli.run(["dsl", table, *BASIC, "--probability", "pi", "--out", str(out)]) == cli.OK
    said, written, fit = capsys.readouterr().out, json.loads(out.read_text()), dsl(L, Q, X, 0.25)
    assert [term["value"] for term in written["terms"]] == pytest.approx([term.value for term in fit.terms])
    assert written["terms"][1]["name"] == "words"
    assert written["provenance"]
    for text in ("(intercept)", f"{fit.terms[1].value:.4g}", f"{fit.naive[1].value:.4g}", "200 documents, 50 of them"):
        assert text in said


def test_options_reach_the_estimator(table, capsys):
    options = ["--model", "logistic", "--clusters", "paper", "--sampled", "R", "--folds", "4", "--splits", "2"]
    assert cli.run(["dsl", table, *BASIC, "--probability", "0.25", *options, "--seed", "3", "--json"]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    fit = dsl(L, Q, X, 0.25, model="logistic", clusters=np.arange(200) % 40, folds=4, splits=2, seed=3)
    assert [term["error"] for term in found["terms"]] == pytest.approx([term.error for term in fit.terms])
    words = ["--outcome", "label", "--surrogate", "guess", "--covariates", "words", "--probability", "0.25"]
    assert cli.run(["dsl", table, *words, "--model", "fixed effects", "--groups", "paper", "--json"]) == cli.OK
    grouped = dsl(L, Q, X, 0.25, model="fixed effects", groups=np.arange(200) % 40)
    assert json.loads(capsys.readouterr().out)["terms"][0]["value"] == pytest.approx(grouped.terms[0].value)


def test_shares_of_categories(table, capsys):
    words = ["--outcome", "kind", "--surrogate", "guessed", "--probability", "0.25", "--model", "shares"]
    assert cli.run(["dsl", table, *words]) == cli.OK
    said = capsys.readouterr().out
    assert "news" in said
    assert "sport" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--outcome", "labels", "--surrogate", "guess", "--probability", "pi"], "did you mean 'label'"),
        (["--outcome", "kind", "--surrogate", "guess", "--probability", "pi"], "column 'kind' must hold numbers"),
        (["--outcome", "label", "--surrogate", "guess", "--probability", "0"], "in (0, 1], got 0.0"),
    ],
)
def test_what_is_wrong_is_said(table, words, message, capsys):
    assert cli.run(["dsl", table, *words]) == cli.BAD_INPUT
    assert message in capsys.readouterr().err


def test_a_broken_table_is_refused(tmp_path, capsys):
    for text, message in (("a,b\n1\n", "line 2"), ("a,b\n", "no row")):
        (tmp_path / "t.csv").write_text(text)
        assert cli.run(["dsl", str(tmp_path / "t.csv"), *BASIC, "--probability", "1"]) == cli.BAD_INPUT
        assert message in capsys.readouterr().err
