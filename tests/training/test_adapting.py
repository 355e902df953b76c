"""A model trained further on another language: what is gained and lost, replay by its share, nothing without steps."""

import pytest
import torch

from tests.vocabulary.systems import NEW, OLD, native, sentences
from trivium.core.budget import Budget
from trivium.data.corpus import Corpus
from trivium.models.likelihood import bits_per_byte
from trivium.training.adapting import _worth, adapt
from trivium.training.settings import TrainingSettings

FEW = TrainingSettings(steps=30, learning_rate=1e-2)


def corpus(name, words):
    return Corpus(name, {"train": sentences(words, 40), "validation": sentences(words, 3, 1)})


def old():
    return corpus("old", OLD)


def new():
    return corpus("new", NEW)


def test_gain_loss_and_movement_by_hand():
    system = native(padding=0)
    start = [part.detach().clone() for part in system.model.parameters()]
    first = bits_per_byte(system.model, new()["validation"], system.tokenizer, 16)
    got = adapt(system, new(), old(), settings=FEW, length=16, batch_size=4)
    last = bits_per_byte(system.model, new()["validation"], system.tokenizer, 16)
    assert got.gain == pytest.approx(first - last)
    assert got.gain > 0.2
    assert got.forgot == pytest.approx(got.after["old"] - got.before["old"])
    now = [part.detach() for part in system.model.parameters()]
    moved = sum(float((a - b).square().sum()) for a, b in zip(now, start, strict=True)) ** 0.5
    assert got.movement == pytest.approx(moved / sum(float(a.square().sum()) for a in start) ** 0.5, rel=1e-5)
    assert got.spent.tokens == 30 * 4 * 16
    assert not system.model.training


def test_replay_makes_it_forget_less():
    plain, mixed = (
        adapt(native(padding=0), new(), old(), settings=FEW, length=16, batch_size=4, replay=replay)
        for replay in (0.0, 0.5)
    )
    assert mixed.after["old"] < plain.after["old"] - 0.05


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.9])
def test_the_share_of_old_text_is_met(share):
    documents = [[1] * 7, [2] * 5, [3] * 11]
    found = sum(map(len, _worth(documents, 10_000, share)))
    assert found / (found + 10_000) == pytest.approx(share, abs=1e-3)
    assert len(_worth(documents, 100, share)[0]) <= 7


def test_without_settings_it_measures_and_changes_nothing():
    system = native(padding=0)
    got = adapt(system, new(), old(), settings=None, length=16)
    assert (got.gain, got.forgot, got.movement, got.spent.tokens) == (0.0, 0.0, 0.0, 0)


def test_a_budget_ends_it_and_a_folder_lets_it_go_on(tmp_path):
    settings = TrainingSettings(learning_rate=1e-2, checkpoint_every=2)
    given = {"settings": settings, "length": 16, "batch_size": 4, "folder": tmp_path, "budget": Budget("tokens", 640)}
    one = adapt(native(padding=0), new(), **given)
    assert one.spent.tokens == 640
    assert one.forgot is None
    two = adapt(native(padding=0), new(), **given)
    assert two.after == one.after


def test_bad_input():
    system = native(padding=0)
    with pytest.raises(ValueError, match="replay is the share"):
        adapt(system, new(), old(), settings=FEW, replay=1.0)
    with pytest.raises(ValueError, match="replay needs old text"):
        adapt(system, new(), settings=FEW, replay=0.1)
    with pytest.raises(ValueError, match="train split of none is empty"):
        adapt(system, Corpus("none", {"train": [], "validation": ["a b"]}), settings=FEW, length=16)
    with pytest.raises(ValueError, match="fill no row"):
        adapt(system, Corpus("short", {"train": ["a"], "validation": ["a b"]}), settings=FEW, length=16)
    with pytest.raises(ValueError, match="no tokens to replay"):
        _worth([[], []], 100, 0.5)
    with torch.no_grad():
        system.model.embedding.weight.fill_(float("nan"))
    with pytest.raises(ArithmeticError, match="not finite"):
        adapt(system, new(), settings=FEW, length=16)
