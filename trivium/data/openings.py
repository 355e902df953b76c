"""Beginnings for a model to go on from when it writes text that another is to learn from.

Most are a user's messages, made by filling questions with subjects, and tasks with stories and with code; the rest are
first sentences of stories. They are seeded, none is among the prompts of ``trivium demo``, and no two are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from trivium.core.seeds import numpy_generator
from trivium.data.stories import story

QUESTIONS = (
    "Explain {} to a beginner.",
    "What are the three most important things to know about {}?",
    "Write a short paragraph about {}.",
    "Give me five tips that have to do with {}.",
    "What do people often get wrong about {}?",
    "How did {} change over the last hundred years?",
    "Write a friendly letter in which {} is mentioned.",
    "List advantages and disadvantages of {}.",
    "Tell me a short story that begins with {}.",
    "How would you teach a child about {}?",
)
SUBJECTS = (
    "growing tomatoes", "the phases of the moon", "learning to play the guitar", "railway timetables", "honey bees",
    "saving money", "electric cars", "a walk in the mountains", "vaccines", "the history of paper", "chess openings",
    "baking a cake", "working from home", "volcanoes", "sailing boats", "job applications", "medieval castles",
    "recycling", "house cats", "the human heart", "rainbows", "photography", "public speaking", "coffee", "glaciers",
    "a good night's rest", "fractions", "the water cycle", "bicycle repair", "world maps", "ancient Egypt",
    "the stock market", "wild birds", "computer networks", "gravity", "poetry", "first aid", "solar power",
    "healthy food", "dinosaurs",
)  # fmt: skip
CODING = (
    "Write a Python function that {}.",
    "Write a Python function that {}, and show how it is used.",
    "Write a JavaScript function that {}.",
    "Explain step by step how a program {}, and give the code.",
)
JOBS = (
    "counts the vowels in a text", "reverses a linked list", "finds the common items of two lists",
    "computes the greatest common divisor", "removes duplicates from a list", "checks whether a number is prime",
    "merges two dictionaries", "converts seconds to hours and minutes", "reads a JSON file and prints its keys",
    "computes the first n Fibonacci numbers", "finds the longest word in a sentence", "rolls two dice",
    "turns a list of names into initials", "computes the mean and the variance", "searches a sorted list by halves",
    "groups words by their first letter", "draws a triangle of stars", "replaces tabs by spaces", "transposes a matrix",
    "sorts words by length",
)  # fmt: skip
REWRITING = (
    "Repeat this text word for word.\n\n{}",
    "Write this text again in the present tense.\n\n{}",
    "Summarise this text in two sentences.\n\n{}",
    "Copy out the last sentence of this text, unchanged.\n\n{}",
    "Write this text again with other names, and change nothing else.\n\n{}",
)
LONGEST = 320
"""Characters of a story that a task holds."""


@dataclass(frozen=True)
class Opening:
    """A beginning; ``chat`` says that it is a user's message, meant for the model's chat template."""

    text: str
    chat: bool = True


def openings(count: int, seed: int = 0) -> tuple[Opening, ...]:
    """So many different beginnings; the first n are the same for every count."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    draws = numpy_generator(seed, "openings")

    def one(of: tuple[str, ...]) -> str:
        return of[int(draws.integers(len(of)))]

    def told() -> str:
        return _cut(story(seed, int(draws.integers(2**31))))

    kinds: tuple[Callable[[], Opening], ...] = (
        lambda: Opening(one(QUESTIONS).format(one(SUBJECTS))),
        lambda: Opening(one(REWRITING).format(told())),
        lambda: Opening(one(CODING).format(one(JOBS))),
        lambda: Opening(told().partition(". ")[0].rstrip(".") + ".", chat=False),
    )
    made: dict[Opening, None] = {}
    spent = 0
    for make in cycle(kinds):
        found = make()
        spent += found in made
        if spent > 100 * len(kinds) and found in made:  # a kind that has run out is made up for by stories
            found = Opening(one(REWRITING).format(told()))
        made.setdefault(found)
        if len(made) == count:
            return tuple(made)
    raise AssertionError("the kinds are gone through for ever")


def _cut(text: str) -> str:
    """The sentences that fit."""
    if len(text) <= LONGEST:
        return text
    whole, found, _ = text[:LONGEST].rpartition(". ")
    return whole + "." if found else text[:LONGEST].rpartition(" ")[0]
