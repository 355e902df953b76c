"""Layers that pass on a mean and a variance instead of a number (natural-parameter networks, Gaussian).

    linear:   m = a_m W_m + b_m;   s = a_s W_s + a_s W_m^2 + a_m^2 W_s + b_s, exact for independent Gaussians
    sigmoid:  m' = sigma(m / sqrt(1 + z^2 s));   s' = sigma(c (m + h) / sqrt(1 + z^2 c^2 s)) - m'^2,
              z^2 = pi/8, c = 4 - 2 sqrt 2, h = -log(sqrt 2 + 1), with which sigma(c (x + h)) is near sigma(x)^2:
              at most 0.03 away, so that the variance is no nearer to the truth either

Source: Wang, Shi and Yeung 2016, "Natural-Parameter Networks", arXiv:1611.00448, from general knowledge of it.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_ZETA = math.pi / 8
_SLOPE = 4 - 2 * math.sqrt(2)
_SHIFT = -math.log(math.sqrt(2) + 1)


def moments_linear(
    mean: Float[Tensor, "*batch inputs"],
    variance: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "inputs outputs"],
    weight_variance: Float[Tensor, "inputs outputs"],
    bias: Float[Tensor, "outputs"],
    bias_variance: Float[Tensor, "outputs"],
) -> tuple[Float[Tensor, "*batch outputs"], Float[Tensor, "*batch outputs"]]:
    """Mean and variance of a linear layer whose input and weights are uncertain."""
    return (
        mean @ weight + bias,
        variance @ (weight_variance + weight.square()) + mean.square() @ weight_variance + bias_variance,
    )


def moments_sigmoid(
    mean: Float[Tensor, "*batch units"], variance: Float[Tensor, "*batch units"]
) -> tuple[Float[Tensor, "*batch units"], Float[Tensor, "*batch units"]]:
    """Mean and variance of the sigmoid of a Gaussian, nearly."""
    out = torch.sigmoid(mean / (1 + _ZETA * variance).sqrt())
    square = torch.sigmoid(_SLOPE * (mean + _SHIFT) / (1 + _ZETA * _SLOPE**2 * variance).sqrt())
    return out, (square - out.square()).clamp(min=0)


def moments_linear_reference(
    mean: Float[Tensor, "*batch inputs"],
    variance: Float[Tensor, "*batch inputs"],
    weight: Float[Tensor, "inputs outputs"],
    weight_variance: Float[Tensor, "inputs outputs"],
    bias: Float[Tensor, "outputs"],
    bias_variance: Float[Tensor, "outputs"],
) -> tuple[Float[Tensor, "*batch outputs"], Float[Tensor, "*batch outputs"]]:
    """``moments_linear`` product by product: var(a w) = E a^2 E w^2 - (E a)^2 (E w)^2."""
    means, variances = [], []
    for column in range(weight.shape[1]):
        total, spread = bias[column], bias_variance[column]
        for row in range(weight.shape[0]):
            a, w = mean[..., row], weight[row, column]
            second = (a**2 + variance[..., row]) * (w**2 + weight_variance[row, column])
            total, spread = total + a * w, spread + second - a**2 * w**2
        means.append(total)
        variances.append(spread)
    return torch.stack(means, -1), torch.stack(variances, -1)


def gaussian_loss(
    mean: Float[Tensor, "*batch"], variance: Float[Tensor, "*batch"], target: Float[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the targets, without its constant."""
    return F.gaussian_nll_loss(mean, target, variance, eps=1e-6)
