"""DARE: the same question in other words, with fewer options, in another format, with no or two right answers.

Source
    Sterz, Pfeiffer and Vulić 2024, "DARE: Diverse Visual Question Answering with Robustness Evaluation",
    arXiv:2409.18023, from notes on its protocol; ported here to questions without a picture.
Equation
    c_iv = 1[question i is answered rightly in variant v];   standard = mean_i c_i0;   mean = mean_iv c_iv
    worst case = mean_i min_v c_iv  <=  worst variant = min_v mean_i c_iv  <=  mean  <=  best = mean_i max_v c_iv
    flips = mean_i 1[min_v c_iv < max_v c_iv];   chance of v: 1 / options, or 1 / 2^options where a set is asked for
Shapes
    System and one question -> an Observation with its mean, worst and best over variants
Cost
    For each variant one pass over the prompt and one over its answers, or what the model writes.
Caveats
    The prompts, the number of variants and the questions are ours. An answer is the likeliest of all that are possible,
    so that none is invalid; written ones are read off, and what cannot be read counts as wrong and is told beside.
    Ties count their share. Subsets have fewer options than the standard question and are easier by chance: compare
    with what a guesser reaches, whose every guess is independent, on average and in the worst case. "options" leaves
    the question with all options out of its variants, "count" as well; "wording" and "format" count it in. Two right
    options there are only in our own questions; a file's have none or one. A capital A that stands alone is read as a
    letter, though it may be an article. The worst variant is of all questions
    together, so it is in ``robustness`` and no mean over examples.
"""

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import answer_sets, choices, splits
from trivium.data.answer_sets import Answers
from trivium.evaluation._ties import credit
from trivium.evaluation._together import together
from trivium.models.scoring import Request, score
from trivium.models.system import System
from trivium.models.writing import Prompt, write

Vary = Literal["options", "wording", "format", "count"]
Format = Literal["text", "letter", "json"]

LETTERS = "ABCDEFGHIJ"
WORDINGS = (
    "Question: {question}\n{options}\n{task}\nAnswer:",
    "{task}\n\n{question}\n{options}\nThe answer is",
    "Here is a question with some possible answers.\n{options}\nThe question: {question} {task}\nMy answer:",
)
TASKS: Mapping[Format, str] = {
    "text": "Answer with the words of the right option.",
    "letter": "Answer with the letter of the right option.",
    "json": 'Answer in JSON, such as {"answer": "B"}.',
}
SETS = "Any number of options may be right, or none. Answer with the letters of all that are, or with none."


@dataclass(frozen=True)
class Variant:
    """A question as it is put: the prompt, all possible answers, and which of them is right."""

    name: str
    prompt: str
    answers: tuple[str, ...]
    right: int
    asked: Answers
    format: Format | Literal["set"]

    @property
    def chance(self) -> float:
        """Of a guess."""
        return 1 / len(self.answers)


@method(title="DARE", source="arXiv:2409.18023", year=2024, needs=["causal"])
@dataclass(frozen=True)
class DARE:
    """Multiple-choice questions, each in several variants of one sort."""

    path: str = ""
    """A file of questions such as CommonsenseQA's validation.jsonl; by default 40 questions of our own."""
    items: int | None = 60
    """Questions from the file's beginning; half as many behind them are for validation. None takes all."""
    vary: Vary = "options"
    """Which options are given, how the question is worded, how it is to be answered, or how many options are right."""
    subset: int = 3
    """Options of a subset, the right one among them."""
    format: Format = "text"
    """How the standard question is to be answered."""
    by: Literal["likelihood", "writing"] = "likelihood"
    """The answer is the likeliest of the possible ones, or what the model writes."""
    score_by: Literal["sum", "mean"] = "sum"
    """An answer's log-probability is the sum, or the mean, over its tokens."""
    limit: int = 24
    """Tokens to write at most."""
    batch_size: int = 16
    """Prompts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("worst", "Right in every variant", True),
        Measure("standard", "Standard question", True),
        Measure("mean", "Mean over variants", True),
        Measure("corrected", "The same above chance", True),
        Measure("best", "Right in some variant", None),
        Measure("flips", "Right in some and wrong in others", False),
        Measure("chance", "What guessing reaches, mean", None),
        Measure("chance_worst", "What guessing reaches in every variant", None),
        Measure("unread", "Answers that could not be read", False),
    )

    def __post_init__(self) -> None:
        for name, allowed in (("vary", get_args(Vary)), ("format", get_args(Format))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        if self.by not in ("likelihood", "writing"):
            raise ValueError(f"by must be 'likelihood' or 'writing', got {self.by!r}")
        if self.score_by not in ("sum", "mean"):
            raise ValueError(f"score_by must be 'sum' or 'mean', got {self.score_by!r}")
        for name, least in (("items", 1), ("subset", 2), ("limit", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    # Variants ---------------------------------------------------------------------------------------------------------

    def variants(self, asked: Answers) -> list[Variant]:
        """The standard question first, then those of the sort that is varied."""
        single = asked.keep((min(asked.right), *asked.wrong))
        if len(single.options) > len(LETTERS):
            raise ValueError(f"question {asked.id!r} has {len(single.options)} options; at most {len(LETTERS)} do")
        found = [_single("standard", single, 0, self.format)]
        if self.vary == "wording":
            return found + [_single(f"wording {n + 1}", single, n, self.format) for n in range(1, len(WORDINGS))]
        if self.vary == "format":
            return found + [_single(form, single, 0, form) for form in get_args(Format) if form != self.format]
        if self.vary == "options":
            if self.subset >= len(single.options):
                raise ValueError(
                    f"subset {self.subset} leaves out none of the {len(single.options)} options of {asked.id!r}; lower "
                    "it"
                )
            (right,) = single.right
            subsets = itertools.combinations(single.wrong, self.subset - 1)
            return found + [
                _single(f"subset {n + 1}", single.keep((right, *some)), 0, self.format)
                for n, some in enumerate(subsets)
            ]
        size = min(4, len(asked.wrong))
        right = sorted(asked.right)
        return found + [
            _set(f"{count} right", asked.keep((*right[:count], *asked.wrong[: size - count]), none_right=count == 0))
            for count in range(min(len(right), size - 1) + 1)
        ]

    def counted(self, variants: Sequence[Variant]) -> Sequence[Variant]:
        """Those over which mean, worst and best are taken."""
        return variants if self.vary in ("wording", "format") else variants[1:]

    # The task ---------------------------------------------------------------------------------------------------------

    def questions(self, split: str) -> Sequence[Answers]:
        """Of a split."""
        splits.check(split)
        if not self.path:
            return answer_sets.made(split)[: self.items]
        return splits.part(self._read, self.items, split)

    @cached_property
    def _read(self) -> tuple[Answers, ...]:
        return answer_sets.of(choices.read(self.path))

    def examples(self, split: str) -> list[Example]:
        return [
            Example(one.id, self.variants(one)[0].prompt, cluster=one.group, fields={"split": split, "at": at})
            for at, one in enumerate(self.questions(split))
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["at"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        every = [self.variants(one) for one in self.questions(split)]
        put = [variant for variants in every for variant in variants]
        right = iter(self._written(system, put) if self.by == "writing" else self._likeliest(system, put))
        return [self.observed(variants, [next(right) for _ in variants]) for variants in every]

    def _likeliest(self, system: System, put: Sequence[Variant]) -> list[float]:
        requests = [Request(variant.prompt, f" {answer}") for variant in put for answer in variant.answers]
        found = iter(score(system, requests, batch_size=self.batch_size))
        right = []
        for variant in put:
            mine = [next(found) for _ in variant.answers]
            right.append(
                credit([s.total / (len(s.ids) if self.score_by == "mean" else 1) for s in mine], variant.right)
            )
        return right

    def _written(self, system: System, put: Sequence[Variant]) -> list[float | None]:
        prompts = [Prompt(variant.prompt, until=("\n",), limit=self.limit) for variant in put]
        read = [
            read_off(variant, one.text)
            for variant, one in zip(put, write(system, prompts, batch_size=self.batch_size), strict=True)
        ]
        return [None if at is None else float(at == v.right) for at, v in zip(read, put, strict=True)]

    def observed(self, variants: Sequence[Variant], right: Sequence[float | None]) -> Observation:
        """From what each variant counts, None where the answer could not be read."""
        standard = right[0] or 0.0
        kept = [each or 0.0 for each in right[len(variants) - len(self.counted(variants)) :]]
        chances = [variant.chance for variant in self.counted(variants)]
        mean, chance = sum(kept) / len(kept), sum(chances) / len(chances)
        return Observation(
            {
                "worst": min(kept),
                "standard": standard,
                "mean": mean,
                "corrected": (mean - chance) / (1 - chance),
                "best": max(kept),
                "flips": float(min(kept) < max(kept)),
                "chance": chance,
                "chance_worst": math.prod(chances),
                "unread": sum(each is None for each in right) / len(right),
            },
            {
                "text": ", ".join(f"{v.name}: {_said(r)}" for v, r in zip(variants, right, strict=True)),
                "right": {v.name: value for v, value in zip(self.counted(variants), kept, strict=True)},
            },
        )


def _said(right: float | None) -> str:
    return "not read" if right is None else {1.0: "right", 0.0: "wrong"}.get(right, f"tied ({right:.2f})")


def _listed(asked: Answers) -> str:
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, asked.options, strict=False))


def _single(name: str, asked: Answers, wording: int, form: Format) -> Variant:
    """A question with one right option."""
    (right,) = asked.right
    letters = LETTERS[: len(asked.options)]
    answers = {
        "text": asked.options,
        "letter": tuple(letters),
        "json": tuple(json.dumps({"answer": letter}) for letter in letters),
    }
    prompt = WORDINGS[wording].format(question=asked.question, options=_listed(asked), task=TASKS[form])
    return Variant(name, prompt, answers[form], right, asked, form)


def _set(name: str, asked: Answers) -> Variant:
    """A question to which the answer is the set of all right options."""
    places = range(len(asked.options))
    sets = [frozenset(some) for size in range(len(places) + 1) for some in itertools.combinations(places, size)]
    answers = tuple(", ".join(LETTERS[at] for at in sorted(some)) or "none" for some in sets)
    prompt = WORDINGS[0].format(question=asked.question, options=_listed(asked), task=SETS)
    return Variant(name, prompt, answers, sets.index(asked.right), asked, "set")


def read_off(variant: Variant, text: str) -> int | None:
    """Which of the possible answers a written one is; None where that cannot be told."""
    said, letters = text.strip(), LETTERS[: len(variant.asked.options)]
    if variant.format == "json":
        found = re.search(r"\{[^{}]*\}", said)
        try:
            answer = json.loads(found.group())["answer"] if found else None
        except (ValueError, KeyError):
            return None
        return letters.index(answer) if isinstance(answer, str) and len(answer) == 1 and answer in letters else None
    if variant.format == "text":
        held = [
            at for at, option in enumerate(variant.answers) if re.search(rf"(?<!\w){re.escape(option)}(?!\w)", said)
        ]
        longest = [at for at in held if not any(variant.answers[at] in variant.answers[b] for b in held if b != at)]
        return longest[0] if len(longest) == 1 else None
    named = re.findall(rf"(?<![\w'])([{letters}])(?![\w'])", said)
    if variant.format == "letter":
        return letters.index(named[0]) if len(set(named)) == 1 else None
    if not named:
        return 0 if re.search(r"\bnone\b", said.lower()) else None
    return variant.answers.index(", ".join(sorted(set(named))))


@dataclass(frozen=True)
class Robustness:
    """Over all questions: ``worst`` is the mean of each question's worst variant, ``worst_variant`` the accuracy in the
    variant that goes worst for all; ``independent`` what the worst case were if a variant's errors told nothing of
    another's."""

    mean: float
    worst: float
    worst_variant: float
    best: float
    flips: float
    independent: float
    variants: Mapping[str, float]


def robustness(observations: Sequence[Observation]) -> Robustness:
    """Of a split's observations. Raises ValueError where questions do not have the same variants."""
    rows = [dict(seen.shown["right"]) for seen in observations]
    if not rows or any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError("questions must have the same variants, and there must be some; take those of as many options")
    size = len(rows)
    variants = {name: sum(row[name] for row in rows) / size for name in rows[0]}
    worst, best = ([of(row.values()) for row in rows] for of in (min, max))
    return Robustness(
        sum(variants.values()) / len(variants),
        sum(worst) / size,
        min(variants.values()),
        sum(best) / size,
        sum(low < high for low, high in zip(worst, best, strict=True)) / size,
        math.prod(variants.values()),
        variants,
    )
