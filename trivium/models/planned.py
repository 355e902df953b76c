"""Structured prompts on a model: the pass over a plan, a state to go on from, and the likelihood of answers."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.errors import NotOffered
from trivium.core.prompt import PromptPlan
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.models._selfcheck import TOLERANCE
from trivium.nn.finite import check_finite

NEEDS = ("causal", "state", "tree", "gather")
"""What a model must offer to be given a prompt with sets."""


def pass_masked(
    model: LanguageModel,
    ids: Tensor,
    mask: Tensor,
    positions: Tensor,
    *,
    state: State | None = None,
    logits_to_keep: int = 1,
) -> LMOutput:
    """One pass over prompts (batch, time) whose tokens see what ``mask`` (batch, 1, time, slots + time) says and stand
    at ``positions`` (batch, time). The state that comes out holds the tokens that see themselves; the rest is padding.
    """
    out = model(ids, mask=mask, positions=positions, state=state, keep_state=True, logits_to_keep=logits_to_keep)
    after = out.state
    assert after is not None
    slots = after.slots - ids.shape[1]
    before = positions[:, :0] if state is None else _positions(state).to(positions.device)
    after = after.placed(torch.cat([before, positions], 1))
    real = mask[:, 0, :, slots:].diagonal(dim1=1, dim2=2)
    return replace(out, state=after if real.all() else after.gather(real))


def prefill(model: LanguageModel, plan: PromptPlan, *, state: State | None = None, logits_to_keep: int = 1) -> LMOutput:
    """The prompt is passed. ``state``: holds its first columns already, such as those before a set, whose parts may
    then be put in any order without passing them again."""
    first = 0 if state is None else state.slots
    if first >= len(plan):
        raise ValueError(f"the state holds {first} columns, the prompt has only {len(plan)}; one must be left to pass")
    plan = plan.to(model.device)
    ids = plan.ids[None, first:]
    if plan.plain:
        return model(ids, state=state, keep_state=True, logits_to_keep=logits_to_keep)
    require_offers("a prompt with sets", model, NEEDS)
    room = model.max_positions
    if room is not None and plan.end > room:
        raise ValueError(
            f"a prompt that reaches position {plan.end} is longer than the {room} of this model; shorten it"
        )
    mask, where = plan.visible[None, None, first:], plan.positions[None, first:]
    return pass_masked(model, ids, mask, where, state=state, logits_to_keep=logits_to_keep)


@torch.no_grad()
def answer_logprobs(model: LanguageModel, plan: PromptPlan, answers: Sequence[Sequence[int]]) -> list[list[float]]:
    """The log-probability of each token of each answer behind the prompt: one pass over the prompt, and one over all
    answers, in float32 at least. Raises ValueError for an answer without tokens, NotFinite for a broken model."""
    if not answers or not all(answers):
        raise ValueError(f"each of {len(answers)} answers needs at least one token")
    longest = max(map(len, answers))
    room = model.max_positions
    if room is not None and plan.end + longest > room:
        raise ValueError(
            f"a prompt that reaches position {plan.end} and an answer of {longest} tokens are more than the {room} "
            "positions of this model; shorten the prompt"
        )
    out = prefill(model, plan)
    logits, state = out.logits.expand(len(answers), -1, -1), out.state
    ids = torch.tensor([[*answer, *[0] * (longest - len(answer))] for answer in answers], device=model.device)
    if longest > 1:  # padding stands on the right, where no token of an answer sees it
        assert state is not None
        rows = state.select(torch.zeros(len(answers), dtype=torch.int64))
        logits = torch.cat([logits, model(ids[:, :-1], state=rows).logits], 1)
    real = torch.tensor([[at < len(answer) for at in range(longest)] for answer in answers], device=model.device)
    used = torch.where(real[..., None], logits, 0.0)
    check_finite(used, "the answers behind a prompt")
    logp = used.to(torch.promote_types(used.dtype, torch.float32)).log_softmax(-1).gather(2, ids[..., None])[..., 0]
    return [row[: len(answer)] for row, answer in zip(logp.tolist(), answers, strict=True)]


@torch.no_grad()
def check_orders(model: LanguageModel) -> None:
    """Two passes over random tokens in which two parts of different lengths change places. Raises NotOffered where the
    model can tell the difference, since it then ignores the positions or the mask that it is given."""
    require_offers("a prompt with sets", model, NEEDS)
    generator = torch.Generator().manual_seed(0)
    before, short, long, after = (
        torch.randint(model.vocab_size, (count,), generator=generator).tolist() for count in (3, 2, 4, 2)
    )
    plans = [PromptPlan.of([before, parts, after], canonical=False) for parts in ([short, long], [long, short])]
    one, other = (prefill(model, plan).logits.double() for plan in plans)
    gap = float((one - other).square().mean().sqrt()) / max(float(one.std()), 1e-12)
    limit = TOLERANCE.get(model.dtype, 1e-1)
    if not gap <= limit:
        raise NotOffered(
            f"this model sees the order of parts that should have none: logits differ by {gap:.2g} of their spread "
            f"(at most {limit:g} is rounding), so it ignores the positions or the mask of a prompt with sets"
        )


def _positions(state: State) -> Tensor:
    at = getattr(state, "at", None)
    if at is None:
        raise TypeError(f"a {type(state).__name__} does not know where its tokens stand")
    return at()
