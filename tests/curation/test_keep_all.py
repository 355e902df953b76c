"""Everything kept: byte for byte, whatever it is."""

from trivium.curation.keep_all import KeepAll
from trivium.data.curating import curated
from trivium.data.marks import Texts

TEXTS = ["", " \n", "a", "a", "{ \0 }", "x" * 5000, "mail me@example.org"]


def test_every_text_stays_as_it_is():
    found = curated(KeepAll(), Texts([str(n) for n in range(len(TEXTS))], TEXTS, ["s"] * len(TEXTS)))
    assert list(found.texts.texts) == TEXTS
    assert found.decided.cuts == [[]] * len(TEXTS)
    assert not found.counts.dropped
