"""Mixers as text: ``blend(unit='words', temperature=3, max_epochs=4)`` or ``word_budget(words=10_000_000)``."""

from typing import Any

from trivium.compare import contender as text
from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.blends import Blend
from trivium.data.budgets import WordBudget
from trivium.data.choosing import Mixer

MIXERS: dict[str, type[Any]] = {"blend": Blend, "word_budget": WordBudget}


def mixer(said: str) -> Mixer:
    """The mixer that a text says. Raises UnknownName, and TypeError and ValueError for settings it does not have."""
    call = text.parse(said)
    if call.name not in MIXERS:
        raise UnknownName(f"no mixer is called {call.name!r}{did_you_mean(call.name, MIXERS)}")
    return text.construct(MIXERS[call.name], call)


def described(made: Mixer) -> str:
    """The text that says it; one of the user's own goes by the name of its class."""
    named = {cls.__name__: name for name, cls in MIXERS.items()}
    said = text.describe(made)
    name, bracket, rest = said.partition("(")
    return f"{named.get(name, name)}{bracket}{rest}"
