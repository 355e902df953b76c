"""What stories are made of: a small world, and a teller who keeps track of who and what is in it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

CHILDREN = {
    "she": (
        "Anna", "Bella", "Clara", "Dina", "Ella", "Frida", "Greta", "Hanna",
        "Ida", "Lena", "Mira", "Nora", "Rosa", "Sofie", "Tilda", "Vera",
    ),
    "he": (
        "Adam", "Ben", "David", "Emil", "Felix", "Georg", "Hugo", "Jonas",
        "Karl", "Leo", "Milo", "Nils", "Oskar", "Paul", "Simon", "Theo",
    ),
}  # fmt: skip
ANIMALS = (
    "badger", "bear", "beaver", "crow", "deer", "duck", "fox", "goat", "goose", "hare",
    "hedgehog", "mole", "mouse", "otter", "owl", "pony", "squirrel", "toad",
)  # fmt: skip
TRAITS = (
    "brave", "careful", "cheerful", "clever", "curious", "friendly", "gentle",
    "lazy", "patient", "proud", "quiet", "shy", "stubborn", "wise",
)  # fmt: skip
COLOURS = ("black", "blue", "brown", "golden", "green", "grey", "orange", "red", "white", "yellow")
TREASURES = (
    "ball", "bell", "book", "button", "candle", "coat", "cup", "drum", "feather", "flute", "hat",
    "key", "kite", "lamp", "mirror", "needle", "ribbon", "ring", "scarf", "shell", "spoon", "umbrella",
)  # fmt: skip
HOMES = (
    "in a small house by the river", "in a tall house on the hill", "in an old mill", "in a hut in the forest",
    "on a farm near the sea", "above the bakery", "at the end of the village", "on an old ship",
)  # fmt: skip
PLACES = (
    "the barn", "the bridge", "the cave", "the church", "the crossroads", "the garden", "the harbour", "the lake",
    "the market", "the meadow", "the old tower", "the orchard", "the pond", "the school", "the stone circle",
    "the vineyard", "the waterfall", "the well",
)  # fmt: skip
SPOTS = (
    "behind the cupboard", "behind the door", "behind the wall", "beside the stove", "between the roots of a tree",
    "in a basket", "in a drawer", "in the hay", "in the long grass", "in the snow", "on the roof", "on the shelf",
    "on the windowsill", "under a stone", "under the bed", "under the carpet", "under the stairs", "under the table",
)  # fmt: skip
FOODS = (
    "an apple", "a bowl of porridge", "a loaf of bread", "a pancake", "a pear", "a piece of cheese", "a plum cake",
    "a potato", "some berries", "some honey", "some nuts", "some warm soup",
)  # fmt: skip
TIMES = (
    "One morning", "One evening", "One afternoon", "One winter day", "On a windy day", "On a warm day",
    "On the first day of spring", "On market day", "After the rain", "Before the sun was up",
)  # fmt: skip
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight")


@dataclass(frozen=True)
class Character:
    """Somebody in a story. ``first`` introduces, ``name`` is what they are called from then on."""

    name: str
    first: str
    subject: str
    object: str
    their: str
    trait: str

    @property
    def start(self) -> str:
        """The name at the head of a sentence."""
        return capital(self.name)

    @property
    def called(self) -> str:
        """How others address them: 'Anna', 'owl'."""
        return self.name.removeprefix("the ")


@dataclass(frozen=True)
class Thing:
    """A treasure with a colour that stays the same throughout a story."""

    noun: str
    colour: str

    @property
    def full(self) -> str:
        return f"{self.colour} {self.noun}"


class Teller:
    """Draws the parts of one story and collects its sentences in paragraphs.

    Nobody and nothing is drawn twice within a story, so that a name or a colour always means the same.
    """

    def __init__(self, generator: random.Random) -> None:
        self.random = generator
        self.used: set[str] = set()
        self.paragraphs: list[list[str]] = [[]]
        self.heard: Character | None = None

    def fresh(self, options: Sequence[str]) -> str:
        """An option that this story has not used yet."""
        choice = self.random.choice([option for option in options if option not in self.used])
        self.used.add(choice)
        return choice

    def child(self) -> Character:
        subject = self.random.choice(("she", "he"))
        name, trait = self.fresh(CHILDREN[subject]), self.fresh(TRAITS)
        kind = "girl" if subject == "she" else "boy"
        object, their = ("her", "her") if subject == "she" else ("him", "his")
        return Character(name, f"{article(trait)} {kind} called {name}", subject, object, their, trait)

    def animal(self) -> Character:
        species, trait = self.fresh(ANIMALS), self.fresh(TRAITS)
        subject = self.random.choice(("she", "he"))
        object, their = ("her", "her") if subject == "she" else ("him", "his")
        return Character(f"the {species}", f"{article(trait)} {species}", subject, object, their, trait)

    def somebody(self) -> Character:
        return self.animal() if self.random.random() < 0.5 else self.child()

    def thing(self) -> Thing:
        return Thing(self.fresh(TREASURES), self.fresh(COLOURS))

    def say(self, *variants: str) -> None:
        """Add one of the sentences to the present paragraph; it gets its capital letter."""
        self.paragraphs[-1].append(capital(self.random.choice(variants)))
        self.heard = None

    def maybe(self, *variants: str) -> None:
        """Add one of the sentences, or none, as the dice fall."""
        if self.random.random() < 0.5:
            self.say(*variants)

    def speak(self, who: Character, *variants: str) -> None:
        """Add something said, in a paragraph of its own; who speaks after another may answer."""
        words = self.random.choice(variants)
        verbs = {"?": ("asked",), "!": ("cried", "called")}.get(words[-1], ("said",))
        if self.heard not in (None, who) and words[-1] == ".":
            verbs = ("said", "answered", "replied")
        spoken = words if words[-1] in "?!" else words[:-1] + ","
        self.paragraphs += [[f'"{spoken}" {self.random.choice(verbs)} {who.name}.'], []]
        self.heard = who

    def turn(self) -> None:
        """Begin a new paragraph."""
        if self.paragraphs[-1]:
            self.paragraphs.append([])

    @property
    def text(self) -> str:
        return "\n".join(" ".join(sentences) for sentences in self.paragraphs if sentences) + "\n"


def capital(text: str) -> str:
    """The text with a capital letter at its head."""
    return text[0].upper() + text[1:]


def article(phrase: str) -> str:
    """'an owl', 'a fox'."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def listed(parts: Sequence[str]) -> str:
    """'a, b and c'"""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
