"""A random share of documents, drawn from what each says: the same ones on every machine and in every order.

Source
    Soldaini et al. 2024, "Dolma", arXiv:2402.00159: the random number tagger of the published code (Dolma 1.2.1), which
    subsets of a corpus are taken with.
Equation
    u = hash(seed, text) / 2^64, uniform in [0, 1);   keep iff u < share
Shapes
    texts (documents,) -> a number per document
Cost
    One hash of the text, some hundred megabytes a second.
Caveats
    Dolma's code draws from a generator seeded by the process number, so that a second run keeps other documents; here
    the text decides. Copies therefore share their fate: drop them first where each is to have a chance of its own. A
    smaller share is a part of every larger one of the same seed, and shares of two seeds are independent. The share of
    a small set scatters by chance, as of coins.
"""

from dataclasses import dataclass

import numpy as np

from trivium.core.method import method
from trivium.data.chance import uniform
from trivium.data.marks import Marks, Texts
from trivium.data.rules import Drop, Rules


@method(title="Random share", source="arXiv:2402.00159", year=2024)
@dataclass(frozen=True)
class RandomShare:
    """Documents at random."""

    share: float = 0.5
    """Of the documents that stay; 1 keeps all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share is what stays, more than 0 and at most 1; got {self.share}")

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("number",))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset()

    @property
    def rules(self) -> Rules:
        return Rules((Drop("random_share.number", f"random_share.number >= {self.share}"),))

    def tag(self, texts: Texts) -> Marks:
        """A number in [0, 1) of each text and the seed."""
        key = f"random_share {self.seed}"
        return Marks(len(texts), {"number": np.array([uniform(key, text) for text in texts.texts], float)})
