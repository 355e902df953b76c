"""Minimal pairs: which of two sentences is English, and which of two statements follows from a context.

Our own are made from templates, a few dozen for each paradigm; others are read from files in the forms of BLiMP
(Warstadt et al. 2020, arXiv:1912.00582) and EWoK (Ivanova et al. 2024, arXiv:2405.09605). Whatever its form, an item is
a list of trials: two (context, continuation), of which the first should be likelier.

    full        ("", good sentence)              ("", bad sentence)
    one_prefix  (prefix, good word)              (prefix, bad word)
    two_prefix  (good prefix, word)              (bad prefix, word)
    statement   (context 1, target 1)            (context 1, target 2), and the same with 1 and 2 exchanged
"""

import gzip
import itertools
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from trivium.core import seeds
from trivium.data import splits

log = logging.getLogger(__name__)

Form = Literal["full", "one_prefix", "two_prefix"]
Alike = Literal["refuse", "skip"]
Said = tuple[str, str]
"""A context, which may be empty, and what follows it after a space."""
Trial = tuple[Said, Said]

TEST, VALIDATION = 20, 10
"""Items of our own for each paradigm."""


@dataclass(frozen=True)
class Item:
    """Trials of one item, with its paradigm, the phenomenon that this shows, and the set it is from."""

    id: str
    trials: tuple[Trial, ...]
    paradigm: str
    phenomenon: str
    suite: str

    @property
    def words(self) -> set[str]:
        """Every word of it, in small letters."""
        texts = (text for trial in self.trials for said in trial for text in said)
        return {word for text in texts for word in words(text)}


def words(text: str) -> list[str]:
    """The words of a text, in small letters; an apostrophe within one belongs to it."""
    return re.findall(r"\w+(?:['’]\w+)*", text.lower())


@dataclass(frozen=True)
class Template:
    """A sentence with blanks in braces, good and bad.

    ``prefix`` and ``bad_prefix`` stand before the word that decides; one of the two pairs is alike.
    """

    prefix: str
    bad_prefix: str
    word: str
    bad_word: str
    end: str = "."

    @property
    def form(self) -> Form:
        if not self.word:
            return "full"
        return "one_prefix" if self.prefix == self.bad_prefix else "two_prefix"


def _one(prefix: str, word: str, bad: str, end: str = ".") -> Template:
    return Template(prefix, prefix, word, bad, end)


def _two(prefix: str, bad: str, word: str, end: str = ".") -> Template:
    return Template(prefix, bad, word, word, end)


def _full(good: str, bad: str) -> Template:
    return Template(good, bad, "", "", "")


def _both(text: str) -> list[tuple[str, str]]:
    """Nouns in the singular and the plural."""
    return [(word, f"{word}s") for word in text.split()]


WORDS = {
    "she": "Anna Mary Lucy Helen Julia Emma Sarah Clara",
    "he": "Tom Peter Paul David James Henry Oliver Jack",
    "like": "new clean dirty heavy cheap beautiful broken wooden",
    "place": "garden kitchen house village park street",
    "felt": "tired late happy quiet busy alone",
    "sleeps": "slept smiled arrived coughed waited vanished",
    "does": "found bought lost painted cleaned sold",
    "gets": "found bought lost wanted",
    "knows": "knows remembers forgot explained",
    "calls": "call meet thank visit blame",
    "turn": "before after",
    "goes": "leaving greeting seeing answering",
    "drink": "soup tea milk water coffee cocoa",
    "flat": "box crate tray stool cushion suitcase",
    "food": "bread cake rice cheese soup fruit",
}
VERBS = (
    "eat/ate/eaten/the soup, write/wrote/written/the letter, break/broke/broken/the cup, drink/drank/drunk/the milk, "
    "steal/stole/stolen/the key, wear/wore/worn/the coat, sing/sang/sung/the song, tear/tore/torn/the page, "
    "choose/chose/chosen/the gift, drive/drove/driven/the truck, forget/forgot/forgotten/the name, "
    "take/took/taken/the coin"
)
MORE = "taller/shorter, older/younger, faster/slower, richer/poorer, stronger/weaker, louder/quieter"
SLOTS: Mapping[str, Sequence[Any]] = {
    "thing": _both("book cup key letter chair lamp hat coat bottle basket clock ticket"),
    "other": _both("table window plate drawer bag mirror stone spoon door candle"),
    "person": _both("student girl teacher doctor farmer sailor singer lawyer guest neighbour"),
    "kin": _both("brother sister friend cousin uncle nurse pilot driver"),
    "verb": [entry.split("/") for entry in VERBS.split(", ")],
    "more": [entry.split("/") for entry in MORE.split(", ")],
    **{slot: text.split() for slot, text in WORDS.items()},
}
"""What may stand in each blank: a word, or the forms that a template picks from by number."""

GRAMMAR: Mapping[str, tuple[str, Sequence[Template]]] = {
    "agreement": (
        "subject-verb agreement",
        (_one("The {thing[0]}", "is", "are", " {like}."), _one("The {thing[1]}", "are", "is", " {like}.")),
    ),
    "agreement_over_a_phrase": (
        "subject-verb agreement",
        (
            _one("The {thing[0]} near the {other[1]}", "was", "were", " {like}."),
            _one("The {thing[1]} near the {other[0]}", "were", "was", " {like}."),
        ),
    ),
    "agreement_over_a_clause": (
        "subject-verb agreement",
        (
            _one("The {person[0]} that the {kin[1]} like", "was", "were", " {felt}."),
            _one("The {person[1]} that the {kin[0]} likes", "were", "was", " {felt}."),
        ),
    ),
    "determiner": (
        "determiner-noun agreement",
        (
            _one("{she} {does} this", "{thing[0]}", "{thing[1]}", " yesterday."),
            _one("{he} {does} these", "{thing[1]}", "{thing[0]}", " yesterday."),
        ),
    ),
    "determiner_with_adjective": (
        "determiner-noun agreement",
        (
            _one("{she} {does} that {like}", "{thing[0]}", "{thing[1]}"),
            _one("{he} {does} those {like}", "{thing[1]}", "{thing[0]}"),
        ),
    ),
    "reflexive_gender": (
        "reflexives",
        (
            _one("{she} saw", "herself", "himself", " near the {other[0]}."),
            _one("{he} saw", "himself", "herself", " near the {other[0]}."),
        ),
    ),
    "reflexive_number": (
        "reflexives",
        (
            _one("The {person[1]} hurt", "themselves", "himself", " in the {place}."),
            _one("The {person[1]} hurt", "themselves", "herself", " in the {place}."),
        ),
    ),
    "participle": (
        "verb forms",
        (
            _one("{she} has", "{verb[2]}", "{verb[1]}", " {verb[3]}."),
            _one("{he} has", "{verb[2]}", "{verb[1]}", " {verb[3]}."),
        ),
    ),
    "modal": (
        "verb forms",
        (
            _one("{she} will", "{verb[0]}", "{verb[1]}", " {verb[3]}."),
            _one("{he} can", "{verb[0]}", "{verb[1]}", " {verb[3]}."),
        ),
    ),
    "pronoun_case": (
        "pronouns",
        (
            _one("{she} gave the {thing[0]} to", "him", "he", " yesterday."),
            _one("{he} gave the {thing[0]} to", "her", "she", " yesterday."),
        ),
    ),
    "no_ever": (
        "negative polarity",
        (
            _two("No {person[0]} has", "The {person[0]} has", "ever", " been in the {place}."),
            _two("No {kin[0]} has", "This {kin[0]} has", "ever", " been {felt}."),
        ),
    ),
    "not_any": (
        "negative polarity",
        (
            _two("{she} has not {does}", "{she} has also {does}", "any", " {thing[1]}."),
            _two("{he} has not {does}", "{he} has also {does}", "any", " {thing[1]}."),
        ),
    ),
    "there_is": (
        "quantifiers",
        (
            _one("There was", "a", "every", " {thing[0]} in the {place}."),
            _one("There were", "some", "most", " {thing[1]} in the {place}."),
        ),
    ),
    "transitive": (
        "argument structure",
        (
            _two("The {person[0]} {does}", "The {person[0]} {sleeps}", "the", " {thing[0]}."),
            _two("{she} {does}", "{she} {sleeps}", "a", " {thing[0]}."),
        ),
    ),
    "gap": (
        "filler and gap",
        (
            _full("{she} {knows} what the {person[0]} {gets}.", "{she} {knows} that the {person[0]} {gets}."),
            _full("{he} {knows} what {she} {gets}.", "{he} {knows} that {she} {gets}."),
        ),
    ),
    "no_gap": (
        "filler and gap",
        (
            _full(
                "{she} {knows} that the {person[0]} {gets} the {thing[0]}.",
                "{she} {knows} what the {person[0]} {gets} the {thing[0]}.",
            ),
        ),
    ),
    "island": (
        "islands",
        (
            _full("Who did {he} {calls} {turn} {goes} {she}?", "Who did {he} {calls} {she} {turn} {goes}?"),
            _full("Who should {she} {calls} {turn} {goes} {he}?", "Who should {she} {calls} {he} {turn} {goes}?"),
        ),
    ),
    "question": (
        "questions",
        (
            _full("Is the {person[0]} who was {felt} here?", "Was the {person[0]} who {felt} is here?"),
            _full("Has the {kin[0]} who is {felt} called?", "Is the {kin[0]} who {felt} has called?"),
        ),
    ),
}

WORLD: Mapping[str, tuple[str, str, str, str]] = {
    "possession": (
        "{she} gave the {thing[0]} to {he}.",
        "{he} gave the {thing[0]} to {she}.",
        "Now {he} has the {thing[0]}.",
        "Now {she} has the {thing[0]}.",
    ),
    "space": (
        "The {thing[0]} is on top of the {flat}.",
        "The {flat} is on top of the {thing[0]}.",
        "The {flat} is under the {thing[0]}.",
        "The {thing[0]} is under the {flat}.",
    ),
    "comparison": (
        "{she} is {more[0]} than {he}.",
        "{he} is {more[0]} than {she}.",
        "{he} is {more[1]} than {she}.",
        "{she} is {more[1]} than {he}.",
    ),
    "time": (
        "The {person[0]} came to the {place} before the {kin[0]}.",
        "The {kin[0]} came to the {place} before the {person[0]}.",
        "The {kin[0]} came later than the {person[0]}.",
        "The {person[0]} came later than the {kin[0]}.",
    ),
    "temperature": (
        "{she} kept the {drink} on the stove for an hour.",
        "{she} kept the {drink} in the freezer for an hour.",
        "Now it is too hot to drink.",
        "Now it is too cold to drink.",
    ),
    "quantity": (
        "{he} ate all of the {food}.",
        "{he} ate none of the {food}.",
        "Nothing of the {food} is left.",
        "All of the {food} is left.",
    ),
}
"""Two contexts, and the statements that follow from the first and from the second."""


@cache
def made(split: str, form: Form = "full") -> tuple[Item, ...]:
    """Pairs of our own and, in full form, statements of our own: of each paradigm 20 in "test", 10 in "validation"."""
    splits.check(split)
    if form not in get_args(Form):
        raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {form!r}")
    found: list[Item] = []
    for paradigm, (phenomenon, templates) in GRAMMAR.items():
        filled = _filled(paradigm, [(t.prefix, t.bad_prefix, t.word, t.bad_word, t.end) for t in templates])
        for number, texts in enumerate(_part(filled, split)):
            trial = _trial(Template(*texts), form)
            if trial is not None:
                found.append(Item(f"{paradigm}-{split}-{number:02d}", (trial,), paradigm, phenomenon, "grammar"))
    for domain, texts in WORLD.items() if form == "full" else ():
        for number, (first, second, one, other) in enumerate(_part(_filled(domain, [texts]), split)):
            found.append(
                Item(f"{domain}-{split}-{number:02d}", _statements(first, second, one, other), domain, domain, "world")
            )
    return tuple(found)


def _part(filled: Sequence[Any], split: str) -> Sequence[Any]:
    return filled[:TEST] if split == "test" else filled[TEST:]


def _filled(name: str, templates: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Texts with words in their blanks, templates in turn and no two alike."""
    generator = seeds.numpy_generator(0, "minimal pairs", name)
    found: dict[tuple[str, ...], None] = {}
    for template in itertools.islice(itertools.cycle(templates), 100 * (TEST + VALIDATION)):
        drawn = {slot: values[int(generator.integers(len(values)))] for slot, values in SLOTS.items()}
        found[tuple(text.format(**drawn) for text in template)] = None
        if len(found) == TEST + VALIDATION:
            return list(found)
    raise ValueError(f"the templates of {name!r} make only {len(found)} different items")


def _trial(pair: Template, form: Form) -> Trial | None:
    """The pair in a form; None where it has no such form."""
    if form == "full":
        good = " ".join(filter(None, (pair.prefix, pair.word))) + pair.end
        bad = " ".join(filter(None, (pair.bad_prefix, pair.bad_word))) + pair.end
        return ("", good), ("", bad)
    return ((pair.prefix, pair.word), (pair.bad_prefix, pair.bad_word)) if pair.form == form else None


def _statements(first: str, second: str, one: str, other: str) -> tuple[Trial, Trial]:
    return ((first, one), (first, other)), ((second, other), (second, one))


class _AlikeError(Exception):
    """There is nothing to choose between."""


# Files ----------------------------------------------------------------------------------------------------------------


def read(path: str | Path, form: Form = "full", alike: Alike = "refuse") -> tuple[Item, ...]:
    """Items of a file of JSON lines, plain or gzip, or of all such files of a folder.

    A folder within the folder is a set of its own, such as BLiMP, its supplement and EWoK; a file is a paradigm, unless
    its lines say otherwise. Files whose first line is no pair are passed over and named in the log. Raises ValueError
    with the number of a line that is malformed or, unless these are skipped, whose two sentences are alike, and where
    nothing has the form.
    """
    for name, value, allowed in (("form", form, Form), ("alike", alike, Alike)):
        if value not in get_args(allowed):
            raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}; got {value!r}")
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there; give a file of pairs or a folder of such files")
    within = sorted(each for each in path.rglob("*") if each.name.endswith((".jsonl", ".jsonl.gz")))
    files = within if path.is_dir() else [path]
    found: list[Item] = []
    for file in files:
        suite = file.relative_to(path).parts[0] if path.is_dir() and file.parent != path else path.name.split(".")[0]
        found += _items(file, form, suite, alike, alone=not path.is_dir())
    if not found:
        raise ValueError(f"{path} holds no item in the form {form!r}; 'full' suits every pair")
    return tuple(found)


def _lines(file: Path) -> Iterator[tuple[int, Any]]:
    try:
        data = gzip.decompress(file.read_bytes()) if file.name.endswith(".gz") else file.read_bytes()
        text = data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read; its name must end in .gz where it is gzip: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise ValueError(f"{file}, line {number} is no JSON: {error}") from None


def _items(file: Path, form: Form, suite: str, alike: Alike, *, alone: bool) -> list[Item]:
    stem = file.name.split(".")[0]
    found: list[Item] = []
    for number, row in _lines(file):
        try:
            if not ({"sentence_good", "Target1"} & row.keys()):
                if not alone and not found and number == 1:
                    log.warning("%s holds no pairs of sentences and is passed over", file)
                    return []
                raise KeyError("sentence_good or Target1")
            trials, paradigm, phenomenon = _row(row, form, stem)
        except _AlikeError as error:
            if alike == "refuse":
                raise ValueError(f"{file}, line {number}: {error}; set alike to 'skip' to leave it out") from None
            log.warning("%s, line %d is left out: %s", file, number, error)
            continue
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file}, line {number} is no minimal pair: {error!r}") from None
        if trials:
            found.append(Item(f"{suite}/{stem}-{number:05d}", trials, paradigm, phenomenon, suite))
    return found


def _row(row: Mapping[str, Any], form: Form, stem: str) -> tuple[tuple[Trial, ...], str, str]:
    """Trials (none where the line has no such form), paradigm and phenomenon."""
    if "Target1" in row:
        texts = [str(row[name]) for name in ("Context1", "Context2", "Target1", "Target2")]
        domain = str(row.get("Domain", stem))
        if texts[2] == texts[3] or texts[0] == texts[1]:
            raise _AlikeError(f"both contexts or both targets are alike: {texts}")
        return _statements(*texts) if form == "full" else (), domain, domain
    good, bad = str(row["sentence_good"]), str(row["sentence_bad"])
    if good == bad:
        raise _AlikeError(f"both sentences are {good!r}")
    paradigm = str(row.get("UID", stem))
    phenomenon = str(row.get("linguistics_term", paradigm))
    if form == "full":
        return ((("", good), ("", bad)),), paradigm, phenomenon
    if not row.get(f"{form}_method", False):
        return (), paradigm, phenomenon
    if form == "one_prefix":
        prefix = row["one_prefix_prefix"]
        trial = (prefix, row["one_prefix_word_good"]), (prefix, row["one_prefix_word_bad"])
    else:
        word = row["two_prefix_word"]
        trial = (row["two_prefix_prefix_good"], word), (row["two_prefix_prefix_bad"], word)
    return (trial,), paradigm, phenomenon


def known(items: Iterable[Item], vocabulary: set[str]) -> tuple[Item, ...]:
    """Those all of whose words are in the vocabulary, as BabyLM keeps pairs that its training text can have taught.

    Raises ValueError where none is left.
    """
    kept = tuple(item for item in items if item.words <= vocabulary)
    if not kept:
        raise ValueError(f"no item is made of these {len(vocabulary)} words alone; give a larger text")
    return kept
