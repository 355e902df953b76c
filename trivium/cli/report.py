"""``trivium report``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from trivium.cli import curate
from trivium.cli._print import print_json
from trivium.cli.compare import exit_code, show
from trivium.compare import curated
from trivium.compare.comparison import remake
from trivium.data.curated_folder import CuratedFolder


@dataclass(frozen=True)
class Command:
    """Make the report of a run again from its records, finished or not.

    Example: trivium report runs/decoding

    Of a run of curation too, once it is finished: trivium report runs/clean --seed 1 draws other documents to show.
    """

    folder: Positional[Path]
    """The run folder."""
    seed: int = 0
    """Of the documents that the report of a curation shows."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the whole report as JSON instead of a table."""

    def run(self) -> int:
        if CuratedFolder.there(self.folder):
            found = curated.write(self.folder, seed=self.seed)
            print_json(found) if self.json else curate.tell(found)
            return 0
        if self.seed:
            raise ValueError(f"{self.folder} is no run of curation, which alone draws documents by a seed")
        report = remake(self.folder)
        show(report, as_json=self.json)
        return exit_code(report)
