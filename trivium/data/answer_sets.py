"""Questions of which several options may be right: what a protocol that leaves options out is made from.

Our own have two right options and four others, from the same tables as ``data.choices``. A question with one right
option, such as those of CommonsenseQA, is a set of one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from trivium.core import seeds
from trivium.data import splits
from trivium.data.choices import KINDS, Choice

EACH, APART = 6, 2
"""Questions for each kind, and how many of these are kept apart for validation."""
RIGHT, WRONG = 2, 4


@dataclass(frozen=True)
class Answers:
    """A question, its options, and the places of those that are right. ``group``: questions that are not independent.

    Raises ValueError for fewer than two options, one without text or given twice, and a place that is none of them.
    """

    id: str
    question: str
    options: tuple[str, ...]
    right: frozenset[int]
    group: str = ""

    def __post_init__(self) -> None:
        if len(self.options) < 2 or not all(option.strip() for option in self.options):
            raise ValueError(f"question {self.id!r} needs at least two options with text, got {list(self.options)}")
        twice = [option for at, option in enumerate(self.options) if option in self.options[:at]]
        if twice:
            raise ValueError(f"question {self.id!r} has the option {twice[0]!r} twice; leave the question out")
        if not all(0 <= place < len(self.options) for place in self.right):
            raise ValueError(f"right options of {self.id!r} are {sorted(self.right)} of {len(self.options)}")

    @property
    def wrong(self) -> tuple[int, ...]:
        """The places of the others."""
        return tuple(place for place in range(len(self.options)) if place not in self.right)

    def keep(self, places: Iterable[int], *, none_right: bool = False) -> "Answers":
        """With these options alone, in the order in which they stood.

        Raises ValueError where none of them is right, unless that is meant.
        """
        kept = sorted(set(places))
        right = frozenset(at for at, place in enumerate(kept) if place in self.right)
        if not right and not none_right:
            raise ValueError(f"no option is right among those kept of {self.id!r}: {[self.options[p] for p in kept]}")
        return replace(self, options=tuple(self.options[place] for place in kept), right=right)


def of(choices: Sequence[Choice]) -> tuple[Answers, ...]:
    """Questions with one right option each. An option that is given twice is one, and right where one of the two is."""
    found = []
    for one in choices:
        options = tuple(dict.fromkeys(one.options))
        right = frozenset({options.index(one.options[one.answer])})
        found.append(Answers(one.id, one.question, options, right, one.group))
    return tuple(found)


@cache
def made(split: str) -> tuple[Answers, ...]:
    """Which of six words is an animal, a colour ...: 40 questions in "test", 20 others in "validation"."""
    splits.check(split)
    generator = seeds.numpy_generator(0, "answer sets")
    found = []
    for kind, words in KINDS.items():
        own, others = words.split(), [other for other in KINDS if other != kind]
        for number in range(EACH):
            right = generator.choice(own, RIGHT, replace=False).tolist()
            wrong = [
                str(generator.choice(KINDS[other].split())) for other in generator.choice(others, WRONG, replace=False)
            ]
            order = generator.permutation(RIGHT + WRONG).tolist()
            options = tuple((right + wrong)[place] for place in order)
            if (number < APART) == (split == "validation"):
                name = f"{kind.split(' ', 1)[1].replace(' ', '-')}-{number}"
                places = frozenset(at for at, place in enumerate(order) if place < RIGHT)
                found.append(Answers(name, f"Which of these is {kind}?", options, places, kind))
    return tuple(found)
