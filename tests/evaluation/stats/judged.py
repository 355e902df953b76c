"""Judgements drawn from known strengths."""

import numpy as np

from trivium.evaluation.stats.judgements import Judgement


def drawn(
    theta,
    *,
    prompts=100,
    each=1,
    nu=0.0,
    position=0.0,
    length=0.0,
    shared=0.0,
    seed=0,
    judges=1,
):
    """Every pair of systems on every prompt ``each`` times; ``shared``: spread of what a prompt adds to each system."""
    rng, names, found = np.random.default_rng(seed), [chr(97 + n) for n in range(len(theta))], []
    strength = np.asarray(theta) + shared * rng.normal(size=(prompts, len(theta)))
    for i in range(len(theta)):
        for j in range(i + 1, len(theta)):
            shape = (prompts, each)
            a_first, turned = rng.uniform(size=(2, *shape)) < 0.5
            sizes = rng.uniform(50, 150, (2, *shape))
            odds = (strength[:, i] - strength[:, j])[:, None] + position * np.where(a_first, 1, -1)
            odds = odds + length * (sizes[0] - sizes[1]) / 100
            weights = np.stack([np.exp(odds / 2), np.exp(-odds / 2), np.full(shape, nu)])
            place = (rng.uniform(size=shape) > np.cumsum(weights / weights.sum(0), 0)[:2]).sum(0)
            judge = rng.integers(judges, size=shape)
            for at in np.ndindex(shape):
                outcome, first = ("a", "b", "tie")[place[at]], "a" if a_first[at] else "b"
                made = (names[i], names[j], outcome, f"j{judge[at]}", first, None, *sizes[:, *at])
                one = Judgement(f"p{at[0]}", *made)
                found.append(one.mirrored if turned[at] else one)
    return found
