"""OFA: Eckart-Young, the full rank, parameters, gradients, folders; and the means of its equation."""

import logging
import math

import pytest
import torch

from tests.vocabulary.systems import Plain, languages, masked, native, new_tokenizer, pretrained, small, systems
from trivium.core.errors import BrokenModel, NotOffered
from trivium.core.languages import Languages, WordVectors
from trivium.core.seeds import generator
from trivium.models.factorised import FACTORS, factors_of, materialised
from trivium.models.sources import load, store
from trivium.models.vocabulary import rows_of
from trivium.vocabulary.ofa import Ofa, spellings


def moved(system, tokenizer=None, **settings):
    return Ofa(**settings).transplant(system, tokenizer or new_tokenizer(), languages(), generator=generator(0, "x"))


@pytest.mark.parametrize("balance", ["none", "sqrt"])
def test_the_factors_are_the_best_of_their_rank(balance):
    table = torch.randn(40, 12, generator=generator(0, "t"), dtype=torch.float64)
    coordinates, primitives = Ofa(rank=5, balance=balance).factors(table)
    values = torch.linalg.svdvals(table)
    error = (coordinates @ primitives - table).norm().item()
    assert error == pytest.approx(math.sqrt(float(values[5:].square().sum())), rel=1e-9)
    at = primitives.abs().argmax(1, keepdim=True)
    assert (primitives.gather(1, at) > 0).all()
    if balance == "none":
        torch.testing.assert_close(coordinates.mT @ coordinates, torch.eye(5, dtype=torch.float64))
    else:
        torch.testing.assert_close(coordinates.norm(dim=0), primitives.norm(dim=1))


@pytest.mark.parametrize("make", [native, pretrained, masked, lambda: pretrained("gemma")])
def test_shared_tokens_keep_their_coordinates_and_parameters_are_counted(make):
    system = make()
    tokenizer = systems()["bert"][1]() if system.name == "bert" else new_tokenizer()
    got = moved(system, tokenizer, rank=4)
    coordinates, primitives = factors_of(got.system.model)
    old = rows_of(system.model).embedding[: system.tokenizer.vocab_size].double()
    best, basis = Ofa(rank=4).factors(old)
    shared = (got.origin >= 0).nonzero()[:, 0]
    torch.testing.assert_close(coordinates[shared].double(), best[got.origin[shared]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(primitives.double(), basis, atol=1e-4, rtol=1e-4)
    model, count, width = got.system.model, tokenizer.vocab_size, old.shape[1]
    bias = count if rows_of(model).bias is not None else 0
    before = rows_of(system.model)
    rest = got.report.parameters[0] - before.embedding.numel() - (before.bias.numel() if bias else 0)
    assert got.report.parameters[1] == rest + 4 * count + 4 * width + bias


@pytest.mark.parametrize("make", [lambda: native(padding=0), lambda: pretrained(padding=0)])
def test_the_full_rank_gives_the_logits_of_the_table(make):
    """The path through the factors, with nothing left out: as many as the width, less none that counts."""
    system = make()
    with torch.no_grad():  # of rank 12, so that 12 factors are exact
        table = system.model.parts.embedding if hasattr(system.model, "parts") else system.model.embedding
        left, values, right = torch.linalg.svd(table.weight, full_matrices=False)
        table.weight.copy_((left[:, :12] * values[:12]) @ right[:12])
    got = moved(system, system.tokenizer, rank=12)
    ids = torch.arange(1, 20)[None]
    assert factors_of(got.system.model) is not None
    with torch.no_grad():
        torch.testing.assert_close(got.system.model(ids).logits, system.model(ids).logits, atol=1e-4, rtol=1e-4)


def test_the_width_as_rank_factorises_nothing():
    assert factors_of(moved(native(), rank=16).system.model) is None
    assert factors_of(moved(native()).system.model) is None


@pytest.mark.parametrize("make", [native, pretrained])
def test_gradients_reach_both_factors_from_both_ends(make):
    model = moved(make(), rank=4).system.model
    embedding = model.parts.embedding if hasattr(model, "parts") else model.embedding
    ids = torch.tensor([[5, 6, 7]])
    logits = model(ids).logits
    grads = torch.autograd.grad(logits.square().sum(), [embedding.coordinates, embedding.primitives])
    assert (grads[0].abs().sum(1) > 0).all()  # through the head: every token
    through_input = torch.autograd.grad(model.embed(ids).square().sum(), [embedding.coordinates, embedding.primitives])
    assert set(through_input[0].abs().sum(1).nonzero()[:, 0].tolist()) == {5, 6, 7}
    assert (grads[1] != 0).any()
    assert (through_input[1] != 0).any()
    names = [name for name, _ in model.named_parameters() if "coordinates" in name]
    assert len(names) == 1


@pytest.mark.parametrize("make", [native, pretrained, lambda: pretrained("gemma")])
def test_a_folder_holds_the_factors_and_the_table(make, tmp_path):
    system = moved(make(), rank=4).system
    with torch.no_grad():
        system.model(torch.tensor([[1, 2]]))
    store(system, tmp_path)
    again = load(tmp_path)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        torch.testing.assert_close(again.model(ids).logits, system.model(ids).logits)
        torch.testing.assert_close(materialised(system.model)(ids).logits, system.model(ids).logits)
    for one, two in zip(factors_of(again.model), factors_of(system.model), strict=True):
        assert torch.equal(one, two)
    (tmp_path / FACTORS).rename(tmp_path / "other")
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path).model(ids).logits, system.model(ids).logits)
    (tmp_path / FACTORS).write_bytes(b"broken")
    with pytest.raises(BrokenModel, match="factors"):
        load(tmp_path)
    store(moved(make()).system, tmp_path)  # another model in the same folder leaves no factors behind
    assert not (tmp_path / FACTORS).exists()


def test_neighbours_are_weighted_and_words_are_cut_three_ways():
    assert spellings("eng:dog") == ("dog", " dog", " Dog")
    assert spellings("eng:$dog$") == (" dog ", "  dog ", " Dog ")
    assert spellings("a:b") == ("a:b", " a:b", " A:b")
    system = small(["aa", "bb", " ", "A", "B", "V"])
    words = WordVectors(("aa", "bb", "vv"), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]))
    # "V" is known to the old vocabulary and occurs in no old cut but that of "vv"; the space and it are neighbours too
    got = Ofa(k=2, temperature=0.1).transplant(
        system, Plain([" ", "vv", "qq"]), Languages(new_words=words), generator=generator(0, "x")
    )
    vector = torch.tensor([0.6, 0.8], dtype=torch.float64)
    space = torch.tensor([1.6, 1.8], dtype=torch.float64)
    near = {"V": vector, " ": space}  # cosine 1 and nearly 1; bb comes third
    cosine = torch.stack([torch.dot(vector, one) / one.norm() for one in near.values()])
    weights = (cosine / 0.1).softmax(0).float()
    old = rows_of(system.model).embedding
    torch.testing.assert_close(rows_of(got.system.model).embedding[1], weights[0] * old[5] + weights[1] * old[2])
    assert got.report.uncovered == (2,)


def test_case_is_a_fallback_only():
    system = small(["Ab", "ab", "CD"])
    got = Ofa().transplant(
        system,
        Plain(["Ab", "aB", "cd"]),
        Languages(new_words=WordVectors(("ab",), torch.ones(1, 2))),
        generator=generator(0, "x"),
    )
    assert got.origin.tolist() == [0, 0, 2]


def test_bad_input(caplog):
    with pytest.raises(ValueError, match="rank 17 is more than the width 16"):
        moved(native(), rank=17)
    with pytest.raises(NotOffered, match="rank=None"):
        moved(native(tied=False), rank=4)
    few = Languages(new_words=WordVectors(("eng:sat",), torch.ones(1, 2)))
    with caplog.at_level(logging.WARNING):
        Ofa()(native(), new_tokenizer(), few, generator=generator(0, "x"))
    assert "eng 1 words" in caplog.text
    with pytest.raises(ValueError, match="one space"):
        Ofa()(
            native(),
            new_tokenizer(),
            Languages(new_words=few.new_words, old_words=WordVectors(("a",), torch.ones(1, 3))),
            generator=generator(0, "x"),
        )
    with pytest.raises(ValueError, match="carries one of the languages"):
        Ofa(languages=("fra",))(native(), new_tokenizer(), few, generator=generator(0, "x"))
    for settings in ({"rank": 0}, {"k": 0}, {"temperature": -1.0}, {"balance": "half"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Ofa(**settings)
