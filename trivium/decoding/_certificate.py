"""The losslessness certificate: does a speed-up leave the output alone, on the user's own model?

Two tests of the method as it is, and one of the tests themselves:

greedy   in float64, the method's greedy text equals plain greedy decoding, token for token, over prompts and seeds.
law      the joint distribution of the first tokens equals the exact one, by a chi-square test on many draws.
control  the same method made wrong on purpose (``method.control()``) fails the law test, with a fifth of the draws; if
         it passes, the test has no power here and certifies nothing.

A joint distribution over a whole vocabulary cannot be tested, so the law test runs on the user's model restricted to a
few tokens: those it finds likeliest after the prompt. Its logits and states, one set for each text of a few tokens,
are computed by the real model once and remembered; what is drawn 50,000 times is the method's own code: drafting, tree,
mask, verification, commit. Trained drafters keep their weights; what they have of the vocabulary is restricted, too.
"""

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from scipy.stats import chi2
from torch import Tensor

from trivium.core import seeds
from trivium.core.method import card_of
from trivium.core.progress import Bar
from trivium.core.protocols import Decoder, LanguageModel
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._restricted import TOKENS, Restricted
from trivium.decoding._sampler import Sampler
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling

LEVEL = 1e-3
"""A law is rejected where a chi-square at least this large has a smaller probability."""
DEPTH = 4
"""Tokens of the joint: one from the prompt's pass, then a block with drafts and its extra token."""
PATTERN = (0, 1, 0, 2, 0, 1, 0)
"""Prompt over the restricted vocabulary: it repeats itself, so that drafters that copy have something to copy."""
ROWS = 1000
"""Draws per batch."""


class Lossless(Protocol):
    """A decoder that claims to speed up another without changing its output: a dataclass with these."""

    @property
    def of(self) -> Any: ...

    def control(self) -> Decoder:
        """The same, wrong on purpose."""
        ...


@dataclass(frozen=True)
class GreedyRun:
    """One comparison with plain greedy decoding in float64."""

    prompt: int
    seed: int
    tokens: int
    mean_accepted_length: float
    divergence: int | None = None
    """First new token that differs, counted from 0; None where all are equal."""
    gap: float | None = None
    """Distance of the two largest logits there: a near-tie speaks for rounding, a wide gap for a fault."""


@dataclass(frozen=True)
class LawTest:
    """One chi-square test of a joint distribution."""

    decoder: str
    draws: int
    cells: int
    statistic: float
    p_value: float
    mean_accepted_length: float

    @property
    def rejected(self) -> bool:
        return self.p_value < LEVEL


@dataclass(frozen=True)
class Certificate:
    """What was tested and the verdict."""

    method: str
    verdict: Literal["exact", "not exact", "inconclusive (control not rejected)"]
    greedy: tuple[GreedyRun, ...]
    law: tuple[LawTest, ...]
    control: tuple[LawTest, ...]

    @property
    def exact(self) -> bool:
        return self.verdict == "exact"

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The findings as sentences, the verdict last."""
        equal = [run for run in self.greedy if run.divergence is None]
        told = [
            f"greedy, float64: {len(equal)} of {len(self.greedy)} runs equal token for token "
            f"({sum(run.tokens for run in equal)} tokens)"
        ]
        told += [
            f"  prompt {run.prompt}, seed {run.seed}: differs from new token {run.divergence} on; "
            f"top-2 logit gap there {run.gap:.3g}"
            for run in self.greedy
            if run.divergence is not None
        ]
        for name, tests in (("law", self.law), ("control, wrong on purpose", self.control)):
            told += [
                f"{name}, {test.decoder}: chi-square {test.statistic:.1f} on {test.cells - 1} degrees of freedom, "
                f"p = {test.p_value:.3g}, {test.draws} draws, {test.mean_accepted_length:.2f} tokens per pass: "
                f"{'rejected' if test.rejected else 'not rejected'}"
                for test in tests
            ]
        return [*told, f"verdict: {self.verdict}"]


def certify(
    method: Lossless,
    model: LanguageModel,
    prompts: Sequence[Tensor] | None = None,
    *,
    limit: int = 32,
    seeds_tried: Sequence[int] = (0, 1),
    draws: int = 50_000,
    bar: Bar | None = None,
) -> Certificate:
    """Test a lossless decoder on a model.

    ``prompts``: token ids (time,) each, by default three random ones that repeat themselves. The model is copied to
    float64 for the greedy test. Raises TypeError for a decoder that names no plain decoder ``of`` or no ``control``.
    """
    if not dataclasses.is_dataclass(method) or not hasattr(method, "of") or not hasattr(method, "control"):
        raise TypeError(
            f"{card_of(method).name} does not say which plain decoder it speeds up ('of') or how to make it wrong "
            "('control'), so there is nothing to certify; try decoding/speculative"
        )
    if draws < 1000:
        raise ValueError(f"a chi-square test wants at least 1000 draws, got {draws}")
    prompts = [prompt.reshape(-1) for prompt in prompts] if prompts is not None else _prompts(model)
    bar = bar or Bar(0)
    bar.total = max(bar.total, len(prompts) * len(seeds_tried) + math.ceil(draws / ROWS * 1.2))
    greedy = tuple(_greedy(method, model, prompts, limit, seeds_tried, bar))
    samplers = [method.of] if not method.of.pipeline.greedy else [Sampling()]
    law, control = [], []
    for sampler in samplers:
        small = Restricted(model, prompts[0])
        fitted = _restrict(replace(method, of=sampler), prompts[0], small.kept)
        law.append(_law(fitted, small, sampler, draws, bar))
        control.append(_law(fitted.control(), small, sampler, max(draws // 5, 1000), bar))
    if any(run.divergence is not None for run in greedy) or any(test.rejected for test in law):
        verdict = "not exact"
    elif all(test.rejected for test in control):
        verdict = "exact"
    else:
        verdict = "inconclusive (control not rejected)"
    return Certificate(card_of(method).name, verdict, greedy, tuple(law), tuple(control))


# Greedy equality ------------------------------------------------------------------------------------------------------


def _greedy(
    method: Any, model: LanguageModel, prompts: Sequence[Tensor], limit: int, tried: Sequence[int], bar: Bar
) -> list[GreedyRun]:
    wide = model if model.dtype == torch.float64 else copy.deepcopy(model).double()
    fast, runs = replace(method, of=Greedy()), []
    for index, prompt in enumerate(prompts):
        ids = prompt.to(wide.device)[None]
        plain = Greedy()(wide, ids, limit=limit, generator=seeds.generator(0)).row(0)
        for seed in tried:
            made = fast(wide, ids, limit=limit, generator=seeds.generator(seed))
            length = made.trace.mean_accepted_length
            at = _first_difference(plain.tolist(), made.row(0).tolist())
            gap = None
            if at is not None:
                with torch.no_grad():
                    top = wide(torch.cat([ids, plain[None, :at]], 1), logits_to_keep=1).logits[0, -1].topk(2).values
                gap = float(top[0] - top[1])
            runs.append(GreedyRun(index, seed, len(plain), length, at, gap))
            bar.advance(1, "greedy in float64")
    return runs


def _first_difference(one: list[int], other: list[int]) -> int | None:
    if one == other:
        return None
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _prompts(model: LanguageModel) -> list[Tensor]:
    generator = seeds.generator(0, "certificate prompts")
    words = torch.randint(model.vocab_size, (3, 6), generator=generator)
    return [row.repeat(3)[:16] for row in words]


# The law --------------------------------------------------------------------------------------------------------------


def _law(decoder: Any, model: "Restricted", sampler: Sampler, draws: int, bar: Bar) -> LawTest:
    prompt = torch.tensor([PATTERN])
    counts = torch.zeros(TOKENS**DEPTH, dtype=torch.float64)
    place = TOKENS ** torch.arange(DEPTH - 1, -1, -1)
    lengths: list[float] = []
    done = 0
    while done < draws:
        rows = min(ROWS, draws - done)
        made = decoder(model, prompt.repeat(rows, 1), limit=DEPTH, generator=seeds.generator(done, "certificate"))
        counts += torch.bincount((made.ids.cpu() * place).sum(1), minlength=len(counts))
        lengths.append(made.trace.mean_accepted_length)
        done += rows
        bar.advance(1, "chi-square")
    statistic, cells, p_value = chi_square(counts, exact_joint(model, sampler.pipeline))
    return LawTest(card_of(sampler).name, draws, cells, statistic, p_value, sum(lengths) / len(lengths))


def exact_joint(
    model: LanguageModel, pipeline: Pipeline, depth: int = DEPTH, prompt: Sequence[int] = PATTERN
) -> Tensor:
    """(vocab ** depth,) the probability of each text of so many tokens, first token most significant."""
    texts, joint = torch.tensor([list(prompt)]), torch.ones(1, dtype=torch.float64)
    vocab = model.vocab_size
    for new in range(depth):
        with torch.no_grad():
            logits = model(texts, logits_to_keep=1).logits[:, -1]
        probs = pipeline.probabilities(logits, list(texts), [new] * len(texts)).double().cpu()
        joint = (joint[:, None] * probs).reshape(-1)
        texts = torch.cat([texts.repeat_interleave(vocab, 0), torch.arange(vocab).repeat(len(texts))[:, None]], 1)
    return joint


def chi_square(counts: Tensor, probabilities: Tensor, fewest: float = 5.0) -> tuple[float, int, float]:
    """Statistic, cells and p-value; cells that expect fewer than ``fewest`` draws are pooled into one. A draw that is
    impossible under the law gives an infinite statistic."""
    expected = probabilities / probabilities.sum() * counts.sum()
    if (counts[probabilities == 0] > 0).any():
        return math.inf, len(counts), 0.0
    rare = expected < fewest
    seen, wanted = counts[~rare], expected[~rare]
    if expected[rare].sum() > 0:
        seen = torch.cat([seen, counts[rare].sum()[None]])
        wanted = torch.cat([wanted, expected[rare].sum()[None]])
    statistic = float(((seen - wanted) ** 2 / wanted).sum())
    return statistic, len(seen), float(chi2.sf(statistic, len(seen) - 1)) if len(seen) > 1 else 1.0


def _restrict(method: Any, prompt: Tensor, tokens: Tensor) -> Any:
    """The method with every model inside it, and every table, restricted to the same tokens after the same prompt."""
    if hasattr(method, "loaded"):
        method = method.loaded()
    changed = {}
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if isinstance(value, LanguageModel):
            changed[field.name] = Restricted(value, prompt, tokens)
        elif hasattr(value, "restricted"):  # a table of tokens
            changed[field.name] = value.restricted(tokens)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type) and field.init:
            changed[field.name] = _restrict(value, prompt, tokens)
    return replace(method, **changed)
