"""Models of one loss on a source whose entropy is known: does flatness tell which of them know its hidden state?"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.seeds import generator, numpy_generator
from trivium.evaluation.flatness import Flatness
from trivium.models.skeleton import Skeleton

STATES, VOCAB = 8, 16
WIDTHS = (32, 64)
SEEDS = 5
STEPS = (800, 2400, 7200)
"""Updates of a run: as many as it takes to converge, three times and nine times as many."""
LENGTH = 32
ROWS = 16
BLOCK = 100
"""Updates whose texts are drawn at once."""
RATE = 5e-3
NEAR = 0.005
"""Nats above the entropy of the source up to which a model counts as having its loss."""
MODELS = 24
TEXTS = 16
DRAWS = 8
RESAMPLES = 10_000


class Source:
    """A hidden Markov chain: where it goes and what it shows, each drawn once."""

    def __init__(self) -> None:
        rng = numpy_generator(0, "source")
        self.moves = torch.from_numpy(rng.dirichlet([1.0] * STATES, STATES))  # (state, next state)
        self.shows = torch.from_numpy(rng.dirichlet([0.3] * VOCAB, STATES))  # (state, symbol)

    def draw(self, rows: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Symbols and states, (rows, LENGTH) each; the first state is any."""
        state = torch.randint(STATES, (rows,), generator=draw)
        states = [state]
        for _ in range(LENGTH - 1):
            state = torch.multinomial(self.moves[state], 1, generator=draw)[:, 0]
            states.append(state)
        path = torch.stack(states, 1)
        return torch.multinomial(self.shows[path.flatten()], 1, generator=draw).view_as(path), path

    def nats(self, ids: Tensor) -> float:
        """Mean of -ln p(symbol | those before it) under the source itself, but for the first symbol."""
        belief = torch.full((len(ids), STATES), 1 / STATES, dtype=torch.float64)
        total = 0.0
        for t in range(LENGTH):
            joint = belief * self.shows[:, ids[:, t]].mT
            seen = joint.sum(1, keepdim=True)
            total -= float(seen.log().sum()) if t else 0.0
            belief = (joint / seen) @ self.moves
        return total / (len(ids) * (LENGTH - 1))


def run(bar: Bar) -> ClaimResult:
    """Two widths and five seeds, each trained for three lengths; over the models of one loss, rank correlation of the
    trace with what a linear probe reads of the state."""
    bar.total = len(WIDTHS) * SEEDS * len(STEPS)
    source = Source()
    held, path = source.draw(256, generator(0, "held out"))
    entropy = source.nats(held)
    found: list[dict[str, float]] = []
    for seed in range(SEEDS):
        for width in WIDTHS:
            for steps in STEPS:
                bar.note(f"width {width}, seed {seed}, {steps} updates")
                fresh = Llama(width=width, context=LENGTH).build(VOCAB, seed=seed)
                model = taught(fresh, source, seed, steps)
                traces = Flatness(draws=DRAWS).measure(model, held[:TEXTS], generator=generator(seed, "traces"))
                found.append(
                    {
                        "run": len(WIDTHS) * seed + WIDTHS.index(width),
                        "width": width,
                        "steps": steps,
                        "above_entropy": loss_of(model, held) - entropy,
                        "probe": probed(model, held, path),
                        **traces.means(),
                    }
                )
                bar.advance()

    kept = [one for one in found if abs(one["above_entropy"]) <= NEAR]
    figures: dict[str, object] = {"entropy": entropy, "models": found, "of_one_loss": len(kept)}
    note = (
        f"One source of {STATES} states and {VOCAB} symbols, {min(WIDTHS)} and {max(WIDTHS)} wide, one untuned "
        "learning rate; the interval resamples pairs of width and seed, of which each gives up to three models."
    )
    if len(kept) < MODELS:
        note = f"Only {len(kept)} of {MODELS} models came within {NEAR} nats of the entropy. {note}"
        return ClaimResult("not visible at this scale", figures, note)
    low, high = interval(kept, "trace_gn")
    others = {name: rank_correlation(kept, name) for name in ("trace_hessian", "relative_gn", "above_entropy")}
    figures |= {"spearman": rank_correlation(kept, "trace_gn"), "low": low, "high": high, "others_shown": others}
    if high < 0:
        return ClaimResult("supported", figures, note)
    return ClaimResult("contradicted" if low > 0 else "not visible at this scale", figures, note)


def taught(model: Skeleton, source: Source, seed: int, steps: int) -> Skeleton:
    """Updates on text that is never seen twice; the rate rises shortly and falls to a twentieth."""
    texts = torch.empty(0)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    for step in range(steps):
        for group in optimiser.param_groups:
            fallen = 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2
            group["lr"] = RATE * fallen * min(1.0, (step + 1) / 20)
        if step % BLOCK == 0:
            texts, _ = source.draw(ROWS * BLOCK, generator(seed, "text", step))
        ids = texts[step % BLOCK :: BLOCK]
        loss = F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()


@torch.no_grad()
def loss_of(model: Skeleton, ids: Tensor) -> float:
    """Nats per symbol, but for the first."""
    logits = torch.cat([model(part).logits[:, :-1] for part in ids.split(32)])
    return float(F.cross_entropy(logits.flatten(0, 1).double(), ids[:, 1:].flatten()))


@torch.no_grad()
def probed(model: Skeleton, ids: Tensor, path: Tensor) -> float:
    """How often a linear map of what enters the head names the hidden state: fitted by ridge regression on one half of
    the rows, counted on the other."""
    hidden = torch.cat([model(part).hidden for part in ids.split(32)]).double()
    hidden = F.pad(hidden, (0, 1), value=1.0)
    half = len(ids) // 2
    x, y = hidden[:half].flatten(0, 1), F.one_hot(path[:half].flatten(), STATES).double()
    weight = torch.linalg.solve(x.mT @ x + 1e-2 * torch.eye(x.shape[1], dtype=x.dtype), x.mT @ y)
    return float(((hidden[half:] @ weight).argmax(-1) == path[half:]).double().mean())


def rank_correlation(models: Sequence[dict[str, float]], name: str) -> float:
    """Spearman's, with the probe; 0 where one of the two does not vary."""
    value = float(stats.spearmanr([one[name] for one in models], [one["probe"] for one in models])[0])  # type: ignore[arg-type]
    return 0.0 if math.isnan(value) else value


def interval(models: Sequence[dict[str, float]], name: str) -> tuple[float, float]:
    """95 % of the rank correlations when pairs of width and seed are drawn anew."""
    runs: dict[float, list[dict[str, float]]] = {}
    for one in models:
        runs.setdefault(one["run"], []).append(one)
    groups, rng = list(runs.values()), numpy_generator(0, "bootstrap")
    drawn = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(groups), size=len(groups))
        drawn.append(rank_correlation([one for index in chosen for one in groups[index]], name))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


claim = Claim(
    statement=(
        "Among models that have reached the entropy of a hidden Markov source, the flatter ones let a linear probe "
        "read more of its hidden state."
    ),
    paper=(
        "Liu et al. 2023: among models of one pre-training loss, the trace of the Hessian correlates strongly with "
        "downstream accuracy and the loss does not; in a synthetic language the flattest model transfers."
    ),
    rule=(
        "Spearman's correlation of the Gauss-Newton trace with the accuracy of the probe, over at least 24 models "
        "within 0.005 nats of the source's entropy (two widths, five seeds, 800, 2400 and 7200 updates). Its "
        "95 % bootstrap interval over widths and seeds wholly below 0: supported; wholly above: contradicted; "
        "otherwise, or with fewer models of one loss: not visible."
    ),
    run=run,
)
