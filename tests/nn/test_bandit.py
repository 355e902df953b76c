"""The search for the best and the worst arm: the authors' trace, and what every rule keeps."""

import json
from pathlib import Path

import numpy as np
import pytest

from trivium.nn.bandit import Bandit, beta_prior, flipped, null_spreads

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "formatspread.json"


def table_of(rewards):
    def outcomes(arm, items):
        return [rewards[arm][item] for item in items]

    return outcomes


@pytest.mark.skipif(not VECTORS.exists(), reason=f"{VECTORS} is not here")
@pytest.mark.parametrize("number", range(3))
def test_the_authors_searches_step_by_step(number):
    """Their fourth search is by upper bounds, in which they never try what is untried first, and look for the smallest
    upper bound where the smallest rate is wanted; ours does neither."""
    told = json.loads(VECTORS.read_text())["thompson"][number]
    names = sorted(told["rewards"])
    bandit = Bandit(len(names), told["n_samples"], table_of([told["rewards"][name] for name in names]))
    bandit.pull(0, told["n_samples"])
    prior = beta_prior(bandit.successes[0] / told["n_samples"], told["n_samples"])
    assert prior == pytest.approx(told["prior"], abs=1e-9)
    for phase, sign in (("phase1", 1), ("phase2", -1)):
        stored = iter(told[f"beta_draws_{phase}"])

        def draw(alpha, beta, stored=stored):
            rows = [next(stored) for _ in alpha]
            np.testing.assert_allclose(np.stack([alpha, beta], 1), [row[:2] for row in rows], atol=1e-9)
            return np.array([row[2] for row in rows])

        seen = told[phase]
        for successes, totals, final in zip(seen["successes"], seen["totals"], seen["final"], strict=True):
            bandit.search("thompson", sign, told["batch"], 1, prior, draw)
            assert bandit.successes.tolist() == successes
            assert bandit.totals.tolist() == totals
            assert names[bandit.chosen(sign, names)] == final
        assert next(stored, None) is None


def test_prior():
    assert beta_prior(0.5, 60) == (5.0, 5.0)
    assert beta_prior(0.0, 60) == (1.1, 5.0)
    assert beta_prior(1.0, 60) == (pytest.approx(5 * 61), 5.0)  # not infinite
    with pytest.raises(ValueError, match=r"a rate of 1\.5 on 60 items"):
        beta_prior(1.5, 60)


@pytest.mark.parametrize("rule", ["thompson", "ucb", "equal"])
def test_no_arm_meets_an_item_twice_and_all_is_known_in_the_end(rule):
    generator = np.random.default_rng(0)
    rewards = (generator.random((7, 23)) < 0.5).astype(float)
    met = []

    def outcomes(arm, items):
        met.extend((arm, item) for item in items)
        return [rewards[arm][item] for item in items]

    bandit = Bandit(7, 23, outcomes)
    bandit.search(rule, 1, 5, 12, (5.0, 5.0), generator.beta)
    assert len(met) == len(set(met)) == bandit.spent <= 60
    bandit.search(rule, -1, 5, 1000, (5.0, 5.0), generator.beta)
    assert len(met) == len(set(met)) == 7 * 23
    assert bandit.successes.tolist() == rewards.sum(1).tolist()
    rates = rewards.mean(1)
    assert rates[bandit.chosen(1, "abcdefg")] == rates.max()
    assert rates[bandit.chosen(-1, "abcdefg")] == rates.min()


def test_few_trials_do_not_win_and_ties_go_by_name():
    bandit = Bandit(3, 10, table_of([[1] * 10, [1, 0] * 5, [1] * 10]))
    for arm, count in ((0, 2), (1, 6), (2, 0)):
        bandit.pull(arm, count)
    assert bandit.chosen(1, "abc") == 0
    assert bandit.chosen(1, "abc", least=5) == 1
    with pytest.raises(ValueError, match="no arm was tried on 8 items"):
        bandit.chosen(1, "abc", least=8)
    bandit.pull(2, 2)
    assert (bandit.chosen(1, "abc"), bandit.chosen(1, "cba")) == (2, 0)
    assert Bandit(1, 3, table_of([[0] * 3])).next("equal", 1, (5.0, 5.0), np.random.default_rng(0).beta) == 0


def test_thompson_finds_what_equal_shares_do_not():
    """As in the simulation of the specification, smaller: 160 arms, 400 items, 250 batches of 20 on each side."""
    lost = {"thompson": [], "equal": []}
    for seed in range(5):
        generator = np.random.default_rng(seed)
        rewards = (generator.random((160, 400)) < generator.beta(30, 20, 160)[:, None]).astype(float)
        true, names = rewards.mean(1), [f"{n:03d}" for n in range(160)]
        for rule, found in lost.items():
            bandit = Bandit(
                160, 400, lambda arm, items, rewards=rewards: rewards[arm, items.start : items.stop].tolist()
            )
            for sign in (1, -1):
                bandit.search(rule, sign, 20, 250, (7.5, 5.0), generator.beta)
            best, worst = (bandit.chosen(sign, names, least=20) for sign in (1, -1))
            found.append(true.max() - true.min() - (true[best] - true[worst]))
    assert min(lost["thompson"] + lost["equal"]) >= 0
    assert np.mean(lost["thompson"]) < 0.7 * np.mean(lost["equal"])


def test_the_null_spread_is_what_equal_arms_show():
    generator = np.random.default_rng(0)
    outcomes = (generator.random((10, 100)) < 0.5).astype(float)
    null = null_spreads(outcomes, 300, generator)
    assert null.mean() == pytest.approx(0.155, abs=0.02)  # the specification's simulation of 10 arms on 100 items
    assert np.quantile(null, 0.95) == pytest.approx(0.23, abs=0.03)
    alike = np.repeat((generator.random((1, 100)) < 0.5).astype(float), 10, 0)
    assert null_spreads(alike, 20, generator).max() == 0.0  # items that all arms answer alike leave no spread
    real = outcomes.copy()
    real[0] = 1.0
    assert real.mean(1).max() - real.mean(1).min() > null_spreads(real, 300, generator).max()


def test_flipped():
    generator = np.random.default_rng(0)
    ones, zeros = np.ones(12), np.zeros(12)
    assert flipped(ones, zeros, 4000, generator) == pytest.approx(2 / 2**12, abs=1e-3)
    assert flipped(ones, ones, 100, generator) == 1.0
