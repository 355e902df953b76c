"""Trees over the leaves of a text as brackets, and as the numbers that determine them: heights between neighbours.

A tree is binarised: a node with one node below it is fused with that one, a node over one leaf becomes that leaf's
label, and more than two children become a chain to the right of nodes without a label. Of n leaves then

    d (n - 1)   height of the lowest node above leaves i and i + 1; a leaf has height 0, a node 1 + the larger of two
    c (n - 1)   its label, EMPTY inside a chain
    u (n)       the label of the leaf alone, EMPTY for none

and the way back is to part the leaves where d is largest, again and again (Shen et al. 2018, "Straight to the Tree",
arXiv:1806.04168; Hernandez Lopez et al. 2022, arXiv:2206.11719).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

EMPTY, SEPARATOR = "<empty>", "<sep>"


class Bracket(NamedTuple):
    """A node: its label, its first leaf and the one behind its last."""

    label: str
    start: int
    stop: int


@dataclass(frozen=True)
class Tree:
    """``brackets`` from the root on, outer before inner and left before right; of nodes over the same leaves the upper
    one first. A leaf is no bracket."""

    leaves: int
    brackets: tuple[Bracket, ...]

    def __post_init__(self) -> None:
        if self.leaves < 1:
            raise ValueError("a tree needs at least one leaf")
        open_: list[int] = []
        before = (-1, 0)
        for label, start, stop in self.brackets:
            if not 0 <= start < stop <= self.leaves:
                raise ValueError(
                    f"the node {label!r} over leaves {start} to {stop} is outside the {self.leaves} leaves"
                )
            while open_ and open_[-1] <= start:
                open_.pop()
            if (start, -stop) < before or (open_ and stop > open_[-1]):
                raise ValueError(f"the node {label!r} over leaves {start} to {stop} is out of order or crosses another")
            open_.append(stop)
            before = (start, -stop)


class Numbers(NamedTuple):
    """A tree as heights ``d``, labels ``c`` between neighbours, and labels ``u`` of leaves."""

    d: list[float]
    c: list[str]
    u: list[str]


def numbers_of(tree: Tree) -> Numbers:
    """The tree as numbers. Raises ValueError where no node is above all leaves, and for labels that could not be told
    from fused ones."""
    n = tree.leaves
    fused: dict[tuple[int, int], list[str]] = {}
    for label, start, stop in tree.brackets:
        if not label or label == EMPTY or SEPARATOR in label:
            raise ValueError(f"a label must be neither empty nor {EMPTY!r} nor hold {SEPARATOR!r}; got {label!r}")
        fused.setdefault((start, stop), []).append(label)
    if n > 1 and (0, n) not in fused:
        raise ValueError(f"no node is above all {n} leaves, so this is no tree")
    d, c, u = [0.0] * (n - 1), [EMPTY] * (n - 1), [EMPTY] * n
    height: dict[tuple[int, int], float] = {}
    # Inner nodes come after outer ones, so that from the end each node finds its children done.
    children: dict[tuple[int, int], list[tuple[int, int]]] = {span: [] for span in fused}
    above: list[tuple[int, int]] = []
    for span in fused:
        while above and above[-1][1] <= span[0]:
            above.pop()
        if above:
            children[above[-1]].append(span)
        above.append(span)
    for span in reversed(fused):
        label = SEPARATOR.join(fused[span])
        if span[1] - span[0] == 1:
            u[span[0]], height[span] = label, 0.0
            continue
        parts: list[tuple[int, int]] = []
        at = span[0]
        for inner in [*children[span], (span[1], span[1])]:
            parts += [(leaf, leaf + 1) for leaf in range(at, inner[0])]
            parts += [inner] if inner[0] < inner[1] else []
            at = inner[1]
        tallest = height.get(parts[-1], 0.0)
        for left in reversed(parts[:-1]):
            tallest = 1 + max(height.get(left, 0.0), tallest)
            d[left[1] - 1] = tallest
        c[parts[0][1] - 1] = label
        height[span] = tallest
    return Numbers(d, c, u)


def tree_of(d: Sequence[float], c: Sequence[str], u: Sequence[str]) -> Tree:
    """The tree of any numbers: parted where ``d`` is largest, at the first such place where several are. Nodes without
    a label are left out, but for a root without one, which stays as a bracket of EMPTY."""
    n = len(u)
    if len(d) != n - 1 or len(c) != n - 1:
        raise ValueError(f"{n} leaves have {n - 1} heights and labels between them, got {len(d)} and {len(c)}")
    found = [
        Bracket(part, leaf, leaf + 1) for leaf in range(n) if u[leaf] != EMPTY for part in u[leaf].split(SEPARATOR)
    ]
    first, last = [0] * (n - 1), [n] * (n - 1)
    higher: list[int] = []  # places whose node may still reach further to the right, the highest first
    for at in range(n - 1):
        while higher and d[higher[-1]] < d[at]:
            last[higher.pop()] = at + 1
        first[at] = higher[-1] + 1 if higher else 0
        higher.append(at)
    for at in range(n - 1):
        if c[at] != EMPTY:
            found += [Bracket(part, first[at], last[at]) for part in c[at].split(SEPARATOR)]
        elif (first[at], last[at]) == (0, n):
            found.append(Bracket(EMPTY, 0, n))
    return Tree(n, tuple(sorted(found, key=lambda one: (one.start, -one.stop))))


class Recovered(NamedTuple):
    """How much of a tree another has."""

    precision: float
    recall: float
    f1: float


def recovered(true: Tree, predicted: Tree, *, reference: bool = False) -> Recovered:
    """Nodes with the same label over the same leaves, as multisets. ``reference``: as the authors' code counts, where a
    predicted node is right if the other tree has it at all, so that one that is predicted twice is right twice.

    Raises ValueError for trees over different numbers of leaves.
    """
    if true.leaves != predicted.leaves:
        raise ValueError(f"trees over {true.leaves} and {predicted.leaves} leaves do not compare")
    if not true.brackets or not predicted.brackets:
        same = float(not true.brackets and not predicted.brackets)
        return Recovered(same, same, same)
    if reference:
        known = set(true.brackets)
        shared = sum(one in known for one in predicted.brackets)
    else:
        shared = (Counter(true.brackets) & Counter(predicted.brackets)).total()
    precision, recall = shared / len(predicted.brackets), shared / len(true.brackets)
    return Recovered(precision, recall, 2 * precision * recall / (precision + recall) if shared else 0.0)


def label_names(trees: Iterable[Tree]) -> tuple[str, ...]:
    """Every label that the numbers of these trees have, fused ones as they are; EMPTY first, the others sorted."""
    found = {label for tree in trees for labels in numbers_of(tree)[1:] for label in labels}
    return (EMPTY, *sorted(found - {EMPTY}))


def labels_of(trees: Sequence[Tree], names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Trees as a probe reads them: (leaves, 3) int64 with height, label and own label of each leaf, labels as places in
    ``names``, -1 for one that is not there; and (leaves,) which tree each leaf is of. Behind the last leaf of a tree
    nothing follows, and its height and label are 0."""
    place = {name: at for at, name in enumerate(names)}
    rows, group = [], []
    for number, tree in enumerate(trees):
        d, c, u = numbers_of(tree)
        for high, between, own in zip([*d, 0.0], [*c, EMPTY], u, strict=True):
            rows.append((int(high), place.get(between, -1), place.get(own, -1)))
            group.append(number)
    return torch.tensor(rows), torch.tensor(group)
