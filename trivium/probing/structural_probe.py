"""A structural probe: a linear map under which distances between words are distances in the syntax tree.

Source
    Hewitt and Manning 2019, "A Structural Probe for Finding Syntax in Word Representations", NAACL 2019; details from
    the authors' code (john-hewitt/structural-probes).
Equation
    distance   d^_ij = |B^T (h_i - h_j)|^2;   loss = mean over sentences of  sum_ij |d_ij - d^_ij| / n^2
    depth      k^_i = |B^T h_i|^2;            loss = mean over sentences of  sum_i |k_i - k^_i| / n
    d_ij: edges between words i and j in the tree; k_i: edges to its root
    UUAS = share of the edges of the true tree that the minimum spanning tree of d^ has
Shapes
    activations (words, width), labels (words,) heads or (words, 2) heads and which words count, groups (words,)
    sentences -> B (width, rank)
Cost
    Every epoch reads all words once; for distances all pairs of words of a sentence are compared.
Caveats
    The score is UUAS of distances over all sentences, and for depths the mean Spearman correlation within sentences of
    5 to 50 words; ``details`` has the other numbers of the paper. Words that do not count, punctuation, are fitted and
    left out of UUAS, of both trees, as in the code: the true tree is then the spanning tree of the true distances
    between the words that are left. Activations are brought to one common scale first, which the authors do not do and
    the probe could learn; it makes one step size serve all layers. A chain of neighbours alone has a UUAS of about a
    half in English: see ``chain``, a baseline to be told beside the control. ``dealt``, the control, is the tree of the
    same sentence with its words at other places. Undirected: no edge says which end is the head. Shown by the authors
    on ELMo and BERT with 40,000 sentences.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.nn.dependency_trees import depths, shared_edges, spanning_tree, tree_distances
from trivium.probing._readout import Fitted, Scaling, checked
from trivium.probing._sequences import Sequences, Steps, check_steps, one_tree

What = Literal["distance", "depth"]
Matrix = NDArray[np.float64]
LENGTHS = range(5, 51)
"""Words of the sentences that correlations are of."""
UUAS = Measure("uuas", "UUAS", True)
SPEARMAN = Measure("spearman", "Spearman of depths", True)


@dataclass(frozen=True, eq=False)
class Metric(Fitted):
    """``basis`` (width, rank): what activations are mapped by."""

    scaling: Scaling
    basis: Tensor
    what: What

    @property
    def measure(self) -> Measure:
        return UUAS if self.what == "distance" else SPEARMAN

    def read(self, activations: Tensor, groups: Tensor | None = None) -> list[Matrix]:
        """Of each sentence, in rising order of the groups: squared distances (words, words), or depths (words,)."""
        numbers = checked(activations, activations[:, 0], one_tree(groups, len(activations)))
        sequences = Sequences.of(numbers)
        found = _measured(self.what, self.scaling(activations)[sequences.rows], self.basis).double().cpu().numpy()
        sizes = sequences.real.sum(1).tolist()
        return [each[tuple([slice(size)] * each.ndim)] for each, size in zip(found, sizes, strict=True)]

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(words,): depths; or for distances where the next word towards the first one stands in the spanning tree of
        the sentence, -1 for the first."""
        read = self.read(activations, groups)
        numbers = one_tree(groups, len(activations)).unique(return_inverse=True)[1].cpu()
        sequences = Sequences.of(numbers)
        found = torch.zeros(sequences.real.shape, dtype=torch.float64 if self.what == "depth" else torch.int64)
        for row, each in zip(found, read, strict=True):
            row[: len(each)] = torch.from_numpy(each if self.what == "depth" else _towards_first(each))
        return sequences.back(found)

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        rows = []
        for heads, counts, found in self._sentences(activations, labels, groups):
            if self.what == "distance":
                rows.append(shared_edges(tree_distances(heads), found, counts))
            else:
                rows.append(
                    (_spearman(found[None], depths(heads)[None])[0], 1.0) if len(heads) in LENGTHS else (0.0, 0)
                )
        return torch.tensor(rows, dtype=torch.float64)

    def details(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> dict[str, float]:
        """The paper's other numbers, over sentences of 5 to 50 words: ``spearman``, first the mean over words or
        sentences of each length, then over lengths; for distances UUAS of the ``chain`` of neighbours, for depths
        ``root``, how often the least deep word is the root."""
        by_length: dict[int, list[float]] = {}
        other = []
        for heads, counts, found in self._sentences(activations, labels, groups):
            if self.what == "distance":
                other.append(shared_edges(tree_distances(heads), _chain(len(heads)), counts))
                pairs = found, tree_distances(heads)
            else:
                other.append((float(heads[np.where(counts, found, np.inf).argmin()] < 0), 1.0))
                pairs = found[None], depths(heads)[None]
            if len(heads) in LENGTHS:
                by_length.setdefault(len(heads), []).extend(_spearman(*pairs))
        top, bottom = np.sum(other, 0).tolist()
        name = "chain" if self.what == "distance" else "root"
        told = {name: top / bottom} if bottom else {}
        return {"spearman": float(np.mean([np.mean(one) for one in by_length.values()])), **told} if by_length else told

    def _sentences(
        self, activations: Tensor, labels: Tensor, groups: Tensor | None
    ) -> list[tuple[NDArray[np.int64], NDArray[np.bool_], Matrix]]:
        """Heads, which words count, and what the probe reads, of each sentence."""
        found, sequences = self.read(activations, groups), _sequences(activations, labels, groups)
        heads, counts = (each.cpu()[sequences.rows.cpu()] for each in _columns(labels))
        sizes = sequences.real.sum(1).tolist()
        return [(heads[row, :size].numpy(), counts[row, :size].numpy(), found[row]) for row, size in enumerate(sizes)]


@method(title="Structural probe", source="doi:10.18653/v1/N19-1419", year=2019)
@dataclass(frozen=True)
class StructuralProbe:
    """A linear map under which squared distances between words are distances in the dependency tree, or squared norms
    their depths."""

    what: What = "distance"
    """Distances between words, or their depths below the root."""
    rank: int | None = None
    """Dimensions that are mapped to; None is the width of the activations."""
    rate: float = 1e-3
    """Step size at the beginning."""
    batch_size: int = 20
    """Sentences per step."""
    epochs: int = 40
    """Passes over all sentences at most."""
    patience: int = 5
    """Epochs without a better one after which it ends."""
    validation: float = 0.1
    """Share of the sentences that tell when to stop."""
    scale: bool = True
    """Whether activations are brought to one common scale, their mean square 1."""

    reads: ClassVar[tuple[str, ...]] = ("heads",)

    def __post_init__(self) -> None:
        if self.what not in get_args(What):
            raise ValueError(f"what must be distance or depth, got {self.what!r}")
        counts = {name: getattr(self, name) for name in ("batch_size", "epochs", "patience")}
        check_steps(self.rank, self.rate, self.validation, **counts)

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> Metric:
        """Fit to sentences. Raises ValueError for heads that make no tree, and for a rank above the width."""
        sequences = _sequences(activations, labels, groups)
        if activations.ndim != 2 or (self.rank or 1) > activations.shape[1]:
            raise ValueError(
                f"activations must be (words, width) of a width of at least the rank, {self.rank}; got "
                f"{tuple(activations.shape)}"
            )
        x = activations.to(torch.promote_types(activations.dtype, torch.float32))
        scaling = Scaling.common(x) if self.scale else Scaling.none(x)
        x = scaling(x)
        heads = _columns(labels)[0].cpu()[sequences.rows.cpu()].numpy()
        sizes = sequences.real.sum(1).tolist()
        longest = max(sizes)
        true = torch.zeros(len(sizes), *[longest] * (2 if self.what == "distance" else 1), dtype=x.dtype)
        for row, size in enumerate(sizes):
            mine = heads[row, :size]
            each = tree_distances(mine) if self.what == "distance" else depths(mine)
            true[(row, *[slice(size)] * each.ndim)] = torch.from_numpy(each).to(x.dtype)
        true = true.to(x.device)
        place = torch.zeros(len(labels), dtype=torch.int64, device=x.device)
        place[sequences.rows[sequences.real]] = sequences.real.nonzero()[:, 0]  # which sentence each word is of
        basis = ((torch.rand(x.shape[1], self.rank or x.shape[1], generator=generator) - 0.5) / 10).to(x)
        basis.requires_grad_()

        def loss(batch: Sequences) -> Tensor:
            found, size = _measured(self.what, x[batch.rows], basis), batch.real.sum(1)
            wanted = true[place[batch.rows[:, 0]]][(slice(None), *[slice(found.shape[1])] * (found.ndim - 1))]
            inside = batch.real if found.ndim == 2 else batch.real[:, :, None] & batch.real[:, None, :]
            off = ((found - wanted).abs() * inside).flatten(1).sum(1)
            return (off / size ** (found.ndim - 1)).mean()

        steps = Steps(self.rate, self.batch_size, self.epochs, self.patience, self.validation)
        steps([basis], sequences, loss, lambda: basis.new_zeros(()), generator)
        return Metric(scaling, basis, self.what)

    def dealt(self, labels: Tensor, groups: Tensor, generator: torch.Generator) -> Tensor:
        """Labels that say nothing of the activations: each tree as it is, its words at other places."""
        sequences, made = Sequences.of(groups), labels.clone()
        for rows, real in zip(sequences.rows, sequences.real, strict=True):
            mine = rows[real]
            moved = torch.randperm(len(mine), generator=generator)
            heads = labels[mine] if labels.ndim == 1 else labels[mine, 0]
            anew = torch.where(heads < 0, -1, moved[heads.clamp(min=0)])
            if labels.ndim == 1:
                made[mine[moved]] = anew
            else:
                made[mine[moved], 0] = anew
        return made


def _measured(what: What, states: Tensor, basis: Tensor) -> Tensor:
    """(sentences, words, width) -> squared distances (sentences, words, words), or squared norms."""
    inside = states @ basis
    norms = inside.square().sum(-1)
    if what == "depth":
        return norms
    return (norms[:, :, None] + norms[:, None, :] - 2 * inside @ inside.mT).relu()


def _towards_first(distances: Matrix) -> NDArray[np.int64]:
    found = np.full(len(distances), -1, dtype=np.int64)
    for near, far in spanning_tree(distances):
        found[far] = near
    return found


def _chain(n: int) -> Matrix:
    place = np.arange(n, dtype=float)
    return np.abs(place[:, None] - place)


def _spearman(found: Matrix, true: Matrix) -> list[float]:
    """Rank correlation of each row; 0 where one of them does not vary."""
    a, b = (stats.rankdata(each, axis=1) for each in (found, true))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.divide((a * b).sum(1), size, out=np.zeros(len(a)), where=size > 0).tolist()


def _columns(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Heads, and which words count."""
    if labels.ndim == 1:
        return labels, torch.ones_like(labels, dtype=torch.bool)
    return labels[:, 0], labels[:, 1] != 0


def _sequences(activations: Tensor, labels: Tensor, groups: Tensor | None) -> Sequences:
    numbers = checked(activations, labels, one_tree(groups, len(labels)))
    if labels.is_floating_point() or (labels.ndim == 2 and labels.shape[1] != 2):
        raise ValueError(
            "labels must be (words,) heads or (words, 2) heads and which words count, whole numbers, as "
            f"data.dependencies.heads_of gives them; got {tuple(labels.shape)} of {labels.dtype}"
        )
    return Sequences.of(numbers)
