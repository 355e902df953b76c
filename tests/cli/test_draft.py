"""`trivium draft`: what it teaches can be used, and what it cannot do is said before any work."""

import json

import pytest
import torch

from tests.families import wrapped
from trivium import cli
from trivium.cli import draft
from trivium.compare.contender import build
from trivium.core.seeds import generator
from trivium.decoding.greedy import Greedy
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer


def test_a_taught_drafter_is_used_by_the_text_that_is_printed(tmp_path, monkeypatch, capsys):
    tokenizer = ByteTokenizer()
    model = wrapped("llama", torch.float32, vocab_size=tokenizer.vocab_size, max_position_embeddings=1024)
    monkeypatch.setattr(draft, "load", lambda name, dtype, device: System(model, tokenizer, name, "f" * 64))
    words = ["--folder", str(tmp_path / "heads"), "--count", "32", "--length", "8", "--steps", "2"]
    assert cli.run(["draft", "train", "medusa(heads=2)", *words, "--json"]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 2
    assert len(found["accuracy"]) == 2
    assert found["expected_length"] >= 1
    fast = build("decoding", f"speculative(drafter={found['drafter']})")
    prompt = torch.tensor([[72, 105, 33]])
    made, plain = (one(model, prompt, limit=12, generator=generator(0)) for one in (fast, Greedy()))
    assert torch.equal(made.ids, plain.ids)
    assert cli.run(["draft", "train", "medusa(heads=2)", *words]) == cli.OK
    assert "use it: speculative(drafter=medusa(folder=" in capsys.readouterr().out.replace("\n", "")
    assert cli.run(["draft", "train", "medusa(heads=3)", *words]) == cli.BAD_INPUT
    assert "it differs in heads" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("drafter", "said"),
    [
        ("prompt_lookup", "prompt_lookup has nothing to train; try medusa"),
        ('medusa(folder="there")', "leave folder='there' away"),
        ("medusa(heads=0)", "at least 1"),
        ("medusas", "did you mean 'medusa'"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_a_model_is_loaded(drafter, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(draft, "load", lambda name, dtype, device: pytest.fail("a model was loaded"))
    assert cli.run(["draft", "train", drafter, "--folder", str(tmp_path / "heads")]) == cli.BAD_INPUT
    assert said in capsys.readouterr().err
    assert not (tmp_path / "heads").exists()
