"""A small model cannot tell what a sentence truly says of itself; asked, it says the same of all."""

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.evaluation.self_reference import SelfReference
from trivium.evaluation.stats.intervals import Interval, mean_interval, proportion_interval
from trivium.models.sources import load

STATEMENTS = 200
HALF = 0.5


def run(bar: Bar) -> ClaimResult:
    """Two hundred statements of our own, each with a true and a false ending, completed and judged."""
    task, system = SelfReference(items=STATEMENTS), load("smollm2-135m")
    examples = task.examples("test")
    bar.total = len(examples)
    seen: list[tuple[str, dict[str, float]]] = []
    for example in examples:
        seen.append((example.fields["group"], dict(task.score(system, example).values)))
        bar.advance()
    found: dict[str, Interval] = {
        name: proportion_interval([values[name] for _, values in seen])
        for name in ("generation", "continuation", "relative")
    }
    found |= {name: mean_interval([values[name] for _, values in seen]) for name in ("validation", "said_true")}
    near = [_holds_half(found[name]) for name in ("generation", "validation")]
    biased = not _holds_half(found["said_true"])
    verdict = "not visible at this scale"
    if all(near) and biased:
        verdict = "supported"
    elif not any(near):
        verdict = "contradicted"
    kinds = sorted({kind for kind, _ in seen})
    return ClaimResult(
        verdict,
        {
            **{name: [one.mean, one.low, one.high] for name, one in found.items()},
            "generation_by_kind": {kind: _mean([v["generation"] for k, v in seen if k == kind]) for kind in kinds},
            "validation_by_kind": {kind: _mean([v["validation"] for k, v in seen if k == kind]) for kind in kinds},
            "statements": len(seen),
        },
        "Our own statements, made from few templates, so that intervals over statements are too narrow; one model of "
        "135M parameters, asked without examples.",
    )


def _holds_half(interval: Interval) -> bool:
    return interval.low is not None and interval.high is not None and interval.low <= HALF <= interval.high


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


claim = Claim(
    statement="A pretrained model of 135M parameters completes and judges statements about themselves at chance, and "
    "says of clearly more or fewer than half of them that they are true.",
    paper="Thrush et al. 2024 (arXiv:2401.05300): models are close to chance in both tasks; one is consistently above, "
    "in the range of 60 %; people have 89 to 93 % (abstract).",
    rule="95 % intervals over 200 statements: those of generation (Wilson) and validation (t) hold one half and that "
    "of the share judged true does not: supported. Neither of the first two holds one half: contradicted. Otherwise "
    "not visible. By kind of claim is shown and does not decide.",
    run=run,
)
