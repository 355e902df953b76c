"""The logits pipeline: against transformers' processors, by hand, and row by row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from trivium.decoding._pipeline import Pipeline, draw, keep_top_k, keep_top_p, keep_top_p_reference, likeliest, top_ids


def random_logits(rows=3, vocab=50, seed=0):
    return 3 * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(5))
def test_all_steps_together_equal_transformers(seed):
    logits, history = random_logits(seed=seed), torch.tensor([[4, 7, 9, 7], [1, 2, 3, 9], [8, 7, 8, 7]])
    stop, new = 11, 2
    pipeline = Pipeline(0.8, 20, 0.9, 0.05, 1.3, ((5,), (7, 12), (9, 7, 30)), 3, 0.8, 0.06, 0.15, no_repeat_ngram=2)
    theirs = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.3),
            NoRepeatNGramLogitsProcessor(2),
            NoBadWordsLogitsProcessor([[5], [7, 12], [9, 7, 30]]),
            MinNewTokensLengthLogitsProcessor(2, 3, stop),
            TemperatureLogitsWarper(0.8),
            TopKLogitsWarper(20),
            TopPLogitsWarper(0.9),
            MinPLogitsWarper(0.05),
            TypicalLogitsWarper(0.8),
            EpsilonLogitsWarper(0.06),
            EtaLogitsWarper(0.15),
        ]
    )(history, logits.clone())
    ours = pipeline.probabilities(logits, list(history), [new] * 3, [stop])
    torch.testing.assert_close(ours, theirs.softmax(-1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", range(1, 7))
def test_no_ngram_comes_twice_as_in_transformers(size):
    history = torch.tensor([[1, 2, 1, 2, 1], [3, 3, 3, 3, 3], [1, 2, 3, 4, 5]])
    ours = Pipeline(no_repeat_ngram=size).penalised(torch.zeros(3, 50), list(history), [0] * 3)
    assert torch.equal(ours, NoRepeatNGramLogitsProcessor(size)(history, torch.zeros(3, 50)))


def test_frequency_and_presence_count_what_was_generated():
    history = [torch.tensor([3, 3, 1, 2, 1]), torch.tensor([1, 1])]
    asked = Pipeline(frequency_penalty=0.5, presence_penalty=0.25)
    found = asked.penalised(torch.zeros(2, 4), history, [3, 0])
    assert found.tolist() == [[0.0, -1.25, -0.75, 0.0], [0.0] * 4]
    rewarded = Pipeline(frequency_penalty=-0.5).penalised(torch.zeros(1, 4), history[:1], [3])
    assert rewarded.tolist() == [[0.0, 1.0, 0.5, 0.0]]


class Alternating:
    """Even and odd tokens take turns, an even one first."""

    def check(self, vocab_size):
        if vocab_size < 2:
            raise ValueError("the vocabulary has no odd token")

    def allowed(self, text, vocab_size):
        return torch.arange(vocab_size) % 2 == len(text) % 2


def test_a_constraint_sees_the_new_tokens_of_its_own_row():
    histories = [torch.tensor([3, 1, 4]), torch.tensor([3, 1, 4])]
    probs = Pipeline(constraint=Alternating()).probabilities(torch.zeros(2, 4), histories, [0, 1])
    assert probs.tolist() == [[0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5]]
    with pytest.raises(ValueError, match="no odd token"):
        Pipeline(constraint=Alternating()).check(1)
    with pytest.raises(ValueError, match="leave no token"):
        Pipeline(constraint=Alternating(), bad_words=((0,),)).probabilities(torch.zeros(1, 2), [torch.tensor([0])], [0])


def test_every_setting_changes_something_and_its_limit_nothing():
    logits, history, given_ = random_logits(), [torch.arange(40, 50)] * 3, ([2, 2, 2], [3])
    plain = Pipeline().probabilities(logits, history, *given_)
    off = Pipeline(1.0, 50, 1.0, 0.0, 1.0, (), 0, 1.0, 0.0, 0.0, 0.0, 0.0, 11)
    torch.testing.assert_close(off.probabilities(logits, history, *given_), plain, atol=0, rtol=0)
    for on in (
        Pipeline(temperature=0.5),
        Pipeline(top_k=3),
        Pipeline(top_p=0.5),
        Pipeline(min_p=0.5),
        Pipeline(repetition_penalty=2.0),
        Pipeline(bad_words=((7,),)),
        Pipeline(min_length=3),
        Pipeline(frequency_penalty=0.5),
        Pipeline(presence_penalty=0.5),
        Pipeline(no_repeat_ngram=1),
        Pipeline(typical_p=0.5),
        Pipeline(epsilon=0.1),
        Pipeline(eta=0.1),
        Pipeline(constraint=Alternating()),
    ):
        assert not torch.equal(on.probabilities(logits, history, *given_), plain), on


def test_temperature_zero_is_a_point_mass_on_the_lowest_of_equals():
    probs = Pipeline(temperature=0).probabilities(torch.tensor([[0.0, 2.0, 1.0, 2.0]]))
    assert probs.tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_each_row_has_its_own_history():
    logits = torch.ones(2, 4)
    probs = Pipeline(repetition_penalty=1e6).probabilities(logits, [torch.tensor([0]), torch.tensor([2])])
    assert probs.argmin(-1).tolist() == [0, 2]


def test_half_precision_is_processed_in_float32():
    assert Pipeline(temperature=0.7).logits(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.float32


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(1, 30))
def test_top_k_keeps_exactly_k_and_the_lowest_ids_among_equals(values, k):
    k = min(k, len(values))
    kept = keep_top_k(torch.tensor([values]).double(), k)[0]
    expected = sorted(range(len(values)), key=lambda at: (-values[at], at))[:k]
    assert sorted(kept.nonzero()[:, 0].tolist()) == sorted(expected)
    assert top_ids(torch.tensor([values]).double(), k)[0].tolist() == expected


@given(st.lists(st.integers(0, 5), min_size=2, max_size=24), st.floats(0.01, 1.0), st.integers(1, 8))
def test_top_p_by_partial_sort_equals_the_full_sort(values, p, head):
    logits = torch.tensor([values, values[::-1]]).double()
    assert torch.equal(
        keep_top_p(logits, p, head), keep_top_p_reference(logits.softmax(-1), p) if p < 1 else logits > -1
    )


def test_a_draw_is_the_inverse_of_the_cumulative_distribution():
    probs = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).double()
    for point, token in ((0.0, 1), (0.2499, 1), (0.2501, 3), (1 - 2**-53, 3), (1.0, 3)):
        assert draw(probs, torch.tensor([point]).double()).tolist() == [token]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"min_length": -1}, "min_length"),
        ({"frequency_penalty": float("nan")}, "frequency_penalty"),
        ({"presence_penalty": float("inf")}, "presence_penalty"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram"),
        ({"typical_p": 0.0}, "typical_p"),
        ({"epsilon": -0.1}, "epsilon"),
        ({"eta": 1.0}, "eta"),
        ({"bad_words": ((),)}, "bad word"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(**wrong)


def test_a_pipeline_that_leaves_nothing_says_so():
    with pytest.raises(ValueError, match="leave no token"):
        Pipeline(bad_words=((0,), (1,))).probabilities(torch.zeros(1, 2), [torch.tensor([0])], [0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_likeliest_of_equals_is_the_lowest_id(dtype):
    logits = torch.zeros(3, 2, 5000, dtype=dtype)
    for row, (first, second) in enumerate([(7, 4000), (0, 4999), (2048, 2049)]):
        logits[row, :, [first, second]] = 1.0
    assert likeliest(logits).tolist() == [[7, 7], [0, 0], [2048, 2048]]
