"""What the claims of syntax probes share: states of a trained and an untrained model, and layers chosen on sentences or
programs that are neither fitted to nor tested on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.compare.claim import ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.evaluation.stats.verdicts import Verdict
from trivium.models.features import features, stream
from trivium.models.sources import load
from trivium.models.system import System
from trivium.models.untrained import untrained

MODEL = "smollm2-135m"
LAYERS = (2, 6, 10, 15, 20, 25)
SEEDS = 5
FITTED, CHOOSING = 0.7, 0.1
"""Shares of the sources that a probe is fitted to, and that the layer is chosen on; the others are for testing."""


@dataclass(frozen=True)
class Read:
    """What is to be read: ``labels`` of all rows, and per text its source and spans."""

    texts: Sequence[str]
    spans: Sequence[Sequence[tuple[int, int]]]
    labels: Tensor
    sources: Sequence[str]


States = Mapping[str, Mapping[int, Tensor]]
"""Of the trained and the untrained model, by layer; the embeddings are layer 0 of the trained one."""


def states(read: Read, bar: Bar, system: System | None = None) -> tuple[States, Tensor]:
    """In one pass per model over all layers; and which text each row is of."""
    system = load(MODEL) if system is None else system
    found: dict[str, dict[int, Tensor]] = {}
    text = torch.zeros(0, dtype=torch.int64)
    for which, model in (("trained", system), ("untrained", untrained(system))):
        bar.note(f"states of {model.name}")
        layers = (0, *LAYERS) if which == "trained" else LAYERS
        made = features(model, read.texts, [stream(layer) for layer in layers], read.spans, batch_size=16, bar=bar)
        found[which], text = {layer: made[stream(layer)] for layer in layers}, made.text
    return found, text


def compared(
    read: Read, known: States, text: Tensor, probe: Any, bar: Bar, details: Callable[..., dict[str, float]]
) -> dict[str, list[Any]]:
    """Per seed, on sources that are neither fitted to nor chosen on: the score of the layer that does best on those to
    choose on, of the trained and of the untrained model, that of the embeddings, that of dealt labels at the best
    layer, and every layer's. Seeds have other parts of the sources, and other draws of the probe."""
    names = list(dict.fromkeys(read.sources))
    place = torch.tensor([names.index(source) for source in read.sources])[text]
    found: dict[str, list[Any]] = {
        name: [] for name in ("best", "untrained", "embeddings", "dealt", "layer", "by layer", "more")
    }
    for seed in range(SEEDS):
        order = torch.randperm(len(names), generator=generator(seed, "claim", "sources"))
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(names))
        share = rank[place] / len(names)
        parts = share < FITTED, (share >= FITTED) & (share < FITTED + CHOOSING), share >= FITTED + CHOOSING
        fit, choose, test = ((rows, read.labels[rows], text[rows]) for rows in parts)

        def fitted(x: Tensor, labels: Tensor, fit: Any = fit, seed: int = seed) -> Any:
            return probe.fit(x[fit[0]], labels, generator=generator(seed, "claim", "probe"), groups=fit[2])

        tested: dict[str, dict[int, float]] = {}
        top: dict[str, int] = {}
        for which, by_layer in known.items():
            bar.note(f"seed {seed}, {which}")
            chosen: dict[int, float] = {}
            tested[which] = {}
            for layer, x in by_layer.items():
                made = fitted(x, fit[1])
                chosen[layer], tested[which][layer] = (
                    made.score(x[rows], labels, groups) for rows, labels, groups in (choose, test)
                )
                bar.advance()
            chosen.pop(0, None)
            top[which] = max(chosen, key=chosen.__getitem__)
        x = known["trained"][top["trained"]]
        numbers = fit[2].unique(return_inverse=True)[1]
        anew = fitted(x, probe.dealt(fit[1], numbers, generator(seed, "claim", "dealt")))
        rows, labels, groups = test
        found["best"].append(tested["trained"][top["trained"]])
        found["untrained"].append(tested["untrained"][top["untrained"]])
        found["embeddings"].append(tested["trained"][0])
        found["dealt"].append(anew.score(x[rows], labels, groups))
        found["layer"].append(top["trained"])
        found["by layer"].append(tested)
        found["more"].append(details(fitted(x, fit[1]), x[rows], labels, groups))
        bar.advance()
    return found


def steps(texts: int) -> int:
    """How far the bar goes."""
    return 2 * texts + SEEDS * (2 * len(LAYERS) + 2)


def verdict(found: Mapping[str, Sequence[Any]], over: Mapping[str, float], note: str) -> ClaimResult:
    """The best layer's score less each of what it is to be above, by more than so much: all intervals above is
    supported, one below contradicted."""
    parts = {
        name: judge([a - b for a, b in zip(found["best"], found[name], strict=True)], more_than=least)
        for name, least in over.items()
    }
    return together(parts, found, note)


def together(parts: Mapping[str, ClaimResult], figures: Mapping[str, Any], note: str) -> ClaimResult:
    """One verdict of several: contradicted where one is, supported where all are."""
    words = {part.verdict for part in parts.values()}
    told = {name: {"verdict": part.verdict, **part.figures} for name, part in parts.items()}
    word: Verdict = "not visible at this scale"
    if "contradicted" in words:
        word = "contradicted"
    elif words == {"supported"}:
        word = "supported"
    return ClaimResult(word, {"parts": told, **figures}, note)
