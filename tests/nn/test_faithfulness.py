"""The faithfulness measures on models whose answer is known, and against a slow loop."""

import math

import pytest
import torch

from trivium.core.errors import NotFinite
from trivium.nn.faithfulness import Faithfulness, hard, hellinger, importance, log_ratio, soft

TIME, WIDTH, VOCAB = 6, 16, 7
EMBEDS = torch.randn(TIME, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HEAD = torch.randn(WIDTH, VOCAB, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
ZERO = torch.zeros(1, TIME, WIDTH, dtype=torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def everything(embeds):
    """All tokens matter alike."""
    return (embeds.sum(1) @ HEAD).log_softmax(-1)


def third(embeds):
    """Only position 2 matters."""
    return (embeds[:, 2] @ HEAD).log_softmax(-1)


def one_hot(place):
    return torch.eye(TIME, dtype=torch.float64)[place]


def distributions(rows, seed):
    return (2 * torch.randn(rows, VOCAB, generator=generator(seed), dtype=torch.float64)).log_softmax(-1)


def test_hellinger_is_a_distance_in_unit_range():
    p, q, r = (distributions(200, seed) for seed in range(3))
    d = hellinger(p, q)
    assert ((d > 0) & (d < 1)).all()
    torch.testing.assert_close(d, hellinger(q, p), atol=1e-15, rtol=0)
    assert (hellinger(p, r) <= d + hellinger(q, r) + 1e-12).all()
    assert hellinger(p, p).abs().max() < 1e-12
    apart = torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]], dtype=torch.float64)
    assert hellinger(apart[:1], apart[1:]).item() == pytest.approx(1)


def test_hellinger_by_hand_and_as_the_reference_computes_it():
    p, q = torch.tensor([[0.5, 0.5]]).log().double(), torch.tensor([[0.9, 0.1]]).log().double()
    squares = (math.sqrt(0.5) - math.sqrt(0.9)) ** 2 + (math.sqrt(0.5) - math.sqrt(0.1)) ** 2
    assert hellinger(p, q).item() == pytest.approx(math.sqrt(squares / 2))
    assert hellinger(p, q, distance="reference").item() == pytest.approx(squares / math.sqrt(2))


def test_importances_are_probabilities_of_the_magnitude():
    scores = torch.tensor([2.0, -1.0, 0.0, 1.0])
    assert importance(scores).tolist() == [0.5, 0.25, 0.0, 0.25]
    assert importance(scores, rescale="max").tolist() == [1.0, 0.5, 0.0, 0.5]
    assert importance(scores, weights="positive").tolist() == pytest.approx([2 / 3, 0, 0, 1 / 3])
    torch.testing.assert_close(importance(scores, weights="softmax"), scores.double().softmax(0))
    frozen = torch.tensor([True, False, False, False])
    assert importance(scores, frozen=frozen).tolist() == [0.0, 0.5, 0.0, 0.5]
    assert importance(scores, weights="softmax", frozen=frozen)[0] == 0
    assert importance(torch.zeros(4)).tolist() == [0.25] * 4
    with pytest.raises(ValueError, match="all 4 positions are frozen"):
        importance(scores, frozen=torch.ones(4, dtype=torch.bool))


def test_keeping_everything_is_sufficient_and_removing_everything_is_comprehensive():
    ones = torch.ones(TIME, dtype=torch.float64)
    got = soft(everything, EMBEDS, ones, generator=generator())
    assert got["soft_ns"].value == pytest.approx(1)
    assert got["soft_nc"].value == pytest.approx(1)
    assert got["soft_ns"].error == pytest.approx(0, abs=1e-12)


def test_keeping_nothing_is_insufficient_and_removing_nothing_changes_nothing():
    got = soft(everything, EMBEDS, torch.zeros(TIME, dtype=torch.float64), generator=generator())
    assert got["soft_ns"].value == pytest.approx(0, abs=1e-12)
    assert got["soft_nc"].value == pytest.approx(0, abs=1e-12)


def test_naming_the_one_position_that_matters_is_perfect_and_beats_its_control():
    fills = torch.randn(3, TIME, WIDTH, generator=generator(5), dtype=torch.float64)
    for name, got in {
        **soft(third, EMBEDS, one_hot(2), generator=generator(), draws=64),
        **hard(third, EMBEDS, one_hot(2), ZERO, generator=generator(), draws=64),
        **{
            f"replaced {k}": v
            for k, v in hard(third, EMBEDS, one_hot(2), fills, generator=generator(), draws=64).items()
        },
    }.items():
        # with other fillings "nothing left" has no single answer, so comprehensiveness is 1 on average only
        assert got.value == pytest.approx(1, abs=0.35 if name.startswith("replaced") else 1e-9), name
        assert got.gain > 0.3, name
    wrong = soft(third, EMBEDS, one_hot(0), generator=generator(), draws=64)
    assert wrong["soft_nc"].value == pytest.approx(0, abs=1e-12)
    assert wrong["soft_ns"].value == pytest.approx(0, abs=1e-12)
    assert wrong["soft_nc"].gain < -0.05


def test_a_permuted_control_of_equal_importances_is_the_same_law():
    equal = torch.full((TIME,), 1 / TIME, dtype=torch.float64)
    got = soft(everything, EMBEDS, equal, generator=generator(), draws=400)
    for measure in got.values():
        assert abs(measure.gain) < 4 * math.hypot(measure.error, measure.control_error)


def test_a_uniform_control_names_as_much_and_knows_nothing():
    got = soft(third, EMBEDS, one_hot(2), generator=generator(), draws=200, control="uniform")
    again = soft(third, EMBEDS, one_hot(5), generator=generator(), draws=200, control="uniform")
    assert got["soft_nc"].control == again["soft_nc"].control  # it does not depend on what the attribution says
    assert 0 < got["soft_nc"].control < got["soft_nc"].value


def test_soft_measures_equal_a_slow_loop():
    """The formulas of the paper, one draw at a time, with the masks that the fast path draws."""
    a = importance(torch.tensor([3.0, 1.0, -2.0, 0.5, 0.0, 1.0]))
    got = soft(everything, EMBEDS, a, generator=generator(7), draws=5)
    g = generator(7)
    torch.rand(5, TIME, generator=g, dtype=torch.float64)  # the control's order is drawn first

    def root(logp):
        return (logp / 2).exp()

    p, nothing = everything(EMBEDS[None])[0], everything(ZERO)[0]
    s0 = 1 - math.sqrt(0.5 * (root(p) - root(nothing)).square().sum())
    ns, nc = [], []
    for kept in [a] * 5 + [1 - a] * 5:
        masked = EMBEDS.clone()
        drawn = torch.rand(TIME, WIDTH, generator=g, dtype=torch.float64)
        for i in range(TIME):
            for c in range(WIDTH):
                if drawn[i, c] >= kept[i]:
                    masked[i, c] = 0
        d = math.sqrt(0.5 * (root(p) - root(everything(masked[None])[0])).square().sum())
        (ns if len(ns) < 5 else nc).append((1 - d, d))
    assert got["soft_ns"].value == pytest.approx(sum(max(0, s - s0) / (1 - s0) for s, _ in ns) / 5)
    assert got["soft_nc"].value == pytest.approx(sum(d / (1 - s0) for _, d in nc) / 5)
    spread = torch.tensor([d / (1 - s0) for _, d in nc]).std() / math.sqrt(5)
    assert got["soft_nc"].error == pytest.approx(spread.item())


def test_hard_measures_by_hand():
    """Six tokens: 1, 5 and 10 % are one token, 20 % are two, half are three."""
    a = torch.tensor([0.1, 0.4, 0.3, 0.05, 0.15, 0.0], dtype=torch.float64)
    order = [1, 2, 4, 0, 3, 5]
    got = hard(everything, EMBEDS, a, ZERO, generator=generator())
    p = everything(EMBEDS[None])
    base = 1 - hellinger(p, everything(ZERO)).item()
    ns, nc = [], []
    for count in (1, 1, 1, 2, 3):
        alone, without = ZERO.clone(), EMBEDS[None].clone()
        for place in order[:count]:
            alone[0, place] = EMBEDS[place]
            without[0, place] = 0
        ns.append(max(0, 1 - hellinger(p, everything(alone)).item() - base) / (1 - base))
        nc.append(hellinger(p, everything(without)).item() / (1 - base))
    assert got["hard_ns"].value == pytest.approx(sum(ns) / 5)
    assert got["hard_nc"].value == pytest.approx(sum(nc) / 5)
    assert got["hard_nc"].error == 0  # nothing is drawn for the attribution itself
    assert got["hard_nc"].control_error > 0


def test_frozen_positions_are_never_touched():
    frozen = torch.tensor([True, False, False, False, False, True])
    seen = []

    def spy(embeds):
        seen.append(embeds)
        return everything(embeds)

    a = importance(torch.arange(6.0), frozen=frozen)
    soft(spy, EMBEDS, a, generator=generator(), frozen=frozen)
    hard(spy, EMBEDS, a, ZERO, generator=generator(), frozen=frozen)
    rows = torch.cat(seen)
    assert torch.equal(rows[:, frozen], EMBEDS[frozen].expand(len(rows), -1, -1))
    assert (rows[:, ~frozen] == 0).any()


@pytest.mark.parametrize("batch_size", [1, 7])
def test_batches_give_the_same_numbers(batch_size):
    a = importance(torch.arange(6.0))
    for measure, more in ((soft, ()), (hard, (ZERO,))):
        whole = measure(everything, EMBEDS, a, *more, generator=generator(3))
        parts = measure(everything, EMBEDS, a, *more, generator=generator(3), batch_size=batch_size)
        for name, value in whole.items():
            assert vars(parts[name]) == pytest.approx(vars(value), abs=1e-12)


def test_a_model_that_does_not_listen_cannot_be_judged():
    deaf = lambda embeds: torch.zeros(len(embeds), VOCAB).double().log_softmax(-1)  # noqa: E731
    for measure, more in ((soft, ()), (hard, (ZERO,))):
        with pytest.raises(ValueError, match="removing every token leaves the prediction as it was"):
            measure(deaf, EMBEDS, one_hot(2), *more, generator=generator())


def test_nan_is_raised_and_not_averaged():
    with pytest.raises(NotFinite, match="NaN for embeddings with features or tokens removed"):
        soft(lambda e: everything(e / e.abs().sum((1, 2), keepdim=True)), EMBEDS, one_hot(2), generator=generator())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": 1}, "draws must be at least 2"),
        ({"frozen": torch.ones(TIME, dtype=torch.bool)}, "all 6 positions are frozen"),
        ({"fractions": ()}, "fractions of tokens"),
        ({"fractions": (0.0,)}, "fractions of tokens"),
        ({"importances": one_hot(0) * 2}, "importances are probabilities"),
        ({"importances": -one_hot(0)}, "importances are probabilities"),
    ],
)
def test_bad_settings_are_refused(change, message):
    importances = change.pop("importances", one_hot(0))
    with pytest.raises(ValueError, match=message):
        hard(everything, EMBEDS, importances, ZERO, generator=generator(), **change)


def test_the_log_ratio_of_the_papers_tables():
    assert log_ratio([0.2, 0.6], [0.1, 0.1]) == pytest.approx(math.log(4))
    assert Faithfulness(0.5, 0.0, 0.2, 0.0).gain == pytest.approx(0.3)
    with pytest.raises(ValueError, match="positive means"):
        log_ratio([0.1], [0.0])
