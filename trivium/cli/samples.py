"""``trivium samples``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json
from trivium.compare.samples import exported


@dataclass(frozen=True)
class Command:
    """Write the records of a run as sample files of lm-evaluation-harness, for tools that read these.

    Example: trivium samples runs/arc --into samples
    """

    folder: Positional[Path]
    """The run folder."""
    into: Path | None = None
    """Where the files go, a folder per contender; by default samples in the run folder."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the files' names as JSON."""

    def run(self) -> int:
        written = exported(self.folder, self.into or self.folder / "samples")
        if self.json:
            print_json([str(path) for path in written])
        else:
            for path in written:
                console().print(str(path), highlight=False, soft_wrap=True)
        return 0
