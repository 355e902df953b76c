"""The meter: floating-point operations, model calls, tokens, seconds and peak memory, measured rather than declared.

Convention for FLOPs: two per multiply-add in matrix products, convolutions and attention, one per element in a
cumulative sum, the split-radix count in a Fourier transform, none for other elementwise work. Causal attention counts
the pairs that causality leaves visible, whether the kernel is told of it or a square mask says it (which then may hide
more, such as other documents, and attention costs what its shape costs); under any other mask it counts the whole
rectangle, as the kernel computes it. A backward pass of attention counts twice the forward, without the
recomputation of fused kernels, so that fused and unfused kernels cost the same.

Counting runs under a dispatch mode and is slow, so a body is counted once per key (the shapes that determine its cost)
and the count is reused for later bodies with the same key. What a pass costs grows by the same amount with every token
that it looks back on; so along that one length three counts fix the line, and every further pass is read off it.
"""

import math
import resource
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from trivium.core.budget import Budget, Spent

_meters: ContextVar[tuple["Meter", ...]] = ContextVar("trivium_meters", default=())
_inside: ContextVar[bool] = ContextVar("trivium_measured", default=False)
_counting: ContextVar[bool] = ContextVar("trivium_counting", default=False)
_counts: dict[Hashable, dict[int, int]] = {}


class Meter:
    """Counts what is spent inside ``with Meter() as meter:``; meters nest, and each sees what happens inside it.

    With a budget, the call that oversteps it by more than its tolerance raises BudgetExceeded.
    """

    def __init__(self, budget: Budget | None = None, who: str = "this run") -> None:
        self.budget = budget
        self.who = who
        self._spent = Spent()
        self._started: float | None = None
        self._base = 0
        self._peak = 0
        self._aside = 0.0

    def __enter__(self) -> "Meter":
        _note_peaks()
        self._base = self._peak = _reset_peak()
        self._aside = 0.0
        self._started = time.perf_counter()
        self._token = _meters.set((*_meters.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        _note_peaks()
        self._spent = self.spent
        self._started = None
        _meters.reset(self._token)

    @property
    def spent(self) -> Spent:
        """What was spent so far; final once the block has ended."""
        if self._started is None:
            return self._spent
        return replace(
            self._spent,
            seconds=self._spent.seconds + time.perf_counter() - self._started - self._aside,
            peak_bytes=max(self._spent.peak_bytes, self._peak - self._base),
        )

    def add(self, amounts: Spent) -> None:
        self._spent = self._spent + amounts
        if self.budget is not None:
            self.budget.check(self.who, self.spent)


def spend(**amounts: float) -> None:
    """Add amounts (units of ``core.budget.UNITS``) to every meter that is running."""
    meters = _meters.get()
    if meters:
        cost = Spent(**amounts)  # type: ignore[arg-type]
        for meter in meters:
            meter.add(cost)


@contextmanager
def aside() -> Iterator[None]:
    """Charge nothing of the body to the meters that are running, its seconds and memory included: it is a warm-up or a
    check, and no part of what is measured. Its operations are counted all the same, so that a later run need not."""
    meters, started = _meters.get(), time.perf_counter()
    _note_peaks()
    token = _meters.set((Meter(),))
    try:
        yield
    finally:
        _meters.reset(token)
        if meters:
            _reset_peak()
        for meter in meters:
            meter._aside += time.perf_counter() - started


def counting() -> bool:
    """True inside a body whose operations are being counted; compiled code must then run uncompiled."""
    return _counting.get()


@contextmanager
def measured(key: Hashable | None, *, length: int = 0, **amounts: float) -> Iterator[None]:
    """Charge the body's FLOPs, and the amounts, to the running meters.

    ``key`` names everything that the FLOPs depend on (the model's identity and the shapes); None counts every time.
    ``length`` is the one number that they depend on beside it, along a line. Inside another measured body only the
    amounts are charged, since the outer one counts the operations.
    """
    if not _meters.get() or _inside.get():
        spend(**amounts)
        yield
        return
    inside = _inside.set(True)
    try:
        flops = None if key is None else _known(_counts.setdefault(key, {}), length)
        if flops is not None:
            yield
        else:
            with _operations_counted() as counter:
                yield
            flops = counter.get_total_flops()
            if key is not None:
                _counts[key][length] = flops
    finally:
        _inside.reset(inside)
    spend(flops=flops, **amounts)


def _known(counts: dict[int, int], length: int) -> int | None:
    """The count at a length: one that was made, or read off the line through three that lie on one."""
    if length in counts or len(counts) < 3:
        return counts.get(length)
    (a, at_a), (b, at_b), (c, at_c) = list(counts.items())[:3]
    if (at_b - at_a) * (c - a) != (at_c - at_a) * (b - a):
        return None
    return at_a + round((at_b - at_a) * (length - a) / (b - a))


@contextmanager
def _operations_counted() -> Iterator[FlopCounterMode]:
    counting = _counting.set(True)
    try:
        with flop_counter() as counter:
            yield counter
    finally:
        _counting.reset(counting)


def gradient(
    output: Tensor,
    inputs: Sequence[Tensor],
    key: Hashable | None = None,
    *,
    rows: int = 1,
    retain: bool = False,
) -> tuple[Tensor | None, ...]:
    """d output / d inputs, charged to the meters as one backward pass over ``rows`` sequences. A tensor that is not
    reached gives None. ``retain``: the way back can be gone again."""
    with measured(key, backwards=1, evaluations=rows):
        return torch.autograd.grad(output, list(inputs), allow_unused=True, retain_graph=retain)


def count_flops(body: Callable[[], Any]) -> int:
    """FLOPs of one run of ``body``, by the convention of this module."""
    inside = _inside.set(True)
    try:
        with _operations_counted() as counter:
            body()
    finally:
        _inside.reset(inside)
    return counter.get_total_flops()


def flop_counter() -> FlopCounterMode:
    """PyTorch's counter, taught what it counts as zero or without regard to causality: fused attention, Fourier
    transforms and scans."""
    return FlopCounterMode(display=False, custom_mapping=_mapping())


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], causal: bool) -> int:
    batch, heads, queries, width = query[0], query[1], query[-2], query[-1]
    keys = key[-2]
    if causal:
        full = min(queries, keys)
        pairs = full * (full + 1) // 2 + (queries - full) * keys
    else:
        pairs = queries * keys
    return 2 * batch * heads * pairs * (width + value[-1])


def _fused(operator: Any, *, backward: bool = False) -> Callable[..., int]:
    """The formula of a fused attention operator: (query, key, value, ..., is_causal, ...), and for a backward one the
    gradient before them. PyTorch's own formulas take no notice of causality, and some versions refuse grouped heads."""
    names = [argument.name for argument in operator.default._schema.arguments]
    first = 1 if backward else 0

    def count(*args: Any, out_val: Any = None, **words: Any) -> int:
        said = {**dict(zip(names, args, strict=False)), **words}
        mask = said.get("attn_mask", said.get("attn_bias"))
        causal = bool(said.get("is_causal", False)) or (mask is not None and _hides_ahead(mask))
        query, key, value = (tensor.shape for tensor in args[first : first + 3])
        return (2 if backward else 1) * _attention(query, key, value, causal)

    count._get_raw = True  # type: ignore[attr-defined]  # the counter then gives tensors, not their shapes
    return count


def _hides_ahead(mask: Tensor) -> bool:
    """Whether a mask, (..., queries, keys), True or 0 where a key is seen, is square and hides every later key."""
    if mask.shape[-2] != mask.shape[-1] or mask.is_meta:
        return False
    seen = mask if mask.dtype == torch.bool else mask != -math.inf
    return not bool(seen.triu(1).any())


def _fft(x: Any, dim: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    return _fft_count(x, dim, real=False)


def _fft_real(x: Any, dim: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    # A real transform does half the work; of a complex-to-real one the longer, real side is the output.
    longer = max((tuple(x), tuple(out_shape or x)), key=math.prod)
    return _fft_count(longer, dim, real=True)


def _fft_count(shape: Sequence[int], dim: Sequence[int], *, real: bool) -> int:
    points = math.prod(shape[d] for d in dim)
    return int(5 * math.prod(shape) * math.log2(max(points, 2)) * (0.5 if real else 1.0))


def _scan(x: Any, *_: Any, **__: Any) -> int:
    return math.prod(x)


def _elementwise(*_: Any, **__: Any) -> int:
    return 0


def _mapping() -> dict[Any, Any]:
    aten = torch.ops.aten
    forward = (
        aten._scaled_dot_product_flash_attention_for_cpu,
        aten._scaled_dot_product_flash_attention,
        aten._scaled_dot_product_efficient_attention,
        aten._scaled_dot_product_cudnn_attention,
    )
    backward = (
        aten._scaled_dot_product_flash_attention_for_cpu_backward,
        aten._scaled_dot_product_flash_attention_backward,
        aten._scaled_dot_product_efficient_attention_backward,
        aten._scaled_dot_product_cudnn_attention_backward,
    )
    return {
        **{one: _fused(one) for one in forward},
        **{one: _fused(one, backward=True) for one in backward},
        aten._fft_c2c: _fft,
        aten._fft_r2c: _fft_real,
        aten._fft_c2r: _fft_real,
        aten.cumsum: _scan,
        # The counter would run these by their composite form, which rounds differently from the kernel; naming the
        # overload stops that, so that a pass computes the same bits whether it is counted or not.
        aten.silu_backward.default: _elementwise,
        aten.mish_backward.default: _elementwise,
    }


def _reset_peak() -> int:
    """Start a new peak of resident memory where the system allows it; returns the present size in bytes."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return _status("VmRSS:")
    except OSError:
        return _high_water()


def _high_water() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        return _status("VmHWM:")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not report {field}")


def _note_peaks() -> None:
    """Fold the present peak into every running meter, before a nested one resets it."""
    meters = _meters.get()
    if meters:
        peak = _high_water()
        for meter in meters:
            meter._peak = max(meter._peak, peak)
