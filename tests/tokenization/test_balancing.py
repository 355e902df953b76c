"""Balanced samples: shares by hand, languages that run out, and draws."""

import math

import pytest

from trivium.core.seeds import generator
from trivium.tokenization.balancing import balanced, shares


def test_shares_by_hand():
    have = {"big": 800, "small": 100}
    assert shares(have, 90, 1.0) == pytest.approx({"big": 80, "small": 10})
    assert shares(have, 90, 3.0) == pytest.approx({"big": 60, "small": 30})  # cube roots of 8 to 1 are 2 to 1
    assert shares(have, 90, math.inf) == pytest.approx({"big": 45, "small": 45})
    assert shares({"big": 800, "small": 10, "tiny": 5}, 90, math.inf) == pytest.approx(
        {"big": 75, "small": 10, "tiny": 5}
    )
    assert shares(have, 10_000, 3.0) == have


def test_texts_are_drawn_once_each_up_to_the_share():
    texts = {"big": [f"{at:04d}" for at in range(200)], "small": [f"s{at:03d}" for at in range(25)]}
    found = balanced(texts, 90, generator=generator(0, "x"))
    assert {name: len(some) for name, some in found.items()} == {"big": 15, "small": 8}  # 60 and 30 bytes
    assert all(len(set(some)) == len(some) for some in found.values())
    assert found == balanced(texts, 90, generator=generator(0, "x"))
    assert found != balanced(texts, 90, generator=generator(1, "x"))


def test_bad_input():
    for bad, settings in (("temperature", {"temperature": 0.5}), ("size", {"size": 0})):
        with pytest.raises(ValueError, match=bad):
            balanced({"a": ["text"]}, **({"size": 10} | settings), generator=generator(0, "x"))
    with pytest.raises(ValueError, match="b has no text"):
        balanced({"a": ["text"], "b": []}, 10, generator=generator(0, "x"))
