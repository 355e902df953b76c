"""``trivium rate``."""

from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.core.files import write
from trivium.core.provenance import provenance
from trivium.evaluation.stats import judgements
from trivium.evaluation.stats.elo import shuffled
from trivium.evaluation.stats.ratings import Cluster, Covariate, Ratings, Ties, bradley_terry


@dataclass(frozen=True)
class Command:
    """Rate systems from judgements of pairs, with intervals that know what was judged together.

    Example: trivium rate records.jsonl --covariates position length

    One JSON object a line: prompt, a, b, outcome ("a", "b", "tie" or "both_bad"), and where they are known judge, first
    ("a" or "b"), time, length_a and length_b. The model is Bradley and Terry's.
    """

    records: Positional[Path]
    """A file of judgements, JSON lines."""
    ties: Ties = "half"
    """Ties are two half wins, or an outcome of their own by Davidson's model."""
    covariates: tuple[Covariate, ...] = ()
    """What to see through: the position an answer was shown in, its length. Ratings without are shown beside."""
    cluster: Cluster = "prompt"
    """What is not independent: judgements of a prompt, of a prompt and of a judge (both), or nothing (none)."""
    ridge: float = 0.0
    """Precision of a normal prior on each rating, in units of its logarithm; 0 for none."""
    both_orders: bool = False
    """A pair that a judge saw in both orders counts once, as a tie where the orders disagree."""
    resamples: int = 0
    """Resamples of prompts, for bootstrap intervals; 0 takes the clustered sandwich."""
    elo: bool = False
    """Also show Elo's rating, averaged over 500 random orders, with its spread."""
    seed: int = 0
    """Of whatever is drawn."""
    out: Path | None = None
    """Also write the table, with its provenance, as JSON."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        found = judgements.read(self.records)
        if self.both_orders:
            found = judgements.both_orders(found)
        common: Any = {"ties": self.ties, "ridge": self.ridge, "cluster": self.cluster}
        common |= {"resamples": self.resamples, "seed": self.seed}
        rated = bradley_terry(found, covariates=self.covariates, **common)
        plain = bradley_terry(found, **common) if self.covariates else None
        orders = {one.system: one for one in shuffled(found, seed=self.seed)} if self.elo else {}
        document = {
            "records": str(self.records),
            **_plain(rated),
            "without_covariates": None if plain is None else _plain(plain),
            "elo": [asdict(one) for one in orders.values()] or None,
            "provenance": provenance(),
        }
        if self.out is not None:
            write(self.out, dumps(document, indent=1, ensure_ascii=False) + "\n")
        if self.json:
            print_json(document)
            return 0
        columns = ["system", "rank", "rating", "95 %", "judgements"]
        columns += ["without covariates"] if plain else []
        columns += ["Elo over orders"] if orders else []
        rows = table(*columns)
        for one in rated.table:
            cells = [escape(one.system), str(one.rank), f"{one.score:.0f}", f"{one.low:.0f} to {one.high:.0f}"]
            cells.append(str(one.judgements))
            cells += [f"{plain[one.system].score:.0f}"] if plain else []
            cells += [f"{orders[one.system].mean:.0f} ± {orders[one.system].spread:.1f}"] if orders else []
            rows.add_row(*cells)
        out = console()
        out.print(rows)
        for line in _lines(rated):
            out.print(escape(line))
        return 0


def _plain(rated: Ratings) -> dict[str, Any]:
    kept = asdict(rated)
    kept["theta"], kept["covariance"] = rated.theta.tolist(), rated.covariance.tolist()
    return kept


def _lines(rated: Ratings) -> list[str]:
    lines = [
        f"{rated.judgements} judgements of {rated.prompts} prompts, {rated.ties} ties; intervals: {rated.intervals}"
        + (f"; prior of precision {rated.ridge:g}" if rated.ridge else "")
    ]
    lines += [
        f"{one.name}: {one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f}) to the log-odds" for one in rated.effects
    ]
    if rated.tie is not None:
        lines.append(f"Davidson's nu: {rated.tie:.3f}")
    return lines
