"""``trivium show``."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from rich.markup import escape
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.compare.claim import recorded
from trivium.core.capabilities import OFFERS
from trivium.core.method import entry, split


@dataclass(frozen=True)
class Command:
    """Explain one method: equation, options, cost, caveats, and what its claim showed.

    Example: trivium show decoding/min_p
    """

    method: Positional[str]
    """kind/name, or the name alone where only one kind has it."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of text."""

    def run(self) -> int:
        kind, name = split(self.method)
        found, claim = entry(kind, name), _recorded(f"{kind}/{name}")
        if self.json:
            card = asdict(found.card) | {"needs": sorted(found.card.needs)}
            options = [asdict(option) for option in found.options]
            print_json({"card": card, "summary": found.summary, **found.headings, "options": options, "claim": claim})
            return 0
        out = console()
        out.print(f"[bold]{found.card.path}[/bold]  {escape(found.card.title)} ({found.card.year})")
        out.print(escape(found.summary.split(": ", 1)[-1]))
        for heading, text in found.headings.items():
            out.print(f"\n[bold]{heading}[/bold]")
            out.print(escape(text))
        if found.options:
            out.print("\n[bold]Options[/bold]")
            rows = table("name", "default", "type", "meaning")
            for option in found.options:
                rows.add_row(option.name, escape(option.default), escape(option.type), escape(option.text))
            out.print(rows)
        if found.card.needs:
            out.print("\n[bold]Needs[/bold]")
            for word in sorted(found.card.needs):
                out.print(f"{word}: {OFFERS[word]}")
        out.print("\n[bold]Claim[/bold]")
        if claim is None:
            out.print(f"not run here yet; run it with: trivium claim {found.card.path}")
        else:
            out.print(f"{escape(claim['statement'])}\nverdict: [bold]{escape(claim['verdict'])}[/bold]")
            if claim.get("note"):
                out.print(escape(claim["note"]))
        return 0


def _recorded(path: str) -> dict[str, Any] | None:
    try:
        return recorded(path)
    except FileNotFoundError:  # an installed wheel carries no claims
        return None
