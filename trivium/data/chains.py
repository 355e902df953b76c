"""Sources whose hidden states are known: a chain of Gaussian vectors, and a hidden Markov model of symbols.

    Gaussian   z_1 ~ N(0, I);   z_{t+1} = a Q z_t + e_t,   a the persistence,  Q orthogonal,  e_t ~ N(0, (1 - a^2) I)
               x_t = W z_t + u_t,  W orthogonal,  u_t ~ N(0, blur^2 I);   y_t = theta . z_t + noise e'_t,  |theta| = 1
    hidden     state i is followed by state j with P_ij, and shows symbol v with Q_iv

Every z_t is N(0, I), so a chain of any length is as varied as independent draws, but neighbours are alike. The first p
numbers of x_t are what a model of size p would see.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trivium.core.seeds import generator as generator_of


@dataclass(frozen=True)
class GaussianChain:
    """Vectors that remember their past, seen through a rotation and some noise, and a label of each."""

    size: int = 400
    """Numbers in a state, and in what is seen of it."""
    persistence: float = 0.5
    """How much of a state is left in the next; 0 gives independent rows."""
    blur: float = 0.0
    """Standard deviation of the noise in what is seen."""
    noise: float = 1.0
    """Standard deviation of the noise in the labels, whose signal has variance 1."""
    seed: int = 0
    """Of A, W and theta; what is drawn has a generator of its own."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")
        if not 0.0 <= self.persistence < 1.0:
            raise ValueError(f"persistence must be 0 to below 1, got {self.persistence}; at 1 the chain never forgets")
        for name in ("blur", "noise"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")

    @cached_property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Q, W and theta."""

        def drawn(name: str, *shape: int) -> Tensor:
            return torch.randn(shape, generator=generator_of(self.seed, "chain", name), dtype=torch.float64)

        theta = drawn("theta", self.size)
        q, w = (torch.linalg.qr(drawn(name, self.size, self.size)).Q for name in "QW")
        return q, w, theta / theta.norm()

    def draw(self, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One chain from its beginning: what is seen (length, size), and the labels (length,), in float64."""
        q, w, theta = self._parts
        steps = torch.randn(length, self.size, generator=generator, dtype=torch.float64)
        states = [steps[0]]
        for step in steps[1:]:
            states.append(self.persistence * (q @ states[-1]) + math.sqrt(1 - self.persistence**2) * step)
        z = torch.stack(states)
        seen = z @ w.mT + self.blur * torch.randn(z.shape, generator=generator, dtype=torch.float64)
        return seen, z @ theta + self.noise * torch.randn(length, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class HiddenMarkov:
    """Symbols shown by a state that changes now and then."""

    states: int = 8
    symbols: int = 32
    stay: float = 0.8
    """Probability that a state is followed by itself; the others share the rest at random."""
    concentration: float = 0.3
    """Of the Dirichlet distribution that each state's symbols are drawn from: the smaller, the fewer it shows."""
    seed: int = 0
    """Of the two tables; what is drawn has a generator of its own."""

    def __post_init__(self) -> None:
        for name in ("states", "symbols"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if not 0.0 <= self.stay < 1.0:
            raise ValueError(f"stay is a probability below 1, got {self.stay}")
        if not 0.0 < self.concentration < math.inf:
            raise ValueError(f"concentration must be positive and finite, got {self.concentration}")

    @cached_property
    def transitions(self) -> Tensor:
        """P (states, states); rows sum to 1."""
        away = _simplex(self.states, self.states, 1.0, generator_of(self.seed, "hidden", "transitions"))
        away = away.masked_fill(torch.eye(self.states, dtype=torch.bool), 0.0)
        away = away / away.sum(1, keepdim=True)
        return self.stay * torch.eye(self.states, dtype=torch.float64) + (1 - self.stay) * away

    @cached_property
    def emissions(self) -> Tensor:
        """Q (states, symbols); rows sum to 1."""
        return _simplex(self.states, self.symbols, self.concentration, generator_of(self.seed, "hidden", "emissions"))

    def draw(self, rows: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Symbols and states, each (rows, length) int64; first states are even."""
        state = torch.randint(self.states, (rows,), generator=generator)
        states = [state]
        for _ in range(length - 1):
            state = torch.multinomial(self.transitions[state], 1, generator=generator)[:, 0]
            states.append(state)
        hidden = torch.stack(states, 1)
        shown = torch.multinomial(self.emissions[hidden.flatten()], 1, generator=generator)
        return shown.view(rows, length), hidden


def _simplex(rows: int, columns: int, concentration: float, generator: torch.Generator) -> Tensor:
    """(rows, columns) draws of a symmetric Dirichlet distribution; its gammas are summed in logarithms, since those of
    a small concentration fall below the smallest float.

    A gamma of shape a is one of shape a + 1 times u^(1/a).
    """
    shape = torch.full((rows, columns), concentration + 1.0, dtype=torch.float64)
    u = torch.rand(rows, columns, generator=generator, dtype=torch.float64)
    gammas = torch._standard_gamma(shape, generator=generator)
    return (gammas.log() + u.clamp(min=1e-300).log() / concentration).softmax(1)
