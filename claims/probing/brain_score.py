"""Brain scores find the layer that simulated voxels are made from, and reach their ceiling there."""

import torch

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.recordings import simulated
from trivium.data.sentences import sentences
from trivium.data.stories import story
from trivium.models.sources import load
from trivium.models.units import responses
from trivium.probing.brain_score import Alignment, BrainScore

MODEL, TRUE, OTHERS = "smollm2-135m", 15, (0, 29)
SEEDS, STORIES, EACH, DIRECTIONS, SLACK = 5, 60, 6, 10, 0.1


def run(bar: Bar) -> ClaimResult:
    """Sentences of stories; voxels are noisy maps of the leading directions of layer 15's states."""
    system, method = load(MODEL), BrainScore()
    bar.total = 1 + SEEDS
    texts, groups = [], []
    for number in range(STORIES):
        told = [one.strip() for one in sentences(story(7, number).replace("\n", " "))][:EACH]
        texts += told
        groups += [number] * len(told)
    states = responses(system, texts, sites=[f"blocks.{layer}.out" for layer in (*OTHERS, TRUE)])
    bar.advance()
    wide = states[f"blocks.{TRUE}.out"].double()
    wide = (wide - wide.mean(0)) / wide.std(0)
    basis = torch.linalg.svd(wide, full_matrices=False)[2][:DIRECTIONS].mT
    gaps, normalised, raw = [], [], []
    for seed in range(SEEDS):
        made = simulated(
            wide @ basis, torch.tensor(groups), subjects=3, voxels=30, noise=1.0, generator=generator(seed, "voxels")
        )
        found: dict[str, dict[str, Alignment]] = {
            site: method.measure(each, made, generator=generator(seed, "folds")) for site, each in states.items()
        }
        means = {site: sum(one.normalised or 0.0 for one in each.values()) / len(each) for site, each in found.items()}
        own = means.pop(f"blocks.{TRUE}.out")
        gaps.append(own - max(means.values()))
        normalised.append(own)
        raw.append({site: [one.median for one in each.values()] for site, each in found.items()})
        bar.advance(note=f"{own:.3f}")
    judged = judge(gaps)
    verdict = judged.verdict
    mean = sum(normalised) / len(normalised)
    if verdict == "supported" and abs(mean - 1) > SLACK:
        verdict = "contradicted"
    return ClaimResult(
        verdict,
        {**judged.figures, "normalised": normalised, "mean_normalised": mean, "medians": raw, "stimuli": len(texts)},
        f"{len(texts)} sentences of {STORIES} stories, which are held out whole; one model, new subjects for each seed",
    )


claim = Claim(
    statement="Of simulated subjects whose voxels are noisy linear maps of layer 15, layer 15 has a higher brain score "
    "than layers 0 and 29, and reaches its ceiling.",
    paper="A control of the method of AlKhamissi et al. 2024 (arXiv:2406.15109), whose recordings cannot be shipped; "
    "it says nothing of brains.",
    rule=f"Over {SEEDS} draws of subjects, the normalised score of layer 15 less that of the better of the other two: "
    f"95 % t-interval above 0, and its mean normalised score within {SLACK} of 1, for supported; the interval below 0, "
    "or the mean out of reach, for contradicted.",
    run=run,
)
