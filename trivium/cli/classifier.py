"""``trivium classifier``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from trivium.cli._print import console, print_json, table
from trivium.data.linear import Recipe, teach
from trivium.data.plan import Source
from trivium.data.raw.documents import BadRecords, Refused, documents


@dataclass(frozen=True)
class Command:
    """Train a classifier that tells documents you want from others, for curation.

    Example: trivium classifier --positives good.jsonl --negatives "crawl/*.jsonl.gz" --folder runs/quality

    Then: trivium curate --sources "pages/*.jsonl.gz" --methods "quality(folder='runs/quality')" --folder runs/clean

    Positives and negatives are files as 'trivium curate' reads them: records with an 'id' and a 'text' in JSON lines or
    Parquet, HTML and WARC, or plain texts, a document each. A fifth of them is held out and judged: accuracy, precision
    and recall at a score of 0.5, and whether a score of 0.8 means 8 of 10. The same command makes the classifier of
    toxicity (positives: toxic sentences), of textbook-likeness or of a domain.
    """

    positives: tuple[str, ...]
    """Files, folders or patterns of what is wanted, or looked for."""
    negatives: tuple[str, ...]
    """Files, folders or patterns of other texts, best drawn from what the classifier will judge."""
    folder: Path
    """Where it goes: classifier.json, which says what it was made of, and weights.safetensors."""
    recipe: Recipe = field(default_factory=Recipe)
    """Of the training."""
    replace: bool = False
    """Write over a classifier that is there."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        if (self.folder / "classifier.json").exists() and not self.replace:
            raise ValueError(f"{self.folder} holds a classifier; choose another folder, or say --replace")
        made = teach(_texts(self.positives), _texts(self.negatives), self.recipe)
        made.classifier.save(self.folder)
        card, found = made.classifier.card, made.held_out
        if self.json:
            print_json({"folder": str(self.folder), "digest": made.classifier.digest, **card})
            return 0
        out, texts = console(), card["texts"]
        out.print(f"{texts['positive']:,} positive and {texts['negative']:,} negative texts, {found.texts:,} held out")
        out.print(f"accuracy {found.accuracy:.3f} (always the commoner kind: {found.majority:.3f})")
        out.print(f"precision {found.precision:.3f}, recall {found.recall:.3f}, Brier score {found.brier:.4f}")
        out.print(f"scores are off the share of positives by {found.calibration_error:.3f} on average:\n")
        rows = table("mean score", "share of positives", "texts", title=None)
        for mean, share, count in found.table:
            rows.add_row(f"{mean:.2f}", f"{share:.2f}", f"{count:,}")
        out.print(rows)
        out.print(f"\nfolder: {self.folder}", style="dim")
        return 0


def _texts(patterns: tuple[str, ...]) -> Iterator[str]:
    """Raises BadRecords for what cannot be read: a classifier does not learn from half of its examples unsaid."""
    for pattern in patterns:
        for path in Source(pattern).paths():
            for each in documents(path):
                if isinstance(each, Refused):
                    raise BadRecords(
                        f"{path}, record {each.place}: {each.reason}, {each.detail}; mend it or leave it out"
                    )
                if each.text.strip():
                    yield each.text
