"""Isotropy: how far apart a model's representations of the tokens of a text point.

Source
    Su and Collier 2023, "Contrastive Search Is What You Need For Neural Text Generation", arXiv:2210.14140, section 3;
    pooling over texts as in the authors' code.
Equation
    s(text) = sum_{i != j} cos(h_i, h_j) / (n (n - 1));   isotropy = 1 - s
    pooled over texts:  1 - sum of all cosines / sum of n (n - 1);   per text: the mean of 1 - s(text)
Shapes
    hidden (batch, time, width), mask (batch, time) -> sum of cosines and number of pairs (batch,)
Cost
    One forward pass over each text; the sum over pairs is n vectors added up, |sum u|^2 - sum |u|^2.
Caveats
    h_i is what enters the head, after the final norm, for every real token, what the tokenizer puts before a text
    included (the authors' code adds a start token for OPT only). The pooled value gives a text the weight of its pairs.
    The authors round to two decimals; we do not. A text of fewer than two tokens has no value and is counted as
    skipped. A state of norm 0 has cosine 0 with all others, and is logged. In the profile inner layers are read where
    they leave a block, before any norm. Values of different texts or lengths do not compare.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.models.system import System

log = logging.getLogger(__name__)


def cosines(hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """States (batch, time, width) -> sum of the cosines of all ordered pairs of distinct real tokens (batch,) in
    float64, and how many pairs those are (batch,)."""
    wide = hidden.double()
    if not wide[mask].isfinite().all():
        raise ValueError("a hidden state is not finite; check the model's weights, or use a wider dtype")
    units = torch.nn.functional.normalize(wide, dim=-1) * mask[..., None]
    squares = units.square().sum(-1)  # 1, or 0 for padding and for a state of norm 0
    zero = int((mask & (squares == 0)).sum())
    if zero:
        log.warning("%d hidden states have norm 0; their cosine with every other is taken as 0", zero)
    count = mask.sum(1)
    return units.sum(1).square().sum(-1) - squares.sum(1), count * (count - 1)


@dataclass(frozen=True)
class Found:
    """Isotropy of a set of texts: ``pooled`` as in the paper, ``per_text`` the mean over texts; ``layers`` maps each
    place that was read to its pooled value, the input of the head last."""

    pooled: float
    per_text: float
    texts: int
    tokens: int
    skipped: int
    layers: Mapping[str, float]


@method(title="Isotropy", source="arXiv:2210.14140", year=2023, needs=["causal"])
@dataclass(frozen=True)
class Isotropy:
    """How differently a model represents the tokens of one text: 0 where all states are alike, 1 where they are
    orthogonal on average."""

    corpus: Corpus | str = "stories"
    """A corpus, its name, or the path of text to read."""
    documents: int | None = 2000
    """How many of a split to take at most; None takes them all."""
    length: int = 256
    """Tokens of a text that are read at most, fewer where the model takes fewer."""
    batch_size: int = 8
    """Texts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("isotropy", "Isotropy, pooled", None),
        Measure("isotropy_per_text", "Isotropy, mean over texts", None),
    )
    weighted_by: ClassVar[dict[str, str]] = {"isotropy": "pairs"}
    """Measure -> the value by which documents weigh in; so the mean over documents is the pooled value."""

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("length", 2), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    def examples(self, split: str) -> list[Example]:
        """The first documents of the split."""
        chosen = self.text[split][: self.documents]
        return [Example(f"{split}-{number:05d}", document) for number, document in enumerate(chosen)]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts; an output of the open arrow is of no matter."""
        ids = self._ids(system, [example.text])
        if not ids:
            return Observation({}, {"skipped": "fewer than two tokens"})
        ((total, pairs, _),) = self._sums(system, ids, ())
        value = 1 - float(total["head"]) / float(pairs)
        return Observation({"isotropy": value, "isotropy_per_text": value, "pairs": float(pairs)})

    def measure(self, system: System, texts: Sequence[str], *, profile: bool = False) -> Found:
        """Pooled and per text, over any texts; ``profile`` reads every layer too, which needs 'sites'.

        Raises ValueError where no text has two tokens.
        """
        if profile:
            require_offers("a profile over layers", system.model, ["sites"])
        ids = self._ids(system, texts)
        if not ids:
            raise ValueError(f"none of the {len(texts)} texts has two tokens, and one token has nothing to differ from")
        depth = system.model.depth
        sites = ("blocks.0.in", *(f"blocks.{layer}.out" for layer in range(depth))) if profile else ()
        sums: dict[str, float] = dict.fromkeys((*sites, "head"), 0.0)
        pairs, tokens, alone = 0, 0, 0.0
        for total, count, size in self._sums(system, ids, sites):
            for place, value in total.items():
                sums[place] += float(value)
            pairs, tokens, alone = pairs + count, tokens + size, alone + 1 - float(total["head"]) / count
        layers = {place: 1 - value / pairs for place, value in sums.items()}
        return Found(layers["head"], alone / len(ids), len(ids), tokens, len(texts) - len(ids), layers)

    def _ids(self, system: System, texts: Sequence[str]) -> list[Tensor]:
        """What of the texts is read, those of fewer than two tokens left out."""
        most = system.model.max_positions
        length = self.length if most is None else min(self.length, most)
        opening = list(getattr(system.tokenizer, "opening", ()))
        ids = [torch.tensor([*opening, *system.tokenizer.encode(text)][:length]) for text in texts]
        return [row for row in ids if len(row) > 1]

    def _sums(
        self, system: System, ids: Sequence[Tensor], sites: Sequence[str]
    ) -> Iterable[tuple[dict[str, Tensor], int, int]]:
        """Per text: the sum of cosines at each site and at the head, the number of pairs, and of tokens."""
        model = system.model
        for start in range(0, len(ids), self.batch_size):
            rows = ids[start : start + self.batch_size]
            lengths = torch.tensor([len(row) for row in rows])
            padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(model.device)
            mask = (torch.arange(padded.shape[1]) < lengths[:, None]).to(model.device)
            given = None if bool(mask.all()) else mask
            with torch.inference_mode(), model.capture(*sites) as seen:
                hidden = {"head": model(padded, mask=given).hidden}
            found = {place: cosines(states, mask) for place, states in (dict(seen) | hidden).items()}
            for row, size in enumerate(lengths.tolist()):
                yield {place: total[row] for place, (total, _) in found.items()}, size * (size - 1), size
