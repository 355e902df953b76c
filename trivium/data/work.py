"""The work of a run of curation on one shard, wherever it is done: reading, tagging, mixing.

Each takes an item that says all it depends on, leaves its shard as it is where it was made of just that, and gives its
manifest. What is told of a shard is told with the fingerprint of what went into it.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trivium.core import files
from trivium.core.errors import RunMismatch
from trivium.core.method import card_of
from trivium.data import tables
from trivium.data.curating import Curation, Gatherer, Tagger, applied, checked
from trivium.data.marks import Marks, Texts
from trivium.data.raw.documents import Document, Policy, Refused, documents
from trivium.data.rules import Rules
from trivium.data.stages import Counts, Manifest, Shelf, fingerprint

VERSION = 1
"""Of what the stages do; part of every fingerprint."""


@dataclass(frozen=True)
class Input:
    """A file to be read."""

    folder: str
    shard: str
    path: str
    source: str
    policy: Policy
    replace: bool


@dataclass(frozen=True)
class Shard:
    """Documents that were read, and other ids for those whose own stood elsewhere before, by their place."""

    made: Manifest
    renamed: Mapping[int, str]

    @property
    def name(self) -> str:
        """Of the file, by its number."""
        return self.made.name

    @property
    def fingerprint(self) -> str:
        """Of the documents with the ids they have."""
        renamed = {str(place): id for place, id in self.renamed.items()}
        return fingerprint("shard", of=self.made.fingerprint, renamed=renamed) if renamed else self.made.fingerprint

    def batches(self, folder: Path) -> Iterator[tuple[Texts, list[int]]]:
        """With their places, some at a time."""
        for texts, places in tables.batches(folder / "documents" / f"{self.name}.parquet"):
            ids = [self.renamed.get(place, id) for id, place in zip(texts.ids, places, strict=True)]
            yield Texts(ids, texts.texts, texts.sources, texts.metadata), places


@dataclass(frozen=True)
class Tagging:
    """Documents of a shard to be measured by a method."""

    folder: str
    documents: Shard
    name: str
    method: Curation
    replace: bool


@dataclass(frozen=True)
class Mixing:
    """Documents of a shard, of which all is measured, to be decided about."""

    folder: str
    documents: Shard
    marks: tuple[tuple[str, str], ...]
    """Method and fingerprint of all its measures, in the order of the plan."""
    rules: Rules
    replace: bool


def shelf_of(folder: str | Path, name: str, replace: bool) -> Shelf:
    """The shards of a stage of the run in this folder."""
    return Shelf(Path(folder) / name, name, replace=replace)


def read(item: Input) -> Manifest:
    """A file to a shard of documents, with its quarantine beside it."""
    shelf, digest = shelf_of(item.folder, "documents", item.replace), files.sha256(item.path)
    wanted = fingerprint(
        "read", version=VERSION, file=digest, source=item.source, policy=asdict(item.policy), name=Path(item.path).name
    )
    if (found := shelf.find(item.shard, wanted)) is not None:
        return found
    kept = refused = chars = 0
    complete = True
    reasons: dict[str, int] = {}
    with shelf.writing(item.shard, wanted, [digest]) as shard, tables.DocumentWriter(shard.path(".parquet")) as out:
        with shard.path(".quarantine.jsonl").open("w", encoding="utf-8") as bad:
            for each in documents(item.path, source=item.source, longest=item.policy.max_document_bytes):
                if isinstance(each, Refused):
                    item.policy.judge(item.path, each)
                    complete = complete and not each.ends
                    refused += 1
                    reasons[each.reason] = reasons.get(each.reason, 0) + 1
                    bad.write(json.dumps(_refusal(item.path, each), ensure_ascii=False) + "\n")
                else:
                    kept, chars = kept + 1, chars + len(each.text)
                    out.add(each)
            item.policy.judge_file(item.path, kept + refused, refused)
        shard.counts = Counts(
            read=kept + refused, kept=kept, quarantined=refused, chars_read=chars, chars_kept=chars
        )  # fmt: skip
        shard.facts = {"file": item.path, "complete": complete, "refused": dict(sorted(reasons.items()))}
    return made_by(shelf, item.shard, wanted)


def tag(item: Tagging) -> Manifest:
    """The measures of a shard, or what the comparison of all needs of it."""
    gathers = isinstance(item.method, Gatherer)
    shelf = shelf_of(item.folder, f"{'sketches' if gathers else 'marks'}/{item.name}", item.replace)
    of, here = item.documents, Path(item.folder)
    wanted = fingerprint("tag", version=VERSION, of=of.fingerprint, method=described(item.method))
    if (found := shelf.find(of.name, wanted)) is not None:
        return found
    with shelf.writing(of.name, wanted, [of.fingerprint]) as shard:
        if isinstance(item.method, Gatherer):
            parts = [item.method.sketch(texts) for texts, _ in of.batches(here)]
            parts = parts or [item.method.sketch(Texts([], [], []))]
            columns: Any = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            with shard.path(".npz").open("wb") as out:
                np.savez(out, **columns)
        elif isinstance(item.method, Tagger):
            tagger = item.method
            tables.write_marks(shard.path(".parquet"), (checked(tagger, tagger.tag(t), t) for t, _ in of.batches(here)))
    return made_by(shelf, of.name, wanted)


def mix(item: Mixing) -> Manifest:
    """The documents of a shard that stay, by its measures and the rules."""
    shelf, of = shelf_of(item.folder, "mixed", item.replace), item.documents
    drops = [[drop.name, drop.when] for drop in item.rules.drops]
    cuts = [[cut.spans, cut.by, repr(cut.least)] for cut in item.rules.cuts]
    wanted = fingerprint("mix", version=VERSION, of=of.fingerprint, marks=list(item.marks), drops=drops, cuts=cuts)
    if (found := shelf.find(of.name, wanted)) is not None:
        return found
    here, counts = Path(item.folder), Counts()
    alone: dict[str, int] = {drop.name: 0 for drop in item.rules.drops}
    both: dict[tuple[str, str], int] = {}
    by_source: dict[str, dict[str, int]] = {}
    measured = [tables.read_marks(here / "marks" / name / f"{of.name}.parquet", name) for name, _ in item.marks]
    with shelf.writing(of.name, wanted, [of.fingerprint, *(p for _, p in item.marks)]) as shard:
        with tables.DocumentWriter(shard.path(".parquet")) as out, shard.path(".dropped.jsonl").open("w") as gone:
            for texts, places in of.batches(here):
                marks = Marks(len(texts), lengths=np.array([len(text) for text in texts.texts], np.int64))
                for column in measured:
                    marks = marks | next(column)
                found = applied(texts, marks, item.rules)
                counts = counts + found.counts
                for name, count in found.decided.alone.items():
                    alone[name] += count
                for pair, count in found.decided.both.items():
                    both[pair] = both.get(pair, 0) + count
                for place, source, why in zip(places, texts.sources, found.decided.reason, strict=True):
                    row = by_source.setdefault(source, {"read": 0, "kept": 0})
                    row["read"] += 1
                    row["kept"] += not why
                    if why:
                        gone.write(json.dumps([place, why]) + "\n")
                stay = [place for place, why in zip(places, found.decided.reason, strict=True) if not why]
                t = found.texts
                for row in zip(t.ids, t.texts, t.sources, t.metadata, stay, strict=True):
                    out.add(Document(*row))
        shard.counts = counts
        shard.facts = {"alone": alone, "both": [[*pair, count] for pair, count in sorted(both.items())],
                       "by_source": dict(sorted(by_source.items()))}  # fmt: skip
    return made_by(shelf, of.name, wanted)


def made_by(shelf: Shelf, name: str, wanted: str) -> Manifest:
    """The manifest of a shard that was just written. Raises RunMismatch where it is not there."""
    found = shelf.find(name, wanted)
    if found is None:
        raise RunMismatch(f"{shelf.folder / name} was changed while it was written; nobody else may write there")
    return found


def described(method: Curation) -> dict[str, Any]:
    """What changes what a method says: its name and settings, and what it says it depends on besides."""
    settings = asdict(method) if hasattr(method, "__dataclass_fields__") else {}  # type: ignore[call-overload]
    return {"name": card_of(method).name, "settings": json.loads(json.dumps(settings, default=str)),
            "depends": getattr(method, "depends", "")}  # fmt: skip


def _refusal(path: str, refused: Refused) -> dict[str, Any]:
    row = {"file": Path(path).name, **{name: value for name, value in vars(refused).items() if name != "data"}}
    return row | {"data": _base64(refused.data)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
