"""CW2V: the hull theorem, the loss against loops in both readings, what it learns, and what it refuses."""

import math
from dataclasses import replace

import pytest
import torch

from tests.vocabulary.hull import residual
from tests.vocabulary.systems import OLD, Plain, languages, masked, native, pretrained, sentences, small, systems
from trivium.core.languages import Languages
from trivium.core.seeds import generator
from trivium.decoding.greedy import Greedy
from trivium.models.vocabulary import rows_of
from trivium.nn.skip_gram import keep_probability, pairs, skip_gram_loss
from trivium.tokenization.pieces import pieces
from trivium.vocabulary.cw2v import Cw2v
from trivium.vocabulary.hull_random import HullRandom
from trivium.vocabulary.mean import Mean

QUICK = Cw2v(rank=8, epochs=2, threshold=1.0, learning_rate=0.05)


class Extended:
    """A tokenizer with more tokens, which it finds before it gives the rest to the one it extends."""

    def __init__(self, inner, words):
        self.other, self.words = inner, [word.encode() for word in words]
        self.base = inner.vocab_size
        self.vocab_size, self.opening = self.base + len(words), ()
        self.bos, self.eos, self.pad = inner.bos, inner.eos, inner.pad

    def encode(self, text):
        for at, word in enumerate(self.words):
            before, found, after = text.partition(word.decode())
            if found:
                return [*self.encode(before), self.base + at, *self.encode(after)]
        return self.other.encode(text) if text else []

    def decode(self, ids):
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    def bytes_of(self, id):
        return self.words[id - self.base] if id >= self.base else self.other.bytes_of(id)


NEW = [" gatu posi", " em na", " rubra tapeta", " unu mal", "granda", " never seen", " verda monte"]


@pytest.mark.parametrize("make", [native, lambda: native(tied=False), pretrained, lambda: pretrained(tied=False)])
@pytest.mark.parametrize("method", [QUICK, HullRandom(), Mean()])
def test_greedy_output_of_the_old_language_is_unchanged(make, method):
    """The hull theorem at work: exact ids, before any training."""
    system = make()
    with torch.no_grad():  # padding rows stay out of this
        table = rows_of(system.model)
        for part in (table.embedding, table.head):
            if part is not None:
                part[system.tokenizer.vocab_size :] = 0
    grown = method(system, Extended(system.tokenizer, NEW), languages(), generator=generator(0, "x"))
    for text in sentences(OLD, 6, seed=9, length=4):
        ids = system.prompt(text)
        assert torch.equal(ids, grown.prompt(text))
        made = [Greedy()(one.model, ids, limit=12, generator=generator(0, "g")).ids for one in (system, grown)]
        assert torch.equal(*made)


def test_the_largest_logit_is_an_old_tokens_for_any_state():
    for make, tokenizer in (systems()["native untied"], systems()["bert"]):  # the second has a bias
        system = make()
        got = QUICK.transplant(system, tokenizer(), languages(), generator=generator(0, "x"))
        new, old = rows_of(got.system.model), rows_of(system.model)
        states = 10 * torch.randn(10_000, old.embedding.shape[1], generator=generator(0, "h"))
        real = [id for id, piece in enumerate(pieces(system.tokenizer)) if piece.real]

        def logits(rows, states=states):
            table = rows.embedding if rows.head is None else rows.head
            return states @ table.T + (0 if rows.bias is None else rows.bias)

        fresh = logits(new)[:, got.origin < 0].amax(1)
        best = logits(old)[:, real].amax(1)
        assert (fresh <= best + 1e-4).all()  # the rounding of float32
        assert (fresh < best).float().mean() > 0.99


def test_rows_are_in_the_hull_of_their_own_side():
    system = native(tied=False)
    got = QUICK.transplant(system, systems()["native"][1](), languages(), generator=generator(0, "x"))
    new, old = rows_of(got.system.model), rows_of(system.model)
    real = system.tokenizer.vocab_size
    fresh = (got.origin < 0).nonzero()[:6, 0]
    assert residual(new.embedding[fresh].double().numpy(), old.embedding[:real].double().numpy()) < 1e-4
    assert residual(new.head[fresh].double().numpy(), old.head[:real].double().numpy()) < 1e-4


def test_both_losses_against_loops():
    draws = generator(0, "loss")
    c, o = (torch.randn(5, 4, generator=draws, dtype=torch.float64) for _ in range(2))
    n = torch.randn(5, 3, 4, generator=draws, dtype=torch.float64)
    log_sigmoid = lambda x: -math.log1p(math.exp(-x))  # noqa: E731
    own = summed = 0.0
    for at in range(5):
        scores = [float(c[at] @ n[at, k]) for k in range(3)]
        own -= log_sigmoid(float(c[at] @ o[at])) + sum(log_sigmoid(-score) for score in scores)
        summed -= log_sigmoid(float(c[at] @ o[at])) + log_sigmoid(-sum(scores))
    assert skip_gram_loss(c, o, n).item() == pytest.approx(own / 5)
    assert skip_gram_loss(c, o, n, summed=True).item() == pytest.approx(summed / 5)


def test_pairs_and_thinning_by_hand():
    got = pairs([torch.tensor([1, 2, 3]), torch.tensor([7]), torch.tensor([8, 9])], 1).tolist()
    assert sorted(map(tuple, got)) == [(1, 2), (2, 1), (2, 3), (3, 2), (8, 9), (9, 8)]
    assert len(pairs([torch.arange(6)], 5)) == 30
    keep = keep_probability(torch.tensor([99.0, 1.0, 0.0]), 0.01)
    torch.testing.assert_close(keep, torch.tensor([(0.01 / 0.99) ** 0.5 + 0.01 / 0.99, 1.0, 1.0]))


def test_it_learns_whom_a_token_stands_beside():
    """The new token stands beside "a" only; its row moves towards a's, which its start does not know."""
    system = small([*"abcdefgh"], tied=False)
    texts = ["axxaxxa" * 4, "bcbdcd" * 4, "efghfe" * 4] * 8
    method = Cw2v(rank=8, epochs=15, threshold=1.0, learning_rate=0.05, window=1, batch_size=64, negatives=1)
    with torch.no_grad():
        system.model.embedding.weight.copy_(3 * torch.eye(8))
        system.model.head.weight.copy_(torch.eye(8))
    tokenizer = Plain([*"abcdefgh", "xx"])
    start = replace(method, epochs=0)(system, tokenizer, Languages(texts), generator=generator(0, "x"))
    made = method(system, tokenizer, Languages(texts), generator=generator(0, "x"))
    before, after = (rows_of(one.model).embedding[8] for one in (start, made))
    assert before.max() < 1  # 3/8 each, about
    assert after.argmax() == 0
    assert after[0] > before[0] + 0.3
    torch.testing.assert_close(after.sum(), torch.tensor(3.0))
    reference = replace(method, loss="reference", batch_size=2, negatives=2, epochs=1)
    other = reference(system, tokenizer, Languages(texts), generator=generator(0, "x"))
    torch.testing.assert_close(rows_of(other.model).embedding[8].sum(), torch.tensor(3.0))
    assert not torch.allclose(rows_of(other.model).embedding[8], before)


def test_the_reference_draws_no_negative_twice():
    counts = torch.tensor([5.0, 1.0, 0.0, 7.0, 2.0, 9.0, 1.0])
    drawn = Cw2v(loss="reference", negatives=2).draws(counts, 3, generator(0, "x")).flatten().tolist()
    assert sorted(drawn) == [0, 1, 3, 4, 5, 6]
    again = Cw2v(negatives=5).draws(counts, 4000, generator(0, "x")).flatten()
    share = torch.bincount(again, minlength=7) / len(again)
    torch.testing.assert_close(share, (counts**0.75 / (counts**0.75).sum()), atol=0.01, rtol=0)


def test_tokens_that_the_text_lacks_are_listed():
    got = QUICK.transplant(
        small([*"abc"]), Plain([*"abc", "bc", "cc"]), Languages(["abcbca" * 5]), generator=generator(0, "x")
    )
    assert got.report.uncovered == (4,)


def test_bad_input():
    system, tokenizer = small([*"abc"]), Plain([*"abc", "bc"])
    with pytest.raises(ValueError, match="no pair"):
        QUICK(system, tokenizer, Languages(["a"]), generator=generator(0, "x"))
    with pytest.raises(ValueError, match="lower batch_size"):
        Cw2v(rank=4, loss="reference", negatives=5)(
            system, tokenizer, Languages(["abcbca" * 50]), generator=generator(0, "x")
        )
    for settings in ({"rank": 0}, {"epochs": -1}, {"loss": "mine"}, {"threshold": 0.0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            Cw2v(**settings)


def test_a_masked_model_takes_it_too():
    made = QUICK(masked(), systems()["bert"][1](), languages(), generator=generator(0, "x"))
    assert made.model.inner.config.vocab_size == made.tokenizer.vocab_size
