"""A vote with little noise answers like one without, a vote with much noise does not."""

import torch

from claims.prompting._labelled import interval, snips
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.evaluation.stats.verdicts import Verdict
from trivium.models.sources import load
from trivium.nn.noisy import counted, winners
from trivium.prompting.noisy_vote import NoisyVote

ITEMS = 100
DRAWS = 200
EPSILONS = (0.5, 2.0, 8.0)
WITHIN = 0.1


def run(bar: Bar) -> ClaimResult:
    """The votes once; the noise many times over, since it costs nothing to draw again here."""
    task, system = snips(items=ITEMS), load("smollm2-135m")
    examples = task.examples("test")
    bar.total = len(examples)
    voting = NoisyVote(groups=10, each=2, noise="none").voting(task, generator=generator(0, "claim"))  # type: ignore[arg-type]
    votes, right = [], []
    for example in examples:
        votes.append(voting.votes(system, voting.task.ask(example)))
        right.append(task.labels.index(task.read(example).label))
        bar.advance()
    counts, answers = counted(torch.tensor(votes), len(task.labels)), torch.tensor(right)
    accuracy: dict[str, list[float]] = {}
    arms = [("plain", "none", 0.0), *((f"epsilon {e:g}", "gumbel", 2 / e) for e in EPSILONS)]
    for name, noise, scale in arms:
        draws = generator(1, name)
        hits = torch.zeros(len(answers), dtype=torch.float64)
        for _ in range(DRAWS):
            hits += winners(counts, noise, scale, generator=draws) == answers  # type: ignore[arg-type]
        accuracy[name] = (hits / DRAWS).tolist()
    lost = interval([a - b for a, b in zip(accuracy["plain"], accuracy["epsilon 8"], strict=True)])
    gained = interval([a - b for a, b in zip(accuracy["epsilon 8"], accuracy["epsilon 0.5"], strict=True)])
    verdict: Verdict = "not visible at this scale"
    if lost["high"] < WITHIN and gained["low"] > 0:
        verdict = "supported"
    elif lost["low"] > WITHIN or gained["high"] < 0:
        verdict = "contradicted"
    budgets = {f"{e:g}": NoisyVote(epsilon=e, total=1e6).budget() for e in EPSILONS}
    for budget in budgets.values():
        budget.take(len(examples))
    figures = {
        "accuracy": {name: sum(values) / len(values) for name, values in accuracy.items()},
        "plain minus epsilon 8": lost,
        "epsilon 8 minus epsilon 0.5": gained,
        "questions": len(examples),
        "what they give away together": {name: str(budget) for name, budget in budgets.items()},
    }
    return ClaimResult(verdict, figures, "10 groups of 2 private examples; means over 200 draws of the noise per item")


claim = Claim(
    statement="On SNIPS intents a noisy vote at epsilon 8 a question is within 10 points of the vote without noise, "
    "and better than at epsilon 0.5.",
    paper="Wu et al. 2024 (arXiv:2305.01639): private in-context learning is competitive with the non-private one "
    "(abstract; figures not checked).",
    rule="95 % intervals over items on SmolLM2-135M: supported where that of plain minus epsilon 8 lies below 0.1 and "
    "that of epsilon 8 minus epsilon 0.5 above 0; contradicted where the first lies above 0.1 or the second below 0.",
    run=run,
)
