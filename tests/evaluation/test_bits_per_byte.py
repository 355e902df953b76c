import itertools
import math

import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.core.nouns import Example
from trivium.core.protocols import LMOutput
from trivium.data.corpus import Corpus
from trivium.evaluation.bits_per_byte import BitsPerByte
from trivium.evaluation.stats import intervals
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

CORPUS = Corpus(
    "three", {"train": ["x"], "validation": ["abc", "de"], "test": ["hello", "wörld", "a longer text, really"]}
)


class Bigram(Uniform):
    """The next byte depends on the last one, by a fixed random table."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.logp = torch.randn(259, 259, generator=torch.Generator().manual_seed(seed)).double().log_softmax(-1)

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        out = super().run(
            ids, embeds=None, mask=None, positions=None, segments=None, state=None, keep_state=False, logits_to_keep=0
        )
        return type(out)(self.logp[ids], out.hidden)


def test_equals_the_slow_loop():
    model = Bigram()
    for example in BitsPerByte(CORPUS).examples("test"):
        data, bits = [256, *example.text.encode()], 0.0
        for before, after in itertools.pairwise(data):
            bits -= float(model.logp[before, after]) / math.log(2)
        seen = BitsPerByte(CORPUS).score(System(model, ByteTokenizer(), "bigram"), example)
        assert seen.values == {"bits_per_byte": pytest.approx(bits / (len(data) - 1)), "bytes": len(data) - 1}


def test_a_uniform_model_needs_the_log_of_its_vocabulary():
    seen = BitsPerByte(CORPUS).score(system(), Example("one", "any text"))
    assert seen.values["bits_per_byte"] == pytest.approx(math.log2(259))


def test_windows_do_not_change_a_model_with_a_short_memory():
    example = BitsPerByte(CORPUS).examples("test")[2]
    long = BitsPerByte(CORPUS).score(System(Bigram(), ByteTokenizer(), "bigram"), example)
    short = BitsPerByte(CORPUS, length=4, batch_size=2).score(System(Bigram(), ByteTokenizer(), "bigram"), example)
    assert long.values == pytest.approx(short.values)


def test_the_window_is_no_longer_than_the_model_takes():
    model = Bigram()
    model.max_positions = 5
    example = Example("long", "more than five bytes")
    free = BitsPerByte(CORPUS).score(System(Bigram(), ByteTokenizer(), "bigram"), example)
    assert BitsPerByte(CORPUS).score(System(model, ByteTokenizer(), "b"), example).values == pytest.approx(free.values)


def test_the_mean_of_a_report_is_the_ratio_of_sums():
    task = BitsPerByte(CORPUS)
    seen = [task.score(System(Bigram(), ByteTokenizer(), "b"), example).values for example in task.examples("test")]
    bits = sum(v["bits_per_byte"] * v["bytes"] for v in seen)
    sizes = [v[task.weighted_by["bits_per_byte"]] for v in seen]
    found = intervals.summary([v["bits_per_byte"] for v in seen], range(3), sizes)
    assert found.mean == pytest.approx(bits / sum(sizes))
    assert found.mean != pytest.approx(sum(v["bits_per_byte"] for v in seen) / 3)


class Merging:
    """Texts of a, one at a time or, where asked, two."""

    vocab_size, bos, eos, pad = 4, 3, None, None

    def __init__(self, merged):
        self.merged = merged

    def encode(self, text):
        return [1] * (len(text) // 2) if self.merged else [0] * len(text)

    def decode(self, ids):
        return "".join("a" * (id + 1) for id in ids)

    def bytes_of(self, id):
        return b"a" * (id + 1) if id < 2 else b""


class Fixed(Uniform):
    """One token of a byte is as likely as 1 in 4, one of two as both of its bytes together."""

    vocab_size = 4

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        logp = torch.tensor([1 / 4, 1 / 16, 11 / 32, 11 / 32]).log()
        return LMOutput(logp.expand(*ids.shape, 4), self.table[ids])


def test_tokens_that_are_merged_at_equal_probability_change_nothing():
    for merged in (False, True):
        seen = BitsPerByte().score(System(Fixed(), Merging(merged), "fixed"), Example("a", "aaaaaa"))
        assert seen.values == pytest.approx({"bits_per_byte": 2.0, "bytes": 6.0})


def test_bytes_and_not_characters_are_counted():
    seen = BitsPerByte(CORPUS).score(system(), BitsPerByte(CORPUS).examples("test")[1])
    assert seen.values["bytes"] == 6  # five characters


def test_examples_are_the_first_of_the_split():
    assert [e.text for e in BitsPerByte(CORPUS, documents=1).examples("validation")] == ["abc"]
    assert [e.text for e in BitsPerByte(CORPUS, documents=None).examples("validation")] == ["abc", "de"]
    ids = {e.id for split in ("validation", "test") for e in BitsPerByte(CORPUS).examples(split)}
    assert len(ids) == 5
    with pytest.raises(ValueError, match="no split 'tst'"):
        BitsPerByte(CORPUS).examples("tst")


def test_the_default_corpus_is_made_here():
    assert len(BitsPerByte(documents=3).examples("test")) == 3


@pytest.mark.parametrize("fields", [{"documents": 0}, {"length": 1}, {"batch_size": 0}])
def test_bad_settings_are_refused(fields):
    with pytest.raises(ValueError, match="must be at least"):
        BitsPerByte(**fields)
