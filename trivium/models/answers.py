"""What models have answered, on disk: scores and texts are made once, and a killed run goes on where it was.

One file for one model in one number format: a line that says so, then one line for each answer under the hash of all
that decides it, appended as it is made.
"""

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol

from trivium.core.errors import RunBusy
from trivium.core.progress import Bar

log = logging.getLogger(__name__)

FORMAT = 1


class Answering(Protocol):
    """What a cache must know of whoever answers."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def precision(self) -> str: ...


class AnswerCache:
    """The answers of one system or server, in a file of their own in the folder.

    Raises ValueError for a model that nothing tells from others, or a file of another format; RunBusy while another
    cache is open on the file. A last line that was cut off is dropped, and a line that says nothing is passed over.
    """

    def __init__(self, folder: str | Path, system: Answering) -> None:
        if not system.fingerprint:
            raise ValueError(
                f"{system.name} was made in memory, so nothing tells its answers from another's; save it first"
            )
        self.path = Path(folder) / f"answers-{system.fingerprint[:16]}-{system.precision}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, dict[str, Any]] = {}
        self._file = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise RunBusy(f"{self.path} is in use; wait for the run that holds it, or give another folder") from None
        self.of = system.fingerprint, system.precision
        head = {"trivium": "answers", "format": FORMAT, "model": system.fingerprint, "precision": system.precision}
        try:
            self._read(head)
        except ValueError:
            self._file.close()
            raise

    def _read(self, head: dict[str, Any]) -> None:
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            log.warning("%s ends in a line that is not whole; it is cut off", self.path)
            self._file.truncate(sum(map(len, lines[:-1])))
            lines.pop()
        if not lines:
            self._append(head)
            return
        found = _object(lines[0])
        if found != head:
            raise ValueError(
                f"{self.path} is of another format or model: it begins with {lines[0][:120]!r}, expected "
                f"{json.dumps(head)}; delete it, or give another folder"
            )
        empty = 0
        for line in lines[1:]:
            entry = _object(line)
            if entry is None or not isinstance(entry.get("key"), str) or not isinstance(entry.get("answer"), dict):
                empty += 1
            else:
                self._known[entry["key"]] = entry["answer"]
        if empty:
            log.warning("%s has %d lines that say nothing; they are passed over", self.path, empty)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, *asked: Any) -> dict[str, Any] | None:
        """What was answered to this, if anything. ``asked``: all that decides an answer, as JSON can hold it."""
        return self._known.get(_key(asked))

    def put(self, answer: dict[str, Any], *asked: Any) -> None:
        """Write an answer down."""
        key = _key(asked)
        self._known[key] = answer
        self._append({"key": key, "answer": answer})

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


_KEEPING: ContextVar[tuple[AnswerCache | None, Bar | None]] = ContextVar("keeping", default=(None, None))


@contextmanager
def keeping(cache: AnswerCache | None, bar: Bar | None = None) -> Iterator[None]:
    """Within the block, answers of the cache's model are looked up there and written down there wherever no other cache
    is given, and the bar tells of what is left: what asks a model need not know where a run keeps its answers."""
    token = _KEEPING.set((cache, bar))
    try:
        yield
    finally:
        _KEEPING.reset(token)


def kept(system: object) -> AnswerCache | None:
    """The cache of the block that this runs in, where it is one of this system."""
    cache = _KEEPING.get()[0]
    of = getattr(system, "fingerprint", ""), getattr(system, "precision", "")
    return cache if cache is not None and cache.of == of else None


def tell(text: str) -> None:
    """Say beside the bar of the block that this runs in, if any, how far things are."""
    bar = _KEEPING.get()[1]
    if bar is not None:
        bar.note(text)


def _key(asked: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
