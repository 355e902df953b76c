"""``trivium claim``."""

from dataclasses import dataclass
from typing import Annotated, Any

from rich.markup import escape
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.compare.claim import list_claims, recorded, run_claim
from trivium.core.errors import TriviumError
from trivium.core.progress import progress


@dataclass(frozen=True)
class Command:
    """Run the miniature experiment behind a paper's claim and record the verdict.

    Without a name, lists the claims and what was recorded. Results go to claims/results with their provenance, whatever
    they say. Example: trivium claim decoding/min_p
    """

    claims: Positional[tuple[str, ...]] = ()
    """Claims to run, as kind/name."""
    all: bool = False
    """Run every claim, one after another; those that fail to run are reported at the end."""
    missing: bool = False
    """Run those that have no recorded result yet."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        known = list_claims()
        wanted = self.claims or (known if self.all else ())
        if self.missing:
            wanted = tuple(path for path in (self.claims or known) if recorded(path) is None)
        if not (wanted or self.missing or self.all):
            self._print([recorded(path) or {"claim": path, "verdict": "not run"} for path in known])
            return 0
        done: list[dict[str, Any]] = []
        failed: list[tuple[str, Exception]] = []
        with progress("claims", len(wanted)) as bar:
            for path in wanted:
                bar.note(path)
                try:
                    with progress(path, 1, show=False) as inner:
                        done.append(run_claim(path, inner))
                except (TriviumError, ValueError, OSError) as error:
                    if len(wanted) == 1:
                        raise
                    failed.append((path, error))
                bar.advance()
        self._print(done)
        for path, error in failed:
            console().print(f"{path} did not run: {type(error).__name__}: {escape(str(error))}", style="red")
        return 1 if failed else 0

    def _print(self, results: list[dict[str, Any]]) -> None:
        if self.json:
            print_json(results)
            return
        rows = table("claim", "verdict", "statement", "figures")
        for result in results:
            figures = result.get("figures") or {}
            short = ", ".join(f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, (int, float)))
            rows.add_row(result["claim"], result["verdict"], escape(result.get("statement", "")), escape(short))
        console().print(rows)
