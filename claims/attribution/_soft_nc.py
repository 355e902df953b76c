"""Soft comprehensiveness of an explainer on SmolLM2, against the same importances in another order."""

from typing import Any

import torch
from torch import Tensor

from claims.attribution._copying import shares
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core import seeds
from trivium.core.progress import Bar
from trivium.core.protocols import Explainer
from trivium.evaluation.faithfulness import Faithfulness, decisive_positions
from trivium.evaluation.stats.verdicts import Verdict
from trivium.models.sources import load
from trivium.models.system import System
from trivium.nn import faithfulness as measured

MODEL = "smollm2-135m"


def both(one: Verdict, other: Verdict) -> Verdict:
    """The verdict on two conditions that must hold together."""
    order: tuple[Verdict, ...] = ("contradicted", "not visible at this scale", "supported")
    return order[min(order.index(one), order.index(other))]


def against_random(explainer: Explainer, bar: Bar, system: System | None = None) -> dict[str, Any]:
    """Per prompt of the faithfulness task: soft-NC, its random control, their difference, and whether the decisive word
    is among the three best tokens (beside the chance of that)."""
    system, task = system or load(MODEL), Faithfulness()
    examples = task.examples("test")
    bar.total += len(examples)
    values, controls, hits, chance = [], [], [], []

    def distribution(embeds: Tensor) -> Tensor:
        return system.model(embeds=embeds, logits_to_keep=1).logits[:, -1].double().log_softmax(-1)

    for example in examples:
        bar.note(example.id)
        ids, target = task.question(system, example)
        scores = explainer(system.model, ids, target, generator=seeds.generator(0, example.id)).scores
        with torch.no_grad():
            embeds = system.model.embed(ids[None])[0]
        importances = measured.importance(scores)
        found = measured.soft(distribution, embeds, importances, generator=seeds.generator(0, example.id, "masks"))
        values.append(found["soft_nc"].value)
        controls.append(found["soft_nc"].control)
        decisive = decisive_positions(system, ids, example.fields["decisive"])
        hits.append(bool(decisive & set(importances.argsort(descending=True, stable=True)[:3].tolist())))
        chance.append(min(1.0, 3 * len(decisive) / len(ids)))
        bar.advance()
    return {
        "gains": [value - control for value, control in zip(values, controls, strict=True)],
        "soft_nc": sum(values) / len(values),
        "soft_nc_random": sum(controls) / len(controls),
        "log_ratio": measured.log_ratio(values, controls),
        "decisive_top3": sum(hits) / len(hits),
        "decisive_top3_by_chance": sum(chance) / len(chance),
    }


def beats_chance(explainer: Explainer, bar: Bar) -> ClaimResult:
    """Whether soft-NC beats its random control; how often the copying models' marked token is first stands beside it
    and decides nothing, since the specification claims nothing there."""
    copying = shares({"ranked_first": explainer}, bar)
    measured = against_random(explainer, bar)
    beats = judge(measured.pop("gains"))
    return ClaimResult(
        beats.verdict,
        {
            "ranked_first": sum(copying["ranked_first"]) / len(copying["ranked_first"]),
            "soft_nc_gain": beats.figures["difference"],
            "copying": copying,
            "smollm2": {**measured, **beats.figures},
        },
        "the copying models are shown beside it and decide nothing: the specification claims nothing there",
    )


def claimed(explainer: Explainer, statement: str) -> Claim:
    """The claim of an explainer that what it names matters more than chance."""
    return Claim(
        statement=statement,
        paper="arXiv:2402.00794 reports positive log ratios of soft-NC over random scores for its baselines.",
        rule="Over 20 prompts on SmolLM2-135M, soft-NC exceeds that of the same importances in random order (95 % "
        "t-interval over prompts).",
        run=lambda bar: beats_chance(explainer, bar),
    )
