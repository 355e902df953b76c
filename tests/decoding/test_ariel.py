"""AriEL: sentence to box to sentence without loss, boxes that fill the cube, and uniform points that draw the model."""

import itertools
from fractions import Fraction

import pytest
import torch
from scipy import stats

from tests.decoding.models import Table, tiny
from trivium.core.nouns import Stop
from trivium.decoding.ariel import BITS, Ariel, counts

END = Stop(tokens=(2,))
PROMPT = torch.tensor([[1, 5, 6, 7]])


def sentence(length: int, seed: int) -> list[int]:
    drawn = torch.randint(3, 64, (length - 1,), generator=torch.Generator().manual_seed(seed))
    return [*drawn.tolist(), 2]


def decoded(code: Ariel, model, point, prompt=PROMPT, limit=80, stop=END) -> list[int]:
    return code.decode(model, prompt, point, limit=limit, stop=stop).row(0).tolist()


@pytest.fixture(scope="module")
def table() -> Table:
    """Five tokens, of which 4 ends a sentence."""
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[:, 4] += 0.5
    return Table(logits)


@pytest.mark.parametrize("dimensions", [1, 3, 16])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_sentence_comes_back_from_anywhere_in_its_box(family, dimensions):
    code, model = Ariel(dimensions), tiny(family)
    for seed, length in enumerate((1, 2, 33)):
        tokens = sentence(length, seed)
        box = code.encode(model, PROMPT, tokens, stop=END)
        last = tuple(low + side * Fraction(2**40 - 1, 2**40) for low, side in zip(box.low, box.side, strict=True))
        for point in (box.centre, box.low, last):
            assert point in box
            assert decoded(code, model, point) == tokens
        below = (box.low[0] - Fraction(1, 2 ** (BITS * 34)), *box.low[1:])
        if below[0] >= 0:
            assert below not in box
            assert decoded(code, model, below) != tokens


def test_the_volume_is_the_probability():
    code, model = Ariel(4), tiny()
    tokens = sentence(9, 1)
    box = code.encode(model, PROMPT, tokens, stop=END)
    with torch.no_grad():
        logits = model(torch.cat([PROMPT, torch.tensor([tokens])], 1)).logits[0, PROMPT.shape[1] - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(tokens)[:, None]).sum()
    assert float(torch.tensor(float(box.volume)).log()) == pytest.approx(float(expected), rel=1e-6)


def test_boxes_of_all_sentences_and_unfinished_beginnings_fill_the_cube_without_overlap(table):
    code, stop, prompt = Ariel(2), Stop(tokens=(4,)), torch.tensor([[0]])
    found = []
    for length in range(1, 5):
        for body in itertools.product(range(4), repeat=length - 1):
            found.append(code.encode(table, prompt, [*body, 4], stop=stop))
    for body in itertools.product(range(4), repeat=4):
        found.append(code.encode(table, prompt, body))
    assert sum(box.volume for box in found) == 1
    sides = lambda box: list(zip(box.low, box.side, strict=True))  # noqa: E731
    for a, b in itertools.combinations(found, 2):
        apart = [p + u <= q or q + v <= p for (p, u), (q, v) in zip(sides(a), sides(b), strict=True)]
        assert any(apart)


def test_random_points_draw_from_the_model(table):
    rows, stop = 6_000, Stop(tokens=(4,))
    prompt = torch.zeros(rows, 1, dtype=torch.int64)
    made = Ariel(2)(table, prompt, limit=2, generator=torch.Generator().manual_seed(5), stop=stop)
    p = table.table.softmax(-1)
    expected = {(a, b): float(p[0, a] * p[a, b]) for a in range(4) for b in range(5)} | {(4,): float(p[0, 4])}
    seen = dict.fromkeys(expected, 0)
    for row in range(rows):
        seen[tuple(made.row(row).tolist())] += 1
    assert stats.chisquare(list(seen.values()), [rows * expected[key] for key in seen]).pvalue > 1e-3
    wrong = [rows / len(seen)] * len(seen)  # the test can tell another law from this one
    assert stats.chisquare(list(seen.values()), wrong).pvalue < 1e-6


def test_one_dimension_is_arithmetic_coding(table):
    """A reference of a few lines, in fractions."""
    tokens, low, side, last = [1, 3, 0, 2, 4], Fraction(0), Fraction(1), 0
    for token in tokens:
        p = [Fraction(int(c), 2**BITS) for c in counts(table.table[last][None])[0]]
        low, side, last = low + side * sum(p[:token]), side * p[token], token
    box = Ariel(1).encode(table, torch.tensor([[0]]), tokens, stop=Stop(tokens=(4,)))
    assert (box.low, box.side) == ((low,), (side,))


def test_counts_sum_exactly_and_leave_no_token_out():
    logits = torch.tensor([[0.0, -200.0, 3.0, -torch.inf], [0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    made = counts(logits)
    assert made.sum(1).tolist() == [2**BITS] * 2
    assert made[0, 1] == made[0, 3] == 1
    assert made[1].max() - made[1].min() <= 4


def test_a_shorter_limit_gives_the_beginning_of_the_same_sentence():
    model, point = tiny(), tuple(Fraction(n + 1, 19) for n in range(16))
    long = decoded(Ariel(), model, point, limit=40, stop=Stop())
    assert decoded(Ariel(), model, point, limit=7, stop=Stop()) == long[:7]


def test_float_points_hold_short_sentences_and_say_when_they_cannot():
    code, model = Ariel(2), tiny()
    tokens = sentence(6, 3)
    box = code.encode(model, PROMPT, tokens, stop=END)
    assert box.floats() in box
    assert decoded(code, model, box.floats()) == tokens
    with pytest.raises(ValueError, match="precision exhausted: on axis 0"):
        code.encode(model, PROMPT, sentence(60, 3), stop=END).floats()


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ((0.5,), "1 coordinates, the code 2 dimensions"),
        ((0.5, 1.0), "coordinate 1.0 lies outside"),
        ((-0.25, 0.5), "coordinate -0.25 lies outside"),
    ],
)
def test_points_outside_the_cube(point, said):
    with pytest.raises(ValueError, match=said):
        Ariel(2).decode(tiny(), PROMPT, point, limit=4)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ([], "the sentence is empty"),
        ([3, 4], "must end with a stop token"),
        ([3, 2, 4, 2], "goes on after its stop token at place 1"),
        ([3, 64, 2], "token 64 of the sentence"),
    ],
)
def test_sentences_that_have_no_box(tokens, said):
    with pytest.raises(ValueError, match=said):
        Ariel().encode(tiny(), PROMPT, tokens, stop=END)


def test_settings_and_prompts():
    with pytest.raises(ValueError, match="dimensions must be at least 1"):
        Ariel(0)
    with pytest.raises(ValueError, match="coded alone"):
        Ariel().encode(tiny(), PROMPT.repeat(2, 1), [3])
