"""Checkpoints that are there whole or not at all: safetensors for tensors, JSON for the rest, never pickle.

A checkpoint is a folder ``step-00000120`` with tensors and ``state.json``. One process writes ``weights.safetensors``
and ``moments.safetensors``; of several each writes what it holds, in a file of its own (PyTorch's distributed
checkpoint in its safetensors form), and any other number of processes, in any layout, can go on from it. It is written
under a hidden name, flushed to the disk and renamed, so that a kill at any moment leaves the earlier ones.
"""

import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from trivium.core import files
from trivium.core.errors import BrokenModel
from trivium.training.parallel import World, gathered, settle

log = logging.getLogger(__name__)

WEIGHTS, MOMENTS = "weights.safetensors", "moments.safetensors"
Optimizers = Iterable[torch.optim.Optimizer]


@dataclass(frozen=True)
class Checkpoint:
    """A training run after ``step`` updates: where it lies, and JSON facts."""

    path: Path
    step: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, whole: weights by name, and the optimisers' moments as "moment/name". Raises BrokenModel."""
        try:
            if (self.path / WEIGHTS).exists():
                return load_file(self.path / WEIGHTS) | load_file(self.path / MOMENTS)
            found = {
                name: torch.empty(held.size, dtype=held.properties.dtype) for name, held in _held(self.path).items()
            }
            _load(found, self.path, together=False)
            return {name: tensor.reshape(()) if _is_step(name) else tensor for name, tensor in found.items()}
        except (OSError, SafetensorError) as error:
            raise BrokenModel(f"the checkpoint {self.path} cannot be read ({error})") from error

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights, whole."""
        return {name: tensor for name, tensor in self.tensors().items() if "/" not in name}

    @property
    def moments(self) -> dict[str, Tensor]:
        """The moments, whole."""
        return {name: tensor for name, tensor in self.tensors().items() if "/" in name}


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

    def write(
        self, step: int, model: nn.Module, optimizers: Optimizers, facts: Mapping[str, Any], world: World
    ) -> None:
        """Write what all processes hold; all of them must call it.

        Raises OSError where the disk is full or the folder cannot be written; what was there before stays.
        """
        final = self.folder / f"step-{step:08d}"
        part = self.folder / f".{final.name}.part"
        try:
            world.lead(lambda: _empty(part))
            tensors = held_by(model, optimizers)
            written = _save(tensors, part) if world.size == 1 else _save_shares(tensors, part)
            world.lead(lambda: self._finish(part, final, {"step": step, "sha256": written, "facts": dict(facts)}))
        except (OSError, SafetensorError, CheckpointException) as error:
            world.lead(lambda: shutil.rmtree(part, ignore_errors=True))
            kept = [path.name for path in self]
            raise OSError(
                getattr(error, "errno", None) or 0,
                f"the checkpoint of step {step} could not be written to {self.folder} "
                f"({getattr(error, 'strerror', None) or error}); "
                + (f"{kept[0]} is kept: make room and run again to go on from it" if kept else "no earlier one exists"),
            ) from error

    def _finish(self, part: Path, final: Path, state: Mapping[str, Any]) -> None:
        files.write(part / "state.json", json.dumps(state))
        if final.exists():
            shutil.rmtree(final)
        part.rename(final)
        _flush(self.folder)
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
        for name, digest in state["sha256"].items():
            # Names have a suffix since several processes write files; before, there were these two.
            file = path / (name if "." in name else f"{name}.safetensors")
            if files.sha256(file) != digest:
                raise BrokenModel(f"{file} is truncated or was changed: its SHA-256 is not the one in state.json")
        return Checkpoint(path, state["step"], state["facts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenModel(f"the checkpoint {path} is not whole ({type(error).__name__}: {error})") from error


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name, shared ones once: whole, detached, on the CPU.

    From a model that is sharded they are gathered, so all processes must call it.
    """
    settle(model)
    return {name: gathered(tensor).detach().cpu() for name, tensor in _own(model).items()}


def held_by(model: nn.Module, optimizers: Optimizers) -> dict[str, Tensor]:
    """What this process holds of weights and moments, in the names of a checkpoint; sharded tensors as they are."""
    settle(model)
    states = {parameter: state for optimizer in optimizers for parameter, state in optimizer.state.items()}
    moments = {
        f"{key}/{name}": value
        for name, parameter in model.named_parameters()
        for key, value in sorted(states.get(parameter, {}).items())
    }
    return _own(model) | moments


def _own(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers that are here, shared ones once."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and not tensor.is_meta and id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor
    return found


def _save(tensors: Mapping[str, Tensor], part: Path) -> dict[str, str]:
    """Written by one process: the files and their SHA-256."""
    written = {}
    for file, moments in ((WEIGHTS, False), (MOMENTS, True)):
        mine = {name: x.detach().cpu().contiguous() for name, x in tensors.items() if ("/" in name) == moments}
        save_file(mine, part / file)
        written[file] = files.sha256(part / file)
        _flush(part / file)
    return written


def _save_shares(tensors: Mapping[str, Tensor], part: Path) -> dict[str, str]:
    """Written by several processes: all files and their SHA-256, in every process."""
    flat = {name: tensor.detach().reshape(1) if _is_step(name) else tensor.detach() for name, tensor in tensors.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its being new
        dcp.save(flat, storage_writer=HuggingFaceStorageWriter(str(part), save_distributed=True))
    rank, size = dist.get_rank(), dist.get_world_size()
    names = sorted(path.name for path in part.glob("*.safetensors"))
    mine = {}
    for name in names[rank::size]:
        mine[name] = files.sha256(part / name)
        _flush(part / name)
    shares: list[Any] = [None] * size
    dist.all_gather_object(shares, mine)
    return {name: digest for share in shares for name, digest in share.items()}


def restore(checkpoint: Checkpoint, model: nn.Module, optimizers: Optimizers, world: World) -> None:
    """Put a checkpoint into model and optimisers, however they are sharded; all processes must call it.

    Raises BrokenModel where names or shapes differ from the model's.
    """
    settle(model)
    own, held = _own(model), _held(checkpoint.path)
    shapes = {name: list(entry.size) for name, entry in held.items() if "/" not in name}
    wrong = [name for name, tensor in own.items() if shapes.get(name) != list(tensor.shape)]
    if world.degree("pp") == 1:
        wrong += [name for name in shapes if name not in own]
    if wrong:
        raise BrokenModel(
            f"the checkpoint is of another model: {len(wrong)} tensors differ in name or shape, first {min(wrong)!r}; "
            "choose another folder"
        )
    parameters = {name: parameter for name, parameter in model.named_parameters() if not parameter.is_meta}
    owners = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    wanted: dict[str, Tensor] = {name: tensor.detach() for name, tensor in own.items()}
    for name in held:
        key, _, owner = name.partition("/")
        if owner in parameters:
            parameter = parameters[owner]
            wanted[name] = torch.zeros(()) if _is_step(name) else torch.zeros_like(parameter).detach()
    _load(wanted, checkpoint.path, together=world.size > 1)
    for name, moment in wanted.items():
        key, _, owner = name.partition("/")
        if owner:
            owners[parameters[owner]].state[parameters[owner]][key] = moment


def _is_step(name: str) -> bool:
    """Counts of steps, which have no axis; the distributed form wants one."""
    return name.startswith("step/")


def _held(path: Path) -> Mapping[str, Any]:
    """Size and number format of everything in a checkpoint."""
    return HuggingFaceStorageReader(str(path)).read_metadata().state_dict_metadata


def _load(into: Mapping[str, Tensor], path: Path, *, together: bool) -> None:
    """Fill tensors in place; sharded ones in all processes ``together``."""
    if (path / WEIGHTS).exists() and not together:
        whole = load_file(path / WEIGHTS) | load_file(path / MOMENTS)
        with torch.no_grad():
            for name, tensor in into.items():
                tensor.copy_(whole[name])
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about there being one process
        dcp.load(
            {name: tensor for name, tensor in into.items() if not _is_step(name)},
            storage_reader=HuggingFaceStorageReader(str(path)),
            no_dist=not together,
        )
    steps = {name: tensor for name, tensor in into.items() if _is_step(name)}
    for file in path.glob("*.safetensors"):
        with safe_open(file, "pt") as opened:
            for name in steps.keys() & set(opened.keys()):
                steps[name].copy_(opened.get_tensor(name).reshape(steps[name].shape))


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
