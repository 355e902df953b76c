"""A filter that remembers roughly what it has seen, in a few bits for each thing, and can be kept in a file.

Source
    Bloom 1970, "Space/time trade-offs in hash coding with allowable errors"; for paragraphs of corpora, Soldaini et al.
    2024 (Dolma, arXiv:2402.00159). Written from their descriptions.
Equation
    For n things at a false-positive rate p: m = ⌈-n ln p / (ln 2)²⌉ bits, k = round(m/n ln 2) of them for each thing;
    after n things it says yes by mistake with probability (1 - (1 - 1/m)^(k n))^k.
Cost
    About 29 bits a thing at a rate of one in a million; some three microseconds each, in numpy.
Caveats
    It takes hashes of 128 bits, see ``data.digests``. Its bits depend on what is in it and never on the order; whether
    a thing was claimed by mistake when it was put in may depend on the order.
"""

import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trivium.core import files
from trivium.core.errors import TriviumError
from trivium.data.digests import NAME, Digests
from trivium.data.shuffle import mixed

FORMAT = 1
OVER = 1.1
"""Times the expected number that may be put in."""


class Overfull(TriviumError):
    """More was put into a filter than it was made for."""


class WrongFilter(TriviumError, ValueError):
    """A file that holds no filter, or another one than is asked for."""


class Bloom:
    """A set in few bits, that never forgets a thing and sometimes claims one that it has not seen."""

    def __init__(self, expected: int, rate: float = 1e-6, seed: int = 0) -> None:
        if expected < 1 or not 0.0 < rate < 1.0:
            raise ValueError(f"a filter expects at least 1 thing at a rate between 0 and 1, got {expected} at {rate}")
        self.expected, self.rate, self.seed = expected, rate, seed
        self.size = math.ceil(-expected * math.log(rate) / math.log(2) ** 2)
        self.hashes = max(round(self.size / expected * math.log(2)), 1)
        self.bits = np.zeros((self.size + 7) // 8, np.uint8)
        self.count = 0
        """Of the things put in, less those that were thought to be there."""
        self.holding: tuple[str, ...] = ()
        """What has gone in, by fingerprints of shards say, for whoever goes on with it."""

    def projected(self, count: int | None = None) -> float:
        """False-positive rate after so many things, or now, by the share of bits that are set.

        ``count`` alone would not tell: a thing that was claimed by mistake has its bits set, and is not counted.
        """
        if count is None:
            return (int(np.bitwise_count(self.bits).sum()) / self.size) ** self.hashes
        return (-math.expm1(self.hashes * count * math.log1p(-1 / self.size))) ** self.hashes

    def holds(self, things: Digests) -> NDArray[np.bool_]:
        """Per thing whether it was put in; by mistake at most at the rate, as long as it is not overfull."""
        return self._there(self._places(_halves(things)))

    def add(self, things: Digests) -> NDArray[np.bool_]:
        """Puts the things in; per thing whether it was there, from before or from earlier among these.

        Raises Overfull, and puts nothing in, where more than 1.1 times what was expected would be in it.
        """
        halves = _halves(things)
        places = self._places(halves)
        _, first, which = np.unique(halves, axis=0, return_index=True, return_inverse=True)
        seen = self._there(places) | (first[which.reshape(-1)] != np.arange(len(halves)))
        count = self.count + int((~seen).sum())
        if count > OVER * self.expected:
            raise Overfull(
                f"{count} things in a filter made for {self.expected}: it would be wrong at a rate of "
                f"{self.projected(count):.2g} instead of {self.rate:.2g}; make one for more"
            )
        new = places[~seen].reshape(-1)
        np.bitwise_or.at(self.bits, new >> np.uint64(3), np.uint8(1) << (new & np.uint64(7)).astype(np.uint8))
        self.count = count
        return seen

    def save(self, path: str | Path) -> None:
        """To a file that ``load`` reads; never half-written."""
        bits = self.bits.tobytes()
        head = {**self._kind(), "count": self.count, "holding": self.holding, "sha256": files.sha256(bits)}
        files.write(path, json.dumps(head, sort_keys=True).encode("utf-8") + b"\n" + bits)

    @classmethod
    def load(cls, path: str | Path, **wanted: float) -> "Bloom":
        """From a file. ``wanted``: expected, rate or seed that it must have been made with.

        Raises WrongFilter for a file that is none, damaged, of another version or hash, or made otherwise than wanted.
        """
        try:
            first, bits = Path(path).read_bytes().split(b"\n", 1)
            head = json.loads(first)
            made = cls(head["expected"], head["rate"], head["seed"])
            count, holding, digest = int(head["count"]), tuple(head["holding"]), head["sha256"]
        except (ValueError, KeyError, TypeError):
            raise WrongFilter(f"{path} is no filter; Bloom.save writes one") from None
        if strange := [name for name, value in made._kind().items() if head.get(name) != value]:
            name = strange[0]
            raise WrongFilter(
                f"{path} has {name} {head.get(name)!r} where this version has {made._kind()[name]!r}; make it again"
            )
        if unknown := wanted.keys() - {"expected", "rate", "seed"}:
            raise TypeError(f"a filter has an expected number, a rate and a seed, no {min(unknown)}")
        for name, value in wanted.items():
            if head[name] != value:
                raise WrongFilter(f"{path} was made with {name} {head[name]}, not {value}; make another one")
        made.bits = np.frombuffer(bits, np.uint8).copy()
        if files.sha256(bits) != digest:
            raise WrongFilter(f"{path} is damaged: its bits are not those that were written; make it again")
        made.count, made.holding = count, holding
        return made

    def _kind(self) -> dict[str, int | float | str]:
        return {"format": FORMAT, "hash": NAME, "expected": self.expected, "rate": self.rate, "seed": self.seed,
                "size": self.size, "hashes": self.hashes}  # fmt: skip

    def _places(self, halves: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """(thing, hash): which bits."""
        turns = np.arange(self.hashes, dtype=np.uint64)
        start = halves[:, :1] ^ mixed(np.array([self.seed], np.uint64))
        return mixed(start + turns * (halves[:, 1:] | np.uint64(1))) % np.uint64(self.size)

    def _there(self, places: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return np.asarray(
            ((self.bits[places >> np.uint64(3)] >> (places & np.uint64(7)).astype(np.uint8)) & 1).all(1), bool
        )


def _halves(things: Digests) -> NDArray[np.uint64]:
    """(thing, 2)"""
    return np.ascontiguousarray(things).view("<u8").reshape(-1, 2).astype(np.uint64)
