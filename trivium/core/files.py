"""Files that are never left half-written under their final name, hashes, and the lock of a run folder."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trivium.core.errors import RunBusy


@contextlib.contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success flush it to disk and rename it, on any error remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)  # mkstemp makes private files; give the result the mode an ordinary file would have
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        part.unlink(missing_ok=True)


def write(path: str | Path, content: str | bytes) -> None:
    """Write a whole file atomically. Text is UTF-8; a lone surrogate is written as its escape, never lost."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", errors="backslashreplace")
    with written(path) as part:
        part.write_bytes(data)


def sha256(source: str | Path | bytes) -> str:
    """Hex SHA-256 of bytes, or of a file read in pieces."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with open(source, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process; raises RunBusy while another live process does, or waits for it. Dies with the
    process."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise RunBusy(
                f"{folder} is in use by process {owner}; wait for it, stop it, or choose another folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
