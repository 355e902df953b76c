"""Codes of heads that only a task's prompts bring out, against the heads without which the task is lost."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from claims.probing._induction import DEPTH, HEADS, STEPS, WANTED, loss_on_repeats, repeated, trained, unrepeated
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core import seeds
from trivium.core.progress import Bar
from trivium.evaluation.circuits import Circuits
from trivium.models.edits import ablate
from trivium.models.heads import contrasted
from trivium.models.skeleton import Skeleton
from trivium.models.sources import load
from trivium.nn.detection import best_f1, roc_auc
from trivium.probing.discrete_codes import DiscreteCodes

SEEDS = 5
PROMPTS = 100
"""Of each sort."""
SHARE = 0.2
"""Part of the loss gap that a head of the circuit takes with it."""
LEAST = 0.8
DEALS = 20
"""Labels dealt out anew, per model, for the control."""
FITS = 5
"""Autoencoders per model, whose AUCs are averaged: each sees ten prompts only."""
PAIRS = 6
"""Of each task on the pretrained model."""


@torch.no_grad()
def circuit(model: Skeleton, seed: int) -> tuple[Tensor, float]:
    """(layers * heads,) bool: heads whose zeros cost more than a share of the gap; and the gap, in nats."""
    draws = seeds.generator(seed, "truth")
    ids = repeated(100, draws)
    plain = float(loss_on_repeats(model, ids))
    gap = float(loss_on_repeats(model, unrepeated(100, draws))) - plain
    lost = []
    for layer in range(DEPTH):
        for head in range(HEADS):
            with model.edit({f"blocks.{layer}.attn.z": ablate("zero", heads=[head])}):
                lost.append(float(loss_on_repeats(model, ids)) - plain)
    return torch.tensor(lost) > SHARE * gap, gap


def areas(model: Skeleton, truth: Tensor, seed: int) -> dict[str, float]:
    """Of nodes and edge votes, and of nodes under labels that were dealt out anew."""
    draws = seeds.generator(seed, "prompts")
    sorts = [list(make(PROMPTS, draws)[0]) for make in (repeated, unrepeated)]
    x, y = contrasted(model, sorts[0], sorts[1])
    fits = [DiscreteCodes().fit(x, y, generator=seeds.generator(seed, "fit", fit)) for fit in range(FITS)]
    dealt = []
    for deal in range(DEALS):
        anew = y[torch.randperm(len(y), generator=seeds.generator(seed, "deal", deal))]
        probe = fits[deal % FITS]
        dealt.append(float(roc_auc(replace(probe, labels=anew).nodes(), truth)))

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return {
        "nodes": mean([float(roc_auc(probe.nodes(), truth)) for probe in fits]),
        "normalised": mean([float(roc_auc(probe.nodes(normalised=True), truth)) for probe in fits]),
        "edge_votes": mean([float(roc_auc(probe.edge_votes(), truth)) for probe in fits]),
        "f1": mean([best_f1(probe.nodes(), truth)[0] for probe in fits]),
        "dealt": mean(dealt),
    }


def pretrained(bar: Bar) -> dict[str, object]:
    """Indirect objects on SmolLM2, shown beside the claim: heads knocked out by their mean."""
    system = load("smollm2-135m")
    task = Circuits(("ioi",), pairs=PAIRS, batch_size=64)
    (example,) = task.examples("test")
    truth = task.truth(system, example, bar)
    x, y = task.activations(system, example)
    found: dict[str, object] = {"gap": truth.gap, "circuit": truth.heads.nonzero().tolist()}
    for name, method in (("as published", DiscreteCodes()), ("scaled", DiscreteCodes(scale=True))):
        probe = method.fit(x, y, generator=seeds.generator(0, "pretrained"))
        for what, scores in (
            ("nodes", probe.nodes()),
            ("normalised", probe.nodes(normalised=True)),
            ("edge votes", probe.edge_votes()),
        ):
            found[f"{name}, {what}"] = dict(task.score(system, example, scores).values)
    return found


def run(bar: Bar) -> ClaimResult:
    bar.total = SEEDS * STEPS
    rows: list[dict[str, float]] = []
    learnt = []
    for seed in range(SEEDS):
        bar.note(f"model {seed + 1} of {SEEDS}")
        model, loss = trained(seed, bar)
        learnt.append(loss)
        truth, gap = circuit(model, seed)
        if loss >= WANTED or not truth.any() or truth.all():
            rows.append({"gap": gap, "circuit": float(truth.double().mean()), "nodes": math.nan})
            continue
        rows.append({"gap": gap, "circuit": float(truth.double().mean()), **areas(model, truth, seed)})
    shown = [row for row in rows if not math.isnan(row["nodes"])]
    bar.note("indirect objects on a pretrained model")
    beside = pretrained(bar)
    figures = {"seeds": rows, "loss": learnt, "smollm2": beside}
    if len(shown) < SEEDS:
        return ClaimResult(
            "not visible at this scale",
            figures,
            f"only {len(shown)} of {SEEDS} models have learnt to repeat with some of their heads and not with all",
        )
    area = sum(row["nodes"] for row in shown) / len(shown)
    above = judge([row["nodes"] - row["dealt"] for row in shown])
    verdict = above.verdict
    if area < LEAST:
        verdict = "contradicted" if above.verdict == "contradicted" else "not visible at this scale"
    return ClaimResult(
        verdict,
        {"auc": area, "auc_dealt": sum(row["dealt"] for row in shown) / len(shown), **above.figures, **figures},
        "The pretrained model is reported, not judged: its truth are single knockouts on a few prompts.",
    )


claim = Claim(
    statement="Heads with codes that occur on a task's prompts and never on others are those without which the task is "
    "lost, found without knocking any out.",
    paper="O'Neill and Bui 2024: ROC AUC 0.85 to 0.87 of the node score against published circuits of three tasks.",
    rule="Two-layer decoders of attention alone, trained on random tokens said over and over (loss from the second "
    "time on below 0.3 nats); truth: heads whose zeros cost more than 20 % of the loss gap. Over 5 seeds the mean AUC "
    "of the node score is at least 0.8, and its difference to the same scores under labels dealt out anew has a 95 % "
    "t-interval above 0: supported. The AUC below 0.8: not visible, or contradicted where the difference is below 0.",
    run=run,
)
