"""Checkpoints that are there whole or not at all: safetensors for tensors, JSON for the rest, never pickle.

A checkpoint is a folder ``step-00000120`` with ``weights.safetensors``, ``moments.safetensors`` and ``state.json``. It
is written under a hidden name, flushed to the disk and renamed, so that a kill at any moment leaves the earlier ones.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trivium.core import files
from trivium.core.errors import BrokenModel
from trivium.training.parallel import World, fill, gathered, settle

log = logging.getLogger(__name__)

TENSORS = ("weights", "moments")


@dataclass(frozen=True)
class Checkpoint:
    """A training run after ``step`` updates: weights and optimiser moments by name, and JSON facts."""

    step: int
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one run folder, of which the newest ``keep`` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def __iter__(self):
        """The folders of all checkpoints, newest first."""
        return iter(sorted(self.folder.glob("step-[0-9]*[0-9]"), reverse=True))

    def tidy(self) -> None:
        """Remove what a killed process left half-written."""
        for part in self.folder.glob(".step-*.part"):
            shutil.rmtree(part)

    def write(self, checkpoint: Checkpoint) -> None:
        """Raises OSError where the disk is full or the folder cannot be written; what was there before stays."""
        final = self.folder / f"step-{checkpoint.step:08d}"
        part = self.folder / f".{final.name}.part"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            digests = {}
            for name in TENSORS:
                path = part / f"{name}.safetensors"
                save_file({key: tensor.contiguous() for key, tensor in getattr(checkpoint, name).items()}, path)
                digests[name] = files.sha256(path)
                _flush(path)
            state = {"step": checkpoint.step, "sha256": digests, "facts": dict(checkpoint.facts)}
            files.write(part / "state.json", json.dumps(state))
            if final.exists():
                shutil.rmtree(final)
            part.rename(final)
            _flush(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            kept = [path.name for path in self]
            raise OSError(
                getattr(error, "errno", None) or 0,
                f"the checkpoint of step {checkpoint.step} could not be written to {self.folder} "
                f"({getattr(error, 'strerror', None) or error}); "
                + (f"{kept[0]} is kept: make room and run again to go on from it" if kept else "no earlier one exists"),
            ) from error
        for old in list(self)[self.keep :]:
            shutil.rmtree(old)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; broken ones are set aside with a warning.

        None where there has never been one. Raises BrokenModel where every one is broken.
        """
        found = list(self)
        reasons = []
        for path in found:
            try:
                return read(path)
            except BrokenModel as error:
                log.warning("%s; falling back to the checkpoint before it", error)
                reasons.append(str(error))
                aside = path.with_name(f"broken-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
        if found:
            raise BrokenModel(
                f"no checkpoint in {self.folder} can be read ({'; '.join(reasons)}); they are set aside as broken-*: "
                "run again to start from the beginning"
            )
        return None


def read(path: Path) -> Checkpoint:
    """One checkpoint. Raises BrokenModel where a file is missing, truncated or changed."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = {}
        for name in TENSORS:
            file = path / f"{name}.safetensors"
            if files.sha256(file) != state["sha256"][name]:
                raise BrokenModel(f"{file} is truncated or was changed: its SHA-256 is not the one in state.json")
            tensors[name] = load_file(file)
        return Checkpoint(state["step"], tensors["weights"], tensors["moments"], state["facts"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BrokenModel(f"the checkpoint {path} is not whole ({type(error).__name__}: {error})") from error


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, shared ones once: whole, detached, on the CPU.

    From a model that is sharded they are gathered, so all processes must call it.
    """
    return {name: gathered(tensor).detach().cpu() for name, tensor in _own(model).items()}


def _own(model: nn.Module) -> dict[str, Tensor]:
    settle(model)
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def collect(step: int, model: nn.Module, optimizer: torch.optim.Optimizer, facts: Mapping[str, Any]) -> Checkpoint:
    """Everything of a run, gathered from all processes; all of them must call it."""
    settle(model)
    moments = {
        f"{key}/{name}": gathered(value).detach().cpu()
        for name, parameter in model.named_parameters()
        for key, value in sorted(optimizer.state.get(parameter, {}).items())
    }
    return Checkpoint(step, tensors_of(model), moments, facts)


def restore(checkpoint: Checkpoint | None, model: nn.Module, optimizer: torch.optim.Optimizer, world: World) -> None:
    """Put a checkpoint into model and optimiser, however they are sharded. Only the first process needs to hold it.

    Raises BrokenModel where names or shapes differ from the model's.
    """
    own = _own(model)
    first = checkpoint if checkpoint is not None else Checkpoint(0, {}, {})
    shapes = world.lead(lambda: {name: list(value.shape) for name, value in first.weights.items()})
    if shapes != {name: list(tensor.shape) for name, tensor in own.items()}:
        wrong = sorted(
            name for name in own.keys() | shapes.keys() if name not in own or shapes.get(name) != list(own[name].shape)
        )
        raise BrokenModel(
            f"the checkpoint is of another model: {len(wrong)} tensors differ in name or shape, first {wrong[0]!r}; "
            "choose another folder"
        )
    for name, tensor in own.items():
        fill(tensor, first.weights.get(name), world)
    parameters = dict(model.named_parameters())
    for name in world.lead(lambda: sorted(first.moments)):
        key, _, owner = name.partition("/")
        parameter = parameters[owner]
        moment = torch.zeros((), device=parameter.device) if key == "step" else torch.zeros_like(parameter)
        fill(moment, first.moments.get(name), world)
        optimizer.state[parameter][key] = moment


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
