"""Rows by their formulas, where a nearly right one would pass: what wrong versions of the methods were caught by."""

import torch

from tests.vocabulary.systems import Plain, languages, native, new_tokenizer, small
from trivium.core.languages import Languages, WordVectors
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary._frame import Frame, draw
from trivium.vocabulary.cw2v import Cw2v, _Weights
from trivium.vocabulary.focus import Focus
from trivium.vocabulary.mean import Mean
from trivium.vocabulary.multivariate import Multivariate
from trivium.vocabulary.ofa import Ofa
from trivium.vocabulary.univariate import Univariate
from trivium.vocabulary.wechsel import align


def draws():
    return generator(0, "x")


def frame_of(system, tokenizer, hand=Languages()):
    return Frame(system, tokenizer, hand, "exact", rows_of(system.model))


def test_the_mean_and_its_jitter_weigh_one_together():
    system = small([*"abcd"])
    old = rows_of(system.model).embedding.double()
    made = rows_of(Mean(jitter=0.25)(system, Plain([*"abcd", "xy"]), generator=draws()).model).embedding[4].double()
    near = (0.75 * old.mean(0) + 0.25 * old - made).norm(dim=1).min()
    assert near < 1e-5 * old.norm()


def test_univariate_rows_divide_by_the_rows():
    system = small([*"abcd"])
    old = rows_of(system.model).embedding.double()
    made = rows_of(Univariate()(system, Plain([*"abcd", "xy"]), generator=draws()).model).embedding[4].double()
    wanted = old.mean(0) + old.std(0, correction=0) * draw(1, old.shape[1], draws())[0]
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)


def test_new_vectors_are_turned_onto_old_ones_by_the_places_of_each_side():
    """The words of a pair stand at other places on the two sides, in a dictionary of its own order."""
    old = WordVectors(("aa", "zz", "bb"), torch.tensor([[1.0, 0.0], [0.6, -0.8], [0.0, 1.0]]))
    new = WordVectors(("ww", "vv", "xx"), torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.6, 0.8]]))
    turn = align(old, new, [("aa", "vv"), ("bb", "ww")])
    torch.testing.assert_close(new.vectors.double()[[1, 0]] @ turn, old.vectors.double()[[0, 2]])


def test_the_covariance_divides_by_the_rows():
    system, tokenizer = small([*"abcde"], width=4), Plain([*"abcde", "xy"])
    old = rows_of(system.model).embedding.double()
    spread = torch.cov(old.T, correction=0)
    factor = torch.linalg.cholesky(spread + 1e-8 * spread.trace() / 4 * torch.eye(4, dtype=torch.float64))
    wanted = old.mean(0) + 0.5 * draw(1, 4, draws())[0] @ factor.mT
    made = rows_of(Multivariate(scale=0.25)(system, tokenizer, generator=draws()).model).embedding[5].double()
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)


def test_focus_reads_the_old_rows_of_its_anchors_and_spreads_without_bias():
    system = small([*"abcd"])
    old = rows_of(system.model).embedding.double()
    frame = frame_of(system, Plain([*"dcba", "xx", "yy"]))  # new ids 0 to 3 are old ids 3 to 0
    vectors = torch.eye(6, 4, dtype=torch.float64)
    vectors[4] = vectors[0]
    found = torch.tensor([True, True, True, True, True, False])
    made = Focus().from_vectors(frame, vectors, found, draws()).embedding(old)
    torch.testing.assert_close(made[0], old[3])
    torch.testing.assert_close(made[1], old.mean(0) + old.std(0, correction=1) * draw(1, 8, draws())[0])


def test_old_subwords_without_a_vector_are_no_neighbours():
    """A vector of zeros has the cosine 0, which is above that of an opposite one."""
    system = small(["aa", "bb", "q"])
    words = WordVectors(("aa", "vv"), torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
    one = WordVectors(("aa",), torch.tensor([[1.0, 0.0]]))
    hand = Languages(new_words=words, old_words=one)
    made = Ofa(k=1)(system, Plain(["q", "vv"]), hand, generator=draws())
    torch.testing.assert_close(rows_of(made.model).embedding[1], rows_of(system.model).embedding[0])


def test_weights_in_training_are_those_of_a_hull_and_each_side_has_its_own():
    weights = _Weights(torch.randn(3, 2, generator=draws()), torch.randn(2, 5, generator=draws()))
    shares = weights(torch.arange(3))
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    system = native(tied=False)
    frame = frame_of(system, new_tokenizer(), languages())
    filling = Cw2v(rank=4, epochs=0, threshold=1.0).fill(frame, draws())
    source = rows_of(system.model).embedding[frame.old].double()
    assert not torch.allclose(filling.embedding(source), filling.head(source))
