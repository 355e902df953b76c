"""What every initialiser keeps to. Written against the protocol; no method is named."""

import functools

import pytest
import torch

from tests.vocabulary.systems import Permuted, languages, native, new_tokenizer, small, systems
from trivium.core.errors import NotFinite
from trivium.core.languages import Languages, WordVectors
from trivium.core.method import find, names
from trivium.core.seeds import generator
from trivium.models.sources import load, store
from trivium.models.vocabulary import rows_of

METHODS = names("vocabulary")
SYSTEMS = ("native", "native untied", "gpt2", "bert")
QUICK = {"width": 8, "min_count": 2, "rank": 8, "epochs": 1, "threshold": 1.0}
"""Smaller settings, for the methods that train something."""


def made(name, **settings):
    cls = find("vocabulary", name)
    fields = set(cls.__dataclass_fields__)
    quick = {key: value for key, value in QUICK.items() if key in fields and "new_texts" in cls.reads}
    return cls(**quick | settings)


@functools.cache
def pair(which):
    make, tokenizer = systems()[which]
    return make(), tokenizer()


@functools.cache
def moved(name, which):
    system, tokenizer = pair(which)
    return made(name).transplant(system, tokenizer, languages(), generator=generator(0, name))


def matrices(model):
    rows = rows_of(model)
    return [table for table in (rows.embedding, rows.head, rows.bias) if table is not None]


@pytest.mark.parametrize("which", SYSTEMS)
@pytest.mark.parametrize("name", METHODS)
def test_shared_tokens_keep_their_rows_and_all_rows_are_finite(name, which):
    system, tokenizer = pair(which)
    got = moved(name, which)
    shared = (got.origin >= 0).nonzero()[:, 0]
    assert len(shared) == got.report.copied > 10
    assert got.report.new == tokenizer.vocab_size - len(shared) > 10
    before, after = matrices(system.model), matrices(got.system.model)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert len(new) == tokenizer.vocab_size == got.system.model.vocab_size
        assert torch.equal(new[shared], old[got.origin[shared]])
        assert new.isfinite().all()
        assert new.abs().max() < 100  # the padding of the old table, 10000 in every row, got into nothing
    fresh = (got.origin < 0).nonzero()[:, 0]
    assert (after[0][fresh] != 0).any(1).all()


@pytest.mark.parametrize("which", SYSTEMS)
@pytest.mark.parametrize("name", METHODS)
def test_text_without_new_tokens_goes_through_as_before(name, which):
    system, _ = pair(which)
    got = moved(name, which)
    shared = (got.origin >= 0).nonzero()[:, 0]
    ids = shared[torch.randint(len(shared), (2, 9), generator=generator(0, "ids"))]
    with torch.no_grad():
        new, old = got.system.model(ids), system.model(got.origin[ids])
    torch.testing.assert_close(new.hidden, old.hidden)
    torch.testing.assert_close(new.logits[..., shared], old.logits[..., got.origin[shared]])


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_rows_and_the_system_is_left_alone(name):
    system, tokenizer = pair("native untied")
    before = [table.clone() for table in matrices(system.model)]
    again = made(name)(system, tokenizer, languages(), generator=generator(0, name))
    for one, two in zip(matrices(again.model), matrices(moved(name, "native untied").system.model), strict=True):
        assert torch.equal(one, two)
    assert all(torch.equal(one, two) for one, two in zip(before, matrices(system.model), strict=True))
    assert system.model.vocab_size != again.model.vocab_size
    assert again.tokenizer is tokenizer


@pytest.mark.parametrize("name", METHODS)
def test_other_ids_give_the_same_rows_elsewhere(name):
    """Pitfall (b): rows in the order of a dictionary rather than of ids."""
    system, tokenizer = pair("native")
    order = torch.randperm(tokenizer.vocab_size, generator=generator(0, "order")).tolist()
    draws = generator(0, name)
    fresh = draws.get_state()
    there = made(name).transplant(system, Permuted(tokenizer, order), languages(), generator=draws)
    here = moved(name, "native")
    assert torch.equal(there.origin[order], here.origin)
    assert sorted(order[id] for id in here.report.uncovered) == sorted(there.report.uncovered)
    moves = torch.tensor([id for id in range(tokenizer.vocab_size) if id not in here.report.uncovered])
    trains = "new_texts" in find("vocabulary", name).reads  # then what is trained begins with other draws
    if not trains and (torch.equal(draws.get_state(), fresh) or here.report.uncovered):
        ours, theirs = rows_of(here.system.model).embedding, rows_of(there.system.model).embedding
        torch.testing.assert_close(theirs[torch.tensor(order)[moves]], ours[moves])


@pytest.mark.parametrize("which", ["native", "gpt2"])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_stored_loads_again(name, which, tmp_path):
    system = moved(name, which).system
    store(system, tmp_path)
    again = load(tmp_path)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        torch.testing.assert_close(again.model(ids).logits, system.model(ids).logits)
    text = "lo gatu posi em na rubra"
    assert again.tokenizer.encode(text) == system.tokenizer.encode(text)
    assert system.tokenizer.decode(system.tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", METHODS)
def test_token_0_is_a_token(name):
    """Pitfall (a): an id of 0 read as "not found"."""
    system = small([*"abcdefgh", " ", "ab", "cd", " e"])
    tokenizer = small(["zz", *"hgfedcba", " "]).tokenizer
    plain = Languages(["ab zz cd " * 20], ["ab cd " * 20], *vectors_of("ab", "zz", "cd"))
    got = made(name, **({"k": 2} if "k" in find("vocabulary", name).__dataclass_fields__ else {})).transplant(
        system, tokenizer_with_z(tokenizer), plain, generator=generator(0, name)
    )
    assert got.origin[8] == 0  # "a"
    assert torch.equal(rows_of(got.system.model).embedding[8], rows_of(system.model).embedding[0])


def tokenizer_with_z(tokenizer):
    tokenizer.tokens.append(b"z")
    tokenizer.vocab_size += 1
    return tokenizer


def vectors_of(*words):
    one = WordVectors(words[:1] + words[2:], torch.eye(3)[[0, 2]])
    return WordVectors(words, torch.eye(3)), one


@pytest.mark.parametrize("name", METHODS)
def test_what_it_reads_must_be_there(name):
    reads = find("vocabulary", name).reads
    if reads:
        with pytest.raises(ValueError, match=reads[0]):
            made(name)(native(), new_tokenizer(), Languages(), generator=generator(0, "x"))
    else:
        made(name)(native(), new_tokenizer(), generator=generator(0, "x"))


@pytest.mark.parametrize("name", METHODS)
def test_damaged_weights_and_strangers_are_refused(name):
    system = native()
    with torch.no_grad():
        system.model.embedding.weight[5, 3] = float("nan")
    with pytest.raises(NotFinite, match=r"\[5\]"):
        made(name)(system, new_tokenizer(), languages(), generator=generator(0, "x"))
    with pytest.raises(ValueError, match="share no token"):
        made(name)(small(["a", "b"]), small(["c", "d"]).tokenizer, languages(), generator=generator(0, "x"))


@pytest.mark.parametrize("name", METHODS)
def test_the_same_vocabulary_changes_nothing(name):
    system = native(padding=0)
    got = made(name).transplant(system, system.tokenizer, languages(), generator=generator(0, "x"))
    assert got.report.new == 0
    assert all(torch.equal(a, b) for a, b in zip(matrices(system.model), matrices(got.system.model), strict=True))
