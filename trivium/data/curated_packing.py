"""Documents that stay, tokenised and packed to rows for training: the stage behind the mix.

    outcome = Run(plan, "runs/clean").go()
    shards = Packing(context=1024).go(outcome.kept, tokenizer, Processes(2))   # -> runs/clean/packed

``packed/`` is a ``data.prepared.Prepared``: shards, texts held out, and the tokenizer. A shard is a stretch of the
documents in the order in which they come out, made on its own: known by what went into it, whole or not there, the same
whoever makes it, as in every other stage. No document is divided between two shards, and none is left out unseen: each
is packed, or held out to evaluate on, or has no text.

Texts are held out by their hash, so that copies, and a document that is drawn several times, are so together, whatever
else there is.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core import files
from trivium.core.errors import RunMismatch
from trivium.core.progress import Bar, progress
from trivium.core.protocols import Tokenizer
from trivium.data.chance import uniform
from trivium.data.engines import Engine, Here
from trivium.data.fitting import Way, fitted
from trivium.data.kept import Kept
from trivium.data.packed_shards import FORMAT, PackedShards
from trivium.data.packed_table import PackedDocument, write_documents
from trivium.data.prepared import HELD_OUT, held_out_lines
from trivium.data.raw.documents import Document
from trivium.data.shard_files import INDEX, dtype_of
from trivium.data.stages import MANIFEST, Counts, Manifest, Shelf, fingerprint
from trivium.tokenization.batched import Encode, encoder
from trivium.tokenization.files import restore

VERSION = 1
"""Of what the stage does; part of every fingerprint."""
AT_ONCE, CHARACTERS = 256, 1 << 22
"""Documents that are encoded together: no more than so many, and closed by the one that brings so much text."""


@dataclass(frozen=True)
class Packing:
    """How documents become rows."""

    way: Way = "best_fit"
    context: int = 1024
    """Tokens in a row."""
    held_out: float = 0.01
    """Share of the texts that is kept out of training, to evaluate on."""
    documents: int = 1 << 13
    """Documents that make a shard."""

    def __post_init__(self) -> None:
        fitted(self.way, np.zeros(0, np.int64), self.context)  # which says what is wrong with these
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out is a share that leaves some to train on, got {self.held_out}")
        if self.documents < 1:
            raise ValueError(f"a shard holds at least 1 document, got {self.documents}")

    def go(
        self,
        kept: Kept,
        tokenizer: Tokenizer,
        engine: Engine | None = None,
        *,
        replace: bool = False,
        show: bool | None = None,
    ) -> PackedShards:
        """Do what is not done yet. Raises RunMismatch where the folder holds what was packed otherwise, unless it may
        be replaced, and RunBusy while another process is at it."""
        home, engine = kept.folder / "packed", engine or Here()
        if not len(kept):
            raise ValueError(f"no document of {kept.folder} stays, so there is nothing to pack; see its report.html")
        if tokenizer.eos is None and not getattr(tokenizer, "opening", ()):
            raise ValueError(
                "this tokenizer marks neither the begin nor the end of a text, so that rows would not tell documents "
                "apart; give one with an end-of-text token"
            )
        with files.locked(home), progress("packing", -(-len(kept) // self.documents), show=show) as bar:
            return self._go(kept, tokenizer, engine, home, replace, bar)

    def _go(
        self, kept: Kept, tokenizer: Tokenizer, engine: Engine, home: Path, replace: bool, bar: Bar
    ) -> PackedShards:
        shelf = Shelf(home / "train", "packed", replace=replace)
        shelf.tidy()
        digest = _saved(tokenizer, home / "tokenizer", replace)
        asked = {"version": VERSION, "of": kept.fingerprint, "tokenizer": digest, **asdict(self)}
        whole = fingerprint("packing", **asked)
        _clear(shelf, whole)
        begins = range(0, len(kept), self.documents)
        items = [
            _Stretch(str(home), f"{number:05d}", kept, at, min(at + self.documents, len(kept)), self, whole, replace)
            for number, at in enumerate(begins)
        ]
        made: list[Manifest] = []
        for one in engine.map(_pack, items):
            made.append(one)
            bar.advance()
        made.sort(key=lambda one: one.name)
        if not sum(one.facts["rows"] for one in made):
            raise ValueError(f"all documents of {kept.folder} are held out or empty; lower held_out={self.held_out}")
        files.write(home / "validation.jsonl", held_out_lines(_held_out(shelf.folder, made)))
        counts = sum((one.counts for one in made), Counts())
        index = {
            "format": FORMAT, "dtype": dtype_of(tokenizer.vocab_size), "context": self.context,
            "fingerprint": whole, "packing": asked,
            "shards": [
                {"name": one.name, **one.facts, "documents": one.counts.kept, "read": one.counts.read,
                 "sha256": {suffix[1:]: sha for suffix, sha in one.files.items()}}
                for one in made
            ],
            "facts": {"corpus": kept.folder.resolve().name, "corpus_sha256": kept.fingerprint,
                      "vocab_size": tokenizer.vocab_size, "dropped": dict(counts.dropped)},
        }  # fmt: skip
        files.write(shelf.folder / INDEX, json.dumps(index, indent=1) + "\n")
        return PackedShards.open(shelf.folder)


@dataclass(frozen=True)
class _Stretch:
    home: str
    shard: str
    kept: Kept
    begin: int
    end: int
    packing: Packing
    whole: str
    """Fingerprint of all that is packed, and how."""
    replace: bool


def _pack(item: _Stretch) -> Manifest:
    """A stretch of documents to a shard."""
    shelf = Shelf(Path(item.home) / "train", "packed", replace=item.replace)
    wanted = fingerprint("pack", of=item.whole, begin=item.begin, end=item.end)
    if (found := shelf.find(item.shard, wanted)) is not None:
        return found
    tokenizer, encode = _ready(str(Path(item.home) / "tokenizer"), item.whole)
    dtype = np.dtype(dtype_of(tokenizer.vocab_size))
    opening, end = list(getattr(tokenizer, "opening", ())), [] if tokenizer.eos is None else [tokenizer.eos]
    before, after = np.array(opening, dtype), np.array(end, dtype)
    parts: list[Any] = []
    rows: list[PackedDocument] = []
    sizes: list[int] = []
    held: list[str] = []
    for group in _groups(item.kept.documents(item.begin, item.end)):
        taken = [uniform("held out", one.text) < item.packing.held_out for one in group]
        encoded = iter(encode([one.text for one, out in zip(group, taken, strict=True) if not out]))
        for one, out in zip(group, taken, strict=True):
            ids = np.zeros(0, np.uint32) if out else next(encoded)
            if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
                raise ValueError(
                    f"the tokenizer gives {one.id!r} the id {int(ids.max())}, outside its vocabulary of "
                    f"{tokenizer.vocab_size}"
                )
            count = len(opening) + len(ids) + len(end) if len(ids) else 0
            sizes.append(len(one.text))
            rows.append(PackedDocument(one.id, one.source, one.place, count, out))
            if out:
                held.append(one.text)
            elif count:
                parts += [before, ids.astype(dtype), after]
    flat = np.concatenate([np.zeros(0, dtype), *parts])
    parts.clear()
    lengths = np.array([row.tokens for row in rows], np.int64)
    starts, context = np.cumsum(lengths) - lengths, item.packing.context
    pieces = fitted(item.packing.way, lengths, context)
    count = int(pieces[-1, 0]) + 1 if len(pieces) else 0
    out = np.full(count * context, _padding(tokenizer), dtype)
    for row, column, length, document, place in pieces.tolist():
        begin = int(starts[document]) + place
        out[row * context + column : row * context + column + length] = flat[begin : begin + length]
    with shelf.writing(item.shard, wanted, [item.whole]) as shard:
        out.tofile(shard.path(".tokens"))
        pieces.astype("<i8").tofile(shard.path(".pieces"))
        write_documents(shard.path(".documents.parquet"), rows)
        shard.path(".held_out.jsonl").write_text(held_out_lines(held), encoding="utf-8")
        shard.counts = _counted(rows, sizes)
        shard.facts = {"tokens": len(flat), "rows": count, "pieces": len(pieces), "begin": item.begin,
                       "cut": int((np.bincount(pieces[:, 3], minlength=1) > 1).sum())}  # fmt: skip
    found = shelf.find(item.shard, wanted)
    if found is None:
        raise RunMismatch(f"{shelf.folder / item.shard} was changed while it was written; nobody else may write there")
    return found


def _counted(rows: Sequence[PackedDocument], sizes: Sequence[int]) -> Counts:
    """Documents and their characters."""
    dropped = Counter("held out" if row.held_out else "empty" for row in rows if not row.tokens)
    packed = sum(size for row, size in zip(rows, sizes, strict=True) if row.tokens)
    return Counts(
        read=len(rows), kept=len(rows) - dropped.total(), dropped=dict(sorted(dropped.items())),
        chars_read=sum(sizes), chars_kept=packed, chars_dropped=sum(sizes) - packed,
    )  # fmt: skip


def _groups(documents: Iterator[Document]) -> Iterator[list[Document]]:
    held: list[Document] = []
    size = 0
    for one in documents:
        held.append(one)
        size += len(one.text)
        if len(held) == AT_ONCE or size >= CHARACTERS:
            yield held
            held, size = [], 0
    if held:
        yield held


def _held_out(folder: Path, made: list[Manifest]) -> list[str]:
    """Texts to evaluate on, each once: those of the least draws, so that their order says nothing."""
    found: dict[float, str] = {}
    for one in made:
        with (folder / f"{one.name}.held_out.jsonl").open(encoding="utf-8") as file:
            for text in (json.loads(line)["text"] for line in file):
                found[uniform("held out", text)] = text
        found = dict(sorted(found.items())[:HELD_OUT])
    return list(found.values())


def _padding(tokenizer: Tokenizer) -> int:
    """What stands where nothing does; the pieces tell, whatever it is."""
    return next((id for id in (tokenizer.pad, tokenizer.eos) if id is not None), 0)


def _clear(shelf: Shelf, whole: str) -> None:
    """Take away the index, and shards, of what was packed otherwise. Raises RunMismatch where it must stay."""
    path = shelf.folder / INDEX
    try:
        there = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        there = None
    if there == whole:
        return
    if there is not None and not shelf.replace:
        raise RunMismatch(
            f"{shelf.folder} was packed of other documents, with another tokenizer or otherwise ({there[:12]}) than is "
            f"asked for now ({whole[:12]}); choose another folder, or replace what is there"
        )
    path.unlink(missing_ok=True)
    if shelf.replace:
        for old in shelf.manifests():
            if old.inputs != [whole]:
                (shelf.folder / f"{old.name}{MANIFEST}").unlink()
                for suffix in old.files:
                    (shelf.folder / f"{old.name}{suffix}").unlink(missing_ok=True)


def _saved(tokenizer: Tokenizer, folder: Path, replace: bool) -> str:
    """Save the tokenizer, and say what it is known by. Raises RunMismatch where another one is there."""
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    for rubbish in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(rubbish)
    tokenizer.save(part)  # type: ignore[attr-defined]
    digest = _identity(part)
    if folder.is_dir():
        there = _identity(folder)
        if there == digest:
            shutil.rmtree(part)
            return digest
        if not replace:
            shutil.rmtree(part)
            raise RunMismatch(
                f"{folder} is another tokenizer ({there[:12]}) than is asked for now ({digest[:12]}); choose another "
                "folder, or replace what is there"
            )
        shutil.rmtree(folder)
    part.replace(folder)
    return digest


def _identity(folder: Path) -> str:
    """SHA-256 of a tokenizer's files, and of what it is told besides to put around a text."""
    tokenizer = restore(folder)
    one = folder / "tokenizer.json"
    paths = [one] if one.is_file() else sorted(path for path in folder.iterdir() if path.is_file())
    around = [type(tokenizer).__name__, list(getattr(tokenizer, "opening", ())), tokenizer.eos, tokenizer.pad]
    return fingerprint("tokenizer", files={path.name: files.sha256(path) for path in paths}, around=around)


@lru_cache(maxsize=1)
def _ready(folder: str, whole: str) -> tuple[Tokenizer, Encode]:
    """The tokenizer of this run, once for each process: it remembers words."""
    tokenizer = restore(folder)
    return tokenizer, encoder(tokenizer)
