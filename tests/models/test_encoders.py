"""Texts as vectors: means over tokens by hand, blind to padding, and folders that cannot be used."""

import json

import pytest
import torch

from trivium.core.errors import BrokenModel, NotOffered
from trivium.models.encoders import MeanStates, encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small encoder as sentence-transformers lays it out."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    path = tmp_path_factory.mktemp("encoder")
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(path / "vocab.txt")).save_pretrained(path)
    (path / "modules.json").write_text("[]")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))
    return path


def test_a_vector_is_the_mean_over_tokens_of_length_one(folder):
    made = encoder(folder)
    found = made(["the cat sat"])
    fed = made.tokenizer("the cat sat", return_tensors="pt")
    with torch.no_grad():
        mean = made.model(**fed).last_hidden_state[0].mean(0)
    torch.testing.assert_close(found[0], mean / mean.norm())
    assert found.shape == (1, 16)


def test_neighbours_and_padding_do_not_matter(folder):
    made = encoder(folder)
    alone, beside = made(["a cat"]), made(["a cat", "the cat sat on"])
    torch.testing.assert_close(beside[:1], alone, atol=1e-5, rtol=0)  # sums of float32 in another order
    assert (alone - beside[1:]).abs().max() > 1e-2


def test_what_is_longer_than_it_reads_is_cut(folder):
    made = encoder(folder)
    torch.testing.assert_close(made(["the cat sat on a mat"]), made(["the cat sat on"]), atol=1e-6, rtol=0)


def test_half_characters_are_no_fault(folder):
    assert encoder(folder)(["the \ud83d cat"]).isfinite().all()


def test_a_language_model_gives_its_mean_state():
    made = encoder("tiny")
    assert isinstance(made, MeanStates)
    found = made(["once upon", "a time"])
    with torch.no_grad():
        mean = made.system.model(made.system.prompt("a time")).hidden[0].mean(0)
    torch.testing.assert_close(found[1], mean / mean.norm())
    short = MeanStates(made.system, longest=4)
    torch.testing.assert_close(short(["abcdef"]), short(["abcxyz"]))  # one place is for the start token


def test_bad_input_and_bad_folders(folder, tmp_path):
    for made in (encoder(folder), encoder("tiny")):
        with pytest.raises(ValueError, match="no text to encode"):
            made([])
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises(BrokenModel, match="cannot be read"):
        encoder(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (tmp_path / "sentence_bert_config.json").write_text("{}")
    with pytest.raises(NotOffered, match="pools by pooling_mode_cls_token"):
        encoder(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    with pytest.raises(BrokenModel, match="cannot build the encoder"):
        encoder(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text("[]")
    with pytest.raises(BrokenModel, match="must hold a JSON object, it holds list"):
        encoder(tmp_path)
