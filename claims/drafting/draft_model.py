"""A draft token is accepted with probability 1 - TV(p, q)."""

import copy

import torch

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel
from trivium.core.seeds import generator
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.draft_model import DraftModel
from trivium.evaluation.stats.intervals import mean_interval
from trivium.models.sources import load

NOISE, SEEDS, ROWS, NEW, MARGIN = 0.1, range(8), 32, 48, 0.03


def run(bar: Bar) -> ClaimResult:
    system = load("tiny")
    target = system.model
    draft = noisy(target)
    prompt = system.prompt("One day").repeat(ROWS, 1)
    fast = Speculative(DraftModel(draft, length=1, min_confidence=0.0), verifier="rejection", of=Sampling())
    differences, rates = [], []
    for seed in SEEDS:
        made = fast(target, prompt, limit=NEW, generator=generator(seed, "claim"))
        rate = made.trace.acceptance_rate or 0.0
        rates.append(rate)
        differences.append(rate - predicted(target, draft, prompt, made.ids))
        bar.advance()
    found = mean_interval(differences)
    assert found.low is not None
    assert found.high is not None
    inside, outside = found.low > -MARGIN and found.high < MARGIN, found.low > MARGIN or found.high < -MARGIN
    verdict = "supported" if inside else "contradicted" if outside else "not visible at this scale"
    figures = {"difference": found.mean, "low": found.low, "high": found.high, "accepted": sum(rates) / len(rates)}
    return ClaimResult(verdict, {**figures, "seeds": len(differences), "differences": differences})


def noisy(model: LanguageModel) -> LanguageModel:
    """A draft that agrees with the target now and then: a copy with noise on its weights."""
    draft = copy.deepcopy(model)
    stream = generator(0, "noise")
    with torch.no_grad():
        for weight in draft.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn(weight.shape, generator=stream).to(weight) * NOISE * weight.std())
    return draft


def predicted(target: LanguageModel, draft: LanguageModel, prompt: torch.Tensor, ids: torch.Tensor) -> float:
    """Mean of sum_v min(p(v), q(v)) over the written texts."""
    text = torch.cat([prompt, ids], 1)
    with torch.no_grad():
        p, q = (model(text).logits[:, prompt.shape[1] : -1].softmax(-1) for model in (target, draft))
    return float(torch.minimum(p, q).sum(-1).mean())


claim = Claim(
    statement="A draft token is accepted with probability one minus the total variation between draft and target.",
    paper="Leviathan et al. 2023, theorem 3.5: acceptance = sum_v min(p(v), q(v)).",
    rule="Acceptance rate of single drafts minus the mean of sum_v min(p, q) over the texts, one per seed: supported "
    "where the 95 % interval lies within 0.03 of 0, contradicted where it lies wholly outside.",
    run=run,
)
