"""Measures of all outputs together: the value, its interval, what is paired, and how they reach the report."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.compare.fakes import Mean, Writes, system
from tests.compare.test_comparison import comparison
from trivium.compare.comparison import remake
from trivium.compare.pooled import Pooled
from trivium.core.nouns import Measure, Observation
from trivium.core.seeds import numpy_generator
from trivium.nn import mauve


@pytest.fixture(autouse=True)
def _no_page(monkeypatch):
    """Charts take longer than a run."""
    monkeypatch.setattr("trivium.compare.comparison.page", lambda data: "")


def drawn(seed, count=40, shift=0.0, width=4):
    made = torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift
    return {f"e{n:03d}": [row] for n, row in enumerate(made.tolist())}


def pooled(own, reference=None, cluster=None):
    reference = {e: rows[0] for e, rows in (reference or drawn(0)).items()}
    return Pooled("mauve", own, reference, cluster or {e: e for e in reference})


def test_the_value_is_mauve_in_bins_that_all_share():
    own = {"near": drawn(1), "far": drawn(2, shift=1.5)}
    made = pooled(own)
    everything = [rows[0] for part in (drawn(0), drawn(2, shift=1.5), drawn(1)) for rows in part.values()]
    bins = mauve.bins_for(40)
    labels = mauve.quantised(torch.tensor(everything).double(), bins, numpy_generator(0, "pooled", "mauve"))
    reference, far, near = (torch.bincount(part, minlength=bins).double() for part in labels.split(40))
    assert made.summary("near").mean == pytest.approx(float(mauve.area(near, reference)))
    assert made.summary("far").mean == pytest.approx(float(mauve.area(far, reference)))
    assert made.summary("near").mean > made.summary("far").mean + 0.3


def test_the_interval_holds_the_value_and_narrows_with_more_clusters():
    few, many = pooled({"a": drawn(1, 20)}, drawn(0, 20)), pooled({"a": drawn(1, 320)}, drawn(0, 320))
    widths = []
    for made in (few, many):
        found = made.summary("a")
        assert 0 <= found.low <= found.mean <= found.high <= 1
        widths.append(found.high - found.low)
    assert widths[1] < 0.6 * widths[0]
    assert few.summary("a").n == few.summary("a").clusters == 20


def test_a_difference_is_seen_where_there_is_one_and_none_between_equals():
    own = {"near": drawn(1), "far": drawn(2, shift=1.5), "copy": drawn(1)}
    made = pooled(own)
    pair = made.pair("near", "far")
    assert pair.interval.low > 0
    assert pair.p == pytest.approx(1 / 2001)
    assert pair.interval.mean == pytest.approx(made.summary("near").mean - made.summary("far").mean)
    back = made.pair("far", "near")
    assert (back.interval.mean, back.p) == (pytest.approx(-pair.interval.mean), pair.p)
    assert back.interval.low == pytest.approx(-pair.interval.high, abs=1e-9)
    same = made.pair("near", "copy")
    assert (same.interval.mean, same.interval.low, same.interval.high, same.p) == (0, 0, 0, 1.0)


def test_p_is_not_small_too_often_when_nothing_differs():
    found = [pooled({"a": drawn(10 + n), "b": drawn(500 + n)}).pair("a", "b").p for n in range(40)]
    assert sum(p < 0.05 for p in found) <= 6  # P(more) < 0.005 where p is uniform
    assert sum(p < 0.5 for p in found) >= 10


def test_seeds_of_an_example_share_its_weight():
    once, thrice = drawn(1), {e: rows * 3 for e, rows in drawn(1).items()}
    made = pooled({"once": once, "thrice": thrice})
    assert made.pair("once", "thrice").interval.mean == pytest.approx(0, abs=1e-12)


def test_copies_of_an_example_in_its_cluster_add_no_confidence():
    whole = {"a": drawn(1)}
    cluster = {e: f"c{n // 4}" for n, e in enumerate(drawn(0))}
    alone, together = pooled(whole).summary("a"), pooled(whole, cluster=cluster).summary("a")
    assert (alone.mean, together.clusters) == (together.mean, 10)
    reference = drawn(0, 10)
    copied = {f"{e}-{k}": rows for e, rows in reference.items() for k in range(4)}
    texts = {f"{e}-{k}": rows for e, rows in drawn(1, 10).items() for k in range(4)}
    found = pooled({"a": texts}, copied, {e: e.split("-")[0] for e in copied}).summary("a")
    apart = pooled({"a": texts}, copied).summary("a")
    assert found.high - found.low > 1.3 * (apart.high - apart.low)


def test_only_what_both_have_is_paired_and_too_few_have_no_value():
    half = dict(list(drawn(1).items())[:20])
    made = pooled({"whole": drawn(1), "half": half, "few": dict(list(half.items())[:9]), "none": {}})
    pair = made.pair("whole", "half")
    assert (pair.interval.n, pair.interval.mean) == (20, 0)
    assert made.summary("half").n == 20
    assert made.summary("few") is made.summary("none") is made.pair("whole", "few") is None
    assert pooled({"a": drawn(1, 9)}, drawn(0, 9)).summary("a") is None
    one = pooled({"a": drawn(1), "b": drawn(2)}, cluster=dict.fromkeys(drawn(0), "all")).summary("a")
    assert (one.low, one.high, one.clusters) == (None, None, 1)


@dataclass(frozen=True)
class Placed(Mean):
    """Outputs as points, set against a point that nobody writes."""

    count: int = 12
    measures: ClassVar[Sequence[Measure]] = (Measure("mauve", "MAUVE", True, pooled="mauve"), *Mean.measures)

    def score(self, system, example, output):
        seen = super().score(system, example, output)
        ids = output.row(0).double()
        noise = np.random.default_rng(int(example.id.split("-")[1])).normal(size=2)
        return replace(seen, vectors={"own": [float(ids.mean()), 10.0], "reference": [5.0 + noise[0], 10.0]})


def test_pooled_measures_reach_the_report_and_are_made_again_from_the_records(tmp_path):
    report = comparison([Writes(10), Writes(200)], task=Placed()).run(tmp_path)
    near, far = report.contender("Writes"), report.contender("Writes(top=200)")
    assert near["measures"]["mauve"]["mean"] > far["measures"]["mauve"]["mean"]
    assert near["measures"]["mauve"]["n"] == 12
    pair = next(pair for pair in report.data["pairs"] if pair["measure"] == "mauve")
    assert pair["verdict"] == "contradicted"
    assert pair["test"].startswith("swaps within clusters")
    assert remake(tmp_path).data["contenders"] == report.data["contenders"]
    record = json.loads((tmp_path / "records.jsonl").read_text().splitlines()[0])
    assert record["vectors"]["own"][1] == 10.0
    assert "vectors" not in json.dumps(report.data)


def test_a_vector_that_is_not_finite_is_a_failure(tmp_path):
    class Broken(Placed):
        def score(self, system, example, output):
            seen = super().score(system, example, output)
            return Observation(seen.values, vectors={"own": [float("nan")], "reference": [1.0]})

    report = comparison(task=Broken()).run(tmp_path)
    assert report.contender("Writes")["failed"][0]["message"] == "Writes gave a vector that is not finite on test-0"


def test_nobody_is_tuned_by_what_single_examples_do_not_have(tmp_path):
    with pytest.raises(ValueError, match="mauve of Placed is of all together"):
        comparison(task=Placed(), trials=2, tune={"Writes": {"top": [10, 11]}}).run(tmp_path)


def test_a_task_without_pooled_measures_keeps_no_vectors(tmp_path):
    comparison(system=system(), task=Mean()).run(tmp_path)
    assert b"vectors" not in (tmp_path / "records.jsonl").read_bytes()


def said(*pairs):
    return {f"e{n:03d}": [list(pair)] for n, pair in enumerate(pairs)}


def test_tables_of_labels_by_hand():
    """Said and right: of three labels, F1 2/3, 0 and 1; one of four items is said to be what it is not."""
    own, right = said((0, 0), (0, 1), (2, 2), (2, 2)), {f"e{n:03d}": [x, x] for n, x in enumerate((0, 1, 2, 2))}
    cluster = {example: example for example in right}
    values = {
        name: Pooled(name, {"a": own}, right, cluster).summary("a").mean
        for name in ("macro_f1", "matthews", "label_bias", "scaled_f1", "scaled_accuracy")
    }
    assert values == {
        "matthews": pytest.approx((3 * 4 - (2 * 1 + 2 * 2)) / ((16 - 8) * (16 - 6)) ** 0.5),
        "macro_f1": pytest.approx((2 / 3 + 0 + 1) / 3),
        "label_bias": pytest.approx(0.25),
        "scaled_f1": pytest.approx((2 / 3 + 0 + 1) / 3),  # of a reference that is right throughout
        "scaled_accuracy": pytest.approx(0.75),
    }
    worse = {f"e{n:03d}": [0, x] for n, x in enumerate((0, 1, 2, 2))}
    scaled = Pooled("scaled_f1", {"a": own}, worse, cluster).summary("a").mean
    assert scaled == pytest.approx((5 / 9) / ((2 * 1 / 5) / 3))


def test_macro_f1_of_two_contenders_is_paired():
    labels = [n % 3 for n in range(60)]
    right = {f"e{n:03d}": [x, x] for n, x in enumerate(labels)}
    good = said(*((x if n % 5 else (x + 1) % 3, x) for n, x in enumerate(labels)))
    bad = said(*((0, x) for x in labels))
    found = Pooled("macro_f1", {"a": good, "b": bad}, right, {e: e for e in right})
    seen = found.pair("a", "b")
    assert seen.interval.mean == pytest.approx(found.summary("a").mean - found.summary("b").mean)
    assert 0 < seen.interval.low < seen.interval.mean < seen.interval.high <= 1
    assert seen.p < 0.01
    assert found.pair("a", "a").interval.mean == 0.0


def test_a_share_of_nothing_is_bounded():
    """Of ten items the reference has one right: some resamples have none, and half of one is then taken."""
    reference = {f"e{n}": [n == 0, 1] for n in range(10)}
    found = Pooled("scaled_accuracy", {"a": {e: [[1, 1]] for e in reference}}, reference, {e: e for e in reference})
    seen = found.summary("a")
    assert seen.mean == pytest.approx(10.0)
    assert seen.high <= 30.0
