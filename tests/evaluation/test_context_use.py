import itertools
import math

import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.architectures.llama import Llama
from trivium.core.errors import NotFinite
from trivium.core.nouns import Example
from trivium.data.corpus import Corpus
from trivium.evaluation.context_use import LARGEST_TOKEN, ContextUse
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

CORPUS = Corpus("three", {"test": ["hello there, ", "wörld", "a longer text, really" * 8], "validation": ["x"]})
TASK = ContextUse(CORPUS, windows=2, length=32, reach=3)


class Tiring(Uniform):
    """Sure of the right byte up to a place of the window and indifferent from there on, or a random table all along."""

    def __init__(self, place: int | None = None) -> None:
        super().__init__()
        self.place = place
        self.law = torch.randn(259, 259, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)

    def run(self, ids, **given):
        out = super().run(ids, **given)
        logits = self.law[ids]
        if self.place is not None:
            sure = torch.nn.functional.one_hot(ids.roll(-1, 1), 259).double() * 3.0
            before = torch.arange(ids.shape[1])[:, None] < self.place
            logits = torch.where(before, sure, torch.zeros_like(sure))
        return type(out)(logits, out.hidden)


def of(model):
    return System(model, ByteTokenizer(), "made")


def test_equals_the_slow_loop():
    """Windows of 96 tokens, a multibyte letter among them; the start token is a token of the window."""
    model, example = Tiring(), TASK.examples("test")[0]
    ids = [256, *example.text.encode()][:96]
    bits = [-float(model.law[a, b]) / math.log(2) for a, b in itertools.pairwise(ids)]
    seen = TASK.score(of(model), example)
    parts = {"early": bits[0:1], "late": bits[23:31], "beyond": bits[31:95]}
    means = {name: sum(part) / len(part) for name, part in parts.items()}  # every token is one byte
    assert seen.values["early"] == pytest.approx(means["early"])
    assert seen.values["late"] == pytest.approx(means["late"])
    assert seen.values["context_gain"] == pytest.approx(means["early"] - means["late"])
    assert seen.values["beyond"] == pytest.approx(means["beyond"] - means["late"])
    places = seen.shown["bits per byte by place"]
    assert list(places) == ["1 to 1", "2 to 3", "4 to 7", "8 to 15", "16 to 31", "32 to 63", "64 to 95"]
    assert places["64 to 95"] == pytest.approx(sum(bits[63:95]) / 32, abs=1e-4)


def test_a_model_that_tires_is_found_out():
    sure = -math.log2(math.exp(3) / (math.exp(3) + 258))
    seen = TASK.score(of(Tiring(31)), TASK.examples("test")[1]).values
    assert seen["late"] == pytest.approx(sure)
    assert seen["context_gain"] == pytest.approx(0)
    assert seen["beyond"] == pytest.approx(math.log2(259) - sure)


def test_a_uniform_model_gains_nothing():
    seen = TASK.score(system(), TASK.examples("test")[0]).values
    assert seen["late"] == pytest.approx(math.log2(259))
    assert seen["context_gain"] == pytest.approx(0)
    assert seen["beyond"] == pytest.approx(0)


def test_cost_is_per_byte_of_the_tokens():
    """A tokenizer that says each token is two bytes halves the cost."""

    class Wide(ByteTokenizer):
        def bytes_of(self, id):
            return super().bytes_of(id) * 2

    one = TASK.score(of(Tiring()), TASK.examples("test")[0]).values
    other = TASK.score(System(Tiring(), Wide(), "wide"), TASK.examples("test")[0]).values
    assert other["late"] == pytest.approx(one["late"] / 2)


def test_windows_begin_with_documents_and_go_on_with_the_next():
    first, second = TASK.examples("test")
    assert first.text.startswith("hello there, \n\nwörld\n\na longer text, really")
    assert second.text.startswith("wörld\n\n" + "a longer text, really" * 8 + "\n\nhello there, ")
    long = ContextUse(Corpus("one", {"test": ["x" * 5000]}), length=32, reach=2)
    (only,) = long.examples("test")
    assert only.text == "x" * (2 * 32 * LARGEST_TOKEN)


def test_a_native_model_reads_beyond_its_training():
    model = Llama(width=16, heads=2, context=96).build(259)
    assert set(TASK.score(of(model), TASK.examples("test")[0]).values) == {"late", "context_gain", "beyond", "early"}


def test_bad_input_is_refused():
    for changed in ({"windows": 0}, {"length": 31}, {"reach": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(changed))} must be at least"):
            ContextUse(CORPUS, **changed)
    model = Llama(width=16, heads=2, context=95).build(259)
    with pytest.raises(ValueError, match="made takes 95 positions, windows are 3 x 32 tokens; lower length"):
        TASK.score(of(model), TASK.examples("test")[0])
    with pytest.raises(ValueError, match="short has 6 tokens of 96; give a longer corpus"):
        TASK.score(of(Tiring()), Example("short", "hello"))
    broken = Tiring()
    broken.law[:] = float("nan")
    with pytest.raises(NotFinite, match="made gives likelihoods that are not finite"):
        TASK.score(of(broken), TASK.examples("test")[0])
