"""Soft comprehensiveness tells a true attribution from one that knows nothing, and that from one that is wrong."""

from itertools import pairwise
from typing import Any

import torch

from claims.attribution._copying import LENGTH, SEEDS, STEPS, copier, prompts
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core import seeds
from trivium.core.progress import Bar
from trivium.nn import faithfulness as measured

QUESTIONS = 20


def run(bar: Bar) -> ClaimResult:
    """Compare pointing at the truth, pointing beside it, and knowing nothing, where the truth is known."""
    bar.total = SEEDS * STEPS
    differences: list[float] = []
    figures: dict[str, Any] = {"truth": [], "beside": [], "nothing": [], "accuracy": []}
    for seed in range(SEEDS):
        model, accuracy = copier(seed, bar)

        def distribution(embeds: torch.Tensor, model: torch.nn.Module = model) -> torch.Tensor:
            return model(embeds=embeds, logits_to_keep=1).logits[:, -1].double().log_softmax(-1)

        ids, places = prompts(QUESTIONS, seeds.generator(seed, "questions"))
        scores = {"truth": [], "beside": [], "nothing": []}
        for row, place in zip(ids, places.tolist(), strict=True):
            with torch.no_grad():
                embeds = model.embed(row[None])[0]
            eye = torch.eye(LENGTH, dtype=torch.float64)
            named = {"truth": eye[place], "beside": eye[(place + 1) % LENGTH], "nothing": eye.mean(0)}
            for name, importances in named.items():
                found = measured.soft(distribution, embeds, importances, generator=seeds.generator(seed, "masks"))
                scores[name].append(found["soft_nc"].value)
        means = {name: sum(values) / QUESTIONS for name, values in scores.items()}
        ordered = [means["truth"], means["nothing"], means["beside"]]
        differences.append(min(better - worse for better, worse in pairwise(ordered)))
        for name, value in means.items():
            figures[name].append(value)
        figures["accuracy"].append(accuracy)
    best, middle, least = (sum(figures[name]) / SEEDS for name in ("truth", "nothing", "beside"))
    note = f"mean soft-NC {best:.3f} for the truth, {middle:.3f} for naming all alike, {least:.3f} for the token beside"
    return judge(differences, note=note, **figures)


claim = Claim(
    statement="Where the truth is known, soft comprehensiveness is larger for the attribution that names the decisive "
    "token than for one that names all alike, and larger for that than for one that names a token beside it.",
    paper="arXiv:2402.00794 and arXiv:2305.10496 use the measure to rank attributions; the known-truth check is ours.",
    rule="Over five two-layer models trained to copy a marked token, the smaller of the two differences of mean "
    "soft-NC over 20 prompts exceeds 0 (95 % t-interval over models).",
    run=run,
)
