"""How good a ranked list is: what of it is right, by place.

``right`` tells of each entry, best first, whether it is one of the ``gold`` things that were to be found, each of which
is found at most once.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

Cut = Literal["M", "O", "G"]


def places(right: Sequence[bool], gold: int, k: int | Cut) -> int:
    """How many entries count: k of them; all (M); as many as there are gold (O); the larger of the two (G)."""
    if isinstance(k, int):
        if k < 1:
            raise ValueError(f"k must be at least 1 place, or M, O or G; got {k}")
        return k
    counts = {"M": len(right), "O": gold, "G": max(gold, len(right))}
    if k not in counts:
        raise ValueError(f"k must be a number, M, O or G; got {k!r}")
    return counts[k]


def at(right: Sequence[bool], gold: int, k: int | Cut, *, fixed: bool = True) -> tuple[float, float, float]:
    """Precision, recall and F1 of the first k places. Places that the list does not fill count as wrong; by the older
    rule (``fixed=False``) they do not count. 0 where there is nothing to divide by."""
    count = places(right, gold, k)
    hits = sum(right[:count])
    among = count if fixed else min(count, len(right))
    precision, recall = (hits / among if among else 0.0), (hits / gold if gold else 0.0)
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0


def average_precision(right: Sequence[bool], gold: int) -> float:
    """Mean over the gold things of the precision at the place of each, 0 for those that are not there."""
    hits, total = 0, 0.0
    for place, hit in enumerate(right, 1):
        hits += hit
        total += hit * hits / place
    return total / gold if gold else 0.0


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def ndcg(right: Sequence[bool], gold: int) -> float:
    """sum over right places i of 1 / log2(i + 1), over that of a list that begins with all gold things."""
    return _discounted([float(hit) for hit in right]) / _discounted([1.0] * gold) if gold else 0.0


def alpha_ndcg(entries: Sequence[Hashable], gold: Sequence[Hashable], alpha: float = 0.5) -> float:
    """nDCG of a list with its duplicates: a gold thing that was said n times before is worth (1 - alpha)^n. The ideal
    list is as long as this one, or as the gold where that is longer, and says everything once before anything twice."""
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is the worth that a repetition loses, so 0 to 1; got {alpha}")
    if not gold:
        return 0.0
    wanted, said, gains = set(gold), Counter[Hashable](), []
    for entry in entries:
        gains.append((1 - alpha) ** said[entry] if entry in wanted else 0.0)
        said[entry] += 1
    ideal = [(1 - alpha) ** (n // len(wanted)) for n in range(max(len(entries), len(wanted)))]
    return _discounted(gains) / _discounted(ideal)


# By scores that may tie: the mean over all orders of what ties (McSherry and Najork 2008) -----------------------------


def _groups(scores: Sequence[float], grades: Sequence[int], alike: float) -> list[list[int]]:
    """Grades in groups that tie, best first. A score belongs to the group whose first score it lies this near."""
    if len(scores) != len(grades) or not all(math.isfinite(one) for one in scores):
        raise ValueError(f"each of {len(grades)} entries needs a finite score, got {list(scores)[:8]}")
    if not any(grade > 0 for grade in grades) or min(grades) < 0:
        raise ValueError(f"a ranking is judged by grades of 0 or more, one above 0 at least; got {list(grades)[:8]}")
    found: list[list[int]] = []
    first = math.inf
    for score, grade in sorted(zip(scores, grades, strict=True), key=lambda pair: -pair[0]):
        if first - score > alike:
            found.append([])
            first = score
        found[-1].append(grade)
    return found


def reciprocal_rank(scores: Sequence[float], grades: Sequence[int], k: int = 10, *, alike: float = 1e-6) -> float:
    """1 / the place of the first entry whose grade is above 0, 0 where that is beyond k.

    Of m that tie, r of them relevant, the first relevant one is at place j among them in C(m - j, r - 1) / C(m, r) of
    the orders. Raises ValueError for scores that are not finite and for entries of which none is relevant.
    """
    start = 0
    for group in _groups(scores, grades, alike):
        size, relevant = len(group), sum(grade > 0 for grade in group)
        if relevant:
            whole = math.comb(size, relevant)
            places = range(1, min(size - relevant + 1, k - start) + 1)
            return sum(math.comb(size - j, relevant - 1) / (start + j) for j in places) / whole
        start += size
    return 0.0


def graded_ndcg(scores: Sequence[float], grades: Sequence[int], k: int = 10, *, alike: float = 1e-6) -> float:
    """sum over the first k places i of grade / log2(i + 1), over that of the best order. Raises as above."""
    value, start = 0.0, 0
    for group in _groups(scores, grades, alike):
        places = range(start + 1, min(start + len(group), k) + 1)
        value += sum(group) / len(group) * sum(1 / math.log2(place + 1) for place in places)
        start += len(group)
    return value / _discounted([float(grade) for grade in sorted(grades, reverse=True)[:k]])
