"""Slots stand where their labels say, and what is not so is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from trivium.data.slots import Slot, Utterance, from_bio, hits, joined, located, made, marked, micro_f1, read, to_bio

SNIPS = Path(__file__).parents[3] / "shared" / "data" / "snips"


def test_a_marked_text():
    one = marked("a", "play [track Blue Lantern] by [artist Ada] now")
    assert one.tokens == ("play", "Blue", "Lantern", "by", "Ada", "now")
    assert one.spans == [(1, 3, "track"), (4, 5, "artist")]
    assert [(slot.gold_surface, slot.gold_clean, slot.number) for slot in one.slots] == [
        ("Blue Lantern", "Blue Lantern", 0),
        ("Ada", "Ada", 1),
    ]
    assert to_bio(one) == ["O", "B-track", "I-track", "O", "B-artist", "O"]


def test_labels_and_back():
    for one in (*made("test"), *made("validation")):
        assert from_bio(one.id, one.tokens, to_bio(one), one.group) == one


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["O", "I-a"], "utterance 'u7': token 1 is I-a, but no B-a begins it"),
        (["B-b", "I-a"], "token 1 is I-a, but no B-a begins it"),
        (["B-a"], "utterance 'u7' has 2 tokens and 1 labels"),
        (["B-a", "X"], "token 1 has the label 'X'"),
        (["B-", "O"], "token 0 has the label 'B-'"),
    ],
)
def test_labels_that_are_wrong_are_named(labels, said):
    with pytest.raises(ValueError, match=said):
        from_bio("u7", ["one", "two"], labels)


def test_slots_that_are_wrong_are_named():
    def slot(start, stop, value):
        return Slot(start, stop, "a", value, value, 0)

    words = ("one", "two", "three")
    for slots, said in (
        ((slot(0, 2, "one two"), slot(1, 3, "two three")), "utterance 'u7': slot 'a' begins at token 1, within"),
        ((slot(1, 1, ""),), "utterance 'u7': slot 'a' is tokens 1 to 1 of 3"),
        ((slot(2, 4, "three"),), "tokens 2 to 4 of 3"),
        ((slot(0, 1, "two"),), "said to be 'two', but its tokens are 'one'"),
    ):
        with pytest.raises(ValueError, match=said):
            Utterance("u7", words, slots)
    with pytest.raises(ValueError, match="utterance 'u7' needs tokens"):
        Utterance("u7", ())
    with pytest.raises(ValueError, match="the slot 'a' holds no text"):
        joined("u7", [("play ", ""), (" ", "a")])


def brute_force(gold, found):
    """Take gold spans one by one and strike out an equal one that was found."""
    left, right = list(found), 0
    for one in gold:
        for other in left:
            if one[0] == other[0] and one[1] == other[1] and one[2] == other[2]:
                left.remove(other)
                right += 1
                break
    return right


def test_f1_equals_a_brute_force_matcher_and_hand_worked_numbers():
    draws = np.random.default_rng(0)
    pairs = []
    for _ in range(200):
        sides = [
            [(int(a), int(a + b), "xyz"[c]) for a, b, c in draws.integers((0, 1, 0), (4, 3, 3), (draws.integers(5), 3))]
            for _ in range(2)
        ]
        assert hits(*sides) == brute_force(*sides)
        pairs.append(sides)
    right = sum(brute_force(*sides) for sides in pairs)
    found, gold = sum(len(sides[1]) for sides in pairs), sum(len(sides[0]) for sides in pairs)
    assert micro_f1(pairs) == pytest.approx(2 * (right / found) * (right / gold) / (right / found + right / gold))
    one, other = (0, 2, "a"), (3, 4, "b")
    assert micro_f1([([one, other], [one, other])]) == 1.0
    assert micro_f1([([one, other], [])]) == 0.0
    assert micro_f1([([one], [(0, 1, "a")]), ([other], [(3, 4, "a")])]) == 0.0  # a wrong end, a wrong label
    assert micro_f1([([one, other], [one]), ([one], [one, other])]) == pytest.approx(4 / 6)
    assert micro_f1([]) == 0.0


def test_values_are_found_where_they_stand():
    one = marked("a", "play Red by [artist Red Fox] and red")
    assert located(one, [("artist", "red fox")]) == [(3, 5, "artist")]
    assert located(one, [("x", "Red"), ("x", "red"), ("x", "red")]) == [(1, 2, "x"), (3, 4, "x"), (6, 7, "x")]
    twice = marked("b", "a table for [people for] to day")
    assert located(twice, [("people", "for")]) == [(3, 4, "people")]
    assert located(twice, [("place", "for"), ("people", "for")]) == [(2, 3, "place"), (3, 4, "people")]
    nowhere = located(one, [("x", "blue"), ("x", "blue"), ("x", "")])
    assert not hits(one.spans, nowhere)
    assert len(set(nowhere)) == 3


def test_our_own():
    test, validation = made("test"), made("validation")
    assert (len(test), len(validation)) == (32, 16)
    assert not {one.text for one in test} & {one.text for one in validation}
    assert len({one.id for one in (*test, *validation)}) == 48
    assert {one.group for one in test[:4]} == {"music", "weather", "table", "list"}
    for group in ("music", "weather", "table", "list"):
        assert len({slot.label for one in test if one.group == group for slot in one.slots}) >= 4
    with pytest.raises(ValueError, match="got 'train'"):
        made("train")


def row(*pieces):
    return {"data": [{"text": text} | ({"entity": label} if label else {}) for text, label in pieces]}


def test_files_in_the_form_of_snips(tmp_path):
    rows = [row(("Café ", ""), (f"one {n}", "a"), (".", "")) for n in range(5)]
    (tmp_path / "validate_B.json").write_text(json.dumps({"B": rows}), "utf-8")
    (tmp_path / "validate_A.json").write_text(json.dumps({"A": rows[:1]}), "utf-8")
    (tmp_path / "train_A_full.json").write_bytes(
        json.dumps({"A": rows}, ensure_ascii=False).encode("latin-1").replace(b"one 1", "Música".encode())
    )
    found = read(tmp_path, "test")
    assert [one.id for one in found[:3]] == ["A-validate-0000", "B-validate-0000", "B-validate-0001"]
    assert found[1].tokens == ("Café", "one", "0", ".")
    assert read(tmp_path, "validation")[1].tokens == ("Café", "Música", ".")
    file = tmp_path / "validate_B.json"
    assert [len(read(file, split)) for split in ("test", "validation")] == [4, 1]
    file.write_text(json.dumps({"B": [{"text": "x"}]}))
    with pytest.raises(ValueError, match=r"validate_B.json is not in the form of SNIPS"):
        read(file, "test")
    file.write_text(json.dumps({"B": [row(("Play ", ""), ("  ", "track"))]}))
    with pytest.raises(ValueError, match="utterance 'B-validate-0000': the slot 'track' holds no text"):
        read(file, "test")
    with pytest.raises(ValueError, match=r"no folder with validate_\*.json"):
        read(tmp_path / "none", "test")
    with pytest.raises(ValueError, match="got 'dev'"):
        read(tmp_path, "dev")


def test_snips_as_it_lies():
    if not SNIPS.exists():
        pytest.skip(f"{SNIPS} is not here")
    for split, most in (("test", 600), ("validation", 11_000)):
        found = read(SNIPS, split)
        assert 400 < len(found) < most
        assert len({one.id for one in found}) == len(found)
        assert len({one.group for one in found}) == 5
    assert {"Cita Romántica", "Noctámbulo"} <= {slot.gold_clean for one in found for slot in one.slots}
