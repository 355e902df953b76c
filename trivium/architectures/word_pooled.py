"""Word-pooled tokenization (eTok): a word's bytes pooled into a few vectors, and spelt out again from the next few.

Source
    Thawani, Ghanekar, Zhu and Pujara 2023, "Learn Your Tokens: Word-Pooled Tokenization for Language Modeling",
    Findings of EMNLP, arXiv:2310.11628. Written from the equations; the order of layers is that of the authors' code.
Equation
    e_i = Enc([cls_1 .. cls_P, c_1 .. c_n] + s)_{1..P}                both directions, inside word i
    [p_0, p_1, ..] = LN(GPT([e_0, e_1, ..] + t))                      causal, P places for each word; e_0 is learned
    p(c_{i+1,j}) = softmax(W_U Dec([p_i, c_{i+1,1}, .., c_{i+1,j-1}] + u)_{P+j-1})        causal, inside word i+1
    s, t and u are learned positions. Layers are pre-norm: LN and attention, then LN and W_2 gelu(W_1 x).
    prefix = 0: logits = W_U LN(GPT(c_1, c_2, .. + t)), the plain decoder over bytes.
Shapes
    ids (batch, time) -> logits (batch, time, vocab). Encoder and decoder (words, P + bytes, width), backbone (batch,
    words P, width). State: keys and values of words P places, the last P outputs, and the bytes of the open word.
Cost
    With m bytes to a word, per byte: 2 P_bytes (1 + 2 P / m) + (P / m) (2 P_words + 4 width T' P / m), with P_bytes and
    P_words the parameters of both byte stacks and of the backbone. State: 2 width depth P numbers per word.
Caveats
    The authors' code lets bytes of a word attend to padding, and counts padding among the targets; neither is done
    here. It cuts off what is longer than its canvas; here a long word becomes several, so nothing is lost. A word ends
    with its white space, where the authors split on it: so the product over words is the probability of the bytes, and
    no end of a word has to be guessed. The bytes of the first word are predicted from a learned e_0. There is no
    dropout (0.1 there) and no bias in matrix products. Embeddings and head are apart. The other caveats on words are
    those of the hierarchical transformer: a state cannot be cut back, embeddings cannot be given in place of ids, and
    sites show words. The paper's threefold next-word accuracy was shown against 768-wide models trained alike, with
    sampled words.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from trivium.architectures._words import Stack, WordModel
from trivium.core.method import method
from trivium.models.skeleton import Block, Context, Native, Skeleton
from trivium.models.slots import Attention, Head, LayerNorm, PlainMLP, TokenEmbedding


@method(title="Word-pooled tokenization", source="arXiv:2310.11628", year=2023)
@dataclass(frozen=True)
class WordPooled:
    """A GPT over words, each of them a few vectors that are pooled from its bytes."""

    width: int = 64
    depth: int = 2
    """Layers of the backbone."""
    byte_depth: int = 2
    """Layers of the encoder, and of the decoder."""
    heads: int = 4
    """In every layer."""
    prefix: int = 4
    """Vectors for a word; 0 for a plain decoder over bytes."""
    limit: int = 20
    """Bytes of the longest word; a longer one is cut."""
    eps: float = 1e-5
    context: int = 1024
    """Longest sequence of bytes that the model accepts."""
    words: int | None = None
    """Words that positions are learned for; None for as many as there may be bytes."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "byte_depth", "heads", "limit", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of the {self.heads} heads")
        if self.prefix < 0:
            raise ValueError(f"prefix must not be negative, got {self.prefix}; 0 is a plain decoder over bytes")
        if self.words is not None and self.words < 1:
            raise ValueError(f"words must be at least 1, got {self.words}; None for as many as there may be bytes")
        if self.eps <= 0:
            raise ValueError(f"eps must be positive, got {self.eps}")

    def build(self, vocab_size: int, *, seed: int = 0) -> Native:
        """A model with initial weights that depend on the seed alone. Raises ValueError for more ids than the byte
        tokenizer has."""
        embedding, norm = TokenEmbedding(vocab_size, self.width), LayerNorm(self.width, self.eps)
        head, backbone = Head(self.width, vocab_size), self._blocks(self.depth)
        if self.prefix == 0:
            return Skeleton(
                self,
                vocab_size=vocab_size,
                embedding=embedding,
                position=LearnedPosition(self.context, self.width),
                blocks=backbone,
                norm=norm,
                head=head,
                max_positions=self.context,
                seed=seed,
            )
        inside = self.prefix + self.limit
        words = 1 + (self.context if self.words is None else self.words)
        return WordModel(
            self,
            vocab_size=vocab_size,
            limit=self.limit,
            prefix=self.prefix,
            embedding=embedding,
            encoder=Stack(self._blocks(self.byte_depth), LearnedPosition(inside, self.width), causal=False),
            to_words=nn.Identity(),
            blocks=backbone,
            position=LearnedPosition(words * self.prefix, self.width),
            words_norm=norm,
            from_words=nn.Identity(),
            decoder=Stack(self._blocks(self.byte_depth), LearnedPosition(inside - 1, self.width), causal=True),
            norm=nn.Identity(),
            head=head,
            word_width=self.width,
            max_positions=self.context,
            seed=seed,
        )

    def _blocks(self, depth: int) -> list[Block]:
        return [
            Block(
                LayerNorm(self.width, self.eps),
                Attention(self.width, self.heads, self.heads),
                LayerNorm(self.width, self.eps),
                PlainMLP(self.width, 4 * self.width, nn.GELU()),
            )
            for _ in range(depth)
        ]


class LearnedPosition(nn.Module):
    """Adds a learned vector for each place."""

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.table = TokenEmbedding(places, width)

    def forward(self, hidden: Tensor, ctx: Context) -> Tensor:
        if ctx.positions.numel() and int(ctx.positions.max()) >= self.table.num_embeddings:
            raise ValueError(
                f"a row needs {int(ctx.positions.max()) + 1} places of the {self.table.num_embeddings} that positions "
                "are learned for; give shorter rows, or a model of more words"
            )
        return hidden + self.table(ctx.positions)
