"""Slot filling under noise: how far does a model fall that is to find what a request asks for, once it is misspelt?

Source
    Dong, Zhao, Hui, Guo et al. 2023, "Revisit Input Perturbation Problems for LLMs: A Unified Robustness Evaluation
    Framework for Noisy Slot Filling Task", NLPCC 2023, arXiv:2310.06504 (number from memory). Noises, texts and prompts
    are our own (``data.noise``, ``data.slots``).
Equation
    rank:   answer = argmax over labels l of LL(l | utterance, value);   accuracy = mean of 1[answer = label]
    write:  F1 = 2 right / (gold + found) over all utterances, a span being right in both ends and in its label
Shapes
    System and one value (rank) or one utterance (write) -> an Observation with one number per noise
Cost
    Per value or utterance and noise one pass over the prompt and, to rank, one over the labels; to write, what is
    written.
Caveats
    A value is scored under every noise, so noises are compared on the same items. To write is the paper's task; to rank
    labels is a smaller one that small models can do, with the value given as it stands in the noisy text; sums of
    log-probabilities favour labels of few tokens, alike under every noise. The gold value is the noisy one: a model
    that copies a misspelling is right, one that repairs it names a span that is not there. What is written tells
    values and no places: a value that stands in several counts as the slot that it may be. What is written in another
    form counts as no spans, and is counted. A value that simplification drops has no number there. The paper's noises
    are of a recogniser, of other models and of people, its test sets a few dozen sentences; ours are made by rules, and
    its figures are not comparable.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.seeds import numpy_generator
from trivium.data import noise, slots
from trivium.data.slots import Utterance
from trivium.evaluation._together import absent, together
from trivium.evaluation.multiple_choice import credit
from trivium.models.scoring import Request, score
from trivium.models.writing import Prompt, write

Answer = Literal["rank", "write"]
Demonstrations = Literal["instance", "entity", "none"]
Pool = Literal["clean", "same", "character", "word", "sentence"]


def _measure(name: str) -> str:
    return name.replace("+", "_")


@method(title="Slot filling under noise", source="arXiv:2310.06504", year=2023, needs=["causal"])
@dataclass(frozen=True)
class SlotNoise:
    """Requests with slots, clean and under single and mixed noise."""

    path: str = ""
    """A folder or file in the form of SNIPS; by default requests of our own."""
    items: int | None = 24
    """Utterances with slots, from the beginning; None takes all."""
    answer: Answer = "rank"
    """Rank the labels of a given value, or write all slots."""
    noises: Sequence[str] = noise.NAMES
    """Noises by name, several at once joined by "+"; "clean" is none."""
    rate: float = 0.3
    """Of words that are changed, where a noise changes words or characters."""
    demonstrations: Demonstrations = "instance"
    """What is shown first: whole utterances with their slots, values of each label, or nothing."""
    shots: int = 4
    """Utterances shown, or values per label."""
    pool: Pool = "clean"
    """The noise of what is shown: none, the same as the example's, or one that changes characters, words, sentences."""
    labels: int = 4
    """Labels to rank, the right one among them."""
    limit: int = 64
    """Tokens to write at most."""
    batch_size: int = 16
    """Contexts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        *(Measure(_measure(name), name.replace("_", " ").replace("+", " + ").capitalize()) for name in noise.NAMES),
        Measure("invalid", "Answers of another form", False),
    )
    weighted_by: ClassVar[dict[str, str]] = {_measure(name): f"spans_{_measure(name)}" for name in noise.NAMES}
    """So that what is written is pooled: the sum of 2 right / (gold + found), weighted by gold + found."""

    def __post_init__(self) -> None:
        for name, words in (("answer", Answer), ("demonstrations", Demonstrations), ("pool", Pool)):
            if getattr(self, name) not in get_args(words):
                raise ValueError(f"{name} must be one of {', '.join(get_args(words))}; got {getattr(self, name)!r}")
        for name, least in (("items", 1), ("shots", 1), ("labels", 2), ("limit", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0.0 <= self.rate <= 1.0:
            raise ValueError(f"rate is a probability, so 0 to 1; got {self.rate}")
        if isinstance(self.noises, str) or not self.noises or set(self.noises) - set(noise.NAMES):
            raise ValueError(f"noises must be some of {', '.join(noise.NAMES)}; got {self.noises!r}")

    # What is asked ----------------------------------------------------------------------------------------------------

    def utterances(self, split: str) -> Sequence[Utterance]:
        """Those of the split that have slots. What is shown comes from the other split."""
        found = self._read(split)
        return [one for one in found if one.slots][: self.items]

    def _read(self, split: str) -> Sequence[Utterance]:
        if split not in self._files:
            self._files[split] = slots.read(self.path, split) if self.path else slots.made(split)
        return self._files[split]

    @cached_property
    def _files(self) -> dict[str, Sequence[Utterance]]:
        return {}

    def examples(self, split: str) -> list[Example]:
        """One per value, or per utterance where all slots are written; those of one utterance are a cluster."""
        return [
            Example(
                one.id if number is None else f"{one.id}/{number}",
                one.text,
                cluster=one.id,
                fields={"split": split, "number": place, "group": one.group},
            )
            for place, (one, number) in enumerate(self._items(split))
        ]

    def _items(self, split: str) -> Iterator[tuple[Utterance, int | None]]:
        for one in self.utterances(split):
            for number in range(len(one.slots)) if self.answer == "rank" else (None,):
                yield one, number

    def noisy(self, utterance: Utterance, name: str) -> Utterance:
        """The utterance under a noise: the same whenever it is asked for."""
        if (utterance.id, name) not in self._heard:
            generator = numpy_generator(0, "noise", name, utterance.id)
            self._heard[utterance.id, name] = noise.named(name, self.rate)(utterance, generator)
        return self._heard[utterance.id, name]

    @cached_property
    def _heard(self) -> dict[tuple[str, str], Utterance]:
        return {}

    def shown(self, utterance: Utterance, split: str, name: str) -> list[Utterance]:
        """What is shown before an utterance under a noise, of its own sort where there are enough: to ``instance``,
        ``shots`` of them, else all. The same ones under every noise, but for the noise in them."""
        by_group = self._pools["validation" if split == "test" else "test"]
        alike = by_group.get(utterance.group, [])
        pool = alike if len(alike) >= self.shots else [one for some in by_group.values() for one in some]
        order = numpy_generator(0, "shots", utterance.id).permutation(len(pool))
        taken = [pool[at] for at in order[: self.shots if self.demonstrations == "instance" else 40]]
        kinds = {"clean": ("clean",), "same": (name,)}.get(self.pool) or noise.LEVELS[self.pool]
        return [self.noisy(one, kinds[at % len(kinds)]) for at, one in enumerate(taken)]

    @cached_property
    def _pools(self) -> dict[str, dict[str, list[Utterance]]]:
        """Split -> group -> its utterances with slots."""
        found: dict[str, dict[str, list[Utterance]]] = {"test": {}, "validation": {}}
        for split, groups in found.items():
            for one in self._read(split):
                if one.slots:
                    groups.setdefault(one.group, []).append(one)
        return found

    def choices(self, utterance: Utterance, number: int) -> list[str]:
        """Labels to rank, the right one first: others of its sort of utterance, then any."""
        right, every = utterance.slots[number].label, self._labels
        own = sorted(every.get(utterance.group, set()) - {right})
        rest = sorted(set().union(*every.values()) - {right, *own})
        generator = numpy_generator(0, "labels", utterance.id, number)
        mixed = [some[at] for some in (own, rest) for at in generator.permutation(len(some))]
        if len(mixed) < self.labels - 1:
            raise ValueError(f"there are only {len(mixed) + 1} labels, so {self.labels} cannot be ranked; lower labels")
        return [right, *mixed[: self.labels - 1]]

    @cached_property
    def _labels(self) -> dict[str, set[str]]:
        """Group -> its labels."""
        found: dict[str, set[str]] = {}
        for groups in self._pools.values():
            for group, some in groups.items():
                found.setdefault(group, set()).update(slot.label for one in some for slot in one.slots)
        return found

    def prompt(self, utterance: Utterance, shown: Sequence[Utterance], labels: Sequence[str]) -> str:
        """What stands before the answer, up to the utterance itself."""
        write = self.answer == "write"
        parts = []
        if write:
            told = ", ".join(_words(label) for label in labels)
            parts.append(f"Write the slots of each utterance, one a line, as in 'slot = value'. Slots: {told}")
        if self.demonstrations == "entity":
            kept = {label: [slot for one in shown for slot in one.slots if slot.label == label] for label in labels}
            lines = [
                f"{_words(label)} = {slot.gold_surface}" if write else _names(slot.gold_surface, label)
                for label, values in sorted(kept.items())
                for slot in values[: self.shots]
            ]
            parts += ["\n".join(lines)] if lines else []
        elif self.demonstrations == "instance":
            parts += ["\n".join([f"Utterance: {one.text}", *self._said(one)]) for one in shown]
        return "\n\n".join([*parts, f"Utterance: {utterance.text}\n"])

    def _said(self, one: Utterance) -> list[str]:
        if self.answer == "write":
            return [f"{_words(slot.label)} = {slot.gold_surface}" for slot in one.slots] or ["none"]
        return [_names(slot.gold_surface, slot.label) for slot in one.slots]

    # Scoring ----------------------------------------------------------------------------------------------------------

    def score(self, system: Any, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        find = self._ranked if self.answer == "rank" else self._written
        return find(system, example.fields["split"])[example.fields["number"]]

    @together
    def _ranked(self, system: Any, split: str) -> list[Observation]:
        items = [(one, number) for one, number in self._items(split) if number is not None]
        requests: list[Request] = []
        places: list[list[tuple[str, int]]] = []  # of each item, the noises under which its value is there
        for one, number in items:
            labels, mine = self.choices(one, number), []
            for name in self.noises:
                heard = self.noisy(one, name)
                slot = next((slot for slot in heard.slots if slot.number == number), None)
                if slot is not None:
                    before = self.prompt(heard, self.shown(one, split, name), labels)
                    question = before + _names(slot.gold_surface, "").rstrip()
                    mine.append((name, len(requests)))
                    requests += [Request(question, f" {_words(label)}") for label in labels]
            places.append(mine)
        sums = [found.total for found in score(system, requests, batch_size=self.batch_size)]
        observed = []
        for (one, number), mine in zip(items, places, strict=True):
            values, labels = {"invalid": 0.0}, self.choices(one, number)
            said = []
            for name, start in mine:
                numbers = sums[start : start + len(labels)]
                values[_measure(name)] = credit(numbers, 0)
                values[f"spans_{_measure(name)}"] = 1.0
                said.append(f"{name}: {labels[numbers.index(max(numbers))]}")
            right = f"; right: {labels[0]} ({one.slots[number].gold_clean})"
            why = absent(self.measures, values, "the value was dropped, or the noise not asked for")
            observed.append(Observation(values, {"text": ", ".join(said) + right, "absent": why}))
        return observed

    @together
    def _written(self, system: Any, split: str) -> list[Observation]:
        asked = self.utterances(split)
        heard = [[self.noisy(one, name) for name in self.noises] for one in asked]
        prompts = []
        for one, all_heard in zip(asked, heard, strict=True):
            labels = sorted(self._labels[one.group])
            for name, noisy in zip(self.noises, all_heard, strict=True):
                text = self.prompt(noisy, self.shown(one, split, name), labels)
                prompts.append(Prompt(text, until=("\n\n", "Utterance:"), limit=self.limit))
        texts = iter(write(system, prompts, batch_size=self.batch_size))
        observed = []
        for one, all_heard in zip(asked, heard, strict=True):
            values, said, wrong = {}, [], 0
            for name, noisy in zip(self.noises, all_heard, strict=True):
                answer = next(texts).text
                pairs = read_slots(answer, self._labels[one.group])
                wrong += pairs is None
                found = slots.located(noisy, pairs or [])
                spans = len(noisy.slots) + len(found)
                values[_measure(name)] = slots.micro_f1([(noisy.spans, found)])
                values[f"spans_{_measure(name)}"] = float(spans)
                said.append(f"{name}: {answer.strip()}")
            values["invalid"] = wrong / len(self.noises)
            why = absent(self.measures, values, "the noise was not asked for")
            observed.append(Observation(values, {"text": "\n".join(said), "absent": why}))
        return observed


def _words(label: str) -> str:
    return label.replace("_", " ")


def _names(value: str, label: str) -> str:
    return f'"{value}" is the {_words(label)}'


def read_slots(text: str, labels: set[str]) -> list[tuple[str, str]] | None:
    """The slots that a text names, as (label, value): a line "label = value" each, or the one word "none".

    None for a text of any other form: an unknown label, a line without a value, nothing at all.
    """
    known = {_words(label): label for label in labels}
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines == ["none"]:
        return []
    found = []
    for line in lines:
        label, sign, value = line.partition("=")
        if not sign or label.strip() not in known or not value.strip():
            return None
        found.append((known[label.strip()], value.strip()))
    return found or None
