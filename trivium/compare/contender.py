"""Contenders as text: ``contrastive_search(k=8, alpha=0.4)`` is parsed, checked against the dataclass, never evaluated.

    contender = name | name(field=value, ...)
    value     = number | "text" | True | False | None | inf | (value, ...) | [value, ...] | {"key": value} | contender

A bare word stands for text where the field wants text (``verifier=match``), and for a method with its defaults where
it wants a method (``drafter=prompt_lookup``). A field that holds a method of another kind says so in its dataclass:
``field(metadata={"kind": "drafting"})``.
"""

import ast
import dataclasses
import enum
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any

from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.method import card_of, find

LONGEST = 10_000
DEEPEST = 32


@dataclass(frozen=True)
class Call:
    """A name and the fields given to it; the values are literals, tuples, dicts or calls again."""

    name: str
    fields: tuple[tuple[str, Any], ...] = ()


def parse(text: str, *, longest: int | None = LONGEST) -> Call:
    """Read a contender without evaluating it. Raises ValueError that points at what is not allowed."""
    text = text.strip()
    shown = text if len(text) <= 80 else text[:77] + "..."
    if not text:
        raise ValueError("a contender is empty; write a name such as greedy or min_p(floor=0.1)")
    if longest is not None and len(text) > longest:
        raise ValueError(f"a contender of {len(text)} characters is longer than the {longest} allowed: {shown}")
    if _depth(text) > DEEPEST:
        raise ValueError(f"a contender is nested deeper than {DEEPEST} levels: {shown}")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" at column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        reads = "a contender reads like contrastive_search(k=8, alpha=0.4)"
        raise ValueError(f"cannot read {shown!r}{where}; {reads}") from None
    return _call(tree, shown)


def build(kind: str, contender: str | Call, *, longest: int | None = LONGEST) -> Any:
    """The method object that a contender of a kind describes.

    Raises UnknownMethod and UnknownName for names, TypeError for a value of the wrong type, and whatever the method's
    own validation says about a value out of range.
    """
    if isinstance(contender, str):
        contender = parse(contender.strip().removeprefix(f"{kind}/"), longest=longest)
    return construct(find(kind, contender.name), contender)


def describe(thing: object) -> str:
    """The canonical text of a method: its name and the fields that differ from their defaults, in their order. What is
    no method, such as a model, says itself how it is ``described``."""
    if (said := getattr(thing, "described", None)) is not None and not isinstance(thing, type):
        return str(said)
    if not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        return _name_of(thing)
    given = [
        f"{field.name}={_written(getattr(thing, field.name))}"
        for field in dataclasses.fields(thing)
        if field.init and not _same(getattr(thing, field.name), _default(field))
    ]
    return f"{_name_of(thing)}({', '.join(given)})" if given else _name_of(thing)


def options(cls: type) -> dict[str, str]:
    """Field name -> how its type and default read, as error messages and listings show them."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: f"{_read(hints.get(field.name, Any))} = {_written(_default(field))}"
        if _default(field) is not MISSING
        else _read(hints.get(field.name, Any))
        for field in dataclasses.fields(cls)
        if field.init
    }


# Reading ------------------------------------------------------------------------------------------------------------


def _depth(text: str) -> int:
    """Deepest nesting of brackets, and the longest run of signs; text in quotes may be counted, which is harmless."""
    deepest = level = signs = 0
    for letter in text:
        level += (letter in "([{") - (letter in ")]}")
        signs = signs + 1 if letter in "+-~" else 0
        deepest = max(deepest, level, signs)
    return deepest


def _call(node: ast.expr, shown: str) -> Call:
    if isinstance(node, ast.Name):
        return Call(node.id)
    if not isinstance(node, ast.Call):
        raise ValueError(f"{shown!r} is no contender; write a name such as greedy or min_p(floor=0.1)")
    if not isinstance(node.func, ast.Name):
        raise ValueError(
            f"{ast.unparse(node.func)!r} in {shown!r} is no plain name; only the names of methods are called"
        )
    if node.args:
        raise ValueError(
            f"{ast.unparse(node.args[0])} in {node.func.id}(...) has no name; write field=value for each setting"
        )
    given: dict[str, Any] = {}
    for word in node.keywords:
        if word.arg is None:
            raise ValueError(f"** in {shown!r} is not allowed; write each field=value")
        if word.arg in given:
            raise ValueError(f"{word.arg} is given twice in {shown!r}")
        given[word.arg] = _value(word.value, shown)
    return Call(node.func.id, tuple(given.items()))


def _value(node: ast.expr, shown: str) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign):
            inner = _value(node.operand, shown)
            if isinstance(inner, Call) and inner == Call("inf"):
                inner = float("inf")
            if isinstance(inner, (int, float)) and not isinstance(inner, bool):
                return -inner if isinstance(sign, ast.USub) else inner
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_value(item, shown) for item in items)
        case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
            return {_value(key, shown): _value(value, shown) for key, value in zip(keys, values, strict=True) if key}
        case ast.Name() | ast.Call():
            return _call(node, shown)
    raise ValueError(
        f"{ast.unparse(node)!r} in {shown!r} is not allowed; a value is a number, a text in quotes, True, False, None, "
        "a list of these, or another method"
    )


# Building -----------------------------------------------------------------------------------------------------------


def construct(cls: type, call: Call) -> Any:
    """An object of the class with the fields of the call, checked against its type hints."""
    if not dataclasses.is_dataclass(cls):
        if call.fields:
            raise TypeError(f"{call.name} takes no settings, got {call.fields[0][0]}")
        return cls()
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    hints = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for name, value in call.fields:
        if name not in fields:
            raise UnknownName(f"{call.name} has no field {name!r}{did_you_mean(name, fields)}")
        hint, kind = hints.get(name, Any), fields[name].metadata.get("kind")
        given[name] = _fit(value, hint, kind, f"{name} of {call.name}")
    missing = [n for n, field in fields.items() if n not in given and _default(field) is MISSING]
    if missing:
        raise TypeError(f"{call.name} needs {', '.join(missing)}; write {call.name}({missing[0]}=...)")
    return cls(**given)


class _Unfit(TypeError):
    """The value does not have the type; tried on the members of a union one after another."""


def _fit(value: Any, hint: Any, kind: str | None, where: str) -> Any:
    """The value as the field's type wants it; raises TypeError that names the field, the value and the type."""
    try:
        return _as(value, hint, kind, where)
    except _Unfit as error:
        detail = f" ({error})" if str(error) else ""
        got = describe_value(value)
        raise TypeError(f"{where} must be {_read(hint, kind)}, got {got} ({_type_name(value)}){detail}") from None


def _as(value: Any, hint: Any, kind: str | None, where: str) -> Any:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _as(value, inner[0], kind, where)
    if origin in (typing.Union, types.UnionType):
        return _as_union(value, inner, kind, where)
    if kind is not None and hint not in (str, None, type(None)) and not _is_sequence(hint):
        if not isinstance(value, (Call, str)):
            raise _Unfit
        return build(kind, value)
    if origin is typing.Literal:
        wanted = value.name if isinstance(value, Call) and not value.fields else value
        for option in inner:
            if type(option) is type(wanted) and option == wanted:
                return option
        raise _Unfit(
            did_you_mean(wanted, [o for o in inner if isinstance(o, str)])[2:] if isinstance(wanted, str) else ""
        )
    if _is_sequence(hint):
        if isinstance(value, Call):  # one method where several are wanted
            value = (value,)
        if not isinstance(value, tuple):
            raise _Unfit
        each = inner[:1] * len(value) if len(inner) < 2 or inner[1] is Ellipsis else inner
        if inner and len(each) != len(value):
            raise _Unfit(f"{len(each)} values are wanted")
        items = [_as(item, each[n] if inner else Any, kind, where) for n, item in enumerate(value)]
        made = origin or hint
        return made(items) if made in (list, set, frozenset) else tuple(items)
    if (origin or hint) in (dict, Mapping, typing.Mapping):
        if not isinstance(value, dict):
            raise _Unfit
        key, item = inner or (Any, Any)
        return {_as(k, key, None, where): _as(v, item, kind, where) for k, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        wanted = value.name if isinstance(value, Call) else value
        for member in hint:
            if wanted in (member.name, member.value):
                return member
        raise _Unfit
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Call):
        if _folded(value.name) != _folded(hint.__name__):
            raise _Unfit
        return construct(hint, value)
    return _as_plain(value, hint)


def _as_plain(value: Any, hint: Any) -> Any:
    word = value.name if isinstance(value, Call) and not value.fields else None
    if hint is float:
        if word in ("inf", "nan"):
            return float(word)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        raise _Unfit
    if hint is str:
        if word is not None:
            return word
        if isinstance(value, str):
            return value
        raise _Unfit
    if hint in (int, bool):
        if type(value) is hint:
            return value
        raise _Unfit
    if hint in (None, type(None)):
        if value is None:
            return None
        raise _Unfit
    if isinstance(value, Call):
        raise _Unfit("this field takes no method in text; set it in Python")
    return value


def _as_union(value: Any, members: tuple[Any, ...], kind: str | None, where: str) -> Any:
    """Members of the value's own type come first, so that 1 in ``float | int`` stays an int."""
    reasons = []
    for member in sorted(members, key=lambda member: member is not type(value)):
        try:
            return _as(value, member, None if member is type(None) else kind, where)
        except _Unfit as error:
            reasons.append(str(error))
    raise _Unfit("; ".join(filter(None, reasons)))


def _is_sequence(hint: Any) -> bool:
    made = typing.get_origin(hint) or hint
    return isinstance(made, type) and made is not str and issubclass(made, Iterable) and made in (
        list, tuple, set, frozenset, Sequence, Iterable,
    )  # fmt: skip


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _read(hint: Any, kind: str | None = None) -> str:
    """A type as a person reads it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _read(inner[0], kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_read(member, None if member is type(None) else kind) for member in inner)
    if kind is not None and not _is_sequence(hint):
        return f"a {kind} method"
    if origin is typing.Literal:
        return " or ".join(repr(option) for option in inner)
    if _is_sequence(hint):
        return "a list" + (f" of {_read(inner[0], kind)}" if inner else "")
    if hint in (None, type(None)):
        return "None"
    return getattr(hint, "__name__", str(hint))


# Writing ------------------------------------------------------------------------------------------------------------


def describe_value(value: Any) -> str:
    """A parsed value as text again."""
    if isinstance(value, Call):
        inside = ", ".join(f"{name}={describe_value(item)}" for name, item in value.fields)
        return f"{value.name}({inside})" if inside else value.name
    return _written(value)


def _written(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, str):
        # repr prefers single quotes; contenders are typed inside them in a shell, so double ones are kinder.
        return repr(value) if '"' in value else '"' + repr("'" + value)[2:]
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(_written(item) for item in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, (set, frozenset)):
        return _written(tuple(sorted(value)))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_written(k)}: {_written(v)}" for k, v in value.items()) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return describe(value)
    if isinstance(value, Call):
        return describe_value(value)
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return _name_of(value)


def _name_of(thing: object) -> str:
    card = card_of(thing)
    return card.name if card.kind else type(thing).__name__


def _type_name(value: Any) -> str:
    return "a method" if isinstance(value, Call) else type(value).__name__


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING


def _same(value: Any, default: Any) -> bool:
    """Equal, and of one type: 1, 1.0 and True are three settings."""
    if type(value) is not type(default):
        return False
    if isinstance(value, (list, tuple)):
        return len(value) == len(default) and all(map(_same, value, default))
    return bool(value == default)
