"""Two state-space models along time, each as a convolution with a state passed on, and as a recurrence.

    shift      x_t = S x_{t-1} + B u_t,   y_t = C . x_t            S moves every entry one place on
               K_j = sum_n B_n C_{n+j} for j < N, else 0
    diagonal   x_t = A x_{t-1} + B u_t,   y_t = 2 Re(C . x_t)      A, B, C complex, one number per mode
               K_j = 2 Re sum_n C_n B_n A_n^j
    both       y_i = sum_{j <= i} K_j u_{i-j} + what the incoming x still brings

A mode and its conjugate make a real system; one of each pair is stored, hence the factor 2 and the real part.
Convolutions go through the Fourier transform with as many zeros behind the input as the kernel is long, so that nothing
comes round. Everything is float32 or wider, since neither transforms nor complex numbers exist in half precision.

The sequences here have no padding before their end and hold one document; ``nn.sequences`` makes such. ``lengths``
tells where each ends, for the state after it; what stands behind must be finite and changes nothing.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int
from torch import Tensor

Rule = Literal["bilinear", "zoh"]


def discretised(
    step: Float[Tensor, "heads"],
    a: Complex[Tensor, "heads modes"],
    b: Complex[Tensor, "heads modes"],
    rule: Rule = "bilinear",
) -> tuple[Complex[Tensor, "heads modes"], Complex[Tensor, "heads modes"]]:
    """log A and B of x_t = A x_{t-1} + B u_t, for x' = a x + b u sampled every ``step``.

    bilinear: A = (1 + step a / 2) / (1 - step a / 2),  B = step b / (1 - step a / 2);
    zero-order hold: A = e^(step a),  B = (A - 1) b / a.   Where the real part of ``a`` is negative, |A| < 1.
    """
    scaled = step[:, None] * a
    if rule == "zoh":
        return scaled, 2 * torch.exp(scaled / 2) * torch.sinh(scaled / 2) / a * b  # e^s - 1, exact for small s too
    return 2 * torch.atanh(scaled / 2), step[:, None] * b / (1 - scaled / 2)


def causal_convolution(u: Float[Tensor, "*batch time"], kernel: Float[Tensor, "*#batch taps"]) -> Tensor:
    """y_i = sum_{j <= i} kernel_j u_{i-j}, by Fourier transforms."""
    time = u.shape[-1]
    kernel = kernel[..., :time]
    size = time + kernel.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(u, size) * torch.fft.rfft(kernel, size), size)[..., :time]


def causal_convolution_reference(u: Float[Tensor, "*batch time"], kernel: Float[Tensor, "*#batch taps"]) -> Tensor:
    """``causal_convolution`` written out."""
    out = []
    for i in range(u.shape[-1]):
        taps = range(min(i + 1, kernel.shape[-1]))
        out.append(sum((kernel[..., j] * u[..., i - j] for j in taps), torch.zeros_like(u[..., 0])))
    return torch.stack(out, -1)


def shift_kernel(b: Float[Tensor, "channels states"], c: Float[Tensor, "channels states"]) -> Tensor:
    """(channels, states): K_j = sum_n b_n c_{n+j}."""
    return (_ahead(c)[:, :-1] * b[:, None]).sum(-1)


def shift_ssm(
    u: Float[Tensor, "batch channels time"],
    b: Float[Tensor, "channels states"],
    c: Float[Tensor, "channels states"],
    *,
    state: Float[Tensor, "batch channels states"] | None = None,
    lengths: Int[Tensor, "batch"] | None = None,
) -> tuple[Float[Tensor, "batch channels time"], Float[Tensor, "batch channels states"] | None]:
    """Outputs, and the state after each sequence where one was given to go on from."""
    time, states = u.shape[-1], b.shape[1]
    y = causal_convolution(u, shift_kernel(b, c))
    if state is None:
        return y, None
    reach = min(time, states)
    left = torch.einsum("zcn,cin->zci", state, _ahead(c)[:, 1 : reach + 1])  # what the incoming entries still bring
    y = y + F.pad(left, (0, time - reach))
    ends = _ends(u, lengths)[:, None]  # (batch, 1)
    entry = torch.arange(states, device=u.device)
    columns = ends - states + entry  # the last inputs of each sequence, as many as there are states
    last = _columns(u, columns) * (columns >= 0)[:, None]
    behind = F.pad(b, (states - 1, 0)).unfold(1, states, 1)  # (channels, states, states): [n, i] is b_{n+i-(states-1)}
    moved = entry - ends  # where an entry of the new state stood in the old one
    kept = _columns(state, moved) * (moved >= 0)[:, None]
    return y, torch.einsum("zci,cni->zcn", last, behind) + kept


def shift_step(
    u: Float[Tensor, "batch channels"],
    b: Float[Tensor, "channels states"],
    c: Float[Tensor, "channels states"],
    state: Float[Tensor, "batch channels states"],
) -> tuple[Float[Tensor, "batch channels"], Float[Tensor, "batch channels states"]]:
    """One token: the state moves on, then answers. The given state is left as it was."""
    state = F.pad(state[..., :-1], (1, 0)) + b * u[..., None]
    return (c * state).sum(-1), state


def diagonal_ssm(
    u: Float[Tensor, "batch heads channels time"],
    log_a: Complex[Tensor, "heads modes"],
    b: Complex[Tensor, "heads modes"],
    c: Complex[Tensor, "heads modes"],
    *,
    state: Complex[Tensor, "batch heads channels modes"] | None = None,
    lengths: Int[Tensor, "batch"] | None = None,
    chunk: int = 2048,
) -> tuple[Float[Tensor, "batch heads channels time"], Complex[Tensor, "batch heads channels modes"] | None]:
    """Outputs, and the state after each sequence where one was given to go on from. The channels of a head share one
    system. Convolved are ``chunk`` tokens at a time, which bounds the kernel; from one to the next goes the state."""
    time = u.shape[-1]
    size = min(chunk, time)
    pieces = F.pad(u, (0, -time % size)).unflatten(-1, (-1, size))  # (batch, heads, channels, count, size)
    count = pieces.shape[-2]
    powers = _powers(log_a, size + 1)  # (heads, modes, size + 1)
    kernel = 2 * ((c * b)[..., None] * powers[..., :size]).real.sum(1)
    y = causal_convolution(pieces, kernel[:, None, None])
    if state is None and count == 1:
        return y[..., 0, :time], None

    # Complex sums over modes as real matrix products over twice as many, real and imaginary parts in turn.
    inward = _parts((b[..., None] * powers[..., :size].flip(-1)).mT)  # (heads, size, 2 modes): token to end of piece
    outward = _parts(2 * (c[..., None] * powers[..., 1:]).mT.conj())  # (heads, size, 2 modes): state to each token
    states = [u.new_zeros(*u.shape[:3], b.shape[1], dtype=b.dtype) if state is None else state]
    if count > 1:
        added = _whole(torch.einsum("zhcpi,hin->zhcpn", pieces[..., :-1, :], inward))
        for index in range(count - 1):
            states.append(powers[..., -1][:, None] * states[-1] + added[..., index, :])
    before = torch.stack(states, 3)  # (batch, heads, channels, count, modes): the state that each piece goes on from
    first = 1 if state is None else 0
    y = y + F.pad(torch.einsum("zhcpn,hin->zhcpi", _parts(before[..., first:, :]), outward), (0, 0, first, 0))
    y = y.flatten(-2)[..., :time]
    if state is None:
        return y, None

    ends = _ends(u, lengths)
    piece = (ends - 1) // size  # where each sequence ends
    within = (ends - piece * size)[:, None, None]
    columns = ends[:, None] - size + torch.arange(size, device=u.device)
    last = _columns(u.flatten(1, 2), columns) * (columns >= (piece * size)[:, None])[:, None]
    start = before[torch.arange(len(u), device=u.device), :, :, piece]
    faded = torch.exp(log_a * within)[:, :, None] * start
    return y, faded + _whole(torch.einsum("zhci,hin->zhcn", last.view(*u.shape[:3], size), inward))


def diagonal_step(
    u: Float[Tensor, "batch heads channels"],
    log_a: Complex[Tensor, "heads modes"],
    b: Complex[Tensor, "heads modes"],
    c: Complex[Tensor, "heads modes"],
    state: Complex[Tensor, "batch heads channels modes"],
) -> tuple[Float[Tensor, "batch heads channels"], Complex[Tensor, "batch heads channels modes"]]:
    """One token: the state moves on, then answers. The given state is left as it was."""
    state = torch.exp(log_a)[:, None] * state + b[:, None] * u[..., None]
    return 2 * (c[:, None] * state).real.sum(-1), state


def shift_ssm_reference(u: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """``shift_ssm`` as the recurrence, with the matrix S."""
    shift = torch.diag(torch.ones(b.shape[1] - 1, dtype=b.dtype), -1)
    out = []
    for t in range(u.shape[-1]):
        state = state @ shift.T + b * u[..., t, None]
        out.append((c * state).sum(-1))
    return torch.stack(out, -1), state


def diagonal_ssm_reference(u: Tensor, a: Tensor, b: Tensor, c: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """``diagonal_ssm`` as the recurrence over modes and their conjugates, with A itself."""
    a, b, c = (torch.cat((x, x.conj()), 1)[:, None] for x in (a, b, c))
    state = torch.cat((state, state.conj()), -1)
    out = []
    for t in range(u.shape[-1]):
        state = a * state + b * u[..., t, None]
        out.append((c * state).sum(-1).real)
    return torch.stack(out, -1), state[..., : state.shape[-1] // 2]


def _powers(log_a: Tensor, count: int) -> Tensor:
    """(heads, modes, count): A^0, A^1, ..."""
    exponents = torch.arange(count, device=log_a.device)
    return torch.polar(torch.exp(log_a.real[..., None] * exponents), log_a.imag[..., None] * exponents)


def _ahead(c: Tensor) -> Tensor:
    """(channels, states) -> (channels, states + 1, states): entry [j, n] is c_{n+j}, zero beyond the last."""
    states = c.shape[1]
    return F.pad(c, (0, states)).unfold(1, states, 1)


def _ends(u: Tensor, lengths: Tensor | None) -> Tensor:
    """(batch,) tokens of each sequence."""
    return torch.full((len(u),), u.shape[-1], device=u.device) if lengths is None else lengths


def _columns(x: Tensor, columns: Tensor) -> Tensor:
    """(batch, channels, time) -> (batch, channels, count): columns of each row, the nearest for one that is outside."""
    columns = columns.clamp(0, x.shape[-1] - 1)[:, None]
    return x.gather(-1, columns.expand(-1, x.shape[1], -1))


def _parts(x: Tensor) -> Tensor:
    """(..., modes) complex -> (..., 2 modes): real and imaginary parts in turn."""
    return torch.view_as_real(x.resolve_conj()).flatten(-2)


def _whole(x: Tensor) -> Tensor:
    """(..., 2 modes) -> (..., modes) complex."""
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
