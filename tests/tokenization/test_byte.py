import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from trivium.core.protocols import Tokenizer
from trivium.tokenization._bytes import bytes_of_text, text_of_bytes, without_surrogates
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.files import restore

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))  # lone surrogates included
BYTES = ByteTokenizer()


def test_is_a_tokenizer():
    assert isinstance(BYTES, Tokenizer)


@given(ANY_TEXT)
def test_every_string_comes_back(text):
    assert BYTES.decode(BYTES.encode(text)) == text


@given(ANY_TEXT)
def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(text):
    assert b"".join(BYTES.bytes_of(id) for id in BYTES.encode(text)) == bytes_of_text(text)


@given(st.text())
def test_well_formed_text_is_plain_utf8(text):
    assert bytes(BYTES.encode(text)) == text.encode()


@given(st.binary())
def test_any_bytes_decode_and_broken_ones_show_as_replacement_characters(data):
    text = text_of_bytes(data)
    try:
        expected = data.decode("utf-8", errors="surrogatepass")
    except UnicodeDecodeError:
        assert "\ufffd" in text
    else:
        assert text == expected


def test_half_a_character_and_a_surrogate_side_by_side():
    assert text_of_bytes(b"a\xe2\x82\xed\xa0\x80b") == "a\ufffd\ud800b"


def test_many_broken_bytes_take_time_in_proportion():
    assert text_of_bytes(b"\xff" * 200_000) == "\ufffd" * 200_000


@given(ANY_TEXT)
def test_text_without_surrogates_can_be_encoded_strictly(text):
    clean = without_surrogates(text)
    clean.encode("utf-8")
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert clean == text


def test_a_surrogate_pair_becomes_the_character_it_stands_for():
    assert without_surrogates("\ud83d\ude00!\ud800") == "😀!\ufffd"


def test_special_tokens_are_no_text():
    assert BYTES.decode([256, 72, 105, 257, 258]) == "Hi"
    assert {BYTES.bytes_of(id) for id in (256, 257, 258)} == {b""}
    assert max(BYTES.encode("<|eos|>")) < 256


@pytest.mark.parametrize("id", [-1, 259])
def test_an_id_outside_the_vocabulary_is_named(id):
    with pytest.raises(ValueError, match=f"{id} is outside .* 259"):
        BYTES.bytes_of(id)


def test_saved_files_give_the_byte_tokenizer_back(tmp_path):
    BYTES.save(tmp_path)
    assert isinstance(restore(tmp_path), ByteTokenizer)


def test_saved_files_mean_the_same_to_transformers(tmp_path):
    BYTES.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("Hello  world\n\tx", "naïve 漢字 👩‍👩‍👧", "".join(map(chr, range(1, 0x180))), " leading", "trailing "):
        assert theirs.encode(text, add_special_tokens=False) == BYTES.encode(text)
        assert theirs.decode(BYTES.encode(text), clean_up_tokenization_spaces=False) == text
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (BYTES.bos, BYTES.eos, BYTES.pad)
    assert len(theirs) == BYTES.vocab_size
