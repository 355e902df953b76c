import logging

import pytest
import torch

from trivium.core.seeds import generator
from trivium.data.recordings import Recordings, simulated, stretches
from trivium.probing.brain_score import BrainScore, score

STIMULI, WIDTH = 120, 10


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed, "rand"), dtype=torch.float64)


GROUPS = stretches(STIMULI, 24)


def measured(x, recordings, **settings):
    return BrainScore(**settings).measure(x, recordings, generator=generator(0, "folds"))


def noiseless(x, voxels=6, repeats=1):
    return simulated(x, GROUPS, subjects=1, voxels=voxels, repeats=repeats, noise=0.0, generator=generator(3))


def test_a_noiseless_map_is_found_and_shuffled_stimuli_tell_nothing():
    x = rand(STIMULI, WIDTH)
    (found,) = measured(x, noiseless(x)).values()
    assert found.r.min() > 0.999
    assert found.normalised is None
    assert found.ceiling is None
    assert score({"one": found}) is None
    shuffled = x[torch.randperm(STIMULI, generator=generator(1))]
    (nothing,) = measured(shuffled, noiseless(x)).values()
    assert abs(nothing.median) < 0.25
    assert nothing.cka < 0.3 < 0.6 < found.cka
    assert nothing.rsa < 0.2 < found.rsa


def test_at_its_ceiling_the_normalised_score_is_one():
    """Voxels of reliability 4 / 5: a perfect account correlates sqrt(4/5) with the mean, which is what divides it."""
    x = rand(STIMULI, WIDTH)
    made = simulated(x, GROUPS, subjects=3, voxels=40, repeats=4, noise=1.0, generator=generator(3))
    found = measured(x, made)
    assert list(found) == ["subject 0", "subject 1", "subject 2"]
    assert score(found) == pytest.approx(1, abs=0.1)
    one = found["subject 0"]
    assert float(one.ceiling.median()) == pytest.approx(0.8**0.5, abs=0.04)
    assert one.normalised == pytest.approx(float((one.r / one.ceiling).median()))
    other = measured(x, made, ceiling="reliability")["subject 0"]
    torch.testing.assert_close(other.ceiling, one.ceiling**2)


def test_noise_voxels_change_no_score_of_others_and_those_without_ceiling_do_not_count(caplog):
    x = rand(STIMULI, WIDTH)
    made = simulated(x, GROUPS, subjects=1, voxels=5, repeats=4, noise=1.0, generator=generator(3))
    repeats = made.subjects["subject 0"]
    noise = rand(4, STIMULI, 30, seed=9)
    noise[..., 0], noise[:, 7, 1], noise[..., 2] = 4.0, float("nan"), -noise[..., 3]
    more = Recordings({"subject 0": torch.cat((repeats, noise), 2)}, GROUPS)
    plain = measured(x, made)["subject 0"]
    with caplog.at_level(logging.WARNING):
        found = measured(x, more)["subject 0"]
    torch.testing.assert_close(found.r[:5], plain.r)
    assert found.dropped == 2
    assert found.r[5:7].isnan().all()
    assert 0 < found.hopeless < 30
    assert f"of 35 voxels 2 have no finite responses that vary, {found.hopeless} no ceiling" in caplog.text
    counts = ~found.ceiling.isnan()
    assert int(counts.sum()) == 33 - found.hopeless
    assert found.median == pytest.approx(float(found.r[counts].median()))


def test_turned_features_foretell_the_same_where_all_have_one_spread():
    x = rand(STIMULI, WIDTH) * torch.logspace(-1, 1, WIDTH)
    made = simulated(x, GROUPS, subjects=1, voxels=4, generator=generator(3))
    turn = torch.linalg.qr(rand(WIDTH, WIDTH, seed=2))[0]
    one, other = (measured(each, made, standardise="whole")["subject 0"].r for each in (x, x @ turn))
    torch.testing.assert_close(one, other)
    scaled = measured(x * torch.logspace(-3, 3, WIDTH), made)["subject 0"].r
    torch.testing.assert_close(scaled, measured(x, made)["subject 0"].r)


def test_whole_groups_are_held_out():
    """Stimuli that differ from group to group only: with passages held out their noise cannot be learnt, though every
    stimulus has neighbours that would give it away."""
    x = rand(24, WIDTH)[GROUPS] + 0.01 * rand(STIMULI, WIDTH, seed=1)
    y = rand(24, 8, seed=2)[GROUPS][None]
    (apart,) = measured(x, Recordings({"s": y}, GROUPS)).values()
    (leaking,) = measured(x, Recordings({"s": y}, torch.arange(STIMULI))).values()
    assert apart.median < 0.3 < 0.5 < leaking.median


def test_a_penalty_is_chosen_for_each_voxel():
    x = rand(STIMULI, WIDTH)
    y = torch.stack((x @ rand(WIDTH, seed=1), rand(STIMULI, seed=2)), 1)
    probe = BrainScore().fit(x, y, generator=generator(0), groups=GROUPS)
    assert probe.penalty[0] < 1 < 100 < probe.penalty[1]
    alone = BrainScore().fit(x, y, generator=generator(0))
    assert alone.penalty[0] < 1 < alone.penalty[1]


def test_the_penalty_is_found_on_whole_groups_too():
    """What differs from group to group alone can be learnt by heart on neighbours: then a small penalty does best. Of
    groups that were not fitted it says nothing, and the larger the penalty the better."""
    x = rand(24, 60)[GROUPS] + 0.01 * rand(STIMULI, 60, seed=1)
    y = rand(24, 8, seed=2)[GROUPS]
    apart = BrainScore().fit(x, y, generator=generator(0), groups=GROUPS).penalty
    leaking = BrainScore().fit(x, y, generator=generator(0)).penalty
    assert float(apart.median()) > 100 * float(leaking.median())


@pytest.mark.parametrize(
    "wrong", [{"folds": 1}, {"inner": 1}, {"penalties": 0}, {"splits": 0}, {"standardise": "no"}, {"ceiling": "no"}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BrainScore(**wrong)


def test_misuse_is_told():
    x = rand(STIMULI, WIDTH)
    made = noiseless(x)
    with pytest.raises(ValueError, match="one row per stimulus"):
        measured(x[:-1], made)
    with pytest.raises(ValueError, match="at most the 3 groups"):
        measured(x, Recordings(made.subjects, stretches(STIMULI, 3)))
    with pytest.raises(ValueError, match="has no voxel with finite responses"):
        measured(x, Recordings({"s": torch.ones(2, STIMULI, 3)}, GROUPS))
    with pytest.raises(ValueError, match="labels values"):
        BrainScore().fit(x, torch.arange(STIMULI), generator=generator(0))
    with pytest.raises(ValueError, match="predicts 6 outputs, the labels have 1"):
        BrainScore().fit(x, made.subjects["subject 0"][0], generator=generator(0)).score(x, x[:, 0])
