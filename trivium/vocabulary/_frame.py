"""What all initialisers share: which tokens both vocabularies have, what is copied, and what is reported.

    row of a token that both have:  the old row, bit for bit
    row of another token:           what the method makes of the old rows

Tokens are compared by the bytes they stand for, so that a byte-level, a sentencepiece and a WordPiece spelling of a
word are one; special tokens by their role. Of old tokens with the same bytes the lowest id counts, and is reported. Old
rows that no text has (padding of the table, holes) take part in nothing.

Rows are made in float64 and rounded once, to the number format of the model. A head's bias stands as one more column of
its rows: a mean of rows then has the mean of the biases, and logits are means of logits.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.core.errors import NotFinite, NotOffered
from trivium.core.languages import NOTHING, Languages
from trivium.core.method import card_of
from trivium.core.protocols import LanguageModel, Tokenizer
from trivium.models.system import System
from trivium.models.vocabulary import Rows, check_finite_weights, rows_of, with_rows
from trivium.tokenization.pieces import Piece, pieces, roles

log = logging.getLogger(__name__)

Match = Literal["exact", "case", "space", "case_and_space"]
"""When two tokens are the same: to the byte, or whatever their case, whether they begin a word, or both. What is equal
to the byte goes first."""

Fill = Callable[[Tensor], Tensor]
"""(old real rows, columns) -> (new rows, columns)"""


@dataclass(frozen=True, eq=False)
class Frame:
    """Two vocabularies beside each other. ``origin`` (new vocab,): the old id whose row a token keeps, or -1."""

    system: System
    tokenizer: Tokenizer
    languages: Languages
    match: Match
    rows: Rows

    @cached_property
    def old_pieces(self) -> tuple[Piece, ...]:
        return pieces(self.system.tokenizer)

    @cached_property
    def new_pieces(self) -> tuple[Piece, ...]:
        return pieces(self.tokenizer)

    @cached_property
    def old(self) -> Tensor:
        """(old real rows,) int64: old ids that stand for something, ascending."""
        return torch.tensor([id for id, piece in enumerate(self.old_pieces) if piece.real], dtype=torch.int64)

    @cached_property
    def place(self) -> dict[int, int]:
        """Old id -> its place among the real rows."""
        return {id: at for at, id in enumerate(self.old.tolist())}

    @cached_property
    def ambiguous(self) -> list[tuple[int, int]]:
        """Old ids that are passed over, each beside the lower one of the same bytes."""
        first: dict[object, int] = {}
        found = []
        for id, piece in enumerate(self.old_pieces):
            if piece.bytes and (known := first.setdefault((piece.bytes, piece.fallback), id)) != id:
                found.append((id, known))
        return found

    @cached_property
    def origin(self) -> Tensor:
        ours = roles(self.system.tokenizer)
        special = {piece.special: id for id, piece in reversed(tuple(enumerate(self.old_pieces))) if piece.special}
        by_role = {id: ours[role] for role, id in roles(self.tokenizer).items() if role in ours}
        tables = [self._table(fold) for fold in _folds(self.match)]
        origin = torch.full((len(self.new_pieces),), -1, dtype=torch.int64)
        for id, piece in enumerate(self.new_pieces):
            if piece.special:
                found = by_role.get(id)
                found = special.get(piece.special) if found is None else found
            else:
                keys = [(table, (fold(piece.bytes), piece.fallback)) for fold, table in tables] if piece.bytes else []
                keys += [(table, (key, not fallback)) for table, (key, fallback) in keys[:1]]
                found = next((table[key] for table, key in keys if key in table), None)
            if found is not None:  # an id may be 0
                origin[id] = found
        return origin

    def _table(self, fold: Callable[[bytes], bytes]) -> tuple[Callable[[bytes], bytes], dict[object, int]]:
        table: dict[object, int] = {}
        for id, piece in enumerate(self.old_pieces):
            if piece.bytes:
                table.setdefault((fold(piece.bytes), piece.fallback), id)
        return fold, table

    @cached_property
    def copied(self) -> Tensor:
        """(copied,) int64: new ids that keep an old row."""
        return (self.origin >= 0).nonzero()[:, 0]

    @cached_property
    def new(self) -> Tensor:
        """(new,) int64: new ids that need a row."""
        return (self.origin < 0).nonzero()[:, 0]

    def texts_of(self, which: Sequence[Piece], ids: Sequence[int]) -> list[str]:
        """Tokens as text; what is no whole character as the replacement character, what is special as nothing."""
        return [which[id].bytes.decode("utf-8", errors="replace") for id in ids]


def _folds(match: Match) -> list[Callable[[bytes], bytes]]:
    def case(token: bytes) -> bytes:
        try:
            return token.decode().lower().encode()
        except UnicodeDecodeError:
            return token

    def space(token: bytes) -> bytes:
        return token.removeprefix(b" ") or token

    same: Callable[[bytes], bytes] = lambda token: token  # noqa: E731
    both: Callable[[bytes], bytes] = lambda token: space(case(token))  # noqa: E731
    more = {"exact": [], "case": [case], "space": [space], "case_and_space": [case, space, both]}
    return [same, *more[match]]


@dataclass(frozen=True, eq=False)
class Filling:
    """How the new rows are made. ``embedding`` and ``head`` may differ where the model has both. ``uncovered``: new ids
    of which the method knew nothing, so that they got a row by another rule."""

    embedding: Fill
    head: Fill | None = None
    uncovered: Sequence[int] = ()
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What became of a vocabulary. ``copied``, ``new`` and ``uncovered`` count tokens of the new one; ``ambiguous``
    pairs old ids of the same bytes, the one passed over first."""

    method: str
    tokens: int
    copied: int
    new: int
    uncovered: Sequence[int]
    ambiguous: Sequence[tuple[int, int]]
    unused_rows: int
    """Rows of the old table that no text has, and that took part in nothing."""
    parameters: tuple[int, int]
    """Before and after."""
    norms: tuple[float, float]
    """The 0.1 and 99.9 percentile of the lengths of old embedding rows."""
    outside: int
    """New rows shorter or longer than that."""
    cast_error: float
    """The largest change by rounding to the model's number format."""
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Transplant:
    """The system with its new vocabulary; ``origin`` (vocab,) the old id whose row each token keeps, or -1."""

    system: System
    origin: Tensor
    report: Report


class Initialiser(ABC):
    """What a method derives from: it says how new rows are made, and the frame does the rest."""

    match: Match
    reads: ClassVar[tuple[str, ...]] = ()
    """Fields of ``Languages`` that it cannot do without."""

    @abstractmethod
    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        """How the rows of ``frame.new`` are made. There is at least one."""

    def __call__(
        self, system: System, tokenizer: Tokenizer, languages: Languages = NOTHING, *, generator: torch.Generator
    ) -> System:
        """The system with this tokenizer; see ``transplant``."""
        return self.transplant(system, tokenizer, languages, generator=generator).system

    def transplant(
        self, system: System, tokenizer: Tokenizer, languages: Languages = NOTHING, *, generator: torch.Generator
    ) -> Transplant:
        """The system with this tokenizer, and a report.

        Raises ValueError where ``languages`` lacks what the method reads or no token is shared at all, NotOffered for a
        model whose rows cannot be changed, NotFinite for damaged weights.
        """
        rows = rows_of(system.model)
        check_finite_weights(system.model)
        frame, filling = self.begun(system, tokenizer, languages, rows, generator)
        model, norms, error = self.made(frame, filling)
        if self.keeps_rows(frame):
            check_kept(frame, system.model, model)
        count = lambda one: sum(part.numel() for part in one.parameters())  # noqa: E731
        report = self.report(frame, filling, norms, error, (count(system.model), count(model)))
        kept = {old: new for new, old in enumerate(frame.origin.tolist()) if old >= 0}
        ends = tuple(kept[id] for id in system.ends if id in kept)
        made = replace(system, model=model, tokenizer=tokenizer, fingerprint="", source="", ends=ends)
        return Transplant(made, frame.origin, report)

    def begun(
        self, system: System, tokenizer: Tokenizer, languages: Languages, rows: Rows, generator: torch.Generator
    ) -> tuple[Frame, Filling]:
        """Both vocabularies beside each other, checked, and how the new rows are made."""
        if lacking := languages.lacks(self.reads):
            raise ValueError(
                f"{card_of(self).name} reads {', '.join(lacking)} of Languages, which are empty; give them"
            )
        if system.tokenizer.vocab_size > len(rows.embedding):
            raise ValueError(
                f"the tokenizer of {system.name} has {system.tokenizer.vocab_size} ids and its embedding only "
                f"{len(rows.embedding)} rows; they do not belong together"
            )
        frame = Frame(system, tokenizer, languages, self.match, rows)
        if not len(frame.copied):
            raise ValueError(
                f"{system.name} and the new tokenizer share no token, not even a special one; nothing is carried over"
            )
        return frame, self.fill(frame, generator) if len(frame.new) else Filling(lambda source: source[:0])

    def report(
        self,
        frame: Frame,
        filling: Filling,
        norms: tuple[float, float, int],
        error: float,
        parameters: tuple[int, int],
    ) -> Report:
        """What became of the vocabulary; what is odd about it is logged."""
        name, (low, high, outside) = card_of(self).name, norms
        if outside and len(frame.new):
            log.warning(
                "%s: %d of %d new rows are not between %.3g and %.3g long, as 99.8 %% of the old ones are",
                name,
                outside,
                len(frame.new),
                low,
                high,
            )
        for id, known in frame.ambiguous[:3]:
            log.info("old tokens %d and %d are both %r; %d counts", id, known, frame.old_pieces[id].bytes, known)
        return Report(
            method=name,
            tokens=len(frame.new_pieces),
            copied=len(frame.copied),
            new=len(frame.new),
            uncovered=tuple(filling.uncovered),
            ambiguous=tuple(frame.ambiguous),
            unused_rows=len(frame.rows.embedding) - len(frame.old),
            parameters=parameters,
            norms=(low, high),
            outside=outside,
            cast_error=error,
            facts=dict(filling.facts),
        )

    def keeps_rows(self, frame: Frame) -> bool:
        """Whether shared tokens keep their rows bit for bit."""
        return True

    def made(self, frame: Frame, filling: Filling) -> tuple[LanguageModel, tuple[float, float, int], float]:
        """The model with its rows; the range of old lengths and how many new rows leave it; the error of rounding."""
        rows, error = self.rows(frame, filling)
        model = with_rows(frame.system.model, rows, roles(frame.tokenizer))
        return model, lengths(frame, rows.embedding), error

    def rows(self, frame: Frame, filling: Filling) -> tuple[Rows, float]:
        """The rows of both ends, checked, and the error of rounding."""
        rows = frame.rows
        embedding, first = carried(frame, rows.embedding, rows.bias if rows.tied else None, filling.embedding)
        if rows.head is None:
            made = Rows(embedding[:, : rows.embedding.shape[1]], None, _last(embedding, rows.bias))
            error = first
        else:
            head, second = carried(frame, rows.head, rows.bias, filling.head or filling.embedding)
            made = Rows(embedding, head[:, : rows.head.shape[1]], _last(head, rows.bias))
            error = max(first, second)
        check_rows(frame, made)
        return made, error


def carried(frame: Frame, table: Tensor, bias: Tensor | None, fill: Fill) -> tuple[Tensor, float]:
    """(new vocab, columns): old rows where they are kept, bit for bit, and filled ones elsewhere; the bias is the last
    column. With the largest error of rounding."""
    whole = table if bias is None else torch.cat((table, bias[:, None]), 1)
    made = whole.new_zeros(len(frame.origin), whole.shape[1])
    made[frame.copied] = whole[frame.origin[frame.copied].to(whole.device)]
    if not len(frame.new):
        return made, 0.0
    filled = fill(whole[frame.old].double().cpu())
    if filled.shape != (len(frame.new), whole.shape[1]):
        raise TypeError(f"{len(frame.new)} rows of {whole.shape[1]} were to be made, got {tuple(filled.shape)}")
    made[frame.new] = filled.to(whole)
    return made, float((made[frame.new].double().cpu() - filled).abs().max())


def _last(whole: Tensor, bias: Tensor | None) -> Tensor | None:
    return None if bias is None else whole[:, -1]


def check_rows(frame: Frame, rows: Rows) -> None:
    """Raise NotFinite for new rows that are no numbers, ValueError for rows of zeros that were not there before."""
    for name, table in (("embedding", rows.embedding), ("head", rows.head)):
        if table is None or not len(frame.new):
            continue
        made = table[frame.new]
        for what, bad in (("not finite", ~made.isfinite().all(1)), ("all zero", (made == 0).all(1))):
            if bad.any():
                id = int(frame.new[int(bad.nonzero()[0, 0])])
                error = NotFinite if what == "not finite" else ValueError
                raise error(f"the {name} row of new token {id}, {frame.new_pieces[id].bytes!r}, is {what}")


def lengths(frame: Frame, embedding: Tensor) -> tuple[float, float, int]:
    """The 0.1 and 99.9 percentile of the lengths of old rows, and how many new ones lie outside."""
    old = frame.rows.embedding[frame.old].double().norm(dim=1).cpu()
    low, high = (float(x) for x in torch.quantile(old, torch.tensor([0.001, 0.999], dtype=torch.float64)))
    new = embedding[frame.new].double().norm(dim=1).cpu()
    slack = 1e-9 * high
    return low, high, int(((new < low - slack) | (new > high + slack)).sum())


@torch.no_grad()
def check_kept(frame: Frame, old: LanguageModel, new: LanguageModel) -> None:
    """Raise NotOffered unless a text of shared tokens goes through the new model as through the old one: something
    other than the rows would depend on the vocabulary."""
    shared = [id for id in frame.copied.tolist() if not frame.new_pieces[id].special] or frame.copied.tolist()
    ids = torch.tensor([shared[:8]])
    was, trained = old.training, new.training
    old.eval()
    new.eval()
    try:
        before = old(frame.origin[ids].to(old.device)).hidden
        after = new(ids.to(new.device)).hidden
    finally:
        old.train(was)
        new.train(trained)
    if not torch.allclose(before, after, rtol=1e-4, atol=1e-5 * float(before.abs().max())):
        raise NotOffered(
            f"tokens that kept their rows give other states ({float((before - after).abs().max()):.3g} "
            "apart): something besides embedding and head of this architecture depends on the vocabulary"
        )


def check_match(match: str) -> None:
    """Raise ValueError for no way of comparing tokens."""
    if match not in get_args(Match):
        raise ValueError(f"match must be one of {', '.join(get_args(Match))}; got {match!r}")


def mixed(*parts: tuple[Tensor, Fill], count: int) -> Fill:
    """Rows from several rules: each fills the new rows at its places. ``count``: how many there are in all."""

    def fill(source: Tensor) -> Tensor:
        made = source.new_full((count, source.shape[1]), float("nan"))
        for places, one in parts:
            if len(places):
                made[places] = one(source)
        return made

    return fill


def normal(count: int, generator: torch.Generator, *, unbiased: bool = False) -> Fill:
    """Each coordinate drawn by itself, with the mean and spread that it has over the old rows."""

    def fill(source: Tensor) -> Tensor:
        spread = source.std(0, correction=1 if unbiased and len(source) > 1 else 0)
        return source.mean(0) + spread * draw(count, source.shape[1], generator)

    return fill


def draw(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, in float64 on the CPU wherever the generator lives."""
    made: Any = torch.randn(rows, columns, generator=generator, dtype=torch.float64, device=generator.device)
    return made.cpu()
