"""What a training run leaves in its folder beside the checkpoints: ``run.json`` (what is run) and ``curve.jsonl``."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trivium.core import files
from trivium.core.errors import BrokenModel, RunMismatch
from trivium.core.provenance import provenance

Row = dict[str, Any]
"""A step of the curve: step, loss, learning_rate, gradient_norm, and tokens, flops, seconds since the start; figures
of an evaluation under "evaluation" where there was one."""


def note_run(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write down what is run in this folder."""
    files.write(folder / "run.json", json.dumps({**facts, "provenance": provenance()}, indent=1) + "\n")


def known_run(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What stands in ``run.json``; None where there is none.

    Raises RunMismatch where the folder holds another run, naming the first thing that differs.
    """
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenModel(f"{path} is not JSON ({error}); choose another folder") from error
    here = json.loads(json.dumps(facts))
    for name in differences(there, here):
        raise RunMismatch(
            f"{folder} holds another training run: {name} is {_at(there, name)} there and {_at(here, name)} here; "
            "choose another folder, or the same settings to go on"
        )
    return there


def differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """What is not the same there as here, as JSON has it. A setting that an earlier version did not know counts as
    None."""
    for name in here:
        before, now = there.get(name), here[name]
        if isinstance(before, dict) and isinstance(now, dict):
            yield from differences(before, now, f"{prefix}{name}.")
        elif before != now:
            yield prefix + name


def _at(record: Any, name: str) -> Any:
    for part in name.split("."):
        record = record.get(part) if isinstance(record, dict) else None
    return record


class Curve:
    """The rows of a run in memory, and in ``curve.jsonl`` where there is a folder: one line per step, none twice."""

    def __init__(self, path: Path | None, rows: Iterable[Row] = ()) -> None:
        """Begin with the rows of a checkpoint: the file is made to hold these and no more, however it was left."""
        self.rows = list(rows)
        self._file = None
        if path is not None:
            files.write(path, "".join(_line(row) for row in self.rows))
            self._file = path.open("a", encoding="utf-8")

    def append(self, row: Row) -> None:
        self.rows.append(row)
        if self._file is not None:
            self._file.write(_line(row))
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _line(row: Row) -> str:
    return json.dumps(finite(row)) + "\n"


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
