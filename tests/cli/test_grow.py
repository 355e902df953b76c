"""`trivium grow`: what it makes is a model like any other."""

import json

import pytest
import torch

from tests.families import wrapped
from trivium import cli
from trivium.cli import grow
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer


@pytest.fixture
def text(tmp_path, monkeypatch):
    """A file to train on, and a small model for every name."""
    tokenizer = ByteTokenizer()
    model = wrapped("llama", torch.float32, vocab_size=tokenizer.vocab_size, max_position_embeddings=64)
    monkeypatch.setattr(grow, "load", lambda name, device: System(model, tokenizer, name))
    lines = [json.dumps({"text": "Once upon a time there was a fox. " * (1 + n % 6) + str(n)}) for n in range(400)]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "lines.jsonl")


def test_a_deeper_model_opens_by_the_path_that_is_printed(text, tmp_path, capsys):
    words = ["grow", "depth", "--folder", str(tmp_path / "deeper"), "--corpus", text]
    words += ["--copies", "1", "--first", "1", "--mode", "identity", "--steps", "2", "--length", "32"]
    assert cli.run([*words, "--json"]) == cli.OK
    card = json.loads(capsys.readouterr().out)
    assert (card["first"], card["last"], card["depth"], card["steps"]) == (1, 2, 4, 2)
    assert load(tmp_path / "deeper" / "model").model.depth == 4
    assert cli.run(words) == cli.OK
    said = capsys.readouterr().out
    assert "stands twice" in said
    assert str(tmp_path / "deeper" / "model") in said.replace("\n", "")


def test_a_longer_context_opens_and_takes_longer_texts(text, tmp_path, capsys):
    words = ["grow", "context", "--folder", str(tmp_path / "longer"), "--corpus", text, "--context", "128"]
    assert cli.run([*words, "--base", "5e5", "--factor", "2", "--steps", "1", "--doublings", "0"]) == cli.OK
    assert "bits at 64-127" in capsys.readouterr().out
    opened = load(tmp_path / "longer" / "model").model
    assert opened(torch.ones(1, 128, dtype=torch.int64)).logits.shape[1] == 128


def test_what_cannot_be_is_said(text, tmp_path, capsys):
    words = ["--folder", str(tmp_path / "a"), "--corpus", text]
    assert cli.run(["grow", "depth", *words, "--copies", "9"]) == cli.BAD_INPUT
    assert "copies must be 1 to the 3 layers" in capsys.readouterr().err
    assert cli.run(["grow", "context", *words, "--context", "32"]) == cli.BAD_INPUT
    assert "at least the 64 tokens" in capsys.readouterr().err
