"""Four ways to decode, judged in pairs by the model itself: hot sampling comes last, and Elo's order is luck."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from claims.decoding._text import repetition, system
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.openings import openings
from trivium.decoding.sampling import Sampling
from trivium.evaluation.stats.elo import shuffled
from trivium.evaluation.stats.judgements import Judgement, Outcome
from trivium.evaluation.stats.ratings import POINTS, bradley_terry
from trivium.evaluation.stats.verdicts import Verdict

PROMPTS, NEW, SHORT = 80, 64, 10
BATCH = 8
PENALTY = 2.0
"""Nats a token that a text would lose if all of its 4-grams were repeats."""
CLOSE = 0.05
"""Qualities nearer than this are a tie."""
PRIOR = 0.1
"""Precision of the prior: a system that never wins would have no finite rating."""
DECODERS = {
    "greedy": Sampling(temperature=0.0),
    "T = 0.7": Sampling(temperature=0.7),
    "T = 1.5": Sampling(temperature=1.5),
}
WORST, CUT = "T = 1.5", "greedy, 10 tokens"


def run(bar: Bar) -> ClaimResult:
    """Write, judge every pair on every prompt, rate; then let Elo see the judgements in 200 orders."""
    bar.total = len(DECODERS) * -(-PROMPTS // BATCH)
    qualities = written(bar)
    judged = [
        Judgement(f"p{prompt}", a, b, outcome(qualities[a][prompt], qualities[b][prompt]), "likelihood")
        for prompt in range(PROMPTS)
        for a, b in combinations(qualities, 2)
    ]
    rated = bradley_terry(judged, ridge=PRIOR)
    orders = {k: shuffled(judged, orders=200, k=k) for k in (4.0, 32.0)}
    error = float(np.mean(np.sqrt(np.diag(rated.covariance)))) * POINTS
    spread = {f"K = {k:g}": float(np.mean([one.spread for one in found])) for k, found in orders.items()}
    apart = [rated.difference(name, WORST) for name in qualities if name != WORST]
    last = rated[WORST].rank == len(qualities)
    verdict: Verdict = "supported" if last and spread["K = 32"] > error else "not visible at this scale"
    if spread["K = 32"] <= error or any(one.high is not None and one.high < 0 for one in apart):
        verdict = "contradicted"
    figures = {
        "ratings": {row.system: {"score": row.score, "low": row.low, "high": row.high} for row in rated.table},
        "ranks": {row.system: row.rank for row in rated.table},
        "ties": rated.ties,
        "standard_error_points": error,
        "spread_of_elo_points": spread,
        "quality": {name: float(np.mean(values)) for name, values in qualities.items()},
    }
    note = f"{PROMPTS} openings, {NEW} new tokens; prior of precision {PRIOR}, ties within {CLOSE} nats"
    return ClaimResult(verdict, figures, note)


def written(bar: Bar) -> dict[str, list[float]]:
    """The quality of each text of each setting, by prompts."""
    asked = []
    for one in openings(PROMPTS, seed=0):
        asked.append(system().prompt(system().chat(one.text) if one.chat else one.text)[0])
    found: dict[str, list[float]] = {name: [] for name in (*DECODERS, CUT)}
    for name, decoder in DECODERS.items():
        for start in range(0, PROMPTS, BATCH):
            rows = asked[start : start + BATCH]
            longest = max(map(len, rows))
            ids, mask = (
                torch.zeros(len(rows), longest, dtype=torch.int64),
                torch.zeros(len(rows), longest, dtype=torch.bool),
            )
            for row, prompt in enumerate(rows):
                ids[row, longest - len(prompt) :], mask[row, longest - len(prompt) :] = prompt, True
            draw = generator(0, "ratings", name, start)
            made = decoder(system().model, ids, mask=mask, limit=NEW, generator=draw)
            for row in range(len(rows)):
                length = int(made.lengths[row])
                tokens, logprobs = made.row(row).tolist(), made.logprobs[row, :length].tolist()
                found[name].append(quality(tokens, logprobs))
                if name == "greedy":
                    found[CUT].append(quality(tokens[:SHORT], logprobs[:SHORT]))
            bar.advance(1, name)
    return found


def quality(tokens: Sequence[int], logprobs: Sequence[float]) -> float:
    """Mean log-likelihood by the model that wrote the text, less a penalty for the 4-grams that come again."""
    return float(np.mean(logprobs)) - PENALTY * (repetition(tokens) if len(tokens) > 4 else 0.0)


def outcome(a: float, b: float) -> Outcome:
    """The verdict of a judge that looks at quality alone."""
    return "tie" if abs(a - b) < CLOSE else "a" if a > b else "b"


claim = Claim(
    statement="Of greedy decoding, temperatures 0.7 and 1.5, and greedy text cut to 10 tokens, judged by mean "
    "likelihood less repetition, temperature 1.5 is rated last; Elo moves more with the order of the judgements than a "
    "rating errs.",
    paper="Jiang et al. 2025 (arXiv:2503.05085) rate speech models by Elo from pairwise human judgements; that Elo "
    "depends on the order, and Bradley and Terry's model does not, is known of the models themselves.",
    rule="Supported where temperature 1.5 has rank 4, its simultaneous interval wholly below all others, and Elo's "
    "standard deviation over 200 orders (K = 32, mean over systems) exceeds the clustered standard error of a rating. "
    "Contradicted where the difference to another system is wholly negative or the spread is no larger than the error; "
    "else not visible.",
    run=run,
)
