import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from trivium.evaluation.stats.multiplicity import benjamini_hochberg, holm, judged, with_holm
from trivium.evaluation.stats.paired import paired
from trivium.evaluation.stats.verdicts import fewest_clusters

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Of the machine, which may be busy."""


@patient
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_never_below_the_raw_p_and_monotone(p):
    adjusted = holm(p)
    assert all(a >= raw and a <= 1 for a, raw in zip(adjusted, p, strict=True))
    order = sorted(range(len(p)), key=lambda n: (p[n], adjusted[n]))
    assert [adjusted[n] for n in order] == sorted(adjusted)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_benjamini_hochberg_is_scipys():
    p = np.random.default_rng(0).uniform(size=20) ** 2
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([]) == []


@patient
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_false_discovery_rate_asks_less_than_holm(p):
    pairs = zip(p, benjamini_hochberg(p), holm(p), strict=True)
    assert all(raw <= find + 1e-12 and find <= claim + 1e-12 for raw, find, claim in pairs)


@pytest.mark.parametrize("adjusted", [holm, benjamini_hochberg])
def test_what_is_no_p_value_is_refused(adjusted):
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1, got"):
            adjusted([0.5, wrong])


def family(*shifts, n=16):
    rng = np.random.default_rng(6)
    noise = 0.2 * rng.normal(size=n)
    return with_holm([paired(noise + shift, np.zeros(n), range(n)) for shift in shifts])


def test_verdicts_have_the_direction_of_the_measure():
    up, none, down = family(1.0, 0.0, -1.0)
    assert [judged(x, True).verdict for x in (up, none, down)] == [
        "supported",
        "not visible at this scale",
        "contradicted",
    ]
    assert [judged(x, False).verdict for x in (up, none, down)] == [
        "contradicted",
        "not visible at this scale",
        "supported",
    ]
    assert judged(up, None).verdict is None


def test_holm_can_take_a_verdict_back():
    alone = family(0.12)[0]
    crowd = family(0.12, *[0.0] * 30)[0]
    assert judged(alone, True).verdict == "supported"
    assert crowd.interval.low > 0
    assert judged(crowd, True).verdict == "not visible at this scale"


def test_too_few_items_have_no_verdict():
    few = with_holm([paired([1.0, 1.1, 1.2, 0.9, 1.0], [0.0] * 5, range(5))])[0]
    assert few.p == 2 / 2**5  # which is why: it cannot fall below 0.05
    assert judged(few, True).verdict is None


def test_below_that_number_there_is_no_verdict_however_sure_the_interval():
    found = with_holm([paired(np.arange(8.0) + 5, np.arange(8.0), range(8))] * 48)[0]
    assert found.interval.low > 0
    assert found.p_holm == pytest.approx(48 / 2**7)
    assert judged(found, True, fewest=fewest_clusters(48)).verdict is None
    assert judged(found, True, fewest=6).verdict == "not visible at this scale"
