import copy
import re
import struct
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest

from tests.report import samples
from trivium.compare import report
from trivium.compare._report import charts, placing
from trivium.compare._report.looks import DARK, looks, theme
from trivium.compare._report.placing import LETTER, Span


def contrast(a: str, b: str) -> float:
    """WCAG 2 contrast of two #rrggbb colours."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def drawn():
    made, trained = samples.decoding(), samples.training()
    return {
        "tradeoff": charts.tradeoff(made, "logprob", "flops"),
        "tradeoff on a phone": charts.tradeoff(made, "logprob", "flops", charts.NARROW),
        "forest": charts.forest(made, "logprob"),
        "forest on a phone": charts.forest(made, "logprob", charts.NARROW),
        "curves": charts.curves(trained, "flops", "loss"),
    }


def test_every_drawing_is_one_labelled_picture_without_style_or_outside(drawn):
    for name, svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img", name
        assert len(root.get("aria-label")) > 20, name
        assert not re.search(r"style=|<style|href|url\(http|<script", svg), name


def test_drawings_are_as_wide_as_they_were_asked_to_be(drawn):
    for name, svg in drawn.items():
        most = charts.NARROW if "phone" in name else charts.WIDE
        assert 0.85 * most < float(ElementTree.fromstring(svg).get("width")) <= most + 24, name


def test_a_tooltip_per_contender_with_its_numbers(drawn):
    told = [node.text for node in ElementTree.fromstring(drawn["tradeoff"]).iter("title")]
    assert len(told) == len(samples.QUALITY)
    assert "beam_search: −0.51 [−0.65, −0.38] at 69.2 GFLOP, none is cheaper and better" in told
    assert "sampling: −1.71 [−1.85, −1.58] at 17.3 GFLOP" in told


def points(*found, better=True):
    """A report of one measure and one cost."""
    contenders = [
        {"name": name, "measures": {"m": {"mean": y}}, "spent": {"calls": {"median": x}}} for name, x, y in found
    ]
    return {"measures": [{"name": "m", "higher_is_better": better}], "contenders": contenders}


def test_the_frontier_by_hand():
    found = [("cheap", 1, 1), ("good", 5, 9), ("middle", 3, 4), ("worse", 3, 3), ("dear", 6, 9), ("bad", 2, 1)]
    assert charts.undominated(points(*found), "m", "calls") == ["cheap", "middle", "good"]
    low = [(name, x, -y) for name, x, y in found]
    assert charts.undominated(points(*low, better=False), "m", "calls") == ["cheap", "middle", "good"]
    assert charts.undominated(points(*found, better=None), "m", "calls") == []
    twins = [("one", 1, 1), ("two", 1, 1), ("none", None, 4), ("nan", 0.5, float("nan"))]
    assert charts.undominated(points(*twins), "m", "calls") == ["one", "two"]


def test_the_frontier_is_that_of_a_slow_loop():
    rng = np.random.default_rng(0)
    found = [(f"c{n}", int(x), int(y)) for n, (x, y) in enumerate(rng.integers(0, 6, (30, 2)))]
    beats = lambda a, b: a[1] <= b[1] and a[2] >= b[2] and (a[1] < b[1] or a[2] > b[2])  # noqa: E731
    free = {one[0] for one in found if not any(beats(other, one) for other in found)}
    assert set(charts.undominated(points(*found), "m", "calls")) == free


def test_the_frontier_is_ringed_and_told(drawn):
    root = ElementTree.fromstring(drawn["tradeoff"])
    best = charts.undominated(samples.decoding(), "logprob", "flops")
    assert 1 < len(best) < len(samples.QUALITY)
    assert root.get("aria-label").endswith(f"none is cheaper and better than {', '.join(best)}")
    assert sum("stroke-dasharray" in node.attrib for node in root.iter("path")) == 1
    rings = [node for node in root.iter("path") if node.get("stroke-width") == "1.6"]
    assert len(rings) == len(best)
    undirected = ElementTree.fromstring(charts.tradeoff(samples.decoding(), "diversity", "flops"))
    assert "none is cheaper" not in undirected.get("aria-label")
    assert not [node for node in undirected.iter("path") if node.get("stroke-width") == "1.6"]


def test_forest_names_every_verdict_and_figure(drawn):
    texts = [node.text for node in ElementTree.fromstring(drawn["forest"]).iter("text")]
    assert texts.count("contradicted") == 2 * 4  # each text stands on its halo
    assert texts.count("not visible at this scale") == 2 * 2
    assert "−1.09 [−1.20, −0.98]" in texts


def test_identifiers_differ_between_drawings_of_one_page(drawn):
    again = charts.curves(samples.training(), "flops", "bits_per_byte")
    found = [re.findall(r'\bid="([^"]+)"', svg) for svg in (drawn["curves"], again)]
    assert found[0]
    assert found[1]
    assert not set(found[0]) & set(found[1])
    for svg, ids in zip((drawn["curves"], again), found, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(ids)


def test_drawings_are_valid_vega_lite(monkeypatch):
    checked = []

    def validated(drawing, background="transparent"):
        with alt.data_transformers.disable_max_rows():
            checked.append(drawing.chart.to_dict(validate=True))
        return '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1" viewBox="0 0 1 1"/>'

    monkeypatch.setattr(charts, "_converted", validated)
    made, trained = samples.decoding(), samples.training()
    charts.tradeoff(made, "logprob", "flops")
    charts.forest(made, "logprob")
    charts.forest(made, "logprob", charts.NARROW)
    charts.curves(trained, "flops", "loss")
    charts.picture(made)
    assert len(checked) == 5


def test_nothing_to_draw_is_none_and_a_picture_of_it_an_error():
    made = samples.decoding()
    assert charts.tradeoff(made, "logprob", "parameters") is None
    assert charts.forest(made, "diversity") is None
    assert charts.curves(made, "flops", "loss") is None
    empty = {**made, "pairs": [], "contenders": made["contenders"][:1]}
    with pytest.raises(ValueError, match="nothing to draw in 'Decoding on smollm2-135m'"):
        charts.picture(empty)


def test_only_costs_that_differ_are_offered():
    assert charts.cost_units(samples.decoding()) == ["flops", "calls", "seconds", "peak_bytes"]
    alike = copy.deepcopy(samples.decoding())
    for contender in alike["contenders"]:
        contender["spent"] = {"new_tokens": {"median": 64.0}} if contender["spent"] else {}
    assert charts.cost_units(alike) == ["new_tokens"]


def test_a_look_of_its_own_for_each_of_forty_contenders():
    names = [f"c{i}" for i in range(40)]
    look = looks({"contenders": [{"name": name} for name in names], "baseline": "c7"})
    assert look["c7"].shape == "square"
    own = [colour for one in look.values() for colour in one.colours]
    assert len(own) == len(set(own))
    assert not set(own) & (set(DARK) - {look["c7"].colour, *(one.colour for one in look.values())})
    assert len({(one.shape, one.colour[:5]) for one in look.values()}) == 40


def test_colours_of_names_are_readable_on_paper_in_both_themes():
    report_of_nine = {"contenders": [{"name": str(i)} for i in range(9)], "baseline": "0"}
    rules = dict(re.findall(r"light-dark\((#\w+),(#\w+)\)", theme(looks(report_of_nine))))
    for one in looks(report_of_nine).values():
        assert contrast(one.colour, "#fefefe") >= 4.5, one
        assert contrast(rules[one.colour], DARK["#fefefe"]) >= 4.5, one


def test_names_beside_points_lie_apart_and_inside():
    rng = np.random.default_rng(0)
    for trial in range(20):
        points = rng.uniform(0.1, 0.9, (8, 2))
        rows = [
            {"name": "contender_" + str(i), "x": x, "y": y, "low": y, "high": y, "left": x, "right": x}
            for i, (x, y) in enumerate(points.tolist())
        ]
        placing.beside_points(rows, Span(0, 1), Span(0, 1), 900, 430)
        boxes = [
            placing._box((row["x"] * 900, (1 - row["y"]) * 430), (row["align"], row["dx"], row["dy"]), 11 * LETTER)
            for row in rows
        ]
        covered = sum(placing._overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert covered == 0, trial
        assert all(placing._outside(box, 900, 430) == 0 for box in boxes), trial


def test_names_at_line_ends_keep_their_order_and_distance():
    labels = [{"y": y} for y in (0.5, 0.51, 0.9, 0.0, 0.005)]
    placing.at_ends(labels, Span(0, 1), 300)
    heights = [(1 - row["y"]) * 300 + row["dy"] for row in labels]
    assert heights == sorted(heights)
    assert min(np.diff(heights)) >= 15 - 1e-9
    assert max(heights) <= 300 + 1e-9


def test_a_span_is_logarithmic_only_for_costs_that_differ_thirtyfold():
    assert Span.over([1, 31], costs=True).logarithmic
    assert not Span.over([1, 29], costs=True).logarithmic
    assert not Span.over([1, 31]).logarithmic
    assert not Span.over([0, 31], costs=True).logarithmic
    wide = Span(1, 100, True).widened(0.5)
    assert (wide.low, wide.high) == pytest.approx((0.1, 1000))
    assert wide.share(10) == pytest.approx(0.5)
    assert Span.over([3.0]).share(3.0) == pytest.approx(0.5)


def test_thinning_keeps_both_ends():
    points = [(float(i), 0.0) for i in range(1000)]
    kept = placing.thinned(points)
    assert len(kept) <= 241
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert placing.thinned([]) == []


def test_the_mean_line_is_the_mean_where_all_seeds_have_come():
    lines = [[(0.0, 1.0), (2.0, 3.0), (4.0, 5.0)], [(1.0, 4.0), (3.0, 0.0)]]
    assert charts._mean_line(lines) == [(2.0, (3.0 + 2.0) / 2)]


def test_picture_as_svg_and_png(tmp_path):
    made = samples.decoding()
    svg = report.chart_svg(made, tmp_path / "chart.svg", measure="repetition", unit="seconds")
    assert (tmp_path / "chart.svg").read_text(encoding="utf-8") == svg
    texts = [node.text for node in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "Decoding on smollm2-135m" in texts
    assert "held equal: 64 new tokens" in texts
    assert "repeated 4-grams" in texts
    report.chart_png(made, tmp_path / "chart.png", scale=1)
    head = (tmp_path / "chart.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, _ = struct.unpack(">II", head[16:24])
    assert 900 < width < 1100
