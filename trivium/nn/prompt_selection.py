"""How sure and how varied answers are under each of several prompts: what prompts are chosen by without labels.

Tensors are probabilities (prompts, items, answers) in float64, or made from them.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Score = Literal["mi", "mi_g", "mi_l", "mi_gl", "ge", "ge_m", "le", "mdl", "mdl_m", "zlp", "zpm", "zmv"]
PER_ITEM = frozenset({"mdl", "mi_l", "mi_gl"})
"""Scores that choose a prompt for each item."""

Table = Float[Tensor, "prompts items answers"]


def check_table(p: Tensor) -> None:
    """Raise ValueError for what is no table of probabilities, naming the prompt and the item or answer."""
    if p.ndim != 3 or p.shape[2] < 2 or not p.shape[0] or not p.shape[1]:
        raise ValueError(
            f"a table is of prompts, items and at least two answers, each at least one; got {tuple(p.shape)}"
        )
    for wrong, said in ((~p.isfinite(), "not finite"), (p < 0, "negative")):
        if wrong.any():
            t, x, y = wrong.nonzero()[0].tolist()
            raise ValueError(f"the probability of answer {y} under prompt {t} for item {x} is {said}: {p[t, x, y]}")
    empty = p.sum(-1) <= 0
    if empty.any():
        t, x = empty.nonzero()[0].tolist()
        raise ValueError(f"under prompt {t} no answer to item {x} has any probability")


def entropy(p: Tensor) -> Tensor:
    """(..., answers) -> (...), in nats; what has no probability adds nothing."""
    return torch.special.entr(p).sum(-1)


def certain(p: Tensor) -> Tensor:
    """The likeliest answer, the first of equals, with all the probability: same shape."""
    return torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)


def global_entropy(p: Table, *, hard: bool = False) -> Float[Tensor, "prompts"]:
    """How varied a prompt's answers are over items (GE_M); ``hard``: counting likeliest answers alone (GE)."""
    return entropy((certain(p) if hard else p).mean(1))


def scores(p: Table, score: Score) -> Float[Tensor, "prompts items"] | Float[Tensor, "prompts"]:
    """The score of each prompt, of each item where it chooses by item; the largest is chosen.

    MI = GE_M - LE, the mutual information of item and answer; MI_G has GE in its place. Per item: MDL is the certainty
    of its own answer, to which MI_L and MI_GL add GE_M and GE. The zero-label ensembles count how often a prompt agrees
    with what all prompts together answer: by mean log-probability, mean probability, or votes.
    """
    check_table(p)
    own = entropy(p)  # (prompts, items)
    match score:
        case "ge_m":
            return global_entropy(p)
        case "ge":
            return global_entropy(p, hard=True)
        case "le":
            return own.mean(1)
        case "mdl_m":
            return -own.mean(1)
        case "mi":
            return global_entropy(p) - own.mean(1)
        case "mi_g":
            return global_entropy(p, hard=True) - own.mean(1)
        case "mdl":
            return -own
        case "mi_l":
            return global_entropy(p)[:, None] - own
        case "mi_gl":
            return global_entropy(p, hard=True)[:, None] - own
        case "zlp":
            together = p.log().mean(0)
        case "zpm":
            together = p.mean(0)
        case "zmv":
            together = certain(p).sum(0)
    return (p.argmax(-1) == together.argmax(-1)).to(p.dtype).mean(1)


def chosen(p: Table, score: Score) -> Int[Tensor, "items"]:
    """The prompt for each item; the same for all of them where the score is of whole prompts. Of equals the first."""
    found = scores(p, score)
    return found.argmax(0) if score in PER_ITEM else found.argmax(0).expand(p.shape[1])


def marginal(p: Table) -> Float[Tensor, "prompts answers"]:
    """How likely each answer is under a prompt whatever the item. Raises ValueError for one that never is."""
    check_table(p)
    found = p.mean(1)
    if (found <= 0).any():
        t, y = (found <= 0).nonzero()[0].tolist()
        raise ValueError(f"answer {y} has no probability under prompt {t} for any item, so that nothing calibrates it")
    return found


def calibrated(p: Table, by: Float[Tensor, "prompts answers"], *, how: Literal["mean", "softmax"] = "mean") -> Table:
    """Probabilities over what answers have anyway, made to sum to 1 again: by their sum, or as a softmax."""
    ratio = p / by[:, None]
    return ratio.softmax(-1) if how == "softmax" else ratio / ratio.sum(-1, keepdim=True)
