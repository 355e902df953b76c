"""CW2V: new rows inside the convex hull of the old ones, where in it learnt by word2vec on text.

Source
    Mundra, Kishore, Dabre, Puduppully, Kunchukuttan and Khapra 2024, "An Empirical Comparison of Vocabulary Expansion
    and Initialization Approaches for Language Models", arXiv:2407.05841; defaults of the authors' code.
Equation
    E_new = softmax(R1 R2) E_old,   U_new = softmax(Q1 Q2) U_old;   R1 (N, m), R2 (m, V), the old rows frozen
    minimise over pairs (c, o) of a window:  - log s(e_c . u_o) - sum_{k <= 5} log s(- e_c . u_{n_k})
    hull theorem: u_new = sum_i a_i u_i with a >= 0 and sum 1 implies h . u_new <= max_i h . u_i for every h
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    Each batch: a softmax over the old vocabulary for every new token in it. Memory (N + V) m numbers, twice if untied.
Caveats
    Right after it the largest logit is always an old token's, so that greedy output of the old language is unchanged
    (in float32; rounding to bfloat16 can break it). Departures from the released code, which loss='reference' undoes
    where it concerns the loss: it adds the five negative scores before one logarithm, draws the negatives of a batch
    without replacement, and thins centre words only, by raw counts. Its factors are uniform in [0, 1), so that softmax
    is sharp from the start; ours are normal with standard deviation 1/sqrt(m), so that rows start near the mean. The
    window is not shortened at random. A tied model has one set of weights. Tokens that the text lacks keep their
    starting point and are reported as uncovered.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from trivium.core.errors import NotFinite
from trivium.core.method import method
from trivium.nn.skip_gram import keep_probability, pairs, skip_gram_loss
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match, draw

TRIM = 1024
"""New rows whose weights over the old vocabulary are held at once when the rows are made."""


@method(title="Constrained word2vec", source="arXiv:2407.05841", year=2024)
@dataclass(frozen=True)
class Cw2v(Initialiser):
    """Weights of convex combinations, learnt by skip-gram with negative sampling."""

    rank: int = 1024
    """Of the two factors of the weights, before the softmax."""
    window: int = 5
    negatives: int = 5
    batch_size: int = 4096
    """Pairs."""
    epochs: int = 5
    learning_rate: float = 3e-4
    threshold: float = 1e-4
    """Share of the text above which tokens are thinned out."""
    loss: Literal["own", "reference"] = "own"
    """Negatives one by one, or as the released code takes them."""
    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    reads: ClassVar[tuple[str, ...]] = ("new_texts",)

    def __post_init__(self) -> None:
        check_match(self.match)
        for name in ("rank", "window", "negatives", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.epochs < 0:
            raise ValueError(f"epochs must not be negative, got {self.epochs}")
        if self.learning_rate <= 0 or self.threshold <= 0:
            raise ValueError(
                f"learning_rate and threshold must be positive, got {self.learning_rate} and {self.threshold}"
            )
        if self.loss not in ("own", "reference"):
            raise ValueError(f"loss must be 'own' or 'reference', got {self.loss!r}")

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        texts = [*frame.languages.new_texts, *frame.languages.old_texts]
        rows = [torch.tensor(frame.tokenizer.encode(text), dtype=torch.int64) for text in texts]
        counts = torch.bincount(torch.cat([*rows, torch.empty(0, dtype=torch.int64)]), minlength=len(frame.origin))
        sides = 1 if frame.rows.tied else 2
        weights = [
            _Weights(
                draw(len(frame.new), self.rank, generator).float() / self.rank**0.5,
                draw(self.rank, len(frame.old), generator).float() / self.rank**0.5,
            )
            for _ in range(sides)
        ]
        final = self.learn(frame, rows, counts.double(), weights, generator)
        unseen = frame.new[counts[frame.new] == 0].tolist()
        return Filling(
            weights[0].rows, weights[-1].rows, uncovered=unseen, facts={} if final is None else {"loss": final}
        )

    def learn(
        self, frame: Frame, rows: list[Tensor], counts: Tensor, weights: list["_Weights"], generator: torch.Generator
    ) -> float | None:
        """Train the weights in place; the mean loss of the last epoch. Old rows stay as they are."""
        tables = [frame.rows.embedding, frame.rows.embedding if frame.rows.head is None else frame.rows.head]
        sides = [
            _Side(table[frame.old].float().cpu(), one, frame)
            for table, one in zip(tables, (weights[0], weights[-1]), strict=True)
        ]
        optimizer = torch.optim.Adam([part for one in weights for part in one.factors], self.learning_rate)
        last = None
        for _ in range(self.epochs):
            found = self.pairs(rows, counts, generator)
            if not len(found):
                raise ValueError("the texts give no pair of tokens; give longer ones, or raise threshold")
            order = torch.randperm(len(found), generator=generator, device=generator.device).cpu()
            total = 0.0
            for batch in found[order].split(self.batch_size):
                negatives = self.draws(counts, len(batch), generator)
                centre, others = batch[:, 0], torch.cat((batch[:, 1:], negatives), 1)
                outer = sides[1](others)
                value = skip_gram_loss(sides[0](centre), outer[:, 0], outer[:, 1:], summed=self.loss == "reference")
                if value.requires_grad:  # a batch may hold old tokens alone
                    optimizer.zero_grad()
                    value.backward()
                    optimizer.step()
                total += float(value.detach()) * len(batch)
            last = total / len(found)
            if not math.isfinite(last):
                raise NotFinite("the loss of constrained word2vec is not finite; lower learning_rate")
        return last

    def pairs(self, rows: list[Tensor], counts: Tensor, generator: torch.Generator) -> Tensor:
        """(pairs, 2) of one epoch, frequent tokens thinned out."""
        chances = lambda size: torch.rand(size, generator=generator, device=generator.device).cpu()  # noqa: E731
        if self.loss == "own":
            keep = keep_probability(counts, self.threshold)
            return pairs([row[chances(len(row)) < keep[row]] for row in rows], self.window)
        found = pairs(rows, self.window)
        keep = keep_probability(counts, 2 / float(counts.sum()))  # the constant 2 on raw counts
        return found[chances(len(found)) < keep[found[:, 0]]]

    def draws(self, counts: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """(size, negatives) in proportion to count^0.75."""
        wanted, seen = size * self.negatives, int((counts > 0).sum())
        again = self.loss == "own"
        if not again and wanted > seen:
            raise ValueError(
                f"{wanted} different negatives of a batch are more than the {seen} tokens of the text; the reference "
                f"takes none twice: lower batch_size to {seen // self.negatives}, or use loss='own'"
            )
        chances = counts.pow(0.75).to(generator.device)
        return torch.multinomial(chances, wanted, replacement=again, generator=generator).cpu().view(size, -1)


class _Weights:
    """softmax(first second): a convex combination of the old rows for each new one."""

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.factors = (first.requires_grad_(), second.requires_grad_())

    def __call__(self, places: Tensor) -> Tensor:
        """(n,) -> (n, old rows)"""
        first, second = self.factors
        return (first[places] @ second).softmax(1)

    @torch.no_grad()
    def rows(self, source: Tensor) -> Tensor:
        """All new rows; in float64, so that weights sum to 1 beyond what the model's format shows."""
        first, second = (factor.double() for factor in self.factors)
        return torch.cat([(part @ second).softmax(1) @ source for part in first.split(TRIM)])


class _Side:
    """The vectors of tokens of the new vocabulary, as they are now."""

    def __init__(self, source: Tensor, weights: _Weights, frame: Frame) -> None:
        self.source, self.weights = source, weights
        self.old = torch.full((len(frame.origin),), -1, dtype=torch.int64)
        self.old[frame.copied] = torch.tensor([frame.place[int(id)] for id in frame.origin[frame.copied]])
        self.new = torch.full((len(frame.origin),), -1, dtype=torch.int64)
        self.new[frame.new] = torch.arange(len(frame.new))

    def __call__(self, ids: Tensor) -> Tensor:
        """(...) -> (..., width); weights are worked out once for each new token that occurs."""
        flat = ids.reshape(-1)
        found = self.source[self.old[flat].clamp(min=0)]
        fresh = (self.new[flat] >= 0).nonzero()[:, 0]
        if len(fresh):
            tokens, back = self.new[flat[fresh]].unique(return_inverse=True)
            found = found.index_put((fresh,), (self.weights(tokens) @ self.source)[back])
        return found.view(*ids.shape, -1)
