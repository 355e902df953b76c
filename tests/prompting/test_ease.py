import itertools
from dataclasses import replace

import pytest
import torch

from claims.prompting._ordered import ITEMS, Ordered, Vectors
from tests.prompting.models import Sorts, system
from trivium.core.errors import NotOffered
from trivium.core.seeds import generator
from trivium.prompting._exemplars import Arm, Trials, embedder, orders, parted
from trivium.prompting.best_of_n import BestOfN
from trivium.prompting.ease import Ease

SMALL = Ease(evaluations=18, start=8, steps=30, draws=1, width=16, candidates=20)


def searched(method, seed=0, task=None, **settings):
    task = task or Ordered()
    return replace(method, **settings).search(task, Vectors(task), generator=generator(seed, "search"))


def test_tuples_have_no_place_twice_and_are_all_equally_likely():
    rows = orders(6000, 4, 2, generator(0))
    assert (rows[:, 0] != rows[:, 1]).all()
    counts = torch.bincount(rows[:, 0] * 4 + rows[:, 1])
    assert len(counts[counts > 0]) == 12
    assert (counts[counts > 0] - 500).abs().max() < 100  # more than four standard errors
    with pytest.raises(ValueError, match="the pool has 4 exemplars, too few for 5 shots"):
        orders(1, 4, 5, generator(0))


def test_the_budget_is_never_exceeded_and_known_arms_cost_nothing():
    task = Ordered()
    found = searched(SMALL, task=task)
    assert len(found.history) == 18
    assert task.asked == 18 * ITEMS + ITEMS  # and the fresh items once
    trials = Trials(task, Vectors(task), task.examples("validation"), 1)
    before, first = task.asked, trials.reward(Arm((0, 1, 2)))
    assert trials.reward(Arm((0, 1, 2))) == first
    assert trials.reward(Arm((2, 1, 0))) is None
    assert task.asked == before + 2 * ITEMS


def test_the_best_so_far_is_returned_and_seeds_decide():
    task = Ordered()
    found = searched(SMALL, task=task)
    assert found.reward == max(found.history) == pytest.approx(task.quality(found.arm.order), abs=1 / ITEMS)
    assert found.fresh == pytest.approx(found.reward, abs=1e-9)
    assert searched(SMALL).arm == found.arm
    assert searched(SMALL, seed=1).history != found.history


def test_it_finds_better_orders_than_random_search():
    bandit, wins = Ease(evaluations=30, start=10, steps=60, draws=1, width=32), 0
    for seed in range(4):
        own, other = (
            searched(method, seed, Ordered(pool=20, seed=seed)).reward for method in (bandit, BestOfN(evaluations=30))
        )
        wins += (own > other) - (own < other)
    assert wins >= 2


def test_vectors_tell_orders_apart_unless_they_are_bags():
    task = Ordered()
    arms = [Arm(order) for order in itertools.permutations((0, 4, 7))]
    for ordered, different in ((True, 6), (False, 1)):
        made = SMALL._vectors(task, arms, embedder(Vectors(task, ordered), ""))
        assert len({tuple(row) for row in made.round(decimals=9).tolist()}) == different


def test_strict_keeps_labels_and_other_batches_out():
    for strict in (True, False):
        task = Ordered()
        made = Vectors(task)
        replace(SMALL, strict=strict, draws=2, batches=2, evaluations=12).search(task, made, generator=generator(0))
        assert any("q3:right" in text for text in made.texts) is not strict
        assert any(text == "q3" for text in made.texts) is strict


def test_instructions_are_chosen_with_the_exemplars():
    class Told(Ordered):
        def weigh_all(self, system, questions):
            told = str(questions[0].segments[0]) == "Well: "
            stripped = [replace(one, segments=one.segments[1:]) for one in questions]
            found = super().weigh_all(system, stripped)
            return found if told else [[0.0, 1.0]] * len(found)

    found = searched(SMALL, task=Told(), instructions=("Badly: ", "Well: "))
    assert found.arm.instruction == "Well: "
    assert found.reward > 0.3


def test_it_stops_at_the_best_reward_and_where_all_arms_are_known():
    assert len(searched(SMALL, task=Ordered(pool=3, targets=(0.0, 0.0, 0.0))).history) == 6
    always = Ordered()
    always.quality = lambda order: 1.0
    assert searched(SMALL, task=always).history == (1.0,)
    assert len(searched(SMALL, evaluations=14, task=Ordered(pool=4), pool=4).history) == 14
    assert max(searched(SMALL, pool=5).arm.order) < 5


def test_what_chooses_and_what_is_fresh():
    items, fresh = parted(Ordered(), 20, 10, generator(0))
    assert len(items) == 20
    assert len(fresh) == 10
    assert not {one.id for one in items} & {one.id for one in fresh}
    assert searched(SMALL, items=40).fresh is None
    assert searched(SMALL, fresh=0).fresh is None
    with pytest.raises(ValueError, match="no validation items"):
        searched(SMALL, task=Ordered(validation=0))


def test_the_prompt_shows_the_exemplars_that_were_found():
    one = replace(SMALL, evaluations=6, start=3, shots=2)
    task = one(Sorts(), system(), generator=generator(3))
    best = one.search(Sorts(), system(), generator=generator(3))
    shown = [Sorts.pool[place] for place in best.arm.order]
    text = task.ask(task.examples("test")[0]).text
    assert text == "Sort:" + "".join(f"{e.fields['text']}>{e.label};" for e in shown) + "mm>"


def test_text_that_an_encoder_would_cut_is_refused():
    with pytest.raises(ValueError, match=r"llama reads 768 tokens of a text and 'a+'... has 801, so that the last"):
        embedder(system(), "")(["a" * 800])
    assert embedder(system(), "")(["ab", "ba"]).norm(dim=1).tolist() == pytest.approx([1.0, 1.0])


def test_bad_input():
    with pytest.raises(ValueError, match="the encoder gives all tuples the same vector"):
        task = Ordered()
        made = Vectors(task)
        made.vector = lambda text: torch.ones(4, dtype=torch.float64)
        SMALL.search(task, made, generator=generator(0))
    with pytest.raises(ValueError, match="too few for 13 shots"):
        searched(SMALL, shots=13)
    with pytest.raises(NotOffered, match="ease puts questions in other words"):
        SMALL(object(), system(), generator=generator(0))
    for changed, said in (
        ({"shots": 0}, "shots must be at least 1"),
        ({"start": 41}, "start must be at most evaluations, got 41 of 40"),
        ({"reg": 0.0}, "reg must be positive"),
        ({"explore": -1.0}, "explore not negative"),
        ({"instructions": ("a", "a")}, "instructions must differ"),
    ):
        with pytest.raises(ValueError, match=said):
            Ease(**changed)
