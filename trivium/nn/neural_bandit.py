"""A neural bandit: a small network that learns what choices are worth, and how unsure it is of those not yet made.

Source: Zhou et al. 2020, "Neural Contextual Bandits with UCB-based Exploration", arXiv:1911.04462, with a diagonal U.

    f(x)     = a network of ReLU layers with one output, fitted anew from the same beginning by squared error
    ucb(x)   = f(x) + sqrt(reg * explore * sum_j g_j(x)^2 / U_j),   g = df / dparameters
    U        = reg at first;  U + g(x)^2 once x was chosen
"""

import copy
import itertools

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.functional import mse_loss

Parameters = dict[str, Tensor]


def network(inputs: int, width: int = 100, depth: int = 3, *, generator: torch.Generator) -> torch.nn.Module:
    """``depth`` hidden layers in float64, drawn as PyTorch draws linear layers, from the generator."""
    if min(inputs, width, depth) < 1:
        raise ValueError(f"inputs, width and depth must be at least 1, got {inputs}, {width} and {depth}")
    sizes = [inputs, *[width] * depth, 1]
    layers: list[torch.nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layer = torch.nn.utils.skip_init(torch.nn.Linear, before, after, dtype=torch.float64)
        for parameter in layer.parameters():
            torch.nn.init.uniform_(parameter.data, -(before**-0.5), before**-0.5, generator=generator)
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def beginning(net: torch.nn.Module) -> Parameters:
    """The network's parameters, copied: from where every fit begins."""
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def fitted(
    net: torch.nn.Module,
    begin: Parameters,
    x: Float[Tensor, "rows inputs"],
    y: Float[Tensor, "rows"],
    *,
    steps: int = 1000,
    rate: float = 1e-3,
    decay: float = 0.0,
) -> Parameters:
    """Parameters after so many steps of Adam on the mean squared error of all rows."""
    learning = copy.deepcopy(net)
    learning.load_state_dict(begin)
    optimizer = torch.optim.Adam(learning.parameters(), lr=rate, weight_decay=decay, fused=True)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            mse_loss(learning(x)[:, 0], y).backward()
            optimizer.step()
    return beginning(learning)


def gradients(
    net: torch.nn.Module, parameters: Parameters, x: Float[Tensor, "rows inputs"]
) -> Float[Tensor, "rows parameters"]:
    """df / dparameters of each row, in one batched pass."""

    def value(given: Parameters, row: Tensor) -> Tensor:
        return functional_call(net, given, row[None])[0, 0]

    each = vmap(grad(value), in_dims=(None, 0))(parameters, x)
    return torch.cat([part.flatten(1) for part in each.values()], 1)


def gradients_reference(
    net: torch.nn.Module, parameters: Parameters, x: Float[Tensor, "rows inputs"]
) -> Float[Tensor, "rows parameters"]:
    """``gradients`` row by row."""
    rows = []
    for row in x:
        given = {name: value.clone().requires_grad_() for name, value in parameters.items()}
        functional_call(net, given, row[None])[0, 0].backward()
        rows.append(torch.cat([part.grad.flatten() for part in given.values() if part.grad is not None]))
    return torch.stack(rows)


def bounds(
    net: torch.nn.Module,
    parameters: Parameters,
    x: Float[Tensor, "rows inputs"],
    spread: Float[Tensor, "parameters"],
    *,
    reg: float = 0.1,
    explore: float = 0.01,
    chunk: int = 64,
) -> tuple[Float[Tensor, "rows"], Float[Tensor, "rows"]]:
    """What each row is worth, and how much more it may be: f, and the square root. ``spread`` is the diagonal of U."""
    with torch.no_grad():
        value = functional_call(net, parameters, x)[:, 0]
    more = [(gradients(net, parameters, some).square() / spread).sum(1) for some in x.split(chunk)]
    return value, (reg * explore * torch.cat(more)).sqrt()
