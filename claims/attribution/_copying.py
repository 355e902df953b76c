"""A model that copies the one marked token of its prompt, so that the truth about its predictions is known.

A prompt is twelve tokens out of sixteen letters; one of them, anywhere, is of the marked kind, and the model says
which letter that was. Mark and letter are one token, so that nothing else can matter to a model that has learnt it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trivium.core import seeds
from trivium.core.method import find
from trivium.core.nouns import Target
from trivium.core.progress import Bar
from trivium.core.protocols import Explainer, LanguageModel

LETTERS, LENGTH = 16, 12
STEPS, ROWS = 400, 32
QUESTIONS = 100
SEEDS = 5


def prompts(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """ids (rows, time), and the marked place of each row; letter v is v, or v + LETTERS where marked."""
    ids = torch.randint(LETTERS, (rows, LENGTH), generator=generator)
    places = torch.randint(LENGTH, (rows,), generator=generator)
    ids[torch.arange(rows), places] += LETTERS
    return ids, places


def answers(ids: Tensor, places: Tensor) -> Tensor:
    """The letter at the marked place, unmarked: what the model is to say next."""
    return ids.gather(1, places[:, None])[:, 0] - LETTERS


def copier(seed: int, bar: Bar) -> tuple[LanguageModel, float]:
    """A two-layer model trained to copy, and its accuracy on prompts it has not seen."""
    model = find("architectures", "llama")(width=32, depth=2, heads=4).build(2 * LETTERS, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    generator = seeds.generator(seed, "copying")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    model.train()
    for _ in range(STEPS):
        ids, places = prompts(ROWS, generator)
        loss = cross_entropy(model(ids, logits_to_keep=1).logits[:, -1], answers(ids, places))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.advance()
    model.eval()
    ids, places = prompts(1000, seeds.generator(seed, "copying test"))
    with torch.no_grad():
        said = model(ids, logits_to_keep=1).logits[:, -1].argmax(-1)
    return model, (said == answers(ids, places)).double().mean().item()


def ranked_first(explainer: Explainer, model: LanguageModel, seed: int) -> float:
    """Share of prompts whose marked token has the largest score."""
    ids, places = prompts(QUESTIONS, seeds.generator(seed, "questions"))
    generator = seeds.generator(seed, "explain")
    hits = 0
    for row, place, answer in zip(ids, places.tolist(), answers(ids, places).tolist(), strict=True):
        hits += int(explainer(model, row, Target(answer), generator=generator).scores.argmax()) == place
    return hits / QUESTIONS


def shares(explainers: Mapping[str, Explainer], bar: Bar) -> dict[str, list[float]]:
    """Per seed: how often each explainer ranks the marked token first, and how well the model had learnt to copy."""
    bar.total = SEEDS * STEPS
    found: dict[str, list[float]] = {"accuracy": [], **{name: [] for name in explainers}}
    for seed in range(SEEDS):
        bar.note(f"model {seed + 1} of {SEEDS}")
        model, accuracy = copier(seed, bar)
        found["accuracy"].append(accuracy)
        for name, explainer in explainers.items():
            found[name].append(ranked_first(explainer, model, seed))
    return found
