"""How small zlib makes a text: windows of like size, both tails, short texts."""

import base64
import math
import random
import zlib
from itertools import pairwise

import pytest

from trivium.curation.compression import SHORTEST, Compression
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.stories import story

NOISE = base64.b64encode(random.Random(1).randbytes(1500)).decode()
PROSE = "\n".join(story(5, n) for n in range(3))
STUCK = "The river rose in the night. " * 60


def ratio(text: str, **given) -> float:
    return Compression(**given).tag(Texts(["d"], [text], ["s"])).numbers["ratio"][0]


def test_noise_and_repetition_fall_and_prose_stays():
    found = curated(Compression(), Texts(["noise", "prose", "stuck"], [NOISE, PROSE, STUCK], ["s"] * 3))
    assert list(found.texts.ids) == ["prose"]
    assert ratio(NOISE) < 1.4 < 1.7 < ratio(PROSE) < 3 < 4 < ratio(STUCK)


def test_a_text_as_one_has_the_plain_ratio():
    data = STUCK.encode()
    assert ratio(STUCK, window=0) == len(data) / len(zlib.compress(data, 6))


def test_windows_are_of_one_size_and_their_number_is_the_fewest():
    text = PROSE[:2049]
    cuts = [0, 683, 1366, 2049]
    packed = sum(len(zlib.compress(text[a:b].encode(), 6)) for a, b in pairwise(cuts))
    assert ratio(text) == 2049 / packed


def test_a_longer_text_of_the_same_kind_has_the_same_ratio():
    """Within a tenth, where that of the whole grows by a third."""
    long = "\n".join(story(5, n) for n in range(60))
    assert ratio(long) == pytest.approx(ratio(PROSE), rel=0.1)
    assert ratio(long, window=0) > 1.3 * ratio(PROSE)


def test_of_a_short_text_nothing_is_known_and_nothing_falls():
    assert math.isnan(ratio("x" * (SHORTEST - 1)))
    assert not math.isnan(ratio("x" * SHORTEST))
    assert len(curated(Compression(), Texts(["d"], ["x" * (SHORTEST - 1)], ["s"])).texts) == 1


def test_bytes_count_and_halves_of_pairs_do_no_harm():
    assert not math.isnan(ratio("🙂" * (SHORTEST // 4)))
    assert not math.isnan(ratio("\ud800" * SHORTEST))


@pytest.mark.parametrize(("wrong", "said"), [({"least": 5.0}, "bounds"), ({"window": 100}, "at least 512")])
def test_bad_settings(wrong, said):
    with pytest.raises(ValueError, match=said):
        Compression(**wrong)


def test_the_version_of_zlib_is_part_of_what_a_run_is_known_by():
    assert Compression().depends == f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
