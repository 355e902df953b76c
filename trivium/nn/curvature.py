"""Traces of the curvature of a loss, from vectors alone: the matrix is never made.

    hutchinson      v^T H v, v of independent signs;  its mean is tr H, and that of v_k^T (H v)_k the trace of block k
    score_squares   |sum_t s_t|^2,  s_t = grad ln p(y_t | x),  y_t ~ p(. | x);  its mean is sum_t E |s_t|^2, the trace
                    of the Gauss-Newton matrix of the summed loss: scores have mean 0 and are independent given x

Both give one number per draw and tensor, so that errors and blocks can be told. The ``_reference`` beside each is the
number that its mean estimates, worked out coordinate by coordinate or answer by answer.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def hutchinson(
    loss: Float[Tensor, ""], tensors: Sequence[Tensor], draws: int, *, generator: torch.Generator
) -> Float[Tensor, "draws tensors"]:
    """One product of the Hessian with a vector per draw. The loss must allow a second backward pass."""
    gradients = _gradient(loss, tensors, create_graph=True)
    found = []
    for _ in range(draws):
        signs = [_signs(tensor, generator) for tensor in tensors]
        along = torch.stack([(g * v).sum() for g, v in zip(gradients, signs, strict=True)]).sum()
        products = _gradient(along, tensors) if along.requires_grad else [torch.zeros_like(v) for v in signs]
        found.append(torch.stack([(h * v).sum() for h, v in zip(products, signs, strict=True)]))
    return torch.stack(found).detach()


def hutchinson_reference(loss: Float[Tensor, ""], tensors: Sequence[Tensor]) -> Float[Tensor, "tensors"]:
    """The trace of each block of the Hessian: one backward pass per coordinate."""
    found = []
    for tensor, gradient in zip(tensors, _gradient(loss, tensors, create_graph=True), strict=True):
        trace = torch.zeros((), dtype=tensor.dtype, device=tensor.device)
        for index, slope in enumerate(gradient.flatten()):
            if slope.requires_grad:
                trace = trace + _gradient(slope, [tensor])[0].flatten()[index]
        found.append(trace)
    return torch.stack(found).detach()


def score_squares(
    logits: Float[Tensor, "positions vocab"], tensors: Sequence[Tensor], draws: int, *, generator: torch.Generator
) -> Float[Tensor, "draws tensors"]:
    """One backward pass per draw, of answers that the model itself gives at all positions."""
    logp = logits.log_softmax(-1)
    p = logp.detach().exp().cpu()
    found = []
    for _ in range(draws):
        answers = torch.multinomial(p, 1, generator=generator).to(logp.device)
        scores = _gradient(logp.gather(1, answers).sum(), tensors)
        found.append(torch.stack([score.square().sum() for score in scores]))
    return torch.stack(found).detach()


def score_squares_reference(
    logits: Float[Tensor, "positions vocab"], tensors: Sequence[Tensor]
) -> Float[Tensor, "tensors"]:
    """The mean over all answers, position by position: one backward pass for each."""
    logp = logits.log_softmax(-1)
    total = torch.zeros(len(tensors), dtype=logits.dtype, device=logits.device)
    for row in logp:
        for answer in row:
            scores = _gradient(answer, tensors)
            total = total + answer.detach().exp() * torch.stack([score.square().sum() for score in scores])
    return total.detach()


def _gradient(value: Tensor, tensors: Sequence[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Zeros where a tensor does not matter."""
    return torch.autograd.grad(
        value, tensors, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """+1 or -1, each with probability 1/2; drawn on the CPU, so that a device changes nothing."""
    return (torch.randint(2, like.shape, generator=generator) * 2 - 1).to(like.device, like.dtype)
