"""Medical knowledge: questions of several subjects, by letter or by text, and which subject a question is of.

Source
    Posada, Rueckert, Meissen and Müller 2024, "Evaluation of Language Models in the Medical Context Under
    Resource-Constrained Settings", arXiv:2406.16611, from notes; questions in the form of MMLU (Hendrycks et al. 2021,
    arXiv:2009.03300).
Equation
    letter: argmax_i log p(letter i | question, its options);   text: argmax_i log p(option i | question)
    label: argmax_l log p(description l | question, "This text is about");   embedding: argmax_l cos(v(question), v(l))
    accuracy = mean over prompts of 1[the answer is right], ties shared
    conditional bits = - log2 p(right option | question) / its bytes;   gain: those without the question minus these
    Over subjects: p of as many right answers by guessing, exact, with Holm's correction
Shapes
    System and one question -> an Observation with one number per measure
Cost
    One pass over each prompt and one over its answers; for embeddings one over each question and each description.
Caveats
    The paper's texts, its 53 models and its scorer by entailment, which needs a head trained for that, are not here;
    perplexity of reports becomes that of right answers, with and without the question before them. Bits are per byte,
    so that models of any vocabulary compare. Several prompts are averaged, and ``by_prompt`` shows their range: the
    best of them is chosen by nothing. Letters are a skill of their own: a small model that knows an answer may not find
    its letter. Sums of log-probabilities favour short options and short descriptions; ``multiple_choice`` has the other
    ways. Examples come from the dev files alone. The default are 24 simple questions of our own. Nothing here is
    medical advice, and a score says nothing about use with patients. Time and memory are the report's.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.text import size
from trivium.data import medicine, splits
from trivium.data.choices import Choice
from trivium.data.medicine import Subject
from trivium.evaluation._ties import credit
from trivium.evaluation._together import together
from trivium.evaluation.stats.design import above_chance
from trivium.evaluation.stats.intervals import Interval, proportion_interval
from trivium.evaluation.stats.multiplicity import holm
from trivium.models.embedding import Pooling, embed
from trivium.models.scoring import Request, Scored, score
from trivium.models.system import System

By = Literal["letter", "text", "label", "embedding"]

LETTERS = "ABCDEFGHIJ"
PROMPTS: Mapping[str, tuple[str, ...]] = {
    "letter": (
        "The following are multiple choice questions (with answers) about {subject}.\n\n",
        "Choose the right answer to each question about {subject}.\n\n",
        "",
    ),
    "text": (
        "The following are questions (with answers) about {subject}.\n\n",
        "Answer each question about {subject}.\n\n",
        "",
    ),
    "label": ("{text}\nThis text is about", "Text: {text}\nTopic:", "{text}\nThe subject of this question is"),
    "embedding": ("{text}", "Question: {text}", "A question about medicine: {text}"),
}


@method(title="Medical knowledge", source="arXiv:2406.16611", year=2024, needs=["causal"])
@dataclass(frozen=True)
class Medical:
    """Questions about the body and health with four answers."""

    path: str = ""
    """A folder of MMLU's subjects, <subject>_test.jsonl and _dev.jsonl; by default questions of our own."""
    items: int | None = 40
    """Questions of each subject; half as many behind them are for validation. None takes all."""
    by: By = "text"
    """The answer by its letter or its text; or the question's subject, by the likelihood of its description, or by the
    cosine of the two texts' vectors."""
    shots: int = 0
    """Examples from the dev file that come before a question, from its beginning."""
    prompts: int = 1
    """Wordings over which accuracy is averaged, up to 3."""
    pooling: Pooling = "mean"
    """How vectors are made of a text's tokens."""
    batch_size: int = 16
    """Prompts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("accuracy", "Accuracy", True),
        Measure("chance", "What guessing reaches", None),
        Measure("range", "Prompts differ", None),
        Measure("bits", "Right answer behind its question", False, "bits/byte"),
        Measure("gain", "Bits that the question saves", None, "bits/byte"),
    )
    weighted_by: ClassVar[dict[str, str]] = {"bits": "bytes", "gain": "bytes"}
    """Measure -> the value by which questions weigh in."""

    def __post_init__(self) -> None:
        for name, allowed in (("by", By), ("pooling", Pooling)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}; got {getattr(self, name)!r}")
        for name, least in (("items", 1), ("shots", 0), ("prompts", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.prompts > len(PROMPTS[self.by]):
            raise ValueError(f"prompts must be at most the {len(PROMPTS[self.by])} that there are, got {self.prompts}")
        if self.shots and self.by in ("label", "embedding"):
            raise ValueError(f"shots are for answers by letter or text, not for {self.by!r}; set shots to 0")

    @cached_property
    def subjects(self) -> Sequence[Subject]:
        """What there is, in order of name."""
        return medicine.read(self.path) if self.path else medicine.made()

    def questions(self, split: str) -> list[tuple[Subject, Choice]]:
        """Of a split, of each subject in turn, so that the first few are of many."""
        splits.check(split)
        found = []
        for subject in self.subjects:
            if not self.path:
                some = subject.asked[: self.items] if split == "test" else subject.held_back[: self.items]
            else:
                some = splits.part(subject.asked, self.items, split)
            found.append([(subject, one) for one in some])
        return [each for row in itertools.zip_longest(*found) for each in row if each is not None]

    def examples(self, split: str) -> list[Example]:
        return [
            Example(one.id, one.question, fields={"split": split, "at": at, "group": subject.name})
            for at, (subject, one) in enumerate(self.questions(split))
        ]

    def prompt(self, subject: Subject, one: Choice, wording: int) -> str:
        """What stands before an answer, examples first."""
        if len(subject.shown) < self.shots:
            raise ValueError(
                f"{subject.name} has {len(subject.shown)} examples to show, so not {self.shots}; lower shots"
            )
        begin = PROMPTS[self.by][wording].format(subject=subject.name.replace("_", " "))
        shown = [f"{self._put(each)} {self._answers(each)[each.answer]}" for each in subject.shown[: self.shots]]
        return begin + "\n\n".join([*shown, self._put(one)])

    def _put(self, one: Choice) -> str:
        if self.by == "text":
            return f"Question: {one.question}\nAnswer:"
        listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, one.options, strict=False))
        return f"{one.question}\n{listed}\nAnswer:"

    def _answers(self, one: Choice) -> tuple[str, ...]:
        return one.options if self.by == "text" else tuple(LETTERS[: len(one.options)])

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["at"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        asked = self.questions(split)
        by_prompt = [self._numbers(system, asked, wording) for wording in range(self.prompts)]
        bits = self._bits(system, asked) if self.by in ("letter", "text") else [{} for _ in asked]
        names = [subject.name for subject in self.subjects]
        observed = []
        for at, (subject, one) in enumerate(asked):
            topic = self.by in ("label", "embedding")
            right, options = (names.index(subject.name), names) if topic else (one.answer, one.options)
            credits = [credit(numbers[at], right) for numbers in by_prompt]
            said = options[by_prompt[0][at].index(max(by_prompt[0][at]))]
            values = {
                "accuracy": sum(credits) / len(credits),
                "chance": 1 / len(options),
                "range": max(credits) - min(credits),
                **bits[at],
            }
            observed.append(Observation(values, {"text": f"{said}; right: {options[right]}", "by_prompt": credits}))
        return observed

    def _numbers(self, system: System, asked: Sequence[tuple[Subject, Choice]], wording: int) -> list[list[float]]:
        """How good each answer is to each question."""
        descriptions = [subject.description for subject in self.subjects]
        if self.by == "embedding":
            texts = [PROMPTS["embedding"][wording].format(text=one.question) for _, one in asked]
            vectors = embed(system, [*descriptions, *texts], pooling=self.pooling, batch_size=self.batch_size)
            return cosines(vectors[len(descriptions) :], vectors[: len(descriptions)]).tolist()
        if self.by == "label":
            put = [PROMPTS["label"][wording].format(text=one.question) for _, one in asked]
            answers = [tuple(descriptions)] * len(put)
        else:
            put = [self.prompt(subject, one, wording) for subject, one in asked]
            answers = [self._answers(one) for _, one in asked]
        requests = [Request(text, f" {answer}") for text, each in zip(put, answers, strict=True) for answer in each]
        found = iter(score(system, requests, batch_size=self.batch_size))
        return [[next(found).total for _ in each] for each in answers]

    def _bits(self, system: System, asked: Sequence[tuple[Subject, Choice]]) -> list[dict[str, float]]:
        """Of the right option's text, behind its question and alone."""
        right = [f" {one.options[one.answer]}" for _, one in asked]
        before = [f"Question: {one.question}\nAnswer:" for _, one in asked]
        requests = [Request(text, answer) for text, answer in zip(before, right, strict=True)]
        found = score(
            system, [*requests, *(Request("Answer:", answer) for answer in right)], batch_size=self.batch_size
        )

        def per_byte(one: Scored, answer: str) -> float:
            return -one.total / math.log(2) / size(answer)

        rows = []
        for answer, behind, alone in zip(right, found[: len(asked)], found[len(asked) :], strict=True):
            given = per_byte(behind, answer)
            rows.append({"bits": given, "gain": per_byte(alone, answer) - given, "bytes": float(size(answer))})
        return rows


def cosines(texts: Tensor, labels: Tensor) -> Tensor:
    """(texts, width) x (labels, width) -> (texts, labels)"""
    return (
        torch.nn.functional.normalize(texts.double(), dim=1) @ torch.nn.functional.normalize(labels.double(), dim=1).T
    )


@dataclass(frozen=True)
class SubjectResult:
    """How one subject went: ``above`` is the chance that a guesser does as well, ``holm`` that over all subjects."""

    interval: Interval
    chance: float
    above: float
    holm: float


def by_subject(examples: Sequence[Example], observations: Sequence[Observation]) -> dict[str, SubjectResult]:
    """Per subject the share that is right, with Wilson's interval. A question of which the answer ties, or is right
    in some wordings only, counts as wrong here."""
    rows: dict[str, list[tuple[float, int]]] = {}
    for example, seen in zip(examples, observations, strict=True):
        options = round(1 / seen.values["chance"])
        rows.setdefault(example.fields["group"], []).append((float(seen.values["accuracy"] == 1.0), options))
    if not rows:
        raise ValueError("there is no question to take a share of")
    hits = {name: [hit for hit, _ in each] for name, each in rows.items()}
    above = [above_chance(hits[name], [options for _, options in each]) for name, each in rows.items()]
    return {
        name: SubjectResult(proportion_interval(hits[name]), sum(1 / o for _, o in each) / len(each), p, corrected)
        for (name, each), p, corrected in zip(rows.items(), above, holm(above), strict=True)
    }


def by_prompt(observations: Sequence[Observation]) -> list[float]:
    """Accuracy in each wording, of which the mean is reported and the range is to be shown."""
    rows = [seen.shown["by_prompt"] for seen in observations]
    if not rows:
        raise ValueError("there is no question to take a share of")
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
