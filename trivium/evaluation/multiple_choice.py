"""Multiple choice: the answer that a model finds likeliest behind the question, by every way of making lengths equal.

Source
    Brown et al. 2020, "Language Models are Few-Shot Learners", arXiv:2005.14165, section 2.4 (per token); Gao et al.,
    lm-evaluation-harness (per character, per byte); Holtzman et al. 2021, "Surface Form Competition",
    arXiv:2104.08315 (pointwise mutual information). Conventions and numbers are those of the harness.
Equation
    LL_i = sum of log p over the tokens of choice i behind the context.   The model's answer is the argmax over i of
    LL_i ("accuracy"), LL_i / characters_i, LL_i / bytes_i, LL_i / tokens_i, or LL_i - LL_i without the question ("pmi")
    brier = sum_i (softmax(LL)_i - 1[i = answer])^2
Shapes
    System and one question -> an Observation with one number per measure
Cost
    One pass over each context and one over its choices together; for pmi another over the choices alone.
Caveats
    The harness's "acc_norm" divides by characters, whatever is written about bytes; here both have their names. Of
    choices that tie, the harness takes the first, which gives a model without an opinion full marks where the answer
    always stands first: here each of m such choices counts 1 / m, and ties are counted. Numbers that are not finite are
    an error. Choices are scored by the model's text, so this asks what it would rather write, not what it knows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, get_args

from trivium.core.errors import NotOffered
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.text import size
from trivium.data import harness_samples, questions, splits
from trivium.data.choices import Choice
from trivium.data.questions import Form
from trivium.evaluation import _choices
from trivium.evaluation._ties import ALIKE, Ties, credit
from trivium.evaluation._together import together
from trivium.models.scoring import Request, score
from trivium.models.system import System


@method(title="Multiple choice", source="arXiv:2005.14165", year=2020, needs=["causal"])
@dataclass(frozen=True)
class MultipleChoice:
    """Questions with answers to choose among."""

    path: str = ""
    """A file of questions; by default some of our own."""
    form: Form = "arc"
    """What its lines look like, and how a question is put."""
    items: int | None = None
    """Questions from the file's beginning; half as many behind them are for validation. None takes all."""
    ties: Ties = "shared"
    """Of choices that tie for the first place, each counts its share; or the first is taken, as the harness does; or
    the question is lost."""
    batch_size: int = 16
    """Contexts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("accuracy", "Accuracy", True, binary=True),
        Measure("per_character", "Accuracy, per character", True, binary=True),
        Measure("per_byte", "Accuracy, per byte", True, binary=True),
        Measure("per_token", "Accuracy, per token", True, binary=True),
        Measure("pmi", "Accuracy, mutual information", True, binary=True),
        Measure("brier", "Brier score", False),
        Measure("tied", "Ties for the first place", None, binary=True),
        *_choices.COUNTED,
    )

    def __post_init__(self) -> None:
        if self.ties not in get_args(Ties):
            raise ValueError(f"ties must be one of {', '.join(get_args(Ties))}; got {self.ties!r}")
        if self.form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {self.form!r}")
        for name in ("items", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def questions(self, split: str) -> Sequence[Choice]:
        """Of a split, as contexts with choices."""
        splits.check(split)
        if not self.path:
            return questions.made(split)[: self.items]
        return splits.part(self._read, self.items, split)

    @cached_property
    def _read(self) -> tuple[Choice, ...]:
        return questions.read(self.path, self.form)

    def examples(self, split: str) -> list[Example]:
        return [
            Example(one.id, one.question, cluster=one.group or one.id, fields={"split": split, "number": number})
            for number, one in enumerate(self.questions(split))
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first question of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        asked = self.questions(split)
        behind = [Request(one.question, f" {option}") for one in asked for option in one.options]
        alone = [Request("", request.continuation) for request in behind]
        requests = [*behind, *alone]
        found, lacking = score(system, behind, batch_size=self.batch_size), ""
        try:
            found = [*found, *score(system, alone, batch_size=self.batch_size)]
        except NotOffered as error:  # a server that cannot score a text without a context
            lacking = str(error)
        observed, start = [], 0
        for number, one in enumerate(asked):
            stop = start + len(one.options)
            mine, free = found[start:stop], found[len(behind) + start : len(behind) + stop]
            sums = [each.total for each in mine]
            ways = {
                "accuracy": sums,
                "per_character": [x / len(option) for x, option in zip(sums, one.options, strict=True)],
                "per_byte": [x / size(option) for x, option in zip(sums, one.options, strict=True)],
                "per_token": [x / len(each.ids) for x, each in zip(sums, mine, strict=True)],
            }
            if not lacking:
                ways["pmi"] = [x - each.total for x, each in zip(sums, free, strict=True)]
            values = {name: credit(numbers, one.answer, self.ties) for name, numbers in ways.items()}
            values["brier"] = brier(sums, one.answer)
            values["tied"] = float(sum(max(sums) - x < ALIKE for x in sums) > 1)
            values |= _choices.counted(one.options, [*mine, *free])
            taken = sums.index(max(sums))
            places = [*range(start, stop), *(() if lacking else range(len(behind) + start, len(behind) + stop))]
            document = {"question": one.question, "choices": list(one.options), "answer": one.answer}
            arguments = [(requests[at].context, requests[at].continuation) for at in places]
            answers = [(found[at].total, found[at].greedy) for at in places]
            metrics = {name: values[way] for way, name in harness_samples.NAMES.items() if way in values}
            sample = harness_samples.sample(number, document, one.answer, arguments, answers, answers, metrics)
            text = f"{one.options[taken]}; right: {one.options[one.answer]}"
            shown = {"text": text, "task": self.form, "samples": [sample]}
            shown |= {"absent": {"pmi": lacking}} if lacking else {}
            shown |= _choices.shown(system, one.options, mine, one.answer, taken)
            vectors = {"calibration": (_choices.confidence(sums), values["accuracy"])}
            observed.append(Observation(values, shown, vectors))
            start = stop
        return observed


def brier(logprobs: Sequence[float], answer: int) -> float:
    """How far the probabilities of the choices are from the truth: 0 at best, 2 at worst."""
    peak = max(logprobs)
    weights = [math.exp(x - peak) for x in logprobs]
    total = sum(weights)
    return sum((weight / total - (at == answer)) ** 2 for at, weight in enumerate(weights))
