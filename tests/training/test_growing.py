"""Grown models: what the folder holds, that a kill costs nothing, and what is refused before any work."""

from dataclasses import replace

import pytest
import torch

from tests.families import wrapped
from tests.training.small import StopAt, Stopped
from trivium.architectures.llama import Llama
from trivium.core.errors import RunMismatch
from trivium.core.progress import Bar
from trivium.data.corpus import Corpus
from trivium.models.likelihood import bits_per_byte
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer
from trivium.training import growing
from trivium.training.growing import Further, deepen, growth_card, widen_context

TOKENIZER = ByteTokenizer()
TEXT = "The cat sat on the mat, and the dog ran after the ball. "
CORPUS = Corpus.split("lines", [TEXT * (1 + number % 4) + str(number) for number in range(120)], validation=0.1, test=0)
RECIPE = Further(steps=4, length=32, batch_size=2, learning_rate=1e-3)


def small(family="native"):
    if family == "native":
        model = Llama(width=16, depth=4, heads=2, hidden=24, context=64).build(TOKENIZER.vocab_size, seed=1).eval()
    else:
        model = wrapped(family, torch.float32, vocab_size=TOKENIZER.vocab_size, max_position_embeddings=64)
    return System(model, TOKENIZER, "small")


@pytest.mark.parametrize("family", ["native", "llama"])
def test_a_deeper_model_is_trained_and_kept(family, tmp_path):
    system = small(family)
    depth = system.model.depth
    bar = Bar(4.0)
    card = deepen(system, [CORPUS], tmp_path, copies=2, recipe=RECIPE, bar=bar)
    assert card == growth_card(tmp_path)
    assert (card["depth"], card["last"] - card["first"], card["steps"]) == (depth + 2, 2, 4)
    assert len(card["similarity"]) == depth
    opened = load(tmp_path / "model")
    assert opened.model.depth == depth + 2
    assert card["after"]["bits_per_byte"] < card["before"]["bits_per_byte"]
    found = bits_per_byte(opened.model, CORPUS["validation"][:32], TOKENIZER, 32)
    assert found == pytest.approx(card["after"]["bits_per_byte"], abs=1e-5)
    # the batches doubled once: 2 steps of 2 rows, 2 of 4
    assert card["spent"]["tokens"] == (2 * 2 + 2 * 4) * 32
    assert bar.done == pytest.approx(4.0)


def test_identity_copies_start_as_the_model_and_no_steps_train_nothing(tmp_path):
    system = small()
    recipe = replace(RECIPE, steps=0)
    card = deepen(system, [CORPUS], tmp_path, copies=1, first=2, mode="identity", recipe=recipe)
    before = bits_per_byte(system.model, CORPUS["validation"][:32], TOKENIZER, 32)
    assert card["before"]["bits_per_byte"] == pytest.approx(before, abs=1e-6)
    assert (card["first"], card["last"]) == (2, 3)
    assert "after" not in card
    assert load(tmp_path / "model").model.depth == 5


def test_a_longer_context_is_trained_and_kept(tmp_path):
    system = small()
    recipe = Further(steps=3, batch_size=2, doublings=0, learning_rate=1e-3, long_share=0.9, micro_batch=1)
    card = widen_context(system, [CORPUS], tmp_path, context=128, base=5e5, factor=2.0, recipe=recipe)
    opened = load(tmp_path / "model").model
    assert opened.max_positions == 128
    assert (opened.recipe.base, opened.recipe.stretch) == (5e5, 2.0)
    assert list(card["before"])[-1] == "bits at 64-127"
    assert all(card["after"][name] < card["before"][name] for name in list(card["before"])[1:])
    assert card["spent"]["tokens"] == 3 * 2 * 128  # a row is as long as the context


def test_a_kill_costs_nothing_and_a_finished_folder_is_left_alone(tmp_path, monkeypatch):
    train = growing.train

    def dies(model, objective, batches, settings, **words):
        return train(model, objective, StopAt(batches, 3), replace(settings, checkpoint_every=2), **words)

    monkeypatch.setattr(growing, "train", dies)
    with pytest.raises(Stopped):
        deepen(small(), [CORPUS], tmp_path / "a", copies=1, recipe=RECIPE)
    monkeypatch.setattr(growing, "train", train)
    card = deepen(small(), [CORPUS], tmp_path / "a", copies=1, recipe=RECIPE)
    whole = deepen(small(), [CORPUS], tmp_path / "b", copies=1, recipe=RECIPE)
    assert card["after"] == whole["after"]
    monkeypatch.setattr(growing, "train", None)  # whatever is trained again would fail
    assert deepen(small(), [CORPUS], tmp_path / "a", copies=1, recipe=RECIPE) == card
    with pytest.raises(RunMismatch, match="copies"):
        deepen(small(), [CORPUS], tmp_path / "a", copies=2, recipe=RECIPE)


def test_bad_input(tmp_path):
    system = small()
    with pytest.raises(ValueError, match="copies must be 1 to the 4 layers"):
        deepen(system, [CORPUS], tmp_path / "a", copies=5)
    with pytest.raises(ValueError, match="must name a range"):
        deepen(system, [CORPUS], tmp_path / "a", copies=2, first=3)
    with pytest.raises(ValueError, match="longer than the context of 16"):
        widen_context(system, [CORPUS], tmp_path / "a", context=16, recipe=RECIPE)
    short = Corpus.split("short", [TEXT + str(number) for number in range(60)], validation=0.2, test=0)
    with pytest.raises(ValueError, match="no document has 128 tokens"):
        widen_context(system, [short], tmp_path / "a", context=128, base=1e6)
    mixed = Corpus("mixed", {"train": CORPUS["train"], "validation": short["validation"]})
    with pytest.raises(ValueError, match="no held-out document has 128 tokens"):
        widen_context(system, [mixed], tmp_path / "a", context=128, base=1e6)
    assert not (tmp_path / "a").exists()
    for field, wrong in (("steps", -1), ("batch_size", 0), ("doublings", -1), ("length", 1), ("long_share", 1.5)):
        with pytest.raises(ValueError, match=field):
            Further(**{field: wrong})
