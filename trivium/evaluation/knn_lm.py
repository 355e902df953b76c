"""Nearest-neighbour language models taken apart: which part of the gain comes from what.

Source
    Xu, Alon and Neubig 2023, "Why do Nearest Neighbor Language Models Work?", arXiv:2301.02828, on Khandelwal et al.
    2020, "Generalization through Memorization", arXiv:1911.00172.
Equation
    p = (1 - lambda) p_LM + lambda p_kNN;   p_kNN(v) = sum over the k nearest with value v of softmax(-d / tau)
    tau = temperature x scale,   scale = mean distance of the neighbours of the tuning tokens
    oracle = max(p_LM, p_kNN) token by token;   helped = share of tokens with p_kNN > p_LM
Shapes
    System and one document -> an Observation in nats per token, with its tokens as weight
Cost
    One pass over the store's text and the documents; 2 queries entries width operations for the search.
Caveats
    Temperature and lambda (a grid of 200) are tuned on the validation split and applied to the test split; the authors
    tune on the text that they report. Temperatures are in units of the mean distance, since raw distances are of
    another size in every model; for "dot" of the mean spread of the scores of a token's neighbours. Search is exact:
    the authors find approximate search better, which is not looked at here. k is smaller than the paper's 1024, as the
    store is. Per-word clusters, extra output heads and overfitted checkpoints, which they also vary, are left out.
    Perplexities per token compare for one tokenizer only; ``Figures.gain_over`` refuses others, and perplexity per word
    stands beside. ``shuffled`` deals the values out anew among the keys: a control without any gain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.progress import Bar
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.evaluation._together import together
from trivium.models.datastore import Entries, Representation, entries
from trivium.models.system import System
from trivium.nn.nearest import Similarity, best_share, interpolate, oracle, search, vote, whitening

Factor = Literal["representation", "similarity", "temperature", "share", "whiten", "shuffled"]


@dataclass(frozen=True)
class Figures:
    """What one setting came to on the test tokens. Losses in nats over all of them; ``share`` is lambda. ``by_text``:
    losses of the model and of the mixture in nats per token, for each document."""

    lm: float
    mixed: float
    best: float
    helped: float
    share: float
    temperature: float
    tokens: int
    words: int
    by_text: tuple[tuple[float, float], ...] = ()

    def perplexity(self, of: Literal["lm", "mixed", "best"] = "mixed", *, per_word: bool = False) -> float:
        """Of the model alone, of the mixture, or of the oracle."""
        return math.exp(getattr(self, of) / (self.words if per_word else self.tokens))

    def gain_over(self, other: "Figures") -> float:
        """Nats per token by which this mixture is better. Raises ValueError where the tokens are not the same ones."""
        if (self.tokens, self.words) != (other.tokens, other.words):
            raise ValueError(
                f"{self.tokens} tokens of {self.words} words and {other.tokens} of {other.words} are not the same text "
                "in the same tokens; compare perplexities per word"
            )
        return (other.mixed - self.mixed) / self.tokens


@dataclass(frozen=True, eq=False)
class _Asked:
    """Neighbours of some tokens: scores over scale, values, and what they and the model say of the right token."""

    scores: Tensor
    values: Tensor
    read: Entries

    def says(self, temperature: float) -> Tensor:
        return vote(self.scores, self.values, self.read.values, temperature)

    @property
    def own(self) -> Tensor:
        assert self.read.logp is not None
        return self.read.logp


@method(title="kNN-LM, taken apart", source="arXiv:2301.02828", year=2023, needs=["causal", "sites"])
@dataclass(frozen=True)
class KnnLM:
    """Documents read by a model, by its nearest neighbours in a store of other documents, and by a mixture."""

    corpus: Corpus | str = "python_docs"
    """A corpus, its name, or the path of text to read: the store is of its training split."""
    store: int = 60_000
    """Tokens of the store at most."""
    tuning: int = 2_000
    """Tokens of the validation split at most, on which temperature and lambda are found."""
    documents: int = 8
    """Of a split."""
    characters: int = 2_500
    """Of a document, from its beginning."""
    neighbours: int = 64
    representation: Representation = "ffn"
    similarity: Similarity = "l2"
    temperatures: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """In units of the mean distance; the best one is taken."""
    share: float = 1.0
    """Of the store's entries, drawn at random."""
    whiten: bool = False
    """Turn and stretch the keys until their covariance is the identity."""
    shuffled: bool = False
    """Deal values out anew among the keys."""
    grid: int = 200
    """Values of lambda that are tried."""
    length: int = 512
    """Tokens of context at most."""
    batch_size: int = 4
    """Windows per pass."""
    seed: int = 0

    measures: ClassVar[Sequence[Measure]] = (
        Measure("gain", "Gain by neighbours", True, "nats/token"),
        Measure("loss", "Mixture", False, "nats/token"),
        Measure("lm", "Model alone", None, "nats/token"),
        Measure("oracle", "Oracle", None, "nats/token"),
        Measure("helped", "Tokens that neighbours know better", None),
    )
    weighted_by: ClassVar[dict[str, str]] = {name: "tokens" for name in ("gain", "loss", "lm", "oracle", "helped")}
    """Measure -> the value by which documents weigh in."""

    def __post_init__(self) -> None:
        for name, least in (
            ("store", 1), ("tuning", 1), ("documents", 1), ("characters", 1), ("neighbours", 1), ("grid", 2),
            ("length", 2), ("batch_size", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is a part of the store, above 0 and at most 1; got {self.share}")
        if not self.temperatures or not all(0 < one < math.inf for one in self.temperatures):
            raise ValueError(f"temperatures must be positive, at least one; got {self.temperatures}")
        for name, words in (("representation", Representation), ("similarity", Similarity)):
            if getattr(self, name) not in get_args(words):
                raise ValueError(f"{name} must be one of {', '.join(get_args(words))}; got {getattr(self, name)!r}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    def examples(self, split: str) -> list[Example]:
        """The beginnings of the first documents of the split."""
        return [
            Example(f"{split}-{number:05d}", text[: self.characters], fields={"split": split, "at": number})
            for number, text in enumerate(self.text[split][: self.documents])
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["at"]]

    def read(self, system: System, bar: Bar | None = None) -> Mapping[str, Entries]:
        """The store, the tuning tokens and the test tokens: all that the model is asked for."""
        made = {}
        for name, split, limit in (("store", "train", self.store), ("tuning", "validation", self.tuning)):
            texts = self.text[split]
            made[name] = self._entries(system, texts, limit, bar, likelihoods=name != "store")
        texts = [example.text for example in self.examples("test")]
        made["test"] = self._entries(system, texts, None, bar, likelihoods=True)
        return made

    def figures(self, system: System, read: Mapping[str, Entries]) -> Figures:
        """Tuned on the one, measured on the other."""
        temperature, share, asked = self._asked(read["store"], read["tuning"], read["test"])
        neighbours = asked.says(temperature)
        mixed = interpolate(asked.own, neighbours.double(), share)
        words = sum(len(example.text.split()) for example in self.examples("test"))
        return Figures(
            -float(asked.own.sum()),
            -float(mixed.sum()),
            -float(oracle(asked.own, neighbours.double()).sum()),
            float((neighbours > asked.own).double().mean()),
            share,
            temperature,
            len(asked.own),
            words,
            tuple(
                (-float(asked.own[mine].mean()), -float(mixed[mine].mean()))
                for mine in (asked.read.text == number for number in asked.read.text.unique().tolist())
            ),
        )

    def vary(
        self, system: System, factors: Mapping[Factor, Sequence[object]], bar: Bar | None = None
    ) -> dict[str, dict[str, Figures]]:
        """One factor at a time away from this setting: factor -> level -> figures. The model reads everything once.

        Raises ValueError for a factor that is none, before anything is read.
        """
        settings: list[tuple[str, str, KnnLM]] = []
        for factor, levels in factors.items():
            if factor not in get_args(Factor):
                raise ValueError(f"a factor is one of {', '.join(get_args(Factor))}; got {factor!r}")
            field = "temperatures" if factor == "temperature" else factor
            for level in levels:
                settings.append((factor, str(level), replace(self, **{field: (level,) if field != factor else level})))
        wanted: set[Representation] = {task.representation for _, _, task in settings}
        one: Representation = wanted.pop() if len(wanted) == 1 else "both"
        whole = replace(self, representation=one).read(system, bar)
        found: dict[str, dict[str, Figures]] = {}
        for factor, level, task in settings:
            read = {name: _part(each, one, task.representation) for name, each in whole.items()}
            found.setdefault(factor, {})[level] = task.figures(system, read)
        return found

    def _entries(
        self, system: System, texts: Sequence[str], limit: int | None, bar: Bar | None, *, likelihoods: bool
    ) -> Entries:
        return entries(
            system,
            texts,
            representation=self.representation,
            length=self.length,
            batch_size=self.batch_size,
            limit=limit,
            likelihoods=likelihoods,
            bar=bar,
        )

    def _asked(self, store: Entries, tuning: Entries, test: Entries) -> tuple[float, float, _Asked]:
        """Temperature and lambda by the tuning tokens, and what the neighbours of the test tokens are."""
        draw = seeds.generator(self.seed, "store")
        if self.share < 1:
            kept = torch.randperm(len(store), generator=draw)[: max(1, round(self.share * len(store)))]
            store = store.some(kept.sort().values)
        values = store.values
        if self.shuffled:
            values = values[torch.randperm(len(values), generator=draw)]
        keys, turn = store.keys, (lambda x: x)
        if self.whiten:
            mean, stretch = whitening(store.keys)
            turn = lambda x: (x - mean) @ stretch  # noqa: E731
            keys = turn(keys)
        found = []
        for part in (tuning, test):
            scores, index = search(turn(part.keys), keys, self.neighbours, similarity=self.similarity)
            found.append((scores.double(), values[index], part))
        first = found[0][0]
        spread = -first if self.similarity == "l2" else first.amax(1, keepdim=True) - first
        scale = float(spread.mean()) or 1.0
        tuned, asked = (_Asked(scores / scale, said, part) for scores, said, part in found)
        best = (math.inf, self.temperatures[0], 0.0)
        for temperature in self.temperatures:
            share, losses = best_share(tuned.own, tuned.says(temperature), self.grid)
            best = min(best, (float(losses.min()), temperature, share))
        return best[1], best[2], asked

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        read = dict(self.read(system))
        if split != "test":
            texts = [example.text for example in self.examples(split)]
            read["test"] = self._entries(system, texts, None, None, likelihoods=True)
        temperature, share, asked = self._asked(read["store"], read["tuning"], read["test"])
        neighbours = asked.says(temperature).double()
        mixed, best = interpolate(asked.own, neighbours, share), oracle(asked.own, neighbours)
        observed = []
        for number in range(len(self.examples(split))):
            mine = asked.read.text == number
            if not mine.any():
                observed.append(Observation({}, {"skipped": "no token that is predicted"}))
                continue
            lm, with_neighbours = -float(asked.own[mine].mean()), -float(mixed[mine].mean())
            values = {
                "gain": lm - with_neighbours,
                "loss": with_neighbours,
                "lm": lm,
                "oracle": -float(best[mine].mean()),
                "helped": float((neighbours[mine] > asked.own[mine]).double().mean()),
                "tokens": float(mine.sum()),
            }
            shown = f"lambda {share:.3f}, temperature {temperature:g}, {len(read['store'])} entries"
            observed.append(Observation(values, {"text": shown}))
        return observed


def _part(read: Entries, held: Representation, wanted: Representation) -> Entries:
    """Of entries with both representations those with one."""
    if held == wanted:
        return read
    half = read.keys.shape[1] // 2
    return replace(read, keys=read.keys[:, :half] if wanted == "ffn" else read.keys[:, half:])
