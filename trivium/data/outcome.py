"""What a run of curation says of itself: counts by stage, rule, source and group, and what comes out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trivium.data.kept import Kept
from trivium.data.raw.documents import Document
from trivium.data.stages import Counts, Manifest, fingerprint


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    folder: Path
    read: Counts
    total: Counts
    """Of the documents that were read, by the rules."""
    by_source: Mapping[str, Mapping[str, int]]
    """Source -> documents read and kept."""
    alone: Mapping[str, int]
    """Rule -> documents that it would drop by itself."""
    both: Mapping[tuple[str, str], int]
    drawn: Counts
    """Of those that the rules kept, each counted once however often it is drawn; nothing without a mixer."""
    groups: Mapping[str, Mapping[str, int]]
    """Group of the mixer -> documents and their size, documents drawn, draws (with repetitions) and their size."""
    digest: str
    """Of all that was made: the same for the same plan and content."""
    kept: Kept = field(repr=False)
    """What comes out, in order; a worker that goes on from here is given this."""

    def documents(self, begin: int = 0) -> Iterator[Document]:
        """Those that come out, in order, from this place on."""
        return self.kept.documents(begin)


def outcome(
    folder: Path, read: Sequence[Manifest], mixed: Sequence[Manifest], drawn: Sequence[Manifest] | None = None
) -> Outcome:
    """Of the manifests of its stages; without a mixer there are none of the last."""
    by_source: dict[str, dict[str, int]] = {}
    alone: dict[str, int] = {}
    both: dict[tuple[str, str], int] = {}
    for one in mixed:
        for source, counts in one.facts["by_source"].items():
            row = by_source.setdefault(source, {"read": 0, "kept": 0})
            for name, count in counts.items():
                row[name] += count
        for name, count in one.facts["alone"].items():
            alone[name] = alone.get(name, 0) + count
        for a, b, count in one.facts["both"]:
            both[a, b] = both.get((a, b), 0) + count
    stages = {"read": read, "mixed": mixed} if drawn is None else {"read": read, "mixed": mixed, "drawn": drawn}
    digest = fingerprint("run", **{stage: [made.digest() for made in of] for stage, of in stages.items()})
    return Outcome(
        folder, total(read), total(mixed), by_source, alone, both, total(drawn or ()),
        grouped(drawn or ()), digest, Kept(folder, mixed if drawn is None else drawn),
    )  # fmt: skip


def total(made: Sequence[Manifest]) -> Counts:
    """Of all shards together."""
    return sum((one.counts for one in made), Counts())


def grouped(drawn: Sequence[Manifest]) -> dict[str, dict[str, int]]:
    """The groups of a mixer over all shards."""
    found: dict[str, dict[str, int]] = {}
    for one in drawn:
        for group, counts in one.facts["groups"].items():
            row = found.setdefault(group, dict.fromkeys(counts, 0))
            for name, count in counts.items():
                row[name] += count
    return dict(sorted(found.items()))
