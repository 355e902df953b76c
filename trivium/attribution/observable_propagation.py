"""Observable propagation: what each token sends to the logits in question, along paths of heads and feed-forwards.

Source
    Dunefsky and Cohan 2024, "Observable Propagation: Uncovering Feature Vectors in Transformers", arXiv:2312.16291; the
    greedy search of paths as in the authors' code, without its other prompt to patch from. The algebra of directions is
    in models/observables.py, one pass taken apart in models/stream.py.
Equation
    y = W_U^T n, through the final norm;   y . x = y . x_0 + sum_hs A_hts (W_V^T W_O^T y) . ln(x_s) + sum_l y . ff_l + b
    The terms of largest size are taken apart again by the same equation, at the token that they read; a feed-forward
    by its slope, J^T y, whose error stays with it.   score_i = sum of the terms that end at token i
Shapes
    ids (time,) -> observable n (vocab,) -> direction y (width,) -> terms (layers, heads, time) -> scores (time,)
Cost
    One forward pass of one row, and a backward pass from the objective to the final norm; per step of a path through a
    head products with the matrices of the heads below, through a feed-forward its own backward pass.
Caveats
    Attention patterns are held fixed, so only what values carry is explained, not why a token was looked at; scales of
    norms are held fixed at their own token, so that the sum is exact. The observable is the target: of a contrast or a
    logit it is linear; of a log-probability, a probability or softly capped logits it is their slope at this
    prediction, and ``facts["remainder"]`` says how much of the value that leaves out, biases included;
    ``facts["gap"]`` is what scores and constant miss of the value, which is rounding. An answer of several tokens is a
    sum over them, and ``facts["answer"]`` what its own tokens say of those behind them. Terms that are not taken apart
    are credited to the token whose stream they read. The paper scores paths by patching from a contrast prompt, which
    ``search(against=...)`` does; where there is one prompt only, a path counts against nothing at all, as in its code.
    Its norms are estimates over prompts, and differ between its functions: ``reference`` in models/observables.py.
    Shown there on GPT-Neo 1.3B.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction, single
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel
from trivium.models.observables import At, FeedForward, Head, behind_head
from trivium.models.stream import Stream, Terms

log = logging.getLogger(__name__)

Step = tuple[Head | FeedForward, int]
"""A node of a path, and the token that it reads."""


@dataclass(frozen=True)
class Path:
    """A way from a token to the logits. ``steps``: the last node first; ``value``: what comes along it; ``direction``
    (width,): what of the stream that its lowest node reads is passed on, its pattern included."""

    steps: tuple[Step, ...]
    value: float
    direction: Tensor = field(repr=False, compare=False)

    def __str__(self) -> str:
        return " <- ".join(f"{node}@{token}" for node, token in self.steps)


@dataclass(frozen=True)
class Propagated:
    """``scores`` (time,) by token, ``constant`` of biases, and ``parts`` by sort: "start", "heads", "feed_forwards" and
    "shortcuts", of all terms that were not taken apart; ``paths`` that were, the strongest of each length first."""

    scores: Tensor
    constant: float
    parts: Mapping[str, float]
    paths: tuple[Path, ...]


@method(
    title="Observable propagation",
    source="arXiv:2312.16291",
    year=2024,
    needs=["causal", "attention", "sites", "gradient", "layers"],
)
@dataclass(frozen=True)
class ObservablePropagation:
    """Terms of the target by token, the strongest of them followed down."""

    num_paths: int = 8
    """How many terms of each length are taken apart; 0 leaves them with the tokens that the last position looks at."""
    max_length: int = 3
    """Heads and feed-forwards on a path; 1 takes nothing apart."""
    at: At = "activation"
    """Where a feed-forward's slope is taken: at what it read, at the mean over the prompt, or at the boundary near what
    it read where the observable says nothing (the paper's)."""

    def __post_init__(self) -> None:
        if self.num_paths < 0:
            raise ValueError(f"num_paths must be at least 0, got {self.num_paths}")
        if self.max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {self.max_length}")
        if self.at not in get_args(At):
            raise ValueError(f"at must be one of {', '.join(get_args(At))}; got {self.at!r}")

    def __call__(
        self,
        model: LanguageModel,
        ids: Tensor,
        target: Target,
        *,
        generator: torch.Generator,
        frozen: Tensor | None = None,
    ) -> Attribution:
        """Nothing here is random; the generator is not used."""
        prediction = Prediction(self, model, ids, target, frozen)
        cap, _ = behind_head(model)
        if cap is not None and target.objective in ("logit", "contrast"):
            log.warning("logits are squashed softly to %s; what is explained is their slope at this prediction", cap)
        time, scores = len(ids), torch.zeros(len(ids), dtype=torch.float64, device=prediction.ids.device)
        facts: dict[str, float] = dict.fromkeys(("value", "remainder", "constant", "answer"), 0.0)
        for sign, before, one in _one_by_one(target):
            stream = Stream(model, torch.cat([prediction.ids, prediction.ids.new_tensor(before)]), one)
            found = self.search(stream)
            wide = found.scores.double()  # a sum in the scores' own number format would show its rounding as a gap
            scores += sign * wide[:time]
            told = {"value": stream.value, "remainder": stream.rest, "constant": found.constant,
                    "answer": wide[time:].sum(), **found.parts}  # fmt: skip
            for name, amount in told.items():
                facts[name] = facts.get(name, 0.0) + sign * float(amount)
        facts["gap"] = facts["value"] - facts["remainder"] - facts["constant"] - facts["answer"] - float(scores.sum())
        if target.alone:
            del facts["answer"]  # there is none before it
        scores = scores.where(prediction.free, 0)
        return prediction.attribution(scores.to(single(torch.empty(0, dtype=model.dtype)).dtype), **facts)

    def search(self, stream: Stream, against: Stream | None = None) -> Propagated:
        """Greedy: of the terms of the stream above the last block the strongest are taken apart, and so on down.

        ``against``: the pass over another prompt, of as many tokens, whose values and outputs are patched in under the
        patterns of this one; terms are then differences.
        """
        scores = stream.direction.new_zeros(stream.time)
        parts: dict[str, float] = {"start": 0.0, "heads": 0.0, "feed_forwards": 0.0, "shortcuts": 0.0}
        constant, kept, end = 0.0, [], stream.time - 1
        frontier = [(Path((), float(stream.value - stream.rest), stream.direction), 0.0)]
        for _ in range(self.max_length):
            found: list[tuple[float, Path, Step]] = []
            for path, bias in frontier:
                node, place = path.steps[-1] if path.steps else (None, end)
                terms = stream.terms(path.direction, place, node, against)
                if node is not None:
                    # What is passed on leaves its token, and comes back with the tokens it is made of. What a slope of
                    # a feed-forward does not tell stays, and so does what another prompt's own patterns make of it.
                    passed = float(terms.total) + bias
                    scores[place] -= passed
                    parts["heads" if isinstance(node, Head) else "feed_forwards"] -= passed
                scores += terms.heads.sum((0, 1))
                scores[place] += terms.start + terms.shortcuts.sum() + terms.feed_forwards.sum()
                for name in parts:
                    parts[name] += float(getattr(terms, name).sum())
                constant += float(terms.constant) + bias
                found += [(value, path, step) for value, step in self._strongest(terms, place)]
            found.sort(key=lambda one: -abs(one[0]))
            frontier = []
            for value, path, (node, token) in found[: self.num_paths]:
                above = path.steps[-1][1] if path.steps else end
                direction, bias = stream.into(path.direction, above, node, token, self.at)
                kept.append(Path((*path.steps, (node, token)), value, direction))
                frontier.append((kept[-1], float(bias) if against is None else 0.0))
        return Propagated(scores, constant, parts, tuple(kept))

    def _strongest(self, terms: Terms, place: int) -> list[tuple[float, Step]]:
        """As many terms as are looked at on, heads with their source tokens and feed-forwards."""
        everything = torch.cat([terms.heads.flatten(), terms.feed_forwards])
        best = everything.abs().topk(min(self.num_paths, len(everything))).indices.tolist()
        steps: list[tuple[float, Step]] = []
        for at in best:
            if (value := float(everything[at])) == 0.0:
                continue
            if at >= terms.heads.numel():
                steps.append((value, (FeedForward(at - terms.heads.numel()), place)))
            else:
                layer, head, source = (int(x) for x in torch.unravel_index(torch.tensor(at), terms.heads.shape))
                steps.append((value, (Head(layer, head), source)))
        return steps


def _one_by_one(target: Target) -> list[tuple[float, tuple[int, ...], Target]]:
    """A target as a sum over its tokens: the sign of each, the answer before it, and it as a target of its own.

    Raises ValueError for the probability of several tokens, which is a product.
    """
    if target.alone:
        return [(1.0, (), target)]
    if target.objective == "prob":
        raise ValueError("the probability of several tokens is a product, and paths add up; explain 'logprob' instead")
    objective = "logit" if target.objective == "logit" else "logprob"
    return [
        (sign, tokens[:place], Target(token, objective=objective))
        for sign, tokens in ((1.0, target.tokens), (-1.0, target.foils))
        for place, token in enumerate(tokens)
    ]
