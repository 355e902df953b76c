"""Sentences by punctuation."""

import pytest

from trivium.data.sentences import ends_sentence, sentences


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", " Two!", " Three?"]),
        ('"Why?" she said. "So."\nEnd', ['"Why?"', " she said.", ' "So."', "\nEnd"]),
        ("It cost 3.50 at a.b.c...  Dear.  \n", ["It cost 3.50 at a.b.c...", "  Dear.  \n"]),
        ("no mark at all", ["no mark at all"]),
        ("Wait… What?! (Yes.) Go", ["Wait…", " What?!", " (Yes.)", " Go"]),
        ("", []),
        ("  \n ", []),
    ],
)
def test_by_hand_and_they_join_to_the_text(text, parts):
    assert sentences(text) == parts
    assert "".join(parts) == (text if text.strip() else "")


@pytest.mark.parametrize("piece", [b".", b"!\n", b'."', b" dog.", "…".encode()])
def test_tokens_that_end_a_sentence(piece):
    assert ends_sentence(piece)


@pytest.mark.parametrize("piece", [b"dog", b"\xff", b"", b"3.5", b" ", b'"'])
def test_tokens_that_end_none(piece):
    assert not ends_sentence(piece)
