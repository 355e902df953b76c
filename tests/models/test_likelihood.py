"""Bits per byte, against a loop that predicts one token at a time."""

import math

import pytest
import torch

from trivium.architectures.llama import Llama
from trivium.core.errors import NotFinite
from trivium.models.likelihood import Likelihood, bits_per_byte, likelihoods


class Letters:
    """A tokenizer of single and double letters; "é" takes two bytes. Ids: a to z, then aa to zz as 26 and on, é 52."""

    vocab_size = 55
    eos = pad = None

    def __init__(self, bos=None):
        self.bos = bos

    def encode(self, text):
        ids, at = [], 0
        while at < len(text):
            if text[at] == "é":
                ids.append(52)
                at += 1
            elif text[at : at + 2] == text[at] * 2:
                ids.append(26 + ord(text[at]) - 97)
                at += 2
            else:
                ids.append(ord(text[at]) - 97)
                at += 1
        return ids

    def bytes_of(self, id):
        if id == 52:
            return "é".encode()
        return bytes([97 + id % 26]) * (1 + id // 26) if id < 52 else b""


DOCUMENTS = ["aabcé", "b", "", "aa", "thequickbrownfoxéé" * 3, "zz" * 9]


def model():
    return Llama(width=16, depth=2, heads=2, hidden=24, context=64).build(55, seed=1).double().eval()


def slow(model, document, tokenizer, length):
    """Token by token: each from its window's past, the windows as the docstring has them."""
    ids = tokenizer.encode(document)
    opening = [] if tokenizer.bos is None else [tokenizer.bos]
    given = opening + ids
    bits, tokens = 0.0, 0
    for at in range(1, len(given)):
        if at < length:
            start = 0
        else:
            half = length // 2
            end = min(length + ((at - length) // half + 1) * half, len(given))
            start = max(end - length, 0)
        logits = model(torch.tensor([given[start:at]])).logits[0, -1]
        bits -= logits.log_softmax(-1)[given[at]].item() / math.log(2)
        tokens += 1
    size = len(document.encode()) - (len(tokenizer.bytes_of(ids[0])) if ids and not opening else 0)
    return bits, size, tokens


@pytest.mark.parametrize("bos", [None, 54])
@pytest.mark.parametrize("length", [2, 3, 8, 64])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_equals_the_slow_loop(bos, length, batch_size):
    own, tokenizer = model(), Letters(bos)
    got = likelihoods(own, DOCUMENTS, tokenizer, length, batch_size=batch_size)
    for likelihood, document in zip(got, DOCUMENTS, strict=True):
        bits, size, tokens = slow(own, document, tokenizer, length)
        assert (likelihood.bytes, likelihood.tokens) == (size, tokens)
        assert likelihood.bits == pytest.approx(bits, rel=1e-9, abs=1e-12)


def test_the_mean_is_total_bits_over_total_bytes():
    each = likelihoods(model(), DOCUMENTS, Letters(54), 16)
    expected = sum(one.bits for one in each) / sum(len(document.encode()) for document in DOCUMENTS)
    assert bits_per_byte(model(), DOCUMENTS, Letters(54), 16) == pytest.approx(expected, rel=1e-12)


def test_a_uniform_model_needs_log2_of_its_vocabulary_per_token():
    uniform = model()
    with torch.no_grad():
        uniform.embedding.weight.zero_()
    (one,) = likelihoods(uniform, ["abcdefgh"], Letters(54), 4)
    assert one == Likelihood(pytest.approx(8 * math.log2(55)), 8, 8)


def test_the_model_is_left_in_the_mode_it_was_in():
    own = model().train()
    bits_per_byte(own, ["abc"], Letters(), 8)
    assert own.training


@pytest.mark.parametrize("length", [1, 65])
def test_a_length_the_model_cannot_take(length):
    with pytest.raises(ValueError, match=f"at most the 64 positions of this model; got {length}"):
        bits_per_byte(model(), ["abc"], Letters(), length)


def test_no_bytes_is_an_error_and_so_is_nan():
    with pytest.raises(ValueError, match="no bytes"):
        bits_per_byte(model(), ["", "a"], Letters(), 8)
    broken = model()
    with torch.no_grad():
        broken.norm.gain.fill_(torch.nan)
    with pytest.raises(NotFinite, match="not finite"):
        bits_per_byte(broken, ["abc"], Letters(), 8)
