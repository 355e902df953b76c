"""Verbatim memory: how much less a list of nouns surprises a model when it is told a second time.

Source
    Armeni, Honey and Linzen 2022, "Characterizing Verbatim Short-Term Memory in Neural Language Models", CoNLL,
    arXiv:2210.13569; the three conditions, and surprisal of the second list in per cent of the first.
Equation
    s(noun) = - sum over the noun's tokens of log2 p(token | all before it)
    repeat surprisal = 100 mean of s over the second list / mean of s over the first, each without its first noun
    order = permuted - repeat;   retained = novel - repeat, in percentage points
Shapes
    System and one list of nouns -> an Observation with the repeat surprisal of each condition
Cost
    Three passes over a text of two lists and what stands between them.
Caveats
    Lists, opening and the text between are our own, not the authors'. Novel lists come out below 100 as well: the model
    has learned by then that nouns follow, so that the contrast with novel lists is what is remembered, not the one with
    100. The paper reports medians over vignettes; a report's figures are means, and the claim has medians. A token that
    has a part of a noun counts as the noun's, whatever else it holds (``shared`` counts those that hold punctuation
    too); commas by themselves are left out. The second list must match the first in number of nouns only: words that
    cost more are compared with others that cost less, which evens out since each list serves in every role.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import splits, word_lists
from trivium.data.word_lists import CONDITIONS, Sort, Telling, Vignette
from trivium.evaluation._together import together
from trivium.models.scoring import Request, Scored, score
from trivium.models.surprisal import in_bytes, token_spans, within
from trivium.models.system import System


@method(title="Verbatim memory", source="arXiv:2210.13569", year=2022, needs=["causal"])
@dataclass(frozen=True)
class VerbatimMemory:
    """Lists of nouns told twice: the same, in another order, and others."""

    path: str = ""
    """A file of lists, one a line, nouns between commas; by default some of our own."""
    sort: Sort = "arbitrary"
    """Our own lists take their nouns from many categories, or all from one."""
    length: int = 10
    """Nouns in a list."""
    between: int = 20
    """Words between the two lists at least, beside what announces the second; up to about 300."""
    skip: int = 1
    """Nouns at the beginning of a list that do not count."""
    items: int = 10
    """Vignettes; half as many are for validation."""
    batch_size: int = 16
    """Texts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("retained", "Repeat surprisal, novel minus repeated list", True, "%"),
        Measure("repeat", "Repeat surprisal, same list", None, "%"),
        Measure("permuted", "Repeat surprisal, other order", None, "%"),
        Measure("novel", "Repeat surprisal, other nouns", None, "%"),
        Measure("order", "Repeat surprisal, other order minus same", None, "%"),
        Measure("first", "Surprisal of a noun in the first list", None, "bits"),
        Measure("shared", "Tokens of nouns that hold punctuation", None),
    )

    def __post_init__(self) -> None:
        for name, least in (("length", 2), ("between", 0), ("skip", 0), ("items", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.skip >= self.length:
            raise ValueError(f"skip must leave a noun of a list of {self.length}, got {self.skip}")
        word_lists.filler(self.between)
        if not self.path:
            word_lists.made(self.sort, self.length)

    @cached_property
    def lists(self) -> Sequence[tuple[str, ...]]:
        """The lists themselves."""
        return word_lists.read(self.path, self.length) if self.path else word_lists.made(self.sort, self.length)

    def vignettes(self, split: str) -> list[Vignette]:
        """Those of a split."""
        return word_lists.vignettes(self.lists, self.items if split == "test" else splits.half(self.items), split)

    def examples(self, split: str) -> list[Example]:
        return [
            Example(one.id, one.told("repeat", self.between).text, cluster=one.group, fields={"split": split, "at": at})
            for at, one in enumerate(self.vignettes(split))
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["at"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        chosen = self.vignettes(split)
        told = [[one.told(condition, self.between) for condition in CONDITIONS] for one in chosen]
        requests = [Request("", telling.text) for each in told for telling in each]
        found = iter(score(system, requests, batch_size=self.batch_size))
        return [
            self.observed(one.id, [self.costs(system, telling, next(found)) for telling in each])
            for one, each in zip(chosen, told, strict=True)
        ]

    def costs(self, system: System, telling: Telling, scored: Scored) -> "Costs":
        """What the nouns of a text cost."""
        spans = token_spans(system.tokenizer, telling.text, scored.ids)
        places = (*telling.first, *telling.second)
        mine = within(spans, places, telling.text)
        bits = [-sum(scored.logprobs[at] for at in tokens) / math.log(2) for tokens in mine]
        ends = [end for _, end in in_bytes(telling.text, places)]
        shared = sum(spans[at][1] > end for tokens, end in zip(mine, ends, strict=True) for at in tokens)
        return Costs(bits[: len(telling.first)], bits[len(telling.first) :], shared)

    def observed(self, name: str, costs: Sequence["Costs"]) -> Observation:
        """From the costs under each condition. Raises ValueError where the first list costs nothing."""
        mean = {
            condition: (_mean(one.first[self.skip :]), _mean(one.second[self.skip :]))
            for condition, one in zip(CONDITIONS, costs, strict=True)
        }
        if not all(first > 0 for first, _ in mean.values()):
            raise ValueError(f"{name}: the first list costs no bits, so that nothing can be less; the model knows it")
        share = {condition: 100 * second / first for condition, (first, second) in mean.items()}
        return Observation(
            {
                **share,
                "retained": share["novel"] - share["repeat"],
                "order": share["permuted"] - share["repeat"],
                "first": mean["repeat"][0],
                "shared": float(sum(one.shared for one in costs)),
            },
            {"text": ", ".join(f"{condition} {value:.0f} %" for condition, value in share.items())},
        )


@dataclass(frozen=True)
class Costs:
    """Bits of each noun of the two lists; ``shared`` counts tokens that hold more than a noun."""

    first: Sequence[float]
    second: Sequence[float]
    shared: int = 0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
