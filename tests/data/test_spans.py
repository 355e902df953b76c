"""Pieces are found once or not at all, and their tokens are those that hold a byte of them."""

from itertools import pairwise

import pytest
import torch

from trivium.data.spans import Span, find_span, occurrences, positions_of
from trivium.tokenization.byte import ByteTokenizer

TEXT = "When Mary and John went to the store, John gave a drink to"


class Words:
    """Ids of a small vocabulary, with a special token that is spelt <s> and one whose bytes cross words."""

    pieces: tuple[bytes, ...] = (
        b"",
        b" The",
        b" caf",
        b"\xc3",
        b"\xa9",
        b" is",
        b" red.",
        b"",
        b"The",
        b"ed. T",
        b"\n",
    )
    vocab_size, bos, eos, pad = len(pieces), 0, None, 7

    def bytes_of(self, id):
        return self.pieces[id]

    def spelt(self, ids):
        return "".join({0: "<s>", 7: "<pad>"}.get(id, "") for id in ids)

    def decode(self, ids):
        return b"".join(self.bytes_of(int(id)) for id in ids).decode(errors="replace")


class Speaker:
    def __init__(self, tokenizer):
        self.tokenizer = tokenizer


def test_a_piece_that_occurs_once():
    span = find_span(TEXT, "Mary")
    assert (span.start, span.stop, span.piece) == (5, 9, "Mary")


def test_a_piece_that_occurs_twice_names_both_places():
    with pytest.raises(ValueError, match=r"'John' occurs 2 times, at characters 14, 38; give a longer piece"):
        find_span(TEXT, "John")
    assert find_span(TEXT, "John", which=1).start == 14
    assert find_span(TEXT, "John", which=2).start == 38
    with pytest.raises(ValueError, match="there is no number 3"):
        find_span(TEXT, "John", which=3)
    with pytest.raises(ValueError, match="there is no number 0"):
        find_span(TEXT, "John", which=0)
    with pytest.raises(ValueError, match="occurs 2 times, at characters 0, 1"):  # which overlap
        find_span("aaa", "aa")


def test_a_piece_that_does_not_occur():
    with pytest.raises(ValueError, match="'Peru' does not occur in 'When Mary"):
        find_span(TEXT, "Peru")
    with pytest.raises(ValueError, match="an empty piece"):
        find_span(TEXT, "")
    assert occurrences("abcabc", "c") == [2, 5]


@pytest.mark.parametrize(("start", "stop"), [(3, 3), (-1, 2), (4, 2), (0, 4)])
def test_a_span_outside_its_text(start, stop):
    with pytest.raises(ValueError, match="are no piece of a text of 3 characters"):
        Span("abc", start, stop)


def test_overlap():
    assert Span("abcdef", 1, 3).overlaps(Span("abcdef", 2, 4))
    assert not Span("abcdef", 1, 3).overlaps(Span("abcdef", 3, 4))


def test_bytes_are_positions_behind_the_opening_token():
    speaker = Speaker(ByteTokenizer())
    ids = [256, *ByteTokenizer().encode("é Mary")]
    assert positions_of(speaker, ids, find_span("é Mary", "Mary")) == [4, 5, 6, 7]
    assert positions_of(speaker, ids, find_span("é Mary", "é")) == [1, 2]  # two bytes
    assert positions_of(speaker, torch.tensor([258, 258, *ids]), find_span("é Mary", "Mary")) == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("ids", "text", "piece", "expected"),
    [
        ([0, 8, 2, 3, 4, 5, 6], "The café is red.", "café", [2, 3, 4]),
        ([0, 8, 2, 3, 4, 5, 6], "The café is red.", "é", [3, 4]),
        ([0, 8, 2, 3, 4, 5, 6], "The café is red.", "e", "twice"),
        ([1, 2, 3, 4], "The café", "The", [0]),  # a space before the text that is not its own
        ([1, 2, 3, 4], " The café", "The", [0]),
        ([7, 7, 0, 8, 5], "The is", "is", [4]),
        ([0, 8, 5, 10], "The is", "is", [2]),  # white space behind
        ([0, 8, 7, 5], "<s>The<pad> is", "<pad>", [2]),  # specials that the text spells
        ([0, 8, 7, 5], "<s>The<pad> is", "<s>", [0]),
        ([0, 8, 7, 5], "The is", "The", [1]),
    ],
)
def test_tokens_of_a_piece(ids, text, piece, expected):
    speaker = Speaker(Words())
    if expected == "twice":
        with pytest.raises(ValueError, match="occurs 2 times"):
            find_span(text, piece)
    else:
        assert positions_of(speaker, ids, find_span(text, piece)) == expected


def test_a_token_that_crosses_belongs_to_both():
    speaker, text = Speaker(Words()), "Theed. T"
    assert positions_of(speaker, [8, 9], find_span(text, "eed")) == [0, 1]
    assert positions_of(speaker, [8, 9], find_span(text, "d.")) == positions_of(speaker, [8, 9], find_span(text, " T"))


@pytest.mark.parametrize("ids", [[0, 8, 5], [0, 8, 5, 6, 5], [0, 5, 8], []])
def test_tokens_of_another_text(ids):
    with pytest.raises(ValueError, match=r"not the text 'The is red\.'"):
        positions_of(Speaker(Words()), ids, find_span("The is red.", "is"))


def test_spans_that_tile_a_text_hold_every_token_once():
    speaker = Speaker(ByteTokenizer())
    ids = ByteTokenizer().encode(TEXT)
    cuts = [0, 5, 9, 20, len(TEXT)]
    tiles = [positions_of(speaker, ids, Span(TEXT, a, b)) for a, b in pairwise(cuts)]
    assert [place for tile in tiles for place in tile] == list(range(len(ids)))
