"""Labels of each sort that probes read, made so that a linear map of the activations tells them."""

from collections.abc import Callable

import torch
from torch import Tensor

from trivium.core.seeds import generator

EXAMPLES, WIDTH = 60, 7
Made = tuple[Tensor, Tensor, Tensor | None]


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


def values(seed=0) -> Made:
    """A direction of the activations with little noise."""
    x = rand(EXAMPLES, WIDTH, seed=seed)
    return x, x @ rand(WIDTH, seed=99) + 0.1 * rand(EXAMPLES, seed=seed + 50), None


def classes(seed=0) -> Made:
    """On which side of a plane."""
    x, y, _ = values(seed)
    return x, (y > 0).long(), None


def constituents(seed=0, trees=40) -> Made:
    """Trees of six leaves, of two shapes; a leaf's activations tell how far down the next branching is."""
    draws = generator(seed, "trees")
    rows, labels, groups = [], [], []
    for number in range(trees):
        left = bool(torch.randint(2, (), generator=draws))
        d = [1, 2, 3, 4, 5] if left else [5, 4, 3, 2, 1]
        position = 0.0
        for leaf in range(6):
            high = d[leaf] if leaf < 5 else 0
            labels.append((high, 1 + high % 2 if leaf < 5 else 0, 3 * (leaf % 2)))
            row = torch.zeros(WIDTH, dtype=torch.float64)
            row[0], row[1], row[2] = position, leaf % 2, 1.0
            rows.append(row + 0.05 * torch.randn(WIDTH, generator=draws, dtype=torch.float64))
            groups.append(number)
            position += high**0.5  # so that squared differences are the heights; 1.0 is for a bias
    return torch.stack(rows), torch.tensor(labels), torch.tensor(groups)


def heads(seed=0, sentences=40, words=7) -> Made:
    """Random trees, and states between which squared distances are those of the tree: each word is its head and a
    direction of its own. The last feature is noise."""
    draws = generator(seed, "heads")
    rows, labels = [], []
    for _ in range(sentences):
        order = torch.randperm(words, generator=draws).tolist()
        states = torch.zeros(words, WIDTH + 1, dtype=torch.float64)
        head = [-1] * words
        for at, word in enumerate(order):
            if at:
                head[word] = order[int(torch.randint(at, (), generator=draws))]
                states[word] = states[head[word]]
            states[word, at] += 1.0
        states[:, WIDTH] = torch.randn(words, generator=draws, dtype=torch.float64)
        rows.append(states)
        labels += head
    return torch.cat(rows), torch.tensor(labels), torch.arange(sentences).repeat_interleave(words)


TASKS: dict[str, Callable[[int], Made]] = {
    "values": values,
    "classes": classes,
    "constituents": constituents,
    "heads": heads,
}
"""Sort of labels -> seed -> activations, labels, groups. A new sort is a new entry."""
