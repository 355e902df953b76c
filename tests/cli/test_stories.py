"""`trivium stories`: what it makes can be used by the text that it prints."""

import json

import torch

from tests.families import wrapped
from trivium import cli
from trivium.cli import stories
from trivium.compare.contender import build
from trivium.core.seeds import generator
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer


def with_a_tiny_model(monkeypatch):
    tokenizer = ByteTokenizer()
    model = wrapped("llama", torch.float32, vocab_size=tokenizer.vocab_size, max_position_embeddings=1024)
    monkeypatch.setattr(stories, "load", lambda name: System(model, tokenizer, name))
    return model


def test_a_model_is_trained_on_its_trees(tmp_path, monkeypatch, capsys):
    with_a_tiny_model(monkeypatch)
    words = ["stories", "train", "cosmos(simulations=4, depth=2, step=8)", "--folder", str(tmp_path), "--fit", "4"]
    words += ["--rounds", "1", "--openings", "1", "--limit", "16", "--gap", "0", "--epochs", "1"]
    assert cli.run([*words, "--json"]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert found["rounds"][0]["pairs"] > 0
    assert found["centre"] != build("decoding", "cosmos").centre  # it was fitted
    assert (tmp_path / "model" / "config.json").exists()


def test_a_value_model_is_used_by_the_text_that_is_printed(tmp_path, monkeypatch, capsys):
    model = with_a_tiny_model(monkeypatch)
    words = ["stories", "value", "--folder", str(tmp_path), "--stories", "16", "--steps", "2"]
    assert cli.run(words) == cli.OK
    said = " ".join(capsys.readouterr().out.split())
    assert "right in" in said
    searching = build("decoding", f'cosmos(value="model", folder="{tmp_path}", simulations=2, step=4)')
    made = searching(model, torch.tensor([[65, 66]]), limit=6, generator=generator(0))
    assert made.lengths.tolist() == [6]


def test_what_grows_no_trees_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stories, "load", lambda name: 1 / 0)
    assert cli.run(["stories", "train", "greedy", "--folder", str(tmp_path)]) == cli.BAD_INPUT
    assert "greedy grows no trees" in capsys.readouterr().err
