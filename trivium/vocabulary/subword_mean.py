"""Mean of subwords: a new token begins as the average of the old tokens that spelt it so far.

Source
    Common practice, for instance Yao et al. 2021, "Adapt-and-Distill", arXiv:2106.13474, and the vocabulary extensions
    of Komodo and others. From general knowledge.
Equation
    e_new(t) = mean over s in old_tokenizer(t) of e_s,   a piece that occurs twice counting twice
Shapes
    system x tokenizer -> system; rows (new tokens, width), and as many of the head where it is not tied
Cost
    The old tokenizer on every new token.
Caveats
    The strongest baseline that needs no text, where the old vocabulary can spell the new tokens at all. Half characters
    are spelt by the old tokens for their bytes, if there are such. Tokens without any old piece, special ones among
    them, get univariate rows and are reported as uncovered. Means of rows are shorter than rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.vocabulary._frame import Filling, Frame, Initialiser, Match, check_match, mixed, normal


@method(title="Mean of subwords", source="arXiv:2106.13474", year=2021)
@dataclass(frozen=True)
class SubwordMean(Initialiser):
    """The mean of the rows of the old pieces of each new token."""

    match: Match = "exact"
    """When a token of the new vocabulary is one of the old."""

    def __post_init__(self) -> None:
        check_match(self.match)

    def fill(self, frame: Frame, generator: torch.Generator) -> Filling:
        spelt = [[frame.place[id] for id in self.spelling(frame, id)] for id in frame.new.tolist()]
        covered = torch.tensor([at for at, row in enumerate(spelt) if row], dtype=torch.int64)
        bare = torch.tensor([at for at, row in enumerate(spelt) if not row], dtype=torch.int64)
        flat = torch.tensor([place for row in spelt for place in row], dtype=torch.int64)
        counts = torch.tensor([len(row) for row in spelt if row], dtype=torch.int64)
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts)

        def means(source: Tensor) -> Tensor:
            total = source.new_zeros(len(counts), source.shape[1]).index_add(0, owner, source[flat])
            return total / counts[:, None]

        fill = mixed((covered, means), (bare, normal(len(bare), generator)), count=len(spelt))
        facts = {"pieces": float(counts.double().mean()) if len(counts) else 0.0}
        return Filling(fill, uncovered=frame.new[bare].tolist(), facts=facts)

    def spelling(self, frame: Frame, id: int) -> Sequence[int]:
        """The old ids that spell a new token; none where they cannot."""
        token, tokenizer = frame.new_pieces[id].bytes, frame.system.tokenizer
        try:
            text = token.decode()
        except UnicodeDecodeError:
            single = {piece.bytes: old for old, piece in enumerate(frame.old_pieces) if len(piece.bytes) == 1}
            return [single[bytes([byte])] for byte in token if bytes([byte]) in single]
        tries = [tokenizer.encode(part) for part in dict.fromkeys((text, text.removeprefix(" "))) if part]
        real = [[old for old in ids if not frame.old_pieces[old].special and old in frame.place] for ids in tries]
        exact = [ids for ids in real if b"".join(frame.old_pieces[old].bytes for old in ids) == token]
        return min(exact or real, key=lambda ids: (not ids, len(ids)), default=[])
