"""Items with fields and a label out of a few: some made from tables of our own, others read from files.

Two forms. ``intents``: an utterance, and what the speaker wants (SNIPS). ``answers``: a question and a proposed answer,
and whether it is the right one (SciQ). Splits: "train" to take exemplars from, "validation" to choose on, "test".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch

from trivium.core import seeds
from trivium.data.choices import KINDS

Form = Literal["intents", "answers"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Labelled:
    """Texts by the name of their field, and the label. Raises ValueError for a field without text."""

    id: str
    fields: Mapping[str, str]
    label: str

    def __post_init__(self) -> None:
        for name, text in self.fields.items():
            if not text.strip():
                raise ValueError(f"the field {name!r} of {self.id!r} is empty; leave the item out")


INTENTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "weather": (
        (
            "will it {} tomorrow",
            "is it going to {} in the evening",
            "do they say it could {} on friday",
            "tell me if it might {} at the coast",
            "how likely is it to {} this weekend",
        ),
        ("rain", "snow", "be sunny", "get cold", "be windy", "freeze", "be foggy", "storm"),
    ),
    "music": (
        (
            "play {}",
            "i want to hear {}",
            "put on {} please",
            "let us listen to {} for a while",
            "start {} from the beginning",
        ),
        (
            "some jazz",
            "an old song",
            "the new album",
            "a piano piece",
            "a waltz",
            "the band again",
            "a quiet tune",
            "rock",
        ),
    ),
    "restaurant": (
        (
            "book a table at {}",
            "we are four and want to eat at {}",
            "get me a seat for dinner in {}",
            "reserve {} for two at noon",
            "find us a place for lunch, maybe {}",
        ),
        ("a pizzeria", "the diner", "the sushi bar", "a steakhouse", "the bistro", "a cafe", "the tavern", "the grill"),
    ),
    "alarm": (
        (
            "wake me up {}",
            "set the clock to ring {}",
            "i must get up {}",
            "please ring a bell {}",
            "do not let me sleep on, call me {}",
        ),
        (
            "at six",
            "at dawn",
            "half past seven",
            "in two hours",
            "at noon",
            "before nine",
            "at a quarter to eight",
            "at ten",
        ),
    ),
}
"""Intent to the sentences that express it, and what fills them."""


@cache
def made(form: Form, split: str) -> tuple[Labelled, ...]:
    """Items of our own, no two alike, with as many of each label: of four intents 40, 60 and 60 in train, validation
    and test; of right and wrong answers 24, 36 and 36."""
    _check(form, split)
    generator = seeds.generator(0, "labelled", form)

    def shuffled(some: Sequence[tuple[dict[str, str], str]]) -> list[tuple[dict[str, str], str]]:
        return [some[place] for place in torch.randperm(len(some), generator=generator).tolist()]

    if form == "intents":
        by_label = {
            label: shuffled([({"text": says.format(what)}, label) for says in sentences for what in fillers])
            for label, (sentences, fillers) in INTENTS.items()
        }
        cuts = (0, 10, 25, 40)
    else:
        kinds, words = list(KINDS), [list(texts.split()) for texts in KINDS.values()]
        asked = [(f"Name {kind}.", word, "yes") for kind, some in zip(kinds, words, strict=True) for word in some[:5]]
        asked += [
            (f"Name {kind}.", words[(at + 3 + n) % len(kinds)][5 + n], "no")
            for at, kind in enumerate(kinds)
            for n in range(5)
        ]
        by_label = {
            label: shuffled([({"question": q, "answer": a}, is_) for q, a, is_ in asked if is_ == label])
            for label in ("yes", "no")
        }
        cuts = (0, 12, 30, 48)
    start, stop = cuts[SPLITS.index(split) :][:2]
    found = [one for each in zip(*by_label.values(), strict=True) for one in each]  # label by label in turn
    count = len(by_label)
    return tuple(
        Labelled(f"{split}-{number:03d}", fields, label)
        for number, (fields, label) in enumerate(found[start * count : stop * count])
    )


INTENT_WORDS: Mapping[str, str] = {
    "AddToPlaylist": "playlist",
    "BookRestaurant": "restaurant",
    "GetWeather": "weather",
    "PlayMusic": "music",
    "RateBook": "rating",
    "SearchCreativeWork": "search",
    "SearchScreeningEvent": "cinema",
}
"""The intents of SNIPS, and the word that is written for each."""


def snips(folder: str | Path, split: str, labels: Sequence[str] = ()) -> tuple[Labelled, ...]:
    """The utterances of a folder of SNIPS, intent by intent in turn, all of those intents whose files are there.

    The training files' first half is the split "train", their second "validation"; the validation files are "test".
    ``labels`` keeps some, in their words. Raises ValueError for a file of another shape or a label that is not there.
    """
    _check("intents", split)
    pattern = "validate_*.json" if split == "test" else "train_*_full.json"
    by_intent: dict[str, list[Labelled]] = {}
    for path in sorted(Path(folder).glob(pattern)):
        data = path.read_bytes()
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:  # one file of the set is Latin-1
            text = data.decode("latin-1")
        try:
            ((intent, entries),) = json.loads(text).items()
            said = ["".join(piece["text"] for piece in entry["data"]) for entry in entries]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no utterances in the form of SNIPS: {error!r}") from None
        told = list(dict.fromkeys(" ".join(one.split()) for one in said if one.strip()))
        half = len(told) // 2
        told = told if split == "test" else told[:half] if split == "train" else told[half:]
        word = INTENT_WORDS.get(intent, intent)
        by_intent[word] = [
            Labelled(f"{split}-{word}-{number:04d}", {"text": one}, word) for number, one in enumerate(told)
        ]
    if not by_intent:
        raise ValueError(f"{folder} holds no file {pattern}; give the folder of SNIPS' custom intents")
    missing = [label for label in labels if label not in by_intent]
    if missing:
        raise ValueError(f"{folder} has no intent {missing[0]!r}; there are {', '.join(by_intent)}")
    kept = [by_intent[label] for label in labels] if labels else list(by_intent.values())
    least = min(map(len, kept))
    return tuple(one for at in range(least) for one in (items[at] for items in kept))


def sciq(path: str | Path, split: str) -> tuple[Labelled, ...]:
    """The questions of a file of SciQ, each with one proposed answer: in turn the right one and the first distractor.

    Each question occurs once, so that items are independent. Of every four, one is of the split "train", one of
    "validation" and two of "test". Raises ValueError with the number of a line that is not of this form.
    """
    _check("answers", split)
    found: list[Labelled] = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            right, wrong, question = row["correct_answer"], row["distractor1"], row["question"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {number} is no question in the form of SciQ: {error!r}") from None
        place = (number - 1) % 8
        if SPLITS[(0, 0, 1, 1, 2, 2, 2, 2)[place]] == split:
            yes = place % 2 == 0
            fields = {"question": question, "answer": right if yes else wrong}
            found.append(Labelled(f"{split}-{number:04d}", fields, "yes" if yes else "no"))
    if not found:
        raise ValueError(f"{path} holds no question of the split {split!r}")
    return tuple(found)


def _check(form: str, split: str) -> None:
    if form not in get_args(Form):
        raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {form!r}")
    if split not in SPLITS:
        raise ValueError(f"the splits are {', '.join(map(repr, SPLITS))}; got {split!r}")
