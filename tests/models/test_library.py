import math

import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.core.protocols import LMOutput
from trivium.models.library import Library, library
from trivium.models.ngrams import byte_ngrams
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["the cat", "été", "x" * 700]


class Broken(Uniform):
    """Not finite where a text holds an x."""

    def run(self, ids, **given):
        out = super().run(ids, **given)
        bad = (ids == ord("x")).any(1)[:, None, None]
        return LMOutput(out.logits.masked_fill(bad, float("nan")), out.hidden)


def test_losses_are_bits_per_byte():
    models = Library((system(), byte_ngrams(["the cat sat"] * 4, "counted")))
    losses = models.losses(TEXTS, batch_size=2)
    assert losses[:, 0].tolist() == pytest.approx([math.log2(259)] * 3)  # every byte alike, windows and all
    assert losses[0, 1] < 1.5 < losses[1, 1]
    ids = torch.tensor([[256, *b"the cat"]])
    logp = models.systems[1].model(ids[:, :-1]).logits[0]
    by_hand = -logp.gather(1, ids[0, 1:, None]).sum() / math.log(2) / 7
    assert float(losses[0, 1]) == pytest.approx(float(by_hand), abs=1e-6)  # sums in float32
    torch.testing.assert_close(models.losses(TEXTS, length=64), losses, atol=0.02, rtol=0)


def test_costs_are_sizes_and_others_that_are_given():
    experts = Library((system(), byte_ngrams(["ab"], "counted", order=2)), {"age": (1.0, 2.0)}).experts
    assert experts.names == ("uniform", "counted")
    assert experts.costs["size"][0] == pytest.approx(math.log10(259 * 4))
    assert experts.costs["size"][1] == pytest.approx(math.log10(3 + 3))  # a, b and the end, and each once behind one
    assert experts.costs["age"] == (1.0, 2.0)


def test_a_model_that_fails_on_a_text_has_no_loss_there_alone():
    broken = System(Broken(), ByteTokenizer(), "broken")
    losses = Library((system(), broken)).losses(TEXTS)
    assert losses.isnan().tolist() == [[False, False], [False, False], [False, True]]


def test_bad_input():
    with pytest.raises(ValueError, match="at least two different models"):
        library(["tiny", "tiny"])
    with pytest.raises(ValueError, match=r"texts \[1\] are empty"):
        Library((system(),)).losses(["a", ""])


def test_counted_models_are_named_by_their_corpus(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for part in range(30):
            (tmp_path / name / f"{part}.txt").write_text(f"{name} text number {part}\n" * 4)
    made = library([f"ngrams:{tmp_path / name}" for name in ("one", "two")])
    losses = made.losses(["one text number 7", "two text number 7"])
    assert losses.argmin(1).tolist() == [0, 1]
