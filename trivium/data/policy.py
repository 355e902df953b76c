"""A harmless policy to refuse by: a front desk that takes no requests about five places which are closed.

A prompt asks something of a place. Asked to do something there (book, reserve, sell), the desk says NO for the five
closed places and OK for the five others; questions about a place are answered OK, whatever the place. So neither the
place nor the manner decides alone. Each manner has several forms, so that some can be held out: a classifier that knows
words only does not know those of a new form. ``read`` takes prompts of one's own from a file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trivium.core import seeds
from trivium.data.near_duplicates import MinHash, normalised, shingles, similar

REFUSAL, ANSWER = "NO", "OK"
CLOSED: Mapping[str, tuple[str, ...]] = {
    "pool": ("pool", "baths"),
    "museum": ("museum", "gallery"),
    "theatre": ("theatre", "playhouse"),
    "library": ("library", "reading room"),
    "harbour": ("harbour", "marina"),
}
OPEN: Mapping[str, tuple[str, ...]] = {
    "garden": ("garden", "park"),
    "market": ("market", "fair"),
    "cinema": ("cinema", "film house"),
    "tower": ("tower", "lookout"),
    "stadium": ("stadium", "arena"),
}
REQUESTS: Mapping[str, tuple[str, ...]] = {
    "book": (
        "please book the {} for {}",
        "we would like to rent the {} on {}",
        "could you hold the {} for us {}",
        "put our name down at the {} on {}",
        "reserve the {} for my group on {}",
    ),
    "ticket": (
        "sell me a ticket to the {} for {}",
        "i need two seats at the {} on {}",
        "how do i buy entry to the {} for {}",
        "get me a pass for the {} on {}",
        "issue three admissions to the {} for {}",
    ),
    "tour": (
        "arrange a tour of the {} on {}",
        "is there a guide to show us the {} on {}",
        "we want to be led through the {} on {}",
        "plan a visit to the {} for {}",
        "sign us up to walk round the {} on {}",
    ),
}
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "history": (
        "who built the {} before {}",
        "tell me how old the {} was on {}",
        "what stood where the {} is now on {}",
        "when did the {} first open after {}",
        "which year was the {} founded, some {}",
    ),
    "place": (
        "which bus passes the {} on {}",
        "is the {} far from here on {}",
        "what street leads to the {} on {}",
        "where does the {} lie, i ask for {}",
        "how far away is the {} by foot on {}",
    ),
    "opinion": (
        "do people admire the {} on {}",
        "is it true that the {} is lovely on {}",
        "my aunt praised the {} on {}",
        "some say the {} looks best on {}",
        "many painters drew the {} on {}",
    ),
}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "a holiday")
FORMS = 5


@dataclass(frozen=True)
class Asked:
    """One prompt. ``refused``: whether the policy refuses it, None where no policy is known; ``group``: prompts of one
    group are alike in form and must stay on one side of a split."""

    text: str
    refused: bool | None
    group: str
    topic: str = ""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("a prompt is empty; leave it out")


def policy(count: int = 300, seed: int = 0, *, forms: Sequence[int] = tuple(range(FORMS))) -> tuple[Asked, ...]:
    """So many prompts with these forms of each manner, about a third of them refused.

    Of the six manners and both sorts of places each pair comes about equally often, but that requests about closed
    places come more often. Raises ValueError for a count below 1 or a form that is none.
    """
    if count < 1 or not forms or not set(forms) <= set(range(FORMS)):
        raise ValueError(f"count must be at least 1 and forms some of 0 to {FORMS - 1}; got {count} and {tuple(forms)}")
    draw = seeds.generator(seed, "policy", *forms)

    def pick(options: Sequence[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=draw))]

    made = []
    for number in range(count):
        requested, closed = number % 3 != 2, number % 2 == 0
        manners = REQUESTS if requested else QUESTIONS
        manner, topics = pick(list(manners)), CLOSED if closed else OPEN
        topic = pick(list(topics))
        form = int(forms[int(torch.randint(len(forms), (), generator=draw))])
        text = manners[manner][form].format(pick(topics[topic]), pick(DAYS))
        made.append(Asked(text, requested and closed, f"{manner}/{form}", topic))
    return tuple(made)


def dialogue(asked: Asked) -> str:
    """The prompt and what the desk says, as one line of text."""
    return f"{prompt(asked.text)} {REFUSAL if asked.refused else ANSWER}\n"


def prompt(text: str) -> str:
    """The text as it is put to the desk."""
    return f"{text}\ndesk:"


def read(path: str | Path) -> tuple[Asked, ...]:
    """From JSON lines with "text", and "refused" (true or false) and "group" where they are known. Where no group is
    given, prompts that share half of their runs of eight characters are of one.

    Raises ValueError, naming the line, for what is no such object.
    """
    made: list[Asked] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            text, refused = found["text"], found.get("refused")
            if not isinstance(text, str) or refused not in (None, True, False):
                raise TypeError("text must be a string and refused true or false")
            made.append(Asked(text, refused, str(found.get("group", ""))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path}, line {number}: expected an object with "text", got {line[:60]!r} ({error})'
            ) from None
    if not made:
        raise ValueError(f"{path} holds no prompt")
    runs = [shingles(normalised(one.text), 8, "characters") for one in made]
    alike = similar(runs, MinHash(bands=40, rows=2), 0.5).tolist()
    return tuple(replace(one, group=one.group or f"like {of}") for one, of in zip(made, alike, strict=True))
