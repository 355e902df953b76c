"""Speculative decoding keeps the output and needs fewer passes of the target."""

from claims.decoding._text import batch, questions, system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.decoding._certificate import certify
from trivium.decoding.speculative import Speculative
from trivium.evaluation.stats.verdicts import Verdict


def run(bar: Bar) -> ClaimResult:
    asked = questions("copy", "code")
    saved = []
    for prompt in asked:
        saved.append(batch(Speculative(), [prompt]).trace.mean_accepted_length - 1)
        bar.advance()
    fewer = judge(saved)
    proof = certify(
        Speculative(), system().model, [prompt[0] for prompt in asked[:2]], limit=24, seeds_tried=(0,), bar=bar
    )
    words: dict[str, Verdict] = {"exact": fewer.verdict, "not exact": "contradicted"}
    verdict = words.get(proof.verdict, "not visible at this scale")
    figures = {"tokens_per_pass_beyond_one": fewer.figures, "certificate": proof.to_dict()}
    return ClaimResult(verdict, figures, "; ".join(proof.lines()))


claim = Claim(
    statement="Speculative decoding leaves greedy text and the sampling law unchanged and needs fewer target passes.",
    paper="Leviathan et al. 2023: identical outputs, 2 to 3 times faster on T5-XXL.",
    rule="Supported where the losslessness certificate says exact and the 95 % interval over prompts of tokens per "
    "target pass, minus one, is above 0; contradicted where the certificate says not exact.",
    run=run,
)
