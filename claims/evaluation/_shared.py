"""Public sets that claims read where they lie; nothing of them is in the repository."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def folder(name: str) -> Path:
    """The folder of a set. Raises FileNotFoundError where it is not beside the checkout."""
    found = DATA / name
    if not found.is_dir():
        raise FileNotFoundError(f"this claim reads {name}, which is not at {found}; put it there")
    return found
