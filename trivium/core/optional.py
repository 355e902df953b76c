"""Optional packages: imported where they are used, with an error that says which extra brings them."""

from importlib import import_module
from types import ModuleType

from trivium.core.errors import MissingExtra


def require(package: str, *, extra: str, why: str) -> ModuleType:
    """Import an optional package, or raise MissingExtra with the command that installs it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise MissingExtra(
            f"{package} is not installed ({why}); install it with: pip install 'trivium[{extra}]'"
        ) from error
