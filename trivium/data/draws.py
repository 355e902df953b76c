"""The stages of a mixer: documents that stayed are grouped, ordered, and written down in the order of their draws.

    grouped    documents of a shard to the group, size and key of each
    order      those of all shards and the mixer to what is drawn of each shard: numbers of rows, and their places
    drawn      documents of a shard, as often as they are drawn, by their places

A shard of ``drawn`` holds the draws of one shard of documents. Places are cut into windows, and so is each shard, so
that a window is read from all shards without what lies before it or behind: see ``kept``.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.core.seeds import derive
from trivium.data import tables
from trivium.data.choosing import Group, Mixer
from trivium.data.grouping import METADATA, UNITS, groups_of, keys, ranked
from trivium.data.orders import STRETCH, Order
from trivium.data.raw.documents import Document
from trivium.data.stages import Counts, Manifest, fingerprint
from trivium.data.work import VERSION, Shard, made_by, shelf_of

WINDOW, SPREAD = 2048, 16
"""Places of a window for so many shards; with more shards it is larger, so that pieces do not become tiny."""
CHARACTERS = 1 << 27
"""About so much text of a shard is held at once; a larger one is gone through several times."""


@dataclass(frozen=True)
class Grouping:
    """Documents of a shard that stayed, to be grouped."""

    folder: str
    documents: Shard
    mixed: Manifest
    by: str
    unit: str
    replace: bool


@dataclass(frozen=True)
class Drawing:
    """Documents of a shard that stayed, to be written by their places."""

    folder: str
    mixed: Manifest
    order: Manifest
    rule: str
    replace: bool


def described(mixer: Mixer) -> dict[str, str]:
    """What changes what a mixer draws."""
    return {"rule": mixer.rule, "settings": json.dumps(asdict(mixer), sort_keys=True)}  # type: ignore[call-overload]


def group(item: Grouping) -> Manifest:
    """Group, size and key of each document of a shard that stayed."""
    shelf, name = shelf_of(item.folder, "grouped", item.replace), item.mixed.name
    wanted = fingerprint("group", version=VERSION, of=item.mixed.fingerprint, by=item.by, unit=item.unit)
    if (found := shelf.find(name, wanted)) is not None:
        return found
    measured = _measured(item)
    groups, sizes, identities = [], [], []
    for texts, places in tables.batches(Path(item.folder) / "mixed" / f"{name}.parquet"):
        groups += [measured[place] for place in places] if measured else groups_of(texts, None, item.by)
        sizes += map(UNITS[item.unit], texts.texts)
        identities.append(keys(texts.sources, texts.ids))
    names = sorted(set(groups))
    code = {group: at for at, group in enumerate(names)}
    which = np.array([code[group] for group in groups], np.int32)
    with shelf.writing(name, wanted, [item.mixed.fingerprint]) as shard, shard.path(".npz").open("wb") as out:
        key = np.concatenate([np.zeros((0, 2), np.uint64), *identities])
        np.savez(out, group=which, size=np.array(sizes, np.int64), key=key)
        shard.facts = {"names": names}
    return made_by(shelf, name, wanted)


def _measured(item: Grouping) -> dict[int, str]:
    """The group of every document of the shard by its place, where a method says it; else nothing."""
    if item.by == "source" or item.by.startswith(METADATA):
        return {}
    here, found = Path(item.folder), {}
    marks = tables.read_marks(here / "marks" / item.by / f"{item.mixed.name}.parquet", item.by)
    for texts, places in item.documents.batches(here):
        found.update(zip(places, groups_of(texts, next(marks), item.by), strict=True))
    return found


def order(folder: Path, grouped: Sequence[Manifest], mixer: Mixer, replace: bool) -> list[Manifest]:
    """What is drawn of each shard. It comes of the whole set, so it is made at once. Raises ValueError where the mixer
    cannot have what it wants."""
    shelf = shelf_of(folder, "order", replace)
    whole = fingerprint("whole", of=[made.fingerprint for made in grouped], mixer=described(mixer))
    wanted = {made.name: fingerprint("order", version=VERSION, of=whole, shard=made.name) for made in grouped}
    found = [shelf.find(name, print_of) for name, print_of in wanted.items()]
    if all(made is not None for made in found):
        return [made for made in found if made is not None]
    columns = [
        tables.loaded(folder / "grouped" / f"{made.name}.npz") | {"names": made.facts["names"]} for made in grouped
    ]
    ends = np.cumsum([len(of["group"]) for of in columns])
    at, number = _places(columns, mixer)
    for shard, (name, print_of) in enumerate(wanted.items()):
        of, start = columns[shard], int(ends[shard]) - len(columns[shard]["group"])
        mine = (number >= start) & (number < ends[shard])
        row = number[mine] - start
        with shelf.writing(name, print_of, [whole]) as writing:
            for what, column in (("place", at[mine]), ("row", row)):
                with writing.path(f".{what}.npy").open("wb") as out:
                    np.save(out, column)
            said = {"rule": mixer.rule, "by": mixer.by, "unit": mixer.unit}
            writing.facts = {"draws": len(row), "groups": _told(of, row), "window": _window(len(columns))} | said
    return [made_by(shelf, name, print_of) for name, print_of in wanted.items()]


def _window(shards: int) -> int:
    return WINDOW * -(-shards // SPREAD)


def _places(columns: Sequence[dict[str, Any]], mixer: Mixer) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All places, and the number of the document at each."""
    names = sorted({name for of in columns for name in of["names"]})
    code = {name: at for at, name in enumerate(names)}
    group = np.concatenate([np.array([code[n] for n in of["names"]], np.int32)[of["group"]] for of in columns])
    size, key = (np.concatenate([of[name] for of in columns]) for name in ("size", "key"))
    groups = []
    for name in names:
        numbers = np.flatnonzero(group == code[name])
        numbers = numbers[ranked(key[numbers], derive(mixer.seed, "draw", name))]
        groups.append(Group(name, numbers, size[numbers]))
    made = Order(mixer.choose(groups), mixer.seed)
    begins = range(0, len(made), STRETCH)
    parts = [made.between(begin, min(begin + STRETCH, len(made))) for begin in begins]
    return np.arange(len(made)), np.concatenate([np.zeros(0, np.int64), *parts])


def _told(of: dict[str, Any], row: NDArray[np.int64]) -> dict[str, dict[str, int]]:
    """By group: documents of a shard and their size, those that are drawn, draws and their size."""
    times = np.bincount(row, minlength=len(of["group"]))
    told = {}
    for code, name in enumerate(of["names"]):
        mine = of["group"] == code
        told[name] = {
            "documents": int(mine.sum()), "size": int(of["size"][mine].sum()), "drawn": int((times[mine] > 0).sum()),
            "draws": int(times[mine].sum()), "drawn_size": int((times * of["size"])[mine].sum()),
        }  # fmt: skip
    return told


def draw(item: Drawing) -> Manifest:
    """The documents of a shard at their places."""
    shelf, name = shelf_of(item.folder, "drawn", item.replace), item.mixed.name
    wanted = fingerprint("draw", version=VERSION, of=item.mixed.fingerprint, order=item.order.fingerprint)
    if (found := shelf.find(name, wanted)) is not None:
        return found
    places, numbers = (np.load(Path(item.folder) / "order" / f"{name}.{what}.npy") for what in ("place", "row"))
    before = item.mixed.counts
    lengths = np.zeros(before.kept, np.int64)
    with shelf.writing(name, wanted, [item.mixed.fingerprint, item.order.fingerprint]) as shard:
        with tables.DocumentWriter(shard.path(".parquet")) as out:
            window, step = -1, max(CHARACTERS * before.kept // max(before.chars_kept, 1), 1)
            for begin in range(0, len(numbers), step):
                rows = numbers[begin : begin + step]
                held = _held(item, rows)
                for at, row in zip(
                    (places[begin : begin + step] // item.order.facts["window"]).tolist(),
                    rows.tolist(),
                    strict=True,
                ):
                    if at != window:
                        out.flush()
                        window = at
                    out.add(held[row])
                    lengths[row] = len(held[row].text)
        drawn = len(np.unique(numbers))
        kept = int(lengths.sum())
        shard.counts = Counts(
            read=before.kept, kept=drawn, dropped={item.rule: before.kept - drawn} if drawn < before.kept else {},
            chars_read=before.chars_kept, chars_kept=kept, chars_dropped=before.chars_kept - kept,
        )  # fmt: skip
        shard.facts = dict(item.order.facts)
    return made_by(shelf, name, wanted)


def _held(item: Drawing, rows: NDArray[np.int64]) -> dict[int, Document]:
    """Documents of the shard by their numbers; the shard is gone through once."""
    wanted, found = set(rows.tolist()), {}
    path = Path(item.folder) / "mixed" / f"{item.mixed.name}.parquet"
    for row, document in enumerate(tables.rows(path)):
        if row in wanted:
            found[row] = document
    return found
