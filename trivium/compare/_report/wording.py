"""Numbers and sentences of a report: one way to write each, for the page, the Markdown and the terminal."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SUPPORTED, CONTRADICTED, NOT_VISIBLE = "supported", "contradicted", "not visible at this scale"
GLYPHS = {SUPPORTED: "▲", CONTRADICTED: "▼", NOT_VISIBLE: "○", "": "·"}

# How a unit of core.budget is headed, and what its numbers are followed by. Others are written as they are.
UNITS = {
    "flops": ("FLOPs", "FLOP"),
    "calls": ("model calls", ""),
    "backwards": ("backward passes", ""),
    "evaluations": ("model evaluations", ""),
    "positions": ("positions fed", ""),
    "new_tokens": ("new tokens", ""),
    "tokens": ("training tokens", ""),
    "seconds": ("seconds", "s"),
    "peak_bytes": ("peak memory", "B"),
    "parameters": ("parameters", ""),
    "bytes": ("bytes kept", "B"),
    "state_bytes": ("state of one row", "B"),
    "new_tokens_per_second": ("new tokens per second", ""),
    "new_tokens_per_call": ("new tokens per call", ""),
    "tokens_per_second": ("training tokens per second", ""),
    "documents_kept": ("documents kept", ""),
    "tokens_kept": ("tokens kept", ""),
    "epochs": ("epochs", ""),
    "curation_seconds": ("seconds of curation", "s"),
}
_PREFIXES = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}


def unit_title(unit: str) -> str:
    """The heading of a unit: 'new_tokens' -> 'new tokens'."""
    return UNITS.get(unit, (unit.replace("_", " "), ""))[0]


def unit_suffix(unit: str) -> str:
    """What numbers in a unit are followed by, before any prefix: 'FLOP', 's', 'B' or nothing."""
    return UNITS.get(unit, ("", ""))[1]


def finite(x: object) -> float | None:
    """A number that can be shown, or None."""
    if isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x):
        return None
    return float(x)


@dataclass(frozen=True)
class Scale:
    """How the numbers of one column are written: over a power of a thousand, with so many decimals."""

    power: int = 0
    decimals: int = 2
    unit: str = ""

    def __call__(self, x: object, *, sign: bool = False) -> str:
        """'1,204', '−0.35', with a sign '+0.35'; '—' where there is no number."""
        value = finite(x)
        if value is None:
            return "—"
        text = f"{value / 1000**self.power:{'+' if sign else ''},.{self.decimals}f}"
        if float(text.replace(",", "")) == 0:
            text = text.lstrip("+-")
        return text.replace("-", "−")

    @property
    def suffix(self) -> str:
        """What the numbers are in: 'GFLOP', 's', ''."""
        if self.unit or abs(self.power) not in (0, 1, 2):
            return f"{_PREFIXES[self.power]}{self.unit}"
        return {0: "", 1: "thousand", 2: "million"}.get(self.power, f"10^{3 * self.power}")


def measure_scale(values: Iterable[object], halves: Iterable[object] = ()) -> Scale:
    """For a measure: as many decimals as the typical interval bears (two figures of its half width)."""
    spread = sorted(h for h in map(finite, halves) if h)
    shown = sorted(abs(v) for v in map(finite, values) if v)
    size = spread[len(spread) // 2] if spread else (shown[len(shown) // 2] / 10 if shown else 1.0)
    return Scale(decimals=min(6, max(0, 1 - math.floor(math.log10(size)))))


def cost_scale(unit: str, values: Iterable[object]) -> Scale:
    """For a cost: a prefix by the largest value; three figures of the typical one, and two of the smallest."""
    shown = sorted(v for v in map(finite, values) if v and v > 0)
    suffix = unit_suffix(unit)
    if not shown:
        return Scale(decimals=0, unit=suffix)
    whole = unit not in ("flops", "seconds") and all(v == int(v) for v in shown)
    if whole and shown[-1] < 100_000:
        return Scale(decimals=0, unit=suffix)
    power = max(-3, min(6, math.floor(math.log10(shown[-1]) / 3)))
    if unit == "seconds" and power > 0:
        power = 0
    figures = lambda value, n: n - 1 - math.floor(math.log10(value / 1000**power))  # noqa: E731
    decimals = max(figures(shown[len(shown) // 2], 3), figures(shown[0], 2))
    return Scale(power, min(4, max(0, decimals)), suffix)


def p_value(p: object) -> str:
    """'p < 0.001' or 'p = 0.042'."""
    value = finite(p)
    if value is None:
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}" if value < 0.01 else f"p = {value:.2f}"


def pair_scale(pair: Mapping[str, Any]) -> Scale:
    """Decimals for a difference, by its interval."""
    low, high = finite(pair.get("low")), finite(pair.get("high"))
    return measure_scale([pair.get("difference")], [] if low is None or high is None else [(high - low) / 2])


def interval(low: object, high: object, scale: Scale, *, sign: bool = False) -> str:
    """'[−0.50, −0.20]', empty where there is none."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"[{scale(low, sign=sign)}, {scale(high, sign=sign)}]"


def direction(measure: Mapping[str, Any]) -> str:
    """'higher is better', 'lower is better', or nothing."""
    better = measure.get("higher_is_better")
    return "" if better is None else f"{'higher' if better else 'lower'} is better"


def claim(pair: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    """One pair in words; the verdict word stands before it and the figures behind."""
    a, b, title = pair["a"], pair["b"], _inline(str(measure.get("title") or pair["measure"]))
    verdict = pair.get("verdict")
    if verdict == NOT_VISIBLE:
        return f"no difference seen between {a} and {b} in {title}"
    if verdict and measure.get("higher_is_better") is not None:
        return f"{a} is {'better' if verdict == SUPPORTED else 'worse'} than {b} in {title}"
    if verdict:
        return f"{a} differs from {b} in {title}"
    return f"{a} {'over' if measure.get('ratio') else 'minus'} {b} in {title}"


def difference(pair: Mapping[str, Any], measure: Mapping[str, Any]) -> tuple[str, str]:
    """A difference and its interval as text: '−0.35' and '[−0.50, −0.20]'; of a ratio, '× 1.83' and '[1.60, 2.10]'."""
    scale, sign = pair_scale(pair), not measure.get("ratio")
    amount = scale(pair.get("difference"), sign=sign)
    ends = interval(pair.get("low"), pair.get("high"), scale, sign=sign)
    return (amount if sign else f"× {amount}"), ends


def figures(pair: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    """The difference with its interval and unit: '−0.35 [−0.50, −0.20] nats'."""
    parts = (*difference(pair, measure), "" if measure.get("ratio") else str(measure.get("unit") or ""))
    return " ".join(part for part in parts if part)


def detectable(pair: Mapping[str, Any], measure: Mapping[str, Any]) -> str:
    """Beside a difference that was not seen: how large it would have to be; or how many clusters a verdict needs."""
    least, fewest = finite(pair.get("detectable")), pair.get("fewest") or 0
    if not pair.get("verdict") and pair.get("clusters", fewest) < fewest:
        return f"{pair['clusters']} independent items of the {fewest} that a verdict needs"
    if pair.get("verdict") != NOT_VISIBLE or not least:
        return ""
    if measure.get("ratio"):
        return f"less than × {pair_scale(pair)(least)} would rarely be seen"
    unit = f" {measure['unit']}" if measure.get("unit") else ""
    return f"less than {pair_scale(pair)(least)}{unit} would rarely be seen"


def _inline(title: str) -> str:
    """A title within a sentence: 'Repeated 4-grams' -> 'repeated 4-grams', but 'ROUGE-L' as it is."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def failures(contender: Mapping[str, Any]) -> list[str]:
    """Why runs of a contender failed, one line per reason."""
    lines = []
    for entry in contender.get("failed") or []:
        where = ", ".join(
            part
            for part in (
                f"example {entry['example']}" if entry.get("example") else "",
                f"seed {entry['seed']}" if entry.get("seed") is not None else "",
            )
            if part
        )
        count = entry.get("count") or 1
        times = f" ({count} times)" if count > 1 else ""
        lines.append(
            f"{entry.get('type', 'error')}: {entry.get('message', '')}{f' at {where}' if where else ''}{times}"
        )
    return lines
