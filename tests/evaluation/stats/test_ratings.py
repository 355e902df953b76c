import math
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.stats.judged import drawn
from trivium.evaluation.stats.judgements import Judgement
from trivium.evaluation.stats.ratings import POINTS, bradley_terry

THETA = np.array([0.8, 0.1, -0.3, -0.6])
ONCE = drawn(THETA, prompts=80, nu=0.5, judges=3)


def duel(wins, losses, ties=0):
    outcomes = ["a"] * wins + ["b"] * losses + ["tie"] * ties
    return [Judgement(f"p{n}", "x", "y", outcome) for n, outcome in enumerate(outcomes)]


def test_two_systems_by_hand():
    found = bradley_terry(duel(30, 12))
    apart = math.log(30 / 12)
    assert found.theta == pytest.approx([apart / 2, -apart / 2])
    assert found.difference("x", "y").mean == pytest.approx(400 * math.log10(30 / 12))
    assert found["x"].score - 1000 == pytest.approx(200 * math.log10(30 / 12))
    assert bradley_terry(duel(30, 12, 8)).difference("x", "y").mean == pytest.approx(400 * math.log10(34 / 16))


def test_the_error_of_two_systems_is_that_of_a_log_odds():
    plain, found = bradley_terry(duel(30, 12), cluster="none"), bradley_terry(duel(30, 12))
    apart = np.array([1, -1])
    assert apart @ plain.covariance @ apart == pytest.approx(1 / 30 + 1 / 12)
    # Every prompt judged once: the sandwich is the same, but for the factor of its 42 clusters.
    assert apart @ found.covariance @ apart == pytest.approx((1 / 30 + 1 / 12) * 42 / 41)


def test_davidson_of_two_systems_by_hand():
    found = bradley_terry(duel(18, 8, 10), ties="davidson")
    assert found.difference("x", "y").mean / POINTS == pytest.approx(math.log(18 / 8))
    assert found.tie == pytest.approx(10 / math.sqrt(18 * 8))


@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_mm_and_newton_agree(ties):
    newton, mm = (bradley_terry(ONCE, ties=ties, solver=solver) for solver in ("newton", "mm"))
    assert mm.theta == pytest.approx(newton.theta, abs=1e-8)
    assert mm.covariance == pytest.approx(newton.covariance, abs=1e-8)
    assert mm.tie == pytest.approx(newton.tie, abs=1e-8) if ties == "davidson" else mm.tie is newton.tie is None


def test_at_the_solution_expected_wins_are_the_wins():
    found = bradley_terry(ONCE)
    place = {name: n for n, name in enumerate(found.names)}
    wins, expected = np.zeros(4), np.zeros(4)
    for one in ONCE:
        a, b = place[one.a], place[one.b]
        p = 1 / (1 + math.exp(found.theta[b] - found.theta[a]))
        wins += one.credit * np.eye(4)[a] + (1 - one.credit) * np.eye(4)[b]
        expected += p * np.eye(4)[a] + (1 - p) * np.eye(4)[b]
    assert expected == pytest.approx(wins)


@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_neither_order_nor_labels_matter(ties):
    options = {"ties": ties, "covariates": ("position", "length")}
    found = bradley_terry(ONCE, **options)
    turned = bradley_terry([one.mirrored for one in ONCE[::-1]], **options)
    assert turned.theta == pytest.approx(found.theta, abs=1e-9)
    assert turned.covariance == pytest.approx(found.covariance, abs=1e-9)
    assert [effect.value for effect in turned.effects] == pytest.approx([effect.value for effect in found.effects])


def test_reversed_outcomes_mirror_the_ratings():
    lost = [replace(one, outcome={"a": "b", "b": "a"}.get(one.outcome, one.outcome)) for one in ONCE]
    assert bradley_terry(lost).theta == pytest.approx(-bradley_terry(ONCE).theta, abs=1e-9)


def test_the_thetas_add_up_to_nothing_and_find_the_truth():
    found = bradley_terry(drawn(THETA, prompts=600, nu=0.6), ties="davidson")
    assert found.theta.sum() == pytest.approx(0.0, abs=1e-9)
    assert found.theta == pytest.approx(THETA - THETA.mean(), abs=0.12)
    assert found.tie == pytest.approx(0.6, abs=0.08)
    assert [row.system for row in found.table] == ["a", "b", "c", "d"]
    assert [row.rank for row in found.table] == [1, 2, 3, 3] or [row.rank for row in found.table] == [1, 2, 3, 4]


def test_more_of_the_same_halves_the_variance_only_if_nothing_is_clustered():
    twice = [*ONCE, *ONCE]
    naive, double = bradley_terry(ONCE, cluster="none"), bradley_terry(twice, cluster="none")
    assert double.covariance == pytest.approx(naive.covariance / 2)
    for cluster in ("prompt", "both"):
        assert bradley_terry(twice, cluster=cluster).covariance == pytest.approx(
            bradley_terry(ONCE, cluster=cluster).covariance
        )


def test_clusters_of_prompts_cover_where_independence_does_not():
    hits = {"none": 0, "prompt": 0}
    runs = 80
    for seed in range(runs):
        judged = drawn([0.0, 0.0, 0.0], prompts=40, each=4, shared=1.0, seed=seed)
        for cluster in hits:
            one = bradley_terry(judged, cluster=cluster).difference("a", "b")
            hits[cluster] += one.low <= 0 <= one.high  # equal systems: the truth is 0 whatever the prompts add
    assert hits["prompt"] / runs >= 0.88
    assert hits["none"] / runs < 0.82


def test_judges_that_differ_widen_the_intervals():
    rng, judged = np.random.default_rng(1), []
    for judge in range(8):
        taste = rng.normal(0, 1.0, 3)
        judged += [replace(one, judge=str(judge)) for one in drawn(taste, prompts=40, seed=judge)]
    by_prompt, by_both = (bradley_terry(judged, cluster=c) for c in ("prompt", "both"))
    assert by_both.judges == 8
    assert np.trace(by_both.covariance) > 2 * np.trace(by_prompt.covariance)


def test_a_judge_who_likes_the_first_and_the_long_is_seen_through():
    # The weaker system is always shown first and always longer.
    rng, judged = np.random.default_rng(2), []
    for n in range(1500):
        weak_first = rng.uniform() < 0.85
        long = rng.normal(60, 40)
        odds = -0.5 + 0.8 * (1 if weak_first else -1) + 0.01 * long
        outcome = "a" if rng.uniform() < 1 / (1 + math.exp(-odds)) else "b"
        judged.append(
            Judgement(f"p{n}", "weak", "strong", outcome, "", "a" if weak_first else "b", None, 100 + long, 100)
        )
    plain, seen = bradley_terry(judged), bradley_terry(judged, covariates=("position", "length"))
    assert plain.table[0].system == "weak"
    assert seen.table[0].system == "strong"
    assert seen.difference("strong", "weak").mean / POINTS == pytest.approx(0.5, abs=0.35)
    position, length = seen.effects
    assert position.low < 0.8 < position.high
    assert length.low > 0


def test_noiseless_judgements_are_refused_and_with_a_prior_give_their_order():
    perfect = [
        Judgement(f"p{n}", *pair, "a") for n in range(5) for pair in (("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"))
    ]
    with pytest.raises(ValueError, match=r"a never lost or tied against the other systems.*ridge=0.1"):
        bradley_terry(perfect)
    found = bradley_terry(perfect, ridge=0.1)
    assert [row.system for row in found.table] == ["a", "b", "c", "d"]
    assert found.ridge == 0.1


def test_systems_that_never_met_are_refused():
    apart = [*duel(3, 2), *[replace(one, a="u", b="v") for one in duel(2, 2)]]
    with pytest.raises(ValueError, match="never met the other systems"):
        bradley_terry(apart)
    assert bradley_terry(apart, ridge=1.0).names == ("u", "v", "x", "y")


def test_a_tie_connects():
    judged = [*duel(5, 0), Judgement("last", "x", "y", "both_bad")]
    assert bradley_terry(judged).difference("x", "y").mean == pytest.approx(400 * math.log10(5.5 / 0.5))


def test_a_prior_pulls_towards_the_middle():
    assert np.abs(bradley_terry(ONCE, ridge=50.0).theta).max() < np.abs(bradley_terry(ONCE, ridge=1.0).theta).max()
    assert bradley_terry(ONCE, ridge=1e-9).theta == pytest.approx(bradley_terry(ONCE).theta, abs=1e-6)


def test_the_bootstrap_of_prompts_agrees_with_the_sandwich():
    judged = drawn(THETA, prompts=120, each=2, shared=0.7, seed=3)
    wald, drawn_again = bradley_terry(judged), bradley_terry(judged, resamples=300)
    for one in wald.table:
        other = drawn_again[one.system]
        assert other.score == one.score
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.25)
    assert drawn_again.intervals == "bootstrap of prompts, 300 of 300 resamples"
    assert bradley_terry(judged, resamples=300).table == drawn_again.table
    assert bradley_terry(judged, resamples=300, seed=1).table != drawn_again.table


def test_ranks_part_only_what_is_surely_apart():
    found = bradley_terry(drawn([1.5, 0.02, 0.0, -1.5], prompts=60, seed=4))
    ranks = {row.system: row.rank for row in found.table}
    assert ranks == {"a": 1, "b": 2, "c": 2, "d": 4}
    few = bradley_terry(drawn([0.1, 0.0, -0.1], prompts=6, seed=5))
    assert {row.rank for row in few.table} == {1}


def test_too_few_prompts_for_a_bootstrap():
    judged = [*duel(6, 1)]
    with pytest.raises(ValueError, match="too few prompts for a bootstrap"):
        bradley_terry(judged, resamples=200)


def test_the_table_counts():
    found = bradley_terry(ONCE, cluster="both")
    assert (found.judgements, found.prompts, found.judges) == (480, 80, 3)
    assert found.ties == sum(one.outcome == "tie" for one in ONCE)
    assert [row.judgements for row in found.table] == [240] * 4
    with pytest.raises(KeyError, match="'z' was not judged"):
        found["z"]


@pytest.mark.parametrize(
    ("judged", "options", "message"),
    [
        ([], {}, "no judgement"),
        (ONCE, {"ties": "rao"}, "got 'rao'"),
        (ONCE, {"covariates": ("age",)}, "position"),
        (ONCE, {"covariates": ("position", "position")}, "each once"),
        (ONCE, {"ridge": -1.0}, "got -1.0"),
        (ONCE, {"cluster": "judge"}, "got 'judge'"),
        (ONCE, {"solver": "sgd"}, "got 'sgd'"),
        (ONCE, {"solver": "mm", "ridge": 1.0}, "neither covariates nor a prior"),
        (ONCE, {"resamples": 5}, "got 5"),
        (duel(3, 2), {"ties": "davidson"}, "no judgement is a tie"),
        (duel(0, 0, 4), {"ties": "davidson"}, "every judgement is a tie"),
        (duel(3, 2), {"covariates": ("position",)}, "shown first"),
        (duel(3, 2), {"covariates": ("length",)}, "5 judgements have no length_a"),
        (duel(3, 2), {"cluster": "both"}, "one judge"),
        ([replace(one, prompt="p") for one in duel(3, 2)], {}, "one prompt"),
        ([replace(one, first="a") for one in duel(3, 2)], {"covariates": ("position",)}, "no finite fit"),
    ],
)
def test_bad_input_is_refused(judged, options, message):
    with pytest.raises(ValueError, match=message):
        bradley_terry(judged, **options)
