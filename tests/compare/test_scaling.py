"""How contenders gain from a larger budget: slopes on lines that are known, and a comparison over three budgets."""

import json
import math

import pytest

from tests.compare.test_flows import CORPUS, LLAMA, OTHER, numbers, training
from trivium.compare.comparison import Comparison
from trivium.compare.report import markdown, page
from trivium.compare.scaling import Level, fit, rankings, scaling
from trivium.data.corpus import Corpus
from trivium.evaluation.bits_per_byte import BitsPerByte

BUDGETS = (1e9, 2e9, 4e9)


def levels(slopes: dict[str, float], wobble: float = 1e-3) -> list[Level]:
    """Power laws: 4 * budget ** -slope, a little off by seed, each contender in another way."""
    return [
        Level(
            amount,
            {
                name: {seed: (amount, 4 * amount ** -(slope + wobble * seed * (place + 1))) for seed in range(4)}
                for place, (name, slope) in enumerate(slopes.items())
            },
        )
        for amount in BUDGETS
    ]


def test_a_power_law_is_found_again():
    slope, intercept = fit([(amount, 3.0 * amount**-0.07) for amount in BUDGETS])
    assert slope == pytest.approx(0.07)
    assert intercept == pytest.approx(math.log(3.0))


def test_slopes_are_compared_seed_by_seed():
    found = scaling(levels({"base": 0.05, "steep": 0.08, "flat": 0.02}), "base", False, smoke=False)
    assert {name: round(line["mean"], 4) for name, line in found["slopes"].items()} == {
        "base": 0.0515, "steep": 0.083, "flat": 0.0245,
    }  # fmt: skip
    verdicts = {pair["a"]: pair["verdict"] for pair in found["pairs"]}
    assert verdicts == {"steep": "supported", "flat": "contradicted"}
    assert found["pairs"][0]["difference"] == pytest.approx(0.0315)
    points = found["points"]["steep"]
    assert [point["budget"] for point in points] == list(BUDGETS)
    assert points[0]["n"] == 4


def test_where_more_is_better_to_rise_faster_is_better():
    found = scaling(levels({"base": -0.05, "steep": -0.08}), "base", True, smoke=False)
    assert found["slopes"]["steep"]["mean"] < found["slopes"]["base"]["mean"] < 0
    assert [pair["verdict"] for pair in found["pairs"]] == ["supported"]
    assert found["orders"][-1]["order"] == ["steep", "base"]


def test_orders_that_cross_are_told():
    """The one that falls faster begins higher."""
    made = [
        Level(
            amount, {"early": {0: (amount, early), 1: (amount, early)}, "late": {0: (amount, late), 1: (amount, late)}}
        )
        for amount, early, late in zip(BUDGETS, (3.0, 2.9, 2.8), (3.2, 2.9001, 2.6), strict=True)
    ]
    orders = [one["order"][0] for one in scaling(made, "early", False, smoke=False)["orders"]]
    assert orders == ["early", "early", "late"]


def test_seeds_that_lack_a_budget_do_not_count_and_a_zero_has_no_slope():
    made = levels({"base": 0.05, "short": 0.05, "zero": 0.05})
    del made[1].found["short"][2]  # type: ignore[attr-defined]
    made[0].found["zero"][0] = (1e9, 0.0)  # type: ignore[index]
    found = scaling(made, "base", False, smoke=False)
    assert found["slopes"]["short"]["n"] == 3
    assert "zero" not in found["slopes"]
    assert len(found["points"]["zero"]) == 3
    assert {pair["a"]: pair["n"] for pair in found["pairs"]} == {"short": 3}


def test_one_budget_has_no_slope_and_a_smoke_test_no_verdict():
    assert scaling(levels({"base": 0.05})[:1], "base", False, smoke=False) == {}
    found = scaling(levels({"base": 0.05, "steep": 0.08}), "base", False, smoke=True)
    assert [pair["verdict"] for pair in found["pairs"]] == [""]


def test_orders_by_what_is_held_equal_are_read_off_the_curves():
    """b costs twice the seconds of a and learns more from each token."""
    rows = lambda rate, pace: [  # noqa: E731
        {"flops": n, "tokens": n, "seconds": n * pace, "bits_per_byte": 8.0 - rate * n} for n in range(1, 6)
    ]
    found = {one["axis"]: one for one in rankings({"a": {"0": rows(1.0, 1.0)}, "b": {"0": rows(1.2, 2.0)}})}
    assert found["tokens"]["order"] == ["b", "a"]
    assert found["tokens"]["at"] == 5
    assert found["tokens"]["values"] == pytest.approx([2.0, 3.0])
    assert found["seconds"]["order"] == ["a", "b"]
    assert found["seconds"]["at"] == 5
    assert found["seconds"]["values"] == pytest.approx([3.0, 8.0 - 1.2 * 2.5])
    assert rankings({"a": {"0": rows(1.0, 1.0)}}) == []
    assert rankings({"a": {"0": rows(1.0, 1.0)}, "b": {"0": []}}) == []


# A comparison over budgets ------------------------------------------------------------------------------------------

LONGER = Corpus("lines", {split: [f"{split} {n} " + "ab cd ef " * 4 for n in range(9)] for split in CORPUS.splits})


def asked(**given) -> Comparison:
    settings = {"budget": "8e6 flops", "seeds": 3, "baseline": LLAMA, "scales": (0.5, 0.25)} | given
    return Comparison(
        "architectures", [LLAMA, OTHER], system=training(corpus=LONGER), task=BitsPerByte(LONGER), **settings
    )


def test_each_contender_is_trained_at_each_share_of_the_budget(tmp_path):
    report = asked().run(tmp_path)
    trained = [r for r in numbers(tmp_path) if not r["example"]]
    assert len(trained) == 2 * 3 * 3
    for record in trained:
        share = {0: 0.25, 1: 0.5, None: 1.0}[record["trial"]]
        assert 0.6 * share * 8e6 < record["spent"]["flops"] <= share * 8e6 * 1.02
        assert record["phase"] == ("score" if record["trial"] is None else "scale")
    found = report.data["scaling"]
    assert [point["budget"] for point in found["points"]["llama"]] == [2e6, 4e6, 8e6]
    assert found["points"]["llama"][-1]["mean"] == pytest.approx(
        report.contender("llama")["measures"]["bits_per_byte"]["mean"]
    )
    assert {one["axis"] for one in report.data["rankings"]} == {"flops", "tokens", "seconds"}
    positions = report.data["positions"]["llama"]["0"]
    assert [point["position"] for point in positions] == [1, 3, 7, 15]
    assert report.contender("llama")["spent"]["state_bytes"]["median"] == 2 * 16 * 16 * 4  # keys and values, 16 places
    html, text = page(report.data), markdown(report.data)
    assert 'id="scaling"' in html
    assert 'id="positions"' in html
    assert "## Scaling" in text
    assert Comparison.load(tmp_path, task=BitsPerByte(LONGER), system=training(corpus=LONGER)).scales == (0.25, 0.5)


def test_a_budget_that_is_done_is_not_done_again(tmp_path):
    asked(seeds=1).run(tmp_path)
    file = tmp_path / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["trial"] != 1]
    file.write_bytes(b"".join(kept))
    asked(seeds=1).run(tmp_path)
    again = file.read_bytes().splitlines(keepends=True)
    assert again[: len(kept)] == kept
    assert {json.loads(line)["trial"] for line in again[len(kept) :]} == {1}
    assert len(again) == len(lines)


def test_more_tuning_trials_than_budgets(tmp_path):
    grid = {"learning_rate": [6e-3, 1e-9]}
    report = asked(seeds=1, trials=3, scales=(0.5,), tune={LLAMA: grid, OTHER: grid}).run(tmp_path)
    assert "learning_rate=0.006 is the greatest tried" in report.contender("llama")["note"]
    phases = [record["phase"] for record in numbers(tmp_path) if not record["example"]]
    assert {phase: phases.count(phase) for phase in phases} == {"tune": 2 * 3, "scale": 2, "score": 2}


@pytest.mark.parametrize(
    ("kind", "scales", "said"),
    [
        ("architectures", (0.5, 1.0), "a scale is a share of the budget between 0 and 1, which are left out; got 1.0"),
        ("architectures", (0.5, 0.5), "scales must differ"),
        ("decoding", (0.5,), "nothing is trained in a comparison of decoding"),
    ],
)
def test_scales_that_make_no_sense(kind, scales, said):
    with pytest.raises(ValueError, match=said):
        if kind == "architectures":
            Comparison(kind, [LLAMA], scales=scales)
        Comparison(kind, ["greedy"], system="tiny", scales=scales)
