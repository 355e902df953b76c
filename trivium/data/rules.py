"""Deciding by what was measured: rules that drop documents, rules that cut passages, and what each of them did.

    Drop("few words", "gopher.word_count < 50 or gopher.word_count > 100_000")
    Drop("much personal", "pii.email.count + pii.phone.count > 5")
    Cut("pii.email", by=" |||EMAIL_ADDRESS||| ", least=0.5)

A condition is written in a small language: names of what was measured, numbers, + - * /, comparisons (also chained),
and, or, not, parentheses. A name that nobody measures is an error before anything is read: in published mixes a
misspelt name means a rule that silently never fires. Of a number that a document lacks (NaN) it is unknown how it
compares, and what is unknown drops nothing; ``missing(name)`` asks for just that.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.marks import Marks, Span

Column = NDArray[Any]

_COMPARE: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: np.less, ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal, ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}  # fmt: skip
_REACH: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
}  # fmt: skip


class Condition:
    """A condition, parsed and checked; ``names`` is what it reads."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise ValueError(
                f"{text!r} is no condition ({error.msg}); write one such as 'gopher.word_count < 50'"
            ) from error
        self.names = frozenset(self._names(self._tree))
        if not self._yields_truth(self._tree):
            raise ValueError(f"{text!r} is a number, not a condition; compare it with something")

    def __call__(self, marks: Marks) -> NDArray[np.bool_]:
        """(count,) bool. Raises UnknownName for a name that was not measured."""
        with np.errstate(divide="ignore", invalid="ignore"):
            yes, _ = self._truth(self._tree, marks)
        return np.broadcast_to(yes, (marks.count,))

    def _wrong(self, node: ast.AST) -> ValueError:
        return ValueError(
            f"{ast.unparse(node)!r} in the condition {self.text!r} is not understood; it may hold names, numbers, "
            "+ - * /, comparisons, and, or, not, missing(name)"
        )

    def _names(self, node: ast.AST) -> list[str]:
        match node:
            case ast.Name() | ast.Attribute():
                return [self._name(node)]
            case ast.Constant(value=value) if isinstance(value, int | float) and not isinstance(value, bool):
                return []
            case ast.BoolOp(values=parts):
                if not all(map(self._yields_truth, parts)):
                    raise self._wrong(node)
                return [name for part in parts for name in self._names(part)]
            case ast.UnaryOp(op=ast.Not(), operand=part) if self._yields_truth(part):
                return self._names(part)
            case ast.UnaryOp(op=ast.USub(), operand=part) if not self._yields_truth(part):
                return self._names(part)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _REACH:
                if self._yields_truth(left) or self._yields_truth(right):
                    raise self._wrong(node)
                return [*self._names(left), *self._names(right)]
            case ast.Compare(left=left, ops=ops, comparators=right) if all(type(op) in _COMPARE for op in ops):
                if any(map(self._yields_truth, (left, *right))):
                    raise self._wrong(node)
                return [name for part in (left, *right) for name in self._names(part)]
            case ast.Call(func=ast.Name(id="missing"), args=[part], keywords=[]):
                return [self._name(part)]
        raise self._wrong(node)

    def _name(self, node: ast.AST) -> str:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise self._wrong(node)
        return ".".join([node.id, *reversed(parts)])

    @staticmethod
    def _yields_truth(node: ast.AST) -> bool:
        return isinstance(node, ast.BoolOp | ast.Compare | ast.Call) or (
            isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        )

    def _truth(self, node: ast.AST, marks: Marks) -> tuple[Column, Column]:
        """Where it holds and where it does not; neither where that is unknown."""
        match node:
            case ast.BoolOp(op=op, values=parts):
                yes, no = zip(*(self._truth(part, marks) for part in parts), strict=True)
                if isinstance(op, ast.And):
                    return np.logical_and.reduce(yes), np.logical_or.reduce(no)
                return np.logical_or.reduce(yes), np.logical_and.reduce(no)
            case ast.UnaryOp(operand=part):
                yes, no = self._truth(part, marks)
                return no, yes
            case ast.Compare(left=left, ops=ops, comparators=right):
                sides = [self._number(part, marks) for part in (left, *right)]
                links = [_COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides[:-1], sides[1:], strict=True)]
                holds, known = np.logical_and.reduce(links), ~np.logical_or.reduce([np.isnan(side) for side in sides])
                return holds & known, ~holds & known
            case ast.Call(args=[part]):
                lacks = np.isnan(self._number(part, marks))
                return lacks, ~lacks
        raise self._wrong(node)

    def _number(self, node: ast.AST, marks: Marks) -> Column:
        match node:
            case ast.Constant(value=value):
                return np.full(marks.count, float(value))  # type: ignore[arg-type]
            case ast.UnaryOp(operand=part):
                return -self._number(part, marks)
            case ast.BinOp(left=left, op=op, right=right):
                return _REACH[type(op)](self._number(left, marks), self._number(right, marks))
        return marks.value(self._name(node))


@dataclass(frozen=True)
class Drop:
    """Documents of which the condition holds are dropped, under this name."""

    name: str
    when: str

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError(f"the rule {self.when!r} has no name; documents are counted under it")
        _ = self.condition

    @cached_property
    def condition(self) -> Condition:
        return Condition(self.when)


@dataclass(frozen=True)
class Cut:
    """Passages marked by these spans are replaced."""

    spans: str
    by: str = ""
    least: float = -np.inf
    """Only spans of at least this score."""


@dataclass(frozen=True)
class Decided:
    """What becomes of each document."""

    kept: NDArray[np.bool_]
    """(count,)"""
    reason: Sequence[str]
    """Per document the name of the first rule that dropped it; empty where it is kept."""
    alone: Mapping[str, int]
    """Per rule how many documents it would drop if it were the only one; 0 is worth a look."""
    both: Mapping[tuple[str, str], int]
    """Per pair of rules how many documents both would drop."""
    cuts: Sequence[Sequence[tuple[int, int, str]]]
    """Per document passages in order, which do not touch each other, and what stands for each."""

    @property
    def first(self) -> dict[str, int]:
        """Per rule of how many documents it is the first to drop them."""
        return {name: sum(reason == name for reason in self.reason) for name in self.alone}


@dataclass(frozen=True)
class Rules:
    """Drops in the order in which they are asked, and cuts."""

    drops: tuple[Drop, ...] = ()
    cuts: tuple[Cut, ...] = ()

    def __post_init__(self) -> None:
        called = [drop.name for drop in self.drops]
        for name in called:
            if called.count(name) > 1:
                raise ValueError(f"{called.count(name)} rules are called {name!r}; documents could not be told apart")

    def check(self, measured: frozenset[str], spans: frozenset[str]) -> None:
        """Raises UnknownName for a rule about something that nobody measures, before anything is read."""
        for drop in self.drops:
            for name in sorted(drop.condition.names - measured):
                raise UnknownName(
                    f"the rule {drop.name!r} asks for {name!r}, which nobody measures{did_you_mean(name, measured)}"
                )
        for cut in self.cuts:
            if cut.spans not in spans:
                raise UnknownName(f"nobody marks the spans {cut.spans!r} to cut{did_you_mean(cut.spans, spans)}")

    def decide(self, marks: Marks) -> Decided:
        """What becomes of each document, by what was measured alone."""
        self.check(marks.names, frozenset(marks.spans))
        fired = {drop.name: drop.condition(marks) for drop in self.drops}
        reason = [""] * marks.count
        for name, column in reversed(fired.items()):
            for place in np.flatnonzero(column):
                reason[place] = name
        names = list(fired)
        both = {
            (a, b): int((fired[a] & fired[b]).sum()) for i, a in enumerate(names) for b in names[i + 1 :]
        }  # fmt: skip
        return Decided(
            np.array([not why for why in reason], bool),
            reason,
            {name: int(column.sum()) for name, column in fired.items()},
            {pair: count for pair, count in both.items() if count},
            [self._passages(marks, place) for place in range(marks.count)],
        )

    def _passages(self, marks: Marks, place: int) -> list[tuple[int, int, str]]:
        found = [
            (start, end, cut.by)
            for cut in self.cuts
            for start, end, score in marks.spans[cut.spans][place]
            if score >= cut.least
        ]
        return joined(found)


def joined(passages: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Passages that overlap become one where they are replaced alike; else the one that begins first stands, or of two
    that begin together the longer, and the other loses what they share, or all of it where nothing is left."""
    found: list[tuple[int, int, str]] = []
    for start, end, by in sorted(passages, key=lambda passage: (passage[0], -passage[1])):
        if start >= end:
            continue
        if found and start < found[-1][1]:
            first, upto, before = found[-1]
            if by == before:
                found[-1] = (first, max(upto, end), by)
                continue
            start = upto
            if start >= end:
                continue
        found.append((start, end, by))
    return found


def replaced(text: str, passages: Sequence[tuple[int, int, str]]) -> str:
    """The text with these passages replaced, which are in order and do not overlap. Raises ValueError for others."""
    pieces, at = [], 0
    for start, end, by in passages:
        if not at <= start <= end <= len(text):
            raise ValueError(
                f"the passage {start} to {end} overlaps the one before, or is not within {len(text)} characters"
            )
        pieces += [text[at:start], by]
        at = end
    return "".join([*pieces, text[at:]])


def as_spans(rows: Sequence[Sequence[tuple[int, int]]], score: float = 1.0) -> list[list[Span]]:
    """Plain (start, end) pairs as spans of one score."""
    return [[(start, end, score) for start, end in row] for row in rows]
