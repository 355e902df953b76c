"""The cells of an LSTM: in blocks where its gates see the input alone, step by step where they hear its output too.

    f = sigmoid(F + 1)    i = sigmoid(I)    z = tanh(Z)    o = sigmoid(O)
    c_t = f_t c_{t-1} + i_t z_t             h_t = o_t tanh(c_t)

F, I, Z, O are affine in the input; ``lstm`` adds h_{t-1} R to them, head by head. ``quasi_lstm`` does not, so that
within a block that begins with the cell c_0

    c_t = e^{l_t} c_0 + sum_{s <= t} e^{l_t - l_s} i_s z_s,    l_t = sum_{s <= t} log f_s

The sums of all blocks of b tokens are made side by side, from empty cells, and then the blocks hand their cells on in
turn: b + T / b steps in place of T. Both powers are made as products of gates, which are at most 1: no logarithm, no
epsilon, no overflow, and two multiply-adds per number where a triangular product takes b.

Two facts about the tokens change the recurrence. A padded token (``real`` False) leaves cell and output as they were.
A token of a new document starts from an empty state, exactly. Input in half precision is computed, and the state kept,
in float32. Each ``_reference`` is the loop over rows and time.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

LSTMState = tuple[Float[Tensor, "batch heads width"], Float[Tensor, "batch heads width"]]
"""The cell and the output (c, h) after the last token."""


def quasi_lstm(
    f: Float[Tensor, "batch time heads width"],
    i: Float[Tensor, "batch time heads width"],
    z: Float[Tensor, "batch time heads width"],
    o: Float[Tensor, "batch time heads width"],
    *,
    state: LSTMState | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
    block: int = 16,
) -> tuple[Float[Tensor, "batch time heads width"], LSTMState]:
    """Outputs and the state after the last token. ``documents`` as ``document_numbers`` gives them; the state that
    comes in belongs to document 0."""
    dtype = f.dtype
    with torch.autocast(f.device.type, enabled=False):
        f, i, z, o = (_wide(gate) for gate in (f, i, z, o))
        cell, before = _begin(f, state)
        kept, added = torch.sigmoid(f + 1), torch.sigmoid(i) * torch.tanh(z)
        if real is not None:
            kept, added = kept.where(real[..., None, None], 1.0), added.where(real[..., None, None], 0.0)
        if documents is not None:
            kept = kept.masked_fill(_begins(documents)[..., None, None], 0.0)
        cells, cell = _blocks(kept, added, cell, block)
        out = torch.sigmoid(o) * torch.tanh(cells)
        return out.to(dtype), (cell, _last(out, before, real))


def _blocks(kept: Tensor, added: Tensor, cell: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Every c_t = kept_t c_{t-1} + added_t, and the last one."""
    time = kept.shape[1]
    size = max(1, min(block, time))
    short = -time % size
    if short:  # tokens that change nothing fill the last block
        kept, added = F.pad(kept, (0, 0, 0, 0, 0, short), value=1.0), F.pad(added, (0, 0, 0, 0, 0, short))
    kept, added = kept.unflatten(1, (-1, size)), added.unflatten(1, (-1, size))  # (batch, blocks, size, heads, width)
    fades, sums = [], []
    for keep, add in zip(kept.unbind(2), added.unbind(2), strict=True):
        fades.append(keep * fades[-1] if fades else keep)  # what is left of the cell that the block begins with
        sums.append(torch.addcmul(add, keep, sums[-1]) if sums else add)  # the block's own cell
    begins = []
    for fade, own in zip(fades[-1].unbind(1), sums[-1].unbind(1), strict=True):
        begins.append(cell)
        cell = torch.addcmul(own, fade, cell)
    cells = torch.addcmul(torch.stack(sums, 2), torch.stack(fades, 2), torch.stack(begins, 1)[:, :, None])
    return cells.flatten(1, 2)[:, :time], cell


def quasi_lstm_reference(
    f: Float[Tensor, "batch time heads width"],
    i: Float[Tensor, "batch time heads width"],
    z: Float[Tensor, "batch time heads width"],
    o: Float[Tensor, "batch time heads width"],
    *,
    state: LSTMState | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], LSTMState]:
    """``quasi_lstm`` as a loop over rows and time."""
    return _row_by_row((f, i, z, o), None, state, real, documents)


def lstm(
    f: Float[Tensor, "batch time heads width"],
    i: Float[Tensor, "batch time heads width"],
    z: Float[Tensor, "batch time heads width"],
    o: Float[Tensor, "batch time heads width"],
    recurrent: Float[Tensor, "heads width gates"],
    *,
    state: LSTMState | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], LSTMState]:
    """The same where each head adds its last output, times its matrix of ``recurrent``, to F, I, Z and O in this order:
    all rows and heads at once, one token after another."""
    dtype = f.dtype
    with torch.autocast(f.device.type, enabled=False):
        f, i, z, o, recurrent = (_wide(x) for x in (f, i, z, o, recurrent))
        cell, out = (x.transpose(0, 1) for x in _begin(f, state))  # (heads, batch, width)
        given = torch.stack((f + 1, i, z, o), -2).permute(1, 2, 0, 3, 4).flatten(3)  # (time, heads, batch, 4 width)
        begins = None if documents is None else _begins(documents).T[:, None, :, None]  # (time, 1, batch, 1)
        counts = None if real is None else real.T[:, None, :, None]
        outs = []
        for t, gates in enumerate(given.unbind(0)):
            if begins is not None:
                cell, out = cell.masked_fill(begins[t], 0.0), out.masked_fill(begins[t], 0.0)
            keep, let, new, show = torch.baddbmm(gates, out, recurrent).chunk(4, -1)
            moved = torch.addcmul(torch.sigmoid(let) * torch.tanh(new), torch.sigmoid(keep), cell)
            cell = moved if counts is None else moved.where(counts[t], cell)
            said = torch.sigmoid(show) * torch.tanh(cell)
            outs.append(said)
            out = said if counts is None else said.where(counts[t], out)
        return torch.stack(outs).permute(2, 0, 1, 3).to(dtype), (cell.transpose(0, 1), out.transpose(0, 1))


def lstm_reference(
    f: Float[Tensor, "batch time heads width"],
    i: Float[Tensor, "batch time heads width"],
    z: Float[Tensor, "batch time heads width"],
    o: Float[Tensor, "batch time heads width"],
    recurrent: Float[Tensor, "heads width gates"],
    *,
    state: LSTMState | None = None,
    real: Bool[Tensor, "batch time"] | None = None,
    documents: Int[Tensor, "batch time"] | None = None,
) -> tuple[Float[Tensor, "batch time heads width"], LSTMState]:
    """``lstm`` as a loop over rows and time."""
    return _row_by_row((f, i, z, o), recurrent, state, real, documents)


def _row_by_row(
    given: tuple[Tensor, Tensor, Tensor, Tensor],
    recurrent: Tensor | None,
    state: LSTMState | None,
    real: Tensor | None,
    documents: Tensor | None,
) -> tuple[Tensor, LSTMState]:
    dtype = given[0].dtype
    given = tuple(_wide(gate) for gate in given)  # type: ignore[assignment]
    batch, time, _, width = given[0].shape
    cells, ends, outs = [], [], []
    for row in range(batch):
        cell = given[0].new_zeros(given[0].shape[2:]) if state is None else _wide(state[0][row])
        out = given[0].new_zeros(given[0].shape[2:]) if state is None else _wide(state[1][row])
        document, said = 0, []
        for t in range(time):
            if documents is not None and int(documents[row, t]) != document:
                cell, out, document = torch.zeros_like(cell), torch.zeros_like(out), int(documents[row, t])
            gates = [gate[row, t] for gate in given]  # (heads, width) each
            if recurrent is not None:
                for number in range(4):
                    part = _wide(recurrent[:, :, number * width : (number + 1) * width])
                    gates[number] = gates[number] + torch.einsum("hd,hde->he", out, part)
            f, i, z, o = gates
            counts = real is None or bool(real[row, t])
            if counts:
                cell = torch.sigmoid(f + 1) * cell + torch.sigmoid(i) * torch.tanh(z)
            said.append(torch.sigmoid(o) * torch.tanh(cell))
            out = said[-1] if counts else out
        cells.append(cell)
        ends.append(out)
        outs.append(torch.stack(said))
    return torch.stack(outs).to(dtype), (torch.stack(cells), torch.stack(ends))


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _begin(like: Tensor, state: LSTMState | None) -> LSTMState:
    """The given state, or an empty one for gates (batch, time, heads, width)."""
    if state is None:
        empty = like.new_zeros(like.shape[0], *like.shape[2:])
        return empty, empty
    return state[0].to(like.dtype), state[1].to(like.dtype)


def _begins(documents: Tensor) -> Tensor:
    """(batch, time) bool: the first token of each document but for document 0, which goes on from the state."""
    return documents.diff(dim=1, prepend=torch.zeros_like(documents[:, :1])) != 0


def _last(out: Tensor, before: Tensor, real: Tensor | None) -> Tensor:
    """(batch, heads, width): the output at the last real token; the one before where there is none."""
    if real is None:
        return out[:, -1]
    at = torch.where(real, torch.arange(real.shape[1], device=real.device), -1).amax(1)
    last = out[torch.arange(out.shape[0], device=out.device), at.clamp(min=0)]
    return last.where((at >= 0)[:, None, None], before)
