"""Byte2Word: a masked model that reads words off their bytes, and spells hidden words in subword pieces.

Source
    Lee, Guo and Qiu 2022, "Word-Level Representation From Bytes For Language Modeling", arXiv:2211.12677. The paper's
    abstract is the source of what is read and what is predicted; the inside is our reading of it, written anew.
Equation
    B_i = [E[b_1] + s_1, .., E[b_n] + s_n], the bytes of word i; a hidden word is one symbol, whatever it was
    z_i = W_o [softmax((u_k W_q) (B_i W_k)^T / sqrt(d)) B_i W_v for k = 1 .. m];    e_i = z_i + MLP(RMSNorm(z_i))
    h = RMSNorm(Blocks(e_1, e_2, ..)), every word attending to every other, positions rotary over words
    logits_{i,s} = W_U MLP([h_i; t_s]), piece s of word i: of what stands there, or of what is hidden; one id is "end"
Shapes
    ids (batch, time), pieces, -> logits (batch, time, vocab), at each piece those of its own slot of its own word.
    ``spell``: (words, limit, vocab), all slots. Blocks are over (batch, words, width); bytes have byte_width.
Cost
    Per word of m bytes: 4 m byte_width width + 4 m queries width for the pooling, 2 queries width^2 and one MLP, 2 P
    for the blocks; per slot 2 (3 width hidden + width vocab). There is no state. The table has byte_width numbers for
    each of 256 bytes, of the special tokens, and of the symbol for a hidden word.
Caveats
    This is a masked model, not an autoregressive one: it offers no 'causal' and no 'state', and what it says of a piece
    that it has read is no prediction. The last three ids of the vocabulary are its own: the symbol for a hidden word,
    the one for its further pieces, and the end. Blocks and MLP are those of our Llama, so that nothing but the words
    differs from other models here. A word begins at a piece that begins with white space, and has ``limit`` pieces at
    most; a special token is one by itself. That a word is hidden says nothing of its length; with ``byte_width=None``,
    where each piece has a row of the table and a place, it does: that is the subword encoder of the comparison. The
    paper says neither how many queries there are nor how a word is spelt. Transfer to other languages is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.errors import NotOffered
from trivium.core.method import method
from trivium.core.protocols import LMOutput, State, Tokenizer
from trivium.models.sites import Site
from trivium.models.skeleton import Block, Context, Linear, Native, Role, checked, initialise, linear_flops
from trivium.models.slots import Attention, GatedMLP, Head, RMSNorm, RotaryPosition, TokenEmbedding, round_up
from trivium.nn.attention import attention
from trivium.nn.linear_attention import document_numbers
from trivium.nn.words import WHITE_SPACE, grouped, starts_of, words

OWN = 3
"""Ids at the end of the vocabulary: hidden word, its further pieces, end of a word."""


@method(title="Byte2Word", source="arXiv:2211.12677", year=2022)
@dataclass(frozen=True)
class Byte2Word:
    """A bidirectional encoder over words that are pooled from their bytes by learned queries."""

    width: int = 64
    depth: int = 2
    heads: int = 4
    """In the blocks and in the pooling."""
    byte_width: int | None = 16
    """Of the table of bytes; None gives every piece a row and a place of its own instead of pooling words."""
    queries: int = 2
    """Learned queries, each of which reads the word once."""
    byte_positions: bool = True
    """Whether the order of bytes counts."""
    longest: int = 32
    """Bytes of a word with positions of their own; later ones share the last."""
    limit: int = 16
    """Pieces of the longest word; a longer one is cut."""
    pieces: tuple[str, ...] | None = None
    """Bytes of each id, as Latin-1 text, empty for a special token; None for those of the byte tokenizer."""
    base: float = 10_000.0
    """Rotary base: the larger, the slower the slowest pair of coordinates turns."""
    eps: float = 1e-5
    context: int = 2048
    """Longest sequence of pieces that the model accepts."""

    def __post_init__(self) -> None:
        if self.pieces is not None:
            object.__setattr__(self, "pieces", tuple(self.pieces))  # a saved recipe brings a list
            wrong = next((piece for piece in self.pieces if any(ord(char) > 255 for char in piece)), None)
            if wrong is not None:
                raise ValueError(f"pieces are bytes written as Latin-1 text, and {wrong!r} has more; see fitted")
        for name in ("width", "depth", "heads", "byte_width", "queries", "longest", "limit", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"width {self.width} must give each of {self.heads} heads an even number of coordinates")
        if self.base <= 0 or self.eps <= 0:
            raise ValueError(f"base and eps must be positive, got {self.base} and {self.eps}")

    def fitted(self, tokenizer: Tokenizer) -> "Byte2Word":
        """The same for the pieces of a tokenizer; build it for OWN more ids than the tokenizer has."""
        spelt = tuple(tokenizer.bytes_of(id).decode("latin-1") for id in range(tokenizer.vocab_size))
        return replace(self, pieces=spelt)

    def build(self, vocab_size: int, *, seed: int = 0) -> "MaskedWords":
        """A model with initial weights that depend on the seed alone. Raises ValueError where the vocabulary is not
        that of the pieces and the three ids of the model's own."""
        if vocab_size <= OWN or (self.pieces is not None and vocab_size != len(self.pieces) + OWN):
            expected = "more than" if self.pieces is None else f"{len(self.pieces)} pieces and"
            raise ValueError(f"the vocabulary must have {expected} {OWN} ids of the model's own; got {vocab_size}")
        known = self.pieces or tuple(chr(id) if id < 256 else "" for id in range(vocab_size - OWN))
        return MaskedWords(self, known, seed)

    @property
    def hidden(self) -> int:
        """Width inside each MLP."""
        return round_up(8 * self.width / 3, 64)


class Pooling(nn.Module):
    """Words from their bytes: learned queries attend to them, and an MLP follows."""

    def __init__(self, recipe: Byte2Word, byte_width: int) -> None:
        super().__init__()
        width = recipe.width
        self.heads = recipe.heads
        self.queries = nn.Parameter(torch.empty(recipe.queries, width))
        self.roles: dict[str, Role] = {"queries": "embed"}
        self.places = TokenEmbedding(recipe.longest, byte_width) if recipe.byte_positions else None
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(byte_width, width)
        self.v_proj = Linear(byte_width, width)
        self.o_proj = Linear(recipe.queries * width, width)
        self.norm = RMSNorm(width, recipe.eps)
        self.channel = GatedMLP(width, recipe.hidden)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(bytes, byte width), words end to end, and the length of each -> (words, width)"""
        starts = starts_of(lengths)
        if self.places is not None:
            place = torch.arange(len(x), device=x.device) - starts.repeat_interleave(lengths)
            x = x + self.places(place.clamp(max=self.places.num_embeddings - 1))
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # noqa: E731
        q, k, v = split(self.q_proj(self.queries)), self.k_proj(x), self.v_proj(x)
        made = [q.new_zeros(1, self.o_proj.in_features)]  # of a word without bytes
        order = torch.zeros_like(lengths)
        for some, time in _groups(lengths):
            columns = torch.arange(time, device=x.device)
            inside = columns < lengths[some, None]  # (words, time)
            index = (starts[some, None] + columns).clamp(max=len(x) - 1)
            mask = inside[:, None, None].expand(-1, 1, len(self.queries), time)
            read = attention(q.expand(len(some), -1, -1, -1), split(k[index]), split(v[index]), mask)
            order[some] = sum(map(len, made)) + torch.arange(len(some), device=x.device)
            made.append(read.transpose(1, 2).flatten(1))
        z = self.o_proj(torch.cat(made)[order])
        return z + self.channel(self.norm(z), Context(None, order[None], len(order)))

    def flops(self, lengths: Tensor) -> int:
        count, width = len(self.queries), self.queries.shape[1]
        total = linear_flops(self.q_proj, count) + linear_flops(self.k_proj, 2 * int(lengths.sum()))
        total += sum(4 * len(some) * time * count * width for some, time in _groups(lengths))
        return total + linear_flops(self.o_proj, len(lengths)) + self.channel.flops(len(lengths))


def _groups(lengths: Tensor) -> list[tuple[Tensor, int]]:
    """``grouped``, without the words that have no bytes."""
    there = lengths.nonzero()[:, 0]
    return [(there[some], time) for some, time in grouped(lengths[there])]


@dataclass
class Units:
    """Which pieces are which words. Real pieces are flat, row after row: ``row column place unit`` (pieces,), with the
    unit counted over all rows and the place in it; ``counts`` (batch,) units of each row; ``documents`` (units,)."""

    row: Tensor
    column: Tensor
    place: Tensor
    unit: Tensor
    counts: Tensor
    documents: Tensor

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def padded(self) -> tuple[Tensor, Tensor]:
        """(batch, most): the number of each row's units, and which of these there are."""
        columns = torch.arange(max(int(self.counts.max()), 1), device=self.counts.device)
        index = (starts_of(self.counts)[:, None] + columns).clamp(max=max(self.total - 1, 0))
        return index, columns < self.counts[:, None]


class MaskedWords(Native):
    """A bidirectional model of words. ``depth`` and the sites ``blocks.*`` are (batch, words, width)."""

    offers = frozenset({"bidirectional"})
    cost_by_shape = False
    spelling: Tensor
    sizes: Tensor
    begins: Tensor
    alone: Tensor

    def __init__(self, recipe: Byte2Word, pieces: tuple[str, ...], seed: int) -> None:
        super().__init__()
        width = recipe.width
        self.recipe = recipe
        self.vocab_size = len(pieces) + OWN
        self.width = width
        self.depth = recipe.depth
        self.max_positions = recipe.context
        self.hidden_id, self.more_id, self.end_id = (len(pieces) + number for number in range(OWN))
        rows = self._spell_out(pieces)
        if recipe.byte_width is None:
            self.embedding, self.pooling = TokenEmbedding(self.vocab_size, width), None
        else:
            self.embedding, self.pooling = TokenEmbedding(rows, recipe.byte_width), Pooling(recipe, recipe.byte_width)
        self.position = RotaryPosition(width // recipe.heads, recipe.base)
        self.blocks = nn.ModuleList(
            Block(
                RMSNorm(width, recipe.eps),
                Attention(width, recipe.heads, recipe.heads, "interleaved"),
                RMSNorm(width, recipe.eps),
                GatedMLP(width, recipe.hidden),
            )
            for _ in range(recipe.depth)
        )
        self.words_norm = RMSNorm(width, recipe.eps)
        self.slots = TokenEmbedding(recipe.limit, width)
        self.speller = nn.Sequential(Linear(2 * width, recipe.hidden), nn.GELU(), Linear(recipe.hidden, width))
        self.norm = RMSNorm(width, recipe.eps)
        self.head = Head(width, self.vocab_size)
        initialise(self, seed)

    def _spell_out(self, pieces: tuple[str, ...]) -> int:
        """Rows of the table for each id: its bytes; a row of its own for each special token and for a hidden word; none
        for the further pieces of that and for the end. Returns how many rows there are."""
        rows, specials = [], 256
        for piece in (*pieces, ""):
            rows.append([ord(char) for char in piece] or [specials])
            specials += not piece
        rows += [[], []]
        longest = max(map(len, rows))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        sizes = torch.tensor([len(row) for row in rows])
        first = padded[:, 0]
        begins = torch.isin(first, torch.tensor(WHITE_SPACE)) & (sizes > 0) | (first >= 256)
        self.register_buffer("spelling", padded, persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("begins", begins, persistent=False)
        self.register_buffer("alone", (first >= 256) & (torch.arange(len(rows)) < len(pieces)), persistent=False)
        return specials

    def embed(self, ids: Tensor) -> Tensor:
        raise NotOffered("words are read off the bytes of ids, so this model has no embeddings of ids ('embeds')")

    def run(
        self,
        ids: Tensor | None,
        *,
        embeds: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
        keep_state: bool,
        logits_to_keep: int,
    ) -> LMOutput:
        if ids is None:
            raise NotOffered("words are read off the bytes of ids, so this model takes no embeddings ('embeds')")
        if state is not None or keep_state:
            raise NotOffered("every word sees those behind it, so there is no 'state' to go on from; feed whole texts")
        batch, time = ids.shape
        units, given = self._units(ids, mask, segments)
        if positions is not None:
            self._check_positions(positions, ids.shape)
        h = self._think(self._read(ids[given], units), units)
        hidden = self._slot(h[units.unit], units.place)
        spread = hidden.new_zeros(batch, time, self.width).index_put((units.row, units.column), hidden)
        spread = self.norm(spread[:, -logits_to_keep:] if logits_to_keep else spread)
        return LMOutput(self.head(spread), spread)

    def spell(
        self, ids: Tensor, chosen: Tensor, *, mask: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """(words, limit, vocab): logits of every slot of the words whose first piece is chosen, (batch, time) bool."""
        units, given = self._units(ids, mask, segments)
        h = self._think(self._read(ids[given], units), units)
        wanted = units.unit[chosen[given] & (units.place == 0)]
        slots = torch.arange(self.recipe.limit, device=ids.device).expand(len(wanted), -1)
        return self.head(self.norm(self._slot(h[wanted][:, None].expand(-1, slots.shape[1], -1), slots)))

    def words_of(self, ids: Tensor, *, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """(batch, time): the number of each piece's word within its row; -1 for padding."""
        units, _ = self._units(ids, mask, segments, whole=True)
        found = torch.full_like(ids, -1)
        found[units.row, units.column] = units.unit - starts_of(units.counts)[units.row]
        return found

    def hide(
        self, ids: Tensor, chosen: Tensor, *, mask: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """The ids with the words hidden that have a chosen piece, (batch, time) bool: whole words always."""
        units, given = self._units(ids, mask, segments, whole=True)
        hidden = torch.zeros(units.total, dtype=torch.bool, device=ids.device)
        hidden[units.unit[chosen[given]]] = True
        inside = hidden[units.unit]
        symbol = torch.where(units.place == 0, self.hidden_id, self.more_id)
        if self.pooling is None:
            symbol = torch.full_like(symbol, self.hidden_id)
        made = ids.clone()
        made[units.row[inside], units.column[inside]] = symbol[inside]
        return made

    def _units(
        self, ids: Tensor, mask: Tensor | None, segments: Tensor | None, *, whole: bool = False
    ) -> tuple[Units, Tensor]:
        """The words of a pass, and which ids are real. Without pooling a piece counts as a word, unless ``whole``."""
        batch, time = ids.shape
        real, attend, segments = checked(batch, time, mask, segments, None)
        if attend is not None:
            raise NotOffered("a 4-D mask needs 'tree': this model sums up words and cannot hide parts of them")
        given = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        row, column = given.nonzero(as_tuple=True)
        document = row.new_zeros(len(row)) if segments is None else document_numbers(segments, real)[given]
        flat = ids[given]
        fresh = self.begins[flat]
        fresh[1:] |= (row[1:] != row[:-1]) | (document[1:] != document[:-1])
        place, _ = words(self.alone[flat], fresh, self.recipe.limit)
        if self.pooling is None and not whole:
            place = torch.zeros_like(place)
        begins = place == 0
        unit = begins.cumsum(0) - 1
        return Units(row, column, place, unit, torch.bincount(row[begins], minlength=batch), document[begins]), given

    def _read(self, flat: Tensor, units: Units) -> Tensor:
        """(pieces,) ids -> (units, width)"""
        if self.pooling is None:
            return self.embedding(flat)
        sizes = self.sizes[flat]
        piece = torch.arange(len(flat), device=flat.device).repeat_interleave(sizes)
        within = torch.arange(len(piece), device=flat.device) - starts_of(sizes)[piece]
        lengths = torch.zeros_like(units.unit[: units.total]).index_add_(0, units.unit, sizes)
        return self.pooling(self.embedding(self.spelling[flat[piece], within]), lengths)

    def _think(self, read: Tensor, units: Units) -> Tensor:
        """(units, width) -> the same, each having seen all others of its text."""
        index, there = units.padded()
        most = index.shape[1]
        if units.total == 0:
            return read
        numbers = units.documents[index]
        visible = there[:, None, None] & (numbers[:, None, :, None] == numbers[:, None, None])
        places = torch.arange(most, device=index.device)[None]
        fresh = torch.cat((torch.ones_like(numbers[:, :1]), numbers.diff(dim=1)), 1) != 0
        places = places - torch.where(fresh, places, 0).cummax(1).values
        ctx = Context(None, places, most, attend=visible.expand(-1, 1, most, most))
        x = self.position(read[index], ctx)
        for layer, block in enumerate(self.blocks):
            ctx.layer = layer
            x, _ = block(x, ctx)
        return self.words_norm(x)[there]

    def _slot(self, h: Tensor, place: Tensor) -> Tensor:
        """(..., width) of words and (...) slots -> (..., width), what the norm before the head reads."""
        return self.speller(torch.cat((h, self.slots(place).to(h.dtype)), -1))

    def _check_positions(self, positions: Tensor, shape: torch.Size) -> None:
        batch, time = shape
        if positions.shape not in ((batch, time), (1, time)):
            raise ValueError(f"positions must be ({batch}, {time}), got {tuple(positions.shape)}")
        raise NotOffered("positions of one's own need 'tree': this model counts words as they come")

    def state_bytes_for(self, ids: Tensor) -> int:
        raise NotOffered("this model has no state, so none to measure")

    def flops_for(self, ids: Tensor) -> int:
        units, _ = self._units(ids, None, None)
        total = 0
        if self.pooling is not None:
            lengths = torch.zeros_like(units.unit[: units.total]).index_add_(0, units.unit, self.sizes[ids.flatten()])
            total = self.pooling.flops(lengths)
        most, blocks = int(units.counts.max()), 0
        for block in self.blocks:
            mixer: Any = block.mixer
            ahead = 4 * mixer.heads * mixer.head_width * (most * (most - 1) // 2)  # beyond what a causal pass costs
            blocks += mixer.flops(most) + ahead + block.channel.flops(most)  # type: ignore[union-attr, operator]
        slots = linear_flops(self.speller, ids.numel()) + linear_flops(self.head, ids.numel())
        return total + len(ids) * blocks + slots

    def site_table(self) -> Mapping[str, Site]:
        table = {"embed": Site(self.embedding)}
        for layer, block in enumerate(self.blocks):
            table |= {f"blocks.{layer}.{name}": site for name, site in block.site_table().items()}  # type: ignore[operator]
        return table | {"final.norm": Site(self.norm), "logits": Site(self.head)}
