"""Element order by answerers that know the page, or take whatever stands first."""

import math
import re

import pytest

from tests.evaluation.oracles import of_bytes, scoring
from trivium.core.errors import MissingExtra
from trivium.data import browser, elements
from trivium.evaluation import element_order
from trivium.evaluation.element_order import ElementOrder


def lines(request):
    """The list of a prompt: place -> what stands there."""
    return dict(re.findall(r"^\[(\d+)\] (.*)$", request.context, re.MULTILINE))


def below(request):
    """Takes the field or button that follows the named label or title in the list: right where the list is in order."""
    seen = lines(request)
    wanted = re.findall(r"Task: (?:Type into the field|Buy the) (.*)\.\n", request.context)[0].lower()
    named = [int(place) for place, text in seen.items() if text.split(" ", 1)[-1].lower() == wanted]
    at = int(request.continuation[:-1])
    kinds = {int(place): text.split()[0] for place, text in seen.items()}
    after = [n for n in sorted(kinds) if named and n > named[0] and kinds[n] in ("field", "button")]
    return 0.0 if after[:1] == [at] else -5.0


def test_one_who_reads_on_is_right_in_the_documents_order_and_lost_in_one_by_lot(monkeypatch):
    monkeypatch.setattr(element_order, "score", scoring(below))
    task, system = ElementOrder(items=None, orders=("document", "random", "raster")), of_bytes()
    seen = [task.score(system, one).values for one in task.examples("test")]
    mean = {name: sum(one[name] for one in seen) / len(seen) for name in seen[0] if not name.startswith("adjacent")}
    assert mean["success_document"] == 1.0
    assert mean["success_random"] < 0.5 < mean["success_raster"] < 1.0
    assert mean["success_no_text"] < 0.2
    assert mean["locality_random"] > mean["locality_raster"] > mean["locality_document"]
    assert mean["logprob_document"] == max(mean["logprob_document"], mean["logprob_random"])


def test_ids_are_places_in_the_list(monkeypatch):
    """Who takes whatever is called 0 takes another element in every order."""
    monkeypatch.setattr(element_order, "score", scoring(lambda request: -float(request.continuation[:-1])))
    task = ElementOrder(items=6, orders=("document", "random"))
    system = of_bytes()
    for example, one in zip(task.examples("test"), task.goals("test"), strict=True):
        seen = task.score(system, example)
        for name in ("document", "random"):
            order = task.ordered(one, name)
            assert seen.values[f"success_{name}"] == float(order[0] == one.target)
            place, count = order.index(one.target), len(one.elements)
            total = math.log(sum(math.exp(-n) for n in range(count)))
            assert seen.values[f"logprob_{name}"] == pytest.approx(-place - total)
            assert f"{name}: {one.elements[order[0]].kind}" in seen.shown["text"]
    lots = {tuple(task.ordered(one, "random"))[:3] for one in task.goals("test")}
    assert len(lots) > 3  # another one for each goal


def test_scores_are_those_of_the_ids_behind_the_prompt():
    task, system = ElementOrder(items=2, orders=("rows",), batch_size=3), of_bytes()
    for example, one in zip(task.examples("test"), task.goals("test"), strict=True):
        seen, order = task.score(system, example).values, task.ordered(one, "rows")
        text = task.prompt(one, order)
        assert text.startswith("A page has these elements:\n[0] ")
        assert text.endswith(f"\n\nTask: {one.instruction}.\nThe task is done with element [")
        sums = [system.model.cost(text, f"{n}]") for n in range(len(order))]
        best, right = sums.index(max(sums)), order.index(one.target)
        assert seen["success_rows"] == float(best == right)
        assert seen["logprob_rows"] == pytest.approx(sums[right] - math.log(sum(math.exp(x) for x in sums)), abs=1e-4)


def test_who_has_no_opinion_has_a_share(monkeypatch):
    monkeypatch.setattr(element_order, "score", scoring(lambda request: -1.0))
    task = ElementOrder(items=1)
    seen = task.score(of_bytes(), task.examples("test")[0]).values
    assert seen["success_random"] == pytest.approx(1 / len(task.goals("test")[0].elements))


def test_goals():
    task = ElementOrder(items=None, layouts=10)
    goals = task.goals("test")
    assert len(goals) == 20
    assert {one.id for one in goals}.isdisjoint(one.id for one in task.goals("validation"))
    assert len({example.cluster for example in task.examples("test")}) == 10
    only = ElementOrder(items=None, layouts=4, sorts=("form",)).goals("test")
    assert [one.page[:9] for one in only] == ["test-form"] * 8
    for one in goals:
        assert one.elements[one.target].kind == ("field" if "Type" in one.instruction else "button")
        label = next(a for a, b in one.pairs if b == one.target)
        assert one.elements[label].text.lower() in one.instruction.lower()


def test_t_sne_is_an_order_among_others():
    pytest.importorskip("sklearn")
    task = ElementOrder(items=1, orders=("tsne",))
    seen = task.score(of_bytes(), task.examples("test")[0]).values
    assert {"success_tsne", "locality_tsne", "adjacent_tsne"} <= set(seen)
    assert "success_raster" in task.score(of_bytes(), task.examples("test")[0]).shown["absent"]
    assert set(element_order.ORDERS) == set(elements.ORDERS)


def test_the_page_in_the_browser_decides(monkeypatch):
    """Who knows the fields by the words of the goal reaches some goals; who takes the heading none."""
    pytest.importorskip("playwright")
    monkeypatch.setattr(element_order.browser, "GOALS", (browser.GOALS[8], browser.GOALS[12]))

    def named(request):
        text = lines(request).get(request.continuation[:-1], "")
        word = re.findall(r"(\w+)\.\nThe task", request.context)[0].lower()
        return 0.0 if text.startswith("link") and word in text.lower() else -1.0 - float(request.continuation[:-1])

    monkeypatch.setattr(element_order, "score", scoring(named))
    task, system = ElementOrder("browser", orders=("random",)), of_bytes()
    try:
        examples = task.examples("test")
    except MissingExtra as error:
        pytest.skip(str(error))
    seen = {one.id: task.score(system, one).values for one in examples}
    assert seen["site-films"]["success_random"] == 1.0
    assert seen["site-films"]["success_no_text"] == 0.0
    assert seen["shop-lamp"]["success_random"] == 0.0
    assert not [name for name in seen["shop-lamp"] if name.startswith(("logprob", "adjacent"))]
    assert task.examples("validation") == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pages": "paper"}, "pages must be one of made, browser; got 'paper'"),
        ({"items": 0}, "items must be at least 1"),
        ({"layouts": 0}, "layouts must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"orders": ("spiral",)}, "orders must be some of document, random, raster, rows, tsne"),
        ({"orders": ()}, "orders must be some of"),
        ({"sorts": ("menu",)}, "sorts must be some of form, cards; got"),
    ],
)
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ElementOrder(**settings)
    with pytest.raises(ValueError, match="got 'train'"):
        ElementOrder().examples("train")
