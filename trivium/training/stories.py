"""Learning to tell stories: a value model from preferences, and a policy from the trees of its own searches.

The policy's rounds take turns: it searches from openings, siblings of clearly different worth become pairs, and it
learns them by ORPO in the one training loop. What judges stays what it was: the curve or head, and the reference, a
frozen copy of the model before the first round. Whatever is killed goes on with the trees and from the checkpoint that
are there.
"""

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trivium.core import files, seeds
from trivium.core.capabilities import require_offers
from trivium.core.method import card_of, find, settings
from trivium.core.nouns import Loss
from trivium.core.progress import Bar
from trivium.data.pairs import Pair, PairBatches, Pairs
from trivium.data.sentences import sentences
from trivium.models.fingerprint import fingerprint
from trivium.models.sources import store
from trivium.models.system import System
from trivium.training.drafters import frozen
from trivium.training.loop import train
from trivium.training.record import known_run, note_run
from trivium.training.settings import TrainingSettings


@dataclass(frozen=True)
class Rounds:
    """How a policy learns from its searches."""

    rounds: int = 2
    openings: int = 16
    """Searches of a round."""
    limit: int = 128
    """New tokens of a story at most."""
    gap: float = 0.1
    """Siblings whose Q differ by more become a pair (delta)."""
    epochs: int = 2
    """How often a round's pairs are seen."""
    batch_size: int = 8
    """Pairs in a training batch."""
    micro_batch: int = 8
    """Rows of a pass, two a pair."""
    learning_rate: float = 1e-4
    """The peak of each round."""
    weight: float = 0.1
    """Of the odds in ORPO (lambda)."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "openings", "limit", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.gap < 1:
            raise ValueError(f"gap is a difference of values from 0 to 1, so at least 0 and below 1; got {self.gap}")


def improve(
    system: System,
    searching: Any,
    openings: Sequence[str],
    folder: str | Path,
    *,
    recipe: Rounds = Rounds(),
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Train the system's model, in place, on the trees that ``searching`` (decoding/cosmos) grows with it; the trained
    model goes to ``folder``/model, and figures of each round come back. A round takes the next openings of the list.

    Raises ValueError where no siblings differ by more than the gap, RunMismatch where the folder holds another run.
    """
    if not openings or not all(text.strip() for text in openings):
        raise ValueError("openings are texts to go on from: give at least one, and none that is empty")
    home, model, bar = Path(folder), system.model, bar if bar is not None else Bar(0)
    name = card_of(searching).name
    if not hasattr(searching, "search"):
        raise ValueError(f"{name} grows no trees to learn from; search with cosmos")
    require_offers(name, model, card_of(searching).needs)
    bar.total = recipe.rounds * (recipe.openings + 1.0)
    facts = {
        "model": {"name": system.name, "sha256": fingerprint(model)},
        "searching": settings(searching),
        "recipe": settings(recipe),
        "openings": files.sha256("\x1f".join(openings).encode()),
    }
    searching = system.fit(searching)
    if searching.reference is None:
        searching = replace(searching, reference=copy.deepcopy(model).eval().requires_grad_(False))
    model.eval()
    done = []
    with files.locked(home):
        if known_run(home, facts) is None:
            note_run(home, facts)
        for number in range(recipe.rounds):
            place = home / f"round-{number:02d}"
            trees = [
                _searched(system, searching, openings, number * recipe.openings + at, place, recipe, bar)
                for at in range(recipe.openings)
            ]
            pairs = [Pair(*map(tuple, pair)) for tree in trees for pair in tree["pairs"]]
            if not pairs:
                raise ValueError(
                    f"in round {number + 1} no two siblings differ by more than {recipe.gap} in value, so there is "
                    "nothing to learn; lower gap, or fit the curve to the stories"
                )
            loss = _learnt(system, pairs, place / "training", recipe, number)
            figures = {key: sum(tree[key] for tree in trees) / len(trees) for key in FIGURES}
            done.append({"round": number, "pairs": len(pairs), "loss": loss, **figures})
            bar.advance(note=f"round {number + 1}: {len(pairs)} pairs, loss {loss:.3f}")
        files.write(home / "rounds.json", json.dumps(done, indent=1) + "\n")
        store(system, home / "model")
    return {"folder": str(home / "model"), "rounds": done}


FIGURES = ("value", "surprisal", "repeated")
"""Of a tree: the best trajectory's value, the mean surprisal of all steps to the reference, and the share of repeated
three-word sequences in the best trajectory; the last two tell whether the value is being hacked."""


def _searched(
    system: System, searching: Any, openings: Sequence[str], number: int, place: Path, recipe: Rounds, bar: Bar
) -> dict[str, Any]:
    """What one search found, as it stands in its file."""
    path = place / f"tree-{number:04d}.json"
    if not path.exists():
        (tree,) = searching.search(
            system.model,
            system.prompt(openings[number % len(openings)]),
            limit=recipe.limit,
            generator=seeds.generator(recipe.seed, "tree", number, device=system.model.device),
            stop=system.stop,
        )
        found = {
            "value": tree.best.value,
            "surprisal": tree.surprisal,
            "repeated": tree.repeated(3, lambda ids: system.tokenizer.decode(list(ids)).split()),
            "pairs": [[pair.context, pair.winner, pair.loser] for pair in tree.pairs(recipe.gap)],
        }
        files.write(path, json.dumps(found) + "\n")
    bar.advance(note=f"tree {number + 1}")
    return json.loads(path.read_text(encoding="utf-8"))


def _learnt(system: System, pairs: Sequence[Pair], folder: Path, recipe: Rounds, number: int) -> float:
    """One round's training; the last loss."""
    seed = seeds.derive(recipe.seed, "round", number)
    training = TrainingSettings(
        steps=recipe.epochs * ceil(len(pairs) / recipe.batch_size),
        learning_rate=recipe.learning_rate,
        weight_decay=0.0,
        micro_batch=recipe.micro_batch,
        checkpoint_every=25,
        keep=1,
        seed=seed,
    )
    objective = find("objectives", "orpo")(weight=recipe.weight)
    result = train(system.model, objective, PairBatches(pairs, recipe.batch_size, seed), training, folder=folder)
    if result.diverged:
        raise ValueError(f"round {number + 1} diverged ({result.diverged}); lower learning_rate, in another folder")
    return result.loss


# --- the value model --------------------------------------------------------------------------------------------


def preferences(system: System, stories: Sequence[str], *, seed: int = 0) -> list[Pair]:
    """One pair a story: the sentence that its author wrote next is preferred, in turn, to a sentence of another story,
    which surprises too much, and to the sentence before it once more, which surprises too little. Stories of fewer than
    three sentences, and what exceeds the model's positions, are left out."""
    told = [parts for parts in map(sentences, stories) if len(parts) > 2]
    if len(told) < 2:
        raise ValueError(f"{len(told)} of these {len(stories)} stories have three sentences; at least 2 must")
    draws, found = seeds.numpy_generator(seed, "preferences"), []
    for number, parts in enumerate(told):
        at = int(draws.integers(2, len(parts)))
        other = told[(number + int(draws.integers(1, len(told)))) % len(told)]
        foreign = other[int(draws.integers(1, len(other)))]
        context = tuple(system.prompt("".join(parts[:at]))[0].tolist())
        winner, loser = (
            tuple(system.tokenizer.encode(part)) for part in (parts[at], (foreign, parts[at - 1])[number % 2])
        )
        longest, most = len(context) + max(len(winner), len(loser)), system.model.max_positions
        if winner != loser and (most is None or longest <= most):
            found.append(Pair(context, winner, loser))
    return found


def teach_value(
    searching: Any,
    system: System,
    pairs: Sequence[Pair],
    folder: str | Path,
    *,
    training: TrainingSettings = TrainingSettings(steps=200, weight_decay=0.0),
    batch_size: int = 8,
    by: str = "pairwise",
    bar: Bar | None = None,
) -> dict[str, Any]:
    """Train a value head of ``searching`` (decoding/cosmos) that reads this system's model, and write it to ``folder``;
    returns figures. One pair in eight is kept for measuring. Raises RunMismatch where the folder holds another run."""
    home, model, apart = Path(folder), system.model, len(pairs) // 8
    if apart < 1 or len(pairs) - apart < batch_size:
        raise ValueError(f"{len(pairs)} pairs are too few to learn from in batches of {batch_size} and to measure on")
    require_offers("a value model", model, ["causal"])
    texts = files.sha256(repr([(pair.context, pair.winner, pair.loser) for pair in pairs]).encode())
    facts = {"model": fingerprint(model), "pairs": texts, "by": by, "batch_size": batch_size}
    head = searching.build(model, seed=training.seed).to(model.device)
    was = model.training
    model.eval()
    try:
        with frozen(model), files.locked(home):
            if known_run(home, facts) is None:
                note_run(home, facts)

            def loss(head: nn.Module, batch: Any, *, generator: torch.Generator) -> Loss:
                return searching.loss(head, model, batch, by)

            batches = PairBatches(pairs[apart:], batch_size, training.seed)
            result = train(head, loss, batches, training, folder=home / "work", bar=bar)  # type: ignore[arg-type]
            if result.diverged:
                raise ValueError(f"the value model diverged ({result.diverged}); lower the learning rate")
            head.eval()
            right = [_prefers(searching, head, model, pair) for pair in pairs[:apart]]
            figures = {"steps": result.steps, "loss": result.loss, "accuracy": sum(right) / len(right)}
            searching.save(head, home, model, base=system.name, facts={"by": by, "pairs": len(pairs), **figures})
    finally:
        model.train(was)
    return {"folder": str(home), **figures}


@torch.no_grad()
def _prefers(searching: Any, head: nn.Module, model: Any, pair: Pair) -> bool:
    """Whether the winner of a pair scores higher, which is when the pairwise loss is below that of a draw."""
    return float(searching.loss(head, model, Pairs.of([pair]).to(model.device), "pairwise").value) < 0.6931
