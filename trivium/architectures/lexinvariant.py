"""Lexinvariant language model: no token means anything by itself, for its vector is drawn anew for each sequence.

Source
    Huang et al. 2023, "Lexinvariant Language Models", arXiv:2305.16349, NeurIPS 2023, from notes about the paper: its
    full text was not read, and no code of the authors was found.
Equation
    for each sequence   E[v] ~ N(0, I), one row per token of the vocabulary;   x_0[t] = E[id_t]
    logits[t, v] = tau h[t] . E[v],   tau learned, 0.1 / sqrt(width) at the start;   no other part knows of ids
    so for any permutation pi of the vocabulary   p(pi(x)) and p(x) have one law over the draws
    share < 1:  each v is drawn anew with that probability, per sequence; else E[v] = sqrt(width) W[v] / |W[v]|, learned
Shapes
    ids (batch, time) -> logits (batch, time, vocab). A row is in a lexicon, an int64 number from which all its vectors
    follow, (vocab, width).
Cost
    Forward per token 2 P + 4 width T', as for Llama, the head included, and vocab width random numbers per sequence.
    State: 8 bytes a row for the number of its lexicon, besides keys and values.
Caveats
    In training every row of every pass gets a lexicon of its own, by the seed of the model and the count of passes that
    is kept in its checkpoints; packed documents of one row share it, as they do not see each other. In evaluation all
    rows that begin are in lexicon 0, so that a row gives what it gives alone; ``model.embedding.numbered`` names
    others, and figures should be means over several. With a share below 1 nothing is drawn in evaluation, as with other
    noise that regularises, unless it is asked for by number; the authors' way there is not known to us. Learned rows
    are brought to the length of drawn ones. Share 0 is the Llama-style decoder itself, whose rows have any length. The
    temperature is our choice. Vectors are drawn on the CPU, whatever the device. Objectives that read the head's matrix
    do not apply. Shown by the authors at 150M parameters, characters and larger vocabularies, 512 tokens of context.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trivium.architectures._decoder import check_decoder, decoder
from trivium.core.method import method
from trivium.core.seeds import derive, generator
from trivium.models.skeleton import Lexicons, Role, Skeleton
from trivium.models.slots import Attention, GatedMLP, round_up
from trivium.nn.rotary import Layout

LEARNED = -1
"""The lexicon in which no token is drawn."""


@method(title="Lexinvariant language model", source="arXiv:2305.16349", year=2023)
@dataclass(frozen=True)
class LexInvariant:
    """The Llama-style decoder over vectors of tokens that are drawn for each sequence."""

    share: float = 1.0
    """Share of the vocabulary that is drawn anew for each sequence: 1 is lexinvariant, 0.2 the authors' regulariser, 0
    the plain decoder."""
    width: int = 64
    depth: int = 2
    heads: int = 4
    kv_heads: int | None = None
    """Key-value groups; None for as many as heads."""
    hidden: int | None = None
    """Width inside the feed-forward; None for 8/3 of the width, rounded up to a multiple of 64."""
    base: float = 10_000.0
    """Rotary base: the larger, the slower the slowest pair of coordinates turns."""
    layout: Layout = "interleaved"
    """Which coordinates of a head are turned together: neighbours, or the two halves."""
    eps: float = 1e-5
    context: int = 2048
    """Longest sequence that the model accepts."""

    def __post_init__(self) -> None:
        check_decoder(self)
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is a part of the vocabulary, so 0 to 1; got {self.share}")

    @property
    def tied(self) -> bool:
        """The head always reads the vectors that the tokens came in with."""
        return True

    def build(self, vocab_size: int, *, seed: int = 0) -> Skeleton:
        """A model with initial weights that depend on the seed alone."""
        hidden = self.hidden or round_up(8 * self.width / 3, 64)
        words = DrawnEmbedding(vocab_size, self.width, self.share, seed)
        return decoder(
            self,
            vocab_size,
            seed=seed,
            mixer=lambda: Attention(self.width, self.heads, self.kv_heads or self.heads, self.layout),
            channel=lambda: GatedMLP(self.width, hidden),
            words=(words, DrawnHead(words)) if self.share > 0 else None,
        )


class DrawnEmbedding(Lexicons):
    """The vectors of tokens, by the number of the lexicon that a row is in."""

    def __init__(self, vocab_size: int, width: int, share: float, seed: int) -> None:
        super().__init__()
        self.vocab_size, self.width, self.share, self.seed = vocab_size, width, share, seed
        self.weight = nn.Parameter(torch.empty(vocab_size, width)) if share < 1 else None
        if self.weight is not None:
            self.weight._no_weight_decay = True  # type: ignore[attr-defined]  # an embedding, and its length is given
        self.temperature = nn.Parameter(torch.empty(1))
        self.roles: dict[str, Role] = {"weight": "embed", "temperature": "own"}
        self.passes: Tensor
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.chosen: Tensor | None = None
        self.held: tuple[object, Tensor, Tensor] | None = None

    def initial(self, name: str) -> Tensor:
        """Logits then start with a standard deviation of 0.1."""
        return torch.full((1,), 0.1 / math.sqrt(self.width))

    def numbers(self, batch: int) -> Tensor:
        """The lexicons (batch,) of rows that begin: in training ones that no row was in before."""
        if self.chosen is not None:
            if self.chosen.ndim == 1 and len(self.chosen) != batch:
                raise ValueError(f"{len(self.chosen)} lexicons were named for a batch of {batch} rows; name one each")
            return self.chosen.expand(batch).clone()
        if not self.training:
            return torch.full((batch,), 0 if self.weight is None else LEARNED)
        rows = torch.initial_seed()  # the training loop seeds processes apart that have rows of their own
        count = int(self.passes)
        self.passes += 1
        return torch.tensor([derive(self.seed, "lexicon", rows, count, row) for row in range(batch)])

    @contextmanager
    def numbered(self, numbers: int | Tensor) -> Iterator[None]:
        """Within the block rows that begin are in this lexicon, or in one each (batch,); in training, too."""
        chosen = torch.as_tensor(numbers).cpu()
        least = 0 if self.weight is None else LEARNED
        if chosen.is_floating_point() or chosen.ndim > 1 or bool((chosen < least).any()):
            raise ValueError(f"lexicons are whole numbers from {least} on, one or one for each row; got {numbers}")
        before, self.chosen = self.chosen, chosen.long()
        try:
            yield
        finally:
            self.chosen = before

    def gaussian(self, number: int) -> Tensor:
        """(vocab, width): what a lexicon draws."""
        return torch.randn(self.vocab_size, self.width, generator=generator(number, "vectors"))

    def fresh(self, number: int) -> Tensor:
        """(vocab,) bool: which tokens a lexicon draws anew."""
        if number == LEARNED:
            return torch.zeros(self.vocab_size, dtype=torch.bool)
        return torch.rand(self.vocab_size, generator=generator(number, "fresh")) < self.share

    def table(self, numbers: Tensor) -> Tensor:
        """(batch, vocab, width): all vectors in these lexicons; (1, vocab, width) where the rows share one."""
        wanted = tuple(numbers.tolist())
        wanted = wanted[:1] if len(set(wanted)) == 1 else wanted
        device, dtype = self.temperature.device, self.temperature.dtype
        key = (wanted, device, dtype)
        if self.held is None or self.held[0] != key:  # embedding and head ask for the same one, and so do later steps
            with torch.inference_mode(False), torch.no_grad():
                drawn = torch.stack([self.gaussian(number) for number in wanted]).to(device, dtype)
                anew = torch.stack([self.fresh(number) for number in wanted]).to(device)
            self.held = (key, drawn, anew)
        _, drawn, anew = self.held
        if self.weight is None:
            return drawn
        return torch.where(anew[..., None], drawn, math.sqrt(self.width) * F.normalize(self.weight, dim=-1))

    def forward(self, ids: Tensor, numbers: Tensor | None = None) -> Tensor:
        """(batch, time) -> (batch, time, width); without numbers as rows that begin."""
        table = self.table(self.numbers(len(ids)) if numbers is None else numbers)
        return table[torch.arange(len(table), device=ids.device)[:, None], ids]


class DrawnHead(nn.Module):
    """Hidden vectors to logits, by the very vectors that the tokens of the row came in with."""

    def __init__(self, words: DrawnEmbedding) -> None:
        super().__init__()
        self.words = (words,)  # in a tuple: its parameters are the embedding's

    def forward(self, hidden: Tensor, numbers: Tensor) -> Tensor:
        (words,) = self.words
        table = words.table(numbers)
        scaled = words.temperature * hidden
        return F.linear(scaled, table[0]) if len(table) == 1 else scaled @ table.mT
