"""Whether the named sites of a model are what their names say, found out from one pass that looks at all of them.

Five lines: the shapes; what the branches add to the stream; that the heads sum to what the output projection gives;
that weights sum to 1 over earlier tokens; that the head reads ``final.norm`` (and, in a mixture of experts, that the
router's scores come before any softmax). An adapter does not offer a site that
fails its line, and names the line as the reason.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from trivium.core.protocols import LMOutput
from trivium.models._selecting import time_axis
from trivium.models.sites import Edit, Heads, Site, Sited
from trivium.nn.modes import evaluating

STREAM = ("in", "attn.out", "mid", "mlp.out", "out")


class Look:
    """What one pass shows at these sites; those that it never reaches are not ``seen``. ``projected``: what the module
    behind each ``attn.z`` gave."""

    def __init__(self, model: Sited, ids: Tensor, names: Iterable[str]) -> None:
        self.table = {name: site for name, site in model.site_table().items() if name in set(names)}
        self.batch, self.time = ids.shape
        self.width: int = model.width  # type: ignore[attr-defined]
        self.seen: dict[str, Tensor] = {}
        self.projected: dict[str, Tensor] = {}
        with ExitStack() as stack:
            stack.enter_context(model.hooked({name: self._keep(name) for name in self.table}))
            for name, site in self.table.items():
                if kind(name) == "attn.z" and site.side == "input":
                    stack.callback(site.module.register_forward_hook(self._note(name)).remove)
            self.output: LMOutput = model(ids)  # type: ignore[operator]

    def _keep(self, name: str) -> Edit:
        def store(tensor: Tensor) -> Tensor:
            self.seen[name] = tensor
            return tensor

        return store

    def _note(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, args: object, output: Tensor) -> None:
            self.projected[name] = output

        return note

    def false(self, head: object = None) -> dict[str, str]:
        """The sites that are not what they are called, such as 'attn.out' of any block, and why."""
        found = {kind(name): f"no pass reaches {name}" for name in self.table if name not in self.seen}
        lines = (
            _shapes(self.seen, self.batch, self.time, self.width),
            _additions(self.seen),
            _heads(self.table, self.seen, self.projected),
            _weights(self.seen),
            _routers(self.table, self.seen),
            _read_out(self.seen, self.output, head),
        )
        for line in lines:
            for name, reason in line:
                found.setdefault(name, reason)
        return found


@torch.no_grad()
def check_sites(model: Sited, ids: Tensor | None = None) -> dict[str, str]:
    """Every site of a model by its kind, such as 'attn.out', that fails one of the five lines, with the reason; and
    'sites' where looking changes the logits by as much as a bit. Adapters are asked when they are made; this is for
    models of one's own. ids (batch, time): tokens to try it on, by default six of the vocabulary."""
    if ids is None:
        vocab: int = model.vocab_size  # type: ignore[attr-defined]
        ids = (torch.arange(1, 7) * 7919 % vocab)[None].to(model.device)  # type: ignore[attr-defined]
    with evaluating(model):  # type: ignore[arg-type]
        plain: Tensor = model(ids).logits  # type: ignore[operator]
        shown = (".attn.scores", ".attn.weights")
        look = Look(model, ids, [name for name in model.sites() if not name.endswith(shown)])
        found = look.false(getattr(model, "head", None))
        if not torch.equal(look.output.logits, plain):
            found["sites"] = "hooks that change nothing change the logits"
        attention = Look(model, ids, [name for name in model.sites() if name.endswith(shown)])
        if not near(attention.output.logits, plain):
            found["attn.weights"] = found["attn.scores"] = "attention that shows its weights gives other logits"
    return found | attention.false()


def kind(name: str) -> str:
    """'attn.out' of 'blocks.3.attn.out'."""
    return name.split(".", 2)[2] if name.startswith("blocks.") else name


def _shapes(seen: Mapping[str, Tensor], batch: int, time: int, width: int) -> Iterator[tuple[str, str]]:
    for name, tensor in seen.items():
        streams = (*STREAM, "embed", "attn.norm", "mlp.norm", "final.norm")
        shape, axis = tuple(tensor.shape), time_axis(name)
        if len(shape) <= axis or shape[0] != batch or shape[axis] != time:
            yield kind(name), f"{name} is {shape}, which is not of {batch} rows of {time} tokens"
        elif kind(name) in streams and shape != (batch, time, width):
            yield kind(name), f"{name} is {shape}, not {(batch, time, width)}"


def _additions(seen: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for layer in layers_of(seen):
        start, attention, middle, feedforward, end = (seen.get(f"blocks.{layer}.{name}") for name in STREAM)
        beside = seen.get(f"blocks.{layer}.attn.shortcut")
        if start is None or end is None or start.shape != end.shape:
            continue
        if attention is not None and beside is not None:
            attention = _sum(attention, beside)
        if middle is not None and attention is not None and not near(_sum(start, attention), middle):
            yield from _both("attn.out", "mid", f"in + attn.out is not mid in block {layer}")
        if middle is not None and feedforward is not None and not near(_sum(middle, feedforward), end):
            yield from _both("mlp.out", "mid", f"mid + mlp.out is not out in block {layer}")
        if middle is None and attention is not None:
            total = _sum(start, attention) if feedforward is None else _sum(start, attention, feedforward)
            if not near(total, end):
                what = "in + attn.out" if feedforward is None else "in + attn.out + mlp.out"
                yield from _both("attn.out", "mlp.out", f"{what} is not out in block {layer}")


def _sum(*parts: Tensor) -> Tensor:
    """In float64: a stream may be kept wider than what is added to it."""
    total = parts[0].double()
    for part in parts[1:]:
        total = total + part.double()
    return total


def _both(first: str, second: str, reason: str) -> Iterator[tuple[str, str]]:
    yield first, reason
    yield second, reason


def _heads(
    table: Mapping[str, Site], seen: Mapping[str, Tensor], projected: Mapping[str, Tensor]
) -> Iterator[tuple[str, str]]:
    for name, made in projected.items():
        site, z = table[name], seen[name]
        weight = matrix(site.module)
        if weight is None or not isinstance(site.view, Heads):
            continue
        if z.ndim != 4 or z.shape[2] * z.shape[3] != weight.shape[1]:
            yield (
                kind(name),
                f"the heads of {name} are {tuple(z.shape[2:])}, and its projection reads {weight.shape[1]}",
            )
            continue
        each = torch.einsum("bthd,whd->bthw", z, weight.unflatten(1, z.shape[2:]).to(z.dtype))
        bias = getattr(site.module, "bias", None)
        total = each.sum(2) + (0 if bias is None else bias.to(z.dtype))
        if not near(total.view_as(made), made):
            yield kind(name), f"the heads of {name} do not sum to what its output projection gives"


def _routers(table: Mapping[str, Site], seen: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for name, scores in seen.items():
        read = seen.get(name.removesuffix("router") + "norm")
        weight = matrix(table[name].module)
        if kind(name) != "mlp.router" or read is None or weight is None:
            continue
        bias = getattr(table[name].module, "bias", None)
        wide = torch.promote_types(read.dtype, weight.dtype)
        made = read.to(wide) @ weight.T.to(wide) + (0 if bias is None else bias)
        if made.shape != scores.shape or not near(made.to(scores.dtype), scores):
            yield kind(name), f"{name} is not the router's matrix applied to the norm before it"


def matrix(module: object) -> Tensor | None:
    """The weight (outputs, inputs) of a linear layer, None where it keeps none in floating point."""
    weight: Any = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.is_floating_point():
        return None
    return weight.T if hasattr(module, "nf") else weight  # GPT-2 keeps (inputs, outputs)


def _weights(seen: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    for name, weights in seen.items():
        if kind(name) != "attn.weights":
            continue
        sums = weights.float().sum(-1)
        if not torch.allclose(sums, torch.ones_like(sums), atol=2e-2):
            yield kind(name), f"{name} does not sum to 1"


def _read_out(seen: Mapping[str, Tensor], output: LMOutput, head: object) -> Iterator[tuple[str, str]]:
    """The head reads ``final.norm``. What a model does behind its head, such as a softcap, keeps the order of the
    logits."""
    hidden, logits = seen.get("final.norm"), seen.get("logits")
    if hidden is None or logits is None or hidden.shape[:2] != logits.shape[:2]:
        return
    if hidden.shape != output.hidden.shape or not near(hidden, output.hidden):
        yield "final.norm", "final.norm is not what enters the head"
    weight = matrix(head)
    if weight is None or weight.shape != (logits.shape[-1], hidden.shape[-1]):
        return
    bias = getattr(head, "bias", None)
    made = (hidden.to(weight.dtype) @ weight.T + (0 if bias is None else bias)).to(logits.dtype)
    if near(made, logits):
        return
    ordered = logits.gather(-1, made.argsort(-1)).double()
    if float(ordered.diff(dim=-1).min()) < -1e-3 * float(logits.double().std()):
        yield "final.norm", "the head applied to final.norm does not give the logits"


def layers_of(names: Iterable[str]) -> list[int]:
    """The numbers of the blocks that sites belong to, in order."""
    return sorted({int(name.split(".")[1]) for name in names if name.startswith("blocks.")})


def near(left: Tensor, right: Tensor) -> bool:
    """Equal but for rounding, in units of the largest number: streams reach thousands."""
    limit = {torch.float64: 1e-6, torch.float32: 1e-4}.get(right.dtype, 5e-2)
    return float((left.double() - right.double()).abs().max()) <= limit * max(float(right.double().abs().max()), 1e-6)
