"""Classifiers of Hugging Face: chances by hand, labels, what is too long, and folders that hold none."""

import numpy as np
import pytest
import torch

from trivium.core.errors import BrokenModel, NotFinite, UnknownName
from trivium.curation.toxicity import Toxicity
from trivium.data.marks import Texts
from trivium.models.sequence_classifier import classifier

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "fool", "you", "."]


def made(path, labels, *, head=True, problem=None, weight=None) -> str:
    """A small BERT with random weights that tells these labels apart, or has no head for it."""
    from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=8, num_labels=len(labels), id2label=dict(enumerate(labels)), problem_type=problem,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config) if head else BertModel(config)
        if head:
            torch.nn.init.normal_(model.classifier.weight, std=3.0)
            if weight is not None:
                torch.nn.init.constant_(model.classifier.weight, weight)
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    return str(path)


def logits(found, text):
    with torch.no_grad():
        return found.model(**found.tokenizer(text, return_tensors="pt")).logits[0].double()


def test_labels_that_exclude_each_other_share_one_chance(tmp_path):
    found = classifier(made(tmp_path, ["fine", "rude", "vile"]))
    wanted = logits(found, "you fool").softmax(-1)
    assert found.scores(["you fool"], ("rude",)) == pytest.approx([float(wanted[1])])
    assert found.scores(["you fool"], ("vile", "rude")) == pytest.approx([float(wanted[1] + wanted[2])])
    assert found.scores(["you fool"], ("fine", "rude", "vile")).tolist() == [1.0]


def test_labels_of_which_a_text_may_have_any_count_by_the_highest(tmp_path):
    found = classifier(made(tmp_path, ["rude", "vile"], problem="multi_label_classification"))
    wanted = logits(found, "you fool").sigmoid()
    assert found.scores(["you fool"], ("rude", "vile")) == pytest.approx([float(wanted.max())])


def test_a_single_label_needs_no_name(tmp_path):
    found = classifier(made(tmp_path, ["rude"]))
    assert found.scores(["the cat"]) == pytest.approx([float(logits(found, "the cat").sigmoid()[0])])


def test_neighbours_order_and_copies_do_not_matter(tmp_path):
    found = classifier(made(tmp_path, ["fine", "rude"]))
    said = ["you fool", "the cat sat . the cat", "", "\ud800", "you fool"]
    alone = np.concatenate([found.scores([text], ("rude",)) for text in said])
    assert np.array_equal(found.scores(said, ("rude",)), alone)
    assert np.array_equal(found.scores(said[::-1], ("rude",)), alone[::-1])
    assert found.scores([], ("rude",)).shape == (0,)


def test_what_is_too_long_is_read_as_far_as_there_are_positions(tmp_path):
    found = classifier(made(tmp_path, ["fine", "rude"]))
    assert found.longest == 8
    same = found.scores(["cat " * 6, "cat " * 500 + "fool"], ("rude",))
    assert same[0] == same[1]
    last = "cat " * 5 + "fool"
    assert found.scores([last], ("rude",)) == pytest.approx([float(logits(found, last).softmax(-1)[1])])


def test_sentences_are_marked_by_it(tmp_path):
    folder = made(tmp_path, ["fine", "rude"])
    found = Toxicity(model=folder, labels=("rude",), least=0.0).tag(Texts(["d"], ["You fool. The cat sat."], ["s"]))
    assert [score for *_, score in found.spans["toxic"][0]] == pytest.approx(
        classifier(folder).scores(["You fool.", "The cat sat."], ("rude",))
    )
    assert Toxicity(model=folder, labels=("rude",)).depends == classifier(folder).fingerprint


def test_what_cannot_be_used(tmp_path):
    for name in ("two", "none", "nan", "pickle"):
        (tmp_path / name).mkdir()
    two = classifier(made(tmp_path / "two", ["fine", "rude"]))
    with pytest.raises(UnknownName, match="has the labels fine, rude; say which"):
        two.scores(["a"])
    with pytest.raises(UnknownName, match=r"no label 'rud'.*rude"):
        two.scores(["a"], ("rud",))
    with pytest.raises(BrokenModel, match="no trained classifier"):
        classifier(made(tmp_path / "none", ["a", "b"], head=False))
    with pytest.raises(NotFinite, match="the cat"):
        classifier(made(tmp_path / "nan", ["a"], weight=float("nan"))).scores(["the cat"])
    (tmp_path / "pickle" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BrokenModel, match="pickle"):
        classifier(str(tmp_path / "pickle"))
    with pytest.raises(ValueError, match="two classifiers"):
        Toxicity("a", model="b")
    with pytest.raises(ValueError, match="labels"):
        Toxicity(labels=("rude",))
