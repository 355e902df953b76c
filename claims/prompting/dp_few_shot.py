"""Exemplars written under differential privacy tell a small model more than none do."""

from typing import Any

from claims.prompting._labelled import snips
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.protocols import Prompting
from trivium.core.seeds import generator
from trivium.models.sources import load
from trivium.prompting.dp_few_shot import DpFewShot
from trivium.prompting.random_exemplars import RandomExemplars

SEEDS = 4
ITEMS = 60
LIMIT = 12


def run(bar: Bar) -> ClaimResult:
    task, system = snips(items=ITEMS), load("smollm2-135m")
    private = DpFewShot(shots=1, groups=10, each=2, limit=LIMIT, epsilon=4.0)
    arms: dict[str, Prompting] = {  # type: ignore[assignment]
        "private": private,
        "none": RandomExemplars(0),
        "real": RandomExemplars(len(task.labels)),
    }
    bar.total = SEEDS * len(arms)
    found: dict[str, list[float]] = {name: [] for name in arms}
    budgets, texts = "", []
    for seed in range(SEEDS):
        for name, method in arms.items():
            steps = method(task, system, generator=generator(seed, "claim", name))
            seen = [task.score(system, example, steps).values["accuracy"] for example in task.examples("test")]
            found[name].append(sum(seen) / len(seen))
            if name == "private" and not texts:
                made: Any = steps
                texts = [f"{one.label}: {next(iter(one.fields.values()))}" for one in made.wording.exemplars]
                budgets = made.tells()["privacy"]
            bar.advance()
    gaps = [one - other for one, other in zip(found["private"], found["none"], strict=True)]
    return judge(gaps, accuracy=found, budgets_by_label=budgets, exemplars_of_seed_0=texts)


claim = Claim(
    statement="On SNIPS intents one exemplar a label, written at a total epsilon of 4, raises accuracy above that of "
    "no exemplars.",
    paper="Tang et al. 2024 (arXiv:2309.11765): competitive with non-private examples at strong privacy (abstract; "
    "figures not checked).",
    rule="Paired difference over 4 seeds of the accuracy on SmolLM2-135M, private minus none, 95 % t-interval above 0 "
    "for supported, below 0 for contradicted, otherwise not visible. Real exemplars are shown and do not decide.",
    run=run,
)
