"""``trivium trace``."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json
from trivium.data.packed_shards import PackedBatches
from trivium.data.prepared import Prepared
from trivium.data.tracing import Piece, Standing, Trace, Traced
from trivium.tokenization.files import restore

SHOWN = 160
"""Characters of a text."""
AROUND = 24
"""Tokens that are shown on each side of one."""


@dataclass(frozen=True)
class Command:
    """Tell where a document of a curation came from and what became of it, or what stands in the packed shards.

    Example: trivium trace runs/clean page-17

    Of a document, by its id or by some of its text: the file and line it stood in, what every method measured, the
    rule that dropped it, or where each of its tokens stands in the shards. Of a record that was refused: why.

    Backwards, from the shards to the documents, by token, by row, or by step of training; so a step at which the loss
    leaps is traced to the lines of the files it read:

        trivium trace runs/clean --at 00002:12345

        trivium trace runs/clean --row 17

        trivium trace runs/clean --step 120 --batch-size 16 --seed 0
    """

    folder: Positional[Path]
    """The folder of a run of trivium curate."""
    what: Positional[str | None] = None
    """The id of a document, or some of its text."""
    at: str | None = None
    """A token: SHARD:TOKEN, or TOKEN counted over all shards, padding included."""
    row: int | None = None
    """A row, counted over all shards."""
    step: int | None = None
    """A step of trivium train --shards, counted from 0."""
    batch_size: int = 16
    """Rows of a step, as it was trained."""
    seed: int = 0
    """The seed it was trained with."""
    most: int = 10
    """Documents that are told of at most."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON, texts whole."""

    def run(self) -> int:
        if sum(one is not None for one in (self.what, self.at, self.row, self.step)) != 1:
            raise ValueError("give one of: an id or text, --at TOKEN, --row ROW, --step STEP")
        if self.most < 1:
            raise ValueError(f"most must be at least 1, got {self.most}")
        trace = Trace(self.folder)
        if self.what is not None:
            return self._documents(trace, self.what)
        if self.at is not None:
            return self._token(trace, *trace.place(self.at))
        return self._rows(trace, [self.row] if self.row is not None else self._of_step(trace, self.step or 0))

    def _documents(self, trace: Trace, what: str) -> int:
        """Raises ValueError where nothing is found."""
        found = trace.documents(what, most=self.most)
        refused = [] if found else trace.refused(what, most=self.most)
        if not found and not refused:
            raise ValueError(f"no document of {self.folder} is called {what!r} or holds this text, read or refused")
        if self.json:
            print_json({"documents": [asdict(one) for one in found], "refused": [asdict(one) for one in refused]})
            return 0
        for one in found:
            _tell(one)
        for one in refused:
            place = f"{one.file}, record {one.record}, byte {one.offset}"
            console().print(f"refused: {escape(place)}: {one.reason}, {escape(one.detail)}", soft_wrap=True)
        if len(found) == self.most:
            console().print(f"the first {self.most}; more with --most", style="dim")
        return 0

    def _token(self, trace: Trace, row: int, column: int) -> int:
        standing, document = trace.token(row, column)
        within = column - standing.piece.column
        around = standing.ids[max(within - AROUND, 0) : within + AROUND + 1]
        tokenizer = restore(Prepared(trace.folder / "packed").tokenizer_folder)
        id = standing.ids[within]
        told = {
            "row": row, "column": column, "id": id, "token": tokenizer.decode([id]), "around": tokenizer.decode(around),
            "of_document": standing.piece.begin + within, "document": asdict(document),
        }  # fmt: skip
        if self.json:
            print_json(told)
            return 0
        console().print(
            f"row {row}, column {column}: id {id}, {told['token']!r}, token {told['of_document']:,} of its "
            f"document, in {told['around']!r}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        _tell(document)
        return 0

    def _of_step(self, trace: Trace, step: int) -> list[int]:
        if trace.shards is None:
            raise ValueError(f"{self.folder} is not packed; run trivium curate again with --tokenizer or --pack")
        return PackedBatches(trace.shards, self.batch_size, self.seed).rows(step).tolist()

    def _rows(self, trace: Trace, numbers: list[int]) -> int:
        found = [(number, trace.row(number)) for number in numbers]
        if self.json:
            print_json([{"row": number, "pieces": [_plain(one) for one in row]} for number, row in found])
            return 0
        table = Table(box=SIMPLE_HEAD)
        for name in ("row", "columns", "tokens of the document", "source", "id"):
            table.add_column(name, justify="left" if name in ("source", "id") else "right")
        for number, row in found:
            for one in row:
                piece = one.piece
                table.add_row(
                    f"{number:,}", _span(piece.column, piece.tokens), _span(piece.begin, piece.tokens),
                    escape(one.source), escape(one.id),
                )  # fmt: skip
        console().print(table)
        return 0


def _plain(one: Standing) -> dict[str, Any]:
    return {"id": one.id, "source": one.source, "place": one.place, **asdict(one.piece), "ids": one.ids}


def _span(begin: int, count: int) -> str:
    return f"{begin:,} to {begin + count - 1:,}"


def _tell(one: Traced) -> None:
    out = console()
    say = lambda text, **how: out.print(text, markup=False, highlight=False, soft_wrap=True, **how)  # noqa: E731
    say(f"{one.id}  ({one.source})", style="bold")
    say(f"  from      {one.file}, record {one.record:,}, {one.characters:,} characters")
    say(f"  text      {_short(one.text)}", style="dim")
    for name, value in one.measures.items():
        say(f"  measured  {name} = {'unknown' if value is None else f'{value:g}'}")
    for name, spans in one.spans.items():
        places = ", ".join(f"{int(start)} to {int(end)}" for start, end, _ in spans[:5])
        say(f"  marked    {name}: {places}{f' and {len(spans) - 5} more' if len(spans) > 5 else ''}")
    if one.dropped:
        others = [rule for rule in one.rules if rule != one.dropped]
        say(f"  dropped   by {one.dropped}{'; ' + ', '.join(others) + ' would too' if others else ''}", style="red")
        return
    assert one.kept is not None
    cut = "" if one.kept == one.text else f", cut to {len(one.kept):,} characters"
    say(f"  stays{cut}" if one.draws else f"  stays{cut}, and the mixer never draws it")
    if one.draws > 1:
        say(f"  drawn     {one.draws} times")
    for coming in one.packed or ():
        if coming.held_out:
            say(f"  place {coming.place:,}: held out, to evaluate on")
        elif not coming.pieces:
            say(f"  place {coming.place:,}: no tokens")
        for first, tokens in _stretches(coming.pieces):
            say(
                f"  place {coming.place:,}: tokens {_span(first.begin, tokens)} of {coming.tokens:,} from row "
                f"{first.row:,}, column {first.column:,} on ({first.shard}:{first.at})"
            )


def _stretches(pieces: Sequence[Piece]) -> list[tuple[Piece, int]]:
    """Pieces, those that follow each other on disk as in the document as one: the first, and tokens of all."""
    found: list[tuple[Piece, int]] = []
    for piece in pieces:
        first, tokens = found[-1] if found else (piece, 0)
        if tokens and (piece.shard, piece.at, piece.begin) == (first.shard, first.at + tokens, first.begin + tokens):
            found[-1] = first, tokens + piece.tokens
        else:
            found.append((piece, piece.tokens))
    return found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
