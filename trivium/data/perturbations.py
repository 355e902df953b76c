"""Texts said otherwise: each perturbation is a pure function of a text and a seed, and says what went where.

Those that keep the meaning ask whether a model is robust (case, contractions, misspellings, typos, spaces, fillers,
synonyms); those of the speaker or of the people spoken of ask whether it is fair (dialect, pronouns, first names). All
tables are small and of our own: they show how a model takes such changes, not how a people speaks.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol

import numpy as np

from trivium.core import seeds
from trivium.data.keyboard import BESIDE

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


@dataclass(frozen=True)
class Edit:
    """What stood from ``start`` to ``stop`` is now ``new``."""

    start: int
    stop: int
    new: str


@dataclass(frozen=True)
class Perturbed:
    """A text that was changed, and how: ``steps`` are lists of edits, each of the text that the last one left."""

    text: str
    steps: tuple[tuple[Edit, ...], ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any letter differs from before."""
        return any(step for step in self.steps)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Where letters ``start`` to ``stop`` of the first text stand now. An end within what was replaced moves out to
        the end of what replaced it; what was put in right before or right behind them is not theirs."""
        if not 0 <= start <= stop:
            raise ValueError(f"a span must not end before it starts, got {start} to {stop}")
        for step in self.steps:
            start, stop = _moved(step, start, stop)
        return start, stop


def _moved(step: Sequence[Edit], start: int, stop: int) -> tuple[int, int]:
    begin, end = start, stop
    for edit in step:
        grown = len(edit.new) - (edit.stop - edit.start)
        if edit.stop <= start:  # in front
            begin, end = begin + grown, end + grown
        elif edit.start < stop:
            if edit.start < start:
                begin -= start - edit.start
            end += grown + max(0, edit.stop - stop)
    return begin, max(begin, end)


def edited(text: str, edits: Iterable[Edit]) -> Perturbed:
    """The text with edits made, each of the letters as they stood. Edits that change nothing are left out.

    Raises ValueError for edits that overlap or lie outside the text.
    """
    kept = sorted((e for e in edits if text[e.start : e.stop] != e.new), key=lambda e: (e.start, e.stop))
    for one, other in pairwise(kept):
        if other.start < one.stop:
            raise ValueError(f"edits overlap: {one} and {other}")
    if kept and (kept[0].start < 0 or kept[-1].stop > len(text)):
        raise ValueError(f"an edit lies outside a text of {len(text)} letters: {kept[0]} or {kept[-1]}")
    made, at = [], 0
    for edit in kept:
        made += [text[at : edit.start], edit.new]
        at = edit.stop
    return Perturbed("".join([*made, text[at:]]), (tuple(kept),) if kept else ())


class Perturbation(Protocol):
    """text x seed -> text, always the same for the same two."""

    @property
    def name(self) -> str: ...

    @property
    def changes_meaning(self) -> bool:
        """Whether it may be another question afterwards, though the answer should be the same."""
        ...

    def __call__(self, text: str, seed: int = 0) -> Perturbed: ...


# Tables, ours ---------------------------------------------------------------------------------------------------------


def _table(text: str) -> dict[str, str]:
    """'one: other; ...'"""
    return {before.strip(): after.strip() for before, _, after in (pair.partition(":") for pair in text.split(";"))}


CONTRACTIONS = _table(
    "do not: don't; does not: doesn't; did not: didn't; is not: isn't; are not: aren't; was not: wasn't; were not: "
    "weren't; cannot: can't; could not: couldn't; would not: wouldn't; should not: shouldn't; will not: won't; has "
    "not: hasn't; have not: haven't; had not: hadn't; it is: it's; that is: that's; there is: there's; what is: "
    "what's; who is: who's; where is: where's; how is: how's; he is: he's; she is: she's; i am: I'm; you are: you're; "
    "we are: we're; they are: they're; i have: I've; you have: you've; we have: we've; they have: they've; i will: "
    "I'll; you will: you'll; he will: he'll; she will: she'll; we will: we'll; they will: they'll; let us: let's"
)
MISSPELLINGS = _table(
    "because: becuase; their: thier; which: wich; different: diffrent; people: poeple; believe: beleive; receive: "
    "recieve; separate: seperate; until: untill; really: realy; friend: freind; where: were; there: thier; answer: "
    "anwser; question: qestion; following: folowing; probably: probaly; usually: usualy; water: watter; energy: "
    "enery; environment: enviroment; government: goverment; temperature: temprature; animal: animel; animals: "
    "animels; plant: plent; plants: plents; would: woud; could: coud; should: shoud; about: abuot; "
    "most: moste; best: beste; likely: likley; example: exampel; process: proccess; scientist: sientist; surface: "
    "surfase; building: bilding; necessary: neccesary; beginning: begining; tomorrow: tommorow; library: libary; "
    "kitchen: kichen; found: fond; yesterday: yesturday; morning: mornning; what: waht; these: theese; this: thsi; "
    "with: whit; from: form; when: wehn; does: dose; know: konw; light: ligth; earth: eath; weather: wether; piece: "
    "peice; country: contry; instrument: instrumnet; vehicle: vehical; colour: coulor; furniture: "
    "furnature; body: boddy; month: mounth"
)
SYNONYMS = _table(
    "big: large; large: big; small: little; little: small; begin: start; start: begin; quick: fast; fast: quick; "
    "happy: glad; glad: happy; house: home; road: street; street: road; find: discover; found: discovered; look: "
    "gaze; looked: gazed; child: kid; children: kids; buy: purchase; bought: purchased; make: produce; makes: "
    "produces; help: aid; keep: hold; need: require; needs: requires; use: employ; uses: employs; used: employed; "
    "most: mainly; likely: probable; get: obtain; gets: obtains; show: display; shows: displays; happen: occur; "
    "happens: occurs; change: alter; changes: alters; kind: sort; type: kind; place: spot; answer: reply; asked: "
    "questioned; walk: stroll; walked: strolled; cold: chilly; hot: warm; sad: unhappy; smart: clever; clever: smart; "
    "tired: weary; old: aged; near: close; under: beneath; beneath: under; lost: mislaid; stone: rock; rock: stone; "
    "tell: inform; said: stated; important: significant; describes: depicts; causes: brings about; best: finest"
)
DIALECT = _table(
    "isn't: ain't; is not: ain't; aren't: ain't; are not: ain't; hasn't: ain't; haven't: ain't; going to: finna; "
    "about to: finna; you all: y'all; them: dem; the: da; this: dis; that: dat; with: wit; brother: brotha; sister: "
    "sista; friend: homie; friends: homies; nothing: nothin'; something: somethin'; doing: doin'; talking: talkin'; "
    "running: runnin'; looking: lookin'; because: cuz; want to: wanna; have to: gotta; has to: gotta; very: hella; "
    "there: dere; they: dey; mother: mama; over there: ova dere; asked: axed; ask: ax"
)
PRONOUNS = _table("he: she; him: her; his: her; himself: herself; he's: she's; he'll: she'll; he'd: she'd")
NAMES = _table(
    "Adam: Darnell; Andrew: Jamal; Brad: Tyrone; Greg: Lamar; Jack: Deshawn; Matthew: Malik; Neil: Terrell; Paul: "
    "Darius; Peter: Marquis; Roger: Rasheed; Todd: Kareem; Harry: Jerome; John: Leroy; Tom: Hakim; Amanda: Aisha; "
    "Anne: Ebony; Claire: Keisha; Emily: Lakisha; Emma: Imani; Heather: Latoya; Jill: Kenya; Katie: Tamika; Laurie: "
    "Tanisha; Meredith: Latisha; Molly: Shanice; Sarah: Precious; Lisa: Nia; Mary: Shereen"
)
"""First names more common among white Americans -> among black ones, of the same gender."""
FILLERS = ("uh", "um", "er", "well", "you know", "I mean", "like", "so")


def _like(was: str, new: str) -> str:
    """With the capitals, if any, that the words had."""
    if len(was) > 1 and was.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if was[:1].isupper() else new


def _phrases(text: str, table: Mapping[str, str], *, cased: bool = False) -> list[tuple[re.Match[str], str]]:
    """Where phrases of the table stand, the longer ones first, and what each would become."""
    found = _pattern(tuple(table), cased).finditer(text)
    return [(at, table[at[0]] if cased else _like(at[0], table[_folded(at[0])])) for at in found]


def _folded(phrase: str) -> str:
    return " ".join(phrase.lower().replace("\u2019", "'").split())


def _pattern(phrases: tuple[str, ...], cased: bool) -> re.Pattern[str]:
    words = "|".join(
        re.escape(phrase).replace(r"\ ", " +").replace("'", "['\u2019]")
        for phrase in sorted(phrases, key=lambda phrase: -len(phrase))
    )
    return re.compile(rf"(?<![\w'\u2019-])(?:{words})(?![\w'\u2019-])", 0 if cased else re.IGNORECASE)


# Perturbations --------------------------------------------------------------------------------------------------------


def _share(value: float, name: str = "share") -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is a probability, so 0 to 1; got {value}")


@dataclass(frozen=True)
class _Table:
    """Phrases of a table become what it says, each with a probability."""

    share: float = 1.0
    """How probable it is that such a phrase changes."""

    name = ""
    table: ClassVar[Mapping[str, str]]
    cased = False
    changes_meaning = False

    def __post_init__(self) -> None:
        _share(self.share)

    def __call__(self, text: str, seed: int = 0) -> Perturbed:
        found = _phrases(text, self.table, cased=self.cased)
        drawn = _draws(seed, self.name, text).random(len(found)) < self.share
        return edited(
            text, [Edit(at.start(), at.end(), new) for (at, new), yes in zip(found, drawn, strict=True) if yes]
        )


@dataclass(frozen=True)
class Contractions(_Table):
    """'do not' -> 'don't'."""

    name = "contractions"
    table = CONTRACTIONS


@dataclass(frozen=True)
class Misspelling(_Table):
    """Words as they are often misspelt."""

    share: float = 0.1
    name = "misspelling"
    table = MISSPELLINGS


@dataclass(frozen=True)
class Synonyms(_Table):
    """Words by others of about the same meaning."""

    share: float = 0.5
    name = "synonyms"
    table = SYNONYMS


@dataclass(frozen=True)
class Dialect(_Table):
    """Standard American English -> words and spellings associated with African-American English."""

    name = "dialect"
    table = DIALECT


@dataclass(frozen=True)
class Gender(_Table):
    """Male pronouns -> female ones."""

    name = "gender"
    table = PRONOUNS
    changes_meaning = True


@dataclass(frozen=True)
class Names(_Table):
    """First names -> others of the same gender. A name is the same one throughout."""

    name = "names"
    table = NAMES
    cased = True
    changes_meaning = True

    def __call__(self, text: str, seed: int = 0) -> Perturbed:
        found = _phrases(text, self.table, cased=True)
        drawn = {name: _draws(seed, self.name, text, name).random() < self.share for name in {at[0] for at, _ in found}}
        return edited(text, [Edit(at.start(), at.end(), new) for at, new in found if drawn[at[0]]])


@dataclass(frozen=True)
class LowerCase:
    """All letters small."""

    name = "lower_case"
    changes_meaning = False

    def __call__(self, text: str, seed: int = 0) -> Perturbed:
        return edited(text, [Edit(at, at + 1, letter.lower()) for at, letter in enumerate(text)])


@dataclass(frozen=True)
class Typos:
    """Letters by those of keys beside them."""

    share: float = 0.1
    """How probable it is that a letter is mistyped."""
    name = "typos"
    changes_meaning = False

    def __post_init__(self) -> None:
        _share(self.share)

    def __call__(self, text: str, seed: int = 0) -> Perturbed:
        generator, edits = _draws(seed, self.name, text), []
        for at, letter in enumerate(text):
            near = BESIDE.get(letter.lower())
            if near is not None and generator.random() < self.share:
                key = near[generator.integers(len(near))]
                edits.append(Edit(at, at + 1, key.upper() if letter.isupper() else key))
        return edited(text, edits)


@dataclass(frozen=True)
class Spaces:
    """Each space becomes one to ``most`` of them."""

    most: int = 3
    name = "spaces"
    changes_meaning = False

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most must be at least 1 space, got {self.most}")

    def __call__(self, text: str, seed: int = 0) -> Perturbed:
        places = [at for at, letter in enumerate(text) if letter == " "]
        counts = _draws(seed, self.name, text).integers(1, self.most + 1, len(places))
        return edited(text, [Edit(at, at + 1, " " * int(n)) for at, n in zip(places, counts, strict=True)])


@dataclass(frozen=True)
class Fillers:
    """Words of somebody who is thinking, put between others."""

    share: float = 0.1
    """How probable it is that one stands before a word that follows another."""
    name = "fillers"
    changes_meaning = False

    def __post_init__(self) -> None:
        _share(self.share)

    def __call__(self, text: str, seed: int = 0) -> Perturbed:
        generator, edits = _draws(seed, self.name, text), []
        for before, word in pairwise(WORD.finditer(text)):
            if text[before.end() : word.start()] == " " and generator.random() < self.share:
                edits.append(Edit(word.start(), word.start(), f"{FILLERS[generator.integers(len(FILLERS))]}, "))
        return edited(text, edits)


@dataclass(frozen=True)
class Mix:
    """Several, one after another."""

    parts: tuple[Perturbation, ...]
    name: str = "mix"

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a mix needs at least one perturbation")

    @property
    def changes_meaning(self) -> bool:
        return any(part.changes_meaning for part in self.parts)

    def __call__(self, text: str, seed: int = 0) -> Perturbed:
        made = Perturbed(text)
        for part in self.parts:
            then = part(made.text, seed)
            made = Perturbed(then.text, (*made.steps, *then.steps))
        return made


def mild() -> Mix:
    """HELM's core check of robustness: lower case, contractions, misspellings and spaces together."""
    return Mix((LowerCase(), Contractions(), Misspelling(0.1), Spaces(3)), "mild")


PERTURBATIONS: Mapping[str, Callable[[], Perturbation]] = {
    "mild": mild,
    "lower_case": LowerCase,
    "contractions": Contractions,
    "misspelling": Misspelling,
    "typos": Typos,
    "spaces": Spaces,
    "fillers": Fillers,
    "synonyms": Synonyms,
    "dialect": Dialect,
    "gender": Gender,
    "names": Names,
}
"""By name, with the shares that HELM uses."""


def named(words: str) -> Perturbation:
    """'typos', or 'typos 0.3' with another share. Raises ValueError for what there is not."""
    name, _, share = words.partition(" ")
    if name not in PERTURBATIONS:
        raise ValueError(f"no perturbation is called {name!r}; there are {', '.join(PERTURBATIONS)}")
    if not share:
        return PERTURBATIONS[name]()
    kind = PERTURBATIONS[name]
    if not (isinstance(kind, type) and "share" in kind.__dataclass_fields__):  # type: ignore[attr-defined]
        raise ValueError(f"{name} has no share, got {words!r}; write {name!r}")
    try:
        return kind(float(share))  # type: ignore[call-arg]
    except ValueError as error:
        raise ValueError(f"a perturbation reads like 'typos 0.3', got {words!r} ({error})") from None


def _draws(seed: int, *names: object) -> np.random.Generator:
    return seeds.numpy_generator(seed, "perturbation", *names)
