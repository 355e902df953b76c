"""Raw documents as one set in memory: generated ones with planted faults, or those of files."""

from dataclasses import dataclass

from trivium.data.marks import Texts
from trivium.data.plan import Source
from trivium.data.planted import planted
from trivium.data.raw.documents import Document, Policy, Refused, documents

POLICY = Policy()


@dataclass(frozen=True)
class Planted:
    """Stories of our own and among them what curation is there to find."""

    count: int = 4000
    seed: int = 1
    """Stories of another seed than that of the corpus ``stories``, so that none of its held-out ones is among them."""
    share: float = 0.03
    """Of each of the eleven faults."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        next(planted(1, self.seed, shares=self.share))

    def texts(self) -> Texts:
        """All of them."""
        return Texts.of(planted(self.count, self.seed, shares=self.share))


def texts_of(raw: str | Planted) -> Texts:
    """The documents of a path or pattern, or generated ones. Raises BadRecords where more than one record in a thousand
    of a file is none, ValueError for no file or no document."""
    if isinstance(raw, Planted):
        return raw.texts()
    found: list[Document] = []
    for path in Source(raw).paths():
        rows = list(documents(path, longest=POLICY.max_document_bytes))
        refused = [row for row in rows if isinstance(row, Refused)]
        for row in refused:
            POLICY.judge(str(path), row)
        POLICY.judge_file(str(path), len(rows), len(refused))
        found += [row for row in rows if isinstance(row, Document)]
    if not found:
        raise ValueError(f"{raw} holds no document")
    return Texts.of(found)
