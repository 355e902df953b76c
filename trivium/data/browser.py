"""Pages of our own in a real browser: their elements are listed with their boxes, one is acted on, and the page itself
says whether the task was done.

The browser is Chromium, driven by playwright (the extra "layouts"). Nothing is fetched: pages are given as text, and
whatever one asks a network for is refused.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trivium.core.errors import MissingExtra
from trivium.core.optional import require
from trivium.data.elements import Element

_LIST = """() => {
  const kinds = {LABEL: "label", INPUT: "field", TEXTAREA: "field", SELECT: "field", BUTTON: "button", A: "link"};
  window.listed = [...document.querySelectorAll("label, input, textarea, select, button, a, h1, h2, p")].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(e).visibility !== "hidden";
  });
  return window.listed.map(e => {
    const box = e.getBoundingClientRect();
    const text = (e.innerText || e.getAttribute("placeholder") || e.getAttribute("aria-label") || "").trim();
    return [kinds[e.tagName] || "text", text, [box.left, box.top, box.width, box.height]];
  });
}"""


@dataclass(frozen=True)
class Goal:
    """What is to be done on a page: the instruction, what to type (nothing: click), and how the page tells that it was
    done, as an expression of its own script."""

    id: str
    page: str
    instruction: str
    done: str
    text: str = ""


STYLE = """<style>body { font: 16px sans-serif; margin: 20px } .grid { display: grid; gap: 14px 30px }
label, input, button, a, p { display: block } input { width: 180px; height: 24px } h2 { margin: 4px 0 }</style>"""


def _grid(columns: int, width: int, cells: str) -> str:
    return f"<div class='grid' style='grid-template-columns: repeat({columns}, {width}px)'>{cells}</div>"


def _form(columns: int, above: bool, names: Mapping[str, str], button: str) -> str:
    cells = "".join(
        f"<div style='display: {'block' if above else 'flex'}; gap: 10px'><label style='width: 100px'>{label}</label>"
        f"<input id='{name}'></div>"
        for name, label in names.items()
    )
    send = f"<button onclick=\"document.body.dataset.did = 'send'\">{button}</button>"
    return f"{STYLE}<h2>{button}</h2>{_grid(columns, 320, cells)}{send}"


def _cards(columns: int, goods: Mapping[str, str], verb: str) -> str:
    cells = "".join(
        f"<div><h2>{title}</h2><p>in stock</p>"
        f"<button onclick=\"document.body.dataset.did = '{name}'\">{verb}</button></div>"
        for name, title in goods.items()
    )
    return f"{STYLE}{_grid(columns, 200, cells)}"


def _menu(columns: Mapping[str, Mapping[str, str]]) -> str:
    cells = "".join(
        f"<div><h2>{heading}</h2>"
        + "".join(
            f"<a href='#' onclick=\"document.body.dataset.did = '{name}'; return false\">{text}</a>"
            for name, text in links.items()
        )
        + "</div>"
        for heading, links in columns.items()
    )
    return f"{STYLE}{_grid(len(columns), 180, cells)}"


PAGES: Mapping[str, str] = {
    "register": _form(
        2, True, {"first": "First name", "last": "Last name", "mail": "Email", "city": "City"}, "Register"
    ),
    "parcel": _form(
        1, False, {"street": "Street", "code": "Postcode", "weight": "Weight", "phone": "Phone"}, "Send parcel"
    ),
    "booking": _form(
        3,
        True,
        {"from": "From", "to": "To", "day": "Day", "seats": "Seats", "bags": "Bags", "name": "Name"},
        "Book seats",
    ),
    "shop": _cards(
        3, {"tea": "Teapot", "lamp": "Lantern", "book": "Notebook", "bag": "Backpack", "clock": "Clock"}, "Buy"
    ),
    "library": _cards(2, {"sea": "The Sea", "fox": "A Fox", "stars": "Stars", "bread": "Bread"}, "Borrow"),
    "site": _menu(
        {
            "Visit": {"hours": "Opening hours", "prices": "Prices", "map": "Map"},
            "Learn": {"talks": "Talks", "films": "Films", "courses": "Courses"},
            "Join": {"jobs": "Jobs", "gifts": "Gifts", "friends": "Friends"},
        }
    ),
}


def _typed(page: str, field: str, label: str, text: str) -> Goal:
    done = f"document.getElementById('{field}').value === '{text}'"
    return Goal(f"{page}-{field}", page, f"Type {text} as the {label}", done, text)


def _clicked(page: str, name: str, instruction: str) -> Goal:
    return Goal(f"{page}-{name}", page, instruction, f"document.body.dataset.did === '{name}'")


GOALS = (
    _typed("register", "last", "last name", "Lind"),
    _typed("register", "city", "city", "Bergen"),
    _clicked("register", "send", "Register"),
    _typed("parcel", "code", "postcode", "5003"),
    _typed("parcel", "phone", "phone", "555123"),
    _typed("booking", "to", "place to go to", "Lyon"),
    _typed("booking", "seats", "number of seats", "2"),
    _typed("booking", "name", "name", "Brook"),
    _clicked("shop", "lamp", "Buy the lantern"),
    _clicked("shop", "bag", "Buy the backpack"),
    _clicked("library", "stars", "Borrow the book Stars"),
    _clicked("library", "sea", "Borrow the book The Sea"),
    _clicked("site", "films", "Open the films"),
    _clicked("site", "prices", "See the prices"),
)


class Page:
    """A page that is open. ``elements``: what is seen of it, in the order of its document."""

    def __init__(self, page: Any, html: str) -> None:
        self._page = page
        page.set_content(html)
        self.elements = tuple(Element(kind, text, tuple(box)) for kind, text, box in page.evaluate(_LIST))

    def act(self, at: int, text: str = "") -> None:
        """Click on an element, and type a text into it where there is one. What cannot be typed into is clicked on."""
        if not 0 <= at < len(self.elements):
            raise ValueError(f"the page has elements 0 to {len(self.elements) - 1}, so none is {at}")
        handle = self._page.evaluate_handle("at => window.listed[at]", at).as_element()
        handle.click()
        if text and self.elements[at].kind == "field":
            handle.type(text)

    def done(self, goal: Goal) -> bool:
        """Whether the page finds the goal reached."""
        return bool(self._page.evaluate(goal.done))


def chromium() -> str | None:
    """Where a Chromium is that was installed by the system, if any."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """What opens pages, one after another; see ``browsing``."""

    def __init__(self, browser: Any) -> None:
        self._context = browser.new_context(viewport={"width": 1100, "height": 700}, offline=True)

    @contextmanager
    def open(self, name: str) -> Iterator[Page]:
        """One of our pages, new and untouched."""
        if name not in PAGES:
            raise ValueError(f"no page is called {name!r}; there are {', '.join(PAGES)}")
        page = self._context.new_page()
        try:
            yield Page(page, PAGES[name])
        finally:
            page.close()


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser without a window. Raises MissingExtra where there is none."""
    api = require("playwright.sync_api", extra="layouts", why="pages are opened in a real browser")
    arguments = ["--disable-gpu", "--disable-background-networking"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium refuses to run as root otherwise
    with api.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=chromium(), args=arguments)
        except api.Error as error:
            raise MissingExtra(
                "no Chromium can be started; install one, or run: playwright install chromium "
                f"({str(error).splitlines()[0]})"
            ) from None
        try:
            yield Browser(browser)
        finally:
            browser.close()
