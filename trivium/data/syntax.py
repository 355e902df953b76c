"""Python code as trees: the syntax tree that tree-sitter gives, over the tokens of the code.

Comments, docstrings and other strings that are statements are taken out of the code first; what is left is parsed
again, and a string is one leaf, whatever it holds. Grammars rename nodes between versions: ``grammar`` tells which one
is at work, and belongs to everything that is kept of its labels.
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from trivium.core import seeds
from trivium.core.optional import require
from trivium.data.constituents import Bracket, Tree
from trivium.data.python_docs import modules

LEAF = frozenset({"string"})
"""Nodes of which everything below is left out."""
_WHY = "it parses code to syntax trees"


@dataclass(frozen=True)
class Parsed:
    """A piece of code without comments: ``spans``, where in its characters each leaf stands, and the tree over these.
    ``source``: what it is from, and pieces of one source are not independent."""

    text: str
    spans: tuple[tuple[int, int], ...]
    tree: Tree
    id: str = ""
    source: str = ""


def grammar() -> str:
    """Name and version of the grammar."""
    require("tree_sitter_python", extra="syntax", why=_WHY)
    return f"tree-sitter-python {version('tree-sitter-python')}"


def parse(code: str, id: str = "", source: str = "") -> Parsed:
    """Python code as a tree. Raises ValueError for code that cannot be parsed or holds nothing but comments."""
    try:
        whole = code.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"the code holds half a character at {error.start}; it cannot be parsed") from None
    text = _cut(whole, _prose(_root(whole)))
    root = _root(text)
    spans: list[tuple[int, int]] = []
    found: list[Bracket | None] = []
    work: list[tuple[Any, int]] = [(root, -1)]  # a node to enter, or to leave: where its bracket stands
    starts: dict[int, int] = {}
    while work:
        node, place = work.pop()
        if place >= 0:
            start = starts.pop(place)
            if start < len(spans):
                found[place] = Bracket(node.type, start, len(spans))
            continue
        if node.type == "line_continuation" or node.start_byte == node.end_byte:
            continue
        if not node.children or node.type in LEAF:
            spans.append((node.start_byte, node.end_byte))
            continue
        starts[len(found)] = len(spans)
        work.append((node, len(found)))
        found.append(None)
        work += [(child, -1) for child in reversed(node.children)]
    if not spans:
        raise ValueError(f"this code has no leaf, only comments and strings if anything: {code[:40]!r}")
    plain = text.decode("utf-8")
    letters: Mapping[int, int] | range = range(len(plain) + 1)  # byte -> character
    if len(text) > len(plain):
        letters = {at: number for number, at in enumerate(accumulate((len(x.encode()) for x in plain), initial=0))}
    tree = Tree(len(spans), tuple(one for one in found if one is not None))
    return Parsed(plain, tuple((letters[start], letters[stop]) for start, stop in spans), tree, id, source)


@cache
def _parser() -> Any:
    tree_sitter = require("tree_sitter", extra="syntax", why=_WHY)
    language = require("tree_sitter_python", extra="syntax", why=_WHY)
    return tree_sitter.Parser(tree_sitter.Language(language.language()))


def _root(code: bytes) -> Any:
    root = _parser().parse(code).root_node
    if root.has_error:
        raise ValueError(f"this code is no Python that the grammar can parse: {code[:40].decode('utf-8', 'replace')!r}")
    return root


def _prose(root: Any) -> Iterator[tuple[int, int]]:
    """Where in the bytes comments and strings that are statements stand, in order."""
    work = [root]
    while work:
        node = work.pop()
        alone = node.type == "expression_statement" and [child.type for child in node.children] == ["string"]
        if node.type == "comment" or alone:
            yield node.start_byte, node.end_byte
        else:
            work += reversed(node.children)


def _cut(code: bytes, places: Iterator[tuple[int, int]]) -> bytes:
    """Without these places, the space before them, and their line where nothing else is on it."""
    kept, at = [], 0
    for start, stop in places:
        while start > at and code[start - 1 : start] in (b" ", b"\t"):
            start -= 1
        own_line = start == 0 or code[start - 1 : start] == b"\n"
        if own_line and code[stop : stop + 1] == b"\n":
            stop += 1
        kept.append(code[at:start])
        at = max(at, stop)
    return b"".join((*kept, code[at:]))


# The standard library -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def functions(
    count: int, split: str = "train", *, least: int = 8, most: int = 60, per_module: int = 4, seed: int = 0
) -> tuple[Parsed, ...]:
    """So many functions and methods of the running Python's standard library, of ``least`` to ``most`` leaves and at
    most ``per_module`` of one module. Of ten modules seven are of the split "train", one of "validation" and two of
    "test"; which functions there are depends on the Python that runs.

    Raises ValueError where there are not as many.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"the splits are 'train', 'validation' and 'test', got {split!r}")
    if count < 1 or not 1 <= least <= most or per_module < 1:
        raise ValueError(f"count, least, most and per_module must be at least 1, and least at most most; got {count}, "
                         f"{least}, {most}, {per_module}")  # fmt: skip
    found: list[Parsed] = []
    paths = [(name, path) for name, path in modules() if _split(name) == split]
    for place in seeds.numpy_generator(seed, "modules", split).permutation(len(paths)).tolist():
        name, path = paths[place]
        found += _some(name, path, least, most, per_module, seed)
        if len(found) >= count:
            return tuple(found[:count])
    raise ValueError(
        f"the standard library has only {len(found)} functions of {least} to {most} leaves in the split {split!r} at "
        f"{per_module} a module, fewer than {count}; raise per_module or most, or ask for fewer"
    )


def _split(name: str) -> str:
    return (*["train"] * 7, "validation", "test", "test")[seeds.derive(0, "split", name) % 10]


def _some(name: str, path: Path, least: int, most: int, limit: int, seed: int) -> list[Parsed]:
    try:
        code = path.read_text(encoding="utf-8")
        module = ast.parse(code)
    except (UnicodeDecodeError, OSError, SyntaxError, ValueError):
        return []
    lines = code.splitlines(keepends=True)
    defined = [node for node in ast.walk(module) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    kept: list[Parsed] = []
    for place in seeds.numpy_generator(seed, "functions", name).permutation(len(defined)).tolist():
        node = defined[place]
        last = node.end_lineno or node.lineno
        if last - node.lineno > most:  # a line has a leaf or more; comments aside, this is too long
            continue
        text = textwrap.dedent("".join(lines[node.lineno - 1 : last]))
        try:
            parsed = parse(text, f"{name}.{node.name}:{node.lineno}", name)
        except ValueError:
            continue
        bare = parsed.text.rstrip().endswith(":")  # whose body was a docstring and nothing else
        if not bare and least <= parsed.tree.leaves <= most and all(parsed.text != other.text for other in kept):
            kept.append(parsed)
        if len(kept) == limit:
            break
    return kept
