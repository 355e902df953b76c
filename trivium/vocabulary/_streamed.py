"""A transplanted model on disk: whole under its name with a card, or not at all; also of models larger than memory."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch

from trivium.core import files
from trivium.core.errors import NotOffered
from trivium.core.languages import NOTHING, Languages
from trivium.core.method import card_of, settings
from trivium.core.protocols import Tokenizer
from trivium.models.sources import fingerprint, store
from trivium.models.streamed import OnDisk
from trivium.tokenization.files import restore
from trivium.tokenization.pieces import roles
from trivium.vocabulary._frame import Initialiser, Report, Transplant, lengths

CARD = "vocabulary.json"


@dataclass(frozen=True)
class Shelved:
    """Stands for a system whose model stays on disk."""

    name: str
    tokenizer: Tokenizer

    @property
    def model(self) -> Any:
        raise NotOffered(f"{self.name} stays on disk, and this initialiser reads the model itself; load it")


def stored(made: Transplant, folder: str | Path, facts: Mapping[str, Any]) -> None:
    """Write a transplanted system and its card, which says ``facts`` and the report. Raises ValueError where the
    folder exists."""
    with whole(folder) as part:
        store(made.system, part)
        _card(part, made.report, facts)


def streamed(
    initialiser: Initialiser,
    source: str | Path,
    folder: str | Path,
    tokenizer: Tokenizer,
    languages: Languages = NOTHING,
    *,
    generator: torch.Generator,
) -> Report:
    """What ``initialiser.transplant`` and ``stored`` do, from folder to folder: only the matrices at both ends are in
    memory. That shared tokens give the states they gave, which takes a run of the model, is not tried; that nothing
    else depends on the vocabulary is.

    Raises what ``transplant`` raises and what ``OnDisk`` does, before anything is written.
    """
    source = Path(source)
    model = OnDisk(source)
    model.check()
    system: Any = Shelved(source.name, restore(source))
    frame, filling = initialiser.begun(system, tokenizer, languages, model.rows(), generator)
    if not initialiser.keeps_rows(frame):
        raise NotOffered(f"{card_of(initialiser).name} with these settings makes factors, not rows; load the model")
    rows, error = initialiser.rows(frame, filling)
    with whole(folder) as part:
        after = model.write(part, rows, roles(tokenizer))
        cast(Any, tokenizer).save(part)
        report = initialiser.report(frame, filling, lengths(frame, rows.embedding), error, (model.parameters, after))
        method = {"method": card_of(initialiser).path, **settings(initialiser)}
        _card(part, report, {"model": str(source), "sha256": fingerprint(source), "config": method})
    return report


@contextmanager
def whole(folder: str | Path) -> Iterator[Path]:
    """A folder beside this one, which gets its name once all is in it; what a crash has left there goes first."""
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists; choose another folder")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _card(folder: Path, report: Report, facts: Mapping[str, Any]) -> None:
    files.write(folder / CARD, json.dumps({**facts, **asdict(report)}, indent=1) + "\n")
