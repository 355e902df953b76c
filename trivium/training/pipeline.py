"""Pipeline parallelism: each process holds some of the blocks, and a batch goes through them in micro-batches.

The schedule is PyTorch's 1F1B (Narayanan et al. 2019, PipeDream, arXiv:1806.03377, in its flushed form): of p stages
and m micro-batches each stage is idle for (p - 1) / (m + p - 1) of a step. The objective is worked out by the last
stage, which has the logits and the last hidden states; one that reads the model otherwise than once, on the batch as it
is, is refused.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from trivium.core import meter
from trivium.core.errors import NotOffered
from trivium.core.nouns import Batch, Loss
from trivium.core.protocols import LanguageModel, LMOutput, State
from trivium.models.skeleton import Skeleton
from trivium.training.parallel import World, ranks, settle


def stages(depth: int, count: int) -> list[tuple[int, int]]:
    """First and last-but-one block of each stage, as even as can be. Raises ValueError for fewer blocks than stages."""
    if depth < count:
        raise ValueError(f"{depth} blocks do not fill mesh.pipeline = {count} stages; choose at most {depth}")
    ends = [round(depth * n / count) for n in range(count + 1)]
    return list(pairwise(ends))


class Stage(nn.Module):
    """The blocks of one process, with the embedding in front of the first and norm and head behind the last."""

    def __init__(self, model: Skeleton, start: int, stop: int) -> None:
        super().__init__()
        self.model = model
        self.start, self.stop = start, stop

    @property
    def last(self) -> bool:
        return self.stop == self.model.depth

    def forward(self, x: Tensor, **given: Tensor) -> Any:
        """Ids or hidden states -> hidden states; at the end logits and what they were read off."""
        hidden = self.model.stage(
            self.start, self.stop, x, ids=given["ids"], mask=given.get("mask"), segments=given.get("segments")
        )
        return (self.model.head(hidden), hidden) if self.last else hidden


class Pipeline:
    """A model whose blocks are dealt to the processes of the pipeline axis.

    What belongs to other stages loses its weights. Raises ValueError for a model that is no stack of our blocks, or
    whose head reads the embedding table, which would lie in two processes.
    """

    def __init__(self, model: LanguageModel, world: World) -> None:
        count = world.degree("pp")
        if not isinstance(model, Skeleton):
            raise ValueError(
                f"{type(model).__name__} cannot be cut into stages, as native models can; set mesh.pipeline to 1"
            )
        if "layers" not in model.offers:
            raise ValueError(
                "the layers of this model cannot be run in ranges, for they read more than the stream below them; set "
                "mesh.pipeline to 1"
            )
        table = getattr(model.head, "weight", None)
        if table is None or any(table is own for own in model.embedding.parameters()):
            raise ValueError(
                "the head reads the vectors of the embedding, and a pipeline has the two in different processes; build "
                "the model with tied=False where there is such a setting, or set mesh.pipeline to 1"
            )
        self.model, self.world = model, world
        self.place, self.count = world.place("pp"), count
        start, stop = stages(model.depth, count)[self.place]
        absent = [*model.blocks[:start], *model.blocks[stop:]]
        absent += [] if start == 0 else [model.embedding]
        absent += [] if stop == model.depth else [model.norm, model.head]
        for module in absent:
            module.to("meta").requires_grad_(False)
        self.stage = Stage(model, start, stop)
        self.whole = Piped(self)
        self._schedules: dict[Any, Schedule1F1B] = {}
        self._objective: Callable[[tuple[Tensor, Tensor], Tensor], Tensor]
        self._group = world.mesh["pp"].get_group() if world.mesh is not None else None

    def backward(self, batch: Batch, rows: int | None, loss: Callable[[LanguageModel, Batch, int], Loss]) -> Tensor:
        """Gradients of the summed loss of a batch; (2,): total and count, zero in all but the last stage. ``rows`` in a
        micro-batch; None for as many micro-batches as stages. ``loss(model, micro-batch, number)``."""
        parts = self.count if rows is None else len(batch) // rows
        if parts < self.count or len(batch) % parts or (rows is not None and len(batch) % rows):
            raise ValueError(
                f"{len(batch)} rows a process do not make at least {self.count} equal micro-batches, one per stage; "
                "choose batch size and micro_batch so that they do"
            )
        size = len(batch) // parts
        micros = batch.split(size)
        counts: dict[int, Tensor] = {}

        def objective(output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
            number = int(target[0]) // size
            made = loss(Finished(self.model, micros[number], *output), micros[number], number)
            counts[number] = made.count
            meter.spend(backwards=1, evaluations=size)
            return made.total

        facts = {name: getattr(batch, name) for name in ("ids", "mask", "segments")}
        facts = {name: tensor for name, tensor in facts.items() if tensor is not None}
        self._objective = objective
        schedule = self._schedule(batch, facts.keys(), parts)
        target = torch.arange(len(batch), device=batch.ids.device)
        losses: list[Tensor] = []
        given = (batch.ids,) if self.stage.start == 0 else ()
        schedule.step(*given, target=target, losses=losses, return_outputs=False, **facts)
        sums = torch.zeros(2, dtype=torch.float64, device=batch.ids.device)
        if self.stage.last:
            sums[0] = torch.stack([total.detach().double() for total in losses]).sum()
            sums[1] = torch.stack([count.double() for count in counts.values()]).sum()
        return sums

    def _loss(self, output: tuple[Tensor, Tensor], target: Tensor) -> Tensor:
        """Of the batch that is under way; schedules outlive it."""
        return self._objective(output, target)

    def _schedule(self, batch: Batch, facts: Iterable[str], parts: int) -> Schedule1F1B:
        """One per shape. The stages are told what they send each other, or they would find out by a pass of their own,
        which would be counted."""
        key = (parts, tuple(batch.ids.shape), *facts)
        if key not in self._schedules:
            (rows, time), dtype = batch.ids.shape, self.whole.dtype
            stream = torch.empty(rows // parts, time, self.model.width, dtype=dtype, device=batch.ids.device)
            stream.requires_grad_()
            logits = stream.new_empty(rows // parts, time, self.model.vocab_size, requires_grad=True)
            stage = PipelineStage(
                self.stage,
                self.place,
                self.count,
                batch.ids.device,
                input_args=stream if self.stage.start else batch.ids[: rows // parts],
                output_args=(logits, stream) if self.stage.last else stream,
                group=self._group,
            )
            self._schedules[key] = Schedule1F1B(stage, parts, loss_fn=self._loss, scale_grads=False)
        return self._schedules[key]


class _Distant(LanguageModel):
    """A model whose parts are not all here."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.vocab_size, self.width, self.depth = model.vocab_size, model.width, model.depth
        self.max_positions = model.max_positions

    def embed(self, ids: Tensor) -> Tensor:
        raise self._cannot()

    def sites(self) -> Any:
        raise self._cannot()

    def capture(self, *names: Any, **given: Any) -> Any:
        raise self._cannot()

    def edit(self, *edits: Any, **given: Any) -> Any:
        raise self._cannot()

    def _cannot(self) -> NotOffered:
        return NotOffered(
            "a model in stages is read once and whole, on ids as they are, without states, sites or embeddings; set "
            "mesh.pipeline to 1 for more"
        )


class Finished(_Distant):
    """What an objective is given for a model by the last stage: one pass that has been made already."""

    def __init__(self, model: LanguageModel, batch: Batch, logits: Tensor, hidden: Tensor) -> None:
        super().__init__(model)
        self.offers = model.offers
        self.batch, self.output = batch, LMOutput(logits, hidden)

    def forward(self, ids: Tensor | None = None, **given: Any) -> LMOutput:
        same = ids is self.batch.ids and given.pop("mask", None) is self.batch.mask
        same = same and given.pop("segments", None) is self.batch.segments
        if not same or any(value is not None for value in given.values()):
            raise self._cannot()
        rows, time = self.batch.ids.shape
        meter.spend(calls=1, evaluations=rows, positions=rows * time)  # as a call of the whole model does
        return self.output

    def run(self, ids: Tensor | None, **given: Any) -> LMOutput:
        raise self._cannot()


class Piped(_Distant):
    """The whole model, for evaluation: every process calls it with the same input and has the same output."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline.model)
        self.offers = pipeline.model.offers & {"causal", "bidirectional"}
        self._pipeline = (pipeline,)  # in a tuple, so that its modules do not become this one's

    @property
    def device(self) -> torch.device:
        return next(p.device for p in self._pipeline[0].stage.parameters() if not p.is_meta)

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self._pipeline[0].stage.parameters() if not p.is_meta)

    @torch.no_grad()
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
        if ids is None or embeds is not None or positions is not None or state is not None or keep_state:
            raise self._cannot()
        pipeline = self._pipeline[0]
        stage, line = pipeline.stage, ranks(pipeline.world, "pp")
        facts = {name: x for name, x in (("ids", ids), ("mask", mask), ("segments", segments)) if x is not None}
        x = ids
        if stage.start:
            x = torch.empty((*ids.shape, self.width), dtype=self.dtype, device=ids.device)
            dist.recv(x, src=line[pipeline.place - 1])
        out = stage(x, **facts)
        settle(stage)
        if not stage.last:
            dist.send(out.contiguous(), dst=line[pipeline.place + 1])
        shapes = [(*ids.shape, self.vocab_size), (*ids.shape, self.width)]
        logits, hidden = (
            [tensor.contiguous() for tensor in out]
            if stage.last
            else [torch.empty(shape, dtype=self.dtype, device=ids.device) for shape in shapes]
        )
        for tensor in (logits, hidden):
            dist.broadcast(tensor, src=line[-1], group=pipeline._group)
        return LMOutput(logits[:, -logits_to_keep:], hidden[:, -logits_to_keep:])
