"""Imports point down: core < nn < tokenization, data < models < kinds < training, compare < cli. No exception list."""

import ast

import pytest

from trivium.core.method import PACKAGE, kinds

RANK = {"core": 0, "nn": 1, "tokenization": 2, "data": 2, "models": 3, "training": 5, "compare": 6, "cli": 7}
RANK |= dict.fromkeys(kinds(), 4)
STATISTICS = ("evaluation", "stats")
"""Plain functions over numbers, of no method: they stand on core alone, and comparisons use them like a layer."""
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """(line, module) of every import of this package anywhere in the file, inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative import; write the whole name"
            modules = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            if module.startswith("trivium."):
                yield node.lineno, module


def test_every_folder_has_a_rank():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders <= set(RANK), f"folders without a layer: {sorted(folders - set(RANK))}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    parts = path.relative_to(PACKAGE).parts
    if len(parts) == 1:
        return  # the package's own __init__ looks names up lazily
    here = parts[0]
    holes = parts == ("compare", "holes.py")
    for line, module in imported(path):
        there = module.split(".")[1]
        if there not in RANK:
            continue
        statistics = tuple(module.split(".")[1:3]) == STATISTICS
        where = f"{'/'.join(parts)}:{line} imports {module}"
        assert RANK[there] <= RANK[here], f"{where}, which lies above it"
        if there != here and RANK[there] == RANK[here]:
            assert {here, there} == {"tokenization", "data"}, f"{where}: {here} and {there} are siblings"
        if parts[:2] == STATISTICS:
            assert statistics or there == "core", f"{where}: statistics need numbers only"
        if here == "compare" and there in kinds() and not statistics:
            assert holes, f"{where}: kinds meet in compare/holes.py only"
        if here == "training" and there in kinds():
            raise AssertionError(f"{where}: training knows kinds through protocol and card only")
        private = module.split(".")[-1].startswith("_") or any(part.startswith("_") for part in module.split(".")[2:])
        assert not private or there == here or here in ("compare", "cli"), f"{where}, which is private to {there}"


def test_one_way_between_tokenization_and_data():
    directions = {
        (path.relative_to(PACKAGE).parts[0], module.split(".")[1])
        for path in FILES
        for _, module in imported(path)
        if path.relative_to(PACKAGE).parts[0] in ("tokenization", "data")
    }
    assert not {("tokenization", "data"), ("data", "tokenization")} <= directions
