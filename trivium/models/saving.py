"""Native models on disk: a folder with ``config.json``, ``model.safetensors`` and, where given, a tokenizer.

The configuration holds the recipe, so that the folder says all there is to know; the weights are never unpickled.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trivium.core import files
from trivium.core.errors import BrokenModel, TriviumError, did_you_mean
from trivium.core.method import card_of, find, settings, split
from trivium.models.skeleton import Native

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREFIX = "model."
"""What stands before every tensor's name in a folder that ``save_pretrained`` of transformers wrote."""


def configuration(model: Native) -> dict[str, Any]:
    """What ``config.json`` says of a model: enough to build it again, and what transformers looks for."""
    card = card_of(model.recipe)
    if card.kind != "architectures":
        raise ValueError(
            f"{type(model.recipe).__name__} is no file of trivium/architectures, so no one could find it again"
        )
    weights = dict(model.named_parameters(remove_duplicate=False))
    return {
        "model_type": "trivium",
        "architectures": ["TriviumForCausalLM"],
        "recipe": {"method": card.path, **settings(model.recipe)},
        "vocab_size": model.vocab_size,
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "max_position_embeddings": model.max_positions,
        "tie_word_embeddings": "head.weight" in weights and weights["head.weight"] is weights.get("embedding.weight"),
        "dtype": str(model.dtype).removeprefix("torch."),
    }


def save(model: Native, folder: str | Path, tokenizer: Any = None) -> None:
    """Write a model, each file whole or not at all. Tensors that are shared are written once."""
    folder = Path(folder)
    config = configuration(model)
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in _kept(model).items()}
    with files.written(folder / WEIGHTS) as part:
        save_file(tensors, part, metadata={"format": "pt"})
    if tokenizer is not None:
        config |= {f"{role}_token_id": getattr(tokenizer, role) for role in ("bos", "eos", "pad")}
        tokenizer.save(folder)
    files.write(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _kept(model: Native) -> dict[str, Tensor]:
    """What a folder holds of a model: parameters and buffers, each once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def restore(folder: str | Path) -> Native:
    """Read a model. Raises BrokenModel, naming the file and the tensor or field, for whatever does not fit together."""
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    model = build(config.get("recipe"), config.get("vocab_size"), str(folder / CONFIG))
    dtype = getattr(torch, str(config.get("dtype") or "float32"), None)
    if not isinstance(dtype, torch.dtype):
        raise BrokenModel(f"{folder / CONFIG}: no dtype is called {config['dtype']!r}; write 'float32' or 'bfloat16'")
    _fill(model.to(dtype), folder / WEIGHTS)
    return model.eval()


def build(recipe: Any, vocab_size: Any, where: str, seed: int = 0) -> Native:
    """A fresh model from a recipe as it is written down. ``where`` it was written is said in errors."""
    if not isinstance(recipe, dict) or "method" not in recipe:
        raise BrokenModel(
            f"{where} has no recipe; it should read like {{'recipe': {{'method': 'architectures/llama'}}}}"
        )
    if not isinstance(vocab_size, int) or vocab_size < 1:
        raise BrokenModel(f"{where}: vocab_size must be a positive whole number, it is {vocab_size!r}")
    try:
        return _made(recipe, where).build(vocab_size, seed=seed)
    except BrokenModel:
        raise
    except (TriviumError, ValueError, TypeError) as error:
        raise BrokenModel(f"{where}: {error}") from error


def _made(recipe: dict[str, Any], where: str) -> Any:
    """The architecture that a recipe describes. A field may hold another one, described alike."""
    kind, name = split(str(recipe["method"]))
    if kind != "architectures":
        raise BrokenModel(f"{where}: {recipe['method']!r} is no architecture")
    cls = find(kind, name)
    known = [field.name for field in dataclasses.fields(cls)]
    given = {}
    for field, value in recipe.items():
        if field == "method":
            continue
        if field not in known:
            raise BrokenModel(f"{where}: {kind}/{name} has no field {field!r}{did_you_mean(field, known)}")
        given[field] = _made(value, where) if isinstance(value, dict) and "method" in value else value
    return cls(**given)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenModel(f"{path} is missing; a model folder holds {CONFIG} and {WEIGHTS}") from None
    except ValueError as error:
        raise BrokenModel(f"{path} is no valid JSON ({error}); save the model again or copy the file anew") from error
    if not isinstance(config, dict) or config.get("model_type") != "trivium":
        said = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise BrokenModel(f"{path} describes {said!r}, not a native model; open it with trivium.load")
    return config


@torch.no_grad()
def _fill(model: Native, path: Path) -> None:
    """Copy every tensor of a file into the model, once all names and shapes are known to agree."""
    wanted = _kept(model)
    shared = {name for name, _ in model.named_parameters(remove_duplicate=False)} - wanted.keys()
    try:
        with safe_open(path, framework="pt") as file:
            held = {name.removeprefix(PREFIX): name for name in file.keys()}  # noqa: SIM118
            for name in wanted.keys() - held.keys():
                raise BrokenModel(
                    f"{path} lacks the tensor {name!r} of shape {tuple(wanted[name].shape)}; copy the file anew"
                )
            for name in held.keys() - wanted.keys() - shared:
                raise BrokenModel(
                    f"{path} holds a tensor {name!r} that this recipe has no place for{did_you_mean(name, wanted)}"
                )
            for name, tensor in wanted.items():
                shape = tuple(file.get_slice(held[name]).get_shape())
                if shape != tensor.shape:
                    raise BrokenModel(f"{path}: tensor {name!r} is {shape}, the recipe wants {tuple(tensor.shape)}")
            for name, tensor in wanted.items():
                tensor.copy_(file.get_tensor(held[name]))
    except FileNotFoundError:
        raise BrokenModel(f"{path} is missing; a model folder holds {CONFIG} and {WEIGHTS}") from None
    except SafetensorError as error:
        raise BrokenModel(f"{path} is truncated or damaged ({error}); copy the file anew") from error
