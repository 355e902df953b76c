import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenization.made import byte_fallback
from trivium.data.packing import pack, tokenised
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.huggingface import HuggingFaceTokenizer

DOCUMENTS = st.lists(st.lists(st.integers(0, 99), max_size=12), min_size=1, max_size=12)


def test_by_hand():
    packed = pack([[1, 2, 3], [4], [5, 6, 7, 8, 9]], 4)
    assert packed.ids.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert packed.segments.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]


def test_a_document_that_goes_on_in_the_next_row_is_a_segment_there():
    packed = pack([[1] * 3, [2] * 4, [3] * 5], 4)
    assert packed.ids.tolist() == [[1, 1, 1, 2], [2, 2, 2, 3], [3, 3, 3, 3]]
    assert packed.segments.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]


@given(documents=DOCUMENTS, length=st.integers(2, 7))
def test_against_a_slow_loop(documents, length):
    flat = [(id, number) for number, document in enumerate(documents) for id in document]
    rows = [flat[at : at + length] for at in range(0, len(flat) - length + 1, length)]
    if not rows:
        with pytest.raises(ValueError, match=f"fill no row of {length}"):
            pack(documents, length)
        return
    packed = pack(documents, length)
    assert packed.ids.tolist() == [[id for id, _ in row] for row in rows]
    for row, segments in zip(rows, packed.segments.tolist(), strict=True):
        numbers = list(dict.fromkeys(number for _, number in row))
        assert segments == [numbers.index(number) for _, number in row]


def test_a_row_of_one_token_predicts_nothing():
    with pytest.raises(ValueError, match="at least 2"):
        pack([[1, 2, 3]], 1)


def test_documents_begin_and_end_as_the_tokenizer_wants():
    assert tokenised(["hi", ""], ByteTokenizer()) == [[256, 104, 105, 257], [256, 257]]
    gemma = HuggingFaceTokenizer(byte_fallback())
    assert tokenised(["the"], gemma) == [[1, *gemma.encode("the"), gemma.eos]]


def test_types():
    packed = pack([[1, 2, 3, 4]], 2)
    assert packed.ids.dtype == packed.segments.dtype == torch.int64
    assert len(packed) == 2
