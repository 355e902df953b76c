"""Text is shown as soon as it is certain, once, and whole."""

import pytest

from trivium.core.streaming import TextStream, listening, tell
from trivium.tokenization.byte import ByteTokenizer

BYTES = ByteTokenizer()


def stream(text: str, sizes: list[int], **settings) -> tuple[list[str], str]:
    pieces: list[str] = []
    made = TextStream(lambda ids: BYTES.decode(list(ids)), pieces.append, **settings)
    ids, at = list(text.encode()), 0
    with listening(made):
        for size in [*sizes, len(ids)]:
            tell(0, ids[at : at + size])
            at += size
    return pieces, made.close()


def test_characters_of_several_bytes_are_not_cut():
    pieces, whole = stream("aé👩‍👧z", [1, 1, 1, 2, 3, 1, 1, 2])
    assert "".join(pieces) == whole == "aé👩‍👧z"
    assert not any("\ufffd" in piece for piece in pieces)
    assert pieces[:2] == ["a", "é"]


def test_bytes_that_never_become_a_character_are_shown_at_the_end():
    pieces: list[str] = []
    made = TextStream(lambda ids: bytes(ids).decode(errors="replace"), pieces.append)
    made(0, [97, 0xC3])
    assert pieces == ["a"]
    assert made.close() == "a\ufffd"
    assert pieces == ["a", "\ufffd"]


def test_stop_tokens_and_other_rows_are_not_shown():
    pieces: list[str] = []
    made = TextStream(lambda ids: BYTES.decode(list(ids)), pieces.append, hidden=[10], row=1)
    made(0, list(b"no"))
    made(1, [*b"yes", 10])
    assert made.close() == "yes"
    assert pieces == ["yes"]


def test_nobody_is_told_outside_the_block_and_an_exception_gets_through():
    told: list[int] = []
    with pytest.raises(RuntimeError, match="enough"), listening(lambda row, tokens: told.extend(tokens)):
        tell(0, [1, 2])
        tell(0, [])
        raise RuntimeError("enough")
    tell(0, [3])
    assert told == [1, 2]
