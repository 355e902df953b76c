"""Units that respond to language on some sentences respond to it on others."""

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.localiser import localiser
from trivium.models.sources import load
from trivium.models.units import flat, responses
from trivium.probing.localisation import Localisation, overlap

SEEDS, STIMULI, TIMES = 5, 120, 5.0
MODEL = "smollm2-135m"


def run(bar: Bar) -> ClaimResult:
    """The top 1 % of all units, found on either half of the pairs of each of five sets of stimuli."""
    system, method = load(MODEL), Localisation(share=0.01)
    bar.total = SEEDS
    ratios, shares, layers, read = [], [], [], []
    for seed in range(SEEDS):
        contrast = localiser(STIMULI, seed)
        x, y = flat(responses(system, contrast.texts)), contrast.labels.long()
        even = contrast.groups % 2 == 0
        first, second = (method.fit(x[half], y[half], generator=generator(seed)) for half in (even, ~even))
        shared, chance = overlap(first.mask, second.mask)
        ratios.append(shared / chance)
        shares.append(shared)
        layers.append(first.mask.view(system.model.depth, -1).sum(1).tolist())
        read.append(first.score(x[~even], y[~even]))
        bar.advance(note=f"overlap {shared:.2f}")
    found = judge(ratios, more_than=TIMES)
    return ClaimResult(
        found.verdict,
        {**found.figures, "overlap": shares, "units_in_each_layer": layers, "accuracy_on_the_other_half": read},
        "one difference per set of stimuli: the overlap over what random masks of one size share",
    )


claim = Claim(
    statement="The top 1 % of SmolLM2-135M's units by sentences against pseudo-words, found on one half of the "
    "stimuli, are found again on the other half.",
    paper="AlKhamissi et al. 2024 (arXiv:2406.15109) localise 4096 units so; figures of replication unverified.",
    rule=f"Over {SEEDS} sets of {STIMULI} sentences and as many strings, the overlap of the two halves' masks over "
    f"chance: 95 % t-interval above {TIMES:g} for supported, below for contradicted.",
    run=run,
)
