"""Tables of tri-grams: which tokens followed a pair of tokens in a corpus, and what share of the times."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trivium.core import files

FOLLOWERS = 12
"""Followers kept for each pair, the most frequent ones."""
FORMAT = "trivium tri-grams 1"
CHUNK = 2**22
"""Tri-grams that are counted at once while a table is built."""


class TrigramTable:
    """Pairs in ascending order of their code (first * vocab_size + second); the followers of pair i stand from
    ``starts[i]`` to ``starts[i + 1]``, the heaviest first. A value: adapting it is its reader's business."""

    def __init__(self, vocab_size: int, pairs: Tensor, starts: Tensor, followers: Tensor, weights: Tensor) -> None:
        self.vocab_size = vocab_size
        self.pairs, self.starts, self.followers, self.weights = pairs, starts, followers, weights

    def __len__(self) -> int:
        return len(self.pairs)

    @classmethod
    def build(cls, texts: Iterable[Sequence[int] | Tensor], vocab_size: int, keep: int = FOLLOWERS) -> Self:
        """Count the tri-grams within each text; a weight is count(a, b, v) / count(a, b), and the ``keep`` largest of a
        pair stay. Raises ValueError for tokens outside the vocabulary, which another tokenizer may have made."""
        if not 1 <= vocab_size <= 2**20:
            raise ValueError(f"vocab_size must be 1 to {2**20}, so that three tokens fit one number; got {vocab_size}")
        if keep < 1:
            raise ValueError(f"keep must be at least 1 follower, got {keep}")
        codes, counts = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
        waiting: list[Tensor] = []
        for index, text in enumerate(texts):
            ids = torch.as_tensor(text, dtype=torch.int64)
            if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < vocab_size):
                bad = int(ids[(ids < 0) | (ids >= vocab_size)][0])
                raise ValueError(
                    f"token {bad} of text {index} is outside the vocabulary of {vocab_size}; encode the corpus with "
                    "the tokenizer of the model that will be drafted for"
                )
            waiting.append((ids[:-2] * vocab_size + ids[1:-1]) * vocab_size + ids[2:])
            if sum(map(len, waiting)) >= CHUNK:
                codes, counts = _merged(codes, counts, waiting)
                waiting = []
        codes, counts = _merged(codes, counts, waiting)
        return cls._from_counts(codes, counts, vocab_size, keep)

    @classmethod
    def _from_counts(cls, codes: Tensor, counts: Tensor, vocab_size: int, keep: int) -> Self:
        pairs, owner, followed = (codes // vocab_size).unique_consecutive(return_inverse=True, return_counts=True)
        total = torch.zeros(len(pairs), dtype=torch.int64).index_add_(0, owner, counts)
        weights = (counts / total[owner]).float()
        order = counts.argsort(descending=True, stable=True)  # among equals the lowest token first
        order = order[owner[order].argsort(stable=True)]
        rank = torch.arange(len(codes)) - (followed.cumsum(0) - followed)[owner]
        kept = order[rank < keep]
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), followed.clamp(max=keep).cumsum(0)])
        return cls(vocab_size, pairs, starts, (codes[kept] % vocab_size).int(), weights[kept])

    def after(self, first: int, second: int) -> dict[int, float]:
        """Token -> weight, the heaviest first; empty for a pair that was never seen."""
        code = first * self.vocab_size + second
        place = int(torch.searchsorted(self.pairs, code))
        if place == len(self.pairs) or int(self.pairs[place]) != code:
            return {}
        part = slice(int(self.starts[place]), int(self.starts[place + 1]))
        return dict(zip(self.followers[part].tolist(), self.weights[part].tolist(), strict=True))

    def restricted(self, tokens: Tensor) -> "TrigramTable":
        """The table over a few tokens, renumbered as they stand: what a model restricted to them is drafted with."""
        kept = tokens.tolist()
        renamed = {token: index for index, token in enumerate(kept)}
        found = [
            (a * len(kept) + b, {renamed[v]: w for v, w in self.after(first, second).items() if v in renamed})
            for a, first in enumerate(kept)
            for b, second in enumerate(kept)
        ]
        found = [(code, after) for code, after in found if after]
        return TrigramTable(
            len(kept),
            torch.tensor([code for code, _ in found], dtype=torch.int64),
            torch.tensor([0, *(len(after) for _, after in found)]).cumsum(0),
            torch.tensor([v for _, after in found for v in after], dtype=torch.int32),
            torch.tensor([w for _, after in found for w in after.values()]),
        )

    def save(self, path: str | Path) -> None:
        """One safetensors file; the vocabulary size stands in its header."""
        tensors = {
            "pairs": self.pairs,
            "starts": self.starts,
            "followers": self.followers,
            "weights": self.weights,
        }
        with files.written(path) as part:
            save_file(tensors, part, {"format": FORMAT, "vocab_size": str(self.vocab_size)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Raises ValueError for a file that is no such table."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no tri-gram table at {path}; make one with TrigramTable.build and save")
        try:
            with safe_open(path, "pt") as file:
                said = file.metadata() or {}
                if said.get("format") != FORMAT:
                    raise ValueError(f"{path} is no tri-gram table: its header says {said.get('format')!r}")
                parts = [file.get_tensor(name) for name in ("pairs", "starts", "followers", "weights")]
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read as a tri-gram table: {error}") from None
        return cls(int(said["vocab_size"]), *parts)


def _merged(codes: Tensor, counts: Tensor, new: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sorted codes and how often each was seen, with further ones counted in."""
    seen = torch.cat([codes, *new])
    times = torch.cat([counts, torch.ones(len(seen) - len(codes), dtype=torch.int64)])
    unique, place = seen.unique(return_inverse=True)
    return unique, torch.zeros(len(unique), dtype=torch.int64).index_add_(0, place, times)
