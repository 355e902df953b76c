"""The one adapter that makes any Hugging Face causal language model a ``LanguageModel``.

The model runs unchanged. What the adapter adds is bookkeeping: it always passes explicit positions, builds the masks
wherever plain causal attention is not what is meant, and hands the model a cache that writes into our own buffers.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache

from trivium.core.capabilities import known
from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.models._families import Parts, site_table
from trivium.models.sites import Site, Sited
from trivium.models.state import Buffers, KeyValueState, RecurrentState, capacity_for

log = logging.getLogger(__name__)


def wrap(hf: PreTrainedModel, *, compile: bool = False) -> "HuggingFaceModel":
    """A Hugging Face causal language model as a ``LanguageModel``, checked."""
    return HuggingFaceModel(hf)


class Writer(Cache):
    """What the model takes for its cache: writes new keys and values behind the columns of a state."""

    def __init__(self, buffers: Buffers, slots: int) -> None:
        super().__init__(layers=[])
        self.buffers = buffers
        self.slots = slots

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        buffers, start = self.buffers, self.slots
        new = key_states.shape[2]
        if key_states.requires_grad or value_states.requires_grad or (layer_idx in buffers.keys and buffers.keys[layer_idx].requires_grad):
            if start:
                key_states = torch.cat([buffers.keys[layer_idx][:, :, :start], key_states], 2)
                value_states = torch.cat([buffers.values[layer_idx][:, :, :start], value_states], 2)
            buffers.keys[layer_idx], buffers.values[layer_idx] = key_states, value_states
            return key_states, value_states
        if layer_idx not in buffers.keys:
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


class HuggingFaceModel(Sited, LanguageModel):
    """A Hugging Face causal language model; ``inner`` is the model itself."""

    def __init__(self, hf: PreTrainedModel) -> None:
        super().__init__()
        self.inner = hf
        config = hf.config.get_text_config()
        self.config = config
        self.parts = Parts.of(hf)
        self.vocab_size = self.parts.head.weight.shape[0]
        self.width = self.parts.embedding.weight.shape[1]
        self.depth = config.num_hidden_layers
        accepted = inspect.signature(hf.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.cache_name = "past_key_values" if "past_key_values" in accepted else "cache_params" if "cache_params" in accepted else None
        self.keeps_logits = "logits_to_keep" in accepted
        kinds = list(getattr(config, "layer_types", None) or [])
        self.recurrent = self.cache_name == "cache_params" or any("linear" in kind or kind in ("mamba", "conv") for kind in kinds)
        self.windows = _windows(config, kinds)
        self.max_positions = None if self.recurrent else getattr(config, "max_position_embeddings", None)
        self.refused: dict[str, str] = {}
        words = {"causal", "gradient", "embeds", "sites", "state"}
        if not self.recurrent:
            words |= {"truncate", "gather", "tree", "layers", "attention"}
        self.offers = known(words)
        self.eval()

    def embed(self, ids: Tensor) -> Tensor:
        return self.parts.embedding(ids)

    def site_table(self) -> Mapping[str, Site]:
        return site_table(self)

    # --- one pass -----------------------------------------------------------------------------------------------

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
        given = ids if ids is not None else embeds
        assert given is not None
        batch, time = given.shape[:2]
        _check(batch, time, mask, positions, segments, state)
        if self.recurrent:
            return self._recur(ids, embeds, mask, positions, segments, state, keep_state, logits_to_keep)
        if state is not None and not isinstance(state, KeyValueState):
            raise TypeError(f"this model goes on from a KeyValueState, not from a {type(state).__name__}; states belong to their model")
        slots = 0 if state is None else state.slots
        seen = None if state is None else state.visible
        if mask is not None and mask.ndim == 2 and mask.all():
            mask = None
        where = self._positions(given, mask, segments, state) if positions is None else positions
        keys_at = None
        if self.windows and (keep_state or seen is not None or mask is not None or positions is not None):
            keys_at = where.expand(batch, -1)
            if state is not None and slots:
                assert state.positions is not None
                keys_at = torch.cat([state.positions, keys_at], 1)
        attention = self._attention(given, mask, segments, slots, seen, where, keys_at, explicit=positions is not None)
        arguments: dict[str, Any] = {"input_ids": ids, "inputs_embeds": embeds, "attention_mask": attention, "use_cache": False}
        if self.takes_positions:
            arguments["position_ids"] = where
        buffers = None
        if state is not None or keep_state:
            if state is None:
                buffers = Buffers(capacity_for(time))
            else:
                buffers = state.room(time)
            arguments[self.cache_name or "past_key_values"] = Writer(buffers, slots)
            arguments["use_cache"] = True
        logits, hidden = self._through(arguments, logits_to_keep)
        after = None
        if keep_state:
            assert buffers is not None
            visible = None
            if seen is not None or (mask is not None and mask.ndim == 2):
                old = seen if seen is not None else torch.ones(batch, slots, dtype=torch.bool, device=given.device)
                new = mask if mask is not None and mask.ndim == 2 else torch.ones(batch, time, dtype=torch.bool, device=given.device)
                visible = torch.cat([old, new], 1)
            after = KeyValueState(buffers, batch, slots + time, visible, keys_at)
        return LMOutput(logits, hidden, after)

    def _through(self, arguments: dict[str, Any], logits_to_keep: int) -> tuple[Tensor, Tensor]:
        """The model itself: logits, and what entered the head."""
        kept: list[Tensor] = []
        hook = self.parts.head.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
        try:
            if self.keeps_logits:
                arguments["logits_to_keep"] = logits_to_keep
            logits = self.inner(**arguments).logits
        finally:
            hook.remove()
        hidden = kept[-1]
        if logits_to_keep and not self.keeps_logits:
            logits, hidden = logits[:, -logits_to_keep:], hidden[:, -logits_to_keep:]
        return self.parts.logits(logits), hidden

    def _positions(self, given: Tensor, mask: Tensor | None, segments: Tensor | None, state: KeyValueState | None) -> Tensor:
        """(1 or batch, time): each row counts its own tokens; documents packed in one row start again at 0."""
        batch, time = given.shape[:2]
        device = given.device
        if segments is not None:
            return _within(segments)
        if state is None or state.visible is None:
            start: int | Tensor = 0 if state is None else state.slots
        else:
            start = state.lengths.to(device)[:, None]
        if mask is None or mask.ndim == 4:
            count = torch.arange(time, device=device)[None]
            return count + start
        return (mask.cumsum(1) - 1).clamp(min=0) + start

    def _attention(
        self,
        given: Tensor,
        mask: Tensor | None,
        segments: Tensor | None,
        slots: int,
        seen: Tensor | None,
        where: Tensor,
        keys_at: Tensor | None,
        *,
        explicit: bool,
    ) -> Any:
        """The attention mask as the model takes it: None where plain causal attention is right, else 4-D, or one of
        each per type of layer."""
        batch, time = given.shape[:2]
        total = slots + time
        device = given.device
        plain = mask is None and segments is None and seen is None and not explicit
        shows = self.inner.config._attn_implementation == "sdpa"
        simple = plain and shows and (slots == 0 or time == 1)
        if simple and all(window is None or total <= window for window in self.windows.values()):
            return dict.fromkeys(self.windows) if len(self.windows) > 1 else None
        if mask is not None and mask.ndim == 4:
            allowed = mask
            if seen is not None:
                allowed = allowed.clone() if allowed.shape[0] == batch else allowed.repeat(batch, 1, 1, 1)
                allowed[..., :slots] &= seen[:, None, None]
        else:
            allowed = torch.ones(time, total, dtype=torch.bool, device=device).tril(slots)[None, None]
            if seen is not None:
                past = seen[:, None, None].expand(-1, 1, time, -1)
                allowed = torch.cat([past, allowed[..., slots:].expand(batch, -1, -1, -1)], -1)
            if mask is not None:
                allowed = allowed.expand(batch, -1, -1, -1).clone()
                allowed[..., slots:] &= mask[:, None, None]
            if segments is not None:
                allowed = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
        masks: dict[str, Tensor] = {}
        for kind, window in (self.windows or {"all": None}).items():
            inside = allowed
            if window is not None and total > window:
                keys = torch.arange(total, device=device)[None] if keys_at is None else keys_at
                inside = inside & (where[:, None, :, None] - keys[:, None, None, :] < window)
            if mask is not None or seen is not None:  # a row that sees nothing would be NaN: let it see itself
                inside = inside.clone() if inside is mask else inside
                blind = ~inside.any(-1, keepdim=True)
                own = torch.eye(time, total, dtype=torch.bool, device=device).roll(slots, 1)
                inside = inside | (blind & own)
            masks[kind] = inside if shows else _additive(inside, self.dtype)
        return masks if len(masks) > 1 else next(iter(masks.values()))

    # --- models whose memory is of fixed size -----------------------------------------------------------------------

    def _recur(
        self,
        ids: Tensor | None,
        embeds: Tensor | None,
        mask: Tensor | None,
        positions: Tensor | None,
        segments: Tensor | None,
        state: State | None,
        keep_state: bool,
        logits_to_keep: int,
    ) -> LMOutput:
        raise NotOffered("not yet")


def _windows(config: Any, kinds: list[str]) -> dict[str, int | None]:
    """Attention window by type of layer; empty where no layer has one."""
    window = getattr(config, "sliding_window", None)
    if window is None:
        return {}
    if not kinds:
        return {"sliding_attention": window}
    if "sliding_attention" not in kinds:
        return {}
    return {kind: window if kind == "sliding_attention" else None for kind in dict.fromkeys(kinds)}


def _within(segments: Tensor) -> Tensor:
    """Position of each column within its document."""
    index = torch.arange(segments.shape[1], device=segments.device)[None]
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return index - torch.where(starts, index, 0).cummax(1).values


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill(~allowed, torch.finfo(dtype).min)


def _check(batch: int, time: int, mask: Tensor | None, positions: Tensor | None, segments: Tensor | None, state: State | None) -> None:
    slots = 0 if state is None else state.slots
    if state is not None and state.batch != batch:
        raise ValueError(f"the input has {batch} rows and the state {state.batch}; use state.select to repeat or pick rows")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(f"a mask is bool, True where a token is real or may be seen; got {mask.dtype}")
        if mask.ndim == 2 and mask.shape != (batch, time):
            raise ValueError(f"the mask must be ({batch}, {time}) like the input, got {tuple(mask.shape)}")
        if mask.ndim == 4 and (mask.shape[0] not in (1, batch) or mask.shape[1:] != (1, time, slots + time)):
            raise ValueError(f"the mask must be ({batch}, 1, {time}, {slots + time}): columns of the state, then new ones; got {tuple(mask.shape)}")
        if mask.ndim not in (2, 4):
            raise ValueError(f"a mask has 2 or 4 axes, got {tuple(mask.shape)}")
    if positions is not None and positions.shape not in ((batch, time), (1, time)):
        raise ValueError(f"positions must be ({batch}, {time}) like the input, got {tuple(positions.shape)}")
    if segments is not None:
        if state is not None:
            raise ValueError("segments are for whole training rows; they cannot go on from a state")
        if segments.shape != (batch, time):
            raise ValueError(f"segments must be ({batch}, {time}) like the input, got {tuple(segments.shape)}")
