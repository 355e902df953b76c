"""Nearest neighbours by batched matrix products, what they vote for, and how a vote is mixed with a model's own word.

    score_j = - |q - k_j|^2  ("l2")  or  q . k_j  ("dot")
    p_kNN(v) = sum over the k nearest j with value v of softmax_j(score_j / tau)
    p = lambda p_kNN + (1 - lambda) p_LM,   by log-sum-exp

With k the number of entries this is the closed softmax over all of them. As tau grows it becomes their uniform vote, as
tau falls to 0 the nearest one's alone. A neighbour that is missing has score -inf.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Similarity = Literal["l2", "dot"]
ROOM = 1 << 24
"""Scores that are held at once."""


def similarities(
    queries: Float[Tensor, "queries width"], keys: Float[Tensor, "entries width"], similarity: Similarity = "l2"
) -> Float[Tensor, "queries entries"]:
    """The larger the nearer; of "l2" none is above 0."""
    product = queries @ keys.mT
    if similarity == "dot":
        return product
    lengths = queries.square().sum(1, keepdim=True) + keys.square().sum(1)
    return (2 * product - lengths).clamp(max=0.0)


def refuse_wide_k(k: int, entries: int) -> None:
    """Raise ValueError unless so many neighbours can be found."""
    if not 1 <= k <= entries:
        raise ValueError(f"k must be 1 to the {entries} entries there are to find, got {k}")


def refuse_infinite(name: str, given: Float[Tensor, "rows width"], start: int = 0) -> None:
    """Raise ValueError that names the first row with a number that is not finite; rows are counted from ``start``."""
    if not given.isfinite().all():
        row = start + int((~given.isfinite().all(1)).nonzero()[0])
        raise ValueError(f"{name} must be finite numbers, row {row} is not; use a wider dtype")


def search(
    queries: Float[Tensor, "queries width"],
    keys: Float[Tensor, "entries width"],
    k: int,
    *,
    similarity: Similarity = "l2",
    own: Int[Tensor, "queries"] | None = None,
) -> tuple[Float[Tensor, "queries k"], Int[Tensor, "queries k"]]:
    """Scores and numbers of the k nearest entries, nearest first. ``own``: for each query an entry that is itself and
    does not count, -1 for none. Keys may be narrower than queries and on disk: a stretch at a time is widened and read.

    Raises ValueError for a k below 1 or above the entries there are, and for numbers that are not finite.
    """
    refuse_wide_k(k, len(keys) - (1 if own is not None and bool((own >= 0).any()) else 0))
    refuse_infinite("queries", queries)
    room = ROOM // max(len(queries), 1)
    if max(k, room) < min(len(keys), 4096) and len(queries) > 1:  # too many queries at once for sensible stretches
        half = len(queries) // 2
        parts = [
            search(part, keys, k, similarity=similarity, own=mine)
            for part, mine in zip(
                queries.split([half, len(queries) - half]),
                (None, None) if own is None else own.split([half, len(queries) - half]),
                strict=True,
            )
        ]
        return torch.cat([scores for scores, _ in parts]), torch.cat([found for _, found in parts])
    wide = max(k, min(room, ROOM // keys.shape[1]))
    best = queries.new_full((len(queries), 0), float("-inf"))
    index = torch.zeros(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(keys), wide):
        stretch = keys[start : start + wide]
        refuse_infinite("keys", stretch, start)
        scores = similarities(queries, stretch.to(queries.dtype), similarity)
        places = torch.arange(start, start + scores.shape[1], device=queries.device).expand(len(queries), -1)
        if own is not None:
            scores = scores.masked_fill(places == own[:, None], float("-inf"))
        best, index = torch.cat((best, scores), 1), torch.cat((index, places), 1)
        best, order = best.topk(min(k, best.shape[1]), dim=1)
        index = index.gather(1, order)
    return best, index


def vote(
    scores: Float[Tensor, "queries k"], values: Int[Tensor, "queries k"], targets: Int[Tensor, "queries"], tau: float
) -> Float[Tensor, "queries"]:
    """log p_kNN of each target; -inf where no neighbour says it, or there is none. Raises ValueError for a tau that is
    not positive."""
    weights = _weights(scores, tau)
    return weights.masked_fill(values != targets[:, None], float("-inf")).logsumexp(1)


def distribution(
    scores: Float[Tensor, "queries k"], values: Int[Tensor, "queries k"], vocab: int, tau: float
) -> Float[Tensor, "queries vocab"]:
    """log p_kNN of every value; -inf throughout where there is no neighbour."""
    shares = _weights(scores, tau).exp()
    return shares.new_zeros(len(shares), vocab).scatter_add(1, values, shares).log()


def _weights(scores: Tensor, tau: float) -> Tensor:
    if not 0 < tau < math.inf:
        raise ValueError(f"tau divides the scores and must be positive, got {tau}")
    wide = scores.to(torch.promote_types(scores.dtype, torch.float32))
    nobody = ~(wide > float("-inf")).any(1, keepdim=True)
    # The nearest one's score is taken off first, so that a tau near 0 meets no infinities.
    nearest = wide.amax(1, keepdim=True).masked_fill(nobody, 0.0)
    return ((wide - nearest) / tau).log_softmax(1).masked_fill(nobody, float("-inf"))


def interpolate(
    model: Float[Tensor, "*batch"],
    neighbours: Float[Tensor, "*batch"],
    share: float,
    answered: Bool[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch"]:
    """log (share p_kNN + (1 - share) p_LM) of log-probabilities of the same tokens. A share of 0 gives the model's own
    bit by bit. Where nothing ``answered`` the model has all the say.

    Raises ValueError for a share outside 0 to 1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of the neighbours is 0 to 1, got {share}")
    if share == 0.0:
        return model
    mixed = neighbours if share == 1.0 else torch.logaddexp(model + math.log1p(-share), neighbours + math.log(share))
    return mixed if answered is None else torch.where(answered, mixed, model)


def best_share(
    model: Float[Tensor, "tokens"],
    neighbours: Float[Tensor, "tokens"],
    grid: int = 200,
    answered: Bool[Tensor, "tokens"] | None = None,
) -> tuple[float, Float[Tensor, "grid"]]:
    """Of so many shares from 0 to 1 the one of least mean loss, the smallest among equals, and the loss of each. Where
    nothing ``answered`` the model has all the say."""
    if grid < 2 or not len(model):
        raise ValueError(f"a grid needs two shares and a token at least, got {grid} and {len(model)}")
    shares = torch.linspace(0, 1, grid, dtype=torch.float64)
    own, said = model.double(), neighbours.double()
    losses = torch.stack([-interpolate(own, said, float(one), answered).mean() for one in shares])
    return float(shares[losses.argmin()]), losses


def oracle(model: Float[Tensor, "tokens"], neighbours: Float[Tensor, "tokens"]) -> Float[Tensor, "tokens"]:
    """What a mixture could reach that knew, token by token, whom to ask: at least as good as every share."""
    return torch.maximum(model, neighbours)


def whitening(
    keys: Float[Tensor, "entries width"], floor: float = 1e-6
) -> tuple[Float[Tensor, "width"], Float[Tensor, "width width"]]:
    """Mean, and the map after which the keys' covariance is the identity: (x - mean) @ map. Directions whose variance
    is below ``floor`` of the largest are left at that floor rather than blown up."""
    wide = keys.double()
    mean = wide.mean(0)
    values, vectors = torch.linalg.eigh((wide - mean).mT @ (wide - mean) / len(wide))
    scale = values.clamp(min=floor * float(values[-1])).rsqrt()
    dtype = torch.promote_types(keys.dtype, torch.float32)
    return mean.to(dtype), (vectors * scale).to(dtype)
