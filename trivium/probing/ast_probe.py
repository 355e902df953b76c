"""AST-Probe: the subspace of hidden states from which the whole syntax tree of a program can be read.

Source
    Hernandez Lopez, Weyssow, Sanchez Cuadrado, Sahraoui 2022, "AST-Probe: Recovering abstract syntax trees from hidden
    representations of pre-trained language models", ASE 2022, arXiv:2206.11719; details from the authors' code.
Equation
    p_i = B^T h_i;   d_i = |p_{i+1} - p_i|^2;   c_i = softmax(C^T (p_{i+1} - p_i));   u_i = softmax(U^T p_i)
    rank   mean over pairs i, j of a tree with d_i > d_j of  max(0, 1 - (d^_i - d^_j))
    l1     mean over trees of  sum_i |d^_i - d_i| / (n - 1);   l2 the same of squares
    loss = that + cross-entropy of c + cross-entropy of u + orthogonality |B^T B - I|_F^2
    tree: parted where d^ is largest, labelled c^ there; F1 of its labelled nodes over the same leaves
Shapes
    activations (leaves, width), labels (leaves, 3): height, label and own label of each leaf, see data.constituents;
    groups (leaves,): which tree -> B (width, rank), C and U (rank, labels)
Cost
    Every epoch reads all leaves once; products of rank x width and rank x labels. The rank loss looks at all pairs
    of neighbours within a tree.
Caveats
    The paper has the l1 loss, the authors' experiments ran the rank loss, which is our default: since B is close to
    orthonormal, the size of d^ is not free, and only its order makes the tree. Their runs use Adam, a rate that falls
    to a tenth whenever validation does not improve, and 20,000 programs. F1 is the mean over programs; nodes are
    compared as multisets, ``reference`` counts as the authors' code does. Activations are brought to one common
    scale, which the authors do not do: language models have streams of any scale, and B cannot stretch them. They are
    not centred, since C and U have no bias and take it from the mean. Which layer is to be read is not the probe's:
    probe several, and a model with random weights beside it, since much is told by the words alone. A label that was
    never seen while fitting is always wrong. ``dealt`` is a second control: heights and labels in another order within
    each tree.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Measure
from trivium.data.constituents import EMPTY, Recovered, Tree, recovered, tree_of
from trivium.probing._readout import Fitted, Scaling, checked
from trivium.probing._sequences import Sequences, Steps, check_steps, one_tree

Distance = Literal["rank", "l1", "l2"]


@dataclass(frozen=True, eq=False)
class Subspace(Fitted):
    """``basis`` (width, rank), ``between`` and ``own`` (rank, labels); ``names`` of the labels, or none."""

    scaling: Scaling
    basis: Tensor
    between: Tensor
    own: Tensor
    names: tuple[str, ...]
    reference: bool

    @property
    def measure(self) -> Measure:
        return Measure("f1", "F1 of tree nodes", True)

    def predict(self, activations: Tensor, groups: Tensor | None = None) -> Tensor:
        """(leaves, 3): height above each leaf and the next, label there, own label; 0 behind the last of a tree."""
        numbers = checked(activations, activations[:, 0], one_tree(groups, len(activations)))
        sequences = Sequences.of(numbers)
        d, c, u = self.read(self.scaling(activations)[sequences.rows])
        found = torch.zeros(*sequences.real.shape, 3, dtype=d.dtype, device=d.device)
        last = ~sequences.real[:, 1:]
        found[:, :-1, 0] = d.masked_fill(last, 0.0)
        found[:, :-1, 1] = c.argmax(-1).masked_fill(last, 0).to(d.dtype)
        found[..., 2] = u.argmax(-1).to(d.dtype)
        return sequences.back(found)

    def read(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(trees, leaves, width) scaled -> heights (trees, leaves - 1), logits of labels there, and of own labels."""
        return _read(states, self.basis, self.between, self.own)

    def trees(self, activations: Tensor, groups: Tensor | None = None) -> list[Tree]:
        """The tree of each group, in rising order of the groups."""
        return self._built(self.predict(activations, groups), groups)

    def recover(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> tuple[Recovered, ...]:
        """Precision, recall and F1 of each tree."""
        _check_labels(labels)
        checked(activations, labels, one_tree(groups, len(labels)))
        pairs = zip(self._built(labels, groups), self.trees(activations, groups), strict=True)
        return tuple(recovered(true, found, reference=self.reference) for true, found in pairs)

    def tally(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
        f1 = torch.tensor([found.f1 for found in self.recover(activations, labels, groups)], dtype=torch.float64)
        return torch.stack((f1, torch.ones_like(f1)), 1)

    def details(self, activations: Tensor, labels: Tensor, groups: Tensor | None = None) -> dict[str, float]:
        """Means over trees, and how far from orthonormal the basis is."""
        found = torch.tensor(self.recover(activations, labels, groups), dtype=torch.float64).mean(0).tolist()
        return {**dict(zip(("precision", "recall", "f1"), found, strict=True)), "skewed": float(_skewed(self.basis))}

    def similarity(self, other: "Subspace") -> float:
        """How much of one subspace lies in the other, |Q1^T Q2|_F^2 over the smaller rank: 0 orthogonal, 1 the same."""
        mine, theirs = (torch.linalg.qr(each.basis).Q for each in (self, other))
        return float((mine.mT @ theirs).square().sum() / min(mine.shape[1], theirs.shape[1]))

    def _built(self, labels: Tensor, groups: Tensor | None) -> list[Tree]:
        numbers = one_tree(groups, len(labels)).unique(return_inverse=True)[1].cpu()
        found = []
        for rows, real in zip(*vars(Sequences.of(numbers)).values(), strict=True):
            d, c, u = labels[rows[real].to(labels.device)].double().cpu().unbind(1)
            found.append(tree_of(d[:-1].tolist(), [self._name(x) for x in c[:-1].tolist()], list(map(self._name, u))))
        return found

    def _name(self, label: float | Tensor) -> str:
        place = int(label)
        if place < 0:
            return "<unknown>"
        return self.names[place] if place < len(self.names) else EMPTY if place == 0 else f"label {place}"


@method(title="AST-Probe", source="arXiv:2206.11719", year=2022)
@dataclass(frozen=True)
class AstProbe:
    """A subspace in which the distances between neighbouring tokens are heights of the syntax tree, and directions
    tell the labels of its nodes."""

    rank: int = 128
    """Dimensions of the subspace."""
    distance: Distance = "rank"
    """Loss of the heights: their order, or how far they are from the true ones (l1, l2)."""
    orthogonality: float = 5.0
    """What it costs that the basis is not orthonormal."""
    rate: float = 1e-3
    """Step size at the beginning."""
    batch_size: int = 32
    """Trees per step."""
    epochs: int = 20
    """Passes over all trees at most."""
    patience: int = 5
    """Epochs without a better one after which it ends."""
    validation: float = 0.1
    """Share of the trees that tell when to stop."""
    scale: bool = True
    """Whether activations are brought to one common scale, their mean square 1."""
    labels: tuple[str, ...] = ()
    """What the labels are called; without, a fused label is one node rather than several."""
    reference: bool = False
    """Whether nodes are counted as the authors' code does, where one that is predicted twice is right twice."""

    reads: ClassVar[tuple[str, ...]] = ("constituents",)

    def __post_init__(self) -> None:
        if self.distance not in get_args(Distance):
            raise ValueError(f"distance must be one of {', '.join(get_args(Distance))}; got {self.distance!r}")
        if not 0.0 <= self.orthogonality < float("inf"):
            raise ValueError(f"orthogonality must be at least 0 and finite, got {self.orthogonality}")
        if self.labels and self.labels[0] != EMPTY:
            raise ValueError(f"the first of labels must be {EMPTY!r}, the label of none; got {self.labels[0]!r}")
        counts = {name: getattr(self, name) for name in ("batch_size", "epochs", "patience")}
        check_steps(self.rank, self.rate, self.validation, **counts)

    def fit(
        self, activations: Tensor, labels: Tensor, *, generator: torch.Generator, groups: Tensor | None = None
    ) -> Subspace:
        """Fit to trees. Raises ValueError for labels of another sort, and for a rank above the width."""
        numbers = checked(activations, labels, one_tree(groups, len(labels)))
        _check_labels(labels)
        if activations.ndim != 2 or activations.shape[1] < self.rank:
            raise ValueError(
                f"activations must be (leaves, width) of a width of at least the rank, {self.rank}; got "
                f"{tuple(activations.shape)}"
            )
        x = activations.to(torch.promote_types(activations.dtype, torch.float32))
        scaling = Scaling.common(x) if self.scale else Scaling.none(x)
        x, sequences = scaling(x), Sequences.of(numbers)
        count = max(len(self.labels), int(labels[:, 1:].max()) + 1)
        shapes = ((x.shape[1], self.rank), (self.rank, count), (self.rank, count))
        weights = [
            ((torch.rand(shape, generator=generator) - 0.5) / 10).to(x).requires_grad_() for shape in shapes
        ]  # uniform from -0.05 to 0.05
        table = labels.to(x.device).clone()
        last = sequences.rows[sequences.real & ~_next(sequences.real)]
        table[last, :2] = -1  # nothing follows there

        def loss(batch: Sequences) -> Tensor:
            d, c, u = _read(x[batch.rows], *weights)
            true = table[batch.rows].masked_fill(~batch.real[..., None], -1)
            heights = _heights(self.distance, d, true[:, :-1, 0].to(d.dtype), batch.real[:, 1:])
            return heights + _entropy(c, true[:, :-1, 1]) + _entropy(u, true[..., 2])

        steps = Steps(self.rate, self.batch_size, self.epochs, self.patience, self.validation)
        steps(weights, sequences, loss, lambda: self.orthogonality * _skewed(weights[0]), generator)
        basis, between, own = weights
        return Subspace(scaling, basis, between, own, self.labels, self.reference)

    def dealt(self, labels: Tensor, groups: Tensor, generator: torch.Generator) -> Tensor:
        """Labels that say nothing of the activations: within each tree heights and labels in another order."""
        sequences = Sequences.of(groups)
        made = labels.clone()
        for columns, real in ((slice(0, 2), _next(sequences.real)), (slice(2, 3), sequences.real)):
            order = torch.rand(real.shape, generator=generator).masked_fill(~real, 2.0).argsort(1)
            moved = sequences.rows.gather(1, order)
            made[sequences.rows[real], columns] = labels[moved[real], columns]
        return made


def _read(states: Tensor, basis: Tensor, between: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    inside = states @ basis
    steps = inside.diff(dim=1)
    return steps.square().sum(-1), steps @ between, inside @ own


def _next(real: Tensor) -> Tensor:
    """(groups, longest) bool: which members have one behind them."""
    return F.pad(real[:, 1:], (0, 1))


def _entropy(logits: Tensor, wanted: Tensor) -> Tensor:
    """Mean over the places where something is wanted, 0 where nothing is."""
    total = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1, reduction="sum")
    return total / (wanted >= 0).sum().clamp(min=1)


def _skewed(basis: Tensor) -> Tensor:
    """0 where the columns are orthonormal, and only there."""
    eye = torch.eye(basis.shape[1], dtype=basis.dtype, device=basis.device)
    return (basis.mT @ basis - eye).square().sum()


def _heights(distance: Distance, found: Tensor, true: Tensor, inside: Tensor) -> Tensor:
    """(trees, neighbours) each; ``inside`` marks neighbours that are both of the tree."""
    if distance == "rank":
        higher = (true[:, :, None] > true[:, None, :]) & inside[:, :, None] & inside[:, None, :]
        short = (1 - (found[:, :, None] - found[:, None, :])).relu()
        return (short * higher).sum() / higher.sum().clamp(min=1)
    off = (found - true).abs() if distance == "l1" else (found - true).square()
    return ((off * inside).sum(1) / inside.sum(1).clamp(min=1)).mean()


def _check_labels(labels: Tensor) -> None:
    if labels.ndim != 2 or labels.shape[1] != 3 or labels.is_floating_point():
        raise ValueError(
            "labels must be (leaves, 3) whole numbers: height, label and own label of each leaf, as "
            f"data.constituents.labels_of gives them; got {tuple(labels.shape)} of {labels.dtype}"
        )
