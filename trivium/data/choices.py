"""Questions with options to choose among: some made from tables of our own, others read from a file."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from trivium.core import seeds
from trivium.data import splits


@dataclass(frozen=True)
class Choice:
    """A question, its options, and which of them is right. ``group``: questions that are not independent.

    An option may occur twice. Raises ValueError for fewer than two, an empty one, or an answer that is none of them.
    """

    id: str
    question: str
    options: tuple[str, ...]
    answer: int
    group: str = ""

    def __post_init__(self) -> None:
        if len(self.options) < 2 or not all(option.strip() for option in self.options):
            raise ValueError(f"question {self.id!r} needs at least two options with text, got {list(self.options)}")
        if not 0 <= self.answer < len(self.options):
            raise ValueError(f"the answer of {self.id!r} is option {self.answer} of {len(self.options)}")


KINDS = {
    "an animal": "horse dog cat cow goat rabbit tiger mouse sheep fox",
    "a colour": "red blue green yellow purple orange pink brown grey violet",
    "a fruit": "apple banana pear cherry grape peach lemon plum mango melon",
    "a country": "France Japan Brazil Canada Egypt India Norway Mexico Kenya Spain",
    "a tool": "hammer saw drill wrench chisel screwdriver pliers axe shovel rake",
    "a musical instrument": "piano violin guitar flute drum trumpet harp cello clarinet organ",
    "a piece of furniture": "table chair bed sofa desk shelf cupboard stool bench wardrobe",
    "a vehicle": "car bus train bicycle truck tram boat plane van motorcycle",
    "a part of the body": "hand foot nose ear knee elbow shoulder finger neck back",
    "a month": "January February March April June July August September October November",
}
OPTIONS, EACH, APART = 5, 6, 2
"""Options per question, questions per kind, and how many of these are kept apart for validation."""


@cache
def made(split: str) -> tuple[Choice, ...]:
    """Which of five words is an animal, a colour ...: 40 questions in "test", 20 others in "validation"."""
    splits.check(split)
    generator = seeds.generator(0, "choices")

    def some(count: int, of: list[str]) -> list[str]:
        return [of[place] for place in torch.randperm(len(of), generator=generator)[:count].tolist()]

    found = []
    for place, (kind, words) in enumerate(KINDS.items()):
        for number, right in enumerate(some(EACH, words.split())):
            others = [some(1, KINDS[other].split())[0] for other in some(OPTIONS - 1, [k for k in KINDS if k != kind])]
            answer = (place + number) % OPTIONS
            options = (*others[:answer], right, *others[answer:])
            if (number < APART) == (split == "validation"):
                name = kind.split(" ", 1)[1].replace(" ", "-")
                found.append(Choice(f"{name}-{number}", f"Which of these is {kind}?", options, answer, kind))
    return tuple(found)


def read(path: str | Path) -> tuple[Choice, ...]:
    """Questions in the form of CommonsenseQA: JSON lines with id, question, choices.text, choices.label, answerKey.

    Raises ValueError with the number of a line that is not of this form.
    """
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            labels, texts = list(entry["choices"]["label"]), [str(text).strip() for text in entry["choices"]["text"]]
            found.append(Choice(str(entry["id"]), entry["question"], tuple(texts), labels.index(entry["answerKey"])))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number} is no multiple-choice question: {error}") from None
    if not found:
        raise ValueError(f"{path} holds no question")
    return tuple(found)
