"""FOCUS: the numbers of the authors' code, sparsemax by hand, and rare tokens."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.vocabulary.systems import Plain, small
from trivium.core.languages import Languages
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.nn.neighbours import cosines, sparsemax, sparsemax_reference
from trivium.vocabulary._frame import Frame
from trivium.vocabulary.focus import Focus

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "focus.npz"


def test_sparsemax_by_hand_and_by_halving():
    z = torch.tensor([[1.0, 0.8, 0.1], [0.0, 0.0, 5.0]], dtype=torch.float64)
    wanted = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(sparsemax(z), wanted)
    many = torch.randn(20, 30, generator=generator(0, "z"), dtype=torch.float64)
    torch.testing.assert_close(sparsemax(many), sparsemax_reference(many))
    torch.testing.assert_close(sparsemax(many).sum(1), torch.ones(20, dtype=torch.float64))


@pytest.mark.skipif(not VECTORS.is_file(), reason=f"the numbers of the authors' code are not at {VECTORS}")
@pytest.mark.parametrize("mode", ["exact", "fuzzy", "symbols_only"])
def test_the_authors_numbers(mode):
    given = np.load(VECTORS)
    auxiliary = torch.from_numpy(given["auxiliary_vectors"]).double()
    new, anchors = (torch.from_numpy(given[f"{mode}/{name}"]) for name in ("new_ids", "anchor_target_ids"))
    alike = cosines(auxiliary[new], auxiliary[anchors])
    torch.testing.assert_close(alike, torch.from_numpy(given[f"{mode}/similarity"]), atol=1e-6, rtol=0)
    weights = sparsemax(alike)
    torch.testing.assert_close(weights, torch.from_numpy(given[f"{mode}/weights"]), atol=1e-6, rtol=0)
    overlap = dict(given[f"{mode}/overlap_target_source"].tolist())
    source = torch.from_numpy(given["source_embeddings"]).double()
    made = weights @ source[[overlap[int(id)] for id in anchors]]
    torch.testing.assert_close(
        made.float(), torch.from_numpy(given[f"{mode}/target_embeddings"])[new], atol=1e-6, rtol=0
    )


def frame_of(system, tokenizer):
    return Frame(system, tokenizer, Languages(), "exact", rows_of(system.model))


def test_an_anchor_of_the_same_vector_weighs_most_and_others_fall_back():
    system = small([*"abcd"])
    frame = frame_of(system, Plain([*"abcd", "xx", "yy"]))
    vectors = torch.eye(6, 4, dtype=torch.float64)
    vectors[4] = vectors[2]
    found = torch.tensor([True, True, True, True, True, False])
    filling = Focus().from_vectors(frame, vectors, found, generator(0, "x"))
    rows = filling.embedding(rows_of(system.model).embedding.double())
    torch.testing.assert_close(rows[0], rows_of(system.model).embedding[2].double())
    assert filling.uncovered == [5]
    assert filling.facts["anchors"] == 4
    assert rows.isfinite().all()


def test_tokens_used_alike_are_near():
    """In the text "xx" stands where "c" does, so that c is among the anchors that make it."""
    pytest.importorskip("gensim")
    draws = generator(0, "text")
    pick = lambda words: words[int(torch.randint(len(words), (1,), generator=draws))]  # noqa: E731
    texts = [pick(["acb", "axxb", "edf", "eyyf"]) * 3 for _ in range(300)]
    tokens = [*"abcdef", "xx", "yy"]
    frame = Frame(small([*"abcdef"]), Plain(tokens), Languages(texts), "exact", rows_of(small([*"abcdef"]).model))
    vectors, found = Focus(width=16, epochs=5, min_count=5).vectors(frame, generator(0, "v"))
    assert found.all()
    weights = sparsemax(cosines(vectors[6:], vectors[:6]))
    assert weights[0, 2] > weights[0, 3]
    assert weights[1, 3] > weights[1, 2]


def test_bad_input():
    pytest.importorskip("gensim")
    system, tokenizer = small([*"abcd"]), Plain([*"abcd", "xx"])
    with pytest.raises(ValueError, match="no word occurs 10 times"):
        Focus()(system, tokenizer, Languages(["abxx"]), generator=generator(0, "x"))
    with pytest.raises(ValueError, match="no anchor"):
        Focus()(system, tokenizer, Languages(["xxxx" * 10]), generator=generator(0, "x"))
    with pytest.raises(ValueError, match="min_count"):
        Focus(min_count=0)
