"""What every router holds: written against the protocol, run over the folder."""

import pytest
import torch

from tests.routing.made import EXPERTS, losses, prompts
from trivium.core.method import find, names
from trivium.core.nouns import Experts
from trivium.core.seeds import generator

ROUTERS = names("routing")
TEXTS, KINDS = prompts()


def fitted(name, texts=TEXTS, seen=None, experts=EXPERTS, seed=0):
    seen = losses(KINDS) if seen is None else seen
    return find("routing", name)().fit(texts, seen, experts, generator=generator(seed, "fit"))


@pytest.mark.parametrize("name", ROUTERS)
def test_it_names_an_expert_for_each_prompt(name):
    choice = fitted(name)(prompts(20, seed=1)[0])
    assert choice.dtype == torch.int64
    assert choice.shape == (20,)
    assert 0 <= int(choice.min()) <= int(choice.max()) < 3


@pytest.mark.parametrize("name", ROUTERS)
def test_same_seed_same_choices_and_nothing_is_changed_in_place(name):
    seen = losses(KINDS)
    before = seen.clone()
    fresh = prompts(20, seed=1)[0]
    assert torch.equal(fitted(name, seen=seen)(fresh), fitted(name, seen=seen)(fresh))
    assert torch.equal(seen, before)


@pytest.mark.parametrize("name", ROUTERS)
def test_a_choice_depends_on_no_other_prompt(name):
    router, fresh = fitted(name), prompts(12, seed=1)[0]
    together = router(fresh)
    assert router(fresh[::-1]).tolist() == together.tolist()[::-1]
    assert [int(router([one])[0]) for one in fresh] == together.tolist()


@pytest.mark.parametrize("name", [name for name in ROUTERS if name != "random_expert"])
def test_relabelling_the_experts_permutes_the_choices(name):
    order = [2, 0, 1]
    named = Experts(
        tuple(EXPERTS.names[at] for at in order),
        {cost: [values[at] for at in order] for cost, values in EXPERTS.costs.items()},
    )
    fresh = prompts(30, seed=1)[0]
    one = fitted(name)(fresh)
    other = fitted(name, seen=losses(KINDS)[:, order], experts=named)(fresh)
    assert [order[at] for at in other.tolist()] == one.tolist()


@pytest.mark.parametrize("name", ROUTERS)
def test_missing_losses_are_left_out_and_others_are_refused(name):
    seen = losses(KINDS)
    seen[::5, 1] = float("nan")
    assert fitted(name, seen=seen)(TEXTS[:3]).shape == (3,)
    with pytest.raises(ValueError, match="need losses of this shape, got"):
        fitted(name, seen=seen[:-1])
    with pytest.raises(ValueError, match="no loss of french was observed"):
        fitted(name, seen=torch.where(torch.tensor([False, True, False]), float("nan"), losses(KINDS)))
    with pytest.raises(ValueError, match="1 losses are infinite; give NaN"):
        seen[0, 0] = float("inf")
        fitted(name, seen=seen)
