"""What a run of curation did, in figures and examples: one pass over its folder.

``tally(CuratedFolder("runs/clean"))`` is plain data, as a report shows it: what was read, kept, dropped and quarantined
by stage, source and rule; overlaps of rules; lengths before and after; clusters of copies; examples. Examples are drawn
by a hash of a seed and a document's source and id, so that they depend on neither the order of files nor the machine.
Memory does not grow with the documents, but for clusters: those are read off the sketches of all, as they were found.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trivium.core.progress import Bar
from trivium.data.curated_clusters import clusters
from trivium.data.curated_folder import CuratedFolder, Part
from trivium.data.grouping import best
from trivium.data.outcome import grouped
from trivium.data.remembering import Chooser
from trivium.data.rules import Rules
from trivium.data.stages import Counts, Unbalanced

KEPT_EXAMPLES, DROPPED_EXAMPLES = 4, 3
"""Documents that are shown: of those that stay, and of each rule."""
SHOWN = 700
"""Characters of an example."""
PLACES = 5
"""Quarantined records that are shown for each reason."""
EDGES = [0, *sorted({round(2 ** (half / 2)) for half in range(49)})]
"""Where bins of lengths begin: half octaves."""
LANGUAGE, CONTAMINATION = "language", "decontamination"
"""The methods whose measures say in which language a document is, and whether it holds what nobody may train on."""


def tally(
    folder: CuratedFolder, *, seed: int = 0, bar: Bar | None = None, methods: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """Everything about the run. ``methods``, by name, are asked which documents they took for copies of each other.
    Raises Unbalanced where its documents do not add up."""
    found = _Tally(folder, seed)
    for shard in folder.shards:
        for part in folder.parts(shard):
            found.add(shard, part)
        if bar is not None:
            bar.advance()
    choosers = {name: method for name, method in methods.items() if isinstance(method, Chooser)}
    return found.told() | {"clusters": {name: clusters(folder, name, method) for name, method in choosers.items()}}


@dataclass
class _Source:
    """Of one source."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    words_read: int = 0
    words_kept: int = 0
    chars_read: int = 0
    chars_kept: int = 0


class _Tally:
    """Sums over documents."""

    def __init__(self, folder: CuratedFolder, seed: int) -> None:
        self.folder, self.rules, self.seed = folder, folder.rules, seed
        self.names = list(
            [drop.name for drop in self.rules.drops] if self.rules else self._facts("alone", Counter[str]())
        )
        self.sources: dict[str, _Source] = {}
        self.chars: Counter[str] = Counter()
        self.only: Counter[str] = Counter()
        self.lengths = {what: np.zeros(len(EDGES), np.int64) for what in ("read", "kept")}
        self.spans: dict[str, Counter[str]] = {}
        self.languages: dict[str, Counter[str]] = {}
        self.contamination: dict[str, Counter[str]] = {}
        self.examples = {"kept": Drawn(KEPT_EXAMPLES), "cut": Drawn(KEPT_EXAMPLES)}
        self.examples |= {f"dropped {name}": Drawn(DROPPED_EXAMPLES) for name in self.names}

    def _facts(self, name: str, into: Counter[Any]) -> Counter[Any]:
        for made in self.folder.mixed.values():
            found = made.facts.get(name, {})
            rows = found.items() if isinstance(found, Mapping) else ((tuple(row[:-1]), row[-1]) for row in found)
            for key, count in rows:
                into[key] += count
        return into

    def add(self, shard: str, part: Part) -> None:
        """Take some documents in."""
        texts, rows = part.texts, range(len(part.texts))
        for at in rows:
            text, after, why = texts.texts[at], part.after[at], part.reasons[at]
            of = self.sources.setdefault(texts.sources[at], _Source())
            of.read, of.words_read, of.chars_read = of.read + 1, of.words_read + _words(text), of.chars_read + len(text)
            if after is None:
                of.dropped[why] += 1
                self.chars[why] += len(text)
            else:
                of.kept, of.words_kept = of.kept + 1, of.words_kept + _words(after)
                of.chars_kept += len(after)
            kind = f"dropped {why}" if after is None else "kept" if after == text else "cut"
            self._draw(kind, shard, part, at)
        self._count_lengths(part)
        self._count_marks(part)

    def _draw(self, kind: str, shard: str, part: Part, at: int) -> None:
        said = f"{self.seed}\0{part.texts.sources[at]}\0{part.texts.ids[at]}\0{shard}\0{part.places[at]}"
        key = hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=12).digest()
        drawn = self.examples[kind]
        if drawn.wants(key):
            drawn.add(key, _example(part, at, shard, self.rules))

    def _count_lengths(self, part: Part) -> None:
        kept = [len(after) for after in part.after if after is not None]
        for what, lengths in (("read", [len(text) for text in part.texts.texts]), ("kept", kept)):
            bins = np.searchsorted(EDGES, lengths, "right") - 1
            self.lengths[what] += np.bincount(bins, minlength=len(EDGES))

    def _count_marks(self, part: Part) -> None:
        stays = np.array([after is not None for after in part.after], bool)
        for name, found in part.marks.spans.items():
            row = self.spans.setdefault(name, Counter())
            row["documents"] += sum(map(bool, found))
            row["spans"] += sum(map(len, found))
            row["characters"] += sum(end - start for spans in found for start, end, _ in spans)
            row["kept"] += sum(bool(spans) and bool(stay) for spans, stay in zip(found, stays, strict=True))
        for language, here in best(part.marks, LANGUAGE):
            row = self.languages.setdefault(language, Counter())
            row["read"] += int(here.sum())
            row["kept"] += int((here & stays).sum())
        for name in (f"{CONTAMINATION}.hits", f"{CONTAMINATION}.items"):
            if (column := part.marks.numbers.get(name)) is not None:
                row = self.contamination.setdefault(name, Counter())
                row["documents"] += int((column > 0).sum())
                row["kept"] += int(((column > 0) & stays).sum())
        if self.rules:
            fired = np.array([drop.condition(part.marks) for drop in self.rules.drops], bool)
            alone = fired.sum(0) == 1 if len(fired) else np.zeros(len(stays), bool)
            for name, column in zip(self.names, fired, strict=True):
                self.only[name] += int((column & alone).sum())

    def told(self) -> dict[str, Any]:
        """All of it as plain data."""
        zero = Counts()
        read = sum((made.counts for made in self.folder.read.values()), zero)
        mixed = sum((made.counts for made in self.folder.mixed.values()), zero)
        for stage, counts in (("documents", read), ("mixed", mixed)):
            counts.check(str(self.folder.folder / stage))
        self._check(mixed)
        alone, both = self._facts("alone", Counter()), self._facts("both", Counter())
        return {
            "total": {
                "read": read.read, "quarantined": read.quarantined, "documents": read.kept, "kept": mixed.kept,
                "dropped": sum(mixed.dropped.values()), "chars_read": mixed.chars_read, "chars_kept": mixed.chars_kept,
                "chars_removed": mixed.chars_removed, "chars_dropped": mixed.chars_dropped,
            },
            "stages": [
                {"stage": "read", "in": read.read, "out": read.kept, "removed": self._refused()},
                {"stage": "mix", "in": mixed.read, "out": mixed.kept, "removed": dict(mixed.dropped)},
                *self._drawn(mixed),
            ],
            "mix": self._mix(),
            "sources": {
                name: {**vars(of), "dropped": dict(of.dropped)} for name, of in sorted(self.sources.items())
            },
            "rules": [
                {
                    "name": name, "when": self._when(name), "first": mixed.dropped.get(name, 0), "alone": alone[name],
                    "only": self.only[name] if self.rules else None, "chars": self.chars[name],
                }
                for name in self.names
            ],
            "both": [[*pair, count] for pair, count in sorted(both.items())],
            "lengths": {"edges": EDGES, **{what: column.tolist() for what, column in self.lengths.items()}},
            "languages": {name: dict(row) for name, row in sorted(self.languages.items())},
            "contamination": {name: dict(row) for name, row in sorted(self.contamination.items())},
            "spans": {name: dict(row) for name, row in sorted(self.spans.items()) if row["spans"]},
            "examples": {kind: drawn.rows() for kind, drawn in self.examples.items() if drawn.rows()},
            "quarantine": self._quarantine(),
        }  # fmt: skip

    def _check(self, mixed: Counts) -> None:
        """What was counted document by document is what the shards say of themselves."""
        of = self.sources.values()
        dropped = sum((source.dropped for source in of), Counter[str]())
        counted = {
            "read": sum(s.read for s in of), "kept": sum(s.kept for s in of), "dropped": dict(dropped),
            "chars_read": sum(s.chars_read for s in of), "chars_kept": sum(s.chars_kept for s in of),
        }  # fmt: skip
        for name, value in counted.items():
            said = getattr(mixed, name)
            if said != value:
                raise Unbalanced(f"{self.folder.folder}: {name} is {said} by the shards' word, {value} counted again")

    def _drawn(self, mixed: Counts) -> list[dict[str, Any]]:
        """The stage of the mixer. Raises Unbalanced where it drew from other documents than those that stayed."""
        if not self.folder.drawn:
            return []
        drawn = sum((made.counts for made in self.folder.drawn.values()), Counts())
        drawn.check(str(self.folder.folder / "drawn"))
        if (drawn.read, drawn.chars_read) != (mixed.kept, mixed.chars_kept):
            raise Unbalanced(f"{self.folder.folder}: {mixed.kept} documents stayed, and {drawn.read} came to the mixer")
        draws = sum(made.facts["draws"] for made in self.folder.drawn.values())
        return [
            {"stage": "draw", "in": drawn.read, "out": drawn.kept, "removed": dict(drawn.dropped), "draws": draws}
        ]  # fmt: skip

    def _mix(self) -> dict[str, Any] | None:
        """By group of the mixer what there was and what is drawn."""
        made = list(self.folder.drawn.values())
        if not made:
            return None
        return {name: made[0].facts[name] for name in ("rule", "by", "unit")} | {"groups": grouped(made)}

    def _when(self, name: str) -> str:
        return next((drop.when for drop in self.rules.drops if drop.name == name), "") if self.rules else ""

    def _refused(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for made in self.folder.read.values():
            found.update(made.facts.get("refused", {}))
        return dict(found)

    def _quarantine(self) -> list[dict[str, Any]]:
        """Per reason how many records, and the first of them by shard and place."""
        found: dict[str, list[dict[str, Any]]] = {}
        count: Counter[str] = Counter()
        for shard in self.folder.shards:
            for row in self.folder.quarantine(shard):
                count[row["reason"]] += 1
                shown = found.setdefault(row["reason"], [])
                if len(shown) < PLACES:
                    shown.append({name: row.get(name) for name in ("file", "place", "offset", "detail")})
        return [{"reason": reason, "count": n, "places": found[reason]} for reason, n in count.most_common()]


class Drawn:
    """The items of the least keys."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._heap: list[tuple[int, dict[str, Any]]] = []

    def wants(self, key: bytes) -> bool:
        return len(self._heap) < self.most or -int.from_bytes(key, "big") > self._heap[0][0]

    def add(self, key: bytes, item: dict[str, Any]) -> None:
        row = (-int.from_bytes(key, "big"), item)
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, row)
        else:
            heapq.heapreplace(self._heap, row)

    def rows(self) -> list[dict[str, Any]]:
        """Least key first."""
        return [item for _, item in sorted(self._heap, key=lambda row: -row[0])]


def _words(text: str) -> int:
    return len(text.split())


def _example(part: Part, at: int, shard: str, rules: Rules | None) -> dict[str, Any]:
    """A document as it is shown: a piece of its text with what is marked there, and the numbers it was dropped by."""
    text, why = part.texts.texts[at], part.reasons[at]
    spans = [
        (start, end, name) for name, found in part.marks.spans.items() for start, end, _ in found[at] if end > start
    ]
    names: list[str] = []
    if rules and why:
        names = sorted(next(drop.condition.names for drop in rules.drops if drop.name == why))
    about = [span for span in spans if any(name.startswith(span[2]) for name in names)] or (spans if not why else [])
    begin = max(min((start for start, *_ in about), default=0) - SHOWN // 4, 0)
    begin = 0 if begin < SHOWN // 2 else begin
    values = {name: float(part.marks.value(name)[at]) for name in names}
    shown = sorted({(max(a, begin) - begin, min(b, begin + SHOWN) - begin, n) for a, b, n in spans})
    return {
        "id": part.texts.ids[at], "source": part.texts.sources[at], "shard": shard, "place": part.places[at],
        "characters": len(text), "text": text[begin : begin + SHOWN], "begin": begin,
        "spans": [list(span) for span in shown if span[0] < span[1]],
        "values": {name: value if np.isfinite(value) else None for name, value in values.items()},
    }  # fmt: skip
