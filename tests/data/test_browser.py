"""Our own pages in a real browser, where there is one: what is listed is there, and what is done is done."""

import pytest

from trivium.core.errors import MissingExtra
from trivium.data.browser import GOALS, PAGES, browsing


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright")
    try:
        with browsing() as running:
            yield running
    except MissingExtra as error:
        pytest.skip(str(error))


def test_what_is_seen_of_a_page(browser):
    with browser.open("register") as page:
        kinds = [one.kind for one in page.elements]
        assert kinds == ["text", *["label", "field"] * 4, "button"]
        assert [one.text for one in page.elements if one.kind == "label"] == [
            "First name",
            "Last name",
            "Email",
            "City",
        ]
        labels = [one for one in page.elements if one.kind == "label"]
        fields = [one for one in page.elements if one.kind == "field"]
        for label, field in zip(labels, fields, strict=True):
            assert label.box[0] == field.box[0]  # the field is below its label
            assert label.box[1] < field.box[1] < label.box[1] + 60
        assert labels[0].box[1] == labels[1].box[1]
        assert labels[0].box[0] < labels[1].box[0]


RIGHT = {
    "register-last": 4, "register-city": 8, "register-send": 9, "parcel-code": 4, "parcel-phone": 8, "booking-to": 4,
    "booking-seats": 8, "booking-name": 12, "shop-lamp": 5, "shop-bag": 11, "library-stars": 8, "library-sea": 2,
    "site-films": 6, "site-prices": 2,
}  # fmt: skip
"""The element of each goal, counted by hand."""


def reached(browser, goal):
    """By the right element only, from a page on which nothing was done."""
    with browser.open(goal.page) as page:
        assert not page.done(goal)
        page.act(0, goal.text)
        assert not page.done(goal)
        page.act(RIGHT[goal.id], goal.text)
        assert page.done(goal)
    with browser.open(goal.page) as page:
        assert not page.done(goal)


@pytest.mark.parametrize("id", ["register-city", "shop-lamp"])
def test_a_goal_is_reached_by_the_right_element_only(browser, id):
    reached(browser, next(goal for goal in GOALS if goal.id == id))


@pytest.mark.slow
@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.id)
def test_every_goal_is(browser, goal):
    reached(browser, goal)


def test_pages_and_goals(browser):
    assert {goal.page for goal in GOALS} == set(PAGES)
    assert [goal.id for goal in GOALS] == list(RIGHT)
    with browser.open("site") as page, pytest.raises(ValueError, match="the page has elements 0 to 11, so none is 99"):
        page.act(99)
    with pytest.raises(ValueError, match="no page is called 'x'; there are register, "), browser.open("x"):
        pass


def test_pages_ask_no_network():
    assert not any(word in html for html in PAGES.values() for word in ("http", "src=", "@import"))
