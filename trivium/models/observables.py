"""The algebra of observables: a linear functional of the logits, pulled back through the parts of a model.

    observable    n (vocab,): n . logits is read off;  y = W_U^T n is its direction in what the head reads
    head          y -> W_V^T W_O^T y, with the attention pattern held fixed: to the normalised stream it reads
    norm          y -> (sqrt(width) / |x|) (g * y), for LayerNorm (1 / sigma) (g * y - mean(g * y)): to the stream
    feed-forward  y -> J^T y, a vector-Jacobian product at a chosen point
    coupling      C(y1, y2) = y1 . y2 / |y1|^2: the score on y2 to expect of an input that scores 1 on y1

A norm's whole Jacobian has one more term, along x; of wide streams it changes the direction little (Dunefsky and Cohan
2024, arXiv:2312.16291), and with the scale held fixed the score of x itself is exact. Directions have the width of the
stream in their last axis, any number of axes before it, and the number format that they came in.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.capabilities import require_offers
from trivium.core.errors import NotOffered
from trivium.core.protocols import LanguageModel, Tokenizer
from trivium.models import weights
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.unembedding import unembedding
from trivium.models.weights import Norm

log = logging.getLogger(__name__)

At = Literal["activation", "mean", "boundary"]
STEPS = 20
"""Of Newton's method, towards the boundary."""


@dataclass(frozen=True)
class Head:
    """An attention head of a path."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}"


@dataclass(frozen=True)
class FeedForward:
    """A feed-forward of a path."""

    layer: int

    def __str__(self) -> str:
        return f"{self.layer}.mlp"


Node = Head | FeedForward


def observable(vocab_size: int, positive: Sequence[int], negative: Sequence[int] = ()) -> Tensor:
    """(vocab,) float64: the sum of some logits minus that of others. Raises ValueError for tokens outside the
    vocabulary, or where nothing is left."""
    n = torch.zeros(vocab_size, dtype=torch.float64)
    for sign, tokens in ((1.0, positive), (-1.0, negative)):
        for token in tokens:
            if not 0 <= token < vocab_size:
                raise ValueError(f"token {token} is outside the vocabulary of {vocab_size} (0 to {vocab_size - 1})")
            n[token] += sign
    if not n.any():
        raise ValueError(f"the observable is zero: {list(positive)} and {list(negative)} cancel; name other tokens")
    return n


def of_words(
    tokenizer: Tokenizer,
    vocab_size: int,
    positive: Sequence[str],
    negative: Sequence[str] = (),
    *,
    first_piece: bool = False,
) -> Tensor:
    """(vocab,) float64: the same by words, given with the space before them, as in " her". Raises ValueError for a word
    of several tokens, unless ``first_piece`` says that the first one stands for it."""

    def token(word: str) -> int:
        start = tokenizer.encode("a")
        ids = tokenizer.encode(f"a{word}")
        ids = ids[len(start) :] if ids[: len(start)] == start else tokenizer.encode(word)
        if not ids or (len(ids) > 1 and not first_piece):
            raise ValueError(
                f"{word!r} has {len(ids)} tokens; choose a word of one, or let the first stand for it: first_piece=True"
            )
        return ids[0]

    return observable(vocab_size, [token(word) for word in positive], [token(word) for word in negative])


def through_unembedding(model: LanguageModel, n: Tensor, logits: Tensor | None = None) -> Tensor:
    """(vocab,) -> (width,): the direction of an observable in what the head reads.

    A softcap behind the head is no linear map: NotOffered, unless ``logits`` (vocab,) are given, at which it is
    replaced by its slope, with a warning. Raises ValueError for an observable of the wrong length or of zeros.
    """
    if n.shape != (model.vocab_size,):
        raise ValueError(f"an observable has {model.vocab_size} numbers, one per token; got {tuple(n.shape)}")
    if not n.any():
        raise ValueError("the observable is zero, so it sees nothing; name a token at least")
    weight, _ = unembedding(model, "an observable")
    n = n.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
    cap, scale = behind_head(model)
    if cap is not None:
        if logits is None:
            raise NotOffered(
                f"this model squashes its logits softly to {cap}, so nothing is linear in them; give the logits at "
                "which its slope shall stand for it"
            )
        log.warning("the logits' softcap of %s is replaced by its slope at the logits given", cap)
        n = n * (1 - (logits.to(n) / cap).square())
    return scale * (n @ weight.to(n.dtype))


def through_head(model: LanguageModel, node: Head, y: Tensor) -> Tensor:
    """(..., width), a direction in what the attention adds before any norm of its own, -> (..., width) in what it
    reads: the normalised stream."""
    output = weights.output_matrix(model, node.layer, node.head).to(y.dtype)
    value = weights.value_matrix(model, node.layer, node.head).to(y.dtype)
    return y @ output @ value


def through_norm(norm: Norm, y: Tensor, scale: Tensor | float, *, reference: bool = False) -> Tensor:
    """(..., width) in a norm's output -> (..., width) in its input, of which ``scale`` (broadcast) is the root mean
    square, about the mean where the norm is centred: ``norm.scale(x)`` of one vector, or a mean of several.

    ``reference`` leaves out the projection of LayerNorm, as the authors' code does; the scale is then sqrt(mean x^2).
    """
    y = y * norm.gain.to(y) / scale
    return y - y.mean(-1, keepdim=True) if norm.centred and not reference else y


def through(function: Callable[[Tensor], Tensor], y: Tensor, point: Tensor, at: At = "activation") -> Tensor:
    """(width,) in the output of a function (points, width) -> (points, width), to (width,) in its input: J^T y at the
    point (width,), or, at its "boundary", where y . function(x) = 0 near it, found by Newton steps."""
    if at not in ("activation", "mean", "boundary"):
        raise ValueError(f"at must be activation, mean or boundary, got {at!r}")
    point = point.detach()
    value, slope = _slope(function, y, point)
    if at != "boundary":
        return slope
    first = best = abs(value)
    for _ in range(STEPS):
        length = float(slope.square().sum())
        if abs(value) <= 1e-6 * first or length == 0.0:
            return slope
        point = point - value / length * slope
        value, new = _slope(function, y, point)
        slope, best = new, min(best, abs(value))
    log.warning("no boundary found near the activation: %.2g of the observable is left after %d steps", value, STEPS)
    return slope


def feed_forward(model: LanguageModel, layer: int) -> Callable[[Tensor], Tensor]:
    """What a layer's feed-forward makes of normalised vectors (points, width), as a function that gradients pass: what
    it adds to the stream."""
    read, added = f"blocks.{layer}.mlp.norm", f"blocks.{layer}.mlp.out"
    require_offers("a feed-forward by itself", model, ["layers", "sites"])
    if {read, added} - set(model.sites()):
        raise NotOffered(f"layer {layer} of this {type(model).__name__} has no feed-forward with sites of its own")

    def run(x: Tensor) -> Tensor:
        with model.edit({read: lambda _: x[None].to(_.dtype)}), model.capture(added) as seen:
            model.layers(layer, layer + 1, x.new_zeros(1, *x.shape).to(model.dtype))
        return seen[added][0].to(x.dtype)

    return run


def coupling(first: Tensor, second: Tensor) -> Tensor:
    """(..., width) twice -> (...,): C(first, second), not symmetric. Raises ValueError for a zero direction."""
    length = first.square().sum(-1)
    if (length == 0).any():
        raise ValueError("a direction of length zero couples to nothing")
    return (first * second).sum(-1) / length


@dataclass(frozen=True)
class Means:
    """What norms are given, over tokens of some prompts: by the site of each norm the mean of ``Norm.scale`` and of the
    length |x|, and the mean normalised vector (width,)."""

    scales: Mapping[str, float]
    lengths: Mapping[str, float]
    points: Mapping[str, Tensor]


def sources(model: LanguageModel) -> dict[str, str]:
    """The site of each norm of the stream -> the site of what it reads."""
    there, depth = set(model.sites()), model.depth
    found = {}
    for layer in range(depth):
        start, middle = f"blocks.{layer}.in", f"blocks.{layer}.mid"
        found[f"blocks.{layer}.attn.norm"] = start
        found[f"blocks.{layer}.mlp.norm"] = middle if middle in there else start
    found["final.norm"] = f"blocks.{depth - 1}.out"
    return {site: source for site, source in found.items() if {site, source} <= there}


@torch.no_grad()
def means(model: LanguageModel, prompts: Sequence[Tensor], position: int | None = None) -> Means:
    """Over all tokens of prompts (time,), or over the one at ``position`` of each; one pass a prompt. Raises ValueError
    where there is none."""
    if not prompts:
        raise ValueError("means are over prompts; give at least one")
    read = sources(model)
    norms = {site: weights.norm(model, site) for site in read}
    seen_at: dict[str, list[Tensor]] = {site: [] for site in (*read, *read.values())}
    for ids in prompts:
        with model.capture(*seen_at) as seen:
            model(ids[None].to(model.device))
        for site, rows in seen_at.items():
            row = seen[site][0].to(torch.promote_types(model.dtype, torch.float32))
            rows.append(row if position is None else row[position][None])
    whole = {site: torch.cat(rows) for site, rows in seen_at.items()}
    return Means(
        {site: float(norms[site].scale(whole[source]).mean()) for site, source in read.items()},
        {site: float(whole[source].norm(dim=-1).mean()) for site, source in read.items()},
        {site: whole[site].mean(0) for site in read},
    )


def check_path(model: LanguageModel, path: Sequence[Node]) -> None:
    """Raise ValueError unless each node, the last first, reads what the next one adds."""
    if not path:
        raise ValueError("a path has at least one node, a head or a feed-forward")
    there = set(model.sites())
    for node in path:
        if not 0 <= node.layer < model.depth:
            raise ValueError(f"{node} is in none of the {model.depth} layers of this model")
        if isinstance(node, Head) and not 0 <= node.head < weights.heads(model, node.layer):
            raise ValueError(f"{node} is none of the {weights.heads(model, node.layer)} heads of its layer")
    for upper, lower in pairwise(path):
        beside = upper.layer == lower.layer and isinstance(upper, FeedForward) and isinstance(lower, Head)
        if lower.layer < upper.layer or (beside and f"blocks.{upper.layer}.mid" in there):
            continue
        why = " (both read the same stream)" if beside else ""
        raise ValueError(f"a path goes down from the logits, and {upper} does not read what {lower} adds{why}")


def passed(model: LanguageModel, site: str, y: Tensor, means: Means | None, *, reference: bool = False) -> Tensor:
    """``through_norm`` of the norm at a site, at its mean scale; unchanged without ``means``."""
    if means is None:
        return y
    scale = means.lengths[site] / model.width**0.5 if reference else means.scales[site]
    return through_norm(weights.norm(model, site), y, scale, reference=reference)


def along(
    model: LanguageModel, path: Sequence[Node], y: Tensor, means: Means | None, *, reference: bool = False
) -> Tensor:
    """(width,), a direction in the stream above the last block, pulled back along a path, the uppermost node first, to
    the stream that its lowest node reads. Norms are at their mean scales, a feed-forward is passed at the mean of what
    it read; without ``means`` norms are passed over.

    ``reference``: norms as in the authors' code, not centred, where a head passes the norm of its layer's feed-forward
    and a feed-forward that of the attention. A norm behind the attention is passed at its gain alone, since its scale
    is that of one token. Raises ValueError for a path that does not go down.
    """
    check_path(model, path)
    for node in path:
        attention = isinstance(node, Head)
        if isinstance(node, Head):
            behind = weights.norm_behind(model, node.layer)
            y = through_head(model, node, y if behind is None else y * behind.gain.to(y))
        elif means is None:
            raise ValueError(f"{node} is passed at the mean of what it read; give means")
        else:
            y = through(feed_forward(model, node.layer), y, means.points[f"blocks.{node.layer}.mlp.norm"].to(y), "mean")
        site = f"blocks.{node.layer}.{'attn' if attention != reference else 'mlp'}.norm"
        y = passed(model, site, y, means, reference=reference)
    return y


def _slope(function: Callable[[Tensor], Tensor], y: Tensor, point: Tensor) -> tuple[float, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        x = point.clone().requires_grad_()
        value = function(x[None])[0] @ y
        (found,) = meter.gradient(value, [x])
    if found is None:
        return float(value.detach()), torch.zeros_like(point)
    return float(value.detach()), found


def behind_head(model: LanguageModel) -> tuple[float | None, float]:
    """The softcap of the logits, if there is one, and what they are multiplied by."""
    if not isinstance(model, HuggingFaceModel):
        return None, 1.0
    config = model.config
    scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)
    return getattr(config, "final_logit_softcapping", None), scale
