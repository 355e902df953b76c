"""trivium: the published methods of language modelling, to one standard, compared at an equal budget.

The names below are imported when first used, so that ``import trivium`` costs nothing and has no side effects.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trivium.attribution._explanation import explain
    from trivium.compare.comparison import Comparison
    from trivium.core.budget import Budget
    from trivium.core.method import find, names
    from trivium.models.sources import load

__version__ = "0.1.0"

_WHERE = {
    "Budget": "trivium.core.budget",
    "Comparison": "trivium.compare.comparison",
    "explain": "trivium.attribution._explanation",
    "find": "trivium.core.method",
    "load": "trivium.models.sources",
    "names": "trivium.core.method",
}

__all__ = ["Budget", "Comparison", "explain", "find", "load", "names"]


def __getattr__(name: str) -> object:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'trivium' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
