"""The documentation and the code of the running Python's standard library, read where they lie."""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from trivium.data.corpus import Corpus


def python_docs(*, validation: float = 0.05, test: float = 0.05) -> Corpus:
    """English prose: the docstrings of each module of the standard library, joined to one document a module.

    What it holds depends on the Python that runs; ``Corpus.sha256`` tells two of them apart.
    """
    documents = (_prose(path) for path in _modules())
    return Corpus.split(
        _name("docs"), (text for text in documents if len(text) >= 200), validation=validation, test=test
    )


def python_code(*, validation: float = 0.05, test: float = 0.05) -> Corpus:
    """Python code: each module of the standard library as a document."""
    documents = (_text(path) for path in _modules())
    return Corpus.split(
        _name("code"), (text for text in documents if len(text) >= 200), validation=validation, test=test
    )


def _name(what: str) -> str:
    return f"python-{sys.version_info.major}.{sys.version_info.minor}-{what}"


def _modules() -> Iterator[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    left_out = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__pycache__"}
    for path in sorted(root.rglob("*.py")):
        if not left_out.intersection(path.relative_to(root).parts):
            yield path


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):  # a few modules are in another encoding; they are left out
        return ""


def _prose(path: Path) -> str:
    try:
        tree = ast.parse(_text(path))
    except SyntaxError:
        return ""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, holders))
    return "\n\n".join(text for text in found if text and len(text) >= 40)
