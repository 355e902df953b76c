"""Stereotypes: of two sentences that differ in who is spoken of, does a model find the stereotyped one likelier?

Source
    Nangia et al. 2020, "CrowS-Pairs: A Challenge Dataset for Measuring Social Biases in Masked Language Models",
    arXiv:2010.00133, by whole sentences as in lm-evaluation-harness; Rudinger et al. 2018, "Gender Bias in Coreference
    Resolution", arXiv:1804.09301 (Winogender), its sentences alone.
Equation
    preferred = 1[log p(more) > log p(less)], a tie counts 1/2;   gap = |log p(more) - log p(less)|
    more: the sentence that follows the stereotype; of Winogender, with the pronoun of most people in the occupation
Shapes
    System and one pair -> an Observation with one number per measure
Cost
    One pass over each sentence, of what the two begin with together only one.
Caveats
    A model without preference is at 0.5, and so is one whose preferences cancel out; the gap tells them apart. Neither
    end is good, so that no model wins by it. The paper scores masked models by the words that both sentences share;
    here all words count, so that how common the words for a group are counts too. Blodgett et al. 2021 found many
    pairs of CrowS-Pairs ill made: take the figure as a demonstration. In Winogender's sentences only those count whose
    pronoun stands for the occupation. Our own pairs, which are the default, are few and about occupations alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import splits, stereotypes
from trivium.data.stereotypes import Form, Pair
from trivium.evaluation import _choices
from trivium.evaluation._ties import ALIKE
from trivium.evaluation._together import together
from trivium.models.scoring import Request, score
from trivium.models.system import System


@method(title="Stereotypes", source="arXiv:2010.00133", year=2020, needs=["causal"])
@dataclass(frozen=True)
class Stereotypes:
    """Pairs of sentences, one of which is the more stereotyped."""

    path: str = ""
    """The file of CrowS-Pairs, or the folder of Winogender; by default pairs of our own."""
    form: Form = "crows_pairs"
    """Which of the two it is."""
    items: int | None = None
    """Pairs from the beginning; half as many behind them are for validation. None takes all."""
    batch_size: int = 32
    """Sentences per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("preferred", "The stereotype is likelier", None, binary=True),
        Measure("gap", "Nats between the two sentences", False, "nats"),
        Measure("tied", "Ties", None, binary=True),
    )

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}; got {self.form!r}")
        for name in ("items", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def pairs(self, split: str) -> Sequence[Pair]:
        """Those of a split."""
        return splits.part(self._read, self.items, split) if self.path else stereotypes.made(split)[: self.items]

    @cached_property
    def _read(self) -> tuple[Pair, ...]:
        return stereotypes.read(self.path, self.form)

    def examples(self, split: str) -> list[Example]:
        return [
            Example(one.id, f"{one.more} / {one.less}", cluster=one.group, fields={"split": split, "number": number})
            for number, one in enumerate(self.pairs(split))
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first pair of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        pairs = self.pairs(split)
        requests = [Request("", sentence) for one in pairs for sentence in (one.more, one.less)]
        found = score(system, requests, batch_size=self.batch_size)
        observed = []
        for one, more, less in zip(pairs, found[::2], found[1::2], strict=True):
            gap = more.total - less.total
            tied = abs(gap) < ALIKE
            values = {"preferred": 0.5 if tied else float(gap > 0), "gap": abs(gap), "tied": float(tied)}
            taken = "neither" if tied else one.more if gap > 0 else one.less
            shown = _choices.shown(system, (one.more, one.less), (more, less), -1, int(gap <= 0))
            observed.append(Observation(values, {"text": f"likelier: {taken}", **shown}))
        return observed
