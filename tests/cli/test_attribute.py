"""trivium attribute, on the built-in model."""

import json

import pytest

from trivium import cli
from trivium.core.errors import NotOffered

TEXT = "Once upon a"


def run(*words, capsys):
    code = cli.run(["attribute", TEXT, "--model", "tiny", *words])
    return code, capsys.readouterr()


def test_an_answer_of_several_tokens_and_its_words(capsys):
    code, said = run("--target", " ti", "--merge", "word", "--per-token", "--json", capsys=capsys)
    assert code == cli.OK
    (found,) = json.loads(said.out)["attributions"]
    assert len(found["target"]["token"]) == 3
    assert found["answer"] == ["·", "t", "i"]
    assert found["arrays"]["answer"]["axes"] == ["answer", "token"]
    assert len(found["scores"]) == len(found["units"]) == 4  # what every text begins with, and three words
    assert found["frozen"] == [0]
    assert found["scores"][0] == 0
    assert found["seed"] == 0


def test_faithfulness_has_its_control_in_the_same_call(capsys):
    code, said = run("--target", " t", "--faithfulness", "--json", capsys=capsys)
    assert code == cli.OK
    (found,) = json.loads(said.out)["attributions"]
    assert set(found["faithfulness"]["soft_nc"]) == {"value", "error", "control", "control_error"}


def test_page_and_pictures(capsys, tmp_path):
    html, svg, png = (tmp_path / f"why.{ending}" for ending in ("html", "svg", "png"))
    words = ["--explainer", "occlusion", "attention", "--freeze", "1", "--html", str(html), "--svg", str(svg)]
    code, said = run(*words, "--png", str(png), "--faithfulness", capsys=capsys)
    assert code == cli.OK
    assert "random scores" in said.out
    page = html.read_text(encoding="utf-8")
    assert "attention per layer" in page
    assert "Faithfulness" in page
    assert svg.read_text(encoding="utf-8").startswith("<svg")
    assert png.read_bytes()[:4] == b"\x89PNG"


def test_what_the_model_cannot_serve_is_left_out_with_the_reason(capsys, monkeypatch):
    def refuse(self, *_, **__):
        raise NotOffered("lime needs a rest")

    monkeypatch.setattr("trivium.attribution.lime.Lime.__call__", refuse)
    code, said = run("--explainer", "occlusion", "lime", "--json", capsys=capsys)
    assert code == cli.OK
    assert json.loads(said.out)["refused"] == {"Lime": "lime needs a rest"}
    code, said = run("--explainer", "lime", capsys=capsys)
    assert code != cli.OK
    assert "lime needs a rest" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", ""], "the answer is empty"),
        (["--freeze", "99"], "position 99 to freeze is outside the prompt of"),
        (["--preset", "paper"], "no preset is called 'paper'"),
        (["--preset", "reagent-paper", "--explainer", "lime"], "give either explainers or a preset"),
        (["--explainer", "oclusion"], "did you mean 'occlusion'"),
        (["--target", " t", "--foil", " t"], "must differ"),
    ],
)
def test_bad_input_is_named(words, message, capsys):
    code, said = run(*words, capsys=capsys)
    assert code == cli.BAD_INPUT
    assert message in said.err
