"""One process, or several under torchrun: the few places where the difference shows.

Processes stand in a mesh, pipeline x data x tensor. Along ``tensor`` they share the matrices inside each block
(PyTorch's DTensor, after the plan that the layers declare), along ``data`` the rows of a batch and, with FSDP2, what
is stored of the weights; along ``pipeline`` the blocks, which ``training.pipeline`` runs. An axis of one process does
nothing.
"""

import atexit
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from trivium.core.nouns import Batch
from trivium.models.skeleton import Skeleton
from trivium.training.settings import Mesh

log = logging.getLogger(__name__)

T = TypeVar("T")
Axis = Literal["pp", "dp", "tp"]


@dataclass(frozen=True)
class World:
    """Which process this is, of how many, and how they stand."""

    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    """Axes "pp", "dp" and "tp"; None where there is one process, or nothing but data parallelism to speak of."""

    @classmethod
    def join(cls, device: torch.device, layout: Mesh = Mesh()) -> "World":
        """The process group that is there, or the one that torchrun asks for; alone otherwise.

        Raises ValueError where the processes do not fill the layout.
        """
        size = dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))
        inner = layout.pipeline * layout.tensor
        if size % inner:
            raise ValueError(
                f"a mesh of {layout.pipeline} stages x {layout.tensor} parts takes a multiple of {inner} processes, "
                f"and here is {size}; start it with torchrun --nproc-per-node {inner}, or choose a smaller mesh"
            )
        if not dist.is_initialized():
            if size == 1:
                return cls()
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(_leave)
        mesh = _mesh(device.type, layout.pipeline, size // inner, layout.tensor) if size > 1 else None
        return cls(dist.get_rank(), size, mesh)

    @property
    def first(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def degree(self, axis: Axis) -> int:
        """Processes along an axis."""
        if self.mesh is None:
            return self.size if axis == "dp" else 1
        return self.mesh[axis].size()

    def place(self, axis: Axis) -> int:
        """Where on an axis this process stands."""
        if self.mesh is None:
            return self.rank if axis == "dp" else 0
        return self.mesh.get_local_rank(axis)

    def share(self, batch: Batch) -> Batch:
        """This process's rows: every so manieth along the data axis, from its place on."""
        parts = self.degree("dp")
        if parts == 1:
            return batch
        if type(batch) is not Batch:
            raise ValueError(f"{type(batch).__name__} are not dealt out over {parts} processes; train in one")
        if len(batch) % parts:
            raise ValueError(f"a batch of {len(batch)} rows does not divide over {parts} processes; choose a multiple")
        rows = slice(self.place("dp"), None, parts)
        cut = lambda x: None if x is None else x[rows]  # noqa: E731
        return Batch(batch.ids[rows], cut(batch.mask), cut(batch.segments))

    def sum(self, values: Tensor) -> Tensor:
        """Summed over the mesh, in place; processes that share a matrix hold the same numbers, which count once."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.degree("tp")
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


@cache
def _mesh(device: str, pipeline: int, data: int, tensor: int) -> DeviceMesh:
    """Made once per layout, for every mesh makes process groups of its own."""
    return init_device_mesh(device, (pipeline, data, tensor), mesh_dim_names=("pp", "dp", "tp"))


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a model: members of its module lists that are as long as the model is deep."""
    if isinstance(model, Skeleton):  # inside whose blocks there may be lists of the same length
        yield from model.blocks
        return
    depth = getattr(model, "depth", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            yield from module


def agree(model: nn.Module, world: World) -> None:
    """Give every process the first one's values, of a model that is whole in each."""
    if world.size == 1 or _sharded(model):
        return
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.data, src=0)


def _sharded(model: nn.Module) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def shard(model: nn.Module, world: World, root: nn.Module | None = None) -> None:
    """Spread the weights over the processes. ``root`` is what will be called, where that is not the model itself; its
    blocks are those whose weights are here."""
    if world.mesh is None or _sharded(model):
        return
    if world.degree("tp") > 1:
        _divide(model, world.mesh["tp"])
    if world.degree("dp") > 1:
        # In a pipeline blocks run once for every micro-batch, and stay whole from the first to the last of them.
        again = world.degree("pp") == 1
        for block in blocks(model):
            if not any(parameter.is_meta for parameter in block.parameters()):
                fully_shard(block, mesh=world.mesh["dp"], reshard_after_forward=again)
        absent = {parameter for parameter in model.parameters() if parameter.is_meta}
        fully_shard(root or model, mesh=world.mesh["dp"], ignored_params=absent)


def _divide(model: nn.Module, mesh: DeviceMesh) -> None:
    """Share out the matrices of each block after the plans of its layers; a layer without one stays whole."""
    parts = mesh.size()
    if not isinstance(model, Skeleton):
        raise ValueError(f"{type(model).__name__} declares no plan for mesh.tensor = {parts}; set it to 1")
    styles = {"columns": ColwiseParallel, "rows": RowwiseParallel}
    whole: set[str] = set()
    for block in model.blocks:
        layers: tuple[Any, ...] = (block.mixer, block.channel)
        for layer in layers:
            plan = layer.tensor_plan()
            if not plan:
                whole.add(type(layer).__name__)
                continue
            for name in ("heads", "kv_heads"):
                if getattr(layer, name, parts) % parts:
                    raise ValueError(
                        f"{getattr(layer, name)} {name} do not divide over mesh.tensor = {parts} processes; "
                        "choose a divisor of both heads and kv_heads"
                    )
            parallelize_module(layer, mesh, {name: styles[how]() for name, how in plan.items()})
    if whole:
        log.warning("%s: no plan for sharing its matrices, so every process holds the whole", ", ".join(sorted(whole)))


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


def layout_of(tensor: Tensor) -> Any:
    """What two tensors must agree in to be worked on by one operator: the mesh they lie on; None for none."""
    return tensor.device_mesh if isinstance(tensor, DTensor) else None


def copies(tensor: Tensor, world: World) -> int:
    """How many processes of a stage hold each number of it."""
    held = world.degree("dp") * world.degree("tp")
    if isinstance(tensor, DTensor):
        for size, placement in zip(tensor.device_mesh.shape, tensor.placements, strict=True):
            held //= 1 if placement.is_replicate() else size
    return held


def total_norm(gradients: Iterable[Tensor], world: World) -> Tensor:
    """The 2-norm of all gradients of all processes."""
    groups: dict[int, list[Tensor]] = {}
    for gradient in gradients:
        groups.setdefault(copies(gradient, world), []).append(local(gradient))
    norms = {held: torch.nn.utils.get_total_norm(parts) for held, parts in groups.items()}
    if world.size == 1:
        return norms[1]
    square = torch.stack([norm.square() / held for held, norm in norms.items()]).sum()
    dist.all_reduce(square)
    return square.sqrt()


def ranks(world: World, axis: Axis) -> Sequence[int]:
    """The processes that stand with this one along an axis, in order."""
    assert world.mesh is not None
    return world.mesh[axis].mesh.tolist()
