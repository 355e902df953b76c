"""ReAGent: tokens are replaced at random, and each one's score goes up where the prediction falls with it.

Source
    Zhao and Shan 2024, "ReAGent: A Model-agnostic Feature Attribution Method for Generative Language Models",
    arXiv:2402.00794, algorithm 1; details as in the authors' code.
Equation
    z ~ U(0, 1)^T.   Each step:  m ~ Bernoulli(ratio)^T,  x' = x with the tokens of m replaced,
    delta = p(y | x) - p(y | x'),   u = logit((1 + delta) / 2),   z_i += u where m_i, -u where not
    until y is among the ``top`` predictions when all tokens but the ``keep`` best of z are replaced
    score = mean over probes of softmax(z)
Shapes
    ids (time,) -> probes z (probes, time) -> scores (time,), which are positive and sum to 1
Cost
    Two rows of forward passes for each probe and step, at most 2 probes steps; no gradient, and no embeddings. A masked
    model passes as many rows as there are tokens, once.
Caveats
    The paper replaces by what a masked language model predicts (``masked``), the authors' configurations by words of
    the same part of speech (``tags``); neither ships with this library, so that replacements are drawn from the whole
    vocabulary by default. Of the masked model we draw, once per pass, from what it says of the prompt with that one
    token hidden, among tokens that both vocabularies have; the authors take its likeliest token, which tends to be the
    one that stood there. The authors tag tokens as words by themselves; so do we, by the commonest tag of the word in
    your treebank, and tokens it lacks are exchanged among each other, parts of words for parts of words.
    Their configurations allow 3000 to 5000 steps (``PAPER``); our default stops at 200. Of a contrast, p is that of the
    answer among the two; of several tokens their joint probability, and all must be among the top ones to stop. A probe
    that has not stopped is left out where another has; where none has, all count, ``facts["converged"]`` is 0 and a
    warning says so. No more than half of the tokens are kept in the test of whether to stop, which short prompts would
    always pass.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction
from trivium.attribution._replacers import Replacer, masked, own, tagged, uniform
from trivium.core.method import method
from trivium.core.nouns import Attribution, Target
from trivium.core.protocols import LanguageModel, Tokenizer
from trivium.nn.modes import evaluating

log = logging.getLogger(__name__)

MOST = 1 - 1e-6
"""Largest change of a probability that counts as such: of 1 the update would be infinite."""


@method(title="ReAGent", source="arXiv:2402.00794", year=2024, needs=["causal"])
@dataclass(frozen=True)
class ReAGent:
    """Scores from what random replacements do, by forward passes alone."""

    ratio: float = 0.3
    """Share of the tokens that a step replaces."""
    top: int = 3
    """A probe stops once the target is among so many predictions."""
    keep: int = 5
    """Tokens that stand in the test of whether to stop; at most half of them."""
    probes: int = 4
    """Independent runs, in one batch."""
    steps: int = 200
    """Of a probe at most."""
    replacer: Literal["uniform", "self"] = "uniform"
    """Any token of the vocabulary, or what the model itself predicts at that place."""
    masked: str | None = None
    """Replace by what this masked language model says instead: a folder or a hub identifier."""
    tags: str | None = None
    """Replace by words of the same part of speech instead: a treebank in CoNLL-U, or lines of a word, a tab, a tag."""
    tokenizer: Tokenizer | None = None
    """Of the explained model, for ``masked`` and ``tags``; a system fills it in where it is left out."""

    def __post_init__(self) -> None:
        if not 0.0 < self.ratio < 1.0:
            raise ValueError(f"ratio is a share of the tokens between 0 and 1, got {self.ratio}")
        for name in ("top", "keep", "probes", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.replacer not in ("uniform", "self"):
            raise ValueError(f"replacer must be 'uniform' or 'self', got {self.replacer!r}")
        said = [word for word in ("masked", "tags") if getattr(self, word) is not None]
        said += ["replacer"] * (self.replacer != "uniform")
        if len(said) > 1:
            raise ValueError(f"replacements come from one place; give only one of {', '.join(said)}")

    def fitted(self, tokenizer: Tokenizer) -> Self:
        """The same with a tokenizer where one is of need and none was given."""
        needed = self.tokenizer is None and not (self.masked is None and self.tags is None)
        return replace(self, tokenizer=tokenizer) if needed else self

    def within(self, evaluations: int) -> Self:
        """The same, or with as many steps as a budget of rows allows: two for each and every probe, and two."""
        return replace(self, steps=max(1, min(self.steps, (evaluations - 2) // (2 * self.probes))))

    def __call__(
        self,
        model: LanguageModel,
        ids: Tensor,
        target: Target,
        *,
        generator: torch.Generator,
        frozen: Tensor | None = None,
    ) -> Attribution:
        prediction = Prediction(self, model, ids, target, frozen)
        free = prediction.free
        seeds = torch.randint(1 << 62, (self.probes,), generator=generator).tolist()
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        with evaluating(model), torch.no_grad():
            replacements = self._replacements(prediction)
            before, value = self._read(prediction, prediction.ids[None])
            z, stopped, taken = self._searched(prediction, replacements, draws, before)
        counted = stopped if stopped.any() else torch.ones_like(stopped)
        if not stopped.any():
            log.warning("no probe of reagent stopped in %d steps: raise steps or top, or keep more tokens", self.steps)
        scores = z[counted].masked_fill(~free, float("-inf")).softmax(-1).mean(0).where(free, 0)
        facts = {"value": value.item(), "converged": float(stopped.any()), "stopped": stopped.double().mean().item()}
        wide = torch.promote_types(model.dtype, torch.float32)
        return prediction.attribution(scores.to(wide), **facts, steps=float(taken))

    def _replacements(self, prediction: Prediction) -> Replacer:
        if self.masked is None and self.tags is None:
            return uniform(prediction) if self.replacer == "uniform" else own(prediction)
        if self.tokenizer is None:
            raise ValueError("masked and tags are about text, so reagent must know the tokenizer: give tokenizer=...")
        if self.masked is not None:
            return masked(prediction, self.masked, self.tokenizer)
        return tagged(prediction, str(self.tags), self.tokenizer)

    def _searched(
        self, prediction: Prediction, replacements: Replacer, draws: Sequence[torch.Generator], before: Tensor
    ) -> tuple[Tensor, Tensor, int]:
        """Where the probes came to (probes, time), which of them stopped (probes,), and steps taken. ``before`` (1,):
        the probability of the answer after the prompt as it is. A probe depends on its own generator alone."""
        ids, free = prediction.ids, prediction.free
        z = torch.stack([torch.rand(len(ids), generator=draw, dtype=torch.float64) for draw in draws]).to(ids.device)
        stopped = torch.full((len(draws),), not bool(free.any()))
        keep = min(self.keep, int(free.sum()) // 2)
        taken = 0
        while taken < self.steps and not stopped.all():
            live = (~stopped).nonzero()[:, 0].tolist()
            drawn = [self._drawn(draws[probe], len(ids), replacements) for probe in live]
            replaced, first, second = (torch.stack(part).to(ids.device) for part in zip(*drawn, strict=True))
            after, _ = self._read(prediction, torch.where(replaced & free, first, ids))
            update = 2 * (before - after).clamp(-MOST, MOST).atanh()[:, None]  # the logit of (1 + delta) / 2
            z[live] += torch.where(replaced, update, -update)
            best = z[live].masked_fill(~free, float("-inf")).topk(keep).indices
            stays = torch.zeros_like(replaced).scatter(1, best, True) | ~free
            stopped[live] = self._predicted(prediction, torch.where(stays, ids, second)).cpu()
            taken += 1
        return z, stopped, taken

    @staticmethod
    def _read(prediction: Prediction, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Of (rows, time): the answer's probability, against the foil alone where there is one, and the scalar that is
        explained; (rows,) each."""
        logits = prediction.logits(ids=rows)
        value = prediction.valued(logits, ids=rows)
        target = prediction.target
        if target.foils:
            return value.double().sigmoid(), value
        return Target(target.token, objective="prob")(logits.double()), value

    def _predicted(self, prediction: Prediction, rows: Tensor) -> Tensor:
        """(rows,) bool: whether each token of the answer is among the top predictions at its place."""
        logits = prediction.logits(ids=rows)  # (rows, tokens, vocab)
        answer = torch.tensor(prediction.target.tokens, device=logits.device)[:, None]
        return (logits.topk(min(self.top, logits.shape[-1])).indices == answer).any(-1).all(-1)

    def _drawn(self, draw: torch.Generator, time: int, replacements: Replacer) -> tuple[Tensor, Tensor, Tensor]:
        """Of one probe and step: what is replaced (time,) bool, and the replacements of its two passes (time,)."""
        replaced = torch.rand(time, generator=draw) < self.ratio
        first, second = replacements(draw)
        return replaced, first, second


PAPER = ReAGent(ratio=0.3, top=3, keep=5, probes=3, steps=3000)
"""The first of the authors' configurations, but for the replacements."""
