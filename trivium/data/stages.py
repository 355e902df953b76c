"""Stages of work on shards: a shard is known by what went into it, and nothing half-done carries a final name.

    shelf = Shelf("out/tagged", "gopher")
    print_of = fingerprint("gopher", version=1, config=config, inputs=[manifest.fingerprint])
    if shelf.find("part-00000", print_of) is None:
        with shelf.writing("part-00000", print_of, inputs=[...]) as shard:
            write_table(shard.path(".parquet"))
            shard.counts = Counts(read=10, kept=9, dropped={"gopher.words": 1}, ...)

The files of a shard are written beside their names, flushed and renamed; its manifest comes last. A shard exists if
and only if its manifest does and the digests in it are those of the files, so a stop at any moment leaves whole shards
and rubbish that ``tidy`` removes. A manifest holds nothing that differs between two runs of the same work: times stand
in the journal beside it. What an earlier run left under the same name with another fingerprint is never taken for ours.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trivium.core import files
from trivium.core.errors import RunMismatch, TriviumError

FORMAT = 1
MANIFEST = ".manifest.json"


class Unbalanced(TriviumError):
    """What went into a shard is not what came out, was dropped, and was quarantined: a fault of the program."""


@dataclass(frozen=True)
class Counts:
    """Documents and characters of one shard: each that was read is kept, dropped by a named rule, or quarantined."""

    read: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    """By the first rule that dropped a document."""
    quarantined: int = 0
    chars_read: int = 0
    chars_kept: int = 0
    chars_removed: int = 0
    """Out of documents that were kept; less than 0 where what replaced a passage is longer."""
    chars_dropped: int = 0
    chars_quarantined: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        found = {name: value + getattr(other, name) for name, value in vars(self).items() if name != "dropped"}
        names = sorted({*self.dropped, *other.dropped})
        return Counts(dropped={n: self.dropped.get(n, 0) + other.dropped.get(n, 0) for n in names}, **found)

    def check(self, where: str) -> None:
        """Raises Unbalanced where documents or characters do not add up."""
        out = self.kept + sum(self.dropped.values()) + self.quarantined
        if self.read != out:
            raise Unbalanced(
                f"{where}: {self.read} documents were read, but {self.kept} kept, {sum(self.dropped.values())} dropped "
                f"and {self.quarantined} quarantined"
            )
        out = self.chars_kept + self.chars_removed + self.chars_dropped + self.chars_quarantined
        if self.chars_read != out:
            raise Unbalanced(f"{where}: {self.chars_read} characters were read, but {out} are accounted for")


@dataclass(frozen=True)
class Manifest:
    """What is known of a shard that is whole."""

    name: str
    stage: str
    fingerprint: str
    inputs: Sequence[str]
    """Fingerprints of shards or digests of files."""
    files: Mapping[str, str]
    """Suffix -> SHA-256."""
    counts: Counts
    facts: Mapping[str, Any]
    """Whatever else a stage tells: settings, tallies by rule, lengths."""

    def digest(self) -> str:
        """Of everything that the shard is."""
        return fingerprint("shard", made=self.plain())

    def plain(self) -> dict[str, Any]:
        """As it is written."""
        return {"format": FORMAT, **asdict(self)}


def fingerprint(stage: str, **parts: Any) -> str:
    """SHA-256 of what a piece of work consists of: JSON values, in any order of keys."""
    text = json.dumps([stage, parts], sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Writing:
    """A shard that is being written: paths for its files, and what its manifest shall say."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.parts: dict[str, Path] = {}
        self.counts = Counts()
        self.facts: dict[str, Any] = {}

    def path(self, suffix: str) -> Path:
        """Where to write the file that will be called after the shard, with this suffix; each is to be written."""
        if not suffix.startswith(".") or suffix == MANIFEST:
            raise ValueError(f"a suffix begins with a point and is not {MANIFEST!r}, got {suffix!r}")
        return self.parts.setdefault(suffix, self._folder / f".{self._name}{suffix}.{os.getpid()}.part")


class Shelf:
    """The shards of one stage in one folder."""

    def __init__(self, folder: str | Path, stage: str, *, replace: bool = False) -> None:
        self.folder, self.stage, self.replace = Path(folder), stage, replace
        """replace: write over shards of another fingerprint, which is otherwise an error."""

    def tidy(self) -> None:
        """Remove what a stopped run left half-written. Only to be called while nobody else writes here."""
        for rubbish in self.folder.glob(".*.part"):
            rubbish.unlink(missing_ok=True)

    def find(self, name: str, wanted: str) -> Manifest | None:
        """The manifest of a shard that is whole and made of just this; None where it is to be written.

        Raises RunMismatch for a whole shard of another fingerprint, unless it may be replaced.
        """
        found = self._read(name)
        if found is None or not self._whole(found):
            return None
        if found.fingerprint == wanted and found.stage == self.stage:
            return found
        if self.replace:
            return None
        raise RunMismatch(
            f"{self.folder / name} was made by {found.stage!r} of other inputs or settings ({found.fingerprint[:12]}) "
            f"than are asked for now ({wanted[:12]}); choose another folder, or replace what is there"
        )

    @contextlib.contextmanager
    def writing(self, name: str, print_of: str, inputs: Sequence[str] = ()) -> Iterator[Writing]:
        """Write a shard; it exists once the block has ended. On an error nothing of it is left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shard, began = Writing(self.folder, name), datetime.now(UTC)
        (self.folder / f"{name}{MANIFEST}").unlink(missing_ok=True)
        try:
            yield shard
            shard.counts.check(str(self.folder / name))
            digests = {}
            for suffix, part in sorted(shard.parts.items()):
                with part.open("rb") as file:
                    os.fsync(file.fileno())
                digests[suffix] = files.sha256(part)
            for suffix, part in shard.parts.items():
                part.replace(self.folder / f"{name}{suffix}")
            made = Manifest(name, self.stage, print_of, list(inputs), digests, shard.counts, shard.facts)
            files.write(self.folder / f"{name}{MANIFEST}", json.dumps(made.plain(), indent=1, sort_keys=True) + "\n")
        finally:
            for part in shard.parts.values():
                part.unlink(missing_ok=True)
        self._note(name, began)

    def manifests(self) -> list[Manifest]:
        """Of every shard that has one, by name."""
        names = sorted(path.name.removesuffix(MANIFEST) for path in self.folder.glob(f"*{MANIFEST}"))
        return [found for name in names if (found := self._read(name)) is not None]

    def digest(self) -> str:
        """Of all shards: the same for the same work, whoever did it, in whatever order."""
        return fingerprint("shelf", shards=[made.digest() for made in self.manifests()])

    def _read(self, name: str) -> Manifest | None:
        try:
            plain = json.loads((self.folder / f"{name}{MANIFEST}").read_text(encoding="utf-8"))
            version = plain.pop("format")
            if version > FORMAT:
                raise RunMismatch(
                    f"{self.folder / name} was written by a newer version (format {version}, this one reads {FORMAT}); "
                    "update trivium or choose another folder"
                )
            return Manifest(**plain | {"counts": Counts(**plain["counts"])})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):  # no manifest of ours, so no shard
            return None

    def _whole(self, made: Manifest) -> bool:
        paths = {suffix: self.folder / f"{made.name}{suffix}" for suffix in made.files}
        return all(path.is_file() and files.sha256(path) == made.files[suffix] for suffix, path in paths.items())

    def _note(self, name: str, began: datetime) -> None:
        """When a shard was made, apart from what it is."""
        ended = datetime.now(UTC)
        row = {"shard": name, "began": began.isoformat(timespec="milliseconds"),
               "seconds": round((ended - began).total_seconds(), 3), "process": os.getpid()}  # fmt: skip
        with (self.folder / "journal.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
