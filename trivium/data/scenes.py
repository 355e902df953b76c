"""Short scenes with a question about each, and beginnings to go on from: texts of our own about people with names."""

from functools import cache

import torch

from trivium.core import seeds
from trivium.data import splits
from trivium.data.choices import Choice

PEOPLE = ("Jack", "Peter", "Adam", "Paul", "Todd", "Greg", "Emily", "Claire", "Anne", "Sarah", "Molly", "Heather")
"""The first half are men."""
THINGS = ("keys", "ticket", "phone", "book", "hat", "camera", "letter", "bag", "ball", "map", "lamp", "coat")
PLACES = ("kitchen", "garden", "car", "library", "attic", "office", "cellar", "garage", "bedroom", "train")
TEMPLATES = (
    ("found", "{A} did not know where {his} {thing} was. {He} looked in the {other}, but it is not there, because {he} "
     "had left it in the {place}.", "Where had {A} left {his} {thing}?"),
    ("brought", "{A} brought the big {thing} from the {other} to the {place}, and {he} was happy with it.",
     "To which place did {A} bring the {thing}?"),
    ("waited", "{A} was going to meet a friend in the {other}. {He} was tired, and so {he} waited in the {place} with "
     "the {thing}.", "Where did {A} wait?"),
    ("hid", "There is a small {thing} in the {place}. {A} hid it there {himself}, and told them it was in the {other}.",
     "Where is the {thing}?"),
    ("lost", "{A} walked quickly from the {other} to the street. {He} lost {his} {thing} in the {place} before that.",
     "Where did {A} lose {his} {thing}?"),
    ("keeps", "This is what {A} said: the {thing} is not in the {other}, it is in the {place}. {He} does not lie.",
     "Where is the {thing}, as {A} says?"),
)  # fmt: skip
EACH, APART, OPTIONS = 10, 3, 4
"""Scenes of a template, how many of these are kept apart for validation, and options of a question."""
PROFESSIONS = (
    "doctor", "nurse", "teacher", "engineer", "lawyer", "secretary", "scientist", "cook", "farmer", "artist", "pilot",
    "manager", "driver", "writer", "soldier", "librarian",
)  # fmt: skip
BEGINNINGS = ("The {} came home late, and", "Everybody knew the {}, because", "When the {} heard the news,")


@cache
def made(split: str) -> tuple[Choice, ...]:
    """Where is it? 42 scenes in "test", 18 others in "validation"; the answer is one of four places."""
    _checked(split)
    generator = seeds.generator(0, "scenes")

    def pick(of: tuple[str, ...], count: int = 1) -> list[str]:
        return [of[at] for at in torch.randperm(len(of), generator=generator)[:count].tolist()]

    found = []
    for number in range(EACH):  # templates in turns, so that the first few scenes are of all of them
        for name, scene, question in TEMPLATES:
            (person,), (thing,), places = pick(PEOPLE), pick(THINGS), pick(PLACES, OPTIONS)
            male = PEOPLE.index(person) < len(PEOPLE) // 2
            he, his, himself = ("he", "his", "himself") if male else ("she", "her", "herself")
            words = {"A": person, "thing": thing, "place": places[0], "other": places[1], "he": he, "He": he.title(),
                     "his": his, "himself": himself}  # fmt: skip
            answer = (number + len(name)) % OPTIONS
            options = [f"the {place}" for place in places[1:]]
            options.insert(answer, f"the {places[0]}")
            if (number < APART) == (split == "validation"):
                text = f"{scene.format(**words)}\nQuestion: {question.format(**words)}\nAnswer:"
                found.append(Choice(f"{name}-{number}", text, tuple(options), answer, name))
    return tuple(found)


@cache
def beginnings(split: str) -> tuple[tuple[str, str, str], ...]:
    """(name, profession, text) of sentences about people at work, to be gone on with: 48 in "test", none elsewhere."""
    _checked(split)
    if split != "test":
        return ()
    return tuple(
        (f"{who}-{number}", who, text.format(who)) for who in PROFESSIONS for number, text in enumerate(BEGINNINGS)
    )


def _checked(split: str) -> None:
    splits.check(split)
