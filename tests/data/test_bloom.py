"""A Bloom filter: its stated rate, nothing forgotten, and state that is only taken for what it is."""

import json
import math

import pytest

from trivium.data.bloom import Bloom, Overfull, WrongFilter
from trivium.data.digests import digest, digests


def things(*texts: str):
    return digests(texts)


def test_digests():
    assert digests(["a", "é😀", "\ud800"]).tobytes() == digest("a") + digest("é😀") + digest("\ud800")
    assert len(digests([])) == 0
    assert digest("a").hex() == "27c35e6e9373877f29e562464e46497e"  # BLAKE2b of 16 bytes, as other tools give it


@pytest.mark.parametrize("rate", [0.2, 0.01])
def test_it_errs_at_its_rate_and_forgets_nothing(rate):
    count = 4000
    bloom = Bloom(count, rate, seed=1)
    assert bloom.size == math.ceil(-count * math.log(rate) / math.log(2) ** 2)
    texts = digests(f"text {number}" for number in range(count))
    wrong = sum(bloom.add(texts[at : at + 500]).sum() for at in range(0, count, 500))
    assert bloom.count == count - wrong
    assert bloom.holds(texts).all()
    # It is as full as it gets, so the rate is the one it was made for, up to the rounding of the number of hashes.
    assert bloom.projected(count) == pytest.approx(rate, rel=0.05)
    probes = 20_000
    seen = bloom.holds(digests(f"probe {number}" for number in range(probes))).mean()
    expected = bloom.projected()
    assert seen == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / probes))


def test_it_marks_what_was_there_and_is_the_same_every_time():
    one, other, seeded = Bloom(100), Bloom(100), Bloom(100, seed=2)
    assert one.add(things("a", "b", "a")).tolist() == [False, False, True]
    assert one.add(things("b", "c", "é😀")).tolist() == [True, False, False]
    assert one.add(things()).tolist() == one.holds(things()).tolist() == []
    assert one.count == 4
    assert other.add(things("é😀", "c", "b", "a")).tolist() == [False] * 4
    seeded.add(things("a", "b", "c", "é😀"))
    assert (one.bits == other.bits).all()
    assert (one.bits != seeded.bits).any()
    assert one.holds(things("a", "d")).tolist() == [True, False]
    assert Bloom(10).projected() == 0.0


def test_an_overfull_one_says_so_and_takes_nothing():
    bloom = Bloom(20, 0.01)
    bloom.add(digests(map(str, range(20))))
    before = bloom.bits.copy()
    with pytest.raises(Overfull, match=r"made for 20: it would be wrong at a rate of 0\.\d+ instead of 0.01; make one"):
        bloom.add(digests(f"more {number}" for number in range(10)))
    assert (bloom.bits == before).all()
    assert bloom.add(digests(["one more", "and another"])).tolist() == [False, False]  # up to a tenth more
    for expected, rate in ((0, 0.1), (5, 0.0), (5, 1.0)):
        with pytest.raises(ValueError, match="at least 1 thing"):
            Bloom(expected, rate)


def test_it_goes_on_from_a_file(tmp_path):
    path = tmp_path / "seen.bloom"
    bloom = Bloom(50, 1e-4, seed=3)
    bloom.add(things("a", "b\n"))
    bloom.holding = ("00001",)
    bloom.save(path)
    found = Bloom.load(path, expected=50, rate=1e-4, seed=3)
    assert (found.bits == bloom.bits).all()
    assert (found.count, found.holding) == (2, ("00001",))
    assert found.add(things("b\n", "c")).tolist() == [True, False]
    found.save(path)
    assert Bloom.load(path).holds(things("a", "b\n", "c", "d")).tolist() == [True, True, True, False]


def test_a_file_that_is_not_what_is_asked_for_is_refused(tmp_path):
    path = tmp_path / "seen.bloom"
    bloom = Bloom(50, 1e-4, seed=3)
    bloom.add(things("a"))
    bloom.save(path)
    for wanted, said in (
        ({"expected": 60}, "made with expected 50, not 60"),
        ({"rate": 1e-6}, "made with rate 0.0001, not 1e-06"),
        ({"seed": 0}, "made with seed 3, not 0"),
    ):
        with pytest.raises(WrongFilter, match=said):
            Bloom.load(path, **wanted)
    with pytest.raises(TypeError, match="no size"):
        Bloom.load(path, size=3)
    head, bits = path.read_bytes().split(b"\n", 1)
    for name, value, said in (
        ("format", 2, "has format 2 where this version has 1; make it again"),
        ("hash", "xxh3", "has hash 'xxh3' where this version has 'blake2b-128'"),
        ("size", 8, "has size 8"),
        ("hashes", 1, "has hashes 1"),
    ):
        path.write_bytes(json.dumps({**json.loads(head), name: value}).encode() + b"\n" + bits)
        with pytest.raises(WrongFilter, match=said):
            Bloom.load(path)
    for broken in (head + b"\n" + bits[:-1], head + b"\n" + bytes([bits[0] ^ 1]) + bits[1:]):
        path.write_bytes(broken)
        with pytest.raises(WrongFilter, match="damaged"):
            Bloom.load(path)
    for none in (b"", b"text", b"[1]\n", b"{}\n"):
        path.write_bytes(none)
        with pytest.raises(WrongFilter, match="is no filter"):
            Bloom.load(path)
    with pytest.raises(FileNotFoundError):
        Bloom.load(tmp_path / "none.bloom")
