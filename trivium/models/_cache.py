"""What a transformers model takes for its cache, writing into our buffers."""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from trivium.models.state import Buffers, Stored


class Writer(Cache):
    """Writes new keys and values behind the first ``slots`` columns and shows the model all columns so far.

    Where gradients flow, nothing is written in place: the columns are joined into new tensors. With ``storing`` each
    layer is left by ``Stored`` once it has written.
    """

    def __init__(self, buffers: Buffers, slots: int, *, storing: bool = False) -> None:
        super().__init__(layers=[])
        self.buffers = buffers
        self.slots = slots
        self.storing = storing

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        columns = self._written(key_states, value_states, layer_idx)
        if self.storing:
            raise Stored
        return columns

    def _written(self, key_states: Tensor, value_states: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        buffers, start, new = self.buffers, self.slots, key_states.shape[2]
        buffers.check(layer_idx, start)
        key_states, value_states = buffers.shifted(layer_idx, key_states, value_states)
        old = buffers.keys.get(layer_idx)
        if key_states.requires_grad or value_states.requires_grad or (old is not None and old.requires_grad):
            if start:
                key_states = torch.cat([buffers.keys[layer_idx][:, :, :start], key_states], 2)
                value_states = torch.cat([buffers.values[layer_idx][:, :, :start], value_states], 2)
            buffers.keys[layer_idx], buffers.values[layer_idx] = key_states, value_states
            buffers.capacity = start + new
            return key_states, value_states
        if old is None:
            buffers.allocate(layer_idx, key_states, value_states)
        keys, values = buffers.keys[layer_idx], buffers.values[layer_idx]
        keys.narrow(2, start, new).copy_(key_states)
        values.narrow(2, start, new).copy_(value_states)
        if start == 0:
            return key_states, value_states
        return keys.narrow(2, 0, start + new), values.narrow(2, 0, start + new)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.slots

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.slots + query_length, 0


class FixedWriter(Cache):
    """Writes at the columns that a tensor names and shows the whole buffers: every shape stays the same from step to
    step, as a compiled step needs. The mask hides what is not filled. ``layers`` are counted from their first."""

    def __init__(self, buffers: Buffers, columns: Tensor, layers: range) -> None:
        super().__init__(layers=[])
        self.keys = [buffers.keys[layer] for layer in layers]
        self.values = [buffers.values[layer] for layer in layers]
        self.columns = columns

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys.index_copy_(2, self.columns, key_states)
        values.index_copy_(2, self.columns, value_states)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.keys[0].shape[2], 0
