"""Orders of elements: permutations, by hand on grids, the same wherever the page lies."""

import numpy as np
import pytest

from trivium.core.errors import UnknownName
from trivium.data.elements import (
    ORDERS,
    Element,
    adjacent,
    document,
    layouts,
    listed,
    locality,
    ordered,
    raster,
    shuffled,
    tsne,
)


def at(x, y, width=10.0, height=10.0, kind="field", text=""):
    return Element(kind, text, (x - width / 2, y - height / 2, width, height))


def grid(columns, rows, step=50):
    return [at(step * x, step * y) for y in range(rows) for x in range(columns)]


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_is_a_permutation_and_the_same_again(name):
    if name == "tsne":
        pytest.importorskip("sklearn")
    for page in layouts(6):
        found = ordered(name, page.elements, seed=3)
        assert sorted(found) == list(range(len(page.elements)))
        assert found == ordered(name, page.elements, seed=3)
    assert ordered(name, []) == []
    assert ordered(name, [at(0, 0)]) == [0]


def test_raster_order_of_a_grid_is_row_by_row():
    cells = grid(4, 3)
    mixed = np.random.default_rng(0).permutation(12).tolist()
    assert [mixed[place] for place in raster([cells[one] for one in mixed])] == list(range(12))


def test_raster_by_hand():
    page = [at(100, 12), at(0, 10), at(0, 40), at(50, 40), at(50, 40)]
    assert raster(page) == [1, 0, 2, 3, 4]
    assert raster([at(100, 10), at(0, 12)]) == [0, 1]
    assert raster([at(100, 10), at(0, 12)], tolerance=0.5) == [1, 0]  # 2 is within half of a height of 10
    assert raster([at(100, 10), at(0, 16)], tolerance=0.5) == [0, 1]
    # A row is as high as its first element says, however many follow: 0, 4 and 8 are not one row of 5.
    assert raster([at(20, 0), at(10, 4), at(0, 8)], tolerance=0.5) == [1, 0, 2]
    with pytest.raises(ValueError, match="tolerance is a share of an element's height, so 0 or more; got -1"):
        raster(page, tolerance=-1)


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 1.0, 7.7])
def test_where_and_how_large_a_page_is_leaves_raster_order_as_it_was(scale):
    for page in layouts(12):
        moved = [
            Element(
                one.kind,
                one.text,
                (scale * one.box[0] - 3.3, scale * one.box[1] + 0.7, *(scale * s for s in one.box[2:])),
            )
            for one in page.elements
        ]
        for tolerance in (0.0, 0.5):
            assert raster(moved, tolerance=tolerance) == raster(page.elements, tolerance=tolerance)


def test_t_sne():
    pytest.importorskip("sklearn")
    column = [at(0, 50 * y) for y in (3, 0, 7, 1, 5, 2, 6, 4)]
    assert tsne(column) == [1, 3, 5, 0, 7, 4, 6, 2]  # from the top
    assert tsne(column[:2]) == raster(column[:2]) == [1, 0]
    assert tsne([at(5, 5)] * 4) == [0, 1, 2, 3]
    for page in layouts(3):
        found = tsne(page.elements)
        corner = min(range(len(found)), key=lambda n: sum(page.elements[n].centre))
        assert found.index(corner) <= (len(found) - 1) / 2
        lots = [locality(page.elements, shuffled(page.elements, seed=n)) for n in range(20)]
        assert locality(page.elements, found) < min(lots)
    wide = [at(10 * n, 0, width=1 + 400 * (n % 2)) for n in range(8)]
    assert tsne(wide, boxes=True) != tsne(wide)


def test_locality_by_hand():
    line = [at(10 * n, 0) for n in range(4)]
    assert locality(line, [0, 1, 2, 3]) == pytest.approx((1 + 2 + 3 + 1 + 1 + 2 + 1 + 1 + 2 + 1 + 2 + 3) / 12)
    assert locality(line, [0, 1, 2, 3], neighbours=1) == 1.0
    assert locality(line, [0, 2, 1, 3], neighbours=1) == pytest.approx((2 + 2 + 1 + 2) / 4)
    assert locality(line, [3, 0, 2, 1], neighbours=1) == pytest.approx((2 + 2 + 1 + 2) / 4)  # at places 1, 3, 2, 0
    assert locality(line[:1], [0]) == 0.0
    assert adjacent([(0, 1), (2, 3)], [1, 0, 2, 3]) == 1.0
    assert adjacent([(0, 1), (2, 3)], [0, 2, 1, 3]) == 0.0
    assert adjacent([], [0]) is None


def test_an_order_by_lot_is_the_worst():
    pages = layouts(30)
    means = {
        name: np.mean([locality(page.elements, ordered(name, page.elements)) for page in pages])
        for name in ("document", "random", "raster", "rows")
    }
    assert means["random"] > 1.3 * max(means["document"], means["raster"], means["rows"])
    assert means["document"] < means["raster"]


def test_lists_name_elements_by_their_place():
    page = [at(0, 0, kind="label", text="City"), at(0, 0), at(0, 0, kind="button", text="Send")]
    assert listed(page, [2, 0, 1]) == "[0] button Send\n[1] label City\n[2] field"
    assert listed(page, [2, 0, 1], texts=False) == "[0] button\n[1] label\n[2] field"


def test_pages():
    pages = layouts(9)
    assert [page.sort for page in pages[:3]] == ["form", "menu", "cards"]
    assert pages == layouts(9)
    assert pages != layouts(9, seed=1)
    assert len({page.id for page in pages}) == 9
    for page in layouts(60):
        assert len(page.elements) >= 6
        assert document(page.elements) == list(range(len(page.elements)))
        kinds = {"form": ("label", "field"), "cards": ("text", "button"), "menu": ()}[page.sort]
        assert {(page.elements[a].kind, page.elements[b].kind) for a, b in page.pairs} == ({kinds} if kinds else set())
        assert len({one.box for one in page.elements}) == len(page.elements)
    assert {page.sort for page in layouts(4, sorts=("menu",))} == {"menu"}


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0, float("nan"), 1, 1), "must be four finite numbers"),
        ((float("inf"), 0, 1, 1), "must be four finite numbers"),
        ((0, 0, 1), "must be four finite numbers"),
        ((0, 0, -1, 2), "has a negative size: -1 x 2"),
        ((0, 0, 1, -2), "has a negative size: 1 x -2"),
    ],
)
def test_bad_boxes_are_refused(box, said):
    with pytest.raises(ValueError, match=f"the box of button 'Go' {said}|button 'Go' {said}"):
        Element("button", "Go", box)


def test_unknown_orders_are_refused():
    with pytest.raises(UnknownName, match="no order is called 'rater'; did you mean 'raster'"):
        ordered("rater", [])
