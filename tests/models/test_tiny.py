"""The built-in model: it is small, it loads without a network, and it has learnt to speak."""

import json
import re

import pytest
import torch

from trivium import load
from trivium.core.nouns import Batch
from trivium.data.packing import tokenised
from trivium.data.stories import stories
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.models.sources import SHIPPED
from trivium.models.system import System
from trivium.objectives.causal import Causal
from trivium.tokenization.byte import ByteTokenizer

CORPUS = stories()


@pytest.fixture(scope="module")
def tiny() -> System:
    return load("tiny")


def bits_per_byte(system: System, documents) -> float:
    """Over whole documents, each on its own; the end of a document counts as one more byte."""
    nats, count = 0.0, 0
    for ids in tokenised(documents, system.tokenizer):
        with torch.no_grad():
            loss = Causal()(system.model, Batch(torch.tensor([ids])), generator=torch.Generator())
        nats, count = nats + float(loss.total), count + int(loss.count)
    return nats / count / torch.tensor(2.0).log().item()


def test_it_is_small_and_made_of_bytes(tiny):
    files = [path for path in SHIPPED["tiny"].iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert isinstance(tiny.tokenizer, ByteTokenizer)
    assert tiny.name == "tiny"
    assert len(tiny.fingerprint) == 64


def test_it_was_trained_on_the_stories_that_the_package_makes():
    """Held-out figures would mean nothing if the splits had moved since."""
    said = json.loads((SHIPPED["tiny"] / "training.json").read_text())
    assert (said["corpus"], said["corpus_sha256"]) == (CORPUS.name, CORPUS.sha256)


def test_it_predicts_stories_that_it_has_not_seen(tiny):
    """A model that knows letter frequencies only needs 4.1 bits per byte, one that is broken more; lzma, which may look
    at all of the training text, needs 0.76, and the shipped model about 0.35."""
    assert bits_per_byte(tiny, CORPUS["test"][:12]) < 0.45


def test_it_has_not_learnt_its_training_text_by_heart(tiny):
    seen, unseen = (bits_per_byte(tiny, CORPUS[split][:12]) for split in ("train", "test"))
    assert unseen < 1.2 * seen


def test_it_speaks_recognisable_sentences(tiny):
    words = {word for split in CORPUS.splits for text in CORPUS[split] for word in re.findall(r"[A-Za-z]+", text)}
    written = " ".join(tiny.write("", Sampling(temperature=0.5), limit=200, seed=seed) for seed in range(4))
    spoken = re.findall(r"[A-Za-z]+", written)[:-1]
    assert len(spoken) > 100
    known = sum(word in words for word in spoken) / len(spoken)
    assert known > 0.95, written
    assert len(set(spoken)) > 30, written
    assert re.search(r"[A-Z][a-z ,]{15,}\.", written), written


def test_it_goes_on_from_a_prompt(tiny):
    assert tiny.write("Once upon a time there was a shy g", Greedy(), limit=11) == "irl called "
    assert tiny.write('"Have you seen my red b', Greedy(), limit=60).rstrip()
