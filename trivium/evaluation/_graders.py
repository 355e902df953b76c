"""Graders: what gives a story its grades by a rubric.

A grader is called with stories and gives each a ``Graded``. It sees a beginning and what was written behind it, never
who wrote it. A grade that is missing or out of range is invalid and named as such, never guessed.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from trivium.models.scoring import Request, score
from trivium.models.writing import Prompt, write

MARK = "***"
"""Between a story's beginning and what was written."""


@dataclass(frozen=True)
class Story:
    """A beginning, and what was written behind it."""

    beginning: str
    completion: str


@dataclass(frozen=True)
class Criterion:
    """What is graded, and the answers that there are, from the least to the most, with what each is worth."""

    name: str
    question: str
    answers: tuple[str, ...] = tuple(map(str, range(11)))
    values: tuple[float, ...] = tuple(map(float, range(11)))

    def __post_init__(self) -> None:
        if len(self.answers) != len(self.values) or len(set(self.answers)) < max(len(self.answers), 2):
            raise ValueError(
                f"{self.name} needs at least two different answers with a value each, got {self.answers}, {self.values}"
            )


@dataclass(frozen=True)
class Rubric:
    """Criteria of different names."""

    criteria: tuple[Criterion, ...]

    def __post_init__(self) -> None:
        names = [one.name for one in self.criteria]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a rubric needs criteria of different names, got {names}")


RUBRIC = Rubric(
    (
        Criterion("grammar", "Is the grammar correct? 0: no sentence can be understood. 10: there is no mistake."),
        Criterion("creativity", "Is it creative? 0: it only repeats what was there. 10: it surprises and makes sense."),
        Criterion(
            "consistency",
            "Does it fit the beginning? 0: it is about something else. 10: all people and things stay what they were.",
        ),
        Criterion(
            "age",
            "How old may the writer be? A: 3 or less. B: 4-5. C: 6-7. D: 8-9. E: 10-12. F: 13-16.",
            tuple("ABCDEF"),
            (1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
        ),
    )
)
"""That of TinyStories, in words of our own."""


@dataclass(frozen=True)
class Graded:
    """The grades of a story by criterion, the criteria that have none, and how probability lay over the answers."""

    scores: Mapping[str, float]
    invalid: tuple[str, ...] = ()
    shares: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    text: str = ""
    """What the grader wrote, if it writes."""


class Grader(Protocol):
    """stories -> grades, in their order."""

    def __call__(self, stories: Sequence[Story]) -> list[Graded]: ...


def told(story: Story) -> str:
    """The story as a grader reads it. What was written cannot set a mark of its own."""
    return (
        f"A student was given the beginning of a story and wrote what stands behind the mark {MARK}. Grade only that "
        f"part.\n\n{story.beginning.rstrip()} {MARK} {story.completion.strip().replace(MARK, '* * *')}\n"
    )


@dataclass(frozen=True)
class LikelihoodGrader:
    """The mean answer that a model expects: sum over answers of value times probability, which is shared out among the
    answers alone. Each is scored with the line's end, since "1" begins "10"."""

    system: Any
    rubric: Rubric = RUBRIC
    batch_size: int = 16

    def __call__(self, stories: Sequence[Story]) -> list[Graded]:
        filled = [one for one in stories if one.completion.strip()]
        requests = [
            Request(f"{told(one)}\n{criterion.question}\n{criterion.name.capitalize()}:", f" {answer}\n")
            for one in filled
            for criterion in self.rubric.criteria
            for answer in criterion.answers
        ]
        sums = iter([found.total for found in score(self.system, requests, batch_size=self.batch_size)])
        graded = []
        for one in stories:
            if not one.completion.strip():
                graded.append(Graded({}, tuple(criterion.name for criterion in self.rubric.criteria)))
                continue
            shares = {each.name: _shares([next(sums) for _ in each.answers]) for each in self.rubric.criteria}
            scores = {
                each.name: sum(value * share for value, share in zip(each.values, shares[each.name], strict=True))
                for each in self.rubric.criteria
            }
            graded.append(Graded(scores, shares=shares))
        return graded


def _shares(sums: Sequence[float]) -> tuple[float, ...]:
    peak = max(sums)
    weights = [math.exp(x - peak) for x in sums]
    return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True)
class WritingGrader:
    """A model writes a short assessment and then its grades, one a line, which are read strictly."""

    system: Any
    rubric: Rubric = RUBRIC
    limit: int = 128
    batch_size: int = 8

    def __call__(self, stories: Sequence[Story]) -> list[Graded]:
        prompts = [Prompt(self.prompt(one), until=("\n\n",), limit=self.limit) for one in stories]
        filled = [at for at, one in enumerate(stories) if one.completion.strip()]
        texts = dict(
            zip(filled, write(self.system, [prompts[at] for at in filled], batch_size=self.batch_size), strict=True)
        )
        return [read_grades(texts[at].text if at in texts else "", self.rubric) for at in range(len(stories))]

    def prompt(self, story: Story) -> str:
        names = [f"{each.name.capitalize()}: one of {', '.join(each.answers)}" for each in self.rubric.criteria]
        questions = "\n".join(each.question for each in self.rubric.criteria)
        lines = "\n".join(names)
        return (
            f"{told(story)}\n{questions}\nWrite one sentence about the part behind the mark, then these lines:\n{lines}"
            "\n\nAssessment:"
        )


def read_grades(text: str, rubric: Rubric = RUBRIC) -> Graded:
    """The grades of a text: of each criterion exactly one line "Name: answer", with an answer that there is. Everything
    else is invalid: no such line, several, another answer, or more on the line."""
    scores, invalid = {}, []
    for each in rubric.criteria:
        found = re.findall(
            rf"^[ \t]*{re.escape(each.name)}[ \t]*:[ \t]*(.*?)[ \t]*$", text, re.IGNORECASE | re.MULTILINE
        )
        if len(found) == 1 and found[0] in each.answers:
            scores[each.name] = each.values[each.answers.index(found[0])]
        else:
            invalid.append(each.name)
    return Graded(scores, tuple(invalid), text=text)


# Proxies --------------------------------------------------------------------------------------------------------------

DETERMINERS = frozenset(["a", "an", "the", "his", "her", "their", "my", "our", "your", "its", "this", "that"])
ADJECTIVES = frozenset(
    [
        "little",
        "big",
        "small",
        "old",
        "young",
        "new",
        "red",
        "blue",
        "green",
        "yellow",
        "brown",
        "dark",
        "tall",
        "large",
    ]
)
OPENERS = frozenset(
    [
        "once",
        "one",
        "every",
        "there",
        "then",
        "when",
        "she",
        "he",
        "it",
        "they",
        "but",
        "and",
        "so",
        "on",
        "in",
        "at",
        "i",
        "what",
        "nobody",
    ]
)


def words(text: str) -> list[str]:
    """Words as they stand; marks are left out."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)?", text)


def entities(text: str) -> set[str]:
    """Names, and what a determiner stands before, in small letters: a guess by rules, not a parse."""
    found: set[str] = set()
    said = words(text)
    for at, word in enumerate(said):
        if word[0].isupper() and word.lower() not in OPENERS | DETERMINERS:
            found.add(word.lower())
        if word.lower() in DETERMINERS:
            rest = [after.lower() for after in said[at + 1 : at + 4]]
            found |= set([after for after in rest if after not in ADJECTIVES | DETERMINERS][:1])
    return found


def carried(story: Story) -> float | None:
    """The share of the beginning's entities that what was written names again; None where it has none."""
    given = entities(story.beginning)
    again = {word.lower() for word in words(story.completion)}
    return len(given & again) / len(given) if given else None


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Words of the longest run that stands in both."""
    best, before = 0, [0] * (len(second) + 1)
    for one in first:
        row = [0, *(before[at] + 1 if one == other else 0 for at, other in enumerate(second))]
        best, before = max(best, *row), row
    return best


def fresh(completion: str, others: Sequence[str]) -> float | None:
    """1 - words of the longest run that a text has in common with one of the others, over its own words."""
    own = [word.lower() for word in words(completion)]
    runs = [longest_common(own, [word.lower() for word in words(other)]) for other in others]
    return 1 - max(runs, default=0) / len(own) if own else None


def overlap(completion: str, others: Sequence[str], n: int = 2) -> float | None:
    """The largest share of a text's n-grams of words that one of the others has too (the precision of ROUGE-n); None
    for a text without an n-gram, or without others."""
    own = _grams(completion, n)
    if not own or not others:
        return None
    return max(sum((own & _grams(other, n)).values()) for other in others) / sum(own.values())


@lru_cache(maxsize=4096)
def _grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    said = [word.lower() for word in words(text)]
    return Counter(zip(*(said[k:] for k in range(n)), strict=False))


def fluency(system: Any, stories: Sequence[Story], batch_size: int = 16) -> list[float | None]:
    """The mean log-probability of each text's tokens behind its beginning, in nats; None for an empty one."""
    filled = [one for one in stories if one.completion.strip()]
    requests = [Request(one.beginning.rstrip(), f" {one.completion.strip()}") for one in filled]
    found = iter(score(system, requests, batch_size=batch_size))
    means = (next(found) if one.completion.strip() else None for one in stories)
    return [None if one is None else one.total / len(one.ids) for one in means]
