"""Approximate nearest neighbours: an inverted file over product-quantised keys (IVF-PQ), with faiss.

Keys are dealt to the nearest of ``lists`` centroids. Of the residual, each of some equal pieces is kept as the number
of one of 256 centres: a byte per piece. A query looks through its ``probes`` nearest lists only, and the scores that it
gets there are those of the quantised keys; ``rescored`` puts those of the keys themselves in their place.

With every list probed and as many neighbours as entries nothing is missed, and rescoring gives what the exact search
does. Source: Jegou, Douze and Schmid 2011, "Product Quantization for Nearest Neighbor Search" (from memory).
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.core.optional import require
from trivium.nn.nearest import Similarity, refuse_infinite, refuse_wide_k, similarities

CENTRES = 256
"""Of a piece: a byte."""
LEARNED_FROM = 1_000_000
"""Keys at most that the centroids and centres are learned from."""
BLOCK = 1 << 16
"""Keys that are added at once."""


def pieces(width: int, code: int) -> int:
    """The most equal pieces that a key of this width falls into, at most ``code`` of them."""
    return next(count for count in range(min(code, width), 0, -1) if width % count == 0)


class InvertedFile:
    """An index of keys by itself; the keys are not kept in it but as codes."""

    def __init__(self, index: Any, similarity: Similarity) -> None:
        self.index = index
        self.similarity: Similarity = similarity

    @staticmethod
    def build(
        keys: Float[Tensor, "entries width"],
        *,
        lists: int | None = None,
        code: int = 64,
        similarity: Similarity = "l2",
        seed: int = 0,
    ) -> "InvertedFile":
        """Learn from the keys (a million of them at most) and add them all, a stretch at a time.

        ``lists``: of the inverted file; None takes the root of the number of entries, at most 4096. ``code``: bytes of
        a key at most, see ``pieces``. Raises ValueError for fewer than 256 keys, for more lists than keys and for keys
        that are not finite, MissingExtra without faiss.
        """
        lists = min(4096, math.isqrt(len(keys))) if lists is None else lists
        if code < 1:
            raise ValueError(f"code must be at least one byte, got {code}")
        if len(keys) < CENTRES:
            raise ValueError(
                f"{CENTRES} centres of each piece cannot be learned from {len(keys)} keys; search these exactly"
            )
        if not 1 <= lists <= len(keys):
            raise ValueError(f"lists must be 1 to the {len(keys)} keys that are dealt to them, got {lists}")
        for start in range(0, len(keys), BLOCK):
            refuse_infinite("keys", keys[start : start + BLOCK], start)
        faiss = _faiss()
        width = keys.shape[1]
        dot = similarity == "dot"
        coarse = faiss.IndexFlatIP(width) if dot else faiss.IndexFlatL2(width)
        metric = faiss.METRIC_INNER_PRODUCT if dot else faiss.METRIC_L2
        index = faiss.IndexIVFPQ(coarse, width, lists, pieces(width, code), 8, metric)
        for learning in (index.cp, index.pq.cp):
            learning.seed = seed + 1
            learning.min_points_per_centroid = 1
        some = np.arange(len(keys))
        if len(keys) > LEARNED_FROM:
            some = np.sort(np.random.default_rng(seed).choice(len(keys), LEARNED_FROM, replace=False))
        index.train(_array(keys[torch.from_numpy(some)] if len(some) < len(keys) else keys))
        for start in range(0, len(keys), BLOCK):
            index.add(_array(keys[start : start + BLOCK]))
        return InvertedFile(index, similarity)

    def __len__(self) -> int:
        return self.index.ntotal

    @property
    def lists(self) -> int:
        """How many there are to be probed."""
        return self.index.nlist

    def search(
        self, queries: Float[Tensor, "queries width"], k: int, probes: int = 32
    ) -> tuple[Float[Tensor, "queries k"], Int[Tensor, "queries k"]]:
        """Scores by the quantised keys and numbers of the k nearest that were found, nearest first. Where the probed
        lists hold fewer than k the rest have score -inf, and number 0.

        Raises ValueError for a k below 1 or above the entries there are, for probes below 1, for another width, and for
        queries that are not finite.
        """
        refuse_wide_k(k, len(self))
        refuse_infinite("queries", queries)
        if probes < 1:
            raise ValueError(f"probes must be at least 1, got {probes}")
        if queries.shape[1] != self.index.d:
            raise ValueError(f"keys are {self.index.d} wide and queries {queries.shape[1]}; use one representation")
        asked = _faiss().SearchParametersIVF(nprobe=min(probes, self.lists))
        distances, found = self.index.search(_array(queries), k, params=asked)
        index, scores = torch.from_numpy(found), torch.from_numpy(distances).to(queries.dtype)
        missing = index < 0
        scores = scores if self.similarity == "dot" else (-scores).clamp(max=0.0)
        return scores.masked_fill(missing, float("-inf")), index.masked_fill(missing, 0)


def rescored(
    queries: Float[Tensor, "queries width"],
    keys: Float[Tensor, "entries width"],
    scores: Float[Tensor, "queries k"],
    index: Int[Tensor, "queries k"],
    similarity: Similarity = "l2",
) -> tuple[Float[Tensor, "queries k"], Int[Tensor, "queries k"]]:
    """The same neighbours with the scores of the keys themselves, nearest first; missing ones stay missing."""
    exact = torch.empty_like(scores)
    for row, (query, mine) in enumerate(zip(queries, index, strict=True)):
        exact[row] = similarities(query[None], keys[mine].to(query.dtype), similarity)[0]
    exact = exact.masked_fill(scores == float("-inf"), float("-inf"))
    exact, order = exact.sort(dim=1, descending=True, stable=True)
    return exact, index.gather(1, order)


def recall(
    scores: Float[Tensor, "queries k"], index: Int[Tensor, "queries k"], exact: Int[Tensor, "queries k"]
) -> float:
    """The share of the exact neighbours that were found."""
    held = index.masked_fill(scores == float("-inf"), -1)
    return float((exact[:, :, None] == held[:, None, :]).any(2).double().mean())


def _array(keys: Tensor) -> np.ndarray:
    return np.ascontiguousarray(keys.detach().cpu().float().numpy())


def _faiss() -> Any:
    return require("faiss", extra="neighbours", why="approximate nearest neighbours; exact search needs no extra")
