"""Who may see whom, and attention that shows its weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from trivium.core.errors import NotOffered


def windows(config: Any) -> dict[str, int | None]:
    """The attention window of each type of layer, None for one that sees everything; empty where no layer has one."""
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if window is None or (kinds and "sliding_attention" not in kinds):
        return {}
    return {
        kind: window if kind == "sliding_attention" else None for kind in dict.fromkeys(kinds or ["sliding_attention"])
    }


def positions_within(segments: Tensor) -> Tensor:
    """(batch, time) document numbers -> (batch, time) position of each column in its document."""
    index = torch.arange(segments.shape[1], device=segments.device)[None]
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return index - torch.where(begins, index, 0).cummax(1).values


def allowed(
    time: int, slots: int, *, mask: Tensor | None, seen: Tensor | None, segments: Tensor | None, device: torch.device
) -> Tensor:
    """(batch or 1, 1, time, slots + time) bool: which columns each new token may see, windows apart.

    ``mask``: (batch, time) real tokens, or 4-D and then final but for what ``seen`` hides; ``seen`` (batch, slots):
    the visible columns of the state; ``segments`` (batch, time). A token that would see nothing, such as padding,
    sees itself: its output means nothing, but must not be NaN.
    """
    if mask is not None and mask.ndim == 4:
        new, past = mask[..., slots:], mask[..., :slots]
    else:
        new = torch.ones(time, time, dtype=torch.bool, device=device).tril()[None, None]
        past = torch.ones(1, 1, time, slots, dtype=torch.bool, device=device)
        if mask is not None:
            new = new & mask[:, None, None]
        if segments is not None:
            new = new & (segments[:, None, :, None] == segments[:, None, None, :])
    if seen is not None:
        past = past & seen[:, None, None]
    batch = max(new.shape[0], past.shape[0])
    both = torch.cat([past.expand(batch, -1, -1, -1), new.expand(batch, -1, -1, -1)], -1)
    if mask is not None:
        blind = ~both.any(-1)  # (batch, 1, time)
        both[..., slots:].diagonal(dim1=-2, dim2=-1).logical_or_(blind)
    return both


def within(window: int, queries: Tensor, keys: Tensor) -> Tensor:
    """(batch, 1, time, columns) bool: keys less than ``window`` positions back."""
    return queries[:, None, :, None] - keys[:, None, None, :] < window


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as the numbers that eager attention adds to its scores."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, torch.finfo(dtype).min)


def visible_attention(taps: Mapping[str, nn.Identity]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Attention in the form that transformers calls, which sends scores and weights through ``taps`` on the way."""

    def attend(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        dropout: float = 0.0,
        softcap: float | None = None,
        **more: Any,
    ) -> tuple[Tensor, Tensor]:
        for name in ("s_aux", "position_bias"):
            if more.get(name) is not None:
                raise NotOffered(f"this model's attention has {name!r}; its weights cannot be shown")
        groups = query.shape[1] // key.shape[1]
        wide = torch.promote_types(torch.float32, query.dtype)  # as the fused kernels reckon
        key, value = (x.repeat_interleave(groups, 1).to(wide) for x in (key, value))
        scores = query.to(wide) @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        layer = f"blocks.{module.layer_idx}.attn"
        scores = taps[f"{layer}.scores"](scores)
        if attention_mask is not None and attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, float("-inf"))
        elif attention_mask is not None:
            scores = scores + attention_mask
        blind = (scores == float("-inf")).all(-1, keepdim=True)  # who sees nothing, since an edit took it away
        weights = taps[f"{layer}.weights"](scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0))
        dropped = nn.functional.dropout(weights, dropout, module.training)
        return (dropped @ value).to(query.dtype).transpose(1, 2).contiguous(), weights

    return attend


GROUPED = "trivium_grouped"
"""Name in the registry of transformers of the attention below."""


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention of few queries over long buffers: the queries of a group are laid behind each other, so that no key or
    value of the buffers is repeated, which transformers does where there is a mask and more than one query."""
    for name in ("s_aux", "position_bias", "softcap"):
        if more.get(name) is not None:
            raise NotOffered(f"this model's attention has {name!r}; its queries cannot be grouped")
    batch, heads, time, width = query.shape
    groups = heads // key.shape[1]
    seen = attention_mask
    if seen is not None:
        seen = (seen if seen.dtype == torch.bool else seen.to(query.dtype)).repeat(1, 1, groups, 1)
    made = nn.functional.scaled_dot_product_attention(
        query.reshape(batch, key.shape[1], groups * time, width),
        key,
        value,
        attn_mask=seen,
        dropout_p=dropout,
        scale=scaling,
    )
    return made.reshape(batch, heads, time, -1).transpose(1, 2).contiguous(), None


@contextmanager
def grouping(config: Any, wanted: bool) -> Iterator[None]:
    """Within the block, if so wanted, the attention of this configuration is ``grouped_attention``."""
    former = config._attn_implementation
    if wanted:
        config._attn_implementation = GROUPED
    try:
        yield
    finally:
        if wanted:
            config._attn_implementation = former


ALL_ATTENTION_FUNCTIONS[GROUPED] = grouped_attention


@contextmanager
def attention_shown(model: PreTrainedModel, name: str, taps: Mapping[str, nn.Identity]) -> Iterator[None]:
    """Within the block the model attends through ``visible_attention``, known to transformers by ``name``; then as
    before, also after an exception."""
    configs = {id(config): config for part in model.modules() if (config := getattr(part, "config", None)) is not None}
    former = {key: config._attn_implementation for key, config in configs.items()}
    if name in former.values():  # an outer block has seen to it
        yield
        return
    ALL_ATTENTION_FUNCTIONS[name] = visible_attention(taps)
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = former[key]
        del ALL_ATTENTION_FUNCTIONS[name]
