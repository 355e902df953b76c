"""Isotropy: how far apart a model's representations of the tokens of a text point, and which dimensions decide it.

Source
    Su and Collier 2023, "Contrastive Search Is What You Need For Neural Text Generation", arXiv:2210.14140, section 3;
    pooling over texts as in the authors' code. IsoScore: Rudman et al. 2022, arXiv:2108.07344 (``nn.isotropy``).
Equation
    s(text) = sum_{i != j} cos(h_i, h_j) / (n (n - 1));   isotropy = 1 - s
    pooled over texts:  1 - sum of all cosines / sum of n (n - 1);   per text: the mean of 1 - s(text)
    across texts: 1 - mean cosine of tokens of different texts;   centred: the pooled value of h_i - mean of all h
Shapes
    hidden (batch, time, width), mask (batch, time) -> sum of cosines and number of pairs (batch,)
Cost
    One forward pass over each text, two for ``geometry`` or a number of dimensions to drop (the mean and the largest
    dimensions are found first); the sum over pairs is n vectors added up, |sum u|^2 - n.
Caveats
    h_i is what enters the head, after the final norm (place "head"), for every real token, what the tokenizer puts
    before a text included (the authors' code adds a start token for OPT only); ``drop_first`` leaves the first out. The
    pooled value gives a text the weight of its pairs. The authors round to two decimals; we do not. It may exceed 1 (by
    1 / (n - 1) at most) and is not clipped. A text of fewer than two tokens that count has no value and is counted as
    skipped. A state of norm 0 has no direction and is refused. Other places are read before any norm, where dimensions
    of huge values are usual: ``drop_dims`` leaves out those of the largest squared norm, each place its own. Values of
    different texts or lengths do not compare.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.errors import did_you_mean
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.evaluation._spread import Geometry, Moments, Spread
from trivium.evaluation._together import together
from trivium.models.system import System
from trivium.nn.isotropy import units

HEAD = "head"


@dataclass(frozen=True)
class Found:
    """Isotropy of a set of texts: ``pooled`` as in the paper, ``per_text`` the mean over texts; ``layers`` maps each
    place that was read to its pooled value, the input of the head last; ``texts_at``: to its value for each text."""

    pooled: float
    per_text: float
    texts: int
    tokens: int
    skipped: int
    layers: Mapping[str, float]
    texts_at: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    geometry: Mapping[str, Geometry] = field(default_factory=dict)


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
    drop_first: int = 0
    """Positions at the beginning of a text that are read but do not count."""
    drop_dims: int | tuple[int, ...] = 0
    """Dimensions that do not count: so many of the largest squared norm over all texts, or these."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("isotropy", "Isotropy, pooled", None),
        Measure("isotropy_per_text", "Isotropy, mean over texts", None),
    )
    weighted_by: ClassVar[dict[str, str]] = {"isotropy": "pairs"}
    """Measure -> the value by which documents weigh in; so the mean over documents is the pooled value."""

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("length", 2), ("batch_size", 1), ("drop_first", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        dims = (self.drop_dims,) if isinstance(self.drop_dims, int) else self.drop_dims
        if any(one < 0 for one in dims):
            raise ValueError(f"drop_dims is a number of dimensions or which ones, none below 0; got {self.drop_dims}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    def examples(self, split: str) -> list[Example]:
        """The first documents of the split."""
        chosen = self.text[split][: self.documents]
        return [
            Example(f"{split}-{number:05d}", document, fields={"split": split})
            for number, document in enumerate(chosen)
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts; an output of the open arrow is of no matter."""
        ids = self._ids(system, [example.text])
        if not ids:
            return Observation({}, {"skipped": f"fewer than {self.drop_first + 2} tokens"})
        dims = self._dimensions(system, example.fields["split"])
        ((total, pairs, _),) = self._sums(system, ids, (HEAD,), {} if dims is None else {HEAD: dims}, {})
        value = 1 - float(total[HEAD]) / float(pairs)
        return Observation({"isotropy": value, "isotropy_per_text": value, "pairs": float(pairs)})

    @together
    def _dimensions(self, system: System, split: str) -> Tensor | None:
        """Those that count before the head, by all documents of the split; None for all."""
        if not self.drop_dims:
            return None
        ids = self._ids(system, [example.text for example in self.examples(split)])
        return self._moments(system, ids, (HEAD,))[HEAD].kept_dimensions(self.drop_dims)

    def measure(
        self,
        system: System,
        texts: Sequence[str],
        *,
        profile: bool = False,
        places: Sequence[str] = (),
        geometry: bool = False,
    ) -> Found:
        """Pooled and per text, over any texts. ``profile`` reads every layer too, ``places`` these sites, both of which
        need 'sites'; ``geometry`` tells more of each.

        Raises ValueError where no text has two tokens that count, and for a place that the model lacks.
        """
        if profile or places:
            require_offers("a profile over layers", system.model, ["sites"])
        for place in places:
            if place not in system.model.sites():
                raise ValueError(f"{system.name} has no place {place!r}{did_you_mean(place, system.model.sites())}")
        ids = self._ids(system, texts)
        if not ids:
            least = f"{self.drop_first} + 2 tokens" if self.drop_first else "two tokens"
            raise ValueError(f"none of the {len(texts)} texts has {least}, and one token has nothing to differ from")
        depth = system.model.depth
        layers = ("blocks.0.in", *(f"blocks.{layer}.out" for layer in range(depth))) if profile else ()
        where = tuple(dict.fromkeys((*layers, *places, HEAD)))
        moments = self._moments(system, ids, where) if geometry or self.drop_dims else {}
        kept = {place: each.kept_dimensions(self.drop_dims) for place, each in moments.items() if self.drop_dims}
        more = {place: Spread(each, kept.get(place)) for place, each in moments.items()} if geometry else {}
        sums: dict[str, list[float]] = {place: [] for place in where}
        pairs, tokens = [], 0
        for total, count, size in self._sums(system, ids, where, kept, more):
            for place, value in total.items():
                sums[place].append(float(value))
            pairs, tokens = [*pairs, count], tokens + size
        at = {place: tuple(1 - a / n for a, n in zip(each, pairs, strict=True)) for place, each in sums.items()}
        pooled = {place: 1 - sum(each) / sum(pairs) for place, each in sums.items()}
        found = {place: each.geometry() for place, each in more.items()}
        alone = sum(at[HEAD]) / len(ids)
        return Found(pooled[HEAD], alone, len(ids), tokens, len(texts) - len(ids), pooled, at, found)

    def _ids(self, system: System, texts: Sequence[str]) -> list[Tensor]:
        """What of the texts is read, those left out of which fewer than two tokens count."""
        most = system.model.max_positions
        length = self.length if most is None else min(self.length, most)
        opening = list(getattr(system.tokenizer, "opening", ()))
        ids = [torch.tensor([*opening, *system.tokenizer.encode(text)][:length]) for text in texts]
        return [row for row in ids if len(row) > 1 + self.drop_first]

    def _moments(self, system: System, ids: Sequence[Tensor], places: Sequence[str]) -> dict[str, Moments]:
        found = {place: Moments() for place in places}
        for states, kept in self._passes(system, ids, places):
            for place, hidden in states.items():
                found[place].add(hidden, kept)
        return found

    def _sums(
        self,
        system: System,
        ids: Sequence[Tensor],
        places: Sequence[str],
        kept: Mapping[str, Tensor],
        more: Mapping[str, Spread],
    ) -> Iterable[tuple[dict[str, Tensor], int, int]]:
        """Per text: the sum of cosines at each place, the number of pairs, and of tokens read. Of ``kept`` places only
        these dimensions count."""
        for states, mask in self._passes(system, ids, places):
            found = {}
            for place, hidden in states.items():
                some = hidden[..., kept[place].to(hidden.device)] if place in kept else hidden
                found[place] = units(some, mask).sum(1).square().sum(-1) - mask.sum(1)
                if place in more:
                    more[place].add(some, mask)
            for row, size in enumerate(mask.sum(1).tolist()):
                yield {place: total[row] for place, total in found.items()}, size * (size - 1), size + self.drop_first

    def _passes(
        self, system: System, ids: Sequence[Tensor], places: Sequence[str]
    ) -> Iterable[tuple[dict[str, Tensor], Tensor]]:
        """Batch by batch the states (rows, time, width) of each place, and which of them count (rows, time)."""
        model, sites = system.model, tuple(place for place in places if place != HEAD)
        for start in range(0, len(ids), self.batch_size):
            rows = ids[start : start + self.batch_size]
            lengths = torch.tensor([len(row) for row in rows])
            padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(model.device)
            mask = (torch.arange(padded.shape[1]) < lengths[:, None]).to(model.device)
            given = None if bool(mask.all()) else mask
            with torch.inference_mode(), model.capture(*sites) as seen:
                hidden = {HEAD: model(padded, mask=given).hidden}
            counts = mask.clone()
            counts[:, : self.drop_first] = False
            yield {place: (dict(seen) | hidden)[place] for place in places}, counts
