"""BabyLM suite: is the grammatical sentence likelier than its neighbour, and the statement that follows than the other?

Source
    Hu et al. 2024, "Findings of the Second BabyLM Challenge", arXiv:2412.05149, its zero-shot part as in the evaluation
    pipeline of that year. Pairs: Warstadt et al. 2020, "BLiMP", arXiv:1912.00582; statements: Ivanova et al. 2024,
    "EWoK", arXiv:2405.09605. Masked models: see ``models.pseudo_likelihood``.
Equation
    right = 1[log p(good) > log p(bad)], a tie counts 1/2;   log p of a sentence behind nothing, of a word behind its
    prefix, or of a statement behind its context
    accuracy of an item = mean over its trials;   of a paradigm, a phenomenon, a set: the mean of the parts below it
Shapes
    System and one item -> an Observation with one number per measure, and its weight in the whole
Cost
    One pass over each sentence; for masked models one over each token of it, with the whole sentence.
Caveats
    Paradigms weigh the same within a set, and sets in the whole, whatever their sizes; that is what a report's figures
    are, and ``table`` has the parts. The mean over all pairs is another number where paradigms differ in size. The
    harness writes a space before a sentence that stands alone; without it small models move by several points. A pair
    whose sentences differ in length favours the shorter one: the share of pairs with as many tokens is reported, and
    the accuracy of means per token. In statements the context stays and the target changes; "all trials" is both orders
    right. The original EWoK instead compares contexts. What is filtered is what ``words`` says, once more over whatever
    the file holds. The default is our own small set, whose figures compare with no published one. The suite's third
    part, fine-tuning on (Super)GLUE, is ``evaluation/fine_tuning``. A masked model is given a token to begin with and
    none to end with.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

from trivium.core.errors import NotOffered
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import minimal_pairs, splits
from trivium.data.minimal_pairs import Alike, Form, Item, Said
from trivium.evaluation._ties import ALIKE, Ties, credit
from trivium.evaluation._together import together
from trivium.models.pseudo_likelihood import pseudo_logprobs, words_of
from trivium.models.scoring import Request, encoded, score
from trivium.models.system import System

Masked = Literal["no", "token", "word"]


@method(title="BabyLM suite", source="arXiv:2412.05149", year=2024)
@dataclass(frozen=True)
class BabyLM:
    """Minimal pairs of sentences, and statements that follow from a context or do not."""

    path: str = ""
    """A file of BLiMP's or EWoK's lines, or a folder of such files, whose folders are sets of their own; by default
    pairs and statements of our own."""
    form: Form = "full"
    """Whole sentences; or, of pairs that allow it, the word that decides behind one prefix, or a word behind two."""
    items: int | None = 20
    """Items of each paradigm, from its beginning; half as many behind them are for validation. None takes all."""
    words: str = ""
    """A text such as the one the model was trained on: items with words that are not in it are left out."""
    alike: Alike = "refuse"
    """A pair of which both sentences are the same is an error, or left out; a paradigm of BLiMP has five."""
    space: bool = True
    """Whether a sentence that stands alone has a space before it."""
    masked: Masked = "no"
    """From the left; or each token hidden in turn; or with it the rest of its word."""
    mask_id: int | None = None
    """The token that hides others; None: the last of the model's vocabulary."""
    ties: Ties = "shared"
    """A tie counts half; or goes to the good sentence, which always comes first; or is lost."""
    batch_size: int = 32
    """Sentences per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("accuracy", "Accuracy", True),
        Measure("per_token", "Accuracy, per token", True),
        Measure("all_trials", "All trials of an item right", None),
        Measure("tied", "Ties", None),
        Measure("same_length", "Trials of as many tokens", None),
    )
    weighted_by: ClassVar[dict[str, str]] = {measure.name: "weight" for measure in measures}
    """Measure -> the value by which items weigh in: such that paradigms and sets weigh the same."""

    def __post_init__(self) -> None:
        for name, allowed in (("form", Form), ("alike", Alike), ("masked", Masked), ("ties", Ties)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}; got {getattr(self, name)!r}")
        for name in ("items", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def chosen(self, split: str) -> list[Item]:
        """The items of a split, of each paradigm in turn, so that the first few are of many."""
        splits.check(split)
        everything = self._read if self.path else minimal_pairs.made(split, self.form)
        if self.words:
            everything = minimal_pairs.known(everything, self._vocabulary)
        found: dict[tuple[str, str], list[Item]] = {}
        for item in everything:
            found.setdefault((item.suite, item.paradigm), []).append(item)
        if self.path:
            chosen = [splits.part(each, self.items, split) for each in found.values()]
        else:
            count = self.items if split == "test" or self.items is None else splits.half(self.items)
            chosen = [each[:count] for each in found.values()]
        taken = itertools.zip_longest(*chosen)
        return [item for row in taken for item in row if item is not None]

    @cached_property
    def _read(self) -> tuple[Item, ...]:
        return minimal_pairs.read(self.path, self.form, self.alike)

    @cached_property
    def _vocabulary(self) -> set[str]:
        return set(minimal_pairs.words(Path(self.words).read_text(encoding="utf-8")))

    def examples(self, split: str) -> list[Example]:
        chosen = self.chosen(split)
        sizes: dict[str, dict[str, int]] = {}
        for item in chosen:
            paradigms = sizes.setdefault(item.suite, {})
            paradigms[item.paradigm] = paradigms.get(item.paradigm, 0) + 1
        return [
            Example(
                item.id,
                " / ".join(" ".join(filter(None, said)) for said in item.trials[0]),
                cluster=f"{item.suite}/{item.paradigm}",
                fields={
                    "split": split,
                    "at": at,
                    "group": item.phenomenon,
                    "place": (item.suite, item.phenomenon, item.paradigm),
                    "weight": 1 / (len(sizes) * len(sizes[item.suite]) * sizes[item.suite][item.paradigm]),
                },
            )
            for at, item in enumerate(chosen)
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        values = self._scored(system, example.fields["split"])[example.fields["at"]]
        return Observation({**values.values, "weight": example.fields["weight"]}, values.shown)

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        chosen = self.chosen(split)
        requests = [self._request(said) for item in chosen for trial in item.trials for said in trial]
        found = iter(self._logprobs(system, requests))
        observed = []
        for item in chosen:
            numbers = [(next(found), next(found)) for _ in item.trials]
            sums = [[sum(each) for each in pair] for pair in numbers]
            means = [[sum(each) / len(each) for each in pair] for pair in numbers]
            right = [credit(pair, 0, self.ties) for pair in sums]
            values = {
                "accuracy": sum(right) / len(right),
                "per_token": sum(credit(pair, 0, self.ties) for pair in means) / len(means),
                "all_trials": float(min(right) == 1.0),
                "tied": sum(abs(good - bad) < ALIKE for good, bad in sums) / len(sums),
                "same_length": sum(len(good) == len(bad) for good, bad in numbers) / len(numbers),
            }
            said = "; ".join(f"{good - bad:+.2f}" for good, bad in sums)
            observed.append(Observation(values, {"text": f"nats that the first is likelier: {said}"}))
        return observed

    def _request(self, said: Said) -> Request:
        context, text = said
        return Request(context, f" {text}" if context or self.space else text)

    def _logprobs(self, system: System, requests: Sequence[Request]) -> list[tuple[float, ...]]:
        """Of each request's tokens."""
        if self.masked == "no":
            if isinstance(system, System) and "causal" not in system.model.offers:
                raise NotOffered(f"{system.name} does not read from the left; set masked to 'token' or 'word'")
            return [found.logprobs for found in score(system, requests, batch_size=self.batch_size)]
        pairs = [encoded(system, request) for request in requests]
        words = None
        if self.masked == "word":
            words = [
                words_of(system, request.continuation, pair.continuation)
                for request, pair in zip(requests, pairs, strict=True)
            ]
        return pseudo_logprobs(system, pairs, words=words, mask_id=self.mask_id, batch_size=self.batch_size)


@dataclass(frozen=True)
class Table:
    """Means of a measure: of paradigms, of phenomena over paradigms, of sets over paradigms, and of all sets."""

    paradigms: Mapping[str, float]
    phenomena: Mapping[str, float]
    suites: Mapping[str, float]
    macro: float


def table(examples: Sequence[Example], observations: Sequence[Observation], measure: str = "accuracy") -> Table:
    """The parts of the whole. Names are as the files have them, behind the set's where there are several."""
    if not examples:
        raise ValueError("there is no item to take a mean of")
    several = len({example.fields["place"][0] for example in examples}) > 1
    values: dict[tuple[str, str, str], list[float]] = {}
    for example, seen in zip(examples, observations, strict=True):
        values.setdefault(example.fields["place"], []).append(seen.values[measure])
    mean = {place: sum(each) / len(each) for place, each in values.items()}

    def named(suite: str, name: str) -> str:
        return f"{suite}/{name}" if several else name

    by_phenomenon: dict[str, list[float]] = {}
    by_suite: dict[str, list[float]] = {}
    for (suite, phenomenon, _), value in mean.items():
        by_phenomenon.setdefault(named(suite, phenomenon), []).append(value)
        by_suite.setdefault(suite, []).append(value)
    suites = {name: sum(each) / len(each) for name, each in by_suite.items()}
    return Table(
        {named(suite, paradigm): value for (suite, _, paradigm), value in mean.items()},
        {name: sum(each) / len(each) for name, each in by_phenomenon.items()},
        suites,
        sum(suites.values()) / len(suites),
    )
