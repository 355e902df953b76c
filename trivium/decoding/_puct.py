"""Monte Carlo tree search by predictor and upper confidence bound, over states that are evaluated and not played out.

    select     argmax over the actions of a node of  Q + c P sqrt(sum of the actions' visits) / (1 + visits)
    expand     a node that is reached again; all its actions are made and evaluated at once
    back up    the value of the action that was reached last: each node on the way counts one visit more, and Q, the
               mean of what was backed up through it, moves towards that value

An action that was never taken has its own evaluation for Q, which is what its first visit would make it. So the root's
visits are the simulations and the sum of its actions' visits; those of any other expanded node are one more than the
sum of its actions', the one being the visit that ended there.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from trivium.core.errors import NotFinite

T = TypeVar("T")

By = Literal["value", "visits"]


@dataclass(eq=False)
class Node(Generic[T]):
    """A state of the search: the step that led to it, what it is worth by itself, and what was found below."""

    step: T
    value: float = 0.0
    """Its own evaluation, 0 to 1; the root has none."""
    prior: float = 1.0
    parent: "Node[T] | None" = None
    depth: int = 0
    visits: int = 0
    total: float = 0.0
    """Sum of the values that were backed up through it."""
    children: "list[Node[T]] | None" = None
    """None until expanded; empty where nothing follows."""

    @property
    def q(self) -> float:
        """Mean of what was backed up; its own evaluation as long as it was never visited."""
        return self.total / self.visits if self.visits else self.value

    @property
    def path(self) -> "list[Node[T]]":
        """From the root's child down to this node; empty for the root."""
        return [] if self.parent is None else [*self.parent.path, self]

    def below(self) -> "Iterator[Node[T]]":
        """This node and all under it, parents first."""
        yield self
        for child in self.children or ():
            yield from child.below()

    def best(self, by: By = "value") -> "Node[T]":
        """The end of the best way down: at each node the visited action of the highest Q, or of most visits; the first
        among equals."""
        node = self
        while found := [child for child in node.children or () if child.visits]:
            key = (lambda c: (c.q, c.visits)) if by == "value" else (lambda c: (c.visits, c.q))
            node = max(found, key=key)
        return node


def search(
    root: Node[T],
    expand: Callable[[Node[T]], Iterable[tuple[T, float, float]]],
    *,
    simulations: int,
    exploration: float,
    depth: int,
) -> None:
    """Grow the tree below ``root``. ``expand`` gives the actions of a node with their values and priors, none where
    the node is terminal. Raises ValueError for a value outside 0 to 1, NotFinite for NaN."""
    for _ in range(simulations):
        trail = [root]
        while True:
            node = trail[-1]
            if node.children is None and node.depth < depth:
                node.children = [
                    Node(step, checked(value), prior, node, node.depth + 1) for step, value, prior in expand(node)
                ]
            if not node.children:
                break
            trail.append(chosen(node.children, exploration))
            if not trail[-1].visits:
                break
        for node in trail:
            node.visits += 1
            node.total += trail[-1].value


def chosen(children: list[Node[T]], exploration: float) -> Node[T]:
    """The action to take; the first among equals."""
    spread = exploration * math.sqrt(sum(child.visits for child in children))
    return max(children, key=lambda child: child.q + spread * child.prior / (1 + child.visits))


def checked(value: float) -> float:
    """The value, if it is one."""
    if math.isnan(value):
        raise NotFinite("the value model gave NaN; check its weights and the reference model")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"a value must be 0 to 1, the value model gave {value}")
    return value
