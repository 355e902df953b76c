"""Lesions: by hand, in order, and units that carry everything are found out."""

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import NotOffered
from trivium.data.corpus import Corpus
from trivium.evaluation.lesion import Lesion
from trivium.models.likelihood import likelihoods
from trivium.models.system import System
from trivium.models.units import ablated, flat, responses
from trivium.nn.welch import welch_t
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["hello there, all of you who are here", "a longer text, really, and longer than the other one", "a third text"]
TASK = Lesion(Corpus("three", {"test": TEXTS}), stimuli=6, draws=3, share=0.1, documents=2, characters=40)


@pytest.fixture(scope="module")
def system():
    return System(wrapped("llama", vocab_size=259), ByteTokenizer(), "made")


def bits(system, texts):
    return torch.tensor([one.bits for one in likelihoods(system.model, texts, system.tokenizer, 128)])


@pytest.mark.parametrize("control", ["anywhere", "layers"])
def test_the_effect_is_the_loss_over_that_of_random_masks(system, control):
    task = Lesion(TASK.corpus, stimuli=6, draws=3, share=0.1, documents=2, characters=40, control=control)
    examples = task.examples("test")
    texts = [example.text for example in examples]
    assert texts == [TEXTS[0], TEXTS[1][:40]]
    contrast = task.contrast
    states = flat(responses(system, contrast.texts))
    t = welch_t(states[contrast.labels], states[~contrast.labels])
    mask = task.units(system)
    assert int(mask.sum()) == 10
    assert t[mask].min() >= t[~mask].max()
    masks = task.masks(system, mask)
    assert [int(each.sum()) for each in masks] == [10] * 3
    if control == "layers":
        assert all(torch.equal(each.view(3, -1).sum(1), mask.view(3, -1).sum(1)) for each in masks)
    whole = bits(system, texts)
    lost = []
    for each in (mask, *masks):
        with ablated(system.model, each):
            lost.append(bits(system, texts) - whole)
    for at, example in enumerate(examples):
        size = len(texts[at].encode())
        seen = task.score(system, example)
        random = sum(float(each[at]) for each in lost[1:]) / 3
        assert seen.values == pytest.approx(
            {
                "effect": (float(lost[0][at]) - random) / size,
                "lesion": float(lost[0][at]) / size,
                "random": random / size,
                "bits_per_byte": float(whole[at]) / size,
                "bytes": size,
            },
            abs=1e-6,
        )
        assert seen.shown["random draws"] == pytest.approx([float(each[at]) / size for each in lost[1:]], abs=1e-6)
    assert set(task.weighted_by.values()) == {"bytes"}


def test_the_seed_decides_stimuli_and_masks(system):
    other = Lesion(TASK.corpus, stimuli=6, draws=3, share=0.1, seed=1)
    assert other.contrast.texts != TASK.contrast.texts
    mask = TASK.units(system)
    assert torch.equal(TASK.units(system), mask)
    assert not torch.equal(other.masks(system, mask)[0], TASK.masks(system, mask)[0])
    assert torch.equal(TASK.masks(system, mask)[0], TASK.masks(system, mask)[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"documents": 0}, {"characters": 5}, {"stimuli": 1}, {"draws": 0}, {"batch_size": 0}, {"share": 0.0},
        {"share": 1.0}, {"control": "none"}, {"reading": "first"},
    ],
)  # fmt: skip
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Lesion(**wrong)


def test_misuse_is_told(system):
    with pytest.raises(ValueError, match="text 1 has nothing to predict"):
        TASK.losses(system, ["abc", ""])
    blind = System(wrapped("llama", vocab_size=259), ByteTokenizer(), "blind")
    blind.model.offers -= {"sites"}
    with pytest.raises(NotOffered, match="sites"):
        TASK.units(blind)
