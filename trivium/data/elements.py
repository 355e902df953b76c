"""Elements of a page with their boxes, the orders that they can be listed in, and pages that are made.

An order is a permutation: entry n is the element that stands at place n. What an element is called in a list is its
place there, so ids follow the order.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.optional import require
from trivium.core.seeds import numpy_generator

Kind = Literal["label", "field", "button", "link", "text"]
Order = list[int]


@dataclass(frozen=True)
class Element:
    """Something on a page. ``box``: left, top, width and height, in any unit.

    Raises ValueError for a box that is not finite or has a negative size.
    """

    kind: Kind
    text: str
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        if len(self.box) != 4 or not all(math.isfinite(number) for number in self.box):
            raise ValueError(f"the box of {self.kind} {self.text!r} must be four finite numbers, got {self.box}")
        if self.box[2] < 0 or self.box[3] < 0:
            raise ValueError(f"the box of {self.kind} {self.text!r} has a negative size: {self.box[2]} x {self.box[3]}")

    @property
    def centre(self) -> tuple[float, float]:
        left, top, width, height = self.box
        return left + width / 2, top + height / 2


@dataclass(frozen=True)
class Layout:
    """A page: its elements in the order of its document, and pairs of them that belong together, such as a label and
    its field."""

    id: str
    elements: tuple[Element, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    sort: str = ""


def listed(elements: Sequence[Element], order: Sequence[int], *, texts: bool = True) -> str:
    """One line per element: "[2] button Send". Without ``texts``, what an element says is left out."""
    lines = (f"[{place}] {elements[at].kind} {elements[at].text if texts else ''}" for place, at in enumerate(order))
    return "\n".join(line.rstrip() for line in lines)


# Orders ---------------------------------------------------------------------------------------------------------------


def document(elements: Sequence[Element], *, seed: int = 0) -> Order:
    """As the page's document has them."""
    return list(range(len(elements)))


def shuffled(elements: Sequence[Element], *, seed: int = 0) -> Order:
    """By lot."""
    return numpy_generator(seed, "order").permutation(len(elements)).tolist()


def raster(elements: Sequence[Element], *, seed: int = 0, tolerance: float = 0.0) -> Order:
    """From top to bottom by the centres, and from left to right in a row; of equals, as in the document.

    An element whose centre is no more than ``tolerance`` of the median height below that of a row's first one stands in
    its row.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is a share of an element's height, so 0 or more; got {tolerance}")
    if not elements:
        return []
    centres = np.array([one.centre for one in elements])
    slack = 1e-9 * float(np.ptp(centres, 0).max())  # what is as high but for rounding is as high
    slack += tolerance * float(np.median([one.box[3] for one in elements]))
    rows: list[list[int]] = []
    for at in np.argsort(centres[:, 1], kind="stable").tolist():
        if rows and centres[at, 1] - centres[rows[-1][0], 1] <= slack:
            rows[-1].append(at)
        else:
            rows.append([at])
    return [at for row in rows for at in sorted(row, key=lambda at: (centres[at, 0], at))]


def tsne(elements: Sequence[Element], *, seed: int = 0, boxes: bool = False) -> Order:
    """By the one coordinate of a t-SNE embedding of the centres, and with ``boxes`` of the sizes too, begun from their
    principal axis. Of its two directions, that which has the element nearest to the top left corner in its first half.
    Fewer than three elements are put in raster order.

    The learning rate is n / 12 (Belkina et al. 2019); scikit-learn takes 50 at least, which throws so few points about
    until an order by lot is as good.
    """
    count = len(elements)
    if count < 3:
        return raster(elements)
    manifold = require("sklearn.manifold", extra="layouts", why="t-SNE; the other orders need no extra")
    features = np.array([[*one.centre, *(one.box[2:] if boxes else ())] for one in elements])
    features = features - features.mean(0)
    spread = float(np.abs(features).max())
    if spread == 0:  # all in one place
        return raster(elements)
    embedding = manifold.TSNE(
        1,
        perplexity=min(30.0, (count - 1) / 3),
        learning_rate=count / 12,
        init="pca",
        method="exact",
        max_iter=500,
        random_state=seed,
    )
    line = embedding.fit_transform((features / spread).astype(np.float64))[:, 0]
    order = np.argsort(line, kind="stable").tolist()
    corner = int(np.argmin(features[:, 0] + features[:, 1]))
    return order if order.index(corner) <= (count - 1) / 2 else order[::-1]


ORDERS: Mapping[str, Callable[..., Order]] = {
    "document": document,
    "random": shuffled,
    "raster": raster,
    "rows": partial(raster, tolerance=0.5),
    "tsne": tsne,
}
"""Name -> order; "rows" is raster order that forgives half of an element's height."""


def ordered(name: str, elements: Sequence[Element], *, seed: int = 0) -> Order:
    """Raises UnknownName for an order that there is not."""
    if name not in ORDERS:
        raise UnknownName(f"no order is called {name!r}{did_you_mean(name, ORDERS)}")
    return ORDERS[name](elements, seed=seed)


# How good an order is -------------------------------------------------------------------------------------------------


def locality(elements: Sequence[Element], order: Sequence[int], neighbours: int = 3) -> float:
    """How many places lie between an element and each of those nearest to it on the page, in the mean; 0 for one."""
    count = len(elements)
    if count < 2:
        return 0.0
    centres = np.array([one.centre for one in elements])
    apart = np.linalg.norm(centres[:, None] - centres, axis=-1)
    np.fill_diagonal(apart, np.inf)
    near = np.argsort(apart, 1, kind="stable")[:, : min(neighbours, count - 1)]
    rank = np.argsort(np.asarray(order))
    return float(np.abs(rank[near] - rank[:, None]).mean())


def adjacent(pairs: Sequence[tuple[int, int]], order: Sequence[int]) -> float | None:
    """The share of pairs that stand side by side; None where there are none."""
    places = {at: place for place, at in enumerate(order)}
    return sum(abs(places[a] - places[b]) == 1 for a, b in pairs) / len(pairs) if pairs else None


# Pages that are made --------------------------------------------------------------------------------------------------

FIELDS = (
    "First name", "Last name", "Email", "Phone", "Street", "City", "Postcode", "Country", "Company", "Birthday",
    "Password", "Nickname", "Language", "Website", "Age", "Profession",
)  # fmt: skip
LINKS = (
    "Home", "News", "Prices", "Contact", "Help", "Sign in", "Sign out", "Basket", "Search", "Settings", "Downloads",
    "Forum", "Events", "Gallery", "Jobs", "Archive",
)  # fmt: skip
GOODS = (
    "Teapot", "Lantern", "Blanket", "Notebook", "Umbrella", "Backpack", "Clock", "Mirror", "Candle", "Basket", "Kettle",
    "Pillow",
)  # fmt: skip


def _some(words: Sequence[str], count: int, generator: np.random.Generator) -> list[str]:
    return [words[int(at)] for at in generator.permutation(len(words))[:count]]


def form(id: str, generator: np.random.Generator) -> Layout:
    """Labels and fields in one to three columns, each label to the left of its field or above it, and a button."""
    columns, above = int(generator.integers(1, 4)), bool(generator.integers(2))
    names = _some(FIELDS, int(generator.integers(5, 10)), generator)
    elements: list[Element] = []
    high = 60 if above else 36
    for at, name in enumerate(names):
        left, top = 20 + 320 * (at % columns), 40 + high * (at // columns)
        elements.append(Element("label", name, (left, top, 90, 20)))
        field = (left, top + 24, 200, 24) if above else (left + 100, top, 190, 20)
        elements.append(Element("field", "", field))
    bottom = 40 + high * -(-len(names) // columns)
    elements.append(Element("button", "Send", (20, bottom, 80, 28)))
    return Layout(id, tuple(elements), tuple((2 * at, 2 * at + 1) for at in range(len(names))), "form")


def menu(id: str, generator: np.random.Generator) -> Layout:
    """Columns of links, each under a heading."""
    columns = int(generator.integers(2, 5))
    links = _some(LINKS, columns * int(generator.integers(2, 5)), generator)
    each = len(links) // columns
    elements: list[Element] = []
    for column in range(columns):
        left = 20 + 180 * column
        elements.append(Element("text", f"Menu {column + 1}", (left, 20, 120, 28)))
        for row, link in enumerate(links[column * each : (column + 1) * each]):
            elements.append(Element("link", link, (left, 60 + 30 * row, 120, 20)))
    return Layout(id, tuple(elements), (), "menu")


def cards(id: str, generator: np.random.Generator) -> Layout:
    """A grid of goods, each with a title, a price and a button."""
    columns = int(generator.integers(2, 5))
    goods = _some(GOODS, int(generator.integers(4, 9)), generator)
    elements: list[Element] = []
    for at, name in enumerate(goods):
        left, top = 20 + 200 * (at % columns), 20 + 160 * (at // columns)
        elements.append(Element("text", name, (left, top, 160, 24)))
        elements.append(Element("text", f"{int(generator.integers(3, 90))} euros", (left, top + 40, 100, 20)))
        elements.append(Element("button", "Buy", (left, top + 80, 80, 28)))
    return Layout(id, tuple(elements), tuple((3 * at, 3 * at + 2) for at in range(len(goods))), "cards")


def layouts(count: int, *, seed: int = 0, sorts: Sequence[str] = ("form", "menu", "cards")) -> list[Layout]:
    """So many pages, the sorts in turn."""
    makers: Mapping[str, Callable[[str, np.random.Generator], Layout]] = {"form": form, "menu": menu, "cards": cards}
    made = []
    for number in range(count):
        sort = sorts[number % len(sorts)]
        made.append(makers[sort](f"{sort}-{number:03d}", numpy_generator(seed, "layout", sort, number)))
    return made
