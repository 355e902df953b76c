"""Measures that are compared by ratios, batches as examples, and times that are measured again and again."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from tests.compare.fakes import Mean, Writes, system
from trivium.compare._report import wording
from trivium.compare.comparison import Comparison
from trivium.core.nouns import Example, Measure, Observation

TIMES = {0: 1.0, 1: 100.0, 2: 2.0}  # of which 2 is the median


@dataclass(frozen=True)
class Speed(Mean):
    """'Measures' seconds that depend on the contender, the example and the repeat."""

    timed: ClassVar[bool] = True
    measures: ClassVar[Sequence[Measure]] = (Measure("speed", "Speed", True, ratio=True),)
    runs: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def run(self, decoder, system, example, limit, generator):
        self.runs.append((decoder.top, limit))
        return decoder(system.model, system.prompt(example.text), limit=limit, generator=generator)

    def score(self, system, example, output):
        repeat = TIMES[(len(self.runs) - 1) // 16]  # two contenders on eight examples
        size = int(example.id.rpartition("-")[2]) + 1
        return Observation({"speed": repeat * size * (3 if self.runs[-1][0] == 14 else 1)})


@pytest.fixture
def report(tmp_path):
    task = Speed(groups=True)
    made = Comparison("decoding", [Writes(10), Writes(14)], system(), task, "6 new_tokens", 3, Writes(10))
    return made.run(tmp_path / "run")


def test_means_are_geometric_over_the_medians_of_repeats(report):
    sizes = math.exp(sum(math.log(n) for n in range(1, 9)) / 8)
    slow, fast = report.data["contenders"]
    assert slow["measures"]["speed"]["mean"] == pytest.approx(2 * sizes)
    assert fast["measures"]["speed"]["mean"] == pytest.approx(6 * sizes)
    even = math.exp(sum(math.log(n) for n in (1, 3, 5, 7)) / 4)
    assert slow["by_group"]["even"]["speed"] == pytest.approx(2 * even)


def test_differences_are_ratios_in_the_report_and_in_words(report):
    (pair,) = report.data["pairs"]
    assert [pair[key] for key in ("difference", "low", "high")] == pytest.approx([3, 3, 3])
    assert pair["verdict"] == "supported"
    measure = report.data["measures"][0]
    assert measure["ratio"] is True
    assert wording.figures(pair | {"low": 2.5, "high": 3.5}, measure) == "× 3.00 [2.50, 3.50]"
    assert "× 3.00" in (report.folder / "report.md").read_text()
    assert "Ratio in Speed" in report.page.read_text()


def test_what_is_timed_is_done_again_though_nothing_is_drawn(tmp_path):
    @dataclass(frozen=True)
    class Still(Writes):
        def __call__(self, model, prompt, *, limit, generator, mask=None, stop=None):
            return super().__call__(model, prompt, limit=limit, generator=torch.Generator())

    for timed in (False, True):
        task = Speed(count=2) if timed else Mean(count=2)
        made = Comparison("decoding", [Still()], system(), task, "6 new_tokens", 3, Still())
        records = made.run(tmp_path / str(timed)).folder / "records.jsonl"
        assert sum("repeats" in line for line in records.read_text().splitlines()) == (0 if timed else 4)


def test_the_budget_of_a_batch_is_for_each_row(tmp_path):
    @dataclass(frozen=True)
    class Rows(Mean):
        def examples(self, split):
            return [Example("one", "a"), Example("four", "b", fields={"rows": 4})]

    made = Comparison("decoding", [Writes(10), Writes(10, tokens=24)], system(), Rows(), "6 new_tokens", 1, Writes(10))
    failed = {row["config"]: row["failed"] for row in made.run(tmp_path / "run").data["contenders"]}
    assert failed["Writes"] == []
    assert [entry["example"] for entry in failed["Writes(tokens=24)"]] == ["one"]


def test_a_contender_says_itself_what_it_lacks(tmp_path):
    @dataclass(frozen=True)
    class Picky(Writes):
        def lacks(self, model):
            return ("a model of another kind",)

    report = Comparison("decoding", [Writes(10), Picky()], system(), Mean(), "6 new_tokens", 1, Writes(10)).run(
        tmp_path / "run"
    )
    assert [row["note"] for row in report.data["contenders"]] == ["", "not applicable, needs a model of another kind"]
