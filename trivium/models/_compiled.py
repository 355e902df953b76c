"""A decoding step whose shapes never change, so that it is compiled once and then runs without Python.

Passes of few new tokens over a small model spend much of their time between the kernels. The step here reads and
writes whole buffers of fixed capacity under a mask, and short passes are padded to the next of a few widths; the
padding lies behind the columns in use, where it is overwritten later.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trivium.core.protocols import LMOutput
from trivium.models._attention import allowed, within
from trivium.models._cache import FixedWriter
from trivium.models.state import KeyValueState

if TYPE_CHECKING:
    from trivium.models.huggingface import HuggingFaceModel

WIDTHS = (1, 8, 16)
"""Numbers of new tokens that are compiled for; others are padded to the next."""

CAPACITY = 512
"""Smallest capacity of buffers for compiled steps; it doubles, and each size is compiled once."""

LIMIT = 64
"""Compiled variants (batch sizes x widths x capacities) kept before the compiler gives up."""


class CompiledStep:
    """The compiled step of one model."""

    def __init__(self, model: "HuggingFaceModel") -> None:
        self.model = model
        base, head = model.parts.base, model.parts.head

        def step(arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
            hidden = base(**arguments)[0]
            return head(hidden), hidden

        self.step = torch.compile(step, dynamic=False, fullgraph=True)

    def fits(self, time: int) -> bool:
        return time <= WIDTHS[-1]

    def __call__(
        self,
        ids: Tensor,
        mask: Tensor | None,
        where: Tensor,
        state: KeyValueState,
        keep_state: bool,
        logits_to_keep: int,
        *,
        explicit: bool,
    ) -> LMOutput:
        model, slots = self.model, state.slots
        batch, time = ids.shape
        width = next(size for size in WIDTHS if size >= time)
        buffers = state.room(width, least=CAPACITY)
        # Inside inference mode the compiler would see other tensors than outside, and compile everything twice.
        with torch.inference_mode(False), torch.no_grad(), torch._dynamo.config.patch(recompile_limit=LIMIT):
            padded = torch.zeros(batch, width, dtype=torch.long, device=ids.device)
            padded[:, :time] = ids
            at = torch.zeros(batch, width, dtype=torch.long, device=ids.device)
            at[:, :time] = where
            arguments: dict[str, Any] = {"input_ids": padded, "use_cache": True}
            if model.takes_positions:
                arguments["position_ids"] = at
            arguments["attention_mask"] = self._masks(mask, state, at, time, width, buffers.capacity)
            columns = torch.arange(slots, slots + width, device=ids.device)
            arguments["past_key_values"] = FixedWriter(buffers, columns)
            logits, hidden = self.step(arguments)
        first = time - logits_to_keep if logits_to_keep else 0
        after = model.after(buffers, ids, mask, state, where, explicit=explicit) if keep_state else None
        return LMOutput(logits[:, first:time], hidden[:, first:time], after)

    def _masks(
        self, mask: Tensor | None, state: KeyValueState, at: Tensor, time: int, width: int, capacity: int
    ) -> Any:
        """(batch, 1, width, capacity) bool, one for each type of layer where they differ."""
        slots, batch = state.slots, state.batch
        whole = torch.zeros(batch, 1, width, capacity, dtype=torch.bool, device=at.device)
        whole[:, :, :time, : slots + time] = allowed(
            time, slots, mask=mask, seen=state.visible, segments=None, device=at.device
        )
        if width > time:  # padding sees itself, so that nothing is NaN
            whole[:, :, time:, slots + time : slots + width] |= torch.eye(
                width - time, dtype=torch.bool, device=at.device
            )
        masks: dict[str, Tensor] = {}
        for kind, window in (self.model.windows or {"": None}).items():
            masks[kind] = whole
            if window is not None:
                keys = torch.zeros(batch, capacity, dtype=torch.long, device=at.device)
                keys[:, :slots], keys[:, slots : slots + width] = state.at(), at
                masks[kind] = whole & within(window, at, keys)
        return masks if len(masks) > 1 else next(iter(masks.values()))
