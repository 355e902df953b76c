"""Do architectures keep what they promise of time and memory? Linear mixers over length, experts against one layer.

A training step (forward and backward, float32, two threads) of a decoder with linear mixers on one row of 16,384
tokens, against as many tokens in rows of 1024: the time per token must not grow, nor what is remembered for writing on.
A step of a decoder with 8 experts of which each token passes 2, against a dense one of equal parameters per token.
"""

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.pairs import in_turns, processor, ratio_of
from trivium.architectures.based import Based
from trivium.architectures.llama import Llama
from trivium.architectures.mixture_of_experts import MixtureOfExperts, active_parameters
from trivium.architectures.transnormer import TransNormer
from trivium.core.nouns import Batch
from trivium.core.seeds import generator
from trivium.objectives.causal import Causal

SHORT, LONG = 1024, 16_384
VOCAB = 259
FLAT = 1 / 1.2
EXPERTS = 1 / 1.6
LINEAR: dict[str, Any] = {
    "TransNormer": TransNormer(width=128, depth=2, heads=4),
    "Based": Based(width=128, depth=3, heads=4),
}


def run(*, repeats: int = 5, threads: int = 2) -> dict[str, Any]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows, notes = [], [processor()]
        for name, recipe in LINEAR.items():
            row, note = _over_length(name, recipe, repeats)
            rows.append(row)
            notes.append(note)
        row, note = _experts(repeats)
        return {"rows": [*rows, row], "notes": [*notes, note]}
    finally:
        torch.set_num_threads(before)


def _over_length(name: str, recipe: Any, repeats: int) -> tuple[dict[str, Any], str]:
    model = recipe.build(VOCAB)
    bodies = {str(time): _step(model, rows=LONG // time, time=time) for time in (SHORT, LONG)}
    took = in_turns(bodies, repeats=repeats)
    row = ratio_of(f"{name}, per token, length {SHORT} / {LONG}", took[str(LONG)], took[str(SHORT)], FLAT)
    held = {time: _remembered(model, time) for time in (SHORT, LONG)}
    if held[SHORT] != held[LONG]:
        raise RuntimeError(f"{name} remembers {held[SHORT]} bytes after {SHORT} tokens and {held[LONG]} after {LONG}")
    return row, f"{name}: remembers {held[LONG]} bytes for writing on, after {SHORT} tokens as after {LONG}"


@torch.no_grad()
def _remembered(model: Any, time: int) -> int:
    return model(torch.zeros(1, time, dtype=torch.int64), keep_state=True).state.bytes()


def _experts(repeats: int) -> tuple[dict[str, Any], str]:
    recipes = {
        "dense": Llama(width=256, depth=4, heads=4),
        "experts": MixtureOfExperts(width=256, depth=4, heads=4, experts=8, top_k=2),
    }
    models = {name: recipe.build(VOCAB) for name, recipe in recipes.items()}
    took = in_turns({name: _step(model, rows=16, time=256) for name, model in models.items()}, repeats=repeats)
    passed = {name: active_parameters(model) for name, model in models.items()}
    row = ratio_of("8 experts, 2 per token / dense", took["experts"], took["dense"], EXPERTS)
    return row, f"parameters that a token passes: {passed['experts']} with experts, {passed['dense']} dense"


def _step(model: Any, *, rows: int, time: int) -> Callable[[], None]:
    """Forward and backward of the loss on random tokens."""
    draw = generator(0, "rows", rows, time)
    batch = Batch(torch.randint(0, VOCAB, (rows, time), generator=draw))

    def body() -> None:
        model.train()
        loss = Causal()(model, batch, generator=draw)
        loss.value.backward()
        model.zero_grad(set_to_none=True)

    return body
