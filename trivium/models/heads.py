"""What single attention heads add to the stream, and what becomes of a prediction without them.

    contribution of head h of layer l to prompt p:   c = mean over t (or the last t) of  W_O,h z_ht   (width,)

Biases of the output are left out, since they belong to no head. Where what the attention adds is normalised (Gemma 2
and 3), the contribution is a head's share of what is added, at the norm's own scale. Heads are in rising order, those
of layer 0 first; prompts are rows of ids, those of one length in one batch, so that none is padded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from trivium.core.capabilities import require_offers
from trivium.core.errors import NotOffered
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.models import weights
from trivium.nn.finite import check_finite
from trivium.nn.modes import evaluating

Reduce = Literal["mean", "last"]
Ablation = Literal["zero", "mean"]
Score = Callable[[Tensor, Tensor], Tensor]
"""Logits of the last position (rows, vocab), and which prompts the rows are (rows,), -> (rows,)."""


def contributions(
    model: LanguageModel,
    prompts: Sequence[Tensor],
    *,
    reduce: Reduce = "mean",
    batch_size: int = 16,
    bar: Bar | None = None,
) -> Tensor:
    """(prompts, layers * heads, width), in single precision at least. Raises ValueError for no prompts, NotOffered for
    a model without heads. Needs 'sites'."""
    if reduce not in get_args(Reduce):
        raise ValueError(f"reduce must be one of {', '.join(get_args(Reduce))}; got {reduce!r}")
    require_offers("contributions of heads", model, ["sites"])
    _check(prompts, batch_size)
    dtype = torch.promote_types(model.dtype, torch.float32)
    parts = [weights.attention(model, layer) for layer in range(model.depth)]
    sites = [f"blocks.{layer}.attn.z" for layer in range(model.depth)]
    found = torch.zeros(len(prompts), sum(part.heads for part in parts), model.width, dtype=dtype, device=model.device)
    for rows in _batches(prompts, batch_size):
        ids = torch.stack([prompts[row] for row in rows]).to(model.device)
        with torch.no_grad(), evaluating(model), model.capture(*sites) as seen:
            check_finite(model(ids, logits_to_keep=1).logits, "a pass of the model")
        start = 0
        for part, site in zip(parts, sites, strict=True):
            found[rows, start : start + part.heads] = _added(part, seen[site].to(dtype), reduce)
            start += part.heads
        if bar is not None:
            bar.advance(len(rows))
    return found


def contrasted(
    model: LanguageModel,
    positives: Sequence[Tensor],
    negatives: Sequence[Tensor],
    *,
    strict: bool = True,
    reduce: Reduce = "mean",
    batch_size: int = 16,
    bar: Bar | None = None,
) -> tuple[Tensor, Tensor]:
    """``contributions`` of both, the positives first, and labels (prompts,), 1 for these and 0 for the others.

    ``strict``: raise ValueError where the two have not as many tokens, prompt by prompt in order of length: a mean over
    positions would tell their lengths.
    """
    lengths = [sorted(len(row) for row in rows) for rows in (positives, negatives)]
    if strict and lengths[0] != lengths[1]:
        raise ValueError(
            f"positives of {lengths[0][:8]} tokens and negatives of {lengths[1][:8]} can be told apart by their length "
            "alone; pair prompts of as many tokens, or say strict=False"
        )
    found = contributions(model, [*positives, *negatives], reduce=reduce, batch_size=batch_size, bar=bar)
    return found, (torch.arange(len(found)) < len(positives)).long()


@dataclass(frozen=True)
class Effects:
    """``plain``: the mean score of the prompts as they are; ``lost`` (layers, heads): how much of it goes with each
    head."""

    plain: float
    lost: Tensor

    def circuit(self, share: float, gap: float) -> Tensor:
        """(layers, heads) bool: heads that lose more than a share of the gap, the score that there is to lose."""
        if not 0.0 < share < 1.0:
            raise ValueError(f"share is a part of the gap, between 0 and 1; got {share}")
        if gap <= 0.0:
            raise ValueError(f"the model gains {gap:.3g} from the task, so there is nothing that a head could lose")
        return self.lost > share * gap


@torch.no_grad()
def effects(
    model: LanguageModel,
    prompts: Sequence[Tensor],
    score: Score,
    *,
    kind: Ablation = "zero",
    reference: Sequence[Tensor] | None = None,
    batch_size: int = 32,
    bar: Bar | None = None,
) -> Effects:
    """Knock out every head by itself, at all positions, and see what the mean score loses.

    ``kind``: put zeros in place of what a head hands on, or its mean at the same position over ``reference`` prompts
    (of the same lengths; the prompts themselves where there are none). Layers below the head are not run again where
    the model offers 'layers'; heads of a layer share a pass of at most ``batch_size`` rows. Raises ValueError for no
    prompts, or a length that the reference lacks.
    """
    if kind not in get_args(Ablation):
        raise ValueError(f"kind must be one of {', '.join(get_args(Ablation))}; got {kind!r}")
    if kind == "zero" and reference is not None:
        raise ValueError("zeros need no reference; leave it out, or ask for 'mean'")
    require_offers("knocking out heads", model, ["sites", "causal"])
    _check(prompts, batch_size)
    heads = [weights.heads(model, layer) for layer in range(model.depth)]
    if bar is not None:
        bar.total = sum(heads) * len(prompts)
    means = _means(model, prompts if reference is None else reference, batch_size) if kind == "mean" else {}
    if missing := {len(row) for row in prompts} - set(means) if kind == "mean" else None:
        raise ValueError(f"no reference prompt has {sorted(missing)[0]} tokens, so there is no mean for such prompts")
    found = torch.zeros(model.depth, max(heads), dtype=torch.float64)
    plain = 0.0
    starts = [f"blocks.{layer}.in" for layer in range(model.depth)] if _resumes(model) else []
    with evaluating(model):
        for rows in _batches(prompts, batch_size):
            ids = torch.stack([prompts[row] for row in rows]).to(model.device)
            which = torch.tensor(rows)
            with model.capture(*starts) as seen:
                logits = model(ids, logits_to_keep=1).logits[:, -1]
            check_finite(logits, "a pass of the model")
            plain += float(score(logits, which).double().sum())
            together = max(1, batch_size // len(rows))
            for layer, count in enumerate(heads):
                site = f"blocks.{layer}.attn.z"
                mean = means[ids.shape[1]][site] if kind == "mean" else None
                for some in torch.arange(count).split(together):
                    out = some.tolist()
                    with model.edit({site: _without(out, len(rows), mean)}):
                        if starts:
                            stream = seen[starts[layer]].repeat(len(out), 1, 1)
                            logits = model.read_out(model.layers(layer, model.depth, stream)[:, -1:])[:, -1]
                        else:
                            logits = model(ids.repeat(len(out), 1), logits_to_keep=1).logits[:, -1]
                    said = score(logits, which.repeat(len(out))).double().unflatten(0, (len(out), -1))
                    found[layer, out] += said.sum(1).cpu()
                    if bar is not None:
                        bar.advance(len(rows) * len(out))
    plain /= len(prompts)
    return Effects(plain, plain - found / len(prompts))


def _resumes(model: LanguageModel) -> bool:
    """Whether a pass can begin at any layer and be read out."""
    if "layers" not in model.offers:
        return False
    try:
        model.read_out(torch.zeros(1, 1, model.width, dtype=model.dtype, device=model.device))
    except NotOffered:
        return False
    return True


def _without(heads: Sequence[int], rows: int, mean: Tensor | None) -> Callable[[Tensor], Tensor]:
    """Of the first ``rows`` the first of these heads is taken out, of the next the second, and so on."""

    def change(z: Tensor) -> Tensor:
        z = z.clone()
        for place, head in enumerate(heads):
            gone = 0.0 if mean is None else mean[:, :, head].to(z.dtype)
            z[place * rows : (place + 1) * rows, :, head] = gone
        return z

    return change


def _added(part: weights.Attention, z: Tensor, reduce: Reduce) -> Tensor:
    """(rows, time, heads, head width) -> (rows, heads, width)"""
    outputs = part.outputs.to(z)
    if part.behind is not None:
        total = torch.einsum("bthd,hwd->btw", z, outputs)
        total = total if part.output_bias is None else total + part.output_bias.to(z)
        z = z / part.behind.scale(total)[..., None]
    z = z.mean(1) if reduce == "mean" else z[:, -1]
    found = torch.einsum("bhd,hwd->bhw", z, outputs)
    if part.behind is None:
        return found
    centred = found - found.mean(-1, keepdim=True) if part.behind.centred else found
    return centred * part.behind.gain.to(z)


def _means(model: LanguageModel, prompts: Sequence[Tensor], batch_size: int) -> dict[int, dict[str, Tensor]]:
    """By length: of each layer the mean of what its heads hand on (1, time, heads, head width)."""
    sites = [f"blocks.{layer}.attn.z" for layer in range(model.depth)]
    sums: dict[int, dict[str, Tensor]] = {}
    counts: dict[int, int] = {}
    with evaluating(model):
        for rows in _batches(prompts, batch_size):
            ids = torch.stack([prompts[row] for row in rows]).to(model.device)
            with model.capture(*sites) as seen:
                model(ids, logits_to_keep=1)
            length = ids.shape[1]
            counts[length] = counts.get(length, 0) + len(rows)
            held = sums.setdefault(length, {})
            for site in sites:
                total = seen[site].to(torch.promote_types(model.dtype, torch.float32)).sum(0, keepdim=True)
                held[site] = held[site] + total if site in held else total
    return {length: {site: total / counts[length] for site, total in held.items()} for length, held in sums.items()}


def _batches(prompts: Sequence[Tensor], batch_size: int) -> list[list[int]]:
    """Places of prompts of one length, at most so many."""
    by_length: dict[int, list[int]] = {}
    for place, row in enumerate(prompts):
        by_length.setdefault(len(row), []).append(place)
    return [row[at : at + batch_size] for row in by_length.values() for at in range(0, len(row), batch_size)]


def _check(prompts: Sequence[Tensor], batch_size: int) -> None:
    if not prompts:
        raise ValueError("give at least one prompt")
    for place, row in enumerate(prompts):
        if row.ndim != 1 or row.numel() == 0 or row.is_floating_point():
            raise ValueError(f"prompt {place} must be ids (time,), at least one; got {row.dtype} {tuple(row.shape)}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
