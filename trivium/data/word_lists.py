"""Lists of nouns that are told twice: what a model of short-term memory is asked to read.

    Anna wrote a list of words on a card: A, B, C. Then ... When she came back, she read the list again: A, B, C.

The second list is the first one ("repeat"), the same nouns in another order ("permuted"), or others ("novel"). Lists of
the sort "arbitrary" take one noun of each of many categories, those of the sort "category" all nouns of one. No two
lists of a sort share a noun, and each is in turn the first, the repeated and the novel one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch

from trivium.core import seeds
from trivium.data import splits

Sort = Literal["arbitrary", "category"]
Condition = Literal["repeat", "permuted", "novel"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)

CATEGORIES = {
    "animals": "horse rabbit eagle spider salmon beetle monkey turtle pigeon badger camel lizard",
    "food": "butter cheese pepper honey onion bread carrot mustard noodle sausage waffle raisin",
    "tools": "hammer shovel chisel needle ladder pliers wrench bucket rake anvil drill lantern",
    "clothes": "jacket glove sweater apron sandal collar scarf helmet trousers mitten cloak button",
    "buildings": "castle church factory cottage prison stable hotel temple tower barn museum palace",
    "vehicles": "bicycle wagon tractor canoe ferry rocket sledge tram submarine scooter glider truck",
    "body": "shoulder finger stomach elbow tongue ankle forehead muscle throat kidney thumb wrist",
    "weather": "thunder fog breeze blizzard drizzle rainbow frost hail sunshine storm mist cloud",
    "feelings": "anger sorrow pride envy courage boredom mercy relief shame delight terror patience",
    "people": "baker sailor lawyer farmer painter soldier doctor tailor shepherd pilot butcher poet",
    "instruments": "violin trumpet drum flute guitar cello organ harp piano banjo clarinet whistle",
    "materials": "copper marble cotton rubber timber glass leather silver plastic clay velvet gravel",
}
APART = 2
"""Lists that are kept for validation, where there are more of them."""

OPENING = "Anna wrote a list of words on a card:"
FILLER = (
    "Then she put the card away and went for a short walk in the park.",
    "It was a mild afternoon and the paths were almost empty.",
    "Near the pond a man was feeding the ducks, and two children watched him without a word.",
    "She sat down on a bench and thought about the letter that she had to write in the evening.",
    "After a while the wind grew colder, so she bought a cup of tea at the corner and drank it slowly.",
    "On her way home she met a neighbour, who told her at length about his plans for the summer.",
    "She listened kindly, but her mind was on other things.",
    "The street lights were coming on as she opened the door and hung up her coat.",
    "In the kitchen she warmed up what was left of the soup and ate it standing at the window.",
    "Across the yard somebody was practising the same four bars of a waltz over and over.",
    "She washed her bowl, fed the cat, and looked in vain for her reading glasses.",
    "They turned up at last under the newspaper, where she had left them in the morning.",
    "There was a message from her sister, who wanted to know when they would meet again.",
    "She answered that any day next week would do, and that she would bring a cake.",
    "For half an hour she tidied the shelves in the hall, which nobody had touched since spring.",
    "Most of what she found there could be thrown away, but an old photograph made her smile.",
    "It showed the house by the lake in which the family used to spend the holidays.",
    "She wondered who lived there now and whether the boat was still tied to the same tree.",
    "The clock in the hall struck nine, and she remembered what she had meant to do all day.",
    "So she sat down, moved the lamp a little closer, and took a deep breath.",
)
RECALL = "When she was back at her desk, she read the list again:"


@dataclass(frozen=True)
class Telling:
    """A text with two lists; ``first`` and ``second`` are where their nouns stand in it, in characters."""

    text: str
    first: tuple[tuple[int, int], ...]
    second: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Vignette:
    """One list, and the lists that may follow it. ``id`` names it, ``group`` the list it is made of."""

    id: str
    nouns: tuple[str, ...]
    permuted: tuple[str, ...]
    novel: tuple[str, ...]
    group: str

    def told(self, condition: Condition, between: int) -> Telling:
        """The text whose second list is of this condition, with at least so many words between the two."""
        if condition not in CONDITIONS:
            raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}; got {condition!r}")
        text, first = _listed(OPENING, self.nouns)
        again = self.nouns if condition == "repeat" else getattr(self, condition)
        whole, second = _listed(" ".join(filter(None, (text, filler(between), RECALL))), again)
        return Telling(whole, first, second)


def _listed(text: str, nouns: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text with a list behind it, and where its nouns stand."""
    places = []
    for at, noun in enumerate(nouns):
        text += " " if at == 0 else ", "
        places.append((len(text), len(text) + len(noun)))
        text += noun
    return text + ".", tuple(places)


def filler(words: int) -> str:
    """Whole sentences of at least so many words, the same ones always."""
    sentences, count = [], 0
    for sentence in FILLER:
        if count >= words:
            break
        sentences.append(sentence)
        count += len(sentence.split())
    if count < words:
        raise ValueError(f"between must be at most {count} words, the story that there is; got {words}")
    return " ".join(sentences)


@cache
def made(sort: Sort, length: int) -> tuple[tuple[str, ...], ...]:
    """As many lists of our own nouns as there are, each of so many nouns."""
    if sort not in get_args(Sort):
        raise ValueError(f"sort must be one of {', '.join(get_args(Sort))}; got {sort!r}")
    table = [words.split() for words in CATEGORIES.values()]
    if not 2 <= length <= len(table):
        raise ValueError(f"length must be 2 to {len(table)} nouns, got {length}")
    if sort == "category":
        return tuple(tuple(words[:length]) for words in table)
    generator = seeds.generator(0, "lists")
    columns = [[words[at] for at in torch.randperm(len(words), generator=generator).tolist()] for words in table]
    orders = [torch.randperm(len(table), generator=generator).tolist() for _ in table]
    return tuple(tuple(columns[at][row] for at in order[:length]) for row, order in enumerate(orders))


def read(path: str | Path, length: int) -> tuple[tuple[str, ...], ...]:
    """Lists of one's own: one a line, nouns between commas, of which the first so many are taken.

    Raises ValueError with the number of a line that has fewer, or a noun of which a line before it has made use.
    """
    if length < 2:
        raise ValueError(f"length must be at least 2 nouns, got {length}")
    found: list[tuple[str, ...]] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        nouns = tuple(noun.strip() for noun in line.split(","))[:length]
        if len(nouns) < length or not all(nouns):
            raise ValueError(f"{path}, line {number} has no {length} nouns between commas: {line[:60]!r}")
        for noun in nouns:
            if noun in seen:
                raise ValueError(
                    f"{path}, line {number}: {noun!r} stands in line {seen[noun]} already; lists share none"
                )
            seen[noun] = number
        found.append(nouns)
    if len(found) < 2:
        raise ValueError(f"{path} holds {len(found)} lists; give at least 2, so that one can be novel to another")
    return tuple(found)


def vignettes(lists: Sequence[tuple[str, ...]], count: int, split: str = "test") -> list[Vignette]:
    """So many vignettes: each list in turn with the next one as its novel list; then all again, moved on by one noun.

    The last two lists are kept for validation where two others are left.
    """
    splits.check(split)
    apart = APART if len(lists) >= 2 + APART else 0
    names = list(range(len(lists) - apart)) if split == "test" else list(range(len(lists) - apart, len(lists)))
    if not names:
        return []
    most = len(names) * len(lists[0])
    if not 1 <= count <= most:
        raise ValueError(f"these {len(names)} lists of {len(lists[0])} nouns make 1 to {most} vignettes, got {count}")
    found = []
    for number in range(count):
        turn, at = divmod(number, len(names))
        own, other = lists[names[at]], lists[names[(at + 1) % len(names)]]
        nouns = own[turn:] + own[:turn]
        order = _elsewhere(len(nouns), number)
        found.append(
            Vignette(
                f"{split}-{names[at]:02d}-{turn}",
                nouns,
                tuple(nouns[place] for place in order),
                other[turn:] + other[:turn],
                f"list {names[at]}",
            )
        )
    return found


def _elsewhere(length: int, number: int) -> list[int]:
    """An order in which nothing keeps its place."""
    generator = seeds.generator(0, "permuted", length, number)
    while True:
        order = torch.randperm(length, generator=generator).tolist()
        if all(at != place for at, place in enumerate(order)):
            return order
