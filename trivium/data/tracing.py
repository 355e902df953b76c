"""Where a document of a run of curation came from and what became of it; and, backwards, what a token is of.

    trace = Trace("runs/clean")
    trace.documents("page-17")        # by its id, or by some of its text
    trace.row(120)                    # what stands in a row of the packed shards
    trace.token(7, 300)               # the document of one of its tokens

Everything is read off what the run left behind; nothing is decided or tokenised again.
"""

import base64
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core.errors import RunMismatch
from trivium.data import tables
from trivium.data.curated_folder import CuratedFolder, Part
from trivium.data.kept import Kept
from trivium.data.packed_shards import PackedShards
from trivium.data.packed_table import PackedDocument, read_documents


@dataclass(frozen=True)
class Piece:
    """Where some tokens of a document stand."""

    shard: str
    row: int
    """Over all shards, as they are dealt to training."""
    column: int
    tokens: int
    begin: int
    """Tokens of the document before these."""
    at: int
    """The first of them in the file of the shard, counted in tokens, padding included."""


@dataclass(frozen=True)
class Coming:
    """One time that a document comes out; more than one where it is drawn again."""

    place: int
    """In the order in which documents come out."""
    tokens: int
    held_out: bool
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Traced:
    """A document, from its file to the shards."""

    id: str
    source: str
    file: str
    record: int
    """Line or number in the file, from 1."""
    shard: str
    characters: int
    text: str
    """As it was read."""
    measures: Mapping[str, float | None]
    spans: Mapping[str, Sequence[Sequence[float]]]
    """Mark -> start, end, score of each span in the text."""
    dropped: str
    """The first rule that dropped it; empty where it stays."""
    rules: Sequence[str]
    """All that would; the first alone where the run did not write down what was asked for."""
    kept: str | None
    """The text that stays of it."""
    draws: int
    """How often it comes out; 0 where it is dropped, or never drawn by a mixer."""
    packed: Sequence[Coming] | None
    """None where the run has no packed shards."""


@dataclass(frozen=True)
class Refused:
    """A record that became no document."""

    file: str
    record: int
    offset: int
    """Bytes before it in the file, unpacked."""
    reason: str
    detail: str


@dataclass(frozen=True)
class Standing:
    """A piece of a row and the document it is of."""

    piece: Piece
    place: int
    id: str
    source: str
    ids: Sequence[int]
    """Its tokens."""


class Trace:
    """Of a finished run. Raises RunMismatch where there is none."""

    def __init__(self, folder: str | Path) -> None:
        self.run = CuratedFolder(folder)
        self.folder = self.run.folder
        self._known: tuple[int, list[PackedDocument]] = (-1, [])

    @cached_property
    def shards(self) -> PackedShards | None:
        """Those of this run; None where it was not packed. Raises RunMismatch where other documents were."""
        home = self.folder / "packed" / "train"
        if not PackedShards.there(home):
            return None
        found = PackedShards.open(home)
        kept = Kept(self.folder, list((self.run.drawn or self.run.mixed).values()))
        if found.index["packing"]["of"] != kept.fingerprint:
            raise RunMismatch(
                f"{home} was packed of other documents than those that stay now; run trivium curate again with "
                "--tokenizer or --pack, and --replace"
            )
        return found

    def documents(self, what: str, *, most: int = 10) -> list[Traced]:
        """Those of an id, of any source, or, where there is none, those that hold a text; the first so many."""
        if not what:
            raise ValueError("give the id of a document, or some of its text")
        return list(itertools.islice(self._called(what), most)) or list(itertools.islice(self._holding(what), most))

    def refused(self, what: str, *, most: int = 10) -> list[Refused]:
        """Records in quarantine whose bytes hold a text, as far as they were kept."""
        return list(itertools.islice(self._refused(what.encode("utf-8", "surrogatepass")), most))

    def row(self, number: int) -> list[Standing]:
        """What stands in a row, from its first column on. Raises ValueError for none, or a run that is not packed."""
        shards = self._packed()
        shard, row = shards.place(number)
        name, ids = shards.shards[shard]["name"], shards.ids(shard, row)
        found = []
        for _, column, count, document, begin in shards.pieces_of_row(shard, row).tolist():
            one, place = self._table(shard)[document], int(shards.shards[shard]["begin"]) + document
            piece = Piece(name, number, column, count, begin, row * shards.context + column)
            found.append(Standing(piece, place, one.id, one.source, ids[column : column + count].tolist()))
        return found

    def token(self, row: int, column: int) -> tuple[Standing, Traced]:
        """The piece that a token of a row belongs to, and its document. Raises ValueError for padding and beyond."""
        context = self._packed().context
        if not 0 <= column < context:
            raise ValueError(f"rows have columns 0 to {context - 1}, not {column}")
        for standing in self.row(row):
            if standing.piece.column <= column < standing.piece.column + standing.piece.tokens:
                called = (one for one in self._called(standing.id) if one.source == standing.source)
                return standing, next(one for one in called if one.kept is not None)
        raise ValueError(f"column {column} of row {row} is padding")

    def place(self, said: str) -> tuple[int, int]:
        """Row and column of a token, said as SHARD:TOKEN, or as TOKEN counted over all shards, padding included. Raises
        ValueError."""
        shards = self._packed()
        name, found, token = said.rpartition(":")
        names = [shard["name"] for shard in shards.shards]
        if not token.isdecimal() or (found and name not in names):
            raise ValueError(
                f"a token is named by SHARD:TOKEN, such as {names[0]}:0, or counted over all shards; got {said!r}"
            )
        row, column = divmod(int(token), shards.context)
        before = [shard["rows"] for shard in shards.shards[: names.index(name)]] if found else []
        most = shards.shards[names.index(name)]["rows"] if found else shards.rows
        if row >= most:
            raise ValueError(f"there are {most * shards.context:,} places for tokens, from 0 on; got {token}")
        return sum(before) + row, column

    def _packed(self) -> PackedShards:
        if self.shards is None:
            raise ValueError(f"{self.folder} is not packed; run trivium curate again with --tokenizer or --pack")
        return self.shards

    def _called(self, id: str) -> Iterator[Traced]:
        for shard in self.run.shards:
            read = tables.identities(self.folder / "documents" / f"{shard}.parquet")
            stay = tables.identities(self.folder / "mixed" / f"{shard}.parquet")
            own = {place: name for _, name, place in stay}  # which has a number where another had the same
            wanted = {place for _, name, place in read if id in (own.get(place, name), name)}
            if wanted:
                yield from self._traced(shard, lambda part, at, wanted=wanted: part.places[at] in wanted)

    def _holding(self, text: str) -> Iterator[Traced]:
        for shard in self.run.shards:
            yield from self._traced(shard, lambda part, at: text in part.texts.texts[at])

    def _traced(self, shard: str, wanted: Any) -> Iterator[Traced]:
        """The documents of a shard that are wanted."""
        row = 0
        stay = tables.identities(self.folder / "mixed" / f"{shard}.parquet")
        for part in self.run.parts(shard):
            for at in range(len(part.texts)):
                stays = part.after[at] is not None
                name = next(stay)[1] if stays else part.texts.ids[at]
                if wanted(part, at):
                    yield self._told(shard, part, at, name, row if stays else None)
                row += stays

    def _told(self, shard: str, part: Part, at: int, name: str, row: int | None) -> Traced:
        rules = [part.reasons[at]] if part.reasons[at] else []
        if self.run.rules is not None:
            rules = [drop.name for drop in self.run.rules.drops if drop.condition(part.marks)[at]]
        numbers = {name: float(column[at]) for name, column in part.marks.numbers.items()}
        comings = None if self.shards is None else [] if row is None else self._comings(part.texts.sources[at], name)
        return Traced(
            id=name, source=part.texts.sources[at], file=self.run.read[shard].facts["file"], record=part.places[at],
            shard=shard, characters=len(part.texts.texts[at]), text=part.texts.texts[at],
            measures={name: value if np.isfinite(value) else None for name, value in sorted(numbers.items())},
            spans={name: [list(span) for span in rows[at]] for name, rows in part.marks.spans.items() if rows[at]},
            dropped=part.reasons[at], rules=rules,
            kept=part.after[at], draws=0 if row is None else self._draws(shard, row), packed=comings,
        )  # fmt: skip

    def _draws(self, shard: str, row: int) -> int:
        if not self.run.drawn:
            return 1
        return int((np.load(self.folder / "order" / f"{shard}.row.npy") == row).sum())

    def _comings(self, source: str, id: str) -> list[Coming]:
        """Wherever a document is packed."""
        shards, found, first = self._packed(), [], 0
        for number, shard in enumerate(shards.shards):
            for document, one in enumerate(self._table(number)):
                if (one.source, one.id) == (source, id):
                    pieces = shards.pieces(number)
                    mine = pieces[pieces[:, 3] == document]
                    told = [
                        Piece(shard["name"], first + row, column, count, begin, row * shards.context + column)
                        for row, column, count, _, begin in mine[np.argsort(mine[:, 4])].tolist()
                    ]
                    found.append(Coming(int(shard["begin"]) + document, one.tokens, one.held_out, told))
            first += shard["rows"]
        return found

    def _table(self, number: int) -> list[PackedDocument]:
        """The documents of a packed shard; the last one that was asked for is kept."""
        if self._known[0] != number:
            shards = self._packed()
            path = shards.folder / f"{shards.shards[number]['name']}.documents.parquet"
            self._known = number, list(read_documents(path))
        return self._known[1]

    def _refused(self, data: bytes) -> Iterator[Refused]:
        for shard in self.run.shards:
            for row in self.run.quarantine(shard):
                if data in base64.b64decode(row["data"]):
                    yield Refused(
                        self.run.read[shard].facts["file"], row["place"], row["offset"], row["reason"], row["detail"]
                    )
