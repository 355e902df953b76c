"""A folder of curation read back: every document beside what was measured of it and what became of it.

    folder = CuratedFolder("runs/clean")
    for shard in folder.shards:
        for part in folder.parts(shard):
            part.texts, part.marks, part.reasons, part.after

Nothing is decided here a second time: reasons are those that were written down when the documents were mixed, and texts
that stay are those that were written. What does not fit together is an error, never a guess.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core.errors import RunMismatch
from trivium.data import tables
from trivium.data.curating import Sketch
from trivium.data.marks import Marks, Texts
from trivium.data.raw.documents import Document
from trivium.data.rules import Cut, Drop, Rules
from trivium.data.stages import Manifest, Shelf

ASKED = "plan.json"
"""What was asked for, in words; who runs a plan may write it beside the shards."""


@dataclass(frozen=True)
class Part:
    """Some documents of a shard, in order, as columns of one length."""

    texts: Texts
    """As they were read."""
    rows: range
    """Their numbers within the shard."""
    places: Sequence[int]
    reasons: Sequence[str]
    """The first rule that dropped each; empty where it stays."""
    marks: Marks
    """By the names that rules call them."""
    after: Sequence[str | None]
    """The text that was kept of each; None where it was dropped."""


class CuratedFolder:
    """What ``data.plan.Run`` left in a folder. Raises RunMismatch where there is no such run, or it is not finished."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.there(folder):
            raise RunMismatch(f"{folder} holds no run of curation; make one with trivium curate --folder {folder}")
        self.read, self.mixed = (self._manifests(stage) for stage in ("documents", "mixed"))
        stages = {"read": self.read, "mixed": self.mixed}
        self.drawn = self._manifests("drawn") if self.asked.get("mixer", True) else {}
        """Of the mixer; empty where there was none."""
        if self.drawn:
            stages["drawn"] = self.drawn
        for name, made in self.drawn.items():
            if name in self.mixed and self.mixed[name].fingerprint not in made.inputs:
                raise RunMismatch(
                    f"the shard {name} of {self.folder} was drawn from other documents than those that stay; run the "
                    "same curation again"
                )
        for name in sorted({name for made in stages.values() for name in made}):
            if lacking := [stage for stage, made in stages.items() if name not in made]:
                raise RunMismatch(
                    f"the shard {name} of {self.folder} is not {lacking[0]}; run the same curation again to finish it"
                )

    @staticmethod
    def there(folder: str | Path) -> bool:
        """Whether a folder has documents that were read and mixed."""
        return all(next((Path(folder) / name).glob("*.manifest.json"), None) for name in ("documents", "mixed"))

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What was asked for; empty where nobody wrote it down."""
        try:
            return dict(json.loads((self.folder / ASKED).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    @cached_property
    def rules(self) -> Rules | None:
        """The rules that were carried out; None where they were not written down."""
        if "drops" not in self.asked:
            return None
        drops = tuple(Drop(*row) for row in self.asked["drops"])
        return Rules(drops, tuple(Cut(spans, by, float(least)) for spans, by, least in self.asked["cuts"]))

    @property
    def shards(self) -> list[str]:
        return sorted(self.read)

    @cached_property
    def methods(self) -> list[str]:
        """Names of all that measured."""
        named = [path.name for path in sorted((self.folder / "marks").glob("*")) if path.is_dir()]
        return [name for name in self.asked.get("methods", named) if name in named]

    def quarantine(self, shard: str) -> Iterator[dict[str, Any]]:
        """A row for every record that was refused."""
        with (self.folder / "documents" / f"{shard}.quarantine.jsonl").open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def parts(self, shard: str) -> Iterator[Part]:
        """All documents of a shard, some at a time."""
        reasons, after, row = self._dropped(shard), self._after(shard), 0
        marks_of = self.folder / "marks"
        measured = [tables.read_marks(marks_of / name / f"{shard}.parquet", name) for name in self.methods]
        kept = next(after, None)
        for texts, places in tables.batches(self.folder / "documents" / f"{shard}.parquet"):
            marks = Marks(len(texts), lengths=np.array([len(text) for text in texts.texts], np.int64))
            for column in measured:
                marks = marks | next(column)
            stayed: list[str | None] = []
            for place in places:
                whole = None
                while kept is not None and kept[0] == place:
                    whole, kept = kept[1], next(after, None)
                if (whole is None) != (place in reasons):
                    raise RunMismatch(f"record {place} of the shard {shard} is neither kept nor dropped, or both")
                stayed.append(whole)
            why = [reasons.get(place, "") for place in places]
            yield Part(texts, range(row, row + len(texts)), places, why, marks, stayed)
            row += len(texts)

    def document(self, shard: str, row: int) -> Document:
        """One document as it was read, by its number within the shard."""
        return tables.document(self.folder / "documents" / f"{shard}.parquet", row)

    def sketches(self, method: str) -> list[Sketch]:
        """What a method compared the documents of each shard by; empty where it kept none."""
        paths = [self.folder / "sketches" / method / f"{shard}.npz" for shard in self.shards]
        return [tables.loaded(path) for path in paths] if all(path.is_file() for path in paths) else []

    def _manifests(self, stage: str) -> dict[str, Manifest]:
        """Those of this run: what an earlier one of more files left behind it is none of its."""
        found = {made.name: made for made in Shelf(self.folder / stage, stage).manifests()}
        names = sorted(found)[: self.asked.get("shards")]
        return {name: found[name] for name in names}

    def _dropped(self, shard: str) -> dict[int, str]:
        with (self.folder / "mixed" / f"{shard}.dropped.jsonl").open(encoding="utf-8") as file:
            return {place: why for place, why in map(json.loads, file)}

    def _after(self, shard: str) -> Iterator[tuple[int, str]]:
        for texts, places in tables.batches(self.folder / "mixed" / f"{shard}.parquet"):
            yield from zip(places, texts.texts, strict=True)
