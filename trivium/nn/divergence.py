"""Divergence from a distribution of which only the likeliest tokens are known, with the gradient worked out at once."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.nn._by_rows import clear, summed


def divergence_sum(
    logits: Float[Tensor, "rows vocab"],
    tokens: Int[Tensor, "rows k"],
    logprobs: Float[Tensor, "rows k"],
    counted: Bool[Tensor, "rows"],
) -> Float[Tensor, ""]:
    """Sum over the counted rows of KL(p || softmax(logits)), where p gives these log-probabilities to these distinct
    tokens and what is left to all others as one class; k is smaller than the vocabulary. At least in float32.

    One exponential per logit serves both passes: with q the softmax, r the mass of p's last class and R that of q's,
    the gradient is q - p at a known token and q (1 - r / R) at any other.
    """
    return summed(_piece, logits, tokens, logprobs, counted)


def divergence_sum_reference(logits: Tensor, tokens: Tensor, logprobs: Tensor, counted: Tensor) -> Tensor:
    """The definition, by operations that differentiate themselves."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_p, left = _known(logprobs.to(logits.dtype))
    total = logits.logsumexp(-1, keepdim=True)
    others = logits.scatter(-1, tokens, float("-inf")).logsumexp(-1, keepdim=True) - total
    log_q = torch.cat([logits.gather(-1, tokens) - total, others], -1)
    log_p = torch.cat([log_p, left.log()], -1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)[counted].sum()


def _known(log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities, none of them infinite, and what they leave of 1, as a tiny number at least."""
    tiny = torch.finfo(log_p.dtype).tiny
    return log_p.clamp(min=torch.finfo(log_p.dtype).min), (1 - log_p.exp().sum(-1, keepdim=True)).clamp(min=tiny)


def _piece(shifted: Tensor, tokens: Tensor, logprobs: Tensor, counted: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
    own = counted[:, None]
    log_p, left = _known(logprobs.to(shifted.dtype))
    p, chosen = log_p.exp(), shifted.gather(1, tokens)
    slope = shifted.exp_()
    exponentials = slope.gather(1, tokens)
    slope.scatter_(1, tokens, 0.0)
    others = slope.sum(-1, keepdim=True).clamp(min=torch.finfo(slope.dtype).tiny)
    mass = others + exponentials.sum(-1, keepdim=True)

    def gradient() -> Tensor:
        whole = p.sum(-1, keepdim=True) + left
        slope.mul_(whole / mass - left / others)
        slope.scatter_(1, tokens, whole / mass * exponentials - p)
        clear(slope, ~own)
        return slope

    parts = torch.cat([p * (log_p - chosen + mass.log()), left * (left.log() - others.log() + mass.log())], -1)
    return parts.sum(-1, keepdim=True).masked_fill_(~own, 0.0).sum(), gradient
