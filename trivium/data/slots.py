"""Utterances with slots: tokens of which some spans have a label, such as the artist and the track of a request.

An utterance keeps, beside the tokens as they stand, what each slot's value was before anything was done to it, so that
noise can change a value without changing what is asked for.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trivium.data import splits

_MARKED = re.compile(r"\[(\w+) ([^\]]+)\]")
_LATIN = {0xDC00 + byte: chr(byte) for byte in range(0x80, 0x100)}
"""What stands for a byte that is no UTF-8 -> its letter in Latin-1."""


@dataclass(frozen=True)
class Slot:
    """Tokens ``start`` to ``stop`` (which is not among them) of an utterance, and what they are.

    ``gold_surface``: the value as it stands, ``gold_clean``: as it was meant; ``number``: its place among the slots of
    the utterance as it was, by which it is known after others have been dropped.
    """

    start: int
    stop: int
    label: str
    gold_surface: str
    gold_clean: str
    number: int


@dataclass(frozen=True)
class Utterance:
    """Tokens and slots. ``group``: utterances of one sort, such as an intent; ``applied``: the noises, in their order.

    Raises ValueError, naming the utterance, for slots that overlap, lie outside or are not what their tokens say.
    """

    id: str
    tokens: tuple[str, ...]
    slots: tuple[Slot, ...] = ()
    group: str = ""
    applied: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tokens or not all(token and not token.isspace() for token in self.tokens):
            raise ValueError(f"utterance {self.id!r} needs tokens with text in them, got {list(self.tokens)}")
        end = 0
        for slot in self.slots:
            if not 0 <= slot.start < slot.stop <= len(self.tokens):
                raise ValueError(
                    f"utterance {self.id!r}: slot {slot.label!r} is tokens {slot.start} to {slot.stop} of "
                    f"{len(self.tokens)}"
                )
            if slot.start < end:
                raise ValueError(
                    f"utterance {self.id!r}: slot {slot.label!r} begins at token {slot.start}, within the one before "
                    "it or out of order; slots must not overlap"
                )
            if " ".join(self.tokens[slot.start : slot.stop]) != slot.gold_surface:
                raise ValueError(
                    f"utterance {self.id!r}: slot {slot.label!r} is said to be {slot.gold_surface!r}, but its tokens "
                    f"are {' '.join(self.tokens[slot.start : slot.stop])!r}"
                )
            end = slot.stop

    @property
    def text(self) -> str:
        return " ".join(self.tokens)

    @property
    def spans(self) -> list[tuple[int, int, str]]:
        return [(slot.start, slot.stop, slot.label) for slot in self.slots]


def joined(id: str, pieces: Iterable[tuple[str, str]], group: str = "") -> Utterance:
    """An utterance from its pieces in order, each a text and its label, "" for none."""
    tokens: list[str] = []
    slots: list[Slot] = []
    for text, label in pieces:
        words = text.split()
        if label and not words:
            raise ValueError(f"utterance {id!r}: the slot {label!r} holds no text; leave it out")
        if label:
            value = " ".join(words)
            slots.append(Slot(len(tokens), len(tokens) + len(words), label, value, value, len(slots)))
        tokens += words
    return Utterance(id, tuple(tokens), tuple(slots), group)


def marked(id: str, text: str, group: str = "") -> Utterance:
    """An utterance from a text such as "play [track Blue Lantern] by [artist The Quiet Foxes]"."""
    pieces, end = [], 0
    for found in _MARKED.finditer(text):
        pieces += [(text[end : found.start()], ""), (found[2], found[1])]
        end = found.end()
    return joined(id, [*pieces, (text[end:], "")], group)


# Labels per token -----------------------------------------------------------------------------------------------------


def to_bio(utterance: Utterance) -> list[str]:
    """One label per token: B- where a slot begins, I- where it goes on, O elsewhere."""
    labels = ["O"] * len(utterance.tokens)
    for start, stop, label in utterance.spans:
        labels[start:stop] = [f"B-{label}", *[f"I-{label}"] * (stop - start - 1)]
    return labels


def from_bio(id: str, tokens: Sequence[str], labels: Sequence[str], group: str = "") -> Utterance:
    """Raises ValueError, naming the utterance, for another number of labels than of tokens, for a label that is none of
    B-, I- and O, and for an I- that no B- or I- of its label stands before."""
    if len(tokens) != len(labels):
        raise ValueError(f"utterance {id!r} has {len(tokens)} tokens and {len(labels)} labels; each needs one")
    found: list[tuple[int, int, str]] = []
    for at, label in enumerate(labels):
        sort, _, name = label.partition("-")
        if label != "O" and (sort not in ("B", "I") or not name):
            raise ValueError(f"utterance {id!r}: token {at} has the label {label!r}; there are B-..., I-... and O")
        if sort == "B":
            found.append((at, at + 1, name))
        elif sort == "I":
            if not found or found[-1][1:] != (at, name):
                raise ValueError(
                    f"utterance {id!r}: token {at} is {label}, but no B-{name} begins it; make it B-{name}"
                )
            found[-1] = (found[-1][0], at + 1, name)
    values = [" ".join(tokens[start:stop]) for start, stop, _ in found]
    slots = tuple(Slot(*span, value, value, n) for n, (span, value) in enumerate(zip(found, values, strict=True)))
    return Utterance(id, tuple(tokens), slots, group)


# How right found spans are --------------------------------------------------------------------------------------------

Span = tuple[int, int, str]


def hits(gold: Iterable[Span], found: Iterable[Span]) -> int:
    """Spans found that are right in both ends and in their label (the rule of CoNLL)."""
    return sum((Counter(gold) & Counter(found)).values())


def micro_f1(pairs: Iterable[tuple[Sequence[Span], Sequence[Span]]]) -> float:
    """2 right / (gold + found), over all pairs of gold and found spans; 0 where there are neither."""
    right = total = 0
    for gold, found in pairs:
        right += hits(gold, found)
        total += len(gold) + len(found)
    return 2 * right / total if total else 0.0


def located(utterance: Utterance, said: Sequence[tuple[str, str]]) -> list[Span]:
    """Where values that were said, as (label, value), stand in an utterance, whatever the case of letters: where a slot
    of that label has that value, else at the first place that no earlier one took. A value that stands nowhere is a
    span of no tokens, which can only be wrong."""
    tokens = [token.casefold() for token in utterance.tokens]
    taken: set[tuple[int, int]] = set()
    spans: list[Span] = []
    for number, (label, value) in enumerate(said):
        words = value.casefold().split()
        places = [(at, at + len(words)) for at in range(len(tokens) - len(words) + 1)]
        found = [place for place in places if words and tokens[slice(*place)] == words and place not in taken]
        meant = [place for place in found if (*place, label) in utterance.spans]
        start, stop = (meant or found or [(-1 - number, -1)])[0]
        taken.add((start, stop))
        spans.append((start, stop, label))
    return spans


# From files -----------------------------------------------------------------------------------------------------------


def read(path: str | Path, split: str) -> tuple[Utterance, ...]:
    """The utterances of a folder in the form of SNIPS, those of its intents in turn: validate_*.json for the split
    "test", train_*.json for "validation". A file of that form is cut in two: its last third is for "validation".

    Bytes that are no UTF-8 are read as Latin-1, for one file of that set mixes the two. Raises ValueError for what is
    of another form.
    """
    splits.check(split)
    path = Path(path)
    if path.is_file():
        found = _file(path)
        cut = -(-2 * len(found) // 3)
        return tuple(found[:cut] if split == "test" else found[cut:])
    pattern = {"test": "validate_*.json", "validation": "train_*.json"}[split]
    files = [_file(one) for one in sorted(path.glob(pattern))]
    if not files:
        raise ValueError(f"{path} is no file, and no folder with {pattern} in it")
    return tuple(file[n] for n in range(max(map(len, files))) for file in files if n < len(file))


def _file(path: Path) -> list[Utterance]:
    text = path.read_bytes().decode("utf-8", "surrogateescape").translate(_LATIN)
    try:
        ((intent, rows),) = json.loads(text).items()
        return [_row(f"{intent}-{path.stem.split('_')[0]}-{n:04d}", row, intent) for n, row in enumerate(rows)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not in the form of SNIPS, one intent with its utterances: {error}") from None


def _row(id: str, row: Mapping[str, Sequence[Mapping[str, str]]], intent: str) -> Utterance:
    return joined(id, [(piece["text"], piece.get("entity", "")) for piece in row["data"]], intent)


# Of our own -----------------------------------------------------------------------------------------------------------

OWN: Mapping[str, str] = {
    "music": """
        play [track Blue Lantern] by [artist The Quiet Foxes]
        please put on the album [album Winter Harbour] on [service Tunebox]
        i want to hear [artist Marla Finch] on [service Radio Orchard]
        could you play some [genre folk] songs from [year nineteen ninety two]
        play the [sort newest] song by [artist Oskar Lind]
        start the track [track Seven Paper Boats] from the album [album Small Hours]
        play [genre jazz] from the year [year 1964] on [service Songhive]
        find the album [album Letters to the Sea] by [artist Ada Brook]
        put on the [sort most popular] tune by [artist Copper Moon]
        i would like to listen to [track Rain on the Roof] on [service Tunebox]
        can you play the [sort latest] [genre reggae] songs please
        play [album Lines and Circles] by [artist The Night Ferry] on [service Songhive]
    """,
    "weather": """
        what is the weather in [city Bergen] [time tomorrow morning]
        will it [condition rain] in [country Portugal] [time this weekend]
        is it going to be [condition snowing] near [city Aldworth] at [time nine in the evening]
        tell me the forecast for [city Little Marlow] in [country England]
        how [condition windy] is it in [city Quito] [time right now]
        i want to know whether it is [condition foggy] in [city Turin] because i have to drive
        show me the weather for [country Iceland] on [time the fourth of may]
        will there be a [condition storm] close to [city Santa Rosa] [time tonight]
        please tell me if it is [condition warmer] in [city Malaga] [time next week]
        what will it be like in [city Halden] which lies in [country Norway] [time on friday]
        is there any chance of [condition hail] in [country Kenya] [time at noon]
        find out how [condition cold] it gets in [city Davos] [time in january]
    """,
    "table": """
        book a table for [people four] at [place The Green Kettle] in [city Dover]
        i want to eat [food thai noodles] [time tonight] with my sister
        please reserve a place for [people two people] at [time half past seven]
        find me a [sort cheap] restaurant in [city Ghent] that serves [food oysters]
        could you book [place Casa Lupa] for [people six] on [time sunday evening]
        we need a table for [people nine] at a [sort quiet] bistro in [city Lyon]
        i would like to have [food pumpkin soup] at [place Old Mill House] [time next tuesday]
        make a reservation for [people my parents and me] in [city Cork] at [time noon]
        book a [sort rooftop] bar in [city Athens] for [people twelve] because it is my birthday
        is there a [sort family] restaurant near [place Baker Square] where they cook [food dumplings]
        get a table at [place The Blue Heron] in [city Leith] for [time eight o'clock]
        find a [sort vegan] place in [city Utrecht] with [food mushroom pie] for [people three]
    """,
    "list": """
        add [item two pints of milk] to my [list shopping] list
        remind me to [task call the dentist] [time tomorrow at ten]
        put [item a jar of honey] on the [list breakfast] list please
        tell [person my brother] to [task water the roses] [time on monday]
        can you add [item candles] to the list called [list birthday party]
        i want to be told to [task pay the rent] [time on the first of june]
        remind [person Clara] that she has to [task feed the rabbits] [time tonight]
        take [item the old batteries] off my [list hardware] list
        send the [list holiday] list to [person aunt Vera] [time this afternoon]
        please write [item garden gloves] on [person Henrik] 's [list tool] list
        let [person the neighbours] know to [task close the gate] [time after lunch]
        add [item six lemons] and [item brown sugar] to the [list baking] list
    """,
}
"""Intent -> utterances, of which the last third is for validation."""


@cache
def made(split: str) -> tuple[Utterance, ...]:
    """Requests of our own for music, the weather, a table and a list: 32 in "test", 16 others in "validation"."""
    splits.check(split)
    intents = {
        intent: [marked(f"{intent}-{n:02d}", line.strip(), intent) for n, line in enumerate(text.strip().splitlines())]
        for intent, text in OWN.items()
    }
    cut = {intent: rows[:8] if split == "test" else rows[8:] for intent, rows in intents.items()}
    return tuple(rows[n] for n in range(max(map(len, cut.values()))) for rows in cut.values())
