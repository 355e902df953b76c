"""What the routing claims share: models of counted bytes of five languages and a play, and sentences of each."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from trivium.core.nouns import Experts
from trivium.core.seeds import generator
from trivium.models.library import Library
from trivium.models.ngrams import byte_ngrams

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SOURCES = {
    "english": "ud/en_ewt-ud-dev.conllu",
    "french": "ud/fr_gsd-ud-dev.conllu",
    "spanish": "ud/es_gsd-ud-dev.conllu",
    "norwegian": "ud/no_bokmaal-ud-dev.conllu",
    "greek": "ud/grc_proiel-ud-dev.conllu",
    "play": "tinyshakespeare/input.txt",
}
SEEDS = 5
LESSONS = 60
FRESH = 60
SHORT = 24
"""Bytes of a prompt: so few that English, French and Spanish are not always told apart."""


def sentences(name: str) -> list[str]:
    """Of one source, in their order. Raises FileNotFoundError where the data are not beside the checkout."""
    path = DATA / SOURCES[name]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not here; the claim needs the shared data beside the checkout")
    text = path.read_text(encoding="utf-8")
    if name == "play":
        return [one for one in text.split("\n") if len(one) >= SHORT]
    mark = "# text = "
    return [line.removeprefix(mark) for line in text.splitlines() if line.startswith(mark)]


@cache
def observed(seed: int) -> tuple[list[str], Tensor, list[str], Tensor, Experts]:
    """Prompts to learn from and fresh ones with the losses of every expert, which has read other sentences."""
    experts, taught, fresh = [], [], []
    for number, name in enumerate(SOURCES):
        found = [one[:SHORT] for one in sentences(name) if len(one) >= SHORT]
        order = torch.randperm(len(found), generator=generator(seed, "claim", name)).tolist()
        taught += [found[at] for at in order[:LESSONS]]
        fresh += [found[at] for at in order[LESSONS : LESSONS + FRESH]]
        used = {found[at] for at in order[: LESSONS + FRESH]}
        read = [one for one in sentences(name) if one[:SHORT] not in used]
        experts.append(byte_ngrams(read, name, order=3 + number % 2))  # so that sizes differ
    models = Library(tuple(experts))
    return taught, models.losses(taught), fresh, models.losses(fresh), models.experts
