"""Attributions as text for a terminal and as JSON; ``_page`` draws them as HTML.

The text reads without colour: a line of tokens, and under each token marks that say how much it raised or lowered the
prediction. Colour repeats the marks.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from textwrap import wrap
from typing import Any

import torch
from rich.cells import cell_len, chop_cells
from rich.text import Text
from torch import Tensor

from trivium.attribution._tokens import labelled, visible
from trivium.core.nouns import Attribution, Axes, Spelling, Target
from trivium.core.protocols import Tokenizer

RAISES = "▁▂▃▄▅▆▇█"
LOWERS = "░▒▓"
FAINT = 0.05
"""Share of the largest score below which a token is left unmarked."""

_ORANGE, _BLUE, _PAPER = (234, 110, 30), (70, 130, 235), (255, 251, 245)


def to_text(attribution: Attribution, tokenizer: Tokenizer | None = None, width: int = 80) -> str:
    """The attribution as plain lines of at most ``width`` columns. The tokenizer, here and below, is of need where the
    attribution has no spelling."""
    return to_terminal(attribution, tokenizer, width).plain


def to_terminal(attribution: Attribution, tokenizer: Tokenizer | None = None, width: int = 80) -> Text:
    """The same lines with colour, for ``rich``."""
    if width < 20:
        raise ValueError(f"width must be at least 20 columns, got {width}")
    attribution = labelled(attribution, tokenizer)
    tokens, shares = attribution.labels(), relative(attribution)
    numbers = numerals(attribution)
    head = f"{plain(attribution.method)}: {explained(attribution)}"
    told = ", ".join(f"{name} {said}".strip() for name, said in facts(attribution))
    lines = [
        *(Text(line, style="bold") for line in wrap(head, width)),
        *(Text(line, style="dim") for line in wrap(told, width)),
        Text(),
    ]
    for line in _lines(tokens, shares, width):
        lines.append(Text.assemble(*((piece, _colour(share)) for piece, share in line)))
        lines.append(Text("".join(_mark(share) * cell_len(piece) for piece, share in line).rstrip()))
    lines.append(Text(f"{RAISES} raises   {LOWERS} lowers", style="dim"))
    for place in attribution.top(5):
        score = f"{numbers[place]:>12}  "
        lines.append(
            Text.assemble(score, (tokens[place], _colour(shares[place])), (f"  {where(attribution, place)}", "dim"))
        )
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines)


def explained(attribution: Attribution) -> str:
    """What the scores explain, in words; needs the spelling."""
    target = attribution.target
    answer, foil = (quoted("".join(tokens)) for tokens in answered(attribution))
    if target.foils:
        word = "logit" if target.alone else "log-probability"
        return f"{word} of {answer} minus {word} of {foil}"
    words = {"logprob": "log-probability", "logit": "logit", "prob": "probability"}
    return f"{words[target.objective]} of {answer}"


def answered(attribution: Attribution) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens of answer and foil, as they are shown; needs the spelling."""
    spelling = attribution.spelling
    if spelling is None:
        raise ValueError("how the tokens read is not known: use trivium.explain, or Explanation.of")
    return spelling.answer, spelling.foil


def where(attribution: Attribution, place: int) -> str:
    """Which position a score is of, or which positions."""
    start, stop = attribution.units[place] if attribution.units else (place, place + 1)
    return f"position {start}" if stop == start + 1 else f"positions {start} to {stop - 1}"


def quoted(text: str) -> str:
    """In quotation marks."""
    return f"“{text}”"


def plain(name: str) -> str:
    """A name as people spell it: without underscores, and with nothing in it that has no shape."""
    return visible(name).replace("_", " ").replace("·", " ") or "attribution"


def numerals(attribution: Attribution) -> list[str]:
    """Scores as signed numbers with one number of decimals for all, so that the largest has four digits."""
    scores = attribution.scores.tolist()
    top = max(abs(score) for score in scores)
    exponent = math.floor(math.log10(top)) if top > 0 else 0
    form = f"+.{min(max(3 - exponent, 0), 6)}f" if -4 < exponent < 7 else "+.3e"
    return [format(score, form).replace("-", "−") for score in scores]


def relative(attribution: Attribution) -> list[float]:
    """Scores as shares of the largest magnitude, so in [-1, 1]; all zero where every score is."""
    top = attribution.scores.double().abs().max()
    return (attribution.scores.double() / top if top > 0 else attribution.scores.double()).tolist()


def facts(attribution: Attribution) -> Iterator[tuple[str, str]]:
    """What the method reports of itself, as pairs of words."""
    for name, value in attribution.facts.items():
        if name == "converged":
            yield ("converged" if value else "not converged"), ""
        else:
            yield plain(name), (f"{value:.1%}" if name.startswith("relative") else f"{value:.4g}").replace("-", "−")


def to_json(attribution: Attribution, tokenizer: Tokenizer | None = None) -> str:
    """The attribution as JSON, read back bit for bit by ``from_json``; with its tokens where a tokenizer is given."""
    if tokenizer is not None:
        attribution = labelled(attribution, tokenizer)
    scores, spelling = attribution.scores.detach().cpu(), attribution.spelling
    record: dict[str, Any] = {
        "method": attribution.method,
        "settings": dict(attribution.settings),
        "target": asdict(attribution.target),
        "ids": attribution.ids.tolist(),
        "scores": scores.double().tolist(),
        "dtype": _dtype(scores),
        "facts": _numbers(attribution.facts),
        "spent": _numbers(attribution.spent),
        "seed": attribution.seed,
        "frozen": list(attribution.frozen),
        "units": [list(unit) for unit in attribution.units],
        "arrays": {
            name: {"axes": list(axes.names), "dtype": _dtype(axes.values), "values": axes.values.double().tolist()}
            for name, axes in attribution.arrays.items()
        },
        **({} if spelling is None else asdict(spelling)),
    }
    return json.dumps(record, allow_nan=False)


def _numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: value if math.isfinite(value) else str(value) for name, value in values.items()}


def _dtype(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def _tensor(values: list[Any], dtype: str) -> Tensor:
    found = getattr(torch, dtype)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype {dtype!r} is no floating-point type")
    return torch.tensor(values, dtype=torch.float64).to(found)


def from_json(text: str) -> Attribution:
    """What ``to_json`` wrote. Raises ValueError that says what is wrong with any other text."""
    try:
        record = json.loads(text)
        spelling = None
        if "tokens" in record:
            offsets = tuple((int(start), int(stop)) for start, stop in record["offsets"])
            tokens, answer, foil = (tuple(record[name]) for name in ("tokens", "answer", "foil"))
            spelling = Spelling(record["text"], offsets, tokens, answer, foil)
        return Attribution(
            _tensor(record["scores"], record["dtype"]),
            torch.tensor(record["ids"], dtype=torch.int64),
            Target(**record["target"]),
            record["method"],
            {name: float(value) for name, value in record["facts"].items()},
            settings=record["settings"],
            arrays={
                name: Axes(tuple(axes["axes"]), _tensor(axes["values"], axes["dtype"]))
                for name, axes in record["arrays"].items()
            },
            spent={name: float(value) for name, value in record["spent"].items()},
            frozen=tuple(record["frozen"]),
            seed=record["seed"],
            spelling=spelling,
            units=tuple((start, stop) for start, stop in record["units"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"this is no attribution as to_json writes it: {type(error).__name__} {error}") from error


def _lines(tokens: list[str], shares: list[float], width: int) -> Iterator[list[tuple[str, float]]]:
    """Lines of (piece, share): tokens wrap whole where they fit, and a newline token ends its line."""
    line: list[tuple[str, float]] = []
    used = 0
    for token, share in zip(tokens, shares, strict=True):
        for piece in chop_cells(token, width):
            if used + cell_len(piece) > width:
                yield line
                line, used = [], 0
            line.append((piece, share))
            used += cell_len(piece)
        if "↵" in token:
            yield line
            line, used = [], 0
    if line:
        yield line


def _mark(share: float) -> str:
    if abs(share) < FAINT:
        return " "
    scale = RAISES if share > 0 else LOWERS
    return scale[min(int(abs(share) * len(scale)), len(scale) - 1)]


def _colour(share: float) -> str:
    if abs(share) < FAINT:
        return ""
    full = _ORANGE if share > 0 else _BLUE
    mixed = [round(paper + (ink - paper) * (0.15 + 0.85 * abs(share))) for paper, ink in zip(_PAPER, full, strict=True)]
    return f"black on rgb({mixed[0]},{mixed[1]},{mixed[2]})"
