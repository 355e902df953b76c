"""Units of a whole model: each text as alone, what is read where, and what is switched off."""

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import NotOffered
from trivium.core.seeds import generator
from trivium.models.system import System
from trivium.models.units import ablated, by_site, flat, random_units, responses, unit_sites
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["hello there", "x", "a longer text, really", "wörld"]


@pytest.fixture(scope="module")
def system():
    return System(wrapped("llama", vocab_size=259), ByteTokenizer(), "made")


def alone(system, text, site):
    with torch.no_grad(), system.model.capture(site) as seen:
        system.model(system.prompt(text))
    return seen[site][0]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_text_is_read_whole_and_as_alone(system, batch_size):
    """At its last token, or at the mean over all but the first; in batches as one by one."""
    last = responses(system, TEXTS, batch_size=batch_size)
    mean = responses(system, TEXTS, reading="mean", batch_size=batch_size)
    assert list(last) == list(unit_sites(system.model)) == [f"blocks.{layer}.out" for layer in range(3)]
    for site in last:
        for at, text in enumerate(TEXTS):
            states = alone(system, text, site)
            torch.testing.assert_close(last[site][at], states[-1], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(mean[site][at], states[1:].mean(0), atol=1e-5, rtol=1e-4)
    assert flat(last).shape == (4, 96)
    torch.testing.assert_close(flat(last)[:, 32:64], last["blocks.1.out"])


def test_a_single_token_is_its_own_mean():
    class Plain(ByteTokenizer):
        opening = ()

    plain = System(wrapped("llama", vocab_size=259), Plain(), "plain")
    got = responses(plain, ["x"], reading="mean", sites=["blocks.0.out"])["blocks.0.out"]
    torch.testing.assert_close(got[0], alone(plain, "x", "blocks.0.out")[0])


def test_units_that_are_off_are_zero_and_all_others_below_untouched(system):
    mask = torch.zeros(96, dtype=torch.bool)
    mask[[33, 40, 95]] = True
    ids = system.prompt(TEXTS[0])
    before = system.model(ids).logits
    plain = {site: alone(system, TEXTS[0], site) for site in unit_sites(system.model)}
    with ablated(system.model, mask), system.model.capture(*unit_sites(system.model)) as seen, torch.no_grad():
        system.model(ids)
    assert torch.equal(seen["blocks.0.out"][0], plain["blocks.0.out"])
    expected = plain["blocks.1.out"].clone()
    expected[:, [1, 8]] = 0
    assert torch.equal(seen["blocks.1.out"][0], expected)
    assert seen["blocks.2.out"][0][:, 31].abs().max() == 0
    assert (seen["blocks.2.out"][0] - plain["blocks.2.out"]).abs().max() > 1e-4
    assert torch.equal(system.model(ids).logits, before)
    assert list(by_site(system.model, mask)) == ["blocks.1.out", "blocks.2.out"]


def test_random_masks_are_as_large_in_all_or_in_each_layer():
    like = torch.zeros(90, dtype=torch.bool)
    like[:4] = like[70:72] = True
    draws = torch.stack([random_units(like, generator(seed)) for seed in range(200)])
    assert draws.sum(1).unique().tolist() == [6]
    assert draws.sum(0).min() > 0
    layered = torch.stack([random_units(like, generator(seed), blocks=3) for seed in range(20)])
    assert layered.view(20, 3, 30).sum(2).unique(dim=0).tolist() == [[4, 0, 2]]
    assert not torch.equal(layered[0], layered[1])


def test_misuse_is_told(system):
    with pytest.raises(ValueError, match="no text"):
        responses(system, [])
    with pytest.raises(ValueError, match="text 1 is empty"):
        responses(system, ["a", "  "])
    with pytest.raises(ValueError, match="reading must be one of last, mean"):
        responses(system, TEXTS, reading="first")
    with pytest.raises(ValueError, match="text 1 has 301 tokens, the model 128 positions"):
        responses(system, ["a", "a" * 300])
    for wrong in (torch.ones(96), torch.zeros(96, dtype=torch.bool), torch.ones(95, dtype=torch.bool)):
        with pytest.raises(ValueError, match="bool mask over the outputs of 3 blocks"):
            by_site(system.model, wrong)
    with (
        pytest.raises(ValueError, match=r"blocks.0.out has 32 units, the mask 2"),
        ablated(system.model, torch.ones(6, dtype=torch.bool)),
    ):
        system.model(system.prompt("a"))
    blind = wrapped("llama", vocab_size=259)
    blind.offers -= {"sites"}
    with pytest.raises(NotOffered, match="sites"):
        unit_sites(blind)
