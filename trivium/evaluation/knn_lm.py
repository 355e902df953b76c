"""Nearest-neighbour language models taken apart: which part of the gain comes from what.

Source
    Xu, Alon and Neubig 2023, "Why do Nearest Neighbor Language Models Work?", arXiv:2301.02828, on Khandelwal et al.
    2020, "Generalization through Memorization", arXiv:1911.00172.
Equation
    p = (1 - lambda) p_LM + lambda p_kNN;   p_kNN(v) = sum over the k nearest with value v of softmax(-d / tau)
    tau = temperature x scale,   scale = mean distance of the neighbours of the tuning tokens
    search: "exact", or by an inverted file of quantised keys with the scores "stored" there or "recomputed" from keys
    oracle = max(p_LM, p_kNN) token by token;   helped = share of tokens with p_kNN > p_LM
Shapes
    System and one document -> an Observation in nats per token, with its tokens as weight
Cost
    One pass over the store's text and the documents; 2 queries entries width operations for an exact search, by an
    inverted file about probes / lists of them, and a byte for each piece of a key.
Caveats
    Temperature and lambda (a grid of 200) are tuned on the validation split and applied to the test split; the authors
    tune on the text that they report. Temperatures are in units of the mean distance, since raw distances are of
    another size in every model; for "dot" of the mean spread of the scores of a token's neighbours. k is smaller than
    the paper's 1024, as the store is, and so are the lists of the inverted file (4096, of which 32 are probed). Tokens
    for which no neighbour is found are the model's alone, and counted. Of each word as large a share of its entries
    become centres, so that frequent words keep their weight; how the authors share them out is not stated here from
    their text. ``learned`` trains those centres as a second output layer, the model being frozen and entries its only
    text; training it along with the model, and mixtures of softmaxes, are left out. ``beside`` takes an overfitted
    checkpoint, and makes none.
    Perplexities per token compare for one tokenizer only; ``Figures.gain_over`` refuses others, and perplexity per word
    stands beside. ``shuffled`` deals the values out anew among the keys: a control without any gain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.progress import Bar
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.evaluation._knn import Asked, Figures, Tuned, figures
from trivium.evaluation._together import together
from trivium.models.datastore import Datastore, Entries, KeyDtype, Representation, entries
from trivium.models.system import System
from trivium.nn.clusters import centres_by_class
from trivium.nn.inverted_file import InvertedFile, recall, rescored
from trivium.nn.learned_keys import train_keys
from trivium.nn.nearest import Similarity, best_share, search, whitening

Search = Literal["exact", "stored", "recomputed"]
Factor = Literal[
    "representation", "similarity", "search", "temperature", "tau", "share", "clusters", "learned", "whiten", "shuffled"
]
SAMPLE = 512
"""Tokens whose neighbours tell the automatic tau, and the recall."""


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
    folder: str | None = None
    """Where the store's keys are kept, and found again; None: in memory."""
    dtype: KeyDtype = "float32"
    """Of the store's keys."""
    neighbours: int = 64
    representation: Representation = "ffn"
    similarity: Similarity = "l2"
    search: Search = "exact"
    """"stored" and "recomputed" need the extra ``neighbours``."""
    lists: int | None = None
    """Of the inverted file; None: the root of the number of entries, at most 4096."""
    probes: int = 32
    """Lists that a query looks through."""
    code: int = 64
    """Bytes of a quantised key at most."""
    tau: Literal["tuned", "auto"] | float = "tuned"
    """"tuned": the best of the temperatures. "auto": the median distance of the nearest neighbour of 512 tuning tokens.
    Or a number in the units of the distances, as in the papers."""
    temperatures: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """In units of the mean distance."""
    share: float = 1.0
    """Of the store's entries, drawn at random."""
    clusters: float | None = None
    """In place of the entries of each word k-means centres, such a share of their number, one at least."""
    learned: int = 0
    """Epochs over the entries for which the clusters' keys are then trained to tell them: a second output layer, with
    rows of each word that begin as k-means centres."""
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
            ("length", 2), ("batch_size", 1), ("probes", 1), ("code", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is a part of the store, above 0 and at most 1; got {self.share}")
        if self.lists is not None and self.lists < 1:
            raise ValueError(f"lists must be at least 1, or None; got {self.lists}")
        if self.clusters is not None and not 0.0 < self.clusters <= 1.0:
            raise ValueError(f"clusters are a share of each word's entries, above 0 and at most 1; got {self.clusters}")
        if self.learned < 0 or (self.learned and self.clusters is None):
            raise ValueError(f"learned counts epochs, with clusters; got {self.learned} with clusters {self.clusters}")
        if isinstance(self.tau, str):
            if self.tau not in {"tuned", "auto"}:
                raise ValueError(f'tau must be "tuned", "auto" or a number; got {self.tau!r}')
            if self.tau == "auto" and self.similarity == "dot":
                raise ValueError('tau "auto" is a distance, which "dot" has none of; take "tuned" or a number')
        elif not 0.0 < self.tau < math.inf:
            raise ValueError(f"tau divides the scores and must be positive, got {self.tau}")
        if not self.temperatures or not all(0 < one < math.inf for one in self.temperatures):
            raise ValueError(f"temperatures must be positive, at least one; got {self.temperatures}")
        for name, words in (
            ("representation", Representation),
            ("similarity", Similarity),
            ("search", Search),
            ("dtype", KeyDtype),
        ):
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
        made["store"] = Datastore.build(
            system,
            self.text["train"],
            folder=None if self.folder is None else Path(self.folder) / self.representation,
            representation=self.representation,
            dtype=self.dtype,
            length=self.length,
            batch_size=self.batch_size,
            limit=self.store,
            bar=bar,
        ).entries
        made["tuning"] = self._entries(system, self.text["validation"], self.tuning, bar)
        texts = [example.text for example in self.examples("test")]
        made["test"] = self._entries(system, texts, None, bar)
        return made

    def figures(self, system: System, read: Mapping[str, Entries]) -> Figures:
        """Tuned on the one, measured on the other."""
        found = self._tuned(read["store"], read["tuning"], read["test"])
        return figures(
            found.asked.read,
            found.neighbours,
            found.share,
            self._words,
            found.asked.answered,
            temperature=found.temperature,
            tau=found.tau,
            recall=found.recall,
            entries=found.entries,
        )

    def beside(self, system: System, other: System, bar: Bar | None = None) -> Figures:
        """The model mixed with another one instead of neighbours: with a checkpoint that was trained on the store's
        text for too long, say, or with one that is merely another. Lambda is tuned as ever.

        Raises ValueError where the other's tokens are not the same ones.
        """
        read: list[tuple[Entries, Tensor]] = []
        tests = [example.text for example in self.examples("test")]
        for texts, limit in ((self.text["validation"], self.tuning), (tests, None)):
            mine, others = (self._entries(one, texts, limit, bar) for one in (system, other))
            if not torch.equal(mine.values, others.values) or others.logp is None:
                raise ValueError(f"{system.name} and {other.name} read other tokens; mix models of one tokenizer")
            read.append((mine, others.logp))
        (tuning, told), (test, said) = read
        assert tuning.logp is not None
        return figures(test, said, best_share(tuning.logp, told, self.grid)[0], self._words)

    @property
    def _words(self) -> int:
        return sum(len(example.text.split()) for example in self.examples("test"))

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
                changed: dict[str, Any] = {field: (level,) if field != factor else level}
                settings.append((factor, str(level), replace(self, **changed)))
        wanted: set[Representation] = {task.representation for _, _, task in settings}
        one: Representation = wanted.pop() if len(wanted) == 1 else "both"
        whole = replace(self, representation=one).read(system, bar)
        found: dict[str, dict[str, Figures]] = {}
        for factor, level, task in settings:
            read = {name: _part(each, one, task.representation) for name, each in whole.items()}
            found.setdefault(factor, {})[level] = task.figures(system, read)
        return found

    def _entries(self, system: System, texts: Sequence[str], limit: int | None, bar: Bar | None) -> Entries:
        return entries(
            system,
            texts,
            representation=self.representation,
            length=self.length,
            batch_size=self.batch_size,
            limit=limit,
            likelihoods=True,
            bar=bar,
        )

    def _tuned(self, store: Entries, tuning: Entries, test: Entries) -> Tuned:
        """Tau and lambda by the tuning tokens, and what the neighbours of the test tokens are."""
        draw = seeds.generator(self.seed, "store")
        if self.share < 1:
            kept = torch.randperm(len(store), generator=draw)[: max(1, round(self.share * len(store)))]
            store = store.some(kept.sort().values)
        if self.shuffled:
            store = replace(store, values=store.values[torch.randperm(len(store), generator=draw)])
        keys, values = store.keys, store.values
        if self.clusters is not None:
            keys, values = centres_by_class(keys, values, self.clusters, self.seed)
        turn = lambda x: x  # noqa: E731
        if self.whiten:
            mean, stretch = whitening(keys)
            turn = lambda x: (x - mean) @ stretch  # noqa: E731
            keys = turn(keys)
        if self.learned:
            keys = self._learn(keys, values, turn(store.keys), store.values)
        queries = [turn(part.keys) for part in (tuning, test)]
        found = self._search(queries, keys)
        tuned, asked = (
            Asked(scores.double(), values[index], part)
            for (scores, index), part in zip(found, (tuning, test), strict=True)
        )
        held = 1.0
        if self.search != "exact":
            some = slice(SAMPLE)
            exact = search(queries[1][some], keys, self.neighbours, similarity=self.similarity)[1]
            held = recall(found[1][0][some], found[1][1][some], exact)
        scale = self._scale(tuned.scores)
        best = (math.inf, 0.0, 0.0)
        for tau in self._taus(tuned.scores, scale):
            share, losses = best_share(tuned.own, tuned.says(tau), self.grid, tuned.answered)
            best = min(best, (float(losses.min()), tau, share))
        return Tuned(best[2], best[1], scale, asked, held, len(values))

    def _learn(self, keys: Tensor, values: Tensor, entries: Tensor, said: Tensor) -> Tensor:
        """Keys trained at the scale of their distances; the tau that is voted with is found afterwards."""
        some = entries[:SAMPLE].float()
        tau = self._scale(search(some, keys, min(self.neighbours, len(keys)), similarity=self.similarity)[0])
        return train_keys(
            keys, values, entries, said, tau=tau, epochs=self.learned, similarity=self.similarity, seed=self.seed
        )

    def _search(self, queries: Sequence[Tensor], keys: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Scores and numbers of the neighbours of each part."""
        if self.search == "exact":
            return [search(part, keys, self.neighbours, similarity=self.similarity) for part in queries]
        index = InvertedFile.build(keys, lists=self.lists, code=self.code, similarity=self.similarity, seed=self.seed)
        found = [index.search(part, self.neighbours, self.probes) for part in queries]
        if self.search == "stored":
            return found
        return [rescored(part, keys, *each, self.similarity) for part, each in zip(queries, found, strict=True)]

    def _scale(self, scores: Tensor) -> float:
        """Mean distance of the neighbours that were found, or for "dot" how far they are below the nearest."""
        there = scores > float("-inf")
        spread = -scores if self.similarity == "l2" else scores.amax(1, keepdim=True) - scores
        return float(spread[there].mean()) or 1.0 if there.any() else 1.0

    def _taus(self, scores: Tensor, scale: float) -> list[float]:
        """Those that are tried."""
        if self.tau == "tuned":
            return [temperature * scale for temperature in self.temperatures]
        if self.tau != "auto":
            return [float(self.tau)]
        nearest = -scores[:SAMPLE, 0]
        nearest = nearest[nearest < math.inf]
        middle = float(nearest.median()) if len(nearest) else 0.0
        if not middle > 0:
            raise ValueError(
                "tau cannot be the median distance of the nearest neighbours, which is 0: the tuning text is in the "
                'store; tune on another one, or let tau be "tuned" or a number'
            )
        return [middle]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        read = dict(self.read(system))
        if split != "test":
            texts = [example.text for example in self.examples(split)]
            read["test"] = self._entries(system, texts, None, None)
        found = self._tuned(read["store"], read["tuning"], read["test"])
        asked, neighbours, mixed, best = found.asked, found.neighbours, found.mixed, found.best
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
            shown = (
                f"lambda {found.share:.3f}, temperature {found.temperature:g}, {found.entries} entries, "
                f"recall {found.recall:.2f}"
            )
            observed.append(Observation(values, {"text": shown}))
        return observed


def _part(read: Entries, held: Representation, wanted: Representation) -> Entries:
    """Of entries with both representations those with one."""
    if held == wanted:
        return read
    half = read.keys.shape[1] // 2
    return replace(read, keys=read.keys[:, :half] if wanted == "ffn" else read.keys[:, half:])
