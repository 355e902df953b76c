"""``trivium dsl``."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.markup import escape
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json, table
from trivium.core.errors import did_you_mean
from trivium.core.files import write
from trivium.core.provenance import provenance
from trivium.evaluation.stats.dsl import Model, dsl

BLANK = ("", "NA", "NaN", "nan", "None")


@dataclass(frozen=True)
class Command:
    """Regress on a model's labels validly, by means of a sample of labels made by hand.

    Example: trivium dsl table.csv --outcome label --surrogate guess --covariates words --probability 0.2

    A row per document. The outcome stands where the document was sampled for labelling and is empty elsewhere; the
    probability is the one it was sampled with. Shows what the uncorrected labels and the sample alone would have said.
    """

    table: Positional[Path]
    """A CSV file with a header."""
    outcome: str
    """The column of labels made by hand, empty (or NA) where there is none."""
    surrogate: tuple[str, ...]
    """Columns of a model's labels or scores, in every row."""
    probability: str
    """A column, or one number for all: the probability of being sampled, as the design had it."""
    covariates: tuple[str, ...] = ()
    """Columns to regress on; one that is empty where the outcome is, is predicted like it."""
    model: Model = "linear"
    """linear, logistic, shares (of categories), or fixed effects (of groups)."""
    sampled: str | None = None
    """A column of 0 and 1; by default the rows that have an outcome."""
    clusters: str | None = None
    """A column: documents of one cluster are not independent."""
    groups: str | None = None
    """A column: the groups of fixed effects."""
    folds: int = 5
    """Parts: the labels of each are predicted from the others."""
    splits: int = 10
    """How often they are drawn; the median is reported."""
    seed: int = 0
    """Of the parts."""
    out: Path | None = None
    """Also write the result, with its provenance, as JSON."""
    json: Annotated[bool, arg(name="json")] = False
    """Print JSON instead of a table."""

    def run(self) -> int:
        columns = _read(self.table)
        outcome = _column(columns, self.outcome)
        if self.model != "shares":
            outcome = _numbers(outcome, self.outcome)
        surrogate = np.empty((len(outcome), len(self.surrogate)), dtype=object)
        for number, name in enumerate(self.surrogate):
            surrogate[:, number] = _values(_column(columns, name))
        covariates = [_numbers(_column(columns, name), name) for name in self.covariates]
        fit = dsl(
            outcome,
            surrogate,
            np.array(covariates, float).T if covariates else None,
            self._probability(columns),
            model=self.model,
            sampled=None if self.sampled is None else _numbers(_column(columns, self.sampled), self.sampled),
            names=self.covariates,
            clusters=None if self.clusters is None else _column(columns, self.clusters),
            groups=None if self.groups is None else _column(columns, self.groups),
            folds=self.folds,
            splits=self.splits,
            seed=self.seed,
        )
        document = {"table": str(self.table), **asdict(fit), "provenance": provenance()}
        if self.out is not None:
            write(self.out, dumps(document, indent=1, ensure_ascii=False) + "\n")
        if self.json:
            print_json(document)
            return 0
        rows = table("term", "estimate", "95 %", "p", "sample alone", "uncorrected")
        for number, term in enumerate(fit.terms):
            alone, naive = fit.gold_only[number], fit.naive[number] if fit.naive else None
            rows.add_row(
                escape(term.name),
                f"{term.value:.4g}",
                f"{term.low:.4g} to {term.high:.4g}",
                f"{term.p:.2g}",
                f"{alone.value:.4g} ± {alone.error:.2g}",
                "" if naive is None else f"{naive.value:.4g} ± {naive.error:.2g}",
            )
        out = console()
        out.print(rows)
        said = f"{fit.documents} documents, {fit.gold} of them labelled by hand; R² of their prediction {fit.r2:.2f}"
        out.print(said + ("" if fit.agreement is None else f", {fit.agreement:.1%} of the model's labels right"))
        return 0

    def _probability(self, columns: Mapping[str, list[str | None]]) -> Any:
        try:
            return float(self.probability)
        except ValueError:
            return _numbers(_column(columns, self.probability), self.probability)


def _read(path: Path) -> dict[str, list[str | None]]:
    """The columns of a file; blanks are None."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        columns: dict[str, list[str | None]] = {name: [] for name in reader.fieldnames or ()}
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"{path}, line {reader.line_num}: a row must have the header's {len(columns)} columns")
            for name, cell in row.items():
                columns[name].append(None if cell.strip() in BLANK else cell.strip())
    if not columns or not next(iter(columns.values())):
        raise ValueError(f"{path} holds no row under a header")
    return columns


def _column(columns: Mapping[str, list[str | None]], name: str) -> list[Any]:
    if name not in columns:
        raise ValueError(f"no column is called {name!r}{did_you_mean(name, columns)}; there are {', '.join(columns)}")
    return columns[name]


def _numbers(column: Sequence[str | None], name: str) -> list[float]:
    """The column as numbers, NaN where blank."""
    try:
        return [float("nan") if cell is None else float(cell) for cell in column]
    except ValueError as error:
        raise ValueError(f"column {name!r} must hold numbers: {error}") from None


def _values(column: Sequence[str | None]) -> list[Any]:
    """Numbers where all are, else labels."""
    try:
        return [None if cell is None else float(cell) for cell in column]
    except ValueError:
        return list(column)
