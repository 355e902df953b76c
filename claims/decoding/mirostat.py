"""Mirostat meets the surprise it is asked for, where a fixed cut lands wherever the prompt takes it."""

import math

from claims.decoding._text import batch, mean, questions
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.decoding.mirostat import Mirostat
from trivium.decoding.top_p import TopP

TARGET, SEEDS = 2.0, range(2)


def run(bar: Bar) -> ClaimResult:
    asked = questions("chat", "code")
    bits: dict[str, list[float]] = {}
    for name, decoder in (("mirostat", Mirostat(TARGET)), ("top_p", TopP(0.95))):
        made = [batch(decoder, asked, seed=seed) for seed in SEEDS]
        bar.advance(len(asked) * len(made))
        bits[name] = [
            -mean([float(one.logprobs[row].mean()) for one in made]) / math.log(2) for row in range(len(asked))
        ]
    middle = mean(bits["top_p"])  # the fixed cut is measured from its own mean: its spread alone counts
    differences = [abs(b - middle) - abs(a - TARGET) for a, b in zip(bits["mirostat"], bits["top_p"], strict=True)]
    note = "bits per token under the uncut model; one difference per prompt, each a mean over seeds"
    return judge(differences, note=note, target=TARGET, bits={name: mean(values) for name, values in bits.items()})


claim = Claim(
    statement="With a target of 2 bits, the surprise of each text lies nearer to it than texts of nucleus sampling lie "
    "to their own mean.",
    paper="Basu et al. 2021: the observed cross-entropy follows the target, while under top-k and top-p it "
    "drifts with the length of the text.",
    rule="Distance of a text's mean surprise from the target, top-p (0.95, from its own mean) minus Mirostat, per "
    "prompt: supported where the 95 % interval is above 0.",
    run=run,
)
