"""Every decoder takes a structured prompt and honours it, or refuses it."""

import pytest
import torch

from tests.decoding.models import tiny
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.method import find, names
from trivium.core.nouns import Stop
from trivium.core.prompt import PromptPlan, pack
from trivium.decoding._loop import prefill, prepare
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative

NAMES = names("decoding")
REFUSE = ("bild", "cosmos", "ead", "hidden_state_optimization")
"""They pass their prompts as plain text: to two models, to a reference, chunk by chunk."""
BLOCKS = [[1, 9, 4], [[5, 6, 7], [11], [30, 31, 5, 6]], [8, 5, 6]]
LIMIT = 8


def decode(decoder, model, plans, limit=LIMIT, seed=0):
    ids, mask = pack(plans)
    return decoder(model, ids, mask=mask, limit=limit, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_follows_the_plan(name, family):
    model, plan, decoder = tiny(family), PromptPlan.of(BLOCKS), find("decoding", name)()
    if name in REFUSE:
        with Meter() as meter, pytest.raises(NotOffered, match=f"{name} reads its prompts as plain text"):
            decode(decoder, model, [plan])
        assert meter.spent.calls == 0
        return
    made = decode(decoder, model, [plan])
    law = getattr(decoder, "law", None)
    if law is not None:  # another model's law, over plain texts; that the same decoder is not blind to sets must do
        plain = decode(decoder, model, [PromptPlan.flat(BLOCKS)])
        assert not torch.allclose(made.logprobs, plain.logprobs)
        return
    whole = PromptPlan.of([*BLOCKS, made.ids[0].tolist()])
    with torch.no_grad():
        logits = model(whole.ids[None], mask=whole.mask, positions=whole.positions[None]).logits[0]
    own = logits.log_softmax(-1)[-LIMIT - 1 : -1].gather(1, made.ids[0][:, None])[:, 0]
    torch.testing.assert_close(made.logprobs[0], own, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REFUSE])
def test_the_order_of_parts_changes_nothing(name):
    other = [BLOCKS[0], BLOCKS[1][::-1], BLOCKS[2]]
    one, two = (decode(find("decoding", name)(), tiny(), [PromptPlan.of(blocks)]) for blocks in (BLOCKS, other))
    assert torch.equal(one.ids, two.ids)
    assert torch.equal(one.logprobs, two.logprobs)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REFUSE])
def test_a_row_of_a_ragged_batch_gives_what_it_gives_alone(name):
    plans = [PromptPlan.of(BLOCKS), PromptPlan.flat([[3, 4, 3]]), PromptPlan.of([BLOCKS[1], [9, 8]])]
    together = decode(find("decoding", name)(), tiny(), plans)
    alone = decode(find("decoding", name)(), tiny(), plans[:1])
    assert together.row(0).tolist() == alone.row(0).tolist()
    torch.testing.assert_close(together.logprobs[0], alone.logprobs[0], atol=1e-9, rtol=0)


@pytest.mark.parametrize("drafter", names("drafting"))
def test_speculation_keeps_its_law_behind_a_structured_prompt(drafter):
    plans = [PromptPlan.of(BLOCKS), PromptPlan.of([BLOCKS[1], [9, 8]])]
    speculative = Speculative(drafter=find("drafting", drafter)(), verifier="match", of=Sampling())
    fast = decode(speculative, tiny(), plans, limit=12)
    slow = decode(Sampling(), tiny(), plans, limit=12)
    assert torch.equal(fast.ids, slow.ids)
    torch.testing.assert_close(fast.logprobs, slow.logprobs, atol=1e-9, rtol=0)


def test_ordinary_text_takes_the_ordinary_way():
    plan = PromptPlan.of([[1, 2], [[3, 4]], [5]])
    full = plan.visible[None, None]
    prompts = prepare(Greedy(), tiny(), plan.ids[None], full, 4, Stop())
    assert prompts.visible is None
    assert torch.equal(prefill(tiny(), prompts).logits, tiny()(plan.ids[None], logits_to_keep=1).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask[:, :, :-1], "a 4-D mask must be bool of shape"),
        (lambda mask: mask.float(), "a 4-D mask must be bool"),
        (lambda mask: mask | torch.ones_like(mask).triu(1), "lets token 0 of row 0 see a later one"),
        (lambda mask: mask & ~torch.eye(mask.shape[-1], dtype=torch.bool), "does not see itself"),
    ],
)
def test_bad_masks_are_refused_before_any_work(change, message):
    ids, mask = pack([PromptPlan.of(BLOCKS)])
    with Meter() as meter, pytest.raises(ValueError, match=message):
        Greedy()(tiny(), ids, mask=change(mask), limit=2, generator=torch.Generator())
    assert meter.spent.calls == 0


def test_a_limit_beyond_the_positions_counts_positions_not_tokens():
    plan = PromptPlan.of([[1] * 100, [[4] * 20, [5] * 20], [6]])
    assert decode(Greedy(), tiny(), [plan], limit=7).lengths.tolist() == [7]  # 141 tokens, 121 positions of 128
    with pytest.raises(ValueError, match="a prompt of 121 tokens and 8 new ones"):
        decode(Greedy(), tiny(), [plan], limit=8)


def test_a_model_without_trees_refuses():
    model = tiny("mamba")
    with Meter() as meter, pytest.raises(NotOffered, match="greedy with a structured prompt needs"):
        decode(Greedy(), model, [PromptPlan.of(BLOCKS)])
    assert meter.spent.calls == 0
    assert decode(Greedy(), tiny("mamba"), [PromptPlan.flat(BLOCKS)]).lengths.tolist() == [LIMIT]
