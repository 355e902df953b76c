"""Dictionaries of sparse features that SAE-Lens has saved, read from its files and put to our sites.

A folder holds ``cfg.json`` and ``sae_weights.safetensors``: W_enc (width, features), W_dec (features, width), b_dec,
and by architecture b_enc; threshold; or b_gate, r_mag and b_mag.

    x' = x - b_dec (where it is taken off);   pre = x' W_enc + b_enc;   decode: c W_dec + b_dec
    standard   c = relu(pre)             jumprelu   c = relu(pre) where pre > threshold, else 0
    topk       c = relu of the k largest gated      c = relu(x' W_enc e^r_mag + b_mag) where x' W_enc + b_gate > 0

Names of files and tensors follow SAE-Lens 6; nothing of that package is needed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from trivium.core.errors import BrokenModel, NotOffered

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
NEEDED: Mapping[str, tuple[str, ...]] = {
    "standard": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "topk": ("b_enc",),
    "gated": ("b_gate", "r_mag", "b_mag"),
}
PLACES: Mapping[str, str] = {
    "hook_embed": "embed",
    "hook_resid_pre": "in",
    "hook_resid_mid": "mid",
    "hook_resid_post": "out",
    "hook_attn_out": "attn.out",
    "hook_mlp_out": "mlp.out",
    "attn.hook_z": "attn.z",
    "attn.hook_q": "attn.q",
    "attn.hook_k": "attn.k",
    "attn.hook_v": "attn.v",
    "mlp.hook_post": "mlp.act",
}
"""Names of places in TransformerLens, by which SAE-Lens says what a dictionary reads, and ours."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Features of what stands at a ``site``. ``tensors`` by their names in SAE-Lens; ``k`` of topk; ``model``: the name
    of the model that it was trained on, "" where none is told.

    ``centred``: the mean over the width is taken off what is read and put back. TransformerLens centres what is written
    to the stream of a LayerNorm model, and most dictionaries were trained on that; ours is as the model has it.
    """

    architecture: str
    tensors: Mapping[str, Tensor]
    site: str
    model: str = ""
    k: int = 0
    takes_off: bool = True
    scaling: str = "none"
    centred: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        return self.tensors["W_enc"].shape[0]

    @property
    def features(self) -> int:
        return self.tensors["W_enc"].shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., features), in the number format of the dictionary; (..., heads, head width) where the
        site has heads."""
        x, _ = self._read(x)
        t = self.tensors
        x = x - t["b_dec"] if self.takes_off else x
        if self.architecture == "gated":
            gate = x @ t["W_enc"] + t["b_gate"] > 0
            return (x @ (t["W_enc"] * t["r_mag"].exp()) + t["b_mag"]).relu() * gate
        before = x @ t["W_enc"] + t["b_enc"]
        if self.architecture == "jumprelu":
            return before.relu() * (before > t["threshold"])
        if self.architecture == "topk":
            largest = before.topk(self.k, dim=-1)
            return torch.zeros_like(before).scatter(-1, largest.indices, largest.values.relu())
        return before.relu()

    def decode(self, c: Tensor, like: Tensor | None = None) -> Tensor:
        """(..., features) -> (..., width). Where activations are scaled one by one, or centred, what was taken off is
        put back from ``like``, what was encoded; ValueError without it."""
        made = c @ self.tensors["W_dec"] + self.tensors["b_dec"]
        if like is None:
            if self.scaling != "none" or self.centred:
                raise ValueError("this dictionary scales what it reads; give the activations that were encoded, too")
            return made
        _, (shift, scale) = self._read(like)
        made = made * scale + shift
        return made.reshape(like.shape)

    def _read(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Activations as the dictionary takes them, and what decoding adds and multiplies by."""
        x = x.to(self.tensors["W_enc"])
        x = x.flatten(-2) if x.shape[-1] != self.width and x.ndim > 1 else x
        if x.shape[-1] != self.width:
            raise ValueError(f"this dictionary reads a width of {self.width} at {self.site!r}, got {tuple(x.shape)}")
        shift, scale = torch.zeros_like(x[..., :1]), torch.ones_like(x[..., :1])
        if self.centred or self.scaling == "layer_norm":
            shift = x.mean(-1, keepdim=True)
            x = x - shift
        if self.scaling == "layer_norm":
            scale = x.std(-1, keepdim=True) + 1e-5
        elif self.scaling == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / self.width**0.5
        return x / scale, (shift, scale)


def load_dictionary(folder: str | Path, *, centred: bool = False, dtype: torch.dtype | None = None) -> Dictionary:
    """A dictionary of SAE-Lens from its folder. Raises BrokenModel for a folder that is none or lacks a tensor, and
    NotOffered for an architecture, a scaling or a place that is not known here."""
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise BrokenModel(f"{folder} is no dictionary of SAE-Lens: it has no {name}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (ValueError, SafetensorError) as error:
        raise BrokenModel(f"{folder} holds a file that cannot be read ({error}); copy it again") from error
    told: dict[str, Any] = {**config, **(config.get("metadata") or config.get("meta") or {})}
    architecture = told.get("architecture") or "standard"
    if architecture not in NEEDED:
        raise NotOffered(f"{folder} is a {architecture!r} dictionary; known are {', '.join(NEEDED)}")
    needed = ("W_enc", "W_dec", "b_dec", *NEEDED[architecture])
    if missing := [name for name in needed if name not in tensors]:
        raise BrokenModel(f"{folder / WEIGHTS} has no {missing[0]!r}; a {architecture} dictionary needs it")
    _check_shapes(folder, tensors, needed)
    activation = told.get("activation_fn") or told.get("activation_fn_str") or "relu"
    if architecture == "standard" and activation == "topk":  # as it was told before version 6
        architecture = "topk"
    elif architecture != "topk" and activation != "relu":
        raise NotOffered(f"{folder} has the activation {activation!r}, which is not known here; relu is")
    k = int(told.get("k") or (told.get("activation_fn_kwargs") or {}).get("k") or 0)
    if architecture == "topk" and not 1 <= k <= tensors["W_enc"].shape[1]:
        raise BrokenModel(f"{folder / CONFIG} gives k = {k}, and there are {tensors['W_enc'].shape[1]} features")
    scaling = told.get("normalize_activations") or "none"
    if scaling not in ("none", "constant_norm_rescale", "layer_norm"):
        raise NotOffered(
            f"{folder} scales activations by {scaling!r}, a number that is not in the file; fold it into the weights "
            "with SAE-Lens first"
        )
    for name in ("finetuning_scaling_factor", "rescale_acts_by_decoder_norm"):
        if told.get(name):
            raise NotOffered(f"{folder} was saved with {name}, which is not known here; fold it into the weights")
    hook = told.get("hook_name") or told.get("hook_point") or ""
    takes_off = bool(told.get("apply_b_dec_to_input", True))
    kept = {name: tensors[name] if dtype is None else tensors[name].to(dtype) for name in needed}
    model = str(told.get("model_name") or "")
    return Dictionary(architecture, kept, site_of(hook), model, k, takes_off, scaling, centred, config)


def site_of(hook: str) -> str:
    """Our site for a place of TransformerLens: "blocks.8.hook_resid_pre" is "blocks.8.in". Raises NotOffered for one
    that has none."""
    before, layer, place = "", "", hook
    if hook.startswith("blocks.") and hook.count(".") >= 2:
        before, layer, place = hook.split(".", 2)
    if place not in PLACES or (before == "") != (place == "hook_embed"):
        raise NotOffered(f"the place {hook!r} has no site here; known are {', '.join(PLACES)}")
    return PLACES[place] if before == "" else f"{before}.{layer}.{PLACES[place]}"


def _check_shapes(folder: Path, tensors: Mapping[str, Tensor], needed: tuple[str, ...]) -> None:
    width, features = tensors["W_enc"].shape
    shapes = {"W_enc": (width, features), "W_dec": (features, width), "b_dec": (width,)}
    for name in needed:
        wanted = shapes.get(name, (features,))
        if tuple(tensors[name].shape) != wanted:
            raise BrokenModel(f"{folder / WEIGHTS}: {name} is {tuple(tensors[name].shape)} and must be {wanted}")
