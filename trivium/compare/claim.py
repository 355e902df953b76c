"""Claims: one runnable miniature of a paper's claim per method, in ``claims/<kind>/<name>.py`` of the repository.

Each file ends with ``claim = Claim(statement=..., paper=..., rule=..., run=function)``. Running it writes
``claims/results/<kind>/<name>.json``: the verdict, the figures behind it, and the provenance.
"""

import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from trivium.core import files, provenance
from trivium.core.errors import UnknownMethod, did_you_mean
from trivium.core.progress import Bar
from trivium.evaluation.stats.intervals import mean_interval
from trivium.evaluation.stats.verdicts import FEWEST_SEEDS, Verdict, verdict


@dataclass(frozen=True)
class ClaimResult:
    """A verdict by the claim's own rule, and the figures it rests on."""

    verdict: Verdict
    figures: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"a verdict is one of {', '.join(get_args(Verdict))}; got {self.verdict!r}")


@dataclass(frozen=True)
class Claim:
    """A paper's claim in miniature: what is claimed, the paper's own figure, the decision rule, and the experiment."""

    statement: str
    paper: str
    rule: str
    run: Callable[[Bar], ClaimResult]


def judge(differences: Sequence[float], *, more_than: float = 0.0, note: str = "", **figures: Any) -> ClaimResult:
    """The usual rule: the claim says that paired differences (one per seed) exceed ``more_than``.

    Supported where the whole 95 % t-interval of their mean does, contradicted where the whole interval falls short,
    otherwise not visible. Fewer than three seeds never support or contradict anything.
    """
    values = [float(value) for value in differences]
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"differences must be finite numbers, got {values}")
    found = mean_interval(values)
    numbers = {
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "seeds": len(values),
        "detectable": found.detectable,
        "differences": values,
        **figures,
    }
    word = verdict(found.low, found.high, more_than) if len(values) >= FEWEST_SEEDS else None
    return ClaimResult(word or "not visible at this scale", numbers, note)


def home() -> Path:
    """The folder ``claims`` of the checkout: beside the package, or in the current directory.

    Raises FileNotFoundError from an installed wheel, which has no claims.
    """
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (root / "claims").is_dir():
            return root / "claims"
    raise FileNotFoundError(
        "there is no folder 'claims' beside the package or in the current directory; claims live in the repository, "
        "not in the installed package: run this from a checkout"
    )


def list_claims() -> tuple[str, ...]:
    """Every claim as 'kind/name', sorted."""
    return tuple(
        sorted(
            f"{path.parent.name}/{path.stem}"
            for path in home().glob("*/*.py")
            if not path.stem.startswith("_") and path.parent.name != "results"
        )
    )


def load_claim(path: str) -> Claim:
    """Import one claim by 'kind/name'. Raises UnknownMethod for no such claim."""
    if path not in list_claims():
        raise UnknownMethod(f"there is no claim {path!r}{did_you_mean(path, list_claims())}")
    source = home() / f"{path}.py"
    spec = importlib.util.spec_from_file_location(f"claims.{path.replace('/', '.')}", source)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    root = str(home().parent)
    sys.path.insert(0, root)  # a claim may import what claims share
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(root)
    claim = getattr(module, "claim", None)
    if not isinstance(claim, Claim):
        raise TypeError(f"claims/{path}.py must end with claim = Claim(...), it has {type(claim).__name__}")
    return claim


def result_path(path: str) -> Path:
    """Where the result of a claim is recorded."""
    return home() / "results" / f"{path}.json"


def run_claim(path: str, bar: Bar | None = None) -> dict[str, Any]:
    """Run one claim and record its result, whole or not at all. Returns what was written."""
    claim = load_claim(path)
    target = result_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _must_be_writable(target)
    start = time.perf_counter()
    result = claim.run(bar if bar is not None else Bar(0))
    if not isinstance(result, ClaimResult):
        raise TypeError(f"the run of claims/{path}.py must return a ClaimResult, it returned {type(result).__name__}")
    record = {
        "claim": path,
        "statement": claim.statement,
        "paper": claim.paper,
        "rule": claim.rule,
        "verdict": result.verdict,
        "figures": _plain(result.figures),
        "note": result.note,
        "seconds": round(time.perf_counter() - start, 1),
        "provenance": provenance.provenance(),
    }
    files.write(target, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return record


def recorded(path: str) -> dict[str, Any] | None:
    """The recorded result of a claim, None where it has not been run."""
    target = result_path(path)
    return json.loads(target.read_text(encoding="utf-8")) if target.is_file() else None


def _must_be_writable(target: Path) -> None:
    """Find out before the work, not after it."""
    probe = target.parent / f".{target.name}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(f"the result would go to {target}, which cannot be written: {error.strerror}") from None


def _plain(value: Any) -> Any:
    """Figures as JSON; numpy and torch numbers become Python's, infinities and NaN become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy and torch
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
