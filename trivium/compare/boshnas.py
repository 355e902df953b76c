"""BOSHNAS: a search that goes down the gradient of what three small networks expect, and of how unsure they are.

Source
    Tuli, Dedhia, Tuli and Jha 2022, "FlexiBERT: Are Current Transformer Architectures too Homogeneous and Rigid?",
    arXiv:2205.11656, from notes on the authors' code.
Equation
    contenders are points (nn/graphs.py: unlike graphs lie far apart);   A(x) = mean(x) - weight (epistemic + aleatoric)
    mean, aleatoric^2: a natural-parameter network 32-32-1, fitted to the values by their Gaussian likelihood
    teacher: 64-32-1, softplus, dropout, sigmoid, fitted to the values;   student: the same without dropout, fitted to
    the deviation of 10 passes of the teacher with dropout: epistemic(x) = student(x)
    next: x down A by AdaHessian within the bounds of all points, then the untried contender nearest by mean |x - p|
Shapes
    points (contenders, axes), evaluate: number -> value; a trace of the numbers asked and their values
Cost
    Before each query the three networks are fitted by ``fit`` steps over all points, some thousand parameters each:
    about a second. A query itself is a training.
Caveats
    Values are spread from 0.1 to 0.9 for the sigmoid, by the least and the largest known, and deviations up to 0.9:
    networks may else end where a sigmoid no longer moves. The student learns the deviation at all points, known or not,
    once the teacher is fitted. The descent starts at the best known point and at a random one, and the better end
    counts. The first tries are random. Networks are fitted further from query to query, not anew. The authors' random
    and uncertainty-only steps between are left out, as our notes do not give their rates. With weight 0 it goes where
    the mean is least. The second level and the transfer of weights are ``searching.in_two_levels`` and
    ``models.inheriting.inherit``. Shown there on GLUE, for encoders up to the size of BERT-Large.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.compare.searching import Evaluate, Trace, asked_in_turn, untried
from trivium.nn.adahessian import minimise
from trivium.nn.natural_parameters import gaussian_loss, moments_linear, moments_sigmoid


@dataclass(frozen=True)
class Boshnas:
    """Second-order descent on a surrogate with two kinds of uncertainty."""

    weight: float = 0.5
    """Of the uncertainties in the acquisition; 0 ignores them."""
    start: int = 3
    """Contenders tried at random first."""
    dropout: float = 0.3
    """Of the teacher."""
    passes: int = 10
    """Of the teacher, of which the deviation is taken."""
    fit: int = 100
    """Steps by which each network is fitted before a query."""
    fit_rate: float = 0.01
    """Learning rate of the networks."""
    rate: float = 0.5
    """Of the descent."""
    steps: int = 200
    """Of the descent, at most."""

    def __post_init__(self) -> None:
        for name, least in (("start", 1), ("passes", 2), ("fit", 1), ("steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.dropout < 1:
            raise ValueError(f"dropout must lie between 0 and 1, for the teacher to be unsure at all; {self.dropout}")
        if self.weight < 0 or self.rate <= 0 or self.fit_rate <= 0:
            raise ValueError(
                f"weight must be at least 0, rate and fit_rate positive; got {self.weight}, {self.rate} and "
                f"{self.fit_rate}"
            )

    def __call__(
        self,
        points: Tensor,
        evaluate: Evaluate,
        *,
        queries: int,
        generator: torch.Generator,
        known: Mapping[int, float] = {},
    ) -> Trace:
        low, high = points.amin(0), points.amax(0)
        places = ((points - low) / (high - low).clamp(min=1e-12)).double()  # each axis from 0 to 1
        surrogate = Surrogate(self, places.shape[1], generator)

        def choose(values: Mapping[int, float]) -> int:
            left = untried(points, values)
            if len(values) < self.start:
                return left[int(torch.randint(len(left), (), generator=generator))]
            surrogate.learn(places, values)
            best = min(values, key=lambda index: values[index])
            other = left[int(torch.randint(len(left), (), generator=generator))]
            ends = [self.descend(surrogate, places[begin], generator) for begin in (best, other)]
            end = min(ends, key=lambda x: surrogate.acquisition(x).item())
            return min(left, key=lambda index: float((places[index] - end).abs().mean()))

        return asked_in_turn(points, evaluate, queries, known, choose)

    def descend(self, surrogate: "Surrogate", begin: Tensor, generator: torch.Generator) -> Tensor:
        """(axes,): where the acquisition is least, on the way down from here, within 0 and 1."""
        bounds = torch.zeros_like(begin), torch.ones_like(begin)
        return minimise(
            surrogate.acquisition, begin, generator=generator, rate=self.rate, steps=self.steps, bounds=bounds
        )


class Surrogate:
    """The three networks, and what they say of a point."""

    def __init__(self, recipe: Boshnas, axes: int, generator: torch.Generator) -> None:
        self.recipe = recipe
        self.unit = 1.0
        self.generator = generator
        self.teacher = Layers((axes, 64, 32, 1), generator)
        self.student = Layers((axes, 64, 32, 1), generator)
        self.values = UncertainLayers((axes, 32, 32, 1), generator)
        parts = nn.ModuleList([self.teacher, self.student, self.values])
        self.optimiser = torch.optim.AdamW(parts.parameters(), lr=recipe.fit_rate, fused=True)

    def learn(self, places: Tensor, values: Mapping[int, float]) -> None:
        """Fit the teacher and the values to what is known, then the student to the teacher."""
        known = places[list(values)]
        told = torch.tensor(list(values.values()), dtype=places.dtype)
        target = 0.1 + 0.8 * (told - told.min()) / (told.max() - told.min()).clamp(min=1e-12)
        for _ in range(self.recipe.fit):
            guess = self.teacher.passes(known, 1, self.recipe.dropout, self.generator)[0]
            mean, variance = self.values(known)
            self._step(F.mse_loss(guess, target) + gaussian_loss(mean, variance, target))
        deviation = self.deviation(places)
        self.unit = float(deviation.max().clamp(min=1e-12)) / 0.9  # so that the sigmoid ends where it still moves
        for _ in range(self.recipe.fit):
            self._step(F.mse_loss(self.student(places), deviation / self.unit))

    def _step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    @torch.no_grad()
    def deviation(self, places: Tensor) -> Tensor:
        """(points,): of the teacher's passes with dropout."""
        return self.teacher.passes(places, self.recipe.passes, self.recipe.dropout, self.generator).std(0)

    def epistemic(self, places: Tensor) -> Tensor:
        """(points,): what the student takes the deviation to be."""
        return self.unit * self.student(places)

    def acquisition(self, x: Tensor) -> Tensor:
        """(): the less, the better to try."""
        mean, variance = self.values(x[None])
        unsure = self.epistemic(x[None]) + (variance + 1e-12).sqrt()
        return (mean - self.recipe.weight * unsure)[0]


class Layers(nn.Module):
    """Linear layers with softplus between them and a sigmoid at the end."""

    def __init__(self, sizes: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.weights = nn.ParameterList(_drawn(a, b, generator) for a, b in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(torch.zeros(size, dtype=torch.float64) for size in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        """(points, axes) -> (points,)"""
        return self._out(self._within(x))

    def passes(self, x: Tensor, count: int, dropout: float, generator: torch.Generator) -> Tensor:
        """(count, points): as often, each time without a share of the units before the last layer, drawn anew for each
        point."""
        within = self._within(x)
        kept = torch.rand(count, *within.shape, generator=generator, dtype=x.dtype) >= dropout
        return self._out(within * kept / (1 - dropout))

    def _within(self, x: Tensor) -> Tensor:
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = F.softplus(x @ weight + bias)
        return x

    def _out(self, within: Tensor) -> Tensor:
        return torch.sigmoid(within @ self.weights[-1] + self.biases[-1])[..., 0]


class UncertainLayers(nn.Module):
    """Linear layers whose weights have a variance, with sigmoids between them."""

    def __init__(self, sizes: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(sizes))
        spread = lambda *shape: torch.full(shape, -5.0, dtype=torch.float64)  # noqa: E731
        self.weights = nn.ParameterList(_drawn(a, b, generator) for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(size, dtype=torch.float64) for size in sizes[1:])
        self.weight_spreads = nn.ParameterList(spread(a, b) for a, b in pairs)
        self.bias_spreads = nn.ParameterList(spread(size) for size in sizes[1:])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(points, axes) -> mean and variance, (points,) each; what comes in is certain."""
        mean, variance = x, torch.zeros_like(x)
        for number, weight in enumerate(self.weights):
            if number:
                mean, variance = moments_sigmoid(mean, variance)
            mean, variance = moments_linear(
                mean,
                variance,
                weight,
                F.softplus(self.weight_spreads[number]),
                self.biases[number],
                F.softplus(self.bias_spreads[number]),
            )
        return mean[:, 0], variance[:, 0]


def _drawn(inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    return torch.randn(inputs, outputs, generator=generator, dtype=torch.float64) / inputs**0.5
