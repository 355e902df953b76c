"""Prompts on which circuits of heads have been found, each beside one of as many tokens that asks for nothing.

    ioi             When Mary and John went to the store, John gave a drink to        the name that is not said again
    greater_than    The war lasted from the year 1732 to the year 17                  a later year
    docstring       a function of four arguments, two of which are described          the third argument

A pair has a positive prompt, whose answer follows from it, and a negative one, from which it does not: a third name, a
start year after which every answer lies, arguments that are not those described. The tasks are those of Wang et al.
2022 (arXiv:2211.00593), Hanna et al. 2023 (arXiv:2305.00586) and Heimersheim and Janiak 2023; the texts are our own.
Words are chosen by their number of tokens under the tokenizer at hand, one each as a rule, so that the prompts of a
template have their tokens at the same places.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter

import torch

from trivium.core.protocols import Tokenizer

Span = tuple[int, int]
"""Characters from the first up to, but not including, the second."""

NAMES = (
    "Mary", "John", "James", "Robert", "Michael", "William", "David", "Richard", "Joseph", "Thomas", "Charles",
    "Daniel", "Matthew", "Anthony", "Mark", "Paul", "Steven", "Andrew", "Kevin", "Brian", "George", "Edward", "Jason",
    "Ryan", "Jacob", "Nicholas", "Eric", "Stephen", "Jonathan", "Scott", "Justin", "Samuel", "Frank", "Gregory",
    "Patrick", "Jack", "Peter", "Henry", "Adam", "Arthur", "Albert", "Simon", "Lucas", "Jennifer", "Linda", "Elizabeth",
    "Barbara", "Susan", "Jessica", "Sarah", "Karen", "Lisa", "Nancy", "Sandra", "Margaret", "Ashley", "Emily",
    "Michelle", "Amanda", "Melissa", "Rebecca", "Laura", "Helen", "Sharon", "Amy", "Angela", "Anna", "Emma", "Ruth",
    "Nicole", "Samantha", "Katherine", "Christine", "Rachel", "Maria", "Julie", "Victoria", "Julia", "Alice", "Jane",
    "Martha", "Claire", "Kate", "Diana",
)  # fmt: skip
PLACES = ("store", "garden", "restaurant", "school", "hospital", "office", "house", "station", "park", "museum")
THINGS = ("drink", "book", "letter", "ring", "basketball", "computer", "kiss", "bone", "snack", "necklace")
MEETINGS = (
    "When {first} and {second} went to the {place}, {again} gave a {thing} to",
    "After {first} and {second} had been at the {place} for an hour, {again} gave a {thing} to",
    "Then {first} and {second} had lunch at the {place}, and later {again} gave a {thing} to",
    "While {first} and {second} were working at the {place}, {again} gave a {thing} to",
    "Friends since school, {first} and {second} met at the {place} again, where {again} handed a {thing} to",
)
EVENTS = (
    "war", "siege", "expedition", "reign", "journey", "trial", "campaign", "dispute", "construction", "drought",
    "famine", "project", "conflict", "voyage", "study", "strike", "operation", "marriage", "negotiation", "rebellion",
)  # fmt: skip
CENTURIES = tuple(str(century) for century in range(11, 20))
ARGUMENTS = (
    "name", "path", "size", "count", "color", "text", "file", "user", "node", "table", "state", "order", "image",
    "level", "label", "group", "price", "date", "city", "code", "model", "page", "line", "key", "row", "port", "host",
    "tree", "word", "rate", "mode", "title", "range", "force", "point", "shape", "field", "parent", "target",
)  # fmt: skip
FUNCTIONS = ("load", "find", "build", "update", "check", "create", "send", "write", "read", "move")
PLAIN = (
    "water", "garden", "music", "winter", "paper", "river", "mountain", "street", "window", "bread", "summer",
    "animal", "doctor", "kitchen", "market", "forest", "island", "bridge", "story", "engine",
)  # fmt: skip
DRAWS = 100
"""Times that a new pair is looked for among those drawn already before there are said to be too few."""


@dataclass(frozen=True)
class Contrast:
    """A prompt and its negative, of as many tokens. ``answers`` are what may come next, with the space before them if
    there is one, and ``wrong`` what may not, though it seems to fit. ``spans`` and ``negative_spans`` name places in
    the texts, in characters without the space before; ``group``: the template, or whatever else makes pairs alike."""

    text: str
    negative: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    spans: Mapping[str, Span] = field(default_factory=dict)
    negative_spans: Mapping[str, Span] = field(default_factory=dict)
    group: str = ""

    @property
    def answer(self) -> str:
        """The first of the answers; of the indirect object there is only one."""
        return self.answers[0]


def ioi(tokenizer: Tokenizer, count: int, generator: torch.Generator, *, tokens: int = 1) -> list[Contrast]:
    """Indirect objects. Spans: "indirect" and "subject", where the two are first named, "again", where one of them (in
    the negative a third) is named again, and "end", the last word. Half of the pairs begin with the indirect object.

    ``tokens``: how many a name has. Raises ValueError where the tokenizer has too few such names.
    """
    people = _of_size(tokenizer, NAMES, tokens, "names", 3)
    places, things = _alike(tokenizer, PLACES), _alike(tokenizer, THINGS)

    def draw(number: int) -> Contrast:
        template = MEETINGS[_index(len(MEETINGS), generator)]
        subject, indirect, third = _some(people, 3, generator)
        first, second = (indirect, subject) if number % 2 == 0 else (subject, indirect)
        (place,), (thing,) = _some(places, 1, generator), _some(things, 1, generator)
        texts, spans = [], []
        for again in (subject, third):
            words = {"first": first, "second": second, "again": again, "place": place, "thing": thing}
            text, found = _filled(template, words)
            both = {"indirect": found["first"], "subject": found["second"]}
            if first == subject:
                both = {"indirect": found["second"], "subject": found["first"]}
            texts.append(text)
            spans.append(both | {"again": found["again"], "end": found["end"]})
        group = f"{MEETINGS.index(template)} {'ABB' if first == indirect else 'BAB'}"
        return _contrast(texts, (f" {indirect}",), (f" {subject}",), spans, group)

    return _drawn(tokenizer, count, draw)


def greater_than(tokenizer: Tokenizer, count: int, generator: torch.Generator, *, tokens: int = 1) -> list[Contrast]:
    """Later years. Spans: "event", "start", the last two digits of the first year, and "end", the century said again.
    The negative begins in the year 01, after which every answer lies.

    Answers and wrong ones are what can follow in one token: years of two digits, or the digit of the decade where
    the tokenizer spells numbers digit by digit (the same decade is neither). ``tokens``: how many the event has.
    Raises ValueError where a tokenizer parts years in another way.
    """
    events = _of_size(tokenizer, EVENTS, tokens, "events", 1)
    template = "The {event} lasted from the year {century}{start} to the year {end}"
    years = _years(tokenizer)

    def draw(number: int) -> Contrast | None:
        (event,), (century,) = _some(events, 1, generator), _some(CENTURIES, 1, generator)
        decade = 1 + _index(8, generator)  # not the last one, after which no decade comes
        start = f"{decade}{_index(10, generator)}"
        if not (_parted(tokenizer, century, start) and _parted(tokenizer, century, "01")):
            return None
        texts, spans = [], []
        for begun in (start, "01"):
            text, found = _filled(template, {"event": event, "century": century, "start": begun, "end": century})
            texts.append(text)
            spans.append({name: found[name] for name in ("event", "start", "end")})
        here = start[: len(years[0])]
        later, earlier = (tuple(y for y in years if y > here), tuple(y for y in years if y < here))
        return _contrast(texts, later, earlier, spans, event)

    return _drawn(tokenizer, count, draw)


def docstring(tokenizer: Tokenizer, count: int, generator: torch.Generator, *, tokens: int = 1) -> list[Contrast]:
    """The next argument to describe. Spans: "argument", the answer where the function is defined (in the negative
    another word), "previous", the argument before it there, "described", that one in the description, and "end".

    ``tokens``: how many a word has. Raises ValueError where the tokenizer has too few such words.
    """
    arguments = _of_size(tokenizer, ARGUMENTS, tokens, "arguments", 8)
    plain = _of_size(tokenizer, PLAIN, tokens, "words", 6)
    functions = _alike(tokenizer, FUNCTIONS)
    template = (
        "def {name}(self, {one}, {two}, {three}, {four}):\n"
        '    """The {a} {b}\n\n'
        "    :param {said_one}: {c} {d}\n"
        "    :param {said_two}: {e} {f}\n"
        "    :{end}"
    )

    def draw(number: int) -> Contrast:
        *said, three, four = _some(arguments, 4, generator)
        others = _some([word for word in arguments if word not in (*said, three, four)], 4, generator)
        words = dict(zip("abcdef", _some(plain, 6, generator), strict=True))
        words |= {"name": _some(functions, 1, generator)[0], "said_one": said[0], "said_two": said[1], "end": "param"}
        texts, spans = [], []
        for defined in ((*said, three, four), others):
            text, found = _filled(template, words | dict(zip(("one", "two", "three", "four"), defined, strict=True)))
            texts.append(text)
            named = {"argument": "three", "previous": "two", "described": "said_two", "end": "end"}
            spans.append({name: found[slot] for name, slot in named.items()})
        wrong = tuple(f" {word}" for word in (*said, four))
        return _contrast(texts, (f" {three}",), wrong, spans, words["name"])

    return _drawn(tokenizer, count, draw)


TASKS: Mapping[str, Callable[..., list[Contrast]]] = {
    "ioi": ioi,
    "greater_than": greater_than,
    "docstring": docstring,
}


def _contrast(
    texts: Sequence[str],
    answers: tuple[str, ...],
    wrong: tuple[str, ...],
    spans: Sequence[Mapping[str, Span]],
    group: str,
) -> Contrast:
    """Of the positive text and the negative one, each with its spans."""
    return Contrast(texts[0], texts[1], answers, wrong, spans[0], spans[1], group)


def _drawn(tokenizer: Tokenizer, count: int, draw: Callable[[int], Contrast | None]) -> list[Contrast]:
    """So many different pairs, of which each has two prompts of as many tokens."""
    if count < 1:
        raise ValueError(f"give at least one pair to draw, got {count}")
    made: dict[str, Contrast] = {}
    tries = 0
    while len(made) < count:
        one = draw(len(made))
        if one is None or one.text in made or len(tokenizer.encode(one.text)) != len(tokenizer.encode(one.negative)):
            tries += 1
        else:
            tries, made[one.text] = 0, one
        if tries > DRAWS:
            raise ValueError(
                f"{count} different pairs of as many tokens were asked for, and under this tokenizer there seem to be "
                f"no more than {len(made)}"
            )
    return list(made.values())


def _of_size(tokenizer: Tokenizer, words: Sequence[str], tokens: int, what: str, least: int) -> list[str]:
    """The words that add so many tokens to a text."""
    if tokens < 1:
        raise ValueError(f"a word has at least one token, got tokens={tokens}")
    start = len(tokenizer.encode("and"))
    sizes = [len(tokenizer.encode(f"and {word}")) - start for word in words]
    found = [word for word, size in zip(words, sizes, strict=True) if size == tokens]
    if len(found) < least:
        usual = max(set(sizes), key=sizes.count)
        raise ValueError(
            f"of the {what} the tokenizer spells {len(found)} with {tokens} tokens, and {least} are needed; most have "
            f"{usual}: set tokens={usual}"
        )
    return found


def _alike(tokenizer: Tokenizer, words: Sequence[str]) -> list[str]:
    """Those of the words that have as many tokens as most have."""
    sizes = [len(tokenizer.encode(f"and {word}")) for word in words]
    return [word for word, size in zip(words, sizes, strict=True) if size == max(set(sizes), key=sizes.count)]


def _years(tokenizer: Tokenizer) -> tuple[str, ...]:
    """What a century may go on with in one token: years of two digits, or digits where these come one by one."""
    century, whole = tokenizer.encode("year 17"), tokenizer.encode("year 1732")
    rest = len(whole) - len(century)
    if whole[: len(century)] != century or rest not in (1, 2):
        raise ValueError(
            "the tokenizer joins a century with what comes behind it, so that no token says which year is later; this "
            "task needs one that parts '1732' after '17', or after every digit"
        )
    if rest == 2:
        return tuple("0123456789")
    return tuple(f"{year:02d}" for year in range(100) if _parted(tokenizer, "17", f"{year:02d}"))


def _parted(tokenizer: Tokenizer, century: str, rest: str) -> bool:
    """Whether the tokens of a year begin with those of its century."""
    begun = tokenizer.encode(f"year {century}")
    return tokenizer.encode(f"year {century}{rest}")[: len(begun)] == begun


def _filled(template: str, words: Mapping[str, str]) -> tuple[str, dict[str, Span]]:
    """The text, and where each slot lies in it; "end" is the last word where no slot is called so."""
    text, spans = "", {}
    for literal, slot, *_ in Formatter().parse(template):
        text += literal
        if slot:
            spans[slot] = (len(text), len(text) + len(words[slot]))
            text += words[slot]
    spans.setdefault("end", (text.rfind(" ") + 1, len(text)))
    return text, spans


def _index(size: int, generator: torch.Generator) -> int:
    return int(torch.randint(size, (1,), generator=generator))


def _some(of: Sequence, count: int, generator: torch.Generator) -> list:
    """So many different ones."""
    return [of[at] for at in torch.randperm(len(of), generator=generator)[:count].tolist()]
