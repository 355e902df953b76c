"""``trivium probe``, on the small model that ships."""

import json
import re

import pytest

from trivium.cli import probe
from trivium.cli.probe import Command
from trivium.compare.layers import best, page
from trivium.core.errors import NotOffered

QUICK = dict(model="tiny", layers=(0, 2), folds=2, count=24, json=True)


def asked(capsys, folder, **settings):
    assert Command(**({"data": "intents", "folder": folder} | QUICK | settings)).run() == 0
    return json.loads(capsys.readouterr().out)


def test_scores_by_layer_beside_controls(capsys, tmp_path):
    got = asked(capsys, tmp_path / "run", untrained=True, count=80, html=tmp_path / "page.html", controls=2)
    low, high = got["rows"]
    assert [row["layer"] for row in got["rows"]] == [0, 2]
    assert got["measure"] == "Accuracy"
    assert high["score"] > low["score"]
    assert high["score"] > high["control"] + 0.2
    assert high["selectivity"] == pytest.approx(high["score"] - high["control"])
    assert low["untrained"] == pytest.approx(low["score"], abs=1e-6)  # the embeddings are the same
    assert high["untrained"] < high["score"]
    assert high["control_repeats"] == 2
    text = (tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "<svg" in text
    assert f"{high['score']:.3f}" in text
    assert not re.search(r'(src|href)="', text)


def test_a_second_run_asks_the_model_nothing_and_gives_the_same(capsys, tmp_path, monkeypatch):
    first = asked(capsys, tmp_path / "run")
    monkeypatch.setattr("trivium.cli.probe.features", None)
    monkeypatch.setattr("trivium.cli.probe.readout", None)
    assert asked(capsys, tmp_path / "run") == first


def test_an_interrupted_run_goes_on(capsys, tmp_path, monkeypatch):
    real, calls = probe.readout, []

    def stops(*args, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **named)

    monkeypatch.setattr(probe, "readout", stops)
    with pytest.raises(KeyboardInterrupt):
        asked(capsys, tmp_path / "run")
    (tmp_path / "run" / "records.jsonl").open("a").write('{"key": "half')
    got = asked(capsys, tmp_path / "run")
    assert len(calls) == 3  # one done before, one that was interrupted, one after
    monkeypatch.undo()
    assert asked(capsys, tmp_path / "other") == got


def test_syntax_trees_and_several_probes(capsys, tmp_path):
    probes = ("ast_probe(rank=4, epochs=1)", "ast_probe(rank=8, epochs=1)")
    got = asked(capsys, tmp_path / "run", data="python", probe=probes, count=12, layers=(1,), controls=0)
    assert [row["probe"] for row in got["rows"]] == list(probes)
    assert all(0 <= row["score"] <= 1 and row["control"] is None for row in got["rows"])
    assert "tree-sitter-python" in got["facts"]["read"]
    assert got["rows"][0]["details"]["f1"] == pytest.approx(got["rows"][0]["score"])


def test_the_table(capsys, tmp_path):
    Command(data="intents", folder=tmp_path / "run", **(QUICK | {"json": False})).run()
    said = capsys.readouterr().out
    assert "linear_readout reads most at layer" in said
    assert "selectivity" in said


def test_the_page_escapes_what_it_is_told_and_names_the_best():
    row = dict(probe="<b>", layer=0, score=0.5, low=0.4, high=0.6, control=None, untrained=None, details={})
    rows = [row, row | {"layer": 3, "score": 0.7}]
    report = dict(title="<i>", facts={"model": "&"}, measure="F1", higher_is_better=True, rows=rows)
    text = page(report)
    assert "<b>" not in text
    assert "<i>" not in text
    assert best(report)[0]["layer"] == 3
    assert best(report | {"higher_is_better": False})[0]["layer"] == 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"folds": 1}, "folds must be at least 2, got 1"),
        ({"controls": -1}, "controls must be at least 0"),
        ({"layers": (9,)}, "tiny has 4 layers, so 9 is none"),
        ({"folds": 25}, "at most the 24 groups there are; got 25"),
    ],
)
def test_misuse_is_told_before_any_work(tmp_path, wrong, told):
    with pytest.raises(ValueError, match=told):
        Command(**({"data": "intents", "folder": tmp_path / "run"} | QUICK | wrong)).run()
    assert not (tmp_path / "run").exists()


def test_a_probe_of_other_labels_is_refused(tmp_path):
    with pytest.raises(NotOffered, match=r"structural_probe reads heads, and intents has classes .* linear_readout"):
        Command(data="intents", probe=("structural_probe",), folder=tmp_path, **QUICK).run()
