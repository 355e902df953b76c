"""``trivium list``."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.core.method import entries, kind_summary, kinds, names


@dataclass(frozen=True)
class Command:
    """List the methods there are, by kind.

    Example: trivium list decoding
    """

    kind: Positional[str | None] = None
    """Only this kind, such as decoding or attribution; all kinds by default."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        if self.kind is not None:
            names(self.kind)  # an unknown kind names the near one
        chosen = [self.kind] if self.kind else list(kinds())
        if self.json:
            cards = [entry.card for kind in chosen for entry in entries(kind)]
            print_json(
                [
                    {
                        "kind": card.kind,
                        "name": card.name,
                        "title": card.title,
                        "source": card.source,
                        "year": card.year,
                        "needs": sorted(card.needs),
                        "lossless": card.lossless,
                    }
                    for card in cards
                ]
            )
            return 0
        out = console()
        for kind in chosen:
            out.print(f"[bold]{kind}[/bold]  {kind_summary(kind).splitlines()[0]}")
            rows = table("method", "what", "source", "needs")
            for entry in entries(kind):
                what = entry.summary.split(": ", 1)[-1].rstrip(".")
                rows.add_row(f"  {entry.card.name}", what, entry.card.source, ", ".join(sorted(entry.card.needs)))
            out.print(rows)
            out.print()
        out.print("trivium show METHOD explains one; trivium compare KIND sets methods side by side.", style="dim")
        return 0
