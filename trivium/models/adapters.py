"""PEFT adapters, such as LoRA, on the model that they were trained for: read, checked, and merged into its weights.

A merged model is an ordinary one, which everything that takes a model takes, at no cost per pass. Merging is done in
float32 and checked: the model must say the same before and after, and something else than without the adapter.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from trivium.core import files
from trivium.core.errors import BrokenModel, NotOffered
from trivium.models import wheels
from trivium.models._quiet import quiet

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CLOSE = 1e-3
"""What a merge in float32 may change in the logits, as a share of their spread."""


def fingerprint(folder: Path, base: str) -> str:
    """SHA-256 of an adapter's configuration and weights on a base of this fingerprint."""
    return files.sha256(json.dumps([base, *(files.sha256(folder / name) for name in (CONFIG, WEIGHTS))]).encode())


def check(folder: Path, base: Path, names: Iterable[str]) -> None:
    """Before anything is loaded: the adapter is whole, and says that it belongs to the base in that folder, which goes
    by these names. Raises BrokenModel."""
    path = folder / CONFIG
    if not path.is_file():
        raise BrokenModel(
            f"{folder} is no adapter: it has no {CONFIG}; give a folder that PEFT's save_pretrained wrote"
        )
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        trained_on = said.get("base_model_name_or_path") or ""
    except (ValueError, AttributeError) as error:
        raise BrokenModel(f"{path} is no valid JSON object ({error}); copy the adapter again") from error
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise BrokenModel(
            f"{folder} has no {WEIGHTS}"
            + (", only a pickle, which is never read; save it again with safe_serialization" if pickled else "")
        )
    if not trained_on:
        return
    from trivium.models.sources import fingerprint as of_folder

    there = Path(trained_on).expanduser()
    same = of_folder(there) == of_folder(base) if there.is_dir() else _plain(trained_on) in map(_plain, names)
    if not same:
        raise BrokenModel(
            f"the adapter in {folder} was trained on {trained_on}, and this is another model, {base}; load it on that "
            f"one, or, if the two are the same weights, write {str(base)!r} as base_model_name_or_path into {path}"
        )


def known_as(name: str) -> list[str]:
    """What else a model is called that goes by a known name here."""
    known = wheels.KNOWN.get(name)
    return [name, *([known.what.split(",")[0]] if known else [])]


def _plain(name: str) -> str:
    """google/gemma-3-270m and Gemma 3 270M are one name."""
    return re.sub(r"[^a-z0-9]", "", name.rstrip("/").rsplit("/", 1)[-1].lower())


def merged(model: Any, folder: Path) -> Any:
    """A transformers model with the adapter in its weights, which are changed in place.

    Raises BrokenModel for an adapter of another architecture or size, one that lacks or garbles weights, and one that
    changes nothing; NotOffered for one that cannot be merged, such as a learned prompt.
    """
    from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    with quiet(), torch.random.fork_rng(devices=[]):  # what the adapter then overwrites is drawn
        try:
            config: Any = PeftConfig.from_pretrained(str(folder))
            if config.is_prompt_learning:
                raise NotOffered(
                    f"the adapter in {folder} is a learned prompt ({config.peft_type}), which no weight holds"
                )
            config.base_model_name_or_path = None  # which was checked, and may be called otherwise here
            adapted: Any = get_peft_model(model, config)
            weights = load_file(folder / WEIGHTS)
            wanted = get_peft_model_state_dict(adapted)
            set_peft_model_state_dict(adapted, weights)
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            if isinstance(error, NotOffered):
                raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BrokenModel(f"the adapter in {folder} does not fit this model: {first}") from error
    if weights.keys() != wanted.keys():
        odd = sorted(weights.keys() ^ wanted.keys())
        raise BrokenModel(f"the adapter in {folder} does not fit this model: it lacks, or has too much, {odd[0]}")
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise BrokenModel(f"the adapter in {folder} has weights that are not finite; copy it again")
    adapted.eval()
    ids = torch.arange(8)[None] % adapted.config.vocab_size
    with torch.no_grad():
        trained = adapted(ids.to(adapted.device)).logits
        with adapted.disable_adapter():
            plain = adapted(ids.to(adapted.device)).logits
        if torch.equal(trained, plain):
            raise BrokenModel(
                f"the adapter in {folder} changes nothing: what it says is what its base says. It was saved before it "
                "was trained, or its scale is 0"
            )
        whole = adapted.merge_and_unload()
        gap = float((whole(ids.to(whole.device)).logits - trained).abs().max() / trained.std())
    if not gap <= CLOSE:
        raise NotOffered(
            f"the adapter in {folder} cannot be merged: logits then differ by {gap:.2g} of their spread. It may adapt "
            "an embedding that is tied to the head"
        )
    return whole
