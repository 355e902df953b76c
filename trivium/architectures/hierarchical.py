"""Hierarchical autoregressive transformer: bytes inside words, words in the backbone, no subword vocabulary.

Source
    Neitemeier, Deiseroth, Eichenberg and Balles 2025, "Hierarchical Autoregressive Transformers: Combining Byte- and
    Word-Level Processing for Robust, Adaptable Language Models", ICLR 2025, arXiv:2501.10322. Written from the
    equations; depths and widths are our choice.
Equation
    e_i = W_in Enc([w], c_{i,1}, ..., c_{i,n})_[w]            both directions, in the word
    p_0, p_1, ... = Backbone(e_0, e_1, ...)                   causal, over words; e_0 is learned
    p(c_{i+1,j} | c_{i+1,<j}, p_i) = softmax(W_U Dec(W_out p_i, c_{i+1,1}, ..., c_{i+1,j-1}))       causal, in the word
    p(text) = product over words i and their bytes j
    All three are pre-norm blocks of rotary attention and SwiGLU; encoder and decoder share the table of bytes alone.
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Encoder and decoder (words, bytes, width), the backbone (batch,
    words, word_width). State: the backbone's keys and values, one p_i, and the bytes of the open word.
Cost
    With m bytes to a word, per byte: 2 P_bytes (1 + 2/m) + (2 P_words + 4 word_width T'/m) / m, P_bytes and P_words the
    parameters of both byte stacks and of the backbone. Words are padded to the longest of a group within which lengths
    differ by less than a factor of 2. State: 2 word_width depth numbers per word.
Caveats
    The paper puts a space before the word that follows it and closes a word by a symbol of its own. Whether a word has
    ended is then known only from the byte after it, and a model of bytes would have to ask the backbone at every byte
    what it would say if the word ended there. Here a word ends with its white space (or a special token), which thus is
    the closing symbol: no symbol is added to the text, every byte has the probability of the equation, and the product
    is that of the bytes. In a run of white space each byte after the first is a word. Scripts without spaces give words
    of ``limit`` bytes. Going on from a state, the decoder runs over the open word's bytes again (at most limit of them)
    instead of keeping a cache of its own. A state cannot be cut back, embeddings cannot be given in place of ids, and
    the sites of the backbone show words. Operations of a training step are those of the first batch of its shape, while
    batches differ by a few per cent in their words. Shown by the authors at 1 to 7 billion parameters.
"""

from dataclasses import dataclass

from torch import nn

from trivium.architectures._words import Stack, WordModel
from trivium.core.method import method
from trivium.models.skeleton import Block, Linear
from trivium.models.slots import Attention, GatedMLP, Head, RMSNorm, RotaryPosition, TokenEmbedding, round_up


@method(title="Hierarchical autoregressive transformer", source="arXiv:2501.10322", year=2025)
@dataclass(frozen=True)
class Hierarchical:
    """A byte encoder, a backbone over words, and a byte decoder."""

    width: int = 32
    """Of the bytes: of the table, the encoder, the decoder and what enters the head."""
    word_width: int | None = None
    """Of the backbone; None for twice the width."""
    depth: int = 2
    """Layers of the backbone."""
    byte_depth: int = 2
    """Layers of the encoder, and of the decoder."""
    heads: int = 4
    """In every layer."""
    limit: int = 64
    """Bytes of the longest word; a longer one is cut."""
    base: float = 10_000.0
    """Rotary base: the larger, the slower the slowest pair of coordinates turns."""
    eps: float = 1e-5
    context: int = 2048
    """Longest sequence of bytes that the model accepts."""
    tied: bool = True
    """Whether the head reads the embedding table."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "byte_depth", "heads", "limit", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, width in (("width", self.width), ("word_width", self._word_width)):
            if width < 1 or width % self.heads or width // self.heads % 2:
                raise ValueError(f"{name} {width} must give each of {self.heads} heads an even number of coordinates")
        if self.base <= 0 or self.eps <= 0:
            raise ValueError(f"base and eps must be positive, got {self.base} and {self.eps}")

    @property
    def _word_width(self) -> int:
        return 2 * self.width if self.word_width is None else self.word_width

    def build(self, vocab_size: int, *, seed: int = 0) -> WordModel:
        """A model with initial weights that depend on the seed alone. Raises ValueError for more ids than the byte
        tokenizer has."""
        width, wide = self.width, self._word_width
        embedding = TokenEmbedding(vocab_size, width)
        return WordModel(
            self,
            vocab_size=vocab_size,
            limit=self.limit,
            prefix=1,
            embedding=embedding,
            encoder=Stack(self._blocks(width, self.byte_depth), self._position(width), causal=False),
            to_words=nn.Sequential(RMSNorm(width, self.eps), Linear(width, wide)),
            blocks=self._blocks(wide, self.depth),
            position=self._position(wide),
            words_norm=RMSNorm(wide, self.eps),
            from_words=Linear(wide, width),
            decoder=Stack(self._blocks(width, self.byte_depth), self._position(width), causal=True),
            norm=RMSNorm(width, self.eps),
            head=Head(width, vocab_size, tied=embedding if self.tied else None),
            word_width=wide,
            max_positions=self.context,
            seed=seed,
        )

    def _blocks(self, width: int, depth: int) -> list[Block]:
        hidden = round_up(8 * width / 3, 32)
        return [
            Block(
                RMSNorm(width, self.eps),
                Attention(width, self.heads, self.heads, "interleaved"),
                RMSNorm(width, self.eps),
                GatedMLP(width, hidden),
            )
            for _ in range(depth)
        ]

    def _position(self, width: int) -> RotaryPosition:
        return RotaryPosition(width // self.heads, self.base)
