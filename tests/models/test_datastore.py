"""Entries of a model: keys of what stood before, whole context kept, and stores that fit one model alone."""

import json

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import BrokenModel
from trivium.models.datastore import Datastore, _windows, entries
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["hello there", "", "a longer text, really, that goes on for a while", "x"]


@pytest.fixture(scope="module")
def system():
    return System(wrapped("llama", vocab_size=259), ByteTokenizer(), "made")


@pytest.mark.parametrize("representation", ["ffn", "final", "both"])
def test_keys_are_what_stood_before_and_values_what_came(system, representation):
    got = entries(system, TEXTS, representation=representation, batch_size=3, likelihoods=True)
    keys, values, logp = [], [], []
    for text in (text for text in TEXTS if text):
        ids = system.prompt(text)
        with torch.no_grad(), system.model.capture("blocks.2.mlp.norm") as seen:
            out = system.model(ids)
        parts = {"ffn": seen["blocks.2.mlp.norm"], "final": out.hidden}
        parts["both"] = torch.cat((parts["ffn"], parts["final"]), -1)
        keys.append(parts[representation][0, :-1])
        values.append(ids[0, 1:])
        logp.append(out.logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0].double())
    assert torch.equal(got.values, torch.cat(values))
    torch.testing.assert_close(got.keys, torch.cat(keys).float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(got.logp, torch.cat(logp), atol=1e-5, rtol=1e-4)
    assert got.logp.dtype == torch.float64
    assert got.text.tolist() == [0] * 11 + [2] * 47 + [3]


def test_every_place_is_read_once_with_what_it_must_have_seen():
    for count in (2, 3, 9, 10, 11, 57):
        for length, overlap in ((10, 0.5), (10, 0.0), (2, 0.9), (7, 0.25)):
            places = []
            for start, stop, first in _windows(count, length, overlap):
                assert stop - start <= length
                assert first == start == 0 or first - start >= int(length * overlap) - 1
                places += range(first, stop - 1)
            assert places == list(range(count - 1))
    assert not list(_windows(1, 10, 0.5))


def test_windows_and_a_limit(system):
    whole = entries(system, TEXTS)
    windowed = entries(system, TEXTS, length=20, overlap=0.5)
    assert torch.equal(whole.values, windowed.values)
    torch.testing.assert_close(whole.keys[:30], windowed.keys[:30], atol=1e-5, rtol=1e-4)  # first windows
    assert not torch.allclose(whole.keys[30:58], windowed.keys[30:58], atol=1e-3)
    few = entries(system, TEXTS, limit=15)
    assert len(few) == 15
    assert torch.equal(few.values, whole.values[:15])
    assert torch.equal(whole.some(torch.tensor([2, 0])).values, whole.values[[2, 0]])


def test_a_store_is_saved_mapped_and_held_against_its_model(system, tmp_path):
    store = Datastore.build(system, TEXTS)
    more = Datastore.build(system, [*TEXTS, "and one more"])
    assert torch.equal(more.keys[: len(store)], store.keys)  # those before stay what they were
    store.save(tmp_path)
    mapped, held = Datastore.load(tmp_path), Datastore.load(tmp_path, mapped=False)
    for again in (mapped, held):
        assert torch.equal(again.keys, store.keys)
        assert torch.equal(again.values, store.values)
        again.check(system, "ffn")
    with pytest.raises(ValueError, match="representation 'ffn', not 'final'"):
        mapped.check(system, "final")
    other = System(wrapped("llama", seed=1, vocab_size=259), ByteTokenizer(), "other")
    with pytest.raises(ValueError, match="made with model"):
        mapped.check(other, "ffn")
    (tmp_path / "values.npy").unlink()
    with pytest.raises(BrokenModel, match=r"values.npy is missing"):
        Datastore.load(tmp_path)
    assert json.loads((tmp_path / "header.json").read_text())["representation"] == "ffn"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"representation": "first"}, "representation must be one of ffn, final, both"),
        ({"length": 1}, "length must be at least 2"),
        ({"overlap": 1.0}, "overlap 0 to 1"),
        ({"limit": 0}, "limit 1"),
    ],
)
def test_misuse_is_told(system, wrong, told):
    with pytest.raises(ValueError, match=told):
        entries(system, TEXTS, **wrong)
    with pytest.raises(ValueError, match="none of the 1 texts has a token that is predicted"):
        entries(system, [""])
