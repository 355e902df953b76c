"""Entries of a model: keys of what stood before, whole context kept, and stores that fit one model alone."""

import json

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import BrokenModel, NotFinite
from trivium.models import datastore
from trivium.models.datastore import Datastore, _windows, entries, narrowed
from trivium.models.system import System
from trivium.nn.nearest import search
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


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_store_that_goes_to_disk_is_the_one_in_memory_and_is_found_again(system, tmp_path, dtype, monkeypatch):
    held = Datastore.build(system, TEXTS, dtype=dtype, batch_size=1)
    mapped = Datastore.build(system, TEXTS, dtype=dtype, batch_size=1, folder=tmp_path)
    assert held.keys.dtype == mapped.keys.dtype == getattr(torch, dtype)
    assert torch.equal(mapped.keys, held.keys)
    assert torch.equal(mapped.values, held.values)
    assert mapped.made == held.made
    queries = held.keys[[3, 20, 50]].float() + 0.01
    for got, expected in zip(search(queries, mapped.keys, 7), search(queries, held.keys.float(), 7), strict=True):
        assert torch.equal(got, expected)
    with monkeypatch.context() as without:
        without.setattr(datastore, "_pass", None)  # nothing is read again
        again = Datastore.build(system, TEXTS, dtype=dtype, folder=tmp_path)
    assert torch.equal(again.keys, held.keys)
    assert again.entries.text.tolist() == [-1] * len(held)
    other = {"float32": "float16", "float16": "float32"}[dtype]
    for told, texts, changed in (
        (f"made with dtype '{dtype}', not '{other}'", TEXTS, {"dtype": other}),
        ("made with texts and windows whose digest is", TEXTS[:1], {}),
        ("made with texts and windows whose digest is", TEXTS, {"length": 20}),
        ("made with representation 'ffn', not 'final'", TEXTS, {"representation": "final"}),
    ):
        with pytest.raises(ValueError, match=told):
            Datastore.build(system, texts, folder=tmp_path, **{"dtype": dtype, **changed})


def test_what_breaks_off_leaves_no_store(system, tmp_path, monkeypatch):
    def breaks(*given):
        yield from read(*given)
        raise KeyboardInterrupt

    read = datastore._pass
    Datastore.build(system, TEXTS).save(tmp_path)
    (tmp_path / "header.json").unlink()
    with monkeypatch.context() as broken:
        broken.setattr(datastore, "_pass", breaks)
        with pytest.raises(KeyboardInterrupt):
            Datastore.build(system, TEXTS[:1], folder=tmp_path)
    with pytest.raises(BrokenModel, match=r"header.json is missing"):
        Datastore.load(tmp_path)
    assert len(Datastore.build(system, TEXTS[:1], folder=tmp_path)) == 11
    assert sorted(path.name for path in tmp_path.glob("*")) == [".lock", "header.json", "keys.npy", "values.npy"]


def test_keys_too_large_for_their_dtype_are_refused():
    with pytest.raises(NotFinite, match=r"keys reach 7e\+04, which float16 cannot hold; keep them in float32"):
        narrowed(torch.tensor([[1.0, -70000.0]]), "float16")
    with pytest.raises(ValueError, match="dtype of keys must be one of float32, float16; got 'int8'"):
        narrowed(torch.zeros(1, 2), "int8")
    assert narrowed(torch.tensor([[0.1]]), "float16").dtype == torch.float16


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
