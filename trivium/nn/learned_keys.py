"""Keys trained to tell their values: what was a store of neighbours becomes an output layer.

    p(v) = sum over the rows j with value v of softmax_j(score_j / tau),   score as in ``nearest``, over all rows
    loss = mean of - log p(value) over the entries that the rows stand for

With one row for each value and the score "dot" this is the usual output layer, over another representation.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.core import seeds
from trivium.nn.nearest import Similarity, similarities, vote

BATCH = 256
RATE = 0.02
"""Of Adam, in units of the spread of the keys' coordinates; it falls linearly to 0."""


def train_keys(
    keys: Float[Tensor, "rows width"],
    values: Int[Tensor, "rows"],
    entries: Float[Tensor, "entries width"],
    said: Int[Tensor, "entries"],
    *,
    tau: float,
    epochs: int,
    similarity: Similarity = "l2",
    seed: int = 0,
) -> Float[Tensor, "rows width"]:
    """New keys for the same values, after so many passes over the entries, whose values are ``said``.

    Raises ValueError for epochs below 0, for a tau that is not positive, and for an entry whose value no row has.
    """
    if epochs < 0:
        raise ValueError(f"epochs must be at least 0, got {epochs}")
    if not torch.isin(said, values).all():
        raise ValueError(f"value {int(said[~torch.isin(said, values)][0])} of the entries is of no row")
    draw = seeds.generator(seed, "learned keys")
    rows = keys.float().clone().requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=RATE * float(rows.detach().std()))
    steps = epochs * -(-len(entries) // BATCH)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(steps, 1))
    with torch.enable_grad():
        for _ in range(epochs):
            for some in torch.randperm(len(entries), generator=draw).split(BATCH):
                scores = similarities(entries[some].float(), rows, similarity)
                loss = -vote(scores, values.expand(len(some), -1), said[some], tau).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                falling.step()
    return rows.detach()
