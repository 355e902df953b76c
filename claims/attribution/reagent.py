"""ReAGent finds the decisive word of a prompt, and names tokens whose removal matters more than chance."""

from claims.attribution._copying import shares
from claims.attribution._soft_nc import against_random, both
from trivium.attribution.reagent import ReAGent
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar

WANTED = 0.6


def run(bar: Bar) -> ClaimResult:
    copying = shares({"ranked_first": ReAGent()}, bar)
    measured = against_random(ReAGent(), bar)
    beats = judge(measured.pop("gains"))
    found, chance = measured["decisive_top3"], measured["decisive_top3_by_chance"]
    named = "supported" if found >= WANTED > chance else "contradicted"
    return ClaimResult(
        both(beats.verdict, named),
        {
            "decisive_top3": found,
            "decisive_top3_by_chance": chance,
            "soft_nc_gain": beats.figures["difference"],
            "ranked_first": sum(copying["ranked_first"]) / len(copying["ranked_first"]),
            "copying": copying,
            "smollm2": {**measured, **beats.figures},
        },
        f"decisive word among the three best: {named}; soft-NC above random: {beats.verdict}; the copying models are "
        "shown beside it",
    )


claim = Claim(
    statement="ReAGent has the decisive word of a prompt among its three best tokens in most cases, and what it names "
    "matters more than chance on a pretrained model.",
    paper="Zhao and Shan 2024: more faithful than seven baselines over six decoders of 0.3 to 6.9 billion parameters.",
    rule="Over 20 prompts on SmolLM2-135M the decisive word is among the three best tokens for at least 60 % (and less "
    "often by chance), and soft-NC exceeds that of the same importances in random order (95 % t-interval over "
    "prompts). Both must hold.",
    run=run,
)
