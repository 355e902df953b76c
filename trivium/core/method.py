"""Method cards and their look-up: the folder listing is the registry.

A kind is a folder of the package, a method one file in it. Cards are read from the source text, so that a listing
imports no method (and thus no torch); ``find`` imports the one file it is asked for.
"""

import ast
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any, TypeVar

from trivium.core.capabilities import known
from trivium.core.errors import UnknownMethod, UnknownName, did_you_mean

PACKAGE = Path(__file__).resolve().parent.parent
LAYERS = frozenset({"core", "nn", "tokenization", "data", "models", "training", "compare", "cli"})
HEADINGS = ("Source", "Equation", "Shapes", "Cost", "Caveats")

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Card:
    """What code must know about a method and prose cannot say."""

    title: str
    source: str
    year: int
    needs: frozenset[str] = frozenset()
    lossless: bool = False
    """Same greedy output and same sampling law as plain decoding; meant for decoders and drafters only."""
    kind: str = ""
    name: str = ""

    @property
    def path(self) -> str:
        return f"{self.kind}/{self.name}"


def method(
    *, title: str, source: str, year: int, needs: Iterable[str] = (), lossless: bool = False
) -> Callable[[T], T]:
    """Mark the one public class of a method file and attach its card. Arguments must be literals (they are parsed)."""

    def attach(cls: T) -> T:
        _, kind, name = cls.__module__.rsplit(".", 2) if cls.__module__.count(".") >= 2 else ("", "", cls.__name__)
        cls.__card__ = Card(title, source, year, known(needs), lossless, kind, name)  # type: ignore[attr-defined]
        return cls

    return attach


def card_of(thing: object) -> Card:
    """The card of a method, given the class or an object of it; a method of one's own without one gets a bare card."""
    cls = thing if isinstance(thing, type) else type(thing)
    card = getattr(cls, "__card__", None)
    if card is None:
        return Card(title=cls.__name__, source="unpublished", year=0, kind="", name=cls.__name__)
    return card


def kinds() -> tuple[str, ...]:
    """Every kind: the folders of the package that are no layer."""
    return tuple(
        sorted(
            folder.name
            for folder in PACKAGE.iterdir()
            if (folder / "__init__.py").is_file() and folder.name not in LAYERS and not folder.name.startswith("_")
        )
    )


def names(kind: str) -> tuple[str, ...]:
    """Every method of a kind, sorted. Raises UnknownName for no such kind."""
    if kind not in kinds():
        raise UnknownName(f"no kind is called {kind!r}{did_you_mean(kind, kinds())}")
    return tuple(sorted(path.stem for path in (PACKAGE / kind).glob("*.py") if not path.stem.startswith("_")))


def find(kind: str, name: str) -> type[Any]:
    """The class of a method: imports that one file and takes the one class that carries its card.

    Raises UnknownName for the kind and UnknownMethod for the name, with the nearest that exists.
    """
    if name not in names(kind):
        raise UnknownMethod(f"no {kind} method named {name!r}{did_you_mean(name, names(kind))}")
    module = import_module(f"trivium.{kind}.{name}")
    found = [
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and "__card__" in vars(thing) and thing.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"trivium/{kind}/{name}.py must hold exactly one class with a card, it holds {len(found)}")
    return found[0]


def split(path: str) -> tuple[str, str]:
    """'decoding/min_p' -> ('decoding', 'min_p'). A bare name is accepted where one kind alone has it."""
    if path.count("/") == 1:
        kind, name = path.split("/")
        if name not in names(kind):
            raise UnknownMethod(f"no {kind} method named {name!r}{did_you_mean(name, names(kind))}")
        return kind, name
    homes = [kind for kind in kinds() if path in names(kind)]
    if len(homes) == 1:
        return homes[0], path
    everything = [f"{kind}/{name}" for kind in kinds() for name in names(kind)]
    if homes:
        raise UnknownMethod(f"{path!r} exists in {', '.join(homes)}; write {homes[0]}/{path}")
    bare = {name: f"{kind}/{name}" for kind in kinds() for name in names(kind)}
    hint = did_you_mean(path, bare) if "/" not in path else did_you_mean(path, everything)
    raise UnknownMethod(f"no method named {path!r}{hint}")


@dataclass(frozen=True)
class Option:
    """A field of a method: its annotation, default and line of explanation, as written."""

    name: str
    type: str
    default: str
    text: str = ""


@dataclass(frozen=True)
class Entry:
    """A method as read from its source text, without importing it."""

    card: Card
    summary: str
    """First line of the file's docstring."""
    headings: dict[str, str]
    """Source, Equation, Shapes, Cost, Caveats -> their text."""
    options: tuple[Option, ...]


def headings(docstring: str) -> dict[str, str]:
    """Split a method's docstring into its headed parts, in the order they appear."""
    parts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in docstring.splitlines():
        if line.strip() in HEADINGS and not line.startswith(" "):
            current = parts.setdefault(line.strip(), [])
        elif current is not None:
            current.append(line[4:] if line.startswith("    ") else line)
    return {heading: "\n".join(lines).strip("\n") for heading, lines in parts.items()}


@cache
def entry(kind: str, name: str) -> Entry:
    """Read one method's card and docstring from its source text."""
    path = PACKAGE / kind / f"{name}.py"
    if name not in names(kind):
        raise UnknownMethod(f"no {kind} method named {name!r}{did_you_mean(name, names(kind))}")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstring = ast.get_docstring(tree) or ""
    marked = [
        (node, decorator)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "method"
    ]
    if len(marked) != 1:
        raise TypeError(f"trivium/{kind}/{name}.py must hold exactly one class under @method, it holds {len(marked)}")
    cls, call = marked[0]
    said: dict[str, Any] = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    said["needs"] = known(said.get("needs", ()))
    card = Card(kind=kind, name=name, **said)
    return Entry(card, docstring.split("\n", 1)[0], headings(docstring), tuple(options(cls)))


def options(cls: ast.ClassDef) -> Iterable[Option]:
    """The annotated fields of a dataclass, each with the string that follows it."""
    followers: list[ast.stmt | None] = [*cls.body[1:], None]
    for node, after in zip(cls.body, followers, strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        if ast.unparse(node.annotation).startswith("ClassVar"):
            continue
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            text = cleandoc(after.value.value)
        yield Option(node.target.id, ast.unparse(node.annotation), _default(node.value), text)


def _made(factory: ast.expr) -> str:
    """What a default factory makes: a method that is found by name reads as its name."""
    match factory.body if isinstance(factory, ast.Lambda) else factory:
        case ast.Call(func=ast.Call(func=ast.Name("find"), args=[_, ast.Constant(str(name))]), args=[]):
            return name
        case ast.Name(id=name):
            return f"{name}()"
        case made:
            return ast.unparse(made)


def _default(value: ast.expr | None) -> str:
    if value is None:
        return ""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        words = {word.arg: word.value for word in value.keywords}
        if "default" in words:
            return ast.unparse(words["default"])
        return _made(words["default_factory"]) if "default_factory" in words else ""
    return ast.unparse(value)


def entries(kind: str) -> tuple[Entry, ...]:
    """Every method of a kind, read from source."""
    return tuple(entry(kind, name) for name in names(kind))


def kind_summary(kind: str) -> str:
    """The docstring of a kind's folder: what its methods map to what."""
    if kind not in kinds():
        raise UnknownName(f"no kind is called {kind!r}{did_you_mean(kind, kinds())}")
    return ast.get_docstring(ast.parse((PACKAGE / kind / "__init__.py").read_text(encoding="utf-8"))) or ""


def settings(thing: object) -> dict[str, Any]:
    """The fields of a frozen method as a plain dict (nested methods too), as a report writes them down."""
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        raise TypeError(f"{thing!r} is no dataclass object, so its settings cannot be written down")
    return {field.name: _plain(getattr(thing, field.name)) for field in dataclasses.fields(thing) if field.init}


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        card = card_of(value)
        inner = settings(value)
        return {"method": card.path, **inner} if card.kind else inner
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [_plain(item) for item in items]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    name = getattr(value, "name", None)
    return str(name) if isinstance(name, str) else repr(type(value).__name__)
