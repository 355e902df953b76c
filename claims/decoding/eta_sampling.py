"""Where the model is unsure, eta sampling keeps what belongs to the distribution and top-p cuts it."""

from claims.decoding._text import mean
from claims.decoding._truncation import kept_where_unsure
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.decoding.epsilon_sampling import EpsilonSampling
from trivium.decoding.eta_sampling import EtaSampling
from trivium.decoding.top_p import TopP


def run(bar: Bar) -> ClaimResult:
    rules = {"eta": EtaSampling(9e-4).keep, "epsilon": EpsilonSampling(9e-4).keep, "top_p": TopP(0.95).keep}
    kept = kept_where_unsure(rules, bar)
    differences = [a - b for a, b in zip(kept["eta"], kept["epsilon"], strict=True)]
    return judge(
        differences, note="one difference per prompt", kept={name: mean(values) for name, values in kept.items()}
    )


claim = Claim(
    statement="Where entropy is high, the relative threshold of eta sampling keeps probability that epsilon sampling "
    "with the same epsilon cuts.",
    paper="Hewitt et al. 2022: an absolute threshold alone cuts too much where the true distribution is "
    "wide; the relative one is the remedy.",
    rule="Probability kept at the quarter of steps with the highest entropy, eta minus epsilon (both 0.0009), over "
    "prompts: supported where the 95 % interval is above 0.",
    run=run,
)
