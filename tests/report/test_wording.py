import math

import pytest

from trivium.compare._report import columns, wording
from trivium.compare.record import example_report

PAIR = {
    "a": "x",
    "b": "y",
    "measure": "m",
    "difference": -0.349,
    "low": -0.5,
    "high": -0.2,
    "p_holm": 0.0021,
    "detectable": 0.21,
}
LOWER = {"name": "m", "title": "repeats", "higher_is_better": False, "unit": "bits"}


@pytest.mark.parametrize(
    ("half", "decimals"), [(30.0, 0), (3.0, 1), (0.3, 2), (0.12, 2), (0.096, 3), (0.0004, 5), (1e-12, 6)]
)
def test_a_measure_shows_two_figures_of_its_interval(half, decimals):
    assert wording.measure_scale([1.0], [half]).decimals == decimals


def test_numbers_are_written_with_a_true_minus_and_no_negative_zero():
    scale = wording.Scale(decimals=2)
    assert scale(-1.234) == "−1.23"
    assert scale(0.5, sign=True) == "+0.50"
    assert scale(-0.001, sign=True) == "0.00"
    assert scale(1234.5) == "1,234.50"


@pytest.mark.parametrize("nothing", [None, math.nan, math.inf, "1", True])
def test_what_is_no_number_is_a_dash(nothing):
    assert wording.Scale()(nothing) == "—"


@pytest.mark.parametrize(
    ("unit", "values", "written", "suffix"),
    [
        ("flops", [1.73e10, 6.9e10], ["17.3", "69.0"], "GFLOP"),
        ("flops", [3e9, 1.2e12], ["0.0030", "1.2000"], "TFLOP"),
        ("seconds", [0.0021, 0.0034], ["2.10", "3.40"], "ms"),
        ("seconds", [410.0, 2300.0], ["410", "2,300"], "s"),
        ("peak_bytes", [41_000_000, 95_400_000], ["41.0", "95.4"], "MB"),
        ("calls", [64, 12_800], ["64", "12,800"], ""),
        ("parameters", [3_100_000], ["3.10"], "million"),
    ],
)
def test_costs_share_one_prefix_per_column(unit, values, written, suffix):
    scale = wording.cost_scale(unit, values)
    assert [scale(value) for value in values] == written
    assert scale.suffix == suffix


@pytest.mark.parametrize(("p", "text"), [(0.0004, "p < 0.001"), (0.0042, "p = 0.0042"), (0.42, "p = 0.42"), (None, "")])
def test_p_values(p, text):
    assert wording.p_value(p) == text


@pytest.mark.parametrize(
    ("verdict", "better", "words"),
    [
        ("supported", False, "x is better than y in repeats"),
        ("contradicted", True, "x is worse than y in repeats"),
        ("not visible at this scale", False, "no difference seen between x and y in repeats"),
        (None, False, "x minus y in repeats"),
    ],
)
def test_a_verdict_in_words(verdict, better, words):
    assert wording.claim({**PAIR, "verdict": verdict}, {**LOWER, "higher_is_better": better}) == words


def test_titles_are_lowered_within_a_sentence_but_abbreviations_are_not():
    pair = {**PAIR, "verdict": "supported"}
    assert wording.claim(pair, {**LOWER, "title": "Repeated 4-grams"}).endswith("in repeated 4-grams")
    assert wording.claim(pair, {**LOWER, "title": "ROUGE-L"}).endswith("in ROUGE-L")


def test_figures_and_what_could_not_be_seen():
    assert wording.figures(PAIR, LOWER) == "−0.35 [−0.50, −0.20] bits"
    assert wording.detectable({**PAIR, "verdict": "not visible at this scale"}, LOWER) == (
        "less than 0.21 bits would rarely be seen"
    )  # fmt: skip
    assert wording.detectable({**PAIR, "verdict": "supported"}, LOWER) == ""


def test_failures_say_what_where_and_how_often():
    failed = [{"example": "chat-1", "seed": 0, "type": "NotFinite", "message": "NaN logits", "count": 3}]
    assert wording.failures({"failed": failed}) == ["NotFinite: NaN logits at example chat-1, seed 0 (3 times)"]


def test_columns_are_measures_then_costs_with_the_equal_one_first():
    shown = columns.columns(example_report())
    assert [column.name for column in shown] == ["logprob", "repetition", "new_tokens", "seconds", "calls"]
    assert [column.aside for column in shown] == ["higher is better", "lower is better", "held equal", "", ""]
    assert [column.best_first for column in shown] == ["descending", "ascending", "ascending", "ascending", "ascending"]
    assert shown[0].cell(example_report()["contenders"][0]) == ("−1.00", "[−1.20, −0.80]")


def test_findings_come_by_measure_and_supported_first():
    report = example_report()
    extra = {**report["pairs"][1], "verdict": "supported", "a": "speculative"}
    report["pairs"].append(extra)
    order = [(measure["name"], pair["verdict"]) for pair, measure in columns.judged(report)]
    assert order == [
        ("logprob", "supported"), ("logprob", "not visible at this scale"), ("repetition", "supported"),
    ]  # fmt: skip


def test_facts_say_what_was_equal_and_what_all_of_it_cost():
    facts = dict(columns.facts({**example_report(), "curves": {}}))
    assert facts["held equal"] == "64 new tokens per example, within 2 %"
    assert facts["spent in all"] == "118 s"  # 24 times 2.0 and 24 times 2.9
    assert facts["task"] == "continuation, 2 examples"


def test_nested_provenance_becomes_lines():
    assert columns.flat({"a_b": {"c": [1, 2], "d": None}, "e": True}) == [("a b: c", "1, 2"), ("e", "yes")]
