"""``trivium report``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from trivium.cli.compare import exit_code, show
from trivium.compare.comparison import remake


@dataclass(frozen=True)
class Command:
    """Make the report of a run again from its records, finished or not.

    Example: trivium report runs/decoding
    """

    folder: Positional[Path]
    """The run folder."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the whole report as JSON instead of a table."""

    def run(self) -> int:
        report = remake(self.folder)
        show(report, as_json=self.json)
        return exit_code(report)
