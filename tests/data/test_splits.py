"""Parts of a file that has no splits of its own."""

import pytest

from trivium.data import splits


def test_by_hand():
    found = list(range(10))
    assert splits.part(found, 4, "test") == [0, 1, 2, 3]
    assert splits.part(found, 4, "validation") == [4, 5]
    assert splits.part(found, 3, "validation") == [3, 4]  # half of three, rounded up
    assert splits.part(found, 9, "validation") == [9]  # as many as are left
    assert splits.part(found, None, "test") == found
    assert splits.part(found, None, "validation") == []
    assert [splits.half(items) for items in (1, 2, 3)] == [1, 1, 2]


@pytest.mark.parametrize("items", [1, 4, 7, 30])
def test_parts_have_nothing_in_common(items):
    found = tuple(range(20))
    assert not set(splits.part(found, items, "test")) & set(splits.part(found, items, "validation"))


def test_other_splits_are_refused():
    for items in (None, 2):
        with pytest.raises(ValueError, match="the splits are 'validation' and 'test', got 'train'"):
            splits.part([1, 2], items, "train")
