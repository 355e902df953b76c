"""One pass over one prompt, taken apart: what every head, source token and feed-forward puts into a direction.

    x_l = x_0 + sum of attention outputs + sum of feed-forward outputs below l,   x_0 the embedding
    y . head h of layer l at t = sum_s A_h,ts (W_V^T W_O^T y) . ln(x_s) + biases

Attention patterns and the scales of norms are held fixed, so that all of this is linear and adds up exactly. Before any
of it is used the pass is checked against the weights (``checked``), and refused by name where it is not their sum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.protocols import LanguageModel
from trivium.models import weights
from trivium.models.observables import At, FeedForward, Head, feed_forward, through, through_norm
from trivium.models.weights import Norm
from trivium.nn.modes import evaluating

CLOSE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Relative to the largest number of what is compared; half precision 5e-2. Hugging Face norms run in float32."""


@dataclass(frozen=True)
class Terms:
    """What makes up ``y . x`` of the stream at one place: ``heads`` (layers, heads, sources), ``feed_forwards`` and
    ``shortcuts`` (layers,), the embedding ``start`` and the ``constant`` of biases; what lies above is 0."""

    heads: Tensor
    feed_forwards: Tensor
    shortcuts: Tensor
    start: Tensor
    constant: Tensor

    @property
    def total(self) -> Tensor:
        return self.heads.sum() + self.feed_forwards.sum() + self.shortcuts.sum() + self.start + self.constant


class Stream:
    """The pass of a model over ids (time,), whose ``objective`` of the last logits (1, vocab) -> (1,) is looked at.

    ``value`` is that objective, ``direction`` (width,) its gradient with regard to the stream above the last block with
    the final norm's scale held fixed, and ``rest`` what ``direction . x`` leaves of it: biases, and the curvature of an
    objective that is not linear. Raises NotOffered where the model is not the sum of its parts, NotFinite for a value
    that is no number. Needs 'attention', 'gradient' and 'sites'.
    """

    def __init__(self, model: LanguageModel, ids: Tensor, objective: Callable[[Tensor], Tensor]) -> None:
        self.model, self.depth = model, model.depth
        there = set(model.sites())
        wanted = [f"blocks.{layer}.{name}" for layer in range(self.depth) for name in READ]
        wanted += [f"blocks.{layer}.{name}" for layer in range(self.depth) for name in PERHAPS]
        names = [name for name in (*wanted, f"blocks.{self.depth - 1}.out") if name in there]
        for name in (*wanted[: len(READ) * self.depth], "final.norm"):
            if name not in there:
                reason = getattr(model, "refused", {}).get("site " + name.split(".", 2)[-1], "it has no such site")
                raise NotOffered(f"this {type(model).__name__} cannot be taken apart at {name!r}: {reason}")
        self.leaves: dict[str, Tensor] = {}

        def leaf(name: str) -> Callable[[Tensor], Tensor]:
            def cut(x: Tensor) -> Tensor:
                self.leaves[name] = x.detach().clone().requires_grad_()
                return self.leaves[name]

            return cut

        cuts = {name: leaf(name) for name in names if name.endswith("mlp.norm")} | {"final.norm": leaf("final.norm")}
        with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
            with model.edit(cuts), model.capture(*names) as seen:
                logits = model(ids.clone()[None].to(model.device), logits_to_keep=1).logits[:, -1]
            value = objective(logits)[0]
            if not value.isfinite():
                raise NotFinite(f"the objective is {float(value.detach())}; check the model's weights and dtype")
            read = None
            if value.requires_grad:
                key = ("stream", model.serial, *ids.shape)
                (read,) = meter.gradient(value, [self.leaves["final.norm"]], key)
        if read is None:
            raise NotOffered("the objective does not depend on the stream, so there is nothing to take apart")
        self.dtype = torch.promote_types(model.dtype, torch.float32)
        self.seen = {name: x[0].detach().to(self.dtype) for name, x in seen.items()}
        self.graphs = {name: x for name, x in seen.items() if name.endswith("mlp.out")}
        self.value = value.detach().to(self.dtype)
        self.time = ids.shape[0]
        self.parts = [weights.attention(model, layer) for layer in range(self.depth)]
        self.norms = {name: weights.norm(model, name) for name in self.leaves}
        checked(self)
        end = self.at(self.depth - 1, "out")[-1]
        self.direction = self._through(self.norms["final.norm"], read[0, -1].to(self.dtype), end)[0]
        self.rest = self.value - self.direction @ end

    def at(self, layer: int, name: str) -> Tensor:
        return self.seen[f"blocks.{layer}.{name}"]

    def has(self, layer: int, name: str) -> bool:
        return f"blocks.{layer}.{name}" in self.seen

    def sequential(self, layer: int) -> bool:
        """Whether the feed-forward of a layer reads what its attention adds."""
        return self.has(layer, "mid")

    def terms(
        self, y: Tensor, place: int, below: Head | FeedForward | None = None, against: "Stream | None" = None
    ) -> Terms:
        """What makes up ``y . x`` at a place of the stream that a node reads; None: above the last block.

        ``against``: less what values and outputs of another prompt put there under this one's patterns and norms.
        Raises ValueError where that has not as many tokens.
        """
        if against is not None and against.time != self.time:
            raise ValueError(
                f"the other prompt has {against.time} tokens and this one {self.time}; pair prompts by them"
            )

        def of(layer: int, name: str) -> Tensor:
            here = self.at(layer, name)
            return here if against is None else here - against.at(layer, name)

        heads = max(part.heads for part in self.parts)
        found = y.new_zeros(self.depth, heads, self.time)
        forwards, shortcuts, constant = y.new_zeros(self.depth), y.new_zeros(self.depth), y.new_zeros(())
        for layer in range(self.depth):
            if not self.feeds(Head(layer, 0), below):
                break
            held = of(layer, "attn.v")
            found[layer, : self.parts[layer].heads], more = self._heads(layer, y, place, held, against is None)
            constant = constant + more
            if self.has(layer, "attn.shortcut"):
                shortcuts[layer] = y @ of(layer, "attn.shortcut")[place]
            if self.has(layer, "mlp.out") and self.feeds(FeedForward(layer), below):
                forwards[layer] = y @ of(layer, "mlp.out")[place]
        return Terms(found, forwards, shortcuts, y @ of(0, "in")[place], constant)

    def feeds(self, lower: Head | FeedForward, upper: Head | FeedForward | None) -> bool:
        """Whether the upper node reads what the lower one adds."""
        if upper is None or lower.layer < upper.layer:
            return True
        beside = lower.layer == upper.layer and isinstance(upper, FeedForward) and isinstance(lower, Head)
        return beside and self.sequential(upper.layer)

    def read(self, node: Head | FeedForward) -> Tensor:
        """(time, width): the stream that a node reads."""
        middle = isinstance(node, FeedForward) and self.sequential(node.layer)
        return self.at(node.layer, "mid" if middle else "in")

    def into(
        self, y: Tensor, place: int, node: Head | FeedForward, source: int, at: At = "activation"
    ) -> tuple[Tensor, Tensor]:
        """(width,), a direction in the stream at a place above a node -> (width,) in the stream that the node reads at
        the source token, and what the norm's bias adds to the score of it."""
        if isinstance(node, Head):
            return self.into_head(y, place, node, source)
        if source != place:
            raise ValueError(f"{node} reads the token that it writes to, {place}, not {source}")
        return self.into_feed_forward(y, place, node.layer, at)

    def into_head(self, y: Tensor, place: int, node: Head, source: int) -> tuple[Tensor, Tensor]:
        """(width,) at a place above a head -> (width,) in the stream that it reads at the source token, weighed by its
        pattern, and what the norm's bias adds: their score is the head's term of this source."""
        part = self.parts[node.layer]
        y, _ = self._behind(node.layer, y, place)
        y = y @ part.outputs[node.head].to(y) @ part.values[node.head // part.share].to(y)
        y = self.at(node.layer, "attn.weights")[node.head, place, source] * y
        return self._through(part.norm, y, self.at(node.layer, "in")[source])

    def into_feed_forward(self, y: Tensor, place: int, layer: int, at: At = "activation") -> tuple[Tensor, Tensor]:
        """(width,) above a feed-forward -> (width,) in the stream that it reads at the same place, and what the norm's
        bias adds: the feed-forward's term to first order about a point. ``at``: the activation, the mean over the
        prompt, or the boundary near the activation where the term is 0."""
        site = f"blocks.{layer}.mlp.norm"
        if at == "activation":
            with torch.inference_mode(False), torch.enable_grad():
                added = self.graphs[f"blocks.{layer}.mlp.out"][0, place].to(self.dtype)
                key = ("feed-forward", self.model.serial, layer, self.time)
                found = meter.gradient(y.clone() @ added, [self.leaves[site]], key, retain=True)[0]
            slope = torch.zeros_like(y) if found is None else found[0, place].to(self.dtype)
        else:
            point = self.seen[site].mean(0) if at == "mean" else self.seen[site][place]
            with evaluating(self.model):
                slope = through(feed_forward(self.model, layer), y, point, at)
        return self._through(self.norms[site], slope, self.read(FeedForward(layer))[place])

    def _heads(self, layer: int, y: Tensor, place: int, held: Tensor, biased: bool) -> tuple[Tensor, Tensor]:
        """(heads, sources) of one layer from its values (sources, groups, head width), ``biased`` or not, and what the
        biases add."""
        part = self.parts[layer]
        y, constant = self._behind(layer, y, place)
        read = torch.einsum("hwd,w->hd", part.outputs.to(y), y).unflatten(0, (-1, part.share))  # by group
        pattern = self.at(layer, "attn.weights")[:, place]  # (heads, sources)
        if biased and part.value_bias is not None:
            held = held - part.value_bias.to(y)
            each = torch.einsum("gd,gnd->gn", part.value_bias.to(y), read).flatten()
            constant = constant + pattern.sum(-1) @ each
        if biased and part.output_bias is not None:
            constant = constant + y @ part.output_bias.to(y)
        constant = constant if biased else torch.zeros_like(constant)
        return pattern * torch.einsum("sgd,gnd->gns", held, read).flatten(0, 1), constant

    def _behind(self, layer: int, y: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Through the norm of what the attention adds, where there is one."""
        behind = self.parts[layer].behind
        return (y, y.new_zeros(())) if behind is None else self._through(behind, y, self.projected(layer)[place])

    def projected(self, layer: int) -> Tensor:
        """(time, width): the sum of the heads, before a norm behind the attention."""
        z, part = self.at(layer, "attn.z"), self.parts[layer]
        added = torch.einsum("thd,hwd->tw", z, part.outputs.to(z))
        return added if part.output_bias is None else added + part.output_bias.to(z)

    def _through(self, norm: Norm, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Into a norm at the very vector it read, and what its bias adds."""
        constant = y.new_zeros(()) if norm.bias is None else y @ norm.bias.to(y)
        return through_norm(norm, y, norm.scale(x)), constant


READ = ("in", "attn.norm", "attn.v", "attn.weights", "attn.z", "attn.out")
PERHAPS = ("attn.shortcut", "mid", "mlp.norm", "mlp.out")


def checked(stream: Stream) -> None:
    """Raise NotOffered, naming the place, unless norms, values, patterns, heads and the stream itself are what the
    weights say."""
    limit = CLOSE.get(stream.model.dtype, 5e-2)

    def insist(left: Tensor, right: Any, what: str) -> None:
        size = max(float(torch.as_tensor(right).abs().max()), 1e-6)
        gap = float((left - right).abs().max()) / size
        if not gap <= limit:
            raise NotOffered(
                f"this {type(stream.model).__name__} cannot be taken apart: {what} (off by {gap:.2g} of the largest "
                f"number, and {limit:g} is rounding)"
            )

    for layer, part in enumerate(stream.parts):
        start, read, held = (stream.at(layer, name) for name in ("in", "attn.norm", "attn.v"))
        insist(part.norm(start), read, f"attn.norm of layer {layer} is no norm of the stream")
        made = torch.einsum("td,gwd->tgw", read, part.values.to(read))
        made = made if part.value_bias is None else made + part.value_bias.to(made)
        insist(made, held, f"attn.v of layer {layer} is no product of attn.norm")
        pattern = stream.at(layer, "attn.weights")
        insist(pattern.sum(-1), torch.ones_like(pattern[..., 0]), f"the pattern of layer {layer} does not sum to 1")
        z = torch.einsum("gnts,sgd->tgnd", pattern.unflatten(0, (-1, part.share)), held).flatten(1, 2)
        insist(z, stream.at(layer, "attn.z"), f"attn.z of layer {layer} is not its values under its pattern")
        added = stream.projected(layer)
        added = added if part.behind is None else part.behind(added)
        insist(added, stream.at(layer, "attn.out"), f"attn.out of layer {layer} is not the sum of its heads")
        total = start + stream.at(layer, "attn.out")
        total = total + stream.at(layer, "attn.shortcut") if stream.has(layer, "attn.shortcut") else total
        if stream.sequential(layer):
            insist(total, stream.at(layer, "mid"), f"mid of layer {layer} is not in + attn.out")
        total = total + stream.at(layer, "mlp.out") if stream.has(layer, "mlp.out") else total
        last = layer == stream.depth - 1
        end = stream.at(layer, "out") if last else stream.at(layer + 1, "in")
        insist(total, end, f"the stream above layer {layer} is not the sum of what it adds")
        if (site := f"blocks.{layer}.mlp.norm") in stream.norms:
            source = stream.read(FeedForward(layer))
            insist(stream.norms[site](source), stream.seen[site], f"mlp.norm of layer {layer} is no norm of the stream")
    read = stream.leaves["final.norm"].detach()[0, -1].to(stream.dtype)
    end = stream.at(stream.depth - 1, "out")[-1]
    insist(stream.norms["final.norm"](end), read, "final.norm is no norm of the stream")
