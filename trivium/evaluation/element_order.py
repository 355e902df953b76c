"""Element order: does a model find the right element of a page when the elements are listed in another order?

Source
    Chi, Talwalkar, Donahue 2024, "The Impact of Element Ordering on LM Agent Performance", arXiv:2409.12089. Pages and
    goals are our own.
Equation
    answer = argmax over elements i of LL("i]" | list of the elements in an order, instruction, "element [")
    locality = mean over elements and their 3 nearest ones on the page of the places between them in the list
Shapes
    System and one goal -> an Observation with one number per order and measure
Cost
    Per goal and order one pass over the list and one over the ids; in a browser one page opened for each.
Caveats
    The same goal is asked in every order, so orders are compared on the same items; ids are the places in the list. A
    made page counts a goal as reached where the model names the element that the instruction means; in the browser the
    element is clicked on or typed into and the page's own script decides. Every goal takes one action: to plan, the
    harder part of the paper's tasks, is not asked. The text to type is given. Raster and t-SNE order use boxes alone;
    scikit-learn's learning rate for t-SNE was replaced (data.elements). Goals of one made page are a cluster. "Without
    text" lists the kinds of the elements in the document's order, as the paper ablates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.seeds import derive
from trivium.data import browser, elements, splits
from trivium.data.browser import Goal
from trivium.data.elements import Element, Order
from trivium.evaluation._together import absent, together
from trivium.evaluation.multiple_choice import credit
from trivium.models.scoring import Request, score

Pages = Literal["made", "browser"]
ORDERS = ("document", "random", "raster", "rows", "tsne")
SORTS = ("form", "cards")
"""Made pages that have pairs, and so goals."""


@dataclass(frozen=True)
class Asked:
    """A goal on a page: its instruction, the element that it means (in a browser the page knows), what belongs together
    on the page, and the goal itself where the page is a real one."""

    id: str
    page: str
    instruction: str
    elements: tuple[Element, ...]
    target: int | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    goal: Goal | None = None


def _measures() -> tuple[Measure, ...]:
    words = {"rows": "raster by rows", "tsne": "t-SNE"}
    found = [Measure(f"success_{name}", f"Success, {words.get(name, name)}") for name in ORDERS]
    found += [Measure("success_no_text", "Success, without text")]
    found += [Measure(f"logprob_{name}", f"Log-share of the right id, {words.get(name, name)}") for name in ORDERS]
    found += [Measure(f"locality_{name}", f"Locality index, {words.get(name, name)}", False) for name in ORDERS]
    return (*found, *(Measure(f"adjacent_{name}", f"Pairs side by side, {words.get(name, name)}") for name in ORDERS))


@method(title="Element order", source="arXiv:2409.12089", year=2024, needs=["causal"])
@dataclass(frozen=True)
class ElementOrder:
    """Goals on pages whose elements are listed in several orders."""

    pages: Pages = "made"
    """Layouts made by rules, or pages of our own in a real browser (the extra "layouts", and Chromium)."""
    items: int | None = 40
    """Goals at most; None takes all: of made pages as many as ``layouts`` have, two of each."""
    layouts: int = 40
    """Pages to make."""
    sorts: Sequence[str] = SORTS
    """Sorts of pages to make, in turn."""
    orders: Sequence[str] = ("document", "random", "raster", "rows")
    """Orders to list the elements in; "tsne" needs the extra "layouts"."""
    batch_size: int = 16
    """Lists per pass."""

    measures: ClassVar[Sequence[Measure]] = _measures()

    def __post_init__(self) -> None:
        if self.pages not in get_args(Pages):
            raise ValueError(f"pages must be one of {', '.join(get_args(Pages))}; got {self.pages!r}")
        for name in ("items", "layouts", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, known in (("orders", ORDERS), ("sorts", SORTS)):
            chosen = getattr(self, name)
            if isinstance(chosen, str) or not chosen or set(chosen) - set(known):
                raise ValueError(f"{name} must be some of {', '.join(known)}; got {chosen!r}")

    def goals(self, split: str) -> Sequence[Asked]:
        """Those of the split. A real browser has all of its goals in "test"."""
        splits.check(split)
        if split not in self._goals:
            self._goals[split] = self._made(split) if self.pages == "made" else self._opened(split)
        return self._goals[split][: self.items]

    @cached_property
    def _goals(self) -> dict[str, Sequence[Asked]]:
        return {}

    def _made(self, split: str) -> list[Asked]:
        found = []
        for page in elements.layouts(self.layouts, seed=0 if split == "test" else 1, sorts=self.sorts):
            for number, (label, field) in enumerate(page.pairs[:: max(len(page.pairs) - 1, 1)]):
                text = page.elements[label].text
                told = f"Type into the field {text}" if page.sort == "form" else f"Buy the {text.lower()}"
                id = f"{split}-{page.id}/{number}"
                found.append(Asked(id, f"{split}-{page.id}", told, page.elements, field, page.pairs))
        return found

    def _opened(self, split: str) -> list[Asked]:
        if split != "test":
            return []
        seen: dict[str, tuple[Element, ...]] = {}
        with browser.browsing() as running:
            for name in dict.fromkeys(goal.page for goal in browser.GOALS):
                with running.open(name) as page:
                    seen[name] = page.elements
        return [Asked(one.id, one.page, one.instruction, seen[one.page], goal=one) for one in browser.GOALS]

    def examples(self, split: str) -> list[Example]:
        """One per goal; those of one page are a cluster."""
        return [
            Example(one.id, one.instruction, cluster=one.page, fields={"split": split, "number": number})
            for number, one in enumerate(self.goals(split))
        ]

    def prompt(self, asked: Asked, order: Sequence[int], *, texts: bool = True) -> str:
        """The list of a page, and what is to be done on it."""
        return (
            f"A page has these elements:\n{elements.listed(asked.elements, order, texts=texts)}\n\n"
            f"Task: {asked.instruction}.\nThe task is done with element ["
        )

    def ordered(self, asked: Asked, name: str) -> Order:
        """The elements of a goal's page in an order; that by lot is another one for each goal."""
        return elements.ordered(name, asked.elements, seed=derive(0, asked.id) if name == "random" else 0)

    # Scoring ----------------------------------------------------------------------------------------------------------

    def score(self, system: Any, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @together
    def _scored(self, system: Any, split: str) -> list[Observation]:
        goals = self.goals(split)
        ways = [(name, True) for name in self.orders] + [("document", False)]
        orders = {(one.id, name): self.ordered(one, name) for one in goals for name in {name for name, _ in ways}}
        requests = [
            Request(self.prompt(one, orders[one.id, name], texts=texts), f"{place}]")
            for one in goals
            for name, texts in ways
            for place in range(len(one.elements))
        ]
        sums = iter([found.total for found in score(system, requests, batch_size=self.batch_size)])
        tables = {(one.id, *way): [next(sums) for _ in one.elements] for one in goals for way in ways}
        reached = self._reached(goals, orders, tables)
        observed = []
        for one in goals:
            values = {"success_no_text": reached[one.id, "document", False]}
            said = []
            for name in self.orders:
                order, numbers = orders[one.id, name], tables[one.id, name, True]
                values[f"success_{name}"] = reached[one.id, name, True]
                values[f"locality_{name}"] = elements.locality(one.elements, order)
                near = elements.adjacent(one.pairs, order)
                if near is not None:
                    values[f"adjacent_{name}"] = near
                if one.target is not None:
                    values[f"logprob_{name}"] = numbers[order.index(one.target)] - _logsum(numbers)
                taken = one.elements[order[numbers.index(max(numbers))]]
                said.append(f"{name}: {taken.kind} {taken.text}".rstrip())
            why = absent(self.measures, values, "the order was not asked for, or the page does not tell which is right")
            observed.append(Observation(values, {"text": "; ".join(said), "absent": why}))
        return observed

    def _reached(
        self,
        goals: Sequence[Asked],
        orders: dict[tuple[str, str], Order],
        tables: dict[tuple[str, str, bool], list[float]],
    ) -> dict[tuple[str, str, bool], float]:
        """Whether each goal was reached with the likeliest element; of several, each counts its share on a made page,
        and the first is taken in a browser."""
        if self.pages == "made":
            targets = {one.id: one.target for one in goals if one.target is not None}
            return {
                (id, name, texts): credit(numbers, orders[id, name].index(targets[id]))
                for (id, name, texts), numbers in tables.items()
            }
        found = {}
        by_id = {one.id: one.goal for one in goals}
        with browser.browsing() as running:
            for (id, name, texts), numbers in tables.items():
                goal = by_id[id]
                assert goal is not None
                with running.open(goal.page) as page:
                    page.act(orders[id, name][numbers.index(max(numbers))], goal.text)
                    found[id, name, texts] = float(page.done(goal))
        return found


def _logsum(numbers: Sequence[float]) -> float:
    peak = max(numbers)
    return peak + math.log(sum(math.exp(x - peak) for x in numbers))
