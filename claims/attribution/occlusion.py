"""Occlusion finds the token that a prediction rests on, and names tokens whose removal matters."""

from claims.attribution._copying import shares
from claims.attribution._soft_nc import against_random, both
from trivium.attribution.occlusion import Occlusion
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar


def run(bar: Bar) -> ClaimResult:
    copying = shares({"ranked_first": Occlusion()}, bar)
    known = judge([share - 0.95 for share in copying["ranked_first"]])
    measured = against_random(Occlusion(), bar)
    beats = judge(measured.pop("gains"))
    return ClaimResult(
        both(known.verdict, beats.verdict),
        {
            "ranked_first": known.figures["difference"] + 0.95,
            "soft_nc_gain": beats.figures["difference"],
            "copying": {**copying, **known.figures},
            "smollm2": {**measured, **beats.figures},
        },
        f"known truth: {known.verdict}; soft-NC above random: {beats.verdict}",
    )


claim = Claim(
    statement="Occlusion ranks the token that a prediction rests on first where the truth is known, and what it names "
    "matters more than chance on a pretrained model.",
    paper="arXiv:2402.00794 reports positive log ratios of soft-NC over random scores for its baselines; the "
    "known-truth check is ours.",
    rule="Over five two-layer models trained to copy a marked token, the share of 100 prompts whose marked token has "
    "the largest score exceeds 0.95 (95 % t-interval over models), and over 20 prompts on SmolLM2-135M soft-NC exceeds "
    "that of the same importances in random order (95 % t-interval over prompts). Both must hold.",
    run=run,
)
