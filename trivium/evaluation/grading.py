"""Graded stories: a model goes on from the beginnings of stories, and what it writes is graded by a rubric.

Source
    Eldan, Li 2023, "TinyStories: How Small Can Language Models Be and Still Speak Coherent English?", arXiv:2305.07759,
    sections 3 and 4. The wording of the rubric and the beginnings are our own.
Equation
    likelihood:   grade = sum over answers s of value(s) p(s),   p = softmax over the answers of LL(s | story, question)
    proxies:   grammar = mean LL of the story's tokens under a judge
               creativity = 1 - longest common run of words / words;   consistency = entities named again / entities
    overlap = max over other texts of the share of bigrams that they have too
Shapes
    System and one completion of a beginning -> an Observation with its grades, proxies and overlaps
Cost
    Each beginning is completed ``samples`` times; the judge passes over each completion once for the proxies and once
    for each question of the rubric, or writes its grades.
Caveats
    The paper's grader is GPT-4; whether a small judge can grade at all is what the claim asks, and its grades are
    comparable within one judge only. The judge is another model than the one that writes, and never sees a name; it may
    still prefer texts like its own, or long ones. Proxies are what they are called: likelihood is no grammar. Entities
    are found by rules. A grade that was not given is invalid and counted, never filled in. Means hide how grades lie:
    the probability of the top answer is given too, and all of them per text. Completions of one beginning are a
    cluster. The paper takes 50 beginnings, 10 completions each and temperature 1; the default here is a smaller run.
    Instructions to obey (the paper's TinyStories-Instruct) are left out.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.seeds import derive
from trivium.data import beginnings, splits
from trivium.data.named import named
from trivium.evaluation._graders import (
    RUBRIC,
    Graded,
    LikelihoodGrader,
    Rubric,
    Story,
    WritingGrader,
    carried,
    fluency,
    fresh,
    overlap,
    words,
)
from trivium.evaluation._together import absent, together
from trivium.evaluation.quality import JUDGES
from trivium.evaluation.stats import agreement
from trivium.evaluation.stats.intervals import Interval
from trivium.models.sources import load
from trivium.models.system import System
from trivium.models.writing import Prompt, write

By = Literal["likelihood", "writing", "proxies"]
REASONS = {
    "likelihood": "nothing was written, or there is no other text to compare with",
    "writing": "the grade was not given in its form, or there is nothing to grade or compare with",
    "proxies": "proxies alone were asked for, or there is nothing to compare with",
}
"""Why a value may be missing."""


@method(title="Graded stories", source="arXiv:2305.07759", year=2023, needs=["causal", "state"])
@dataclass(frozen=True)
class Grading:
    """Beginnings of stories, what a model makes of them, and grades."""

    path: str = ""
    """A file of beginnings, one a line; by default forty of our own."""
    items: int | None = 12
    """Beginnings to take; with a file, half as many behind them are for validation. None takes all."""
    samples: int = 2
    """Completions of each beginning."""
    temperature: float = 1.0
    limit: int = 96
    """Tokens to write at most."""
    by: By = "likelihood"
    """How the judge grades: by the likelihood of each answer, by writing them, or not at all, for proxies alone."""
    judge: str = ""
    """The model that grades; by default a known one that is not the model itself."""
    nearest: int = 200
    """Stories of the corpus of stories among which the one nearest to a completion is looked for."""
    batch_size: int = 16
    """Texts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("grammar", "Grammar", True, "of 10"),
        Measure("creativity", "Creativity", True, "of 10"),
        Measure("consistency", "Consistency", True, "of 10"),
        Measure("age", "Age group of the writer", None, "1 to 6"),
        Measure("at_top", "Probability of the top grade", None),
        Measure("invalid", "Grades that were not given", False),
        Measure("proxy_grammar", "Proxy of grammar: log-probability under the judge", True, "nats/token"),
        Measure("proxy_creativity", "Proxy of creativity: no long run repeated", True),
        Measure("proxy_consistency", "Proxy of consistency: entities named again", True),
        Measure("overlap_others", "Bigrams shared with another completion", False),
        Measure("overlap_nearest", "Bigrams shared with the nearest story", False),
        Measure("words", "Words written", None),
        Measure("empty", "Nothing written", False, binary=True),
    )

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise ValueError(f"by must be one of {', '.join(get_args(By))}; got {self.by!r}")
        for name, least in (("items", 1), ("samples", 1), ("limit", 1), ("nearest", 0), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be 0 or positive, got {self.temperature}")

    def beginnings(self, split: str) -> Sequence[str]:
        splits.check(split)
        if not self.path:
            return beginnings.made(split)[: self.items]
        found = beginnings.read(self.path)
        return splits.part(found, self.items, split)

    def examples(self, split: str) -> list[Example]:
        """One per completion; those of one beginning are a cluster."""
        return [
            Example(
                f"{split}-{place:03d}/{sample}",
                text,
                cluster=f"{split}-{place:03d}",
                fields={"split": split, "number": place * self.samples + sample},
            )
            for place, text in enumerate(self.beginnings(split))
            for sample in range(self.samples)
        ]

    def judge_of(self, system: Any) -> System:
        """The model that judges what this one writes. Raises ValueError where it is the same."""
        own = {getattr(system, "name", ""), getattr(system, "source", "")}
        name = self.judge or next(name for name in JUDGES if name not in own)
        found = _loaded(name)
        if found is system or (found.fingerprint and found.fingerprint == getattr(system, "fingerprint", "")):
            raise ValueError(f"the judge {name} is the model that writes; name another, such as {JUDGES[0]}")
        return found

    def score(self, system: Any, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be written and graded together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    def written(self, system: Any, split: str) -> list[Story]:
        """The completions, those of one beginning one after another."""
        judged = [(text, sample) for text in self.beginnings(split) for sample in range(self.samples)]
        prompts = [
            Prompt(text, ("\n\n",), self.limit, self.temperature, seed=derive(0, "story", sample))
            for text, sample in judged
        ]
        made = write(system, prompts, batch_size=self.batch_size)
        return [Story(text, one.text) for (text, _), one in zip(judged, made, strict=True)]

    @together
    def _scored(self, system: Any, split: str) -> list[Observation]:
        judge = self.judge_of(system)  # before any work, should it be missing
        stories = self.written(system, split)
        graded = self.graded(judge, stories)
        likely = fluency(judge, stories, self.batch_size)
        known = named("stories")["train"][: self.nearest] if self.nearest else ()
        others: dict[str, list[str]] = defaultdict(list)
        for one in stories:
            others[one.beginning].append(one.completion)
        observed = []
        for at, (one, grades) in enumerate(zip(stories, graded, strict=True)):
            rest = [*others[one.beginning]]
            rest.remove(one.completion)
            values = {
                **_values(grades, self.by),
                "proxy_grammar": likely[at],
                "proxy_creativity": fresh(one.completion, [one.beginning, *rest]),
                "proxy_consistency": carried(one) if one.completion.strip() else None,
                "overlap_others": overlap(one.completion, rest),
                "overlap_nearest": overlap(one.completion, known),
                "words": float(len(words(one.completion))),
                "empty": float(not one.completion.strip()),
            }
            known_values = {name: x for name, x in values.items() if x is not None}
            why = absent(self.measures, known_values, REASONS[self.by])
            shown = {
                "text": one.completion,
                "grades": dict(grades.scores),
                "shares": dict(grades.shares),
                "absent": why,
            }
            observed.append(Observation(known_values, shown))
        return observed

    def graded(self, judge: System, stories: Sequence[Story]) -> list[Graded]:
        """The grades of stories by a judge; of none, where there are proxies alone."""
        if self.by == "likelihood":
            return LikelihoodGrader(judge, batch_size=self.batch_size)(stories)
        if self.by == "writing":
            return WritingGrader(judge, batch_size=self.batch_size)(stories)
        return [Graded({})] * len(stories)


def _values(grades: Graded, by: By, rubric: Rubric = RUBRIC) -> dict[str, float | None]:
    if by == "proxies":
        return {}
    tops = [share[-1] for name, share in grades.shares.items() if name != "age"]
    if by == "writing":
        full = {one.name: one.values[-1] for one in rubric.criteria if one.name != "age"}
        tops = [float(score == full[name]) for name, score in grades.scores.items() if name in full]
    return {
        **grades.scores,
        "at_top": sum(tops) / len(tops) if tops else None,
        "invalid": len(grades.invalid) / len(rubric.criteria),
    }


def agree(first: Sequence[Graded], second: Sequence[Graded], criterion: str) -> dict[str, Interval]:
    """How far two graders agree on a criterion: Cohen's kappa with quadratic weights over whole grades, and
    Krippendorff's alpha of the numbers. Stories that one of them gave no valid grade are left out."""
    both = [
        (a.scores[criterion], b.scores[criterion])
        for a, b in zip(first, second, strict=True)
        if criterion in a.scores and criterion in b.scores
    ]
    if not both:
        raise ValueError(f"no story has a valid grade of {criterion!r} by both graders")
    ones, others = zip(*both, strict=True)
    whole = [[round(x) for x in some] for some in (ones, others)]
    return {
        "kappa": agreement.kappa(whole[0], whole[1], weights="quadratic", categories=sorted({*whole[0], *whole[1]})),
        "alpha": agreement.alpha([ones, others], level="interval"),
    }


@lru_cache(maxsize=2)
def _loaded(name: str) -> System:
    return load(name)
