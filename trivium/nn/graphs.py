"""How unlike graphs of labelled blocks are, and points in space that are as far apart.

    Weisfeiler and Lehman: label_0 = label;   label_{r+1} = (label_r, those of what feeds it, those of what it feeds)
    c_G = how often each label occurs in G in rounds 0 to R;   distance(G, H) = sqrt(2 - 2 c_G . c_H / (|c_G| |c_H|))
    multidimensional scaling: points x with |x_i - x_j| near distance(i, j)
    stress = sqrt(sum_{i<j} (|x_i - x_j| - distance_ij)^2 / sum_{i<j} distance_ij^2)

This is done with every label cut to its first part, to two and to three: "attention/sdp/16" counts as "attention",
"attention/sdp" and itself. So two widths of one operation are nearer to each other than two operations.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """Blocks by label, and arrows from one block to another by their numbers."""

    labels: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for a, b in self.edges:
            if not (0 <= a < len(self.labels) and 0 <= b < len(self.labels)):
                raise ValueError(f"the arrow {a} -> {b} is not between two of the {len(self.labels)} blocks")


def subtrees(graph: Graph, rounds: int = 2, levels: int = 3) -> Counter[str]:
    """How often each label occurs, over all rounds and levels."""
    fed: list[list[int]] = [[] for _ in graph.labels]
    feeds: list[list[int]] = [[] for _ in graph.labels]
    for a, b in graph.edges:
        fed[b].append(a)
        feeds[a].append(b)
    counts: Counter[str] = Counter()
    for level in range(1, levels + 1):
        labels = ["/".join(label.split("/")[:level]) for label in graph.labels]
        counts.update(labels)
        for number in range(1, rounds + 1):
            labels = [
                _short(number, labels[at], sorted(labels[a] for a in fed[at]), sorted(labels[b] for b in feeds[at]))
                for at in range(len(labels))
            ]
            counts.update(labels)
    return counts


def _short(*parts: object) -> str:
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def dissimilarities(graphs: Sequence[Graph], rounds: int = 2) -> Float[Tensor, "graphs graphs"]:
    """The distance of every two graphs, 0 for equal ones, sqrt(2) for ones that have no label in common."""
    counted = [subtrees(graph, rounds) for graph in graphs]
    known = {label: at for at, label in enumerate(sorted(set().union(*counted)))}
    table = torch.zeros(len(graphs), len(known), dtype=torch.float64)
    for row, counts in enumerate(counted):
        for label, count in counts.items():
            table[row, known[label]] = count
    table = table / table.norm(dim=1, keepdim=True)
    squares = (2 - 2 * table @ table.mT).clamp(min=0)
    alike = torch.tensor([[a == b for b in counted] for a in counted])
    return squares.masked_fill(alike, 0.0).sqrt()  # equal counts are at 0, not at the root of what rounding leaves


def stress(points: Float[Tensor, "count axes"], distances: Float[Tensor, "count count"]) -> float:
    """How far the distances of the points are from those wanted, as a share of these."""
    wanted = distances.triu(1).square().sum()
    gap = (torch.cdist(points, points) - distances).triu(1).square().sum()
    return float((gap / wanted).sqrt()) if wanted > 0 else float(gap.sqrt())


def scaled(distances: Float[Tensor, "count count"], axes: int, steps: int = 100) -> Float[Tensor, "count axes"]:
    """Points with these distances, as nearly as so many axes allow: the leading eigenvectors of the centred squares
    (classical scaling), then so many steps of majorisation (SMACOF), none of which raises the stress."""
    count = len(distances)
    if axes < 1:
        raise ValueError(f"points have at least 1 axis, got {axes}")
    centre = torch.eye(count, dtype=distances.dtype) - 1 / count
    values, vectors = torch.linalg.eigh(-0.5 * centre @ distances.square() @ centre)
    values, vectors = values.flip(0)[:axes].clamp(min=0), vectors.flip(1)[:, :axes]
    heaviest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    points = vectors * heaviest.sign() * values.sqrt()  # an eigenvector has no sign of its own
    points = torch.nn.functional.pad(points, (0, axes - points.shape[1]))
    for _ in range(steps):
        now = torch.cdist(points, points)
        ratio = torch.where(now > 1e-12, distances / now.clamp(min=1e-12), 0.0)
        points = (torch.diag(ratio.sum(1)) - ratio) @ points / count
    return points
