"""Mean of subwords: by hand, with repeats, spaces and half characters."""

import torch

from tests.vocabulary.systems import Plain, native, new_tokenizer, small
from trivium.core.seeds import generator
from trivium.models.vocabulary import rows_of
from trivium.vocabulary.subword_mean import SubwordMean


def test_by_hand_and_repeats_count_twice():
    system = small(["a", "b", " ", "ab"], tied=False)
    got = SubwordMean().transplant(system, Plain(["a", "aba", " ba", "aaab"]), generator=generator(0, "x"))
    for old, new in (
        (rows_of(system.model).embedding, rows_of(got.system.model).embedding),
        (rows_of(system.model).head, rows_of(got.system.model).head),
    ):
        torch.testing.assert_close(new[1], (old[3] + old[0]) / 2)
        torch.testing.assert_close(new[2], (old[2] + old[1] + old[0]) / 3)
        torch.testing.assert_close(new[3], (2 * old[0] + old[3]) / 3)
    assert got.report.facts["pieces"] == (2 + 3 + 3) / 3
    assert got.report.uncovered == ()


def test_what_cannot_be_spelt_is_reported():
    got = SubwordMean().transplant(small(["a", "b"]), Plain(["a", "xyz", None], eos=2), generator=generator(0, "x"))
    assert got.report.uncovered == (1, 2)
    assert rows_of(got.system.model).embedding.isfinite().all()


def test_half_characters_come_from_bytes():
    """A byte-level token such as the first two bytes of a three-byte character."""
    system, tokenizer = native(), new_tokenizer()
    method = SubwordMean()
    frame_ids = {}

    class Half(Plain):
        def __init__(self):
            super().__init__(["a", "?"])
            self.tokens[1] = b"\xe2\x82"

    got = method.transplant(system, Half(), generator=generator(0, "x"))
    old = rows_of(system.model).embedding
    for id in range(system.tokenizer.vocab_size):
        if len(data := system.tokenizer.bytes_of(id)) == 1:
            frame_ids[data] = id
    wanted = (old[frame_ids[b"\xe2"]] + old[frame_ids[b"\x82"]]) / 2
    torch.testing.assert_close(rows_of(got.system.model).embedding[1], wanted)
    assert tokenizer.vocab_size
