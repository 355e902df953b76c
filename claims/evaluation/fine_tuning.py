"""What pretraining is worth to a classifier: the same network taught from its trained weights and from random ones."""

from dataclasses import replace
from pathlib import Path

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.evaluation.fine_tuning import FineTuning
from trivium.models.skeleton import Skeleton
from trivium.models.sources import load

SNIPS = Path(__file__).resolve().parents[3] / "shared" / "data" / "snips"
SEEDS, LEARNT, ITEMS, EPOCHS = 5, 100, 200, 10
RATES = (3e-4, 1e-3, 3e-3)


def run(bar: Bar) -> ClaimResult:
    """The model that ships on intents, every weight trained, each arm with the rate that suits it on validation."""
    system = load("tiny")
    model = system.model
    assert isinstance(model, Skeleton)
    task = FineTuning(
        str(SNIPS) if SNIPS.is_dir() else "", rates=RATES, epochs=EPOCHS, size=16, learnt=LEARNT, items=ITEMS, seeds=1
    )
    bar.total = 2 * SEEDS
    found: dict[str, list[float]] = {"pretrained": [], "random": []}
    majority = 0.0
    for seed in range(SEEDS):
        plain = replace(system, model=model.recipe.build(model.vocab_size, seed=seed), name="random", fingerprint="")
        for arm, made in (("pretrained", system), ("random", plain)):
            bar.note(f"{arm}, seed {seed}")
            (told,) = replace(task, first_seed=seed).results(made).values()
            found[arm] += told.accuracies
            majority = told.majority
            bar.advance()
    return judge(
        [a - b for a, b in zip(found["pretrained"], found["random"], strict=True)],
        note=f"{'SNIPS' if task.path else 'own items'}, {LEARNT} items to learn from; rates of {RATES}, chosen on "
        "validation for each seed and arm; the random arm draws its weights anew for each seed",
        accuracy=found,
        majority=majority,
    )


claim = Claim(
    statement="A model that was pretrained is taught a task of texts with labels better than the same network from "
    "random weights.",
    paper="Hu et al. 2024 (arXiv:2412.05149) fine-tune on (Super)GLUE to tell what pretraining gave: 10M words, "
    "BabyLlama 63.3, LTG-BERT 60.3 on average (repository's README; their sets are not here).",
    rule="Paired difference of test accuracy on SNIPS' intents, pretrained minus random weights, over 5 seeds, both "
    "with equal trials of the learning rate: 95 % t-interval above 0 for supported, below 0 for contradicted.",
    run=run,
)
