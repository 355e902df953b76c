"""Models that read bytes and think in words, with the interface of any other model of bytes.

    words:    e_i = to_words(encoder([prefix, c_i1 ... c_in]) at the prefix)           each word by itself
    backbone: p_0, p_1, ... = stack([first, e_1, e_2, ...])                            causal, over words
    bytes:    p(c_{i+1,j} | ...) = head(decoder([from_words(p_i), c_{i+1,1}, ...]))    causal, inside the word

The prefix of a word is one vector or several, and each is a position of the backbone.

The backbone takes in a word when its last byte has been read, and not before; so what a byte is predicted from depends
on earlier bytes only. The one decoder position that a byte has is its own within its word, or, for the last byte of a
word, the prefix of the next word, which the backbone has just given. What is said about "slots" below: a slot is a
place of the backbone, with the bytes of the word that it predicts; a row has one more of them than words that ended.

Between passes a row keeps what the backbone remembers, the backbone's output for the word that is open, and the bytes
of that word so far, over which the decoder runs again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.errors import NotOffered
from trivium.core.protocols import LMOutput, State
from trivium.models.sites import Site
from trivium.models.skeleton import (
    Block,
    Context,
    Native,
    Role,
    TokenMemory,
    checked,
    initialise,
    linear_flops,
    seen_after,
)
from trivium.models.slots import Attention
from trivium.models.state import Buffers, KeyValueState, capacity_for, check_rows
from trivium.nn.linear_attention import document_numbers
from trivium.nn.words import WHITE_SPACE, grouped, starts_of, words
from trivium.tokenization.byte import ByteTokenizer

BYTES = 256


class Stack(nn.Module):
    """Blocks over runs of different lengths that lie end to end and do not see each other."""

    def __init__(self, blocks: Sequence[Block], position: nn.Module | None, *, causal: bool) -> None:
        super().__init__()
        self.position = position
        self.blocks = nn.ModuleList(blocks)
        self.causal = causal

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(positions, width), with the length of each run in turn -> the same shape."""
        starts, made, order = starts_of(lengths), [], []
        for some, time in grouped(lengths):
            columns = torch.arange(time, device=x.device)
            index, inside = starts[some, None] + columns, columns < lengths[some, None]  # (runs, time) each
            ctx = Context(None, columns[None], time)
            if not self.causal:  # padding stands at the end, so a causal stack never sees it
                ctx.attend = inside[:, None, None].expand(-1, 1, time, time)
            hidden = x[index.clamp(max=len(x) - 1)]
            if self.position is not None:
                hidden = self.position(hidden, ctx)
            for layer, block in enumerate(self.blocks):
                ctx.layer = layer
                hidden, _ = block(hidden, ctx)
            made.append(hidden[inside])
            order.append(index[inside])
        return torch.cat(made)[inverse(torch.cat(order))] if made else x

    def flops(self, lengths: Tensor) -> int:
        total = 0
        for some, time in grouped(lengths):
            for block in self.blocks:
                row = block.mixer.flops(time) + block.channel.flops(time)  # type: ignore[union-attr, operator]
                if not self.causal:
                    row += beyond_causal(block.mixer, time)  # type: ignore[arg-type]
                total += len(some) * row
        return total


def beyond_causal(mixer: Attention, time: int) -> int:
    """What attention of every position to every other costs on top of that to the past."""
    return 4 * mixer.heads * mixer.head_width * (time * (time - 1) // 2)


def inverse(order: Tensor) -> Tensor:
    """The permutation that undoes another."""
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))


def woven(prefix: Tensor, items: Tensor, owner: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Runs of a prefix and items: (runs, prefix, width) and (items, width), item by item the number of its run and its
    place there -> the runs end to end, their lengths, and where each begins."""
    runs, wide = prefix.shape[:2]
    lengths = wide + torch.bincount(owner, minlength=runs)
    starts = starts_of(lengths)
    at = (starts[:, None] + torch.arange(wide, device=owner.device)).flatten()
    order = torch.cat((at, starts[owner] + wide + place))
    return torch.cat((prefix.flatten(0, 1), items))[inverse(order)], lengths, starts


class WordState(State):
    """What a model of words remembers: ``words`` of the backbone, its output ``ahead`` (batch, prefix, width) for the
    open word, and the bytes of that word, ``open`` (batch, limit - 1), -1 where there is none yet."""

    def __init__(self, words: KeyValueState, ahead: Tensor, open: Tensor, lengths: Tensor, slots: int) -> None:
        self.words = words
        self.ahead = ahead
        self.open = open
        self._lengths = lengths
        self._slots = slots

    @property
    def batch(self) -> int:
        return self.ahead.shape[0]

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def lengths(self) -> Tensor:
        return self._lengths

    def bytes(self) -> int:
        held = sum(tensor.numel() * tensor.element_size() for tensor in (self.ahead, self.open))
        return self.words.bytes() + held

    def select(self, rows: Tensor) -> "WordState":
        check_rows(rows, self.batch)
        at = rows.to(self.ahead.device)
        return WordState(self.words.select(rows), self.ahead[at], self.open[at], self._lengths[rows.cpu()], self._slots)


@dataclass
class Layout:
    """Which bytes are which words. Bytes are flat: those that were open, then the new ones, row after row.

    ``row column place slot`` (bytes,) int64, with the slot counted over all rows; ``ended`` (bytes,) bool: last byte of
    a word; ``counts`` (batch,) slots of each row; ``documents`` (slots,) or None where each row is one.
    """

    row: Tensor
    column: Tensor
    place: Tensor
    slot: Tensor
    ended: Tensor
    counts: Tensor
    documents: Tensor | None

    @property
    def slots(self) -> int:
        return int(self.counts.sum())

    @property
    def source(self) -> Tensor:
        """(slots,): 0 where a slot begins a text, else the number, from 1, of the word that ended before it."""
        after = self.slot[self.ended] + 1
        found = after.new_zeros(self.slots)
        found[after] = torch.arange(1, len(after) + 1, device=after.device)
        return found

    @classmethod
    def of(cls, ids: Tensor, given: Tensor, documents: Tensor | None, ending: Tensor, limit: int) -> "Layout":
        """From ids, which of them are given (no padding), and the number of each one's document within the row; all
        (batch, time). ``ending`` (vocab,): ids that end a word."""
        batch = ids.shape[0]
        row, column = given.nonzero(as_tuple=True)
        new_row = torch.ones_like(row, dtype=torch.bool)
        new_row[1:] = row[1:] != row[:-1]
        turned = torch.zeros_like(new_row)  # first byte of a document that is not the first of its row
        document = None if documents is None else documents[given]
        if document is not None:
            turned[1:] = (document[1:] != document[:-1]) & ~new_row[1:]
        place, ended = words(ending[ids[given]], new_row | turned, limit)
        slot = row + (ended.cumsum(0) - ended.long()) + turned.cumsum(0)
        counts = 1 + torch.bincount(row[ended], minlength=batch) + torch.bincount(row[turned], minlength=batch)
        of_slots = None
        if document is not None:
            of_slots = slot.new_zeros(int(counts.sum()))
            of_slots[slot[ended] + 1] = document[ended]
            of_slots[slot] = document
        return cls(row, column, place, slot, ended, counts, of_slots)

    def padded(self, first: int) -> tuple[Tensor, Tensor]:
        """(batch, most) number of each row's slots from its ``first`` on, and which of these there are."""
        counts = self.counts - first
        columns = torch.arange(int(counts.max()), device=counts.device)
        return starts_of(self.counts)[:, None] + first + columns, columns < counts[:, None]


class WordModel(Native):
    """A model of bytes around a backbone of words. ``depth`` and the sites ``blocks.*`` are the backbone's, so that
    what they show is (batch, words, width) and not a vector for each byte."""

    offers = frozenset({"causal", "state"})
    cost_by_shape = False

    def __init__(
        self,
        recipe: Any,
        *,
        vocab_size: int,
        limit: int,
        prefix: int,
        embedding: nn.Module,
        encoder: Stack,
        to_words: nn.Module,
        blocks: Sequence[Block],
        position: nn.Module,
        words_norm: nn.Module,
        from_words: nn.Module,
        decoder: Stack,
        norm: nn.Module,
        head: nn.Module,
        word_width: int,
        max_positions: int,
        seed: int,
    ) -> None:
        super().__init__()
        if vocab_size > ByteTokenizer.vocab_size:
            raise ValueError(
                f"words are found by their bytes, so the vocabulary must be that of the byte tokenizer, "
                f"{ByteTokenizer.vocab_size} ids at most; got {vocab_size}"
            )
        self.recipe = recipe
        self.vocab_size = vocab_size
        self.width = recipe.width
        self.depth = len(blocks)
        self.max_positions = max_positions
        self.limit = limit
        self.embedding = embedding
        self.start = nn.Parameter(torch.empty(prefix, recipe.width))  # what the encoder reads a word off
        self.encoder = encoder
        self.to_words = to_words
        self.first = nn.Parameter(torch.empty(prefix, word_width))  # the word before the first
        self.position = position
        self.blocks = nn.ModuleList(blocks)
        self.words_norm = words_norm
        self.from_words = from_words
        self.decoder = decoder
        self.norm = norm
        self.head = head
        self.roles: dict[str, Role] = {"start": "embed", "first": "embed"}
        initialise(self, seed)

    def embed(self, ids: Tensor) -> Tensor:
        return self.embedding(ids)

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
            raise NotOffered("words are found in the ids, so this model takes no embeddings in their place ('embeds')")
        batch, time = ids.shape
        real, attend, segments = checked(batch, time, mask, segments, state)
        if attend is not None:
            raise NotOffered("a 4-D mask needs 'tree': this model sums up words and cannot hide parts of them")
        if state is not None and not isinstance(state, WordState):
            raise TypeError(f"this model goes on from states of its own, a WordState, not a {type(state).__name__}")
        documents = None if segments is None else document_numbers(segments, real)
        given = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        self._check_positions(positions, given, documents, state)

        opened = 0
        fed, embedded = ids, None
        if state is not None:
            there = state.open >= 0
            opened = int(there.sum(1).max()) if there.numel() else 0
            before = state.open[:, :opened].long().clamp(min=0)
            fed, given = torch.cat((before, ids), 1), torch.cat((there[:, :opened], given), 1)
            embedded = self.embedding(before)
        new = self.embedding(ids)  # a call of its own, so that who watches the embedding sees what was given
        embedded = new if embedded is None else torch.cat((embedded, new), 1)
        layout = Layout.of(fed, given, documents, self._ending(ids.device), self.limit)

        flat = embedded[given]  # (bytes, width)
        ahead, words = self._think(self._encode(flat, layout), layout, state, keep_state)
        hidden, at = self._decode(flat, ahead, layout)
        mine = layout.column >= opened
        spread = hidden.new_zeros(batch, time, self.width)
        spread = spread.index_put((layout.row[mine], layout.column[mine] - opened), hidden[at[mine]])
        spread = self.norm(spread[:, -logits_to_keep:] if logits_to_keep else spread)
        after = None
        if keep_state:
            lengths = given[:, opened:].sum(1).cpu() + (0 if state is None else state.lengths)
            after = self._state(fed[given], ahead, words, layout, lengths, time + (0 if state is None else state.slots))
        return LMOutput(self.head(spread), spread, after)

    def _ending(self, device: torch.device) -> Tensor:
        """(vocab,) bool: ids that end a word: white space, and special tokens, so that the end of a text is the end of
        its last word."""
        ids = torch.arange(self.vocab_size, device=device)
        return (ids >= BYTES) | torch.isin(ids, torch.tensor(WHITE_SPACE, device=device))

    def _encode(self, flat: Tensor, layout: Layout) -> Tensor:
        """(words that ended, prefix, word width)"""
        ended = layout.slot[layout.ended]  # the slot of each such word's bytes
        number = torch.full((layout.slots,), -1, dtype=torch.int64, device=flat.device)
        number[ended] = torch.arange(len(ended), device=flat.device)
        owner = number[layout.slot]
        inside = owner >= 0
        x, lengths, starts = woven(
            self.start.expand(len(ended), -1, -1), flat[inside], owner[inside], layout.place[inside]
        )
        at = starts[:, None] + torch.arange(len(self.start), device=flat.device)
        return self.to_words(self.encoder(x, lengths)[at])

    def _think(
        self, encoded: Tensor, layout: Layout, state: WordState | None, keep_state: bool
    ) -> tuple[Tensor, KeyValueState | None]:
        """The backbone's output (slots, prefix, word width), and what it remembers. The first slot of a row that goes
        on from a state has been run already."""
        index, there = layout.padded(0 if state is None else 1)
        wide, remembered = len(self.first), None if state is None else state.words
        batch, most = index.shape
        if most == 0:
            assert state is not None  # else each row has a slot that begins its text
            return state.ahead, remembered
        stream = torch.cat((self.first[None].to(encoded.dtype), encoded))[layout.source]
        x = stream[index.clamp(max=layout.slots - 1)].flatten(1, 2)  # (batch, most * prefix, word width)
        ctx = self._context(layout, index, wide, remembered)
        memories: list[Any] = [None] * self.depth
        if keep_state or remembered is not None:
            buffers = Buffers(capacity_for(most * wide)) if remembered is None else remembered.room(most * wide)
            memories = [TokenMemory(buffers, layer, ctx.slots) for layer in range(self.depth)]
        x = self.position(x, ctx)
        for layer, block in enumerate(self.blocks):
            ctx.layer = layer
            x, memories[layer] = block(x, ctx, memories[layer])
        ahead = self.words_norm(x).unflatten(1, (most, wide))
        if state is not None:
            ahead = torch.cat((state.ahead[:, None].to(ahead.dtype), ahead), 1)
            there = torch.cat((there.new_ones(batch, 1), there), 1)
        if not keep_state:
            return ahead[there], None
        real = there[:, -most:].repeat_interleave(wide, 1)
        seen = None if ctx.seen is None and real.all() else seen_after(ctx.seen, real, ctx.slots, most * wide)
        return ahead[there], KeyValueState(memories[0].buffers, batch, ctx.slots + most * wide, seen)

    def _context(self, layout: Layout, index: Tensor, wide: int, remembered: KeyValueState | None) -> Context:
        """The backbone's facts of a pass. Padding stands behind all slots of its row, so none of them sees it."""
        most = index.shape[1]
        places = torch.arange(most * wide, device=index.device)[None]
        if remembered is not None:
            places = places + remembered.next_position.to(index.device)[:, None]
            return Context(None, places, most * wide, slots=remembered.slots, seen=remembered.visible)
        if layout.documents is None:
            return Context(None, places, most * wide)
        numbers = layout.documents[index.clamp(max=layout.slots - 1)].repeat_interleave(wide, 1)
        fresh = torch.cat((torch.ones_like(numbers[:, :1]), numbers.diff(dim=1)), 1) != 0
        places = places - torch.where(fresh, places, 0).cummax(1).values
        return Context(None, places, most * wide, segments=numbers)

    def _decode(self, flat: Tensor, ahead: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """What the decoder makes of every slot (positions, width), and for each byte the position that predicts the
        next one."""
        inside = ~layout.ended  # the last byte of a word is read by the encoder alone
        x, lengths, starts = woven(self.from_words(ahead), flat[inside], layout.slot[inside], layout.place[inside])
        wide = ahead.shape[1]
        own = starts[layout.slot] + wide + layout.place
        following = starts[(layout.slot + 1).clamp(max=layout.slots - 1)] + wide - 1
        return self.decoder(x, lengths), torch.where(layout.ended, following, own)

    def _state(
        self, flat: Tensor, ahead: Tensor, words: KeyValueState | None, layout: Layout, lengths: Tensor, slots: int
    ) -> WordState:
        assert words is not None
        last = layout.counts.cumsum(0) - 1  # (batch,)
        open = torch.full((len(last), self.limit - 1), -1, dtype=torch.int16, device=flat.device)
        inside = layout.slot == last[layout.row]
        open[layout.row[inside], layout.place[inside]] = flat[inside].to(torch.int16)
        return WordState(words, ahead[last], open, lengths, slots)

    def _check_positions(
        self, positions: Tensor | None, given: Tensor, documents: Tensor | None, state: WordState | None
    ) -> None:
        """Raise where positions are not just the count of bytes so far."""
        if positions is None:
            return
        batch, time = given.shape
        if positions.shape not in ((batch, time), (1, time)):
            raise ValueError(f"positions must be ({batch}, {time}), got {tuple(positions.shape)}")
        usual = given.cumsum(1) - 1
        if documents is not None:
            fresh = torch.cat((torch.ones_like(documents[:, :1]), documents.diff(dim=1)), 1) > 0
            usual = usual - torch.where(fresh, usual, 0).cummax(1).values
        if state is not None:
            usual = usual + state.next_position.to(usual.device)[:, None]
        if ((positions != usual) & given).any():
            raise NotOffered("positions of one's own need 'tree': this model counts bytes and words as they come")

    def state_bytes_for(self, ids: Tensor) -> int:
        layout = self._plain(ids)
        words = int(layout.counts.max()) * len(self.first)
        kept = sum(block.mixer.state_bytes(words, self.dtype) for block in self.blocks)  # type: ignore[union-attr, operator]
        row = kept + self.first.numel() * self.dtype.itemsize + (self.limit - 1) * torch.int16.itemsize
        return len(ids) * row

    def flops_for(self, ids: Tensor) -> int:
        layout, wide = self._plain(ids), len(self.first)
        ended = layout.place[layout.ended] + 1  # bytes of each word that ended
        inside = torch.bincount(layout.slot[~layout.ended], minlength=layout.slots)
        words = int(layout.counts.max()) * wide
        backbone = sum(block.mixer.flops(words) + block.channel.flops(words) for block in self.blocks)  # type: ignore[union-attr, operator]
        return (
            self.encoder.flops(wide + ended)
            + linear_flops(self.to_words, len(ended) * wide)
            + len(ids) * backbone
            + linear_flops(self.from_words, layout.slots * wide)
            + self.decoder.flops(wide + inside)
            + 2 * ids.numel() * self.width * self.vocab_size
        )

    def _plain(self, ids: Tensor) -> Layout:
        return Layout.of(ids, torch.ones_like(ids, dtype=torch.bool), None, self._ending(ids.device), self.limit)

    def site_table(self) -> Mapping[str, Site]:
        table = {"embed": Site(self.embedding)}
        for layer, block in enumerate(self.blocks):
            table |= {f"blocks.{layer}.{name}": site for name, site in block.site_table().items()}  # type: ignore[operator]
        return table | {"final.norm": Site(self.norm), "logits": Site(self.head)}
