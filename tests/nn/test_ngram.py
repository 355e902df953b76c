import pytest
import torch

from trivium.nn.linear_attention import document_numbers
from trivium.nn.ngram import (
    NOTHING,
    follows,
    mean_over,
    previous_columns,
    previous_in_tree,
    successors,
    successors_reference,
    trails,
)

BATCH, TIME, WIDTH = 3, 24, 5
EXACT = {"atol": 1e-12, "rtol": 0}


def ids(letters=3, time=TIME, seed=0):
    """So few letters that two or three in a row come back."""
    return torch.randint(letters, (BATCH, time), generator=torch.Generator().manual_seed(seed))


def x(time=TIME, seed=1, dtype=torch.float64):
    return torch.randn(BATCH, time, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def padding():
    real = torch.ones(BATCH, TIME, dtype=torch.bool)
    real[0, :4] = real[0, 9] = real[1, 6:8] = real[2, -3:] = False
    return real


def documents(real=None):
    segments = torch.tensor([[0] * 5 + [1] * 9 + [2] * 10, [4] * 12 + [1] + [4] * 11, [0] * 24])
    return document_numbers(segments, real)


CASES = {
    "plain": {},
    "padded": {"real": padding()},
    "packed": {"documents": documents()},
    "padded and packed": {"real": padding(), "documents": documents(padding())},
}


def told(real=None, documents=None):
    """The same facts as a matrix and a list of columns."""
    visible = torch.ones(BATCH, TIME, TIME, dtype=torch.bool).tril()
    if real is not None:
        visible = visible & real[:, None]
    if documents is not None:
        visible = visible & (documents[:, :, None] == documents[:, None])
    return previous_columns(TIME, real=real, documents=documents), visible


def matrix(text, order):
    """A of one text of letters."""
    said = torch.tensor([[ord(letter) for letter in text]])
    trail = trails(said, previous_columns(len(text)), order)
    return follows(trail, trail)[0]


@pytest.mark.parametrize("facts", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("order", [1, 2, 3])
def test_outputs_and_gradients_equal_all_pairs_one_by_one(order, facts):
    values, upstream = x().requires_grad_(), x(seed=2)
    kept = facts.get("real", torch.ones(BATCH, TIME, dtype=torch.bool))[..., None]
    fast = successors(values, ids(), order, *told(**facts)) * kept
    slow = successors_reference(values, ids(), order, **facts)
    assert (slow != 0).any()
    torch.testing.assert_close(fast, slow, **EXACT)
    got, expected = (torch.autograd.grad((y * upstream).sum(), values)[0] for y in (fast, slow))
    torch.testing.assert_close(got, expected, **EXACT)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_a_map_from_ngrams_to_sums_that_is_asked_before_it_is_told(order):
    """The recurrent form: asked for the n tokens that end here, then told what followed the n before."""
    values, tokens = x(), ids()
    got = successors(values, tokens, order, previous_columns(TIME))
    for row in range(BATCH):
        sums, said = {}, tokens[row].tolist()
        for t in range(TIME):
            key = tuple(said[t - order + 1 : t + 1])
            total, count = sums.get(key, (torch.zeros(WIDTH), 1)) if t >= order - 1 else (torch.zeros(WIDTH), 1)
            torch.testing.assert_close(got[row, t], (total / count).double(), **EXACT)
            if t >= order:
                key = tuple(said[t - order : t])
                total, count = sums.get(key, (torch.zeros(WIDTH), 0))
                sums[key] = total + values[row, t], count + 1


def test_a_hand_worked_text():
    """In abcab the second a stands where b followed the first, the second b where c did."""
    assert matrix("abcab", 1).nonzero().tolist() == [[3, 1], [4, 2]]
    assert matrix("abcab", 2).nonzero().tolist() == [[4, 2]]
    assert matrix("abcab", 3).sum() == 0
    assert matrix("aaaa", 1).nonzero().tolist() == [[2, 1], [3, 1], [3, 2]]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_nothing_looks_at_itself_or_ahead_and_rows_sum_to_one_or_nothing(order):
    trail = trails(ids(2), previous_columns(TIME), order)
    found = follows(trail, trail)
    assert not found.triu().any()
    weights = mean_over(found, torch.eye(TIME, dtype=torch.float64).expand(BATCH, -1, -1))
    sums = weights.sum(-1)
    assert set(sums.round(decimals=12).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(weights > 0, found)


def test_a_higher_order_finds_a_part_of_what_a_lower_one_finds():
    found = {}
    for order in (1, 2, 3):
        trail = trails(ids(), previous_columns(TIME), order)
        found[order] = follows(trail, trail)
    for order in (2, 3):
        assert not (found[order] & ~found[order - 1]).any()
        assert found[order].sum() < found[order - 1].sum()


@pytest.mark.parametrize("cut", [1, 2, 11, TIME - 1])
@pytest.mark.parametrize("order", [1, 3])
def test_later_tokens_go_on_from_what_earlier_ones_left(order, cut):
    tokens, values = ids(), x()
    first = trails(tokens[:, :cut], previous_columns(cut), order)
    second = trails(tokens[:, cut:], previous_columns(TIME - cut, cut), order, first.to(torch.int32))
    whole = trails(tokens, previous_columns(TIME), order)
    assert torch.equal(torch.cat((first, second), 1), whole)
    later = mean_over(follows(second, whole), values)
    every = successors(values, tokens, order, previous_columns(TIME))[:, cut:]
    torch.testing.assert_close(later, every, atol=1e-12, rtol=0)  # products of other shapes round otherwise


def test_the_token_before_is_in_the_same_text_whatever_stands_between():
    real = torch.tensor([[False, True, False, True, True, True]])
    documents = torch.tensor([[0, 0, 0, 0, 1, 1]])
    assert previous_columns(6, real=real).tolist() == [[NOTHING, NOTHING, 1, 1, 3, 4]]
    assert previous_columns(6, real=real, documents=documents).tolist() == [[NOTHING, NOTHING, 1, 1, NOTHING, 4]]
    assert previous_columns(2, 4, real=real).tolist() == [[3, 4]]
    assert previous_columns(2, 4).tolist() == [[3, 4]]


def test_in_a_tree_the_token_before_is_the_parent():
    """Two columns are known; of four new ones the third and the fourth branch off from the first."""
    parents = [1, 2, 2, 4]
    mask = torch.zeros(1, 4, 6, dtype=torch.bool)
    for node, parent in enumerate(parents):
        mask[0, node, : parent + 1] = True if parent < 2 else mask[0, parent - 2, : parent + 1]
        mask[0, node, node + 2] = True
    assert previous_in_tree(mask).tolist() == [parents]
    chain = torch.ones(1, 4, 6, dtype=torch.bool).tril(2)
    assert previous_in_tree(chain).tolist() == previous_columns(4, 2).tolist()


def test_behind_texts_laid_side_by_side_nothing_comes_before():
    mask = torch.tensor([[[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]]).bool()
    assert previous_in_tree(mask).tolist() == [[NOTHING, 0, 0, NOTHING, 3]]


def test_what_is_not_known_is_not_taken_for_the_beginning_of_a_text():
    """x y, then a and b side by side, then x again: that nothing comes before it does not make it the x before y."""
    x, y, a, b = range(4)
    mask = torch.ones(1, 5, 5, dtype=torch.bool).tril()
    mask[0, 3, 2] = False
    trail = trails(torch.tensor([[x, y, a, b, x]]), previous_in_tree(mask), 2)
    assert trail[0, 4].tolist() == [x, NOTHING, NOTHING]
    assert not follows(trail, trail, mask)[0, 4].any()
    assert follows(trail[..., :2], trail[..., :2], mask)[0, 4].tolist() == [False, True, False, False, False]


def test_half_precision_is_averaged_in_float32():
    values = x(dtype=torch.bfloat16) + 100  # sums of these lose their last digits in half precision
    got = successors(values, ids(), 1, previous_columns(TIME))
    assert got.dtype == torch.bfloat16
    expected = successors_reference(values.float(), ids(), 1)
    torch.testing.assert_close(got.float(), expected, atol=0.2501, rtol=0)  # half a step of bfloat16 at 100
