"""The hidden state behind a sequence, read linearly from each layer of a small decoder, trained and untrained."""

from itertools import pairwise

import torch
from torch import Tensor

from claims.architectures._learning import trained
from claims.probing._layers import together
from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.chains import HiddenMarkov
from trivium.models.features import stream
from trivium.models.skeleton import Skeleton
from trivium.probing._readout import dealt
from trivium.probing.linear_readout import LinearReadout

SEEDS = 5
DEPTH = 4
LENGTH = 96
ROWS = 16
STEPS = 500
RATE = 3e-3
FITTED, TESTED = 150, 150
"""Sequences, of whose later half every eighth place is read."""
SOURCE = {"states": 6, "symbols": 12, "stay": 0.9, "concentration": 1.0}
"""One symbol tells little of the state, many together much."""


def run(bar: Bar) -> ClaimResult:
    """Per seed a source, a decoder trained on it, and the same decoder before training."""
    bar.total = SEEDS * (2 * (DEPTH + 1) + 1)
    scores: dict[str, list[list[float]]] = {"trained": [], "untrained": []}
    control, slopes = [], []
    for seed in range(SEEDS):
        bar.note(f"seed {seed}")
        source = HiddenMarkov(seed=seed, **SOURCE)
        draws = generator(seed, "claim", "text")
        documents = source.draw(STEPS * ROWS // 4, LENGTH, draws)[0].tolist()
        recipe = Llama(width=64, depth=DEPTH, heads=4, context=LENGTH)
        model = trained(
            recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=RATE, documents=documents, bar=bar,
            vocab_size=SOURCE["symbols"],
        )  # fmt: skip
        fresh = recipe.build(SOURCE["symbols"], seed=seed).eval()
        (fit_ids, fit_states), (test_ids, test_states) = (source.draw(n, LENGTH, draws) for n in (FITTED, TESTED))
        for which, one in (("trained", model), ("untrained", fresh)):
            (x, y), (new, true) = read(one, fit_ids, fit_states), read(one, test_ids, test_states)
            row = []
            for layer in range(DEPTH + 1):
                probe = LinearReadout().fit(x[layer], y, generator=draws)
                row.append(probe.score(new[layer], true))
                bar.advance()
            scores[which].append(row)
            if which == "trained":
                anew = dealt(y, torch.arange(len(y)), draws)
                control.append(LinearReadout().fit(x[-1], anew, generator=draws).score(new[-1], true))
                slopes.append(sum(b > a for a, b in pairwise(row)) / DEPTH)
    after, before = scores["trained"], scores["untrained"]
    parts = {
        "last layer over embeddings": judge([row[-1] - row[0] for row in after], more_than=0.05),
        "trained over untrained": judge([max(a[1:]) - max(b[1:]) for a, b in zip(after, before, strict=True)]),
    }
    return together(
        parts,
        {
            "by layer": scores,
            "dealt labels, last layer": control,
            "share of layers that read more than the one below": slopes,
        },
        "The state of a hidden Markov chain must be gathered from many symbols, so that the embeddings tell little of "
        "it. An untrained decoder averages its past and tells something too, which is why it stands beside the trained "
        "one.",
    )


@torch.no_grad()
def read(model: Skeleton, ids: Tensor, states: Tensor) -> tuple[list[Tensor], Tensor]:
    """Activations of each layer at every eighth place of the later half, and the hidden states there."""
    sites = [stream(layer) for layer in range(DEPTH + 1)]
    places = slice(LENGTH // 2, None, 8)
    found: list[list[Tensor]] = [[] for _ in sites]
    for part in ids.split(50):
        with model.capture(*sites) as seen:
            model(part, logits_to_keep=1)
        for into, site in zip(found, sites, strict=True):
            into.append(seen[site][:, places].flatten(0, 1))
    return [torch.cat(parts) for parts in found], states[:, places].flatten()


claim = Claim(
    statement=(
        "What a decoder needs for its task can be read linearly from its last layer better than from its embeddings, "
        "and better than from the same decoder before training."
    ),
    paper=(
        "Alain and Bengio 2016: the error of linear probes falls from layer to layer of a trained network, while that "
        "of an untrained one does not."
    ),
    rule=(
        "Decoders of 4 layers trained on hidden Markov chains of 6 states, accuracy of a linear readout of the state "
        "on fresh sequences: last layer less embeddings above 0.05, and the best layer less the best of the untrained "
        "decoder above 0, both with 95 % t-intervals over 5 seeds, is supported; one interval below is contradicted."
    ),
    run=run,
)
