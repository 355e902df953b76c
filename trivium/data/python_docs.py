"""The documentation and the code of the running Python, read where they lie."""

import ast
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from trivium.data.corpus import Corpus

SHORTEST = 200
"""Characters below which a document is left out."""


def python_docs(*, validation: float = 0.05, test: float = 0.05) -> Corpus:
    """English prose: the pages of the language reference that come with Python, and for each module at the top of the
    standard library its docstrings, joined to one document.

    What it holds depends on the Python that runs; ``Corpus.sha256`` tells two of them apart.
    """
    return _corpus("docs", [*_reference(), *map(_prose, _modules("*.py"))], validation, test)


def python_code(*, validation: float = 0.05, test: float = 0.05) -> Corpus:
    """Python code: each module of the standard library as a document."""
    return _corpus("code", map(_text, _modules("**/*.py")), validation, test)


def _corpus(what: str, documents: Iterable[str], validation: float, test: float) -> Corpus:
    name = f"python-{sys.version_info.major}.{sys.version_info.minor}-{what}"
    kept = (text for text in documents if len(text) >= SHORTEST)
    return Corpus.split(name, kept, validation=validation, test=test)


def _reference() -> Iterator[str]:
    """The pages that ``help()`` shows; a Python built without them has none."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return
    yield from (topics[name] for name in sorted(topics))


def _modules(pattern: str) -> Iterator[Path]:
    """Files of the standard library, sorted; folders that are left out are not even entered, since one of them may hold
    every package that is installed."""
    root = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data", "__pycache__"}
    found: list[Path] = []
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if name not in left_out] if pattern.startswith("**/") else []
        found += [Path(folder) / name for name in files if fnmatch(name, pattern.removeprefix("**/"))]
    yield from sorted(found)


@cache
def modules() -> tuple[tuple[str, Path], ...]:
    """Every module of the standard library by its dotted name, those that test it left out."""
    root = Path(sysconfig.get_path("stdlib"))
    return tuple((".".join(path.relative_to(root).with_suffix("").parts), path) for path in _modules("**/*.py"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):  # a few modules are in another encoding; they are left out
        return ""


def _prose(path: Path) -> str:
    try:
        module = ast.parse(_text(path))
    except SyntaxError:
        return ""
    found = (ast.get_docstring(node) for node in (module, *_defined(module)))
    return "\n\n".join(text for text in found if text and len(text) >= 40)


def _defined(holder: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Classes with their methods, and functions, in the order of the source."""
    for node in holder.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _defined(node)
