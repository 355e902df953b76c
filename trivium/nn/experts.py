"""Mixtures of experts: which experts a token goes to, the products they make, and how far their load is from even.

    r_t = router scores;  p_t = softmax(r_t) over the experts
    token choice    S_t = the k largest of r_t;  g_te = p_te, or p_te over its sum in S_t where normalised
    expert choice   each expert takes the tokens with its largest p_te, as many as it has seats;  g_te = p_te
    y_t = sum over the experts e of token t of  g_te down_e (silu(gate_e x_t) * up_e x_t)
    balance_t = E sum_e f_e p_te,  f_e = share of e in all choices of the group, held constant;   z_t = logsumexp(r_t)^2

Tokens are in no order here: (tokens, width). ``grouped_experts`` sorts the choices by expert and makes one product per
expert, whatever its load; ``seated_experts`` gives every expert the same number of seats, of which some stay empty and
for which some choices find none left. Gates are computed in float32 or wider.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.nn.feedforward import swiglu


def top_experts(
    scores: Float[Tensor, "tokens experts"], k: int, *, normalised: bool
) -> tuple[Float[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
    """Gates and numbers of each token's k experts, the best first."""
    top, chosen = scores.topk(k, -1)
    if normalised:
        return top.softmax(-1), chosen
    return scores.softmax(-1).gather(-1, chosen), chosen


def top_experts_reference(
    scores: Float[Tensor, "tokens experts"], k: int, *, normalised: bool
) -> tuple[Float[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
    """``top_experts`` token by token."""
    gates, chosen = [], []
    for row in scores:
        best = sorted(range(len(row)), key=lambda expert: -row[expert].item())[:k]
        weights = row.exp() / row.exp().sum()
        picked = torch.stack([weights[expert] for expert in best])
        gates.append(picked / picked.sum() if normalised else picked)
        chosen.append(torch.tensor(best, device=scores.device))
    return torch.stack(gates), torch.stack(chosen)


def grouped_experts(
    x: Float[Tensor, "tokens width"],
    gates: Float[Tensor, "tokens k"],
    chosen: Int[Tensor, "tokens k"],
    gate: Float[Tensor, "experts hidden width"],
    up: Float[Tensor, "experts hidden width"],
    down: Float[Tensor, "experts width hidden"],
) -> Float[Tensor, "tokens width"]:
    """Every choice is served. A token's output depends on that token alone."""
    k = chosen.shape[1]
    order = chosen.flatten().argsort(stable=True)  # choices, expert by expert
    counts = torch.bincount(chosen.flatten(), minlength=len(gate)).tolist()
    done = []
    # The weights are taken apart once: indexing them per expert would make a gradient of their whole size for each.
    for rows, g, u, d in zip(
        x.index_select(0, order // k).split(counts), gate.unbind(), up.unbind(), down.unbind(), strict=True
    ):
        if len(rows):
            done.append(F.linear(swiglu(F.linear(rows, g), F.linear(rows, u)), d))
    out = torch.cat(done).index_select(0, order.argsort()).unflatten(0, (-1, k))  # (tokens, k, width)
    return (gates[..., None] * out).sum(1).to(x.dtype)


def grouped_experts_reference(
    x: Float[Tensor, "tokens width"],
    gates: Float[Tensor, "tokens k"],
    chosen: Int[Tensor, "tokens k"],
    gate: Float[Tensor, "experts hidden width"],
    up: Float[Tensor, "experts hidden width"],
    down: Float[Tensor, "experts width hidden"],
) -> Float[Tensor, "tokens width"]:
    """``grouped_experts`` token by token and choice by choice."""
    rows = []
    for token in range(len(x)):
        y = torch.zeros_like(x[token])
        for rank in range(chosen.shape[1]):
            expert = int(chosen[token, rank])
            inner = swiglu(gate[expert] @ x[token], up[expert] @ x[token])
            y = y + gates[token, rank] * (down[expert] @ inner)
        rows.append(y)
    return torch.stack(rows)


def seats_by_tokens(
    gates: Float[Tensor, "tokens k"],
    chosen: Int[Tensor, "tokens k"],
    experts: int,
    seats: int,
    real: Bool[Tensor, "tokens"] | None = None,
) -> tuple[Int[Tensor, "experts seats"], Float[Tensor, "experts seats"]]:
    """Who sits where, and with which gate; gate 0 is an empty seat.

    All first choices come before all second ones, and earlier tokens before later ones. Who finds no seat left is not
    served by that expert; what is not ``real`` takes none.
    """
    tokens, k = chosen.shape
    ranked = chosen.T.flatten()  # first choices of all tokens, then second ones
    if real is not None:
        ranked = ranked.masked_fill(~real.repeat(k), experts)
    queues, order = ranked.sort(stable=True)
    numbers = torch.arange(experts, device=chosen.device)
    place = torch.searchsorted(queues, numbers)[:, None] + torch.arange(seats, device=chosen.device)
    inside = place.clamp(max=len(queues) - 1)  # past the end of the last queue nobody waits
    taken = (place < len(queues)) & (queues[inside] == numbers[:, None])
    token, rank = order[inside] % tokens, order[inside] // tokens
    return token, gates[token, rank].masked_fill(~taken, 0.0)


def seats_by_tokens_reference(
    gates: Float[Tensor, "tokens k"],
    chosen: Int[Tensor, "tokens k"],
    experts: int,
    seats: int,
    real: Bool[Tensor, "tokens"] | None = None,
) -> tuple[Int[Tensor, "experts seats"], Float[Tensor, "experts seats"]]:
    """``seats_by_tokens`` one choice after another."""
    token = torch.zeros(experts, seats, dtype=torch.int64, device=chosen.device)
    held = torch.zeros(experts, seats, dtype=gates.dtype, device=gates.device)
    waiting = [0] * experts
    for rank in range(chosen.shape[1]):
        for at in range(len(chosen)):
            expert = int(chosen[at, rank])
            if (real is None or bool(real[at])) and waiting[expert] < seats:
                token[expert, waiting[expert]] = at
                held[expert, waiting[expert]] = gates[at, rank]
                waiting[expert] += 1
    return token, held


def seats_by_experts(
    p: Float[Tensor, "tokens experts"], seats: int, real: Bool[Tensor, "tokens"] | None = None
) -> tuple[Int[Tensor, "experts seats"], Float[Tensor, "experts seats"]]:
    """Each expert's tokens of largest probability, and those probabilities. At least so many tokens must be real."""
    if real is not None:
        p = p.masked_fill(~real[:, None], -1.0)
    held, token = p.topk(seats, 0)
    return token.T, held.T


def seated_experts(
    x: Float[Tensor, "tokens width"],
    token: Int[Tensor, "experts seats"],
    held: Float[Tensor, "experts seats"],
    gate: Float[Tensor, "experts hidden width"],
    up: Float[Tensor, "experts hidden width"],
    down: Float[Tensor, "experts width hidden"],
) -> Float[Tensor, "tokens width"]:
    """Every expert works on all its seats at once; a token without a seat gives zeros."""
    rows = x.index_select(0, token.flatten()).unflatten(0, token.shape)  # (experts, seats, width)
    out = swiglu(rows @ gate.mT, rows @ up.mT) @ down.mT * held[..., None]
    y = out.new_zeros(len(x), out.shape[-1])
    return y.index_add(0, token.flatten(), out.flatten(0, 1)).to(x.dtype)


def seated_experts_reference(
    x: Float[Tensor, "tokens width"],
    token: Int[Tensor, "experts seats"],
    held: Float[Tensor, "experts seats"],
    gate: Float[Tensor, "experts hidden width"],
    up: Float[Tensor, "experts hidden width"],
    down: Float[Tensor, "experts width hidden"],
) -> Float[Tensor, "tokens width"]:
    """``seated_experts`` seat by seat."""
    rows = [torch.zeros_like(row) for row in x]
    for expert in range(token.shape[0]):
        for seat in range(token.shape[1]):
            at = int(token[expert, seat])
            inner = swiglu(gate[expert] @ x[at], up[expert] @ x[at])
            rows[at] = rows[at] + held[expert, seat] * (down[expert] @ inner)
    return torch.stack(rows)


def shares(
    chosen: Int[Tensor, "groups tokens k"],
    experts: int,
    real: Bool[Tensor, "groups tokens"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "groups experts"]:
    """How the choices of each group's real tokens fall on the experts; each row sums to 1."""
    counted = torch.ones_like(chosen) if real is None else real[..., None].expand_as(chosen)
    counts = torch.zeros(len(chosen), experts, dtype=dtype, device=chosen.device)
    counts = counts.scatter_add(1, chosen.flatten(1), counted.flatten(1).to(dtype))
    return counts / counts.sum(-1, keepdim=True).clamp(min=1.0)


def balance_loss(
    p: Float[Tensor, "groups tokens experts"],
    chosen: Int[Tensor, "groups tokens k"],
    real: Bool[Tensor, "groups tokens"] | None = None,
) -> Float[Tensor, "groups tokens"]:
    """Of each token, so that its mean over the real ones is E sum_e f_e mean(p_e): 1 where all probabilities are even,
    more where the likely experts are the busy ones. A token that is not real has 0."""
    experts = p.shape[-1]
    each = experts * (p * shares(chosen, experts, real, p.dtype)[:, None]).sum(-1)
    return each if real is None else each.masked_fill(~real, 0.0)


def balance_loss_reference(
    p: Float[Tensor, "groups tokens experts"],
    chosen: Int[Tensor, "groups tokens k"],
    real: Bool[Tensor, "groups tokens"] | None = None,
) -> Float[Tensor, "groups tokens"]:
    """``balance_loss`` with its shares counted one by one."""
    groups, tokens, experts = p.shape
    rows = []
    for group in range(groups):
        counts = [0] * experts
        inside = [real is None or bool(real[group, token]) for token in range(tokens)]
        for token in range(tokens):
            for expert in chosen[group, token].tolist():
                counts[expert] += inside[token]
        total = sum(counts)
        for token in range(tokens):
            weighted = [count / total * p[group, token, expert] for expert, count in enumerate(counts)]
            rows.append(experts * sum(weighted) if inside[token] else p.new_zeros(()))
    return torch.stack(rows).view(groups, tokens)


def z_loss(scores: Float[Tensor, "groups tokens experts"]) -> Float[Tensor, "groups tokens"]:
    """Of each token, the square of the logarithm of its normaliser: small where scores are."""
    return scores.logsumexp(-1).square()
