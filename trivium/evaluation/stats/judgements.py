"""Judgements of pairs: who was set against whom, what came out, who judged it and which was shown first.

A file of them has one JSON object a line:

    {"prompt": "q17", "a": "greedy", "b": "sampled", "outcome": "a", "judge": "ann", "first": "b", "length_a": 120, ...}

``outcome`` is "a", "b", "tie" or "both_bad", a tie for the ratings. ``judge``, ``first`` ("a" or "b"), ``time`` and
``length_a`` with ``length_b`` may be left out.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

Outcome = Literal["a", "b", "tie", "both_bad"]


@dataclass(frozen=True)
class Judgement:
    """One outcome of one pair."""

    prompt: str
    a: str
    b: str
    outcome: Outcome
    judge: str = ""
    first: Literal["a", "b", ""] = ""
    """Which was shown first; "" where it is not known, or the order could not matter."""
    time: float | None = None
    length_a: float | None = None
    length_b: float | None = None

    def __post_init__(self) -> None:
        if self.a == self.b:
            raise ValueError(f"prompt {self.prompt!r} sets {self.a!r} against itself")
        if self.outcome not in get_args(Outcome):
            known = ", ".join(get_args(Outcome))
            raise ValueError(f"an outcome is one of {known}; prompt {self.prompt!r} has {self.outcome!r}")
        if self.first not in ("a", "b", ""):
            raise ValueError(f"first is 'a', 'b' or '' (not known); prompt {self.prompt!r} has {self.first!r}")

    @property
    def credit(self) -> float:
        """What a gets: 1, 0, or a half of a tie."""
        return {"a": 1.0, "b": 0.0}.get(self.outcome, 0.5)

    @property
    def mirrored(self) -> "Judgement":
        """The same judgement with a and b exchanged."""
        other = {"a": "b", "b": "a"}
        return replace(
            self,
            a=self.b,
            b=self.a,
            outcome=other.get(self.outcome, self.outcome),  # type: ignore[arg-type]
            first=other.get(self.first, ""),  # type: ignore[arg-type]
            length_a=self.length_b,
            length_b=self.length_a,
        )


def read(path: str | Path) -> list[Judgement]:
    """The judgements of a file; what is wrong in it is named with its line."""
    known = {field.name for field in fields(Judgement)}
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            said: dict[str, Any] = json.loads(line)
            if not isinstance(said, dict):
                raise ValueError(f"a judgement is an object with prompt, a, b and outcome, got {line[:40]}")
            missing = [name for name in ("prompt", "a", "b", "outcome") if name not in said]
            if missing:
                raise ValueError(f"there is no {' and no '.join(missing)}")
            kept = {key: value for key, value in said.items() if key in known and value is not None}
            for name in ("prompt", "a", "b", "judge"):
                if name in kept:
                    kept[name] = str(kept[name])
            for name in ("time", "length_a", "length_b"):
                if name in kept:
                    kept[name] = float(kept[name])
            found.append(Judgement(**kept))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
    if not found:
        raise ValueError(f"{path} holds no judgement")
    return found


def both_orders(judgements: Iterable[Judgement]) -> list[Judgement]:
    """A pair that one judge saw in both orders becomes one judgement: a tie where the orders disagree.

    A judge that prefers the place to the answer so says nothing. Pairs seen in one order alone stay as they are. A
    merged one has no ``first``, and the lengths of its first record.
    """
    groups: dict[tuple[str, str, str, str], list[Judgement]] = defaultdict(list)
    for one in judgements:
        turned = one if one.a < one.b else one.mirrored
        groups[turned.prompt, turned.judge, turned.a, turned.b].append(turned)
    found = []
    for seen in groups.values():
        if {one.first for one in seen} < {"a", "b"} or "" in {one.first for one in seen}:
            found += seen
            continue
        said = {one.outcome for one in seen}
        found.append(replace(seen[0], outcome=said.pop() if len(said) == 1 else "tie", first=""))
    return found


def systems(judgements: Sequence[Judgement]) -> tuple[str, ...]:
    """Everything that was judged, sorted."""
    return tuple(sorted({name for one in judgements for name in (one.a, one.b)}))
