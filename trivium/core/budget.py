"""Budgets: what is held equal in a comparison, and what was really spent."""

from dataclasses import asdict, dataclass, fields, replace

from trivium.core.errors import BudgetExceeded, UnknownName, did_you_mean

UNITS: dict[str, str] = {
    "flops": "floating-point operations, two per multiply-add",
    "calls": "forward passes of a model",
    "backwards": "backward passes of a model",
    "evaluations": "sequences passed forward or backward through a model",
    "positions": "token positions fed to a model",
    "new_tokens": "tokens generated",
    "tokens": "training tokens",
    "seconds": "wall-clock seconds",
    "peak_bytes": "peak memory above the start, bytes",
    "parameters": "parameters kept",
    "bytes": "bytes kept",
    "state_bytes": "bytes of what a model remembers of one row of text",
}


@dataclass(frozen=True)
class Spent:
    """What a piece of work cost. Sums add, peaks take the larger."""

    flops: float = 0.0
    calls: int = 0
    backwards: int = 0
    evaluations: int = 0
    positions: int = 0
    new_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    parameters: int = 0
    bytes: int = 0
    state_bytes: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        peaks = {"peak_bytes", "parameters", "bytes", "state_bytes"}
        return Spent(
            **{
                field.name: (max if field.name in peaks else lambda a, b: a + b)(
                    getattr(self, field.name), getattr(other, field.name)
                )
                for field in fields(self)
            }
        )

    def of(self, unit: str) -> float:
        """The amount in one unit; raises UnknownName for no such unit."""
        if unit not in UNITS:
            raise UnknownName(f"no budget unit is called {unit!r}{did_you_mean(unit, UNITS)}")
        return float(getattr(self, unit))

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Budget:
    """An amount of one unit that each contender may spend, and by what share it may be missed."""

    unit: str
    amount: float
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UnknownName(f"no budget unit is called {self.unit!r}{did_you_mean(self.unit, UNITS)}")
        if not self.amount > 0:
            raise ValueError(f"a budget must be positive, got {self.amount} {self.unit}")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance is a share of the budget, so 0 to 1; got {self.tolerance}")

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """'64 new_tokens', '1.5e12 flops' or '30 seconds'."""
        amount, _, unit = text.strip().partition(" ")
        try:
            return cls(unit.strip(), float(amount))
        except ValueError as error:
            raise ValueError(f"a budget reads like '64 new_tokens' or '1e12 flops', got {text!r} ({error})") from None

    def check(self, who: str, spent: Spent) -> None:
        """Raise BudgetExceeded where more was spent than the amount and its tolerance."""
        used = spent.of(self.unit)
        if used > self.amount * (1 + self.tolerance):
            raise BudgetExceeded(
                f"{who} spent {used:.4g} of {self.amount:.4g} {self.unit} ({used / self.amount - 1:+.1%}); "
                f"the tolerance is {self.tolerance:.0%}. Raise the budget to {used:.4g} or lower what {who} does"
            )

    def share(self, share: float) -> "Budget":
        """A share of it, such as 0.25, or more than all of it."""
        return replace(self, amount=self.amount * share)

    def __str__(self) -> str:
        return f"{self.amount:.6g} {self.unit}"
