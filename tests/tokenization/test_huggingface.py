import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models
from transformers import PreTrainedTokenizerFast

from tests.tokenization.made import byte_fallback, byte_level
from trivium.core.errors import BrokenModel
from trivium.core.protocols import Tokenizer
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.files import restore
from trivium.tokenization.huggingface import BYTE_TO_CHAR, HuggingFaceTokenizer

LEVEL = HuggingFaceTokenizer(byte_level())
FALLBACK = HuggingFaceTokenizer(byte_fallback())
LLAMA = HuggingFaceTokenizer(byte_fallback(space_first=True))
# What reads like a special token is one, and sentencepiece spells the space with a character of its own.
PLAIN = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="<▁"))


def test_is_a_tokenizer():
    assert isinstance(LEVEL, Tokenizer)


@pytest.mark.parametrize("tokenizer", [LEVEL, FALLBACK])
@given(text=PLAIN)
def test_text_comes_back_and_so_do_its_bytes(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.bytes_of, ids)) == text.encode()


@given(text=PLAIN, cut=st.integers(0, 40))
def test_decoding_in_pieces_equals_decoding_at_once_where_characters_stay_whole(text, cut):
    """transformers' own decode loses the space at the head of a piece with sentencepiece vocabularies."""
    for tokenizer in (LEVEL, FALLBACK, LLAMA):
        ids = tokenizer.encode(text)
        head = b"".join(map(tokenizer.bytes_of, ids[:cut]))
        tail = b"".join(map(tokenizer.bytes_of, ids[cut:]))
        assert (head + tail).decode() == tokenizer.decode(ids)


def test_the_byte_alphabet_is_that_of_the_tokenizers_library():
    inner = byte_level().backend_tokenizer.pre_tokenizer
    for byte in range(128):
        assert "".join(piece for piece, _ in inner.pre_tokenize_str(chr(byte))) == BYTE_TO_CHAR[byte]
    assert len(set(BYTE_TO_CHAR)) == 256


def test_bytes_of_pieces_by_hand():
    vocab = FALLBACK.inner.get_vocab()
    assert FALLBACK.bytes_of(vocab["▁the"]) == b" the"
    assert FALLBACK.bytes_of(vocab["<0xC3>"]) == b"\xc3"
    assert FALLBACK.bytes_of(vocab["</s>"]) == b""
    assert LEVEL.bytes_of(LEVEL.encode("ï")[0]) in (b"\xc3", b"\xc3\xaf")


def test_special_tokens_are_read_in_text_and_silent_in_output():
    ids = LEVEL.encode("the</s>cat")
    assert LEVEL.eos in ids
    assert LEVEL.decode(ids) == "thecat"


def test_the_opening_is_what_the_tokenizer_puts_first():
    assert LEVEL.opening == ()
    assert FALLBACK.opening == (1,)
    assert FALLBACK.encode("the") == FALLBACK.inner.encode("the", add_special_tokens=False)


def test_a_space_before_every_text_is_given_back():
    assert LLAMA.decode(LLAMA.encode("the cat")) == " the cat"


def test_lone_surrogates_become_replacement_characters():
    assert LEVEL.decode(LEVEL.encode("a\ud800b \ud83d\ude00")) == "a\ufffdb 😀"


def test_an_id_outside_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="outside the vocabulary"):
        LEVEL.bytes_of(LEVEL.vocab_size)


def test_chat_template():
    template = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}<s>assistant:"
    assert HuggingFaceTokenizer(byte_level(chat_template=template)).chat("Hi") == "<s>user: Hi</s><s>assistant:"
    assert LEVEL.chat("Hi") == "Hi"


def test_a_decoder_without_known_bytes_is_refused():
    inner = Inner(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    inner.decoder = decoders.CTC()
    with pytest.raises(TypeError, match="CTC"):
        HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=inner)).bytes_of(0)


@pytest.mark.parametrize("tokenizer", [LEVEL, FALLBACK])
def test_save_and_restore(tmp_path, tokenizer):
    tokenizer.save(tmp_path)
    again = restore(tmp_path)
    assert isinstance(again, HuggingFaceTokenizer)
    text = "the café sat 12"
    assert again.encode(text) == tokenizer.encode(text)
    assert [again.bytes_of(id) for id in range(again.vocab_size)] == [
        tokenizer.bytes_of(id) for id in range(tokenizer.vocab_size)
    ]
    assert again.opening == tokenizer.opening


def test_a_folder_without_a_tokenizer(tmp_path):
    with pytest.raises(BrokenModel, match=r"no tokenizer.*tokenizer\.json"):
        restore(tmp_path)


@pytest.mark.parametrize("content", ["", "{}", '{"model": 3', "\0\0"])
def test_a_tokenizer_file_that_is_garbled(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "TokenizersBackend"}')
    with pytest.raises(BrokenModel, match="cannot be read"):
        restore(tmp_path)


def test_a_tokenizer_config_that_is_garbled(tmp_path):
    ByteTokenizer().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"trivium": "by')
    with pytest.raises(BrokenModel, match=r"tokenizer_config\.json is no valid JSON"):
        restore(tmp_path)
