"""Batches, made ready in a thread while the step before them runs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import torch

from trivium.core import files
from trivium.core.nouns import Batch
from trivium.training.parallel import World


class Batches(Protocol):
    """Batches by step, such as ``trivium.data.batches.Batches``: the same step gives the same batch."""

    def batch(self, step: int) -> Batch: ...


class Feed:
    """This process's share of each batch."""

    def __init__(self, batches: Batches, world: World, device: torch.device) -> None:
        self.batches, self.world, self.device = batches, world, device

    def __enter__(self) -> "Feed":
        self.pool = ThreadPoolExecutor(1, "batches")
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def make(self, step: int) -> tuple[Batch, int]:
        """The share, and the real tokens of the whole batch."""
        batch = self.batches.batch(step)
        if len(batch) == 0:
            raise ValueError(f"the batch of step {step} has no rows")
        tokens = batch.ids.numel() if batch.mask is None else int(batch.mask.sum())
        return self.world.share(batch).to(self.device), tokens

    def walk(self, start: int, stop: int) -> Iterator[tuple[int, Batch, int]]:
        """Step, share and tokens, one after another."""
        coming = self.pool.submit(self.make, start) if start < stop else None
        for step in range(start, stop):
            assert coming is not None
            batch, tokens = coming.result()
            coming = self.pool.submit(self.make, step + 1) if step + 1 < stop else None
            yield step, batch, tokens

    def fingerprint(self) -> str:
        """SHA-256 of the first batch, and of all data where it has a digest, so that a run does not go on with other
        data."""
        batch = self.batches.batch(0)
        parts = [repr(tuple(batch.ids.shape)).encode()]
        for tensor in (batch.ids, batch.mask, batch.segments):
            parts.append(b"-" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
        parts.append(getattr(self.batches, "digest", "").encode())
        return files.sha256(b"".join(parts))
