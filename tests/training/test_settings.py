"""Schedules against their formulas, and settings that make no sense."""

import math

import pytest

from trivium.training.settings import TrainingSettings


def rates(steps, **changed):
    settings = TrainingSettings(learning_rate=2.0, **changed)
    return [settings.rate(step, steps) for step in range(steps)]


def test_cosine_with_warm_up():
    got = rates(20, schedule="cosine", warmup=0.2, final_fraction=0.1)
    rise = [2.0 * n / 4 for n in (1, 2, 3, 4)]
    fall = [2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * n / 16))) for n in range(1, 17)]
    assert got == pytest.approx(rise + fall, rel=1e-12)
    assert got[3] == 2.0
    assert got[-1] == pytest.approx(0.2, rel=1e-12)


def test_wsd_is_flat_and_then_falls_along_a_line():
    got = rates(20, schedule="wsd", warmup=0.1, decay=0.25, final_fraction=0.0)
    assert got == pytest.approx([1.0, 2.0] + [2.0] * 13 + [1.6, 1.2, 0.8, 0.4, 0.0], abs=1e-12)


def test_constant():
    assert rates(4, schedule="constant", warmup=0.0) == [2.0] * 4
    assert rates(4, schedule="constant", warmup=1.0) == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 0.8])
def test_short_runs_stay_between_the_final_rate_and_the_peak(schedule, steps, warmup):
    got = rates(steps, schedule=schedule, warmup=warmup, decay=0.2)
    assert all(0.0 < rate <= 2.0 for rate in got)
    assert max(got) == 2.0 or warmup == 0.0


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"micro_batch": 0}, "micro_batch must be at least 1"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"checkpoint_every": -5}, "checkpoint_every must be at least 1"),
        ({"warmup": 1.5}, "warmup is a share, so 0 to 1; got 1.5"),
        ({"final_fraction": -0.1}, "final_fraction is a share"),
        ({"schedule": "wsd", "warmup": 0.6, "decay": 0.5}, "overlap"),
        ({"schedule": "linear"}, "schedule must be one of cosine, wsd, constant; got 'linear'"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16"),
        ({"learning_rate": math.nan}, "learning_rate must be a number of at least 0"),
        ({"weight_decay": -1.0}, "weight_decay must be"),
        ({"betas": (0.9, 1.0)}, "betas must be"),
        ({"clip": 0.0}, "clip must be positive, got 0.0; None switches it off"),
    ],
)
def test_settings_that_make_no_sense(changed, told):
    with pytest.raises(ValueError, match=told.replace("(", r"\(")):
        TrainingSettings(**changed)
