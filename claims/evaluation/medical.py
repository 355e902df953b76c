"""A small model knows little medicine, and what it knows it tells by the text of an answer, not by its letter."""

from claims.evaluation._shared import folder
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.evaluation.medical import Medical, by_subject
from trivium.evaluation.stats.multiplicity import holm
from trivium.models.sources import load

QUESTIONS = 100
SHOTS = (0, 5)
LEVEL = 0.05


def run(bar: Bar) -> ClaimResult:
    """A hundred questions of each of six subjects, by letter and by text, without examples and with five."""
    data, system = str(folder("mmlu_medical")), load("smollm2-135m")
    bar.total = 2 * len(SHOTS)
    figures, accuracy, p = {}, {}, {}
    for by in ("letter", "text"):
        for shots in SHOTS:
            task = Medical(data, items=QUESTIONS, by=by, shots=shots)
            examples = task.examples("test")
            seen = [task.score(system, example) for example in examples]
            name = f"{by}, {shots} shots"
            found = by_subject(examples, seen)
            accuracy[name] = {subject: one.interval.mean for subject, one in found.items()}
            p |= {(name, subject): one.above for subject, one in found.items()}
            figures[name] = {s: [one.interval.mean, one.interval.low, one.interval.high] for s, one in found.items()}
            if by == "text" and not shots:
                size = sum(each.values["bytes"] for each in seen)
                for what in ("bits", "gain"):
                    figures[f"{what}_per_byte"] = sum(each.values[what] * each.values["bytes"] for each in seen) / size
            bar.advance()
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    known = {name: [s for (n, s), value in corrected.items() if n == name and value < LEVEL] for name in accuracy}
    ahead = judge([accuracy["text, 0 shots"][s] - accuracy["letter, 0 shots"][s] for s in accuracy["text, 0 shots"]])
    letters = known["letter, 0 shots"]
    verdict = "contradicted" if letters else "not visible at this scale"
    if not letters and known["text, 0 shots"]:
        verdict = "supported"
    return ClaimResult(
        verdict,
        {
            **figures,
            "above_chance_after_holm": known,
            "text_minus_letter_without_examples": {"verdict": ahead.verdict, **ahead.figures},
            "tests": len(p),
            "questions_per_subject": QUESTIONS,
        },
        "One wording each, chosen before any result; one model of 135M parameters. Six of MMLU's subjects, in part.",
    )


claim = Claim(
    statement="A pretrained model of 135M parameters answers medical questions at chance by letter in every subject, "
    "and above chance by the answer's text in at least one.",
    paper="Posada et al. 2024 (arXiv:2406.16611): models of 110M to 13B parameters have useful knowledge without "
    "training for the domain (abstract; figures unverified).",
    rule="Exact test against guessing for each of six subjects, letter and text, 0 and 5 shots, Holm over all 24 at "
    "5 %. Without examples: none by letter and one or more by text is supported; any by letter contradicts; else not "
    "visible. Five shots are shown and do not decide.",
    run=run,
)
