"""What answers from private data have given away: the privacy of single mechanisms, and of all their uses together.

    pure epsilon           T uses of an epsilon-private mechanism are T epsilon private; it has rho = epsilon^2 / 2 too,
                           so that the bound below may be smaller where some delta is allowed
    Gaussian noise         rho = s^2 / (2 sigma^2) for a sum of L2 sensitivity s (Bun and Steinke 2016,
                           arXiv:1605.02065); rho adds up;  epsilon(delta) = rho + 2 sqrt(rho ln(1 / delta))
    sampled Gaussian       each record takes part with probability q: Renyi divergences of Mironov et al. 2019,
                           arXiv:1908.10530, computed and composed by opacus

Two data sets are neighbours where one record differs; each mechanism says whether it may change or be left out.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

from trivium.core.errors import BudgetExceeded
from trivium.core.optional import require

ORDERS = (1.25, 1.5, 1.75, *range(2, 33), 40, 48, 64, 96, 128, 256)
"""Orders of the Renyi divergence that are tried; the best bound of them holds."""


class Mechanism(Protocol):
    """A noisy answer from private data."""

    def epsilon(self, times: int, delta: float) -> float:
        """What so many uses give away together, but for a chance of delta."""
        ...


@dataclass(frozen=True)
class Pure:
    """Private by its own epsilon, with no delta, such as Laplace noise or the exponential mechanism."""

    each: float

    def __post_init__(self) -> None:
        if not 0.0 < self.each < math.inf:
            raise ValueError(f"epsilon must be positive and finite, got {self.each}")

    def epsilon(self, times: int, delta: float) -> float:
        plain = times * self.each
        return min(plain, concentrated(times * self.each**2 / 2, delta)) if delta else plain


@dataclass(frozen=True)
class Gaussian:
    """Normal noise of deviation ``sigma`` on a vector that one record moves by ``sensitivity`` at most."""

    sigma: float
    sensitivity: float = 1.0

    def __post_init__(self) -> None:
        _positive(sigma=self.sigma, sensitivity=self.sensitivity)

    @property
    def rho(self) -> float:
        return self.sensitivity**2 / (2 * self.sigma**2)

    def renyi(self, order: float) -> float:
        """The Renyi divergence of this order: order * rho."""
        return order * self.rho

    def epsilon(self, times: int, delta: float) -> float:
        return concentrated(times * self.rho, delta)

    @classmethod
    def of(cls, epsilon: float, delta: float, sensitivity: float = 1.0) -> "Gaussian":
        """With as much noise as one use of this epsilon needs: the inverse of ``epsilon(1, delta)``."""
        _positive(epsilon=epsilon)
        log = math.log(1 / _chance(delta))
        rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
        return cls(sensitivity / math.sqrt(2 * rho), sensitivity)


@dataclass(frozen=True)
class SampledGaussian:
    """Gaussian noise where each record takes part by itself with probability ``rate``; leaving a record out is what
    neighbours differ in. ``multiplier``: the noise in units of the sensitivity."""

    rate: float
    multiplier: float

    def __post_init__(self) -> None:
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"rate is the probability that a record takes part, above 0 and up to 1; got {self.rate}")
        _positive(multiplier=self.multiplier)

    def renyi(self, order: float) -> float:
        """The Renyi divergence of this order, of one use."""
        if self.rate == 1.0:
            return order / (2 * self.multiplier**2)
        return float(
            _accountant().compute_rdp(q=self.rate, noise_multiplier=self.multiplier, steps=1, orders=float(order))
        )

    def epsilon(self, times: int, delta: float) -> float:
        if times == 0:
            return 0.0
        if self.rate == 1.0:  # nothing is sampled
            return concentrated(times / (2 * self.multiplier**2), delta)
        accountant = _accountant()
        spent = accountant.compute_rdp(q=self.rate, noise_multiplier=self.multiplier, steps=times, orders=ORDERS)
        with (
            warnings.catch_warnings()
        ):  # that an order at the edge is best: the bound holds, it may be looser than need be
            warnings.simplefilter("ignore", UserWarning)
            return max(0.0, float(accountant.get_privacy_spent(orders=ORDERS, rdp=spent, delta=_chance(delta))[0]))

    @classmethod
    def of(cls, epsilon: float, delta: float, rate: float, times: int) -> "SampledGaussian":
        """With as little noise as so many uses of this epsilon together allow, to a thousandth."""
        _positive(epsilon=epsilon, times=times)
        low, high = 1e-2, 1.0
        while cls(rate, high).epsilon(times, delta) > epsilon:
            low, high = high, 2 * high
        while high / low > 1.001:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if cls(rate, middle).epsilon(times, delta) > epsilon else (low, middle)
        return cls(rate, high)


@dataclass
class PrivacyBudget:
    """What may be given away in all, and what has been. A use that would exceed it is refused before it happens."""

    mechanism: Mechanism
    epsilon: float
    delta: float = 0.0
    uses: int = 0

    def __post_init__(self) -> None:
        _positive(epsilon=self.epsilon)
        if self.delta or not isinstance(self.mechanism, Pure):
            _chance(self.delta)

    @property
    def spent(self) -> float:
        """The epsilon of all uses so far, together."""
        return self.mechanism.epsilon(self.uses, self.delta)

    def take(self, times: int = 1) -> None:
        """Pay for so many uses. Raises BudgetExceeded, and pays nothing, where they are more than is left."""
        after = self.mechanism.epsilon(self.uses + times, self.delta)
        if after > self.epsilon * (1 + 1e-12):
            raise BudgetExceeded(
                f"{times} more uses of the private data would bring epsilon from {self.spent:.4g} to {after:.4g}, "
                f"above the total of {self.epsilon:.4g}; ask less, add noise, or raise the total and say so"
            )
        self.uses += times

    def __str__(self) -> str:
        one = self.mechanism.epsilon(1, self.delta)
        return (
            f"total epsilon {self.spent:.4g} of {self.epsilon:.4g} after {self.uses} uses, delta {self.delta:g}; "
            f"one use alone {one:.4g}"
        )


def concentrated(rho: float, delta: float) -> float:
    """The epsilon of a zero-concentrated rho."""
    return rho + 2 * math.sqrt(rho * math.log(1 / _chance(delta)))


def _accountant() -> Any:
    return require(
        "opacus.accountants.analysis.rdp", extra="privacy", why="accounts for noise on samples of private data"
    )


def _chance(delta: float) -> float:
    if not 0.0 < delta < 1.0:
        raise ValueError(f"delta is a probability between 0 and 1, well below one over the records; got {delta}")
    return delta


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
