"""The folder of a run: what was asked, what was done so far, and who may write there.

``records.jsonl`` only ever grows, one line per finished unit of work, so a run that is killed at any moment has lost
the unit it was at and nothing else. A line that was cut is moved to ``records.broken.jsonl`` and its unit done again.
"""

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from trivium.core import files
from trivium.core.errors import RunMismatch

log = logging.getLogger(__name__)

FORMAT = 1
ROOM = 32 * 2**20
"""Free bytes below which a run does not begin."""

Key = tuple[str, str, int | None, int, str]


def key_of(record: Mapping[str, Any]) -> Key:
    """Which unit of work a record is of: contender, phase, trial, seed, example."""
    return record["contender"], record["phase"], record["trial"], record["seed"], record["example"]


class RunFolder:
    """One run on disk. Use ``with folder.held(asked):`` to write, the readers at any time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.asked_file = self.path / "comparison.json"
        self.records_file = self.path / "records.jsonl"
        self._open: int | None = None

    # Reading --------------------------------------------------------------------------------------------------------

    def asked(self) -> dict[str, Any]:
        """The comparison as it was asked for. Raises FileNotFoundError where the folder holds no run."""
        try:
            asked = json.loads(self.asked_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path} holds no run: there is no comparison.json in it") from None
        except ValueError as error:
            raise RunMismatch(f"{self.asked_file} is damaged ({error}); restore it, or choose another folder") from None
        if asked.get("format") != FORMAT:
            raise RunMismatch(
                f"{self.asked_file} has format {asked.get('format')!r}, this version of trivium reads {FORMAT}; "
                "read it with the version that wrote it"
            )
        return asked

    def provenance(self) -> dict[str, Any]:
        """What provenance.json holds; empty before the first run."""
        file = self.path / "provenance.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def records(self) -> list[dict[str, Any]]:
        """Every whole record, each unit once: the first that worked, else the first that failed."""
        return _unique(record for record in map(_whole, self._lines()) if record is not None)

    def _lines(self) -> list[bytes]:
        return self.records_file.read_bytes().split(b"\n") if self.records_file.is_file() else []

    # Writing --------------------------------------------------------------------------------------------------------

    @contextmanager
    def held(self, asked: Mapping[str, Any], *, retry: bool = False) -> Iterator[None]:
        """Hold the folder for this comparison; with ``retry`` failed units count as not done.

        All that could go wrong with the folder goes wrong here, before any work is done.
        Raises RunBusy where another process holds it, RunMismatch where it holds another comparison, and OSError that
        names the folder where it cannot be written or the disk is full.
        """
        with ExitStack() as stack:
            with _named(self.path):
                stack.enter_context(files.locked(self.path))
                self._prepare(asked, retry)
                self._open = os.open(self.records_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                yield
            finally:
                os.close(self._open)
                self._open = None

    def _prepare(self, asked: Mapping[str, Any], retry: bool) -> None:
        if shutil.disk_usage(self.path).free < ROOM:
            raise OSError(errno.ENOSPC, f"less than {ROOM >> 20} MiB are free on its disk, and records would be lost")
        if self.asked_file.exists():
            _must_match(self.path, self.asked(), asked)
        elif self.records_file.exists():
            raise RunMismatch(f"{self.path} has records but no comparison.json; choose another folder")
        else:
            files.write(self.asked_file, json.dumps(asked, indent=1, sort_keys=True) + "\n")
        self._repair()
        if retry:
            kept = [record for record in self.records() if record["error"] is None]
            files.write(self.records_file, "".join(json.dumps(record, allow_nan=False) + "\n" for record in kept))

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one line and see it to the disk. A full disk raises OSError that says how many bytes were wanted."""
        if self._open is None:
            raise RuntimeError("records are added inside 'with folder.held(...)' only")
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        try:
            written = os.write(self._open, line)
            if written < len(line):
                os.write(self._open, line[written:])  # raises the reason why the rest did not fit
            os.fsync(self._open)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror} while adding a line of {len(line)} bytes to {self.records_file}; what was recorded "
                "before is kept: make room and run the same comparison on this folder again",
            ) from None

    def write(self, name: str, text: str) -> None:
        """Write one whole file of the run."""
        with _named(self.path):
            files.write(self.path / name, text)

    def _repair(self) -> None:
        """Move lines that are not whole records aside, so that their units are done again."""
        lines = self._lines()
        broken = [line for line in lines if line.strip() and _whole(line) is None]
        if not broken and (not lines or lines[-1] == b""):
            return
        if broken:
            with (self.path / "records.broken.jsonl").open("ab") as aside:
                aside.writelines(line + b"\n" for line in broken)
        good = [line + b"\n" for line in lines if line.strip() and _whole(line) is not None]
        files.write(self.records_file, b"".join(good))
        if broken:
            log.warning(
                "%s had %d line(s) that were cut or damaged; they are kept in records.broken.jsonl and done again",
                self.records_file,
                len(broken),
            )


def _whole(line: bytes) -> dict[str, Any] | None:
    """The record on a line, None where the line is no whole record."""
    try:
        record = json.loads(line)
        key_of(record)
        return record if isinstance(record["values"], dict) and isinstance(record["spent"], dict) else None
    except (ValueError, KeyError, TypeError):
        return None


def _unique(records: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {}
    for record in records:
        known = found.get(key_of(record))
        if known is None or (known["error"] is not None and record["error"] is None):
            found[key_of(record)] = record
    return list(found.values())


def _must_match(path: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    differing = [name for name in sorted(asked["identity"]) if there["identity"].get(name) != asked["identity"][name]]
    if differing:
        name = differing[0]
        old, new = (_brief(side["identity"].get(name)) for side in (there, asked))
        more = f" (and {', '.join(differing[1:])})" if differing[1:] else ""
        raise RunMismatch(
            f"{path} holds a run of another comparison: its {name} is {old}, yours is {new}{more}; "
            "choose another folder, or ask for the same comparison to continue it"
        )


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "..."


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give an error of the file system the name of the folder and the way out."""
    try:
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise type(error)(
            error.errno, f"the run folder {path} cannot be written ({error.strerror}); choose another folder"
        ) from None
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            error.errno, f"the run folder {path} cannot be written ({error.strerror}); make room or choose another"
        ) from None
