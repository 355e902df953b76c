"""BiLD: its limits are greedy decoding of one model or the other, and the policy is a plain loop over prefixes."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from tests.decoding.models import Table, noisy, tiny
from tests.families import wrapped
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.decoding._pair import small_of
from trivium.decoding.bild import BiLD
from trivium.decoding.greedy import Greedy
from trivium.models.sources import load

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9], [0, 0, 8, 8, 8, 8, 8, 8, 8]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6, [False] * 2 + [True] * 7])
ALWAYS = {"fallback": 0.0, "rollback": float("inf"), "run": 1000}


def run(decoder, model=None, *, limit=24, **words):
    model = tiny() if model is None else model
    given = {"prompt": PROMPT, "mask": MASK} | words
    return decoder(model, given.pop("prompt"), limit=limit, generator=torch.Generator().manual_seed(0), **given)


@cache
def plausible():
    """A small model close to the large one, so that its tokens are accepted, rolled back and fallen back from."""
    return noisy("llama", 0.35)


def by_hand(settings, large, small, prompt, limit, stops=()):
    """The policy of one row, each distribution from a pass over the whole prefix."""
    laws = {}

    def law(model, text):
        key = (id(model), tuple(text))
        if key not in laws:
            with torch.no_grad():
                laws[key] = model(torch.tensor([text])).logits[0, -1].double().log_softmax(-1)
        return laws[key]

    text, new = list(prompt), []
    passes = 0
    while True:
        tentative = []
        while new and len(tentative) < settings.run and len(new) + len(tentative) < limit:
            p = law(small, text + tentative)
            if float(p.max().exp()) < settings.fallback:
                break
            tentative.append(int(p.argmax()))
            if tentative[-1] in stops:
                break
        passes += 1
        kept = []
        for token in tentative:
            p = law(large, text + kept)
            if float(-p[token]) > settings.rollback and token != int(p.argmax()):
                break
            kept.append(token)
        block = [*kept, int(law(large, text + kept).argmax())]
        for token in block:
            new.append(token)
            text.append(token)
            if len(new) == limit or token in stops:
                return new, passes


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize(
    "settings",
    [BiLD(), BiLD(fallback=0.1, rollback=1.0, run=3), BiLD(fallback=0.0, rollback=2.0, run=4)],
    ids=["defaults", "short", "no fallback"],
)
def test_the_policy_is_the_loop_over_prefixes_in_a_ragged_batch(family, settings):
    large, small = tiny(family), noisy(family, 0.35)
    made = run(replace(settings, small=small), large, limit=12)
    passes = 0
    for row in range(3):
        text, count = by_hand(settings, large, small, PROMPT[row][MASK[row]].tolist(), 12)
        assert made.row(row).tolist() == text
        passes += count
    assert made.trace.total("rows") == passes
    assert made.trace.total("committed") == 3 * 12


def test_the_settings_of_that_test_do_accept_roll_back_and_fall_back():
    made = run(BiLD(plausible(), fallback=0.1, rollback=1.0, run=3))
    accepted, drafted = made.trace.total("accepted"), made.trace.total("drafted")
    assert made.trace.total("rollbacks") >= 3
    assert accepted >= 5
    assert drafted < 3 * len(made.trace.iterations) * 3  # runs ended early: fallbacks
    assert int(made.accepted.sum()) == accepted


@pytest.mark.parametrize(
    "settings",
    [{"fallback": 1.1}, {"rollback": 0.0, "fallback": 0.0}, {"fallback": float("inf"), "rollback": float("inf")}],
    ids=["always falls back", "takes all back", "both"],
)
def test_limits_in_which_it_is_the_large_model(settings):
    plain, made = run(Greedy()), run(BiLD(plausible(), **settings))
    assert torch.equal(plain.ids, made.ids)
    torch.testing.assert_close(plain.logprobs, made.logprobs, atol=1e-9, rtol=0)


@pytest.mark.parametrize("run_length", [1, 3, 10])
def test_a_small_model_equal_to_the_large_one_changes_nothing(run_length):
    made = run(BiLD(fallback=0.0, rollback=0.0, run=run_length))
    assert torch.equal(run(Greedy()).ids, made.ids)
    assert made.trace.total("rollbacks") == 0
    assert made.trace.acceptance_rate == 1.0


def test_limit_in_which_it_is_the_small_model_after_the_first_token():
    made = run(BiLD(plausible(), **ALWAYS))
    for row in range(3):
        begun = torch.cat([PROMPT[row][MASK[row]], made.ids[row, :1]])[None]
        alone = run(Greedy(), plausible(), prompt=begun, mask=None, limit=23)
        assert made.row(row).tolist() == [int(made.ids[row, 0]), *alone.row(0).tolist()]
        assert int(made.ids[row, 0]) == int(run(Greedy(), limit=1).ids[row, 0])
    assert len(made.trace.iterations) == 2  # the prompt, and one look at the end


def test_what_stays_is_plausible_to_the_large_model_or_its_own():
    made = run(BiLD(plausible(), fallback=0.0, rollback=1.5))
    assert bool((made.logprobs[made.accepted] < 0).any())
    with torch.no_grad():
        for row in range(3):
            text = torch.cat([PROMPT[row][MASK[row]], made.row(row)])
            logits = tiny()(text[None]).logits[0, -25:-1]
            surprise = -logits.log_softmax(-1).gather(1, made.row(row)[:, None])[:, 0]
            assert ((surprise <= 1.5) | (made.row(row) == logits.argmax(-1))).all()
            assert (made.row(row) == logits.argmax(-1))[~made.accepted[row]].all()


def test_a_lower_fallback_needs_fewer_passes_of_the_large_model():
    passes = [run(BiLD(plausible(), fallback=f, rollback=50.0)).trace.total("rows") for f in (0.9, 0.3, 0.1, 0.0)]
    assert passes == sorted(passes, reverse=True)
    assert passes[0] > 1.5 * passes[-1]


def test_an_end_is_checked_unless_told_not_to():
    """The small model goes 0 1 2 (end), the large one 0 1 3 4: checked, the end is taken back."""
    large, small = (torch.full((6, 6), -9.0, dtype=torch.float64) for _ in range(2))
    for table, after in ((large, [1, 3, 0, 4, 5, 5]), (small, [1, 2, 0, 4, 5, 5])):
        for token, following in enumerate(after):
            table[token, following] = 9.0
    words = {"prompt": torch.tensor([[0]]), "mask": None, "limit": 6, "stop": Stop(tokens=(2,))}
    checked = run(BiLD(Table(small)), Table(large), **words)
    assert checked.row(0).tolist() == [1, 3, 4, 5, 5, 5]
    assert checked.trace.total("unverified") == 0
    trusting = run(BiLD(Table(small), verify_end=False), Table(large), **words)
    assert trusting.row(0).tolist() == [1, 2]
    assert trusting.trace.total("unverified") == 1
    assert trusting.accepted.tolist() == [[False, True]]
    lenient = run(BiLD(Table(small), rollback=100.0), Table(large), **words)
    assert lenient.row(0).tolist() == [1, 2]
    assert lenient.trace.total("unverified") == 0


def test_a_token_of_the_large_models_own_choice_is_never_taken_back():
    """Uniform over four: every token surprises by 1.4 nats, yet the first of them is the argmax and stays."""
    table = torch.zeros(4, 4, dtype=torch.float64)
    made = run(BiLD(fallback=0.0, rollback=0.5), Table(table), prompt=torch.tensor([[3]]), mask=None, limit=5)
    assert made.row(0).tolist() == [0] * 5
    assert made.trace.total("rollbacks") == 0


def test_positions_of_both_models_are_counted():
    with Meter() as meter:
        made = run(BiLD(plausible(), fallback=0.1, rollback=1.0, run=3), prompt=PROMPT[:1], mask=None)
    assert meter.spent.positions == made.trace.total("target_positions") + made.trace.total("draft_positions")
    assert meter.spent.calls == made.trace.total("target_passes") + made.trace.total("draft_passes")
    assert meter.spent.new_tokens == 24
    assert set(made.trace.seconds) == {"prefill", "draft", "verify"}
    assert 0 < sum(made.trace.seconds.values()) <= meter.spent.seconds


def test_bad_settings_and_pairs():
    for field, value, message in [
        ("fallback", -0.1, "fallback is a probability"),
        ("fallback", float("nan"), "fallback is a probability"),
        ("rollback", -1.0, "rollback is a surprise"),
        ("rollback", float("nan"), "rollback is a surprise"),
        ("run", 0, "run must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            BiLD(**{field: value})
    with Meter() as meter:
        with pytest.raises(ValueError, match="vocabulary of 5 and the large one of 64"):
            run(BiLD(Table(torch.zeros(5, 5))))
        with pytest.raises(NotOffered, match="bild's small model"):
            run(BiLD(tiny("mamba")))
        with pytest.raises(ValueError, match="small model has 16 positions"):
            run(BiLD(wrapped("llama", max_position_embeddings=16)))
    assert meter.spent.new_tokens == 0


def test_a_named_small_model_computes_in_the_number_format_of_the_large_one():
    large = load("tiny", dtype="bfloat16").model
    assert small_of("bild", "tiny", large, ["causal"]).dtype == torch.bfloat16
