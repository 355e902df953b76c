"""Prompts with sets on models of learned, rotary and windowed positions, ours and wrapped ones."""

import dataclasses
import itertools

import pytest
import torch

from tests.families import CONTEXT, VOCAB, wrapped
from trivium.architectures.llama import Llama
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.prompt import PromptPlan, pack
from trivium.models.planned import answer_logprobs, pass_masked, prefill

FAMILIES = ("gpt2", "llama", "gemma", "gpt_neox", "opt", "native")
A, C = [1, 9, 4], [8, 2]
PARTS = [[5, 6, 7], [11], [30, 31, 32, 33, 34, 35, 36], [12, 5]]
ORDERS = list(itertools.permutations(range(4)))[::5]


def made(family):
    if family == "native":
        model = Llama(width=32, depth=2, heads=4, context=CONTEXT).build(VOCAB, seed=1).double()
        with torch.no_grad():  # larger than the usual start, so that positions matter
            for weight in model.parameters():
                weight.mul_(10.0 if weight.ndim == 2 else 1.0)
        return model
    return wrapped(family)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return made(request.param)


def blocks(order=range(4), parts=PARTS):
    return [A, [parts[part] for part in order], C]


@torch.no_grad()
def last(model, plan):
    return model(plan.ids[None], mask=plan.mask, positions=plan.positions[None]).logits[0, -1]


def gap(model, plans):
    rows = [last(model, plan) for plan in plans]
    return max(float((row - rows[0]).abs().max()) for row in rows)


@torch.no_grad()
def test_permutations_agree_bit_for_bit_in_canonical_order_and_to_rounding_without(model):
    rows = [prefill(model, PromptPlan.of(blocks(order))).logits for order in ORDERS]
    assert all(torch.equal(row, rows[0]) for row in rows)
    free = [prefill(model, PromptPlan.of(blocks(order), canonical=False)).logits[0, -1] for order in ORDERS]
    # Norms of wrapped models run in float32 even in float64, which leaves nothing of an order behind them but rounding.
    assert max(float((row - free[0]).abs().max()) for row in free) < 1e-10
    torch.testing.assert_close(free[0], rows[0][0, -1], atol=1e-10, rtol=0)


def test_without_the_mask_or_the_shared_positions_the_order_is_seen(model):
    plans = [PromptPlan.of(blocks(order), canonical=False) for order in ORDERS]
    flat = PromptPlan.flat(blocks())
    blind = [dataclasses.replace(plan, visible=flat.visible) for plan in plans]
    apart = [dataclasses.replace(plan, positions=flat.positions) for plan in plans]
    assert gap(model, plans) < 1e-10
    assert gap(model, blind) > 1e-3
    assert gap(model, apart) > 1e-3
    assert gap(model, [PromptPlan.flat(blocks(order)) for order in ORDERS]) > 1e-3


def test_states_of_a_part_do_not_depend_on_the_others(model):
    others = [PARTS[0], [44, 45], [3], [2, 2, 2, 2]]
    found = []
    for parts in (PARTS, others, [PARTS[0]]):
        plan = PromptPlan.of([A, parts, C])
        with torch.no_grad():
            hidden = model(plan.ids[None], mask=plan.mask, positions=plan.positions[None]).hidden[0]
        found.append(hidden[plan.spans[0][0]])
    for one in found[1:]:
        torch.testing.assert_close(one, found[0], atol=1e-10, rtol=0)


@torch.no_grad()
def test_one_part_is_the_plain_prompt_token_for_token(model):
    plan = PromptPlan.of([A, [PARTS[2]], C])
    plain = model(torch.tensor([A + PARTS[2] + C]), keep_state=True)
    out = prefill(model, plan, logits_to_keep=0)
    assert torch.equal(out.logits, plain.logits)
    assert out.state.lengths.tolist() == out.state.next_position.tolist() == [len(plan)]


@torch.no_grad()
def test_duplicates_are_allowed_and_count(model):
    twice, other = ([A, [*PARTS[:2], PARTS[0]], C], [A, [PARTS[0], PARTS[0], PARTS[1]], C])
    one = prefill(model, PromptPlan.of(twice)).logits
    assert torch.equal(one, prefill(model, PromptPlan.of(other)).logits)
    assert float((one - prefill(model, PromptPlan.of([A, PARTS[:2], C])).logits).abs().max()) > 1e-3


@torch.no_grad()
def test_several_sets(model):
    def plan(first, second, canonical=True):
        return PromptPlan.of(
            [[[4, 5], [6]][:: first or 1], A, [[7, 7, 7], [8], [9, 10]][::second], C], canonical=canonical
        )

    rows = [prefill(model, plan(*flips)).logits for flips in itertools.product((1, -1), repeat=2)]
    assert all(torch.equal(row, rows[0]) for row in rows)
    free = [prefill(model, plan(*flips, canonical=False)).logits for flips in itertools.product((1, -1), repeat=2)]
    for row in free:
        torch.testing.assert_close(row, rows[0], atol=1e-10, rtol=0)


@torch.no_grad()
def test_going_on_from_the_state_equals_recomputation(model):
    plan, new = PromptPlan.of(blocks()), [17, 3, 40, 41]
    whole = PromptPlan.of([*blocks(), new])
    expected = model(whole.ids[None], mask=whole.mask, positions=whole.positions[None]).logits[0, -len(new) :]
    out = prefill(model, plan)
    assert out.state.next_position.tolist() == [plan.end]
    assert out.state.lengths.tolist() == [len(plan)]
    state, steps = out.state, []
    for token in new:  # one by one, at positions that the state counts on
        step = model(torch.tensor([[token]]), state=state, keep_state=True)
        steps.append(step.logits[0, -1])
        state = step.state
    torch.testing.assert_close(torch.stack(steps), expected, atol=1e-10, rtol=0)
    together = model(torch.tensor([new]), state=out.state).logits[0]
    torch.testing.assert_close(together, expected, atol=1e-10, rtol=0)
    back = state.truncate(len(plan) + 1)  # as a verifier that refuses drafts does
    assert back.next_position.tolist() == [plan.end + 1]
    torch.testing.assert_close(
        model(torch.tensor([new[1:2]]), state=back).logits[0, -1], expected[1], atol=1e-10, rtol=0
    )


@torch.no_grad()
def test_a_state_is_branched_and_its_rows_selected(model):
    out = prefill(model, PromptPlan.of(blocks()))
    rows = out.state.select(torch.tensor([0, 0]))
    assert rows.next_position.tolist() == out.state.next_position.tolist() * 2
    both = model(torch.tensor([[3], [4]]), state=rows).logits
    for row, token in enumerate((3, 4)):
        one = model(torch.tensor([[token]]), state=out.state).logits[0]
        torch.testing.assert_close(both[row], one, atol=1e-10, rtol=0)


@torch.no_grad()
def test_the_prefix_is_passed_once_for_all_orders(model):
    prefix = model(torch.tensor([A]), keep_state=True).state
    for order in ORDERS:
        plan = PromptPlan.of(blocks(order), canonical=False)
        out, whole = prefill(model, plan, state=prefix), prefill(model, plan)
        torch.testing.assert_close(out.logits, whole.logits, atol=1e-10, rtol=0)
        assert out.state.next_position.tolist() == [plan.end]
        after = [model(torch.tensor([[21]]), state=one.state).logits for one in (out, whole)]
        torch.testing.assert_close(after[0], after[1], atol=1e-10, rtol=0)
    with pytest.raises(ValueError, match="one must be left"):
        prefill(model, PromptPlan.of([A]), state=prefix)


@torch.no_grad()
def test_the_padded_variant_equals_the_unpadded_one(model):
    plan, padded = PromptPlan.of(blocks()), PromptPlan.of(blocks(), padded=True, pad=13)
    out, other = prefill(model, plan), prefill(model, padded)
    torch.testing.assert_close(other.logits, out.logits, atol=1e-10, rtol=0)
    assert other.state.lengths.tolist() == out.state.lengths.tolist()
    after = [model(torch.tensor([[21]]), state=one.state).logits for one in (out, other)]
    torch.testing.assert_close(after[0], after[1], atol=1e-10, rtol=0)


@torch.no_grad()
def test_rows_of_a_batch_are_what_they_are_alone(model):
    plans = [PromptPlan.of(blocks()), PromptPlan.flat([A, C]), PromptPlan.of([[PARTS[1], PARTS[0]], A])]
    ids, mask = pack(plans)
    where = torch.stack([torch.nn.functional.pad(plan.positions, (ids.shape[1] - len(plan), 0)) for plan in plans])
    out = pass_masked(model, ids, mask, where)
    assert out.state.next_position.tolist() == [plan.end for plan in plans]
    next_one = model(torch.tensor([[7]] * 3), state=out.state).logits
    for row, plan in enumerate(plans):
        alone = prefill(model, plan)
        torch.testing.assert_close(out.logits[row], alone.logits[0], atol=1e-10, rtol=0)
        step = model(torch.tensor([[7]]), state=alone.state).logits[0]
        torch.testing.assert_close(next_one[row], step, atol=1e-10, rtol=0)


def test_answers_are_scored_as_whole_texts_are(model):
    plan, answers = PromptPlan.of(blocks()), [[17], [3, 40, 41], [9, 9]]
    found = answer_logprobs(model, plan, answers)
    for answer, given in zip(answers, found, strict=True):
        whole = PromptPlan.of([*blocks(), answer])
        with torch.no_grad():
            logits = model(whole.ids[None], mask=whole.mask, positions=whole.positions[None]).logits[0]
        logp = logits.log_softmax(-1)[-len(answer) - 1 : -1].gather(1, torch.tensor(answer)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(given, dtype=logp.dtype), logp, atol=1e-6, rtol=0)


@torch.no_grad()
def test_bad_input_and_models_that_cannot():
    model, mamba = made("llama"), made("mamba")
    with pytest.raises(NotOffered, match="'tree'"):
        prefill(mamba, PromptPlan.of(blocks()))
    assert answer_logprobs(mamba, PromptPlan.flat(blocks()), [[3], [4, 5]])[1]
    with pytest.raises(ValueError, match="at least one token"):
        answer_logprobs(model, PromptPlan.of(blocks()), [[3], []])
    long = PromptPlan.of([[3] * (CONTEXT - 8), [[4] * 4, [5]], [6]])
    assert long.end == CONTEXT - 3
    assert answer_logprobs(model, long, [[3, 4, 5]])
    with pytest.raises(ValueError, match=f"reaches position {CONTEXT - 3} and an answer of 4 tokens"):
        answer_logprobs(model, long, [[3, 4, 5, 6]])
    with pytest.raises(ValueError, match="shorten"):
        prefill(model, PromptPlan.of([[3] * CONTEXT, [[4] * 4, [5]], [6]]))
    model.inner.lm_head.weight[5] = torch.nan
    with pytest.raises(NotFinite):
        answer_logprobs(model, PromptPlan.of(blocks()), [[3]])
