"""One process, or several under torchrun with FSDP2: the few places where the difference shows.

The sharding is PyTorch's ``fully_shard``, per block and then the rest. With one process nothing here does anything.
"""

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from trivium.core.nouns import Batch

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "World":
        """The process group that is there, or the one that torchrun asks for; alone otherwise."""
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) == 1:
                return cls()
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(_leave)
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This process's rows: every size-th, from its rank on."""
        if self.size == 1:
            return batch
        if type(batch) is not Batch:
            raise ValueError(f"{type(batch).__name__} are not dealt out over {self.size} processes; train in one")
        if len(batch) % self.size:
            raise ValueError(
                f"a batch of {len(batch)} rows does not divide over {self.size} processes; choose a multiple"
            )
        rows = slice(self.rank, None, self.size)
        cut = lambda x: None if x is None else x[rows]  # noqa: E731
        return Batch(batch.ids[rows], cut(batch.mask), cut(batch.segments))

    def sum(self, values: Tensor) -> Tensor:
        """Summed over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def lead(self, act: Callable[[], T]) -> T:
        """What ``act`` gives in the first process, which alone runs it, in all of them; its error too."""
        if self.size == 1:
            return act()
        box: list[Any] = [None, None]
        if self.first:
            try:
                box[0] = act()
            except Exception as error:
                box[1] = error
        dist.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise box[1]
        return box[0]


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a model: members of its module lists that are as long as the model is deep."""
    depth = getattr(model, "depth", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            yield from module


def shard(model: nn.Module, world: World) -> None:
    """Spread the weights over the processes, per block and then the rest, starting from the first process's values."""
    if world.size == 1 or any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, src=0)
    mesh = init_device_mesh(next(model.parameters()).device.type, (world.size,), mesh_dim_names=("dp",))
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def settle(model: nn.Module) -> None:
    """Put the shards back where a pass that no backward pass followed has left whole weights in their place."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, sharing memory with it; any other tensor as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, in every process; any other tensor as it is. All processes must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def fill(tensor: Tensor, whole: Tensor | None, world: World) -> None:
    """Set a tensor, sharded or not, to the values that the first process holds; the others may pass None."""
    with torch.no_grad():
        if world.size == 1:
            assert whole is not None
            tensor.copy_(whole)
            return
        device = local(tensor).device
        value = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        if whole is not None:
            value.copy_(whole)
        if isinstance(tensor, DTensor):
            tensor.copy_(distribute_tensor(value, tensor.device_mesh, tensor.placements))
        else:
            dist.broadcast(value, src=0)
            tensor.copy_(value)


def total_norm(tensors: Sequence[Tensor], world: World) -> Tensor:
    """The 2-norm of all tensors of all processes; they are the local parts of sharded tensors."""
    norm = torch.nn.utils.get_total_norm(tensors)
    return world.sum(norm.square()).sqrt() if world.size > 1 else norm
