"""At a high temperature min-p stays coherent where top-p does not."""

from claims.decoding._text import batch, mean, questions
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.decoding.min_p import MinP
from trivium.decoding.top_p import TopP

TEMPERATURE, SEEDS = 2.0, range(4)


def run(bar: Bar) -> ClaimResult:
    asked = questions("chat", "code")
    likely: dict[str, list[float]] = {}
    for name, decoder in (("min_p", MinP(0.1, TEMPERATURE)), ("top_p", TopP(0.9, TEMPERATURE))):
        likely[name] = [float(batch(decoder, asked, seed=seed).logprobs.mean()) for seed in SEEDS]
        bar.advance(len(asked) * len(SEEDS))
    differences = [a - b for a, b in zip(likely["min_p"], likely["top_p"], strict=True)]
    note = "coherence stands for the model's own log-probability per token, at temperature 1"
    return judge(differences, note=note, min_p=mean(likely["min_p"]), top_p=mean(likely["top_p"]))


claim = Claim(
    statement="At temperature 2 min-p (0.1) keeps text coherent, top-p (0.9) lets it dissolve.",
    paper="Nguyen et al. 2024, table 1: GSM8K with Mistral 7B at temperature 2 about 7 % with min-p and 0 % with top-p "
    "(quoted from memory).",
    rule="Mean log-probability per token under the model, min-p minus top-p, one mean per seed: supported where the "
    "95 % interval over seeds is above 0.",
    run=run,
)
