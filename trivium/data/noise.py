"""Noise in utterances with slots, of characters, words and sentences, and mixtures; labels stay with their tokens.

Every noise says what becomes of each token and what is put between tokens (an ``Edit``), and slots are moved by that
map alone. A slot whose tokens change keeps its label and gets the new surface as its value; the value that was meant
stays beside it. Nothing is put inside a slot, and only simplification can drop one. A rate of 0 changes nothing.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from trivium.core.errors import UnknownName, did_you_mean
from trivium.data.keyboard import BESIDE
from trivium.data.slots import Utterance
from trivium.data.spellings import HEARD, like, misspelt

Where = Literal["all", "slots", "rest"]


@dataclass(frozen=True)
class Edit:
    """What becomes of an utterance's tokens: ``pieces``, for each one the tokens in its place, of which there may be
    none; ``before``: tokens put before token n, or at the end where n is their number."""

    pieces: Sequence[Sequence[str]]
    before: Mapping[int, Sequence[str]] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[str, ...]:
        made: list[str] = []
        for at, piece in enumerate(self.pieces):
            made += [*self.before.get(at, ()), *piece]
        return (*made, *self.before.get(len(self.pieces), ()))

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Where tokens ``start`` to ``stop`` of before stand now; no wider than they are themselves."""
        begin = sum(len(self.before.get(at, ())) + len(self.pieces[at]) for at in range(start))
        begin += len(self.before.get(start, ()))
        inside = sum(len(self.before.get(at, ())) for at in range(start + 1, stop))
        return begin, begin + inside + sum(len(self.pieces[at]) for at in range(start, stop))

    def __call__(self, utterance: Utterance, name: str) -> Utterance:
        """Raises ValueError for another number of pieces than of tokens, and for tokens put inside a slot."""
        if len(self.pieces) != len(utterance.tokens):
            raise ValueError(f"{utterance.id!r} has {len(utterance.tokens)} tokens, the edit {len(self.pieces)} pieces")
        tokens, slots = self.tokens, []
        for slot in utterance.slots:
            if any(self.before.get(at) for at in range(slot.start + 1, slot.stop)):
                raise ValueError(f"{utterance.id!r}: {name} puts tokens inside the slot {slot.gold_surface!r}")
            start, stop = self.span(slot.start, slot.stop)
            if stop > start:
                value = " ".join(tokens[start:stop])
                slots.append(replace(slot, start=start, stop=stop, gold_surface=value))
        return Utterance(utterance.id, tokens, tuple(slots), utterance.group, (*utterance.applied, name))


def _rate(value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"rate is a probability, so 0 to 1; got {value}")


def _chosen(utterance: Utterance, where: Where, rate: float, generator: np.random.Generator) -> list[bool]:
    """Per token, whether it is drawn. Every token takes a draw, so that those drawn do not depend on the others."""
    inside = [False] * len(utterance.tokens)
    for slot in utterance.slots:
        inside[slot.start : slot.stop] = [True] * (slot.stop - slot.start)
    drawn = generator.random(len(inside)) < rate
    return [
        bool(hit) and (where == "all" or (where == "slots") == held) for hit, held in zip(drawn, inside, strict=True)
    ]


def _by_word(
    utterance: Utterance, where: Where, rate: float, generator: np.random.Generator,
    change: Callable[[str, np.random.Generator], Sequence[str]], name: str,
) -> Utterance:  # fmt: skip
    drawn = _chosen(utterance, where, rate, generator)
    pieces = [change(token, generator) if hit else (token,) for token, hit in zip(utterance.tokens, drawn, strict=True)]
    return Edit(pieces)(utterance, name)


# Characters -----------------------------------------------------------------------------------------------------------


def mistyped(word: str, generator: np.random.Generator) -> str:
    """With two neighbours swapped, a letter lost, a letter of a neighbouring key put in, or one in a letter's place.
    A word of fewer than two letters stays."""
    letters = [at for at, letter in enumerate(word) if letter.isalpha()]
    if len(letters) < 2:
        return word
    swaps = [at for at in letters if at + 1 in letters and word[at] != word[at + 1]]
    keys = [at for at in letters if word[at].lower() in BESIDE]
    ways = [*["swap"] * bool(swaps), "delete", *["insert", "replace"] * bool(keys)]
    way = ways[generator.integers(len(ways))]
    at = int(generator.choice({"swap": swaps, "delete": letters}.get(way, keys)))
    if way == "swap":
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if way == "delete":
        return word[:at] + word[at + 1 :]
    near = BESIDE[word[at].lower()]
    key = near[generator.integers(len(near))]
    key = key.upper() if word[at].isupper() else key
    return word[:at] + key + word[at + (way == "replace") :]


@dataclass(frozen=True)
class Typos:
    """Slips on the keyboard, one in each word that is drawn."""

    rate: float = 0.3
    where: Where = "all"
    """Which words: all, those in slots, or the rest."""

    def __post_init__(self) -> None:
        _rate(self.rate)
        if self.where not in get_args(Where):
            raise ValueError(f"where must be one of {', '.join(get_args(Where))}; got {self.where!r}")

    @property
    def name(self) -> str:
        return "entity_typos" if self.where == "slots" else "typos"

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        change = lambda word, draws: (mistyped(word, draws),)  # noqa: E731
        return _by_word(utterance, self.where, self.rate, generator, change, self.name)


# Words ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spelling:
    """Words that are misspelt rather than mistyped."""

    rate: float = 0.3
    name: ClassVar[str] = "spelling"

    def __post_init__(self) -> None:
        _rate(self.rate)

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        return _by_word(utterance, "all", self.rate, generator, lambda word, _: (misspelt(word),), self.name)


@dataclass(frozen=True)
class Speech:
    """Words heard as others that sound alike, or cut in two, as by a recogniser of speech."""

    rate: float = 0.3
    name: ClassVar[str] = "speech"

    def __post_init__(self) -> None:
        _rate(self.rate)

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        def heard(word: str, _: np.random.Generator) -> Sequence[str]:
            return like(word, HEARD.get(word.lower(), word)).split("_")

        return _by_word(utterance, "all", self.rate, generator, heard, self.name)


# Sentences ------------------------------------------------------------------------------------------------------------

ALIKE: Sequence[Sequence[str]] = (
    ("play", "put on", "start playing"),
    ("find", "look up", "search for"),
    ("book", "reserve", "arrange"),
    ("add", "put down", "include"),
    ("i want", "i would like", "i wish"),
    ("what is", "let me know", "tell me about"),
    ("will it", "is it going to"),
    ("show me", "let me see", "bring up"),
    ("could you", "can you", "would you"),
    ("please", "kindly", "if you can"),
    ("remind me", "do not let me forget"),
    ("tell me", "say to me", "let me hear"),
    ("we need", "we are looking for"),
    ("near", "close to", "not far from"),
    ("song", "tune", "piece"),
    ("restaurant", "place to eat"),
    ("how", "just how"),
)
"""Phrases of which one says what another does."""


def _free(utterance: Utterance) -> list[bool]:
    """Which tokens are in no slot."""
    free = [True] * len(utterance.tokens)
    for slot in utterance.slots:
        free[slot.start : slot.stop] = [False] * (slot.stop - slot.start)
    return free


def _phrase_at(words: Sequence[str], free: Sequence[bool], at: int, phrase: str) -> int:
    """How many tokens the phrase takes here, in no slot; 0 where it does not stand here."""
    parts = phrase.split()
    stands = list(words[at : at + len(parts)]) == parts and all(free[at : at + len(parts)])
    return len(parts) if stands else 0


@dataclass(frozen=True)
class Paraphrase:
    """The words around the slots are put otherwise, phrase by phrase."""

    rate: float = 1.0
    name: ClassVar[str] = "paraphrase"

    def __post_init__(self) -> None:
        _rate(self.rate)

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        words, free = [token.lower() for token in utterance.tokens], _free(utterance)
        pieces: list[Sequence[str]] = [(token,) for token in utterance.tokens]
        at = 0
        while at < len(words):
            known = [(_phrase_at(words, free, at, phrase), phrase, group) for group in ALIKE for phrase in group]
            length, phrase, group = max(known, key=lambda one: one[0])
            if length and generator.random() < self.rate:
                others = [other for other in group if other != phrase]
                other = like(utterance.tokens[at], others[generator.integers(len(others))])
                pieces[at : at + length] = [other.split(), *[()] * (length - 1)]
            at += max(length, 1)
        return Edit(pieces)(utterance, self.name)


NEEDLESS = ("please", "could you", "can you", "i want to", "i would like to", "kindly", "tell me", "so", "just", "now")
CLAUSES = ("because", "that", "which", "who", "where", "whether", "since", "while", "with my", ",")
"""What a clause begins with that can be left out."""


@dataclass(frozen=True)
class Simplification:
    """Polite phrases and clauses are left out; slots in such a clause are gone with it."""

    rate: float = 1.0
    name: ClassVar[str] = "simplification"

    def __post_init__(self) -> None:
        _rate(self.rate)

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        words, free = [token.lower() for token in utterance.tokens], _free(utterance)
        pieces: list[Sequence[str]] = [(token,) for token in utterance.tokens]
        for at in range(len(words)):
            length = max(_phrase_at(words, free, at, phrase) for phrase in NEEDLESS)
            if length and generator.random() < self.rate:
                pieces[at : at + length] = [()] * length
        starts = [at for at in range(1, len(words)) if any(_phrase_at(words, free, at, mark) for mark in CLAUSES)]
        for start, stop in itertools.pairwise([*starts, len(words)]):
            if generator.random() < self.rate and any(pieces[:start]):
                pieces[start:stop] = [()] * (stop - start)
        if not any(pieces):  # of nothing but polite phrases, something has to be said
            pieces = [(token,) for token in utterance.tokens]
        return Edit(pieces)(utterance, self.name)


OPENINGS = ("hello there", "i was wondering about something", "sorry to trouble you", "if you have a moment")
FILLERS = ("um", "well", "you know", "actually", "let me think", "i mean", "sort of")
ENDINGS = ("if that is not too much trouble", "thanks a lot in advance", "that would be very kind", "when you can")


@dataclass(frozen=True)
class Verbose:
    """Many words: an opening, fillers between the words that are in no slot, and an ending."""

    rate: float = 1.0
    """Of the opening and of the ending; of a filler in each gap a fifth of that."""
    name: ClassVar[str] = "verbose"

    def __post_init__(self) -> None:
        _rate(self.rate)

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        count = len(utterance.tokens)
        closed = {at for slot in utterance.slots for at in range(slot.start + 1, slot.stop)}
        before: dict[int, Sequence[str]] = {}
        for at in range(count + 1):
            said = OPENINGS if at == 0 else ENDINGS if at == count else FILLERS
            hit = generator.random() < (self.rate if at in (0, count) else self.rate / 5)
            phrase = said[generator.integers(len(said))].split()
            if hit and at not in closed:
                before[at] = phrase
        return Edit([(token,) for token in utterance.tokens], before)(utterance, self.name)


ASIDES = (
    "my neighbour painted his fence last week",
    "the bridge was closed all summer",
    "my shoes are still wet",
    "somebody left a bicycle in the hall",
    "the cat has been asleep since breakfast",
    "they are building a school behind the station",
    "i have lost one of my gloves again",
    "the clock in the kitchen is slow",
)


@dataclass(frozen=True)
class AppendIrrelevant:
    """A sentence about something else at the end."""

    rate: float = 1.0
    name: ClassVar[str] = "append"

    def __post_init__(self) -> None:
        _rate(self.rate)

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        aside = ASIDES[generator.integers(len(ASIDES))]
        before = {len(utterance.tokens): aside.split()} if generator.random() < self.rate else {}
        return Edit([(token,) for token in utterance.tokens], before)(utterance, self.name)


# Several --------------------------------------------------------------------------------------------------------------


Noise = Typos | Spelling | Speech | Paraphrase | Simplification | Verbose | AppendIrrelevant


@dataclass(frozen=True)
class Mixture:
    """Noises one after another, in this order. Of none: the utterance as it is."""

    parts: Sequence[Noise] = ()

    @property
    def name(self) -> str:
        return "+".join(part.name for part in self.parts) or "clean"

    def __call__(self, utterance: Utterance, generator: np.random.Generator) -> Utterance:
        for part in self.parts:
            utterance = part(utterance, generator)
        return utterance


SINGLE = ("typos", "speech", "paraphrase", "simplification", "verbose")
MIXED = ("spelling+typos", "spelling+append", "entity_typos+append", "spelling+typos+append")
NAMES = ("clean", *SINGLE, *MIXED)
LEVELS: Mapping[str, Sequence[str]] = {
    "character": ("typos",),
    "word": ("spelling", "speech"),
    "sentence": ("paraphrase", "simplification", "verbose"),
}
"""What a noise changes -> the noises that do."""


def named(name: str, rate: float = 0.3) -> Mixture:
    """A noise, or several joined by "+", or "clean". ``rate`` is that of words and characters; sentences are changed
    wherever they can be. Raises UnknownName for one that is not known."""
    known: Mapping[str, Callable[[], Noise]] = {
        "typos": lambda: Typos(rate),
        "entity_typos": lambda: Typos(rate, "slots"),
        "spelling": lambda: Spelling(rate),
        "speech": lambda: Speech(rate),
        "paraphrase": Paraphrase,
        "simplification": Simplification,
        "verbose": Verbose,
        "append": AppendIrrelevant,
    }
    if name == "clean":
        return Mixture()
    for part in name.split("+"):
        if part not in known:
            raise UnknownName(
                f"no noise is called {part!r}{did_you_mean(part, known)}; there are clean, {', '.join(known)}"
            )
    return Mixture(tuple(known[part]() for part in name.split("+")))
