"""Masked models of every sort: heads tied and not, with a bias of their own, and the hull theorem on their logits."""

import pytest
import torch
import transformers

from tests.vocabulary.systems import NEW, OLD, sentences, wordpiece
from trivium.core.seeds import generator
from trivium.models.huggingface import wrap
from trivium.models.sources import load, store
from trivium.models.system import System
from trivium.models.vocabulary import rows_of
from trivium.tokenization.pieces import pieces
from trivium.vocabulary._streamed import stored, streamed
from trivium.vocabulary.hull_random import HullRandom
from trivium.vocabulary.univariate import Univariate

SMALL = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=64
)
SORTS = {
    "Bert": SMALL,
    "Roberta": SMALL | {"pad_token_id": 0},
    "XLMRoberta": SMALL | {"pad_token_id": 0},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64},
    "Electra": SMALL | {"embedding_size": 12},
    "ModernBert": SMALL | {"global_attn_every_n_layers": 1, "pad_token_id": 0, "decoder_bias": True},
}


@pytest.fixture(scope="module")
def tokenizers():
    return wordpiece(sentences(OLD), 60), wordpiece(sentences(NEW), 70)


def masked(sort, tied, tokenizer):
    config = getattr(transformers, f"{sort}Config")(
        vocab_size=tokenizer.vocab_size, tie_word_embeddings=tied, **SORTS[sort]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = getattr(transformers, f"{sort}ForMaskedLM")(config).eval()
        with torch.no_grad():
            model.get_input_embeddings().weight.normal_()
            head = model.get_output_embeddings()
            if not tied:
                head.weight.normal_()
            if head.bias is not None:
                head.bias.normal_()
    return System(wrap(model), tokenizer, sort)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("sort", SORTS)
def test_rows_and_bias_of_the_head_follow_the_tokens(sort, tied, tokenizers, tmp_path):
    old, new = tokenizers
    system = masked(sort, tied, old)
    assert rows_of(system.model).tied is tied
    made = HullRandom(k=3).transplant(system, new, generator=generator(0, "x"))
    before, after = rows_of(system.model), rows_of(made.system.model)
    assert after.tied is tied
    shared, fresh = (made.origin >= 0).nonzero()[:, 0], (made.origin < 0).nonzero()[:, 0]
    assert len(shared) > 10
    assert len(fresh) > 10
    for a, b in ((before.embedding, after.embedding), (before.head, after.head), (before.bias, after.bias)):
        assert (a is None) == (b is None)
        if a is not None:
            assert len(b) == new.vocab_size
            assert torch.equal(b[shared], a[made.origin[shared]])
    assert after.bias is not None
    assert after.bias[fresh].std() > 0.05
    ids = shared[torch.randint(len(shared), (1, 9), generator=generator(0, "ids"))]
    with torch.no_grad():
        one, two = system.model(made.origin[ids]).logits, made.system.model(ids).logits
    torch.testing.assert_close(two[..., shared], one[..., made.origin[shared]])
    real = torch.tensor([id for id, piece in enumerate(pieces(old)) if piece.real])
    assert (two[..., fresh].amax(-1) <= one[..., real].amax(-1) + 1e-5).all()  # the hull theorem, on real states
    store(made.system, tmp_path / "stored")
    again = load(tmp_path / "stored")
    assert type(again.model.inner) is type(system.model.inner)
    with torch.no_grad():
        torch.testing.assert_close(again.model(ids).logits, two)


@pytest.mark.parametrize("sort", SORTS)
def test_a_wrapped_model_is_the_model(sort, tokenizers):
    """Positions of RoBERTa begin behind the id of its padding, not at 0."""
    system = masked(sort, True, tokenizers[0])
    ids = torch.randint(5, 50, (2, 9), generator=generator(0, "ids"))
    with torch.no_grad():
        torch.testing.assert_close(system.model(ids).logits, system.model.inner(ids).logits)
    assert system.model.max_positions == (63 if "oberta" in sort.lower() else 64)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("sort", ["Roberta", "Electra", "ModernBert"])
def test_from_folder_to_folder_they_are_the_same(sort, tied, tokenizers, tmp_path):
    old, new = tokenizers
    store(masked(sort, tied, old), tmp_path / "old")
    made = Univariate().transplant(load(tmp_path / "old"), new, generator=generator(0, "x"))
    stored(made, tmp_path / "memory", {})
    streamed(Univariate(), tmp_path / "old", tmp_path / "disk", new, generator=generator(0, "x"))
    one, two = (load(tmp_path / name) for name in ("memory", "disk"))
    ours, theirs = (dict(each.model.inner.named_parameters(remove_duplicate=False)) for each in (one, two))
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
