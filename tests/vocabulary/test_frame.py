"""The common frame: what counts as the same token, roles, and the tables of Hugging Face models."""

import pytest
import torch

from tests.vocabulary.systems import OLD, Plain, masked, new_tokenizer, pretrained, sentences, small, wordpiece
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of, with_rows
from trivium.tokenization.pieces import pieces, roles
from trivium.vocabulary.mean import Mean


def origin(old, new, match="exact", **settings):
    got = Mean(match=match).transplant(small(old), Plain(new, **settings), generator=generator(0, "x"))
    return got.origin.tolist(), got.report


def test_two_old_tokens_of_one_form_give_the_lowest_id_and_are_told():
    """Pitfall (c)."""
    found, report = origin(["q", "ab", "x", "ab"], ["ab", "q", "new"])
    assert found == [1, 0, -1]
    assert report.ambiguous == ((3, 1),)


@pytest.mark.parametrize(
    ("match", "wanted"),
    [
        ("exact", [0, -1, -1, -1]),
        ("case", [0, 0, -1, -1]),
        ("space", [0, -1, 0, -1]),
        ("case_and_space", [0, 0, 0, 0]),
    ],
)
def test_fuzzy_matches(match, wanted):
    assert origin(["Ab", "zz"], ["Ab", "aB", " Ab", " aB"], match)[0] == wanted


def test_what_is_equal_to_the_byte_goes_first():
    assert origin(["AB", "ab", " ab"], ["ab", " ab", "AB"], "case_and_space")[0] == [1, 2, 0]


def test_special_tokens_go_by_role():
    system = pretrained()
    got = Mean().transplant(system, new_tokenizer(), generator=generator(0, "x"))
    for role in ("eos", "pad"):
        assert got.origin[getattr(new_tokenizer(), role)] == getattr(system.tokenizer, role)
    config, inner = got.system.model.inner.config, got.system.model.inner
    assert config.vocab_size == new_tokenizer().vocab_size == inner.get_input_embeddings().weight.shape[0]
    assert (config.eos_token_id, config.pad_token_id) == (new_tokenizer().eos, new_tokenizer().pad)
    assert inner.generation_config.eos_token_id == new_tokenizer().eos
    assert inner.get_input_embeddings().padding_idx in (None, new_tokenizer().pad)
    assert roles(masked().tokenizer) == {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}


def test_spellings_of_one_word_are_one():
    """WordPiece marks what goes on, byte-level marks what begins: both read as bytes."""
    tokenizer = wordpiece(sentences(OLD), 120)
    inner = tokenizer.inner
    for token, wanted in (("small", b" small"), ("##ll", b"ll")):
        id = inner.convert_tokens_to_ids(token)
        if id != inner.unk_token_id:
            assert pieces(tokenizer)[id].bytes == wanted
    assert pieces(tokenizer)[0].special == "[PAD]"
    assert tokenizer.decode(tokenizer.encode("the cat sat")) == " the cat sat"


def test_tied_stays_tied_and_untied_apart():
    for tied in (True, False):
        inner = Mean()(pretrained(tied=tied), new_tokenizer(), generator=generator(0, "x")).model.inner
        shared = inner.get_input_embeddings().weight is inner.get_output_embeddings().weight
        assert shared is tied
        assert inner.config.tie_word_embeddings is tied


def test_a_head_of_its_own_is_filled_from_its_own_rows():
    """Pitfall (d): a good embedding under a random head is useless."""
    system = small(["a", "b", "c"], tied=False)
    with torch.no_grad():
        system.model.head.weight.add_(100)
    made = rows_of(Mean()(system, Plain(["a", "cd"]), generator=generator(0, "x")).model)
    assert made.head[1].min() > 50


def test_models_that_count_positions_from_the_padding_are_refused():
    from transformers import RobertaConfig, RobertaForMaskedLM

    from trivium.models.huggingface import wrap

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = RobertaForMaskedLM(
            RobertaConfig(
                vocab_size=20,
                hidden_size=8,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=8,
                max_position_embeddings=32,
            )
        )
    wrapped = wrap(model)
    rows = rows_of(wrapped)
    with pytest.raises(ValueError, match="padding token at that id"):
        with_rows(wrapped, rows, {"pad": 0})
    assert with_rows(wrapped, rows, {"pad": 1}).vocab_size == 20


def test_bfloat16_is_rounded_once_and_told():
    system = small(["a", "b", "c"])
    system.model.to(torch.bfloat16)
    got = Mean().transplant(system, Plain(["a", "cd"]), generator=generator(0, "x"))
    assert got.system.model.dtype == torch.bfloat16
    assert got.report.cast_error > 0
