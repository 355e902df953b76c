"""EAD: its limits are one model or the other, and every token is its writer's own for that prefix."""

from itertools import pairwise
from math import log2

import pytest
import torch

from tests.decoding.models import Table, noisy, tiny
from tests.families import VOCAB, wrapped
from trivium.core.meter import Meter
from trivium.decoding.contrastive_search import ContrastiveSearch
from trivium.decoding.ead import EAD, entropy_bits
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9], [0, 0, 8, 8, 8, 8, 8, 8, 8]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6, [False] * 2 + [True] * 7])
INF = float("inf")


def run(decoder, model=None, *, limit=24, seed=0, **words):
    given = {"prompt": PROMPT, "mask": MASK} | words
    model = tiny() if model is None else model
    return decoder(model, given.pop("prompt"), limit=limit, generator=torch.Generator().manual_seed(seed), **given)


def small(family="llama"):
    return noisy(family, 0.6)


def by_hand(settings, large, little, prompt, limit):
    """One row, greedy, each distribution from a pass over the whole prefix: tokens, and which model wrote each."""
    text, at_work, since, seen, writers = list(prompt), settings.start == "large", 0, [], []
    down = settings.threshold if settings.down is None else settings.down
    for _ in range(limit):
        with torch.no_grad():
            p = (large if at_work else little)(torch.tensor([text])).logits[0, -1].double().softmax(-1)
        seen.append(-sum(float(x) * log2(float(x)) for x in p if x > 0))
        text.append(int(p.argmax()))
        writers.append(at_work)
        since += 1
        last = seen[-settings.window :]
        mean = sum(last) / len(last)
        if since >= settings.dwell and (mean <= down if at_work else mean > settings.threshold):
            at_work, since = not at_work, 0
            seen = seen if settings.carry else []
    return text[len(prompt) :], writers


SETTINGS = [
    dict(threshold=3.5, dwell=2, window=3),
    dict(threshold=3.7, down=3.4, dwell=3, window=2, start="large"),
    dict(threshold=3.5, dwell=2, window=4, carry=False),
]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "mamba"])
@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "hysteresis", "fresh window"])
def test_every_step_is_the_active_models_own_in_a_ragged_batch(family, settings):
    large, little = tiny(family), small(family)
    decoder = EAD(little, **settings)
    made = run(decoder, large, limit=16)
    expected = [by_hand(decoder, large, little, PROMPT[row][MASK[row]].tolist(), 16) for row in range(3)]
    assert [made.row(row).tolist() for row in range(3)] == [text for text, _ in expected]
    writers = [writers for _, writers in expected]
    assert made.trace.total("large") == sum(map(sum, writers))
    if family == "llama":
        assert 0.1 < made.trace.total("large") / 48 < 0.9
        assert made.trace.total("switches") >= 3


def test_the_window_that_is_kept_and_the_one_that_begins_anew_differ():
    one, two = (run(EAD(small(), threshold=3.5, dwell=2, window=4, carry=carry)) for carry in (True, False))
    assert one.trace.total("switches") != two.trace.total("switches")


@pytest.mark.parametrize("of", [Greedy(), Sampling(0.8)], ids=["greedy", "sampling"])
def test_limits_in_which_it_is_one_model_alone(of):
    never = run(EAD(small(), threshold=INF, of=of))
    alone = run(of, small())
    assert torch.equal(never.ids, alone.ids)
    torch.testing.assert_close(never.logprobs, alone.logprobs, atol=1e-9, rtol=0)
    assert never.trace.total("large") == never.trace.total("target_positions") == 0
    always = run(EAD(small(), threshold=-1.0, start="large", of=of))
    assert torch.equal(always.ids, run(of).ids)
    assert always.trace.total("draft_positions") == 0


@pytest.mark.parametrize("of", [Greedy(), Sampling(0.8, top_p=0.9, repetition_penalty=1.3)], ids=["greedy", "sampling"])
def test_the_same_model_twice_is_that_model(of):
    made = run(EAD(threshold=3.5, dwell=1, window=2, of=of))
    assert torch.equal(made.ids, run(of).ids)
    assert made.trace.total("switches") >= 4


@pytest.mark.parametrize("dwell", [1, 3, 7])
def test_no_two_switches_are_closer_than_the_dwell(dwell):
    table = Table(torch.zeros(4, 4, dtype=torch.float64))
    made = run(EAD(threshold=1.0, dwell=dwell), table, prompt=torch.tensor([[0]]), mask=None, limit=21)
    assert made.trace.total("switches") == 1  # 2 bits: up once, and never down
    swings = EAD(small(), threshold=3.5, down=3.5, dwell=dwell, window=1)
    made = run(swings, prompt=PROMPT[:1], mask=None, limit=40)
    at = [step for step, entry in enumerate(made.trace.iterations) if entry["switches"]]
    assert len(at) >= 2
    assert min(b - a for a, b in pairwise(at)) >= dwell
    assert at[0] >= dwell - 1


def test_entropies_are_bits_of_the_unfiltered_distribution():
    assert entropy_bits(torch.zeros(1, 64)).item() == pytest.approx(6.0)
    assert entropy_bits(torch.tensor([[0.0, -INF, -INF]])).item() == 0.0
    assert entropy_bits(torch.tensor([[0.5, 0.25, 0.25]]).log()).item() == pytest.approx(1.5)
    random = torch.randn(50, VOCAB, generator=torch.Generator().manual_seed(0)) * 4
    assert ((entropy_bits(random) >= 0) & (entropy_bits(random) <= 6)).all()
    plain, cut = (run(EAD(threshold=3.5, dwell=2, of=of)).trace for of in (Greedy(), Sampling(1.0, top_k=1)))
    assert plain.total("switches") == cut.total("switches") > 0  # the cut leaves an entropy of 0 bits, but is not seen


def test_a_higher_threshold_leaves_less_to_the_large_model():
    shares = [run(EAD(small(), threshold=t, dwell=2)).trace.total("large") for t in (0.0, 3.3, 3.8, INF)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1] == 0


def test_catching_up_is_counted_and_so_are_all_positions():
    with Meter() as meter:
        made = run(EAD(small(), threshold=3.5, dwell=2), prompt=PROMPT[:1], mask=None)
    total = {name: made.trace.total(name) for name in ("target_positions", "draft_positions", "catch_up", "large")}
    assert meter.spent.positions == total["target_positions"] + total["draft_positions"]
    assert total["target_positions"] + total["draft_positions"] == 24 + total["catch_up"]
    assert meter.spent.calls == made.trace.total("target_passes") + made.trace.total("draft_passes")
    assert set(made.trace.seconds) == {"small", "large"}
    assert 0 < sum(made.trace.seconds.values()) <= meter.spent.seconds
    assert total["large"] > 0
    assert total["catch_up"] > 2 * (PROMPT.shape[1] - 1)  # the prompt twice, and what one wrote without the other


def test_bad_settings_and_pairs():
    for words, message in [
        ({"threshold": float("nan")}, "threshold must be a number"),
        ({"down": 2.0}, "down must be at most the threshold 1.0"),
        ({"down": float("nan")}, "down must be at most"),
        ({"window": 0}, "window must be at least 1"),
        ({"dwell": 0}, "dwell must be at least 1"),
        ({"start": "middle"}, "'small' or 'large'"),
    ]:
        with pytest.raises(ValueError, match=message):
            EAD(**words)
    with pytest.raises(TypeError, match="contrastive_search"):
        EAD(of=ContrastiveSearch())
    with Meter() as meter:
        with pytest.raises(ValueError, match="vocabulary of 5 and the large one of 64"):
            run(EAD(Table(torch.zeros(5, 5))))
        with pytest.raises(ValueError, match="small model has 16 positions"):
            run(EAD(wrapped("llama", max_position_embeddings=16)))
    assert meter.spent.new_tokens == 0
