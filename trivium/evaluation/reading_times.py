"""Reading times: how well a model's surprise at each word foretells how long readers take for it.

Source
    AlKhamissi, Tuckute, Bosselut and Schrimpf 2024, "Brain-Like Language Processing via a Shallow Untrained Multihead
    Attention Network", arXiv:2406.15109: correlation over a ceiling. Difference of log-likelihood as is usual in
    psycholinguistics; spaces by Pimentel and Meister 2024, arXiv:2406.14561, and Oh and Schuler 2024, arXiv:2406.10851.
Equation
    s_t = surprisal of word t in bits, see ``models.surprisal``;   r_k = corr(time_t, s_{t - k}) within a story
    delta = 100 mean_t [log N(time_t | base_t, s_t, s_{t-1}, s_{t-2}) - log N(time_t | base_t)],
    base_t: length and log frequency of t, t-1 and t-2, and t;   fitted to the other folds (``nn.held_out``)
    ceiling = sqrt(2 h / (1 + h)),  h = corr(mean time of half the readers, of the other half);   share = r_0 / ceiling
Shapes
    System and one story -> an Observation with its correlations and its delta, and its words as weight
Cost
    One forward pass over each story, in windows that overlap by half where it is longer than the model takes.
Caveats
    Folds are stories, so that delta is of readers' times for text that the regression has not seen; a single story is
    cut into ten stretches. The first two words of a story, which have none before them to look back on, are left out of
    delta. Words of a story are not independent; a report's intervals are over stories, of which there are few. The
    ceiling is what a perfect account of the mean reader would reach; where each reader's times are not known there is
    none. Published figures divide by other ceilings. Times in the corpus's aggregated file may be one word off, as its
    authors say: read all lags, and claim no alignment. By default readers are simulated, from pair counts in stories
    of the teller that the tiny model was trained on, and show only that the method works. A word's punctuation is part
    of it, in surprisal and in length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.errors import NotOffered
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import reading, splits
from trivium.data.reading import TimedStory, Values
from trivium.evaluation._together import together
from trivium.models.surprisal import LENGTH, surprisals
from trivium.models.system import System
from trivium.nn.held_out import held_out_loglik

Whitespace = Literal["before", "behind"]
LAGS = (-3, -2, -1, 0, 1, 2, 3)
BACK = 2
"""Words before that a regression looks at."""
FOLDS, SPLITS = 10, 20


def _lag(lag: int) -> str:
    return f"r_{'next' if lag < 0 else 'last'}_{abs(lag)}" if lag else "r"


@method(title="Reading times", source="arXiv:2406.15109", year=2024, needs=["causal"])
@dataclass(frozen=True)
class ReadingTimes:
    """Stories with the time that readers took for each word."""

    path: str = ""
    """The folder of the Natural Stories corpus; by default stories and readers are made."""
    whitespace: Whitespace = "behind"
    """The space before a word is part of it; or the one behind is, which corrects for it."""
    items: int | None = None
    """Stories from the beginning; half as many behind them are for validation. None takes all."""
    length: int = LENGTH
    """Tokens in sight at most, fewer where the model takes fewer."""
    batch_size: int = 2
    """Stories per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("delta", "Gain in log-likelihood of times", True, "0.01 nats/word"),
        Measure("r", "Correlation with a word's own time", True),
        Measure("share", "The same over its ceiling", True),
        Measure("ceiling", "Ceiling from halves of the readers", None),
        *(
            Measure(_lag(lag), f"Correlation with the time {abs(lag)} {'later' if lag > 0 else 'earlier'}", None)
            for lag in LAGS
            if lag
        ),
        Measure("bits_per_word", "Surprisal", None, "bits/word"),
    )
    weighted_by: ClassVar[dict[str, str]] = {"delta": "fitted", "bits_per_word": "words"}
    """Measure -> the value by which stories weigh in."""

    def __post_init__(self) -> None:
        if self.whitespace not in get_args(Whitespace):
            raise ValueError(f"whitespace must be one of {', '.join(get_args(Whitespace))}; got {self.whitespace!r}")
        for name, least in (("items", 1), ("length", 2), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    def stories(self, split: str) -> Sequence[TimedStory]:
        """Those of a split."""
        splits.check(split)
        if not self.path:
            return reading.simulated(split)[: self.items]
        return splits.part(self._read, self.items, split)

    @cached_property
    def _read(self) -> tuple[TimedStory, ...]:
        return reading.read(self.path)

    def examples(self, split: str) -> list[Example]:
        return [
            Example(f"story {one.name}", one.text, fields={"split": split, "at": at})
            for at, one in enumerate(self.stories(split))
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["at"]]

    def bits(self, system: System, stories: Sequence[TimedStory]) -> list[Values]:
        """Surprisal of every word of each story."""
        if not isinstance(system, System):
            raise NotOffered(f"{system} gives no whole distributions, which spaces need; take a model on this machine")
        found = surprisals(system, [one.text for one in stories], length=self.length, batch_size=self.batch_size)
        behind = self.whitespace == "behind"
        return [each.words(one.spans, corrected=behind).numpy() for each, one in zip(found, stories, strict=True)]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        stories = self.stories(split)
        bits = self.bits(system, stories)
        gains = gain(stories, bits)
        observed = []
        for one, mine, gained in zip(stories, bits, gains, strict=True):
            values = {"delta": 100 * float(gained.mean()), "fitted": float(len(gained)), "words": float(len(mine))}
            by_lag = {_lag(lag): lagged(one.times, mine, lag) for lag in LAGS}
            values |= {name: r for name, r in by_lag.items() if r is not None}
            values["bits_per_word"] = float(mine.mean())
            top = ceiling(one)
            if top is not None:
                values["ceiling"] = top
                if "r" in values and top > 0:
                    values["share"] = values["r"] / top
            lags = ", ".join(f"{lag:+d}: {values[_lag(lag)]:.3f}" for lag in LAGS if _lag(lag) in values)
            observed.append(Observation(values, {"text": f"correlation by lag: {lags}"}))
        return observed


def lagged(times: Values, bits: Values, lag: int) -> float | None:
    """Correlation of each word's time with the surprisal of the word that stands so many before it; below 0, behind.

    None where there are too few words or one side does not vary.
    """
    size = len(times) - abs(lag)
    if size < 3:
        return None
    a, b = (times[lag:], bits[:size]) if lag >= 0 else (times[:size], bits[-lag:])
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else None


def ceiling(story: TimedStory) -> float | None:
    """What a perfect account of the mean reader would correlate with these readers' mean: halves of them against each
    other, over twenty ways to halve them. None where readers are not known, or two halves have nothing in common."""
    if story.readers is None or len(story.readers) < 2:
        return None
    generator = seeds.numpy_generator(0, "halves", story.name)
    found = []
    for _ in range(SPLITS):
        order = generator.permutation(len(story.readers))
        halves = [story.readers[part] for part in np.array_split(order, 2)]
        there = ~(np.isnan(halves[0]).all(axis=0) | np.isnan(halves[1]).all(axis=0))
        a, b = (np.nanmean(half[:, there], axis=0) for half in halves)
        if there.sum() >= 3 and np.ptp(a) > 0 and np.ptp(b) > 0:
            found.append(float(np.corrcoef(a, b)[0, 1]))
    half = sum(found) / len(found) if found else 0.0
    return (2 * half / (1 + half)) ** 0.5 if half > 0 else None


def columns(stories: Sequence[TimedStory], bits: Sequence[Values]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Baseline, surprisal and times of all words with two before them, and the story that each is of."""
    base, more, times, where = [], [], [], []
    for number, (one, mine) in enumerate(zip(stories, bits, strict=True)):
        count = len(one.words)
        if count <= BACK:
            raise ValueError(f"story {one.name!r} has {count} words, and {BACK} stand before each that is looked at")
        length = np.array([len(word) for word in one.words], float)

        def back(values: Values, count: int = count) -> list[Values]:
            return [values[BACK - by : count - by] for by in range(BACK + 1)]

        base.append(np.stack([*back(length), *back(one.frequency), np.arange(BACK, count, dtype=float)], axis=1))
        more.append(np.stack(back(mine), axis=1))
        times.append(one.times[BACK:])
        where.append(np.full(count - BACK, number))
    parts = (base, more, times, where)
    return tuple(torch.from_numpy(np.concatenate(each)) for each in parts)  # type: ignore[return-value]


def gain(stories: Sequence[TimedStory], bits: Sequence[Values]) -> list[Values]:
    """Nats by which surprisal makes each word's time likelier, held out: by stories, or by stretches of one alone."""
    base, more, times, where = columns(stories, bits)
    fold = where % FOLDS if len(stories) > 1 else torch.arange(len(where)) * FOLDS // len(where)
    gained = held_out_loglik(torch.cat([base, more], 1), times, fold) - held_out_loglik(base, times, fold)
    return [gained[where == number].numpy() for number in range(len(stories))]
