"""Models as contenders: named by where they come from, and opened one at a time.

A contender is text such as ``tiny`` or ``runs/mine(dtype=bfloat16)``: a folder, a known name or a hub identifier, with
settings of ``load`` behind it. A system that was made in memory is a contender too, under its own name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from trivium.compare import contender as text
from trivium.models.sources import load
from trivium.models.system import System


@dataclass(frozen=True)
class Named:
    """A system by its source, opened by whoever needs it."""

    source: str
    dtype: str = "float32"
    compile: bool = False
    device: str = "cpu"

    def open(self) -> System:
        """Load it."""
        return load(self.source, dtype=self.dtype, compile=self.compile, device=self.device)

    @property
    def described(self) -> str:
        """As it is typed: the source, and settings that differ from the defaults."""
        given = [
            f"{one.name}={getattr(self, one.name)!r}"
            for one in fields(self)[1:]
            if getattr(self, one.name) != one.default
        ]
        return f"{self.source}({', '.join(given)})" if given else self.source

    @classmethod
    def read(cls, words: str) -> "Named":
        """The system that was described. Raises ValueError for an empty name, UnknownName and TypeError for settings
        that ``load`` does not take."""
        source, opened, settings = words.strip(), "", ""
        if source.endswith(")") and "(" in source and not Path(source).exists():
            source, opened, settings = source.partition("(")
        if not source:
            raise ValueError(f"a model is a folder, a known name or a hub identifier, got {words!r}")
        given = text.parse(f"model({settings}") if opened else text.Call("model")
        return text.construct(cls, text.Call("model", (("source", source), *given.fields)))


@dataclass(frozen=True, eq=False)
class Held:
    """A system that was made in memory."""

    system: System

    def open(self) -> System:
        return self.system

    @property
    def described(self) -> str:
        return self.system.name


def contender(thing: Any) -> Named | Held:
    """Text, a system or either of these, as a contender."""
    if isinstance(thing, str):
        return Named.read(thing)
    if isinstance(thing, Named | Held):
        return thing
    if hasattr(thing, "fingerprint") and hasattr(thing, "name"):  # a System, or a server
        source = getattr(thing, "source", "")
        if not source or not hasattr(thing, "model"):
            return Held(thing)
        return Named(source, dtype=thing.precision, device=str(thing.model.device))
    raise TypeError(f"a model is text, such as 'tiny', or a System; got {type(thing).__name__}")


class Models:
    """All contenders, of which one is open at a time: two models need not fit beside each other."""

    def __init__(self, contenders: Sequence[Named | Held]) -> None:
        self.contenders = tuple(contenders)
        self._at: tuple[Named | Held, System] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"contenders": self.contenders, "_at": None}

    def opened(self, contender: Named | Held) -> System:
        """This one, loaded where it is not the one that is open."""
        if self._at is None or self._at[0] != contender:
            self._at = None
            self._at = contender, contender.open()
        return self._at[1]

    def facts(self) -> dict[str, Any]:
        """What a report says of them; each is opened once."""
        said = {one.described: facts_of(self.opened(one)) for one in self.contenders}
        return {"name": ", ".join(facts["name"] for facts in said.values()), "models": said}


def facts_of(system: Any) -> dict[str, Any]:
    """A system in the words of a report."""
    found = {
        "name": system.name,
        "config": getattr(system, "source", "") or system.name,
        "fingerprint": getattr(system, "fingerprint", ""),
    }
    model = getattr(system, "model", None)
    if model is None:
        return found
    return {
        **found,
        "dtype": model.precision,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "context": model.max_positions,
        "vocabulary": system.tokenizer.vocab_size,
        "tokenizer": type(system.tokenizer).__name__,
    }
