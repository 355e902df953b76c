import math

import pytest
import torch

from tests.compare.fakes import Uniform, system
from tests.families import wrapped
from trivium.core.errors import NotFinite
from trivium.models.scoring import Request, rolling, score, score_pairs
from trivium.models.surprisal import in_bytes, owners, surprisals, token_spans, within
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TEXT = "To be, or not  to bé:\nthat is it."
WORDS = [
    (m, m + len(w))
    for w, m in (
        ("To", 0),
        ("be,", 3),
        ("or", 7),
        ("not", 10),
        ("to", 15),
        ("bé:", 18),
        ("that", 22),
        ("is", 27),
        ("it.", 30),
    )
]


class Pieces:
    """A vocabulary of given pieces, longest first."""

    bos, eos, pad = 0, 0, None
    opening = ()

    def __init__(self, *pieces, first_space=False):
        self.pieces = ["", *pieces]
        self.vocab_size = len(self.pieces)
        self.first_space = first_space

    def encode(self, text):
        text, ids = (" " if self.first_space else "") + text, []
        while text:
            piece = max((p for p in self.pieces[1:] if text.startswith(p)), key=len)
            ids.append(self.pieces.index(piece))
            text = text[len(piece) :]
        return ids

    def bytes_of(self, id):
        return self.pieces[id].encode()

    def decode(self, ids):
        return "".join(self.pieces[id] for id in ids)


class Bigrams(Uniform):
    """The next token depends on the last one by a fixed random table."""

    def __init__(self, vocab=259):
        super().__init__()
        self.vocab_size = vocab
        self.law = torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)

    def run(self, ids, **given):
        out = super().run(ids, **given)
        return type(out)(self.law[ids], out.hidden)


def tiny(**settings):
    return System(wrapped("llama", vocab_size=259, max_position_embeddings=64, **settings), ByteTokenizer(), "tiny")


def test_words_are_where_the_text_has_them():
    assert [TEXT[a:b] for a, b in WORDS] == TEXT.split()


def test_every_token_belongs_to_one_word_by_hand():
    tokenizer = Pieces("a", "b", " a", " ", ",", " b,", "  ", "ab")
    text = "ab  a b, a "
    ids = tokenizer.encode(text)
    assert [tokenizer.pieces[i] for i in ids] == ["ab", "  ", "a", " b,", " a", " "]
    spans = token_spans(tokenizer, text, ids)
    assert spans == ((0, 2), (2, 4), (4, 5), (5, 8), (8, 10), (10, 11))
    assert owners(text, spans, [(0, 2), (4, 5), (6, 8), (9, 10)]) == [0, 1, 1, 2, 3, 3]
    assert within(spans, [(0, 1), (1, 2), (6, 7), (9, 10)], text) == [[0], [0], [3], [4]]


def test_a_space_that_the_tokenizer_adds_counts_for_nothing():
    tokenizer = Pieces("a", " a", " b", first_space=True)
    assert token_spans(tokenizer, "a b", tokenizer.encode("a b")) == ((0, 1), (1, 3))
    with pytest.raises(ValueError, match="spell b' a b', not the text b'a c'"):
        token_spans(tokenizer, "a c", tokenizer.encode("a b"))


def test_places_in_bytes():
    assert in_bytes("aé€b", [(0, 1), (1, 2), (2, 4)]) == [(0, 1), (1, 3), (3, 7)]
    for place in ((2, 2), (3, 2), (0, 5), (-1, 1)):
        with pytest.raises(ValueError, match="are no place in a text of 4"):
            within([(0, 7)], [place], "aé€b")


def test_a_word_without_a_token_is_refused():
    tokenizer = Pieces("of the", " dog")
    made = System(Bigrams(3), tokenizer, "pieces")
    (read,) = surprisals(made, ["of the dog"])
    assert len(read.words([(0, 6), (7, 10)])) == 2
    with pytest.raises(ValueError, match="word 1, 'the', has no token of its own"):
        read.words([(0, 2), (3, 6), (7, 10)])
    with pytest.raises(ValueError, match="no word"):
        read.words([])


@pytest.mark.parametrize("length", [64, 16, 7])
def test_tokens_cost_what_scoring_says_and_windows_see_half_their_length(length):
    made = System(Bigrams(), ByteTokenizer(), "bigrams")
    (read,) = surprisals(made, [TEXT], length=length)
    before = [256, *read.ids[:-1]]
    expected = [-float(made.model.law[a, b]) / math.log(2) for a, b in zip(before, read.ids, strict=True)]
    torch.testing.assert_close(read.bits, torch.tensor(expected, dtype=torch.float64), atol=1e-5, rtol=0)
    ends = [*(9, 10, 11, 12, 13, 32), 257]
    borders = [-float(made.model.law[a, ends].logsumexp(0)) / math.log(2) for a in (256, *read.ids)]
    torch.testing.assert_close(read.borders, torch.tensor(borders, dtype=torch.float64), atol=1e-5, rtol=0)


def test_the_whole_context_counts_where_it_fits():
    made = tiny()
    (read,) = surprisals(made, [TEXT])
    (whole,) = score(made, [Request("", TEXT)])
    torch.testing.assert_close(
        read.bits, -torch.tensor(whole.logprobs, dtype=torch.float64) / math.log(2), atol=1e-4, rtol=0
    )
    (cut,) = surprisals(made, [TEXT], length=10)
    torch.testing.assert_close(cut.bits[:10], read.bits[:10], atol=1e-5, rtol=0)
    assert not torch.allclose(cut.bits[10:], read.bits[10:], atol=1e-3)
    ids = torch.tensor([[256, *read.ids]])
    with torch.no_grad():  # the second window: half of it is new
        logp = made.model(ids[:, 5:15]).logits[0].log_softmax(-1)[-5:].gather(1, ids[0, 11:16, None])[:, 0]
    torch.testing.assert_close(cut.bits[10:15], -logp.double() / math.log(2), atol=1e-4, rtol=0)


def test_words_of_a_story_cost_what_rolling_over_it_does():
    made = tiny()
    text = TEXT[:27]
    (read,) = surprisals(made, [text])
    rolled = sum(each.total for each in score_pairs(made, rolling(made, text)))
    assert float(read.words(WORDS[:7]).sum()) == pytest.approx(-rolled / math.log(2), abs=1e-3)


def test_long_texts_and_batches():
    """More tokens than the model takes; alone as among others."""
    made, long = tiny(), TEXT * 4
    together = surprisals(made, [long, "a", TEXT], batch_size=3)
    for text, found in zip([long, "a", TEXT], together, strict=True):
        (alone,) = surprisals(made, [text], batch_size=1)
        torch.testing.assert_close(found.bits, alone.bits, atol=1e-4, rtol=0)
        torch.testing.assert_close(found.borders, alone.borders, atol=1e-4, rtol=0)


@pytest.mark.parametrize("make", [tiny, lambda: System(Bigrams(), ByteTokenizer(), "bigrams")])
def test_words_cost_what_the_text_does_and_corrections_telescope(make):
    (read,) = surprisals(make(), [TEXT])
    plain, corrected = read.words(WORDS), read.words(WORDS, corrected=True)
    assert float(plain.sum()) == pytest.approx(float(read.bits.sum()), abs=1e-6)
    assert float(corrected.sum() - plain.sum()) == pytest.approx(float(read.borders[-1]), abs=1e-6)
    at = [len(TEXT[:stop].encode()) for _, stop in WORDS]  # bytes are tokens
    for n, word in enumerate(WORDS):
        own = read.bits[(at[n - 1] if n else 0) : at[n]].sum()
        assert float(plain[n]) == pytest.approx(float(own)), TEXT[slice(*word)]
        border = read.borders[at[n]] - (read.borders[at[n - 1]] if n else 0)
        assert float(corrected[n] - plain[n]) == pytest.approx(float(border))


def test_uniform_by_hand():
    (read,) = surprisals(system(), ["ab cd"])
    assert read.bits.tolist() == pytest.approx([math.log2(259)] * 5, abs=1e-5)
    assert read.borders.tolist() == pytest.approx([math.log2(259 / 7)] * 6, abs=1e-5)
    assert read.words([(0, 2), (3, 5)]).tolist() == pytest.approx([2 * math.log2(259), 3 * math.log2(259)], abs=1e-5)
    assert float(read.words([(0, 2), (3, 5)], corrected=True)[1]) == pytest.approx(3 * math.log2(259), abs=1e-5)


def test_bad_input():
    class Broken(Uniform):
        def run(self, ids, **given):
            out = super().run(ids, **given)
            return type(out)(out.logits * float("nan"), out.hidden)

    with pytest.raises(NotFinite, match="no finite likelihood to text 0"):
        surprisals(System(Broken(), ByteTokenizer(), "broken"), ["a b"])
    with pytest.raises(ValueError, match="text 1 is empty"):
        surprisals(system(), ["a", ""])
    for given in ({"length": 1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="length must be at least 2 and batch_size 1"):
            surprisals(system(), ["a"], **given)
    with pytest.raises(ValueError, match="no token of this vocabulary begins with a space"):
        surprisals(System(Bigrams(3), Pieces("a", "b"), "pieces"), ["ab"])
