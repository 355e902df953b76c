"""Divergence from a distribution of which only the likeliest tokens are known, with the gradient worked out at once."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.nn.cross_entropy import ROWS


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
    total: Tensor = _DivergenceSum.apply(logits, tokens, logprobs, counted)  # type: ignore[assignment]
    return total


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


class _DivergenceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits: Tensor, tokens: Tensor, logprobs: Tensor, counted: Tensor) -> Tensor:  # type: ignore[override]
        wide = torch.promote_types(logits.dtype, torch.float32)
        tiny = torch.finfo(wide).tiny
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=wide, device=logits.device)
        for start in range(0, len(logits), ROWS):
            rows = slice(start, start + ROWS)
            known, own = tokens[rows], counted[rows, None]
            log_p, left = _known(logprobs[rows].to(wide))
            given = logits[rows].to(wide)
            room = gradient[rows] if gradient is not None and wide == logits.dtype else None
            shifted = torch.sub(given, given.amax(-1, keepdim=True), out=room)
            chosen = shifted.gather(1, known)
            slope = shifted.exp_()
            exponentials = slope.gather(1, known)
            slope.scatter_(1, known, 0.0)
            others = slope.sum(-1, keepdim=True).clamp(min=tiny)
            mass = others + exponentials.sum(-1, keepdim=True)
            p = log_p.exp()
            parts = torch.cat([p * (log_p - chosen + mass.log()), left * (left.log() - others.log() + mass.log())], -1)
            total += parts.sum(-1, keepdim=True).masked_fill_(~own, 0.0).sum()
            if gradient is not None:
                whole = p.sum(-1, keepdim=True) + left
                slope.mul_(whole / mass - left / others)
                slope.scatter_(1, known, whole / mass * exponentials - p)
                slope.mul_(own)
                if room is None:
                    gradient[rows] = slope
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        if scale.device.type == "cpu" and scale.item() == 1.0:  # total.backward(), the usual case
            return gradient, None, None, None
        return gradient * scale.to(gradient.dtype), None, None, None
