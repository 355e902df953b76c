"""The order of the options changes what a model answers to a plain prompt."""

from claims.prompting._asked import asked, mean, source
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.prompting.plain import Plain


def run(bar: Bar) -> ClaimResult:
    found = asked(Plain(), bar)
    return judge(
        found["changed"],
        more_than=0.05,
        note=f"one number per question: 1 where its answer is not the same in all 8 orders; {source()}",
        questions=len(found["changed"]),
        accuracy_by_order=found["accuracies"],
        mean_spread_nats=mean(found["spread"]),
    )


claim = Claim(
    statement="With plain prompting, the order in which the options of a question are listed changes the answer.",
    paper="McIlroy-Young et al. 2024 (arXiv:2406.06581): models of 7 B and more answer CommonsenseQA and MMLU "
    "differently when the options are reordered (figures not checked).",
    rule="The share of questions whose answer differs between 8 orders of their options: supported where its 95 % "
    "interval over questions lies above 0.05.",
    run=run,
)
