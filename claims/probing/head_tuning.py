"""The risk of a linear head as what it reads grows: features of a chain, and states of decoders of several widths."""

import math
import statistics
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from claims.architectures._learning import trained
from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.chains import GaussianChain, HiddenMarkov
from trivium.models.skeleton import Skeleton
from trivium.probing.head_tuning import HeadTuning

HEADS = {"plain": HeadTuning(), "tuned": HeadTuning(ridge=None)}

SEEDS = 20
REPEATS = 15
SIZE = 400
EXAMPLES = 40
FEATURES = (0, 4, 10, 20, 30, 38, 40, 42, 60, 100, 200, 400)
TESTED = 500

MODEL_SEEDS = 5
WIDTHS = (8, 16, 32, 64, 128, 256)
LABELLED = 64
DRAWS = 15
"""Sets of labelled rows per model, of which the median risk counts."""
STEPS = 400
LENGTH = 128
ROWS = 16
RATE = 3e-3
NOISE = 1.0
"""Standard deviation of the noise in the labels of states, whose signal has variance 1."""

VANISHED = math.log(1.25)
"""A peak below this, in logarithms of the risk, counts as none."""


def run(bar: Bar) -> ClaimResult:
    """Medians of the risk over repeats, per seed; then over sets of labels, per seed and width of a trained decoder."""
    bar.total = SEEDS + MODEL_SEEDS * len(WIDTHS)
    chain: dict[str, list[list[float]]] = {name: [] for name in HEADS}
    for seed in range(SEEDS):
        bar.note(f"chain, seed {seed}")
        for name, row in chain_risks(seed).items():
            chain[name].append(row)
        bar.advance()
    models: dict[str, list[list[float]]] = {name: [] for name in HEADS}
    ranks = []
    for seed in range(MODEL_SEEDS):
        source = HiddenMarkov(seed=seed)
        draws = generator(seed, "text")
        documents = source.draw(STEPS * ROWS // 4, LENGTH, draws)[0].tolist()
        rows: dict[str, list[float]] = {name: [] for name in HEADS}
        ranks.append([])
        for width in WIDTHS:
            bar.note(f"width {width}, seed {seed}")
            recipe = Llama(width=width, context=LENGTH)
            model = trained(
                recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=RATE, bar=bar, documents=documents
            )
            found, rank = state_risks(model, source, seed)
            ranks[-1].append(rank)
            for name, risk in found.items():
                rows[name].append(risk)
        for name, row in rows.items():
            models[name].append(row)

    parts = {
        **shape("chain", FEATURES, chain, low=0, peak=EXAMPLES, high=SIZE),
        **shape("decoders", WIDTHS, models, low=WIDTHS[0], peak=LABELLED, high=WIDTHS[-1]),
    }
    words = {part.verdict for part in parts.values()}
    if words == {"supported"}:
        verdict = "supported"
    elif "contradicted" in words:
        verdict = "contradicted"
    else:
        verdict = "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in parts.items()},
            "chain": {"features": FEATURES, **{name: medians(rows) for name, rows in chain.items()}},
            "decoders": {"widths": WIDTHS, **{name: medians(rows) for name, rows in models.items()}, "ranks": ranks},
            "examples": {"chain": EXAMPLES, "decoders": LABELLED},
        },
        "A statement about least squares on features, shown on made sources; it says nothing of large language models "
        "by itself. Labels are a linear function of the hidden state and as much noise. The rank of the states is "
        "told beside the width, since what states span may stop growing.",
    )


def shape(
    what: str,
    sizes: Sequence[int],
    risks: Mapping[str, Sequence[Sequence[float]]],
    *,
    low: int,
    peak: int,
    high: int,
) -> dict[str, ClaimResult]:
    """Rise to the peak, fall from it, and what a tuned ridge leaves of it, in logarithms of the risk per seed."""
    at = {size: index for index, size in enumerate(sizes)}

    def log(name: str, size: int) -> list[float]:
        return [math.log(row[at[size]]) for row in risks[name]]

    def height(name: str) -> list[float]:
        """Of the peak above the higher of its feet."""
        ends = zip(log(name, low), log(name, high), strict=True)
        return [top - max(end) for top, end in zip(log(name, peak), ends, strict=True)]

    rise = [b - a for a, b in zip(log("plain", low), log("plain", peak), strict=True)]
    fall = [a - b for a, b in zip(log("plain", peak), log("plain", high), strict=True)]
    return {
        f"{what}, rise": judge(rise, more_than=VANISHED),
        f"{what}, fall": judge(fall, more_than=VANISHED),
        f"{what}, no peak with a tuned ridge": judge([VANISHED - h for h in height("tuned")]),
    }


def medians(rows: Sequence[Sequence[float]]) -> list[float]:
    """Over seeds, of each size."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def chain_risks(seed: int) -> dict[str, list[float]]:
    """Median risk of each number of features: 40 neighbours of one chain are labelled, and another chain is tested."""
    source = GaussianChain(size=SIZE, seed=seed)
    found: dict[str, dict[int, list[float]]] = {name: {p: [] for p in FEATURES} for name in HEADS}
    for repeat in range(REPEATS):
        draws = generator(seed, "chain", repeat)
        (x, y), fresh = source.draw(EXAMPLES, draws), source.draw(TESTED, draws)
        for name, head in HEADS.items():
            for p in FEATURES:
                fitted = head.fit(x[:, :p], y, generator=draws)
                found[name][p].append(fitted.score(fresh[0][:, :p], fresh[1]))
    return {name: [statistics.median(risks[p]) for p in FEATURES] for name, risks in found.items()}


@torch.no_grad()
def state_risks(model: Skeleton, source: HiddenMarkov, seed: int) -> tuple[dict[str, float], int]:
    """Median risk of heads on what enters the model's own head at the last place of a row, and the rank of that."""
    draws = generator(seed, "labels")
    values = torch.randn(source.states, generator=draws, dtype=torch.float64)
    values = (values - values.mean()) / values.std(correction=0)

    def labelled(rows: int) -> tuple[Tensor, Tensor]:
        ids, states = source.draw(rows, LENGTH, draws)
        hidden = torch.cat([model(part).hidden[:, -1] for part in ids.split(64)]).double()
        noise = torch.randn(rows, generator=draws, dtype=torch.float64)
        return hidden, values[states[:, -1]] + NOISE * noise

    fresh = labelled(TESTED)
    found: dict[str, list[float]] = {name: [] for name in HEADS}
    ranks = []
    for _ in range(DRAWS):
        x, y = labelled(LABELLED)
        for name, head in HEADS.items():
            fitted = head.fit(x, y, generator=draws)
            found[name].append(fitted.score(*fresh))
            ranks.append(fitted.rank)
    return {name: statistics.median(risks) for name, risks in found.items()}, round(statistics.median(ranks))


claim = Claim(
    statement=(
        "The risk of a least-squares head on frozen features rises with their number up to the number of labelled "
        "examples and falls beyond it; with a ridge tuned on the training examples there is no peak."
    ),
    paper=(
        "Luo et al. 2024: risk of head tuning on hidden Markov models first rises and then falls with the size of the "
        "model, whose first descent is degenerate: the best size is 0."
    ),
    rule=(
        "Six parts, in logarithms of the median risk, each with a 95 % t-interval over seeds above its bound. Chain of "
        "400 features, 40 labels, 20 seeds: risk at 40 features over that at 0, and over that at 400, more than 1.25 "
        "times; with a tuned ridge the risk at 40 less than 1.25 times the higher of the two. States of decoders of "
        "width 8 to 256 trained on a hidden Markov model, 64 labels, 5 seeds: the same three at widths 64, 8 and 256. "
        "All: supported; any interval below its bound: contradicted; otherwise not visible."
    ),
    run=run,
)
