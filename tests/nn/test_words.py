import pytest
import torch

from trivium.nn.words import WHITE_SPACE, grouped, starts_of, words, words_reference


def cut(data, limit=64, fresh=()):
    """The words of some bytes, the last one whether it has ended or not; and whether it has."""
    ids = torch.tensor(list(data), dtype=torch.int64)
    begins = torch.zeros(len(ids), dtype=torch.bool)
    begins[list(fresh)] = True
    place, ended = words(torch.isin(ids, torch.tensor(WHITE_SPACE)), begins, limit)
    starts = [*(place == 0).nonzero()[:, 0].tolist(), len(ids)]
    return [bytes(data[start:stop]) for start, stop in zip(starts, starts[1:])], bool(ended[-1])  # noqa: B905, RUF007


def noise(length, seed, low=0, high=256):
    return bytes(torch.randint(low, high, (length,), generator=torch.Generator().manual_seed(seed)).tolist())


def test_words_by_hand():
    assert cut(b"Hello, world! ") == ([b"Hello, ", b"world! "], True)
    assert cut(b"Hello, world!") == ([b"Hello, ", b"world!"], False)
    assert cut(b"a\n\n\tb") == ([b"a\n", b"\n", b"\t", b"b"], False)
    assert cut(b"abcdefg h", limit=3) == ([b"abc", b"def", b"g ", b"h"], False)
    assert cut(b"abc d", limit=3) == ([b"abc", b" ", b"d"], False)  # the cut comes first, since it needs no next byte
    assert cut(b"ab", limit=1) == ([b"a", b"b"], True)
    assert cut(b"abcdef", fresh=(0, 4)) == ([b"abcd", b"ef"], False)


@pytest.mark.parametrize("limit", [1, 2, 5, 64])
def test_the_fast_path_equals_the_loop(limit):
    for seed in range(4):
        draw = torch.Generator().manual_seed(seed)
        ending, fresh = (torch.rand(200, generator=draw) < rate for rate in (0.2, 0.05))
        for got, expected in zip(words(ending, fresh, limit), words_reference(ending, fresh, limit), strict=True):
            assert torch.equal(got, expected)


def test_no_bytes_have_no_words():
    nothing = torch.zeros(0, dtype=torch.bool)
    place, ended = words(nothing, nothing, 4)
    assert place.shape == ended.shape == (0,)
    assert grouped(torch.zeros(0, dtype=torch.int64)) == []


@pytest.mark.parametrize("limit", [1, 3, 64])
def test_words_put_together_are_the_bytes_again(limit):
    for data in (noise(300, 0), noise(300, 1, 0, 41), b"\xff\xfe\x00 \xc3"):
        found, _ = cut(data, limit)
        assert b"".join(found) == data
        assert max(map(len, found)) <= limit


def test_text_that_follows_changes_no_word_that_has_ended():
    data = noise(120, 2, 0, 41)
    for length in range(1, 120):
        before, ended = cut(data[:length], 7)
        after, _ = cut(data, 7)
        closed = len(before) if ended else len(before) - 1
        assert after[:closed] == before[:closed]
        if ended and closed < len(after):  # it was not too early to say so
            assert len(b"".join(after[:closed])) == length


def test_groups_hold_every_word_once_at_less_than_half_padding():
    lengths = torch.randint(1, 65, (500,), generator=torch.Generator().manual_seed(0))
    groups = grouped(lengths)
    assert torch.cat([some for some, _ in groups]).sort().values.tolist() == list(range(500))
    for some, time in groups:
        assert lengths[some].max() == time
        assert 2 * lengths[some].min() > time
    assert [(some.tolist(), time) for some, time in grouped(torch.tensor([3, 1, 8, 2, 7]))] == [
        ([1], 1), ([0, 3], 3), ([4], 7), ([2], 8)
    ]  # fmt: skip


def test_runs_begin_where_those_before_end():
    assert starts_of(torch.tensor([3, 0, 2, 5])).tolist() == [0, 3, 3, 5]
