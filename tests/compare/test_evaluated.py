"""Models put to several tasks: records, resumption, cells that say why they are empty, pairs, win rates, the page."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

from tests.compare.fakes import system
from trivium.compare import batteries, evaluated, findings
from trivium.compare.checklist import checklist, missing
from trivium.compare.comparison import Comparison, remake
from trivium.compare.models import Models, Named, contender
from trivium.compare.pooled_rows import PooledRows
from trivium.compare.report import page
from trivium.core.errors import NotOffered, UnknownName
from trivium.core.nouns import Example, Measure, Observation
from trivium.evaluation import _harness
from trivium.evaluation.battery import Battery
from trivium.evaluation.harness_task import HarnessTask
from trivium.evaluation.multiple_choice import MultipleChoice
from trivium.evaluation.recall import Recall


@dataclass(frozen=True)
class Says:
    """A yes or no by the model's name: 'strong' is right but once in four, 'weak' wrong but once in four."""

    count: int = 24
    fails: str = ""
    lacks: str = ""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("right", "Right", True, binary=True),
        Measure("ece", "Calibration error", False, pooled="ece_mass"),
        Measure("never", "Never measured", True),
    )

    def examples(self, split: str) -> list[Example]:
        return [Example(f"{n}", f"question {n}") for n in range(self.count)]

    def score(self, system, example, output=None) -> Observation:
        if system.name == self.fails:
            raise ValueError("this one is refused")
        if system.name == self.lacks:
            raise NotOffered("needs gradients")
        often = system.name == "strong"
        right = float((int(example.id) % 4 != 0) == often)
        shown = {"absent": {"never": "it is never measured"}, "choices": [
            {"text": " a", "tokens": [[" <b>", -0.1]], "right": True, "taken": True}]}  # fmt: skip
        return Observation({"right": right}, shown, {"calibration": (0.75 if often else 0.25, right)})


STRONG, WEAK = system(name="strong"), system(name="weak")


def run(folder, *, task=None, **given):
    contenders = given.pop("contenders", [STRONG, WEAK])
    return Comparison("evaluation", contenders, task=task or [Says()], seeds=1, **given).run(folder)


def test_two_models_on_the_same_items(tmp_path):
    report = run(tmp_path)
    strong, weak = report.contender("strong")["measures"], report.contender("weak")["measures"]
    assert strong["Says.right"]["mean"] == 0.75
    assert weak["Says.right"]["mean"] == 0.25
    assert strong["Says.right"]["low"] == pytest.approx(0.5510, abs=1e-3)  # Wilson, 18 of 24
    assert strong["Says.ece"]["mean"] == weak["Says.ece"]["mean"] == pytest.approx(0.0)
    assert (strong["win_rate"]["mean"], weak["win_rate"]["mean"]) == (1.0, 0.0)
    (pair,) = report.data["pairs"]  # the leading measure alone is the family
    assert (pair["a"], pair["b"], pair["measure"]) == ("weak", "strong", "Says.right")
    assert (pair["test"], pair["verdict"], pair["difference"]) == ("exact McNemar", "contradicted", -0.5)
    assert pair["p"] == pytest.approx(2 * sum(__import__("math").comb(24, k) for k in range(7)) / 2**24)


def test_several_tasks_are_corrected_together(tmp_path):
    tasks = Battery((Says(), Says(12)), ("long", "short"))
    pairs = {pair["measure"]: pair for pair in run(tmp_path, task=tasks).data["pairs"]}
    assert set(pairs) == {"long.right", "short.right"}
    low, high = sorted(pairs.values(), key=lambda pair: pair["p"])
    assert low["p_holm"] == pytest.approx(2 * low["p"])
    assert high["p_holm"] == pytest.approx(max(high["p"], low["p_holm"]))


def test_empty_cells_say_why(tmp_path):
    tasks = Battery((Says(), Says(12, fails="weak"), Says(10, lacks="weak")), ("a", "b", "c"))
    report = run(tmp_path, task=tasks)
    absent = report.contender("weak")["absent"]
    assert absent["a.never"] == {"word": "not applicable", "why": "it is never measured"}
    assert absent["b.right"] == {"word": "failed", "why": "this one is refused (12 of 12 that failed)"}
    assert absent["c.right"] == {"word": "not applicable", "why": "needs gradients"}
    assert "a.right" not in absent
    assert report.contender("strong")["absent"].keys() == {"a.never", "b.never", "c.never"}
    verdicts = {pair["measure"]: pair["verdict"] for pair in report.data["pairs"]}
    assert verdicts == {"a.right": "contradicted"}  # what failed elsewhere takes no verdict from here
    assert report.contender("weak")["measures"]["win_rate"]["mean"] == 0.0
    text = (tmp_path / "report.md").read_text()
    assert "needs gradients" in text
    assert "12 of 34 failed" not in report.contender("weak")["note"] or "ValueError" in report.contender("weak")["note"]


def test_win_rates_add_up_and_a_tie_is_a_half():
    measures = [{"name": "x", "higher_is_better": True}, {"name": "y", "higher_is_better": False}]
    values = {m: {"x": {"mean": x}, "y": {"mean": y}} for m, x, y in (("a", 3, 1), ("b", 2, 1), ("c", 1, 5))}
    rates = evaluated.win_rates(values, measures, ["x", "y"])
    assert rates == {"a": (1 + 0.75) / 2, "b": (0.5 + 0.75) / 2, "c": 0.0}
    assert sum(rates.values()) == pytest.approx(3 / 2)
    assert evaluated.win_rates({"a": values["a"]}, measures, ["x", "y"]) == {}


def test_tables_come_from_the_records_alone(tmp_path):
    report = run(tmp_path)
    again = remake(tmp_path)
    assert again.data == report.data
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert all(line["output"]["prompt"].startswith("question") for line in lines)
    assert sum(line["values"]["Says.right"] for line in lines if line["contender"] == "strong") / 24 == 0.75


def test_a_killed_run_goes_on_and_asks_nothing_twice(tmp_path):
    """Killed in the midst of a task's answers, it ends with the numbers of a run that was not."""
    code = f"""
import os, sys
from trivium.models import answers
from trivium.compare.comparison import Comparison
put, count = answers.AnswerCache.put, [0]
def dies(self, *given):
    put(self, *given)
    count[0] += 1
    if count[0] == 20:
        os.kill(os.getpid(), 9)
answers.AnswerCache.put = dies
Comparison("evaluation", ["tiny"], task=["multiple_choice(items=6)"], seeds=1).run({str(tmp_path / "killed")!r})
"""
    died = subprocess.run([sys.executable, "-c", code], check=False)
    assert died.returncode == -9
    (kept,) = (tmp_path / "killed" / "answers").glob("*.jsonl")
    before = kept.read_bytes().splitlines()
    assert len(before) == 21
    ask = lambda place: Comparison("evaluation", ["tiny"], task=["multiple_choice(items=6)"], seeds=1).run(place)  # noqa: E731
    went_on, whole = ask(tmp_path / "killed"), ask(tmp_path / "whole")
    after = kept.read_bytes().splitlines()
    assert after[:21] == before
    assert len(set(after)) == len(after)
    for name, found in whole.contender("tiny")["measures"].items():
        assert went_on.contender("tiny")["measures"][name]["mean"] == pytest.approx(found["mean"], abs=1e-5), name
    loaded = Comparison.load(tmp_path / "whole")
    assert loaded.run(tmp_path / "whole").data["contenders"] == whole.data["contenders"]


def test_the_page(tmp_path):
    html = page(run(tmp_path).data)
    for part in (
        "Tasks by metrics",
        "Task by task",
        "Calibration",
        "Checklist",
        "share of right answers over confidence",
    ):
        assert part in html
    assert "\\u003cb" in html
    assert " <b>" not in html
    assert html.count("missing</span>") == len(missing(run(tmp_path).data["checklist"]))


def test_the_checklist_says_what_is_missing(tmp_path):
    data = run(tmp_path).data
    answers = {one["question"]: one["answer"] for one in data["checklist"]}
    assert {one["topic"] for one in data["checklist"]} >= {"data", "model", "prompt", "baselines", "limits"}
    assert len({one["topic"] for one in data["checklist"]}) == 10
    assert answers["In which number format?"] == "strong: float32; weak: float32"
    assert answers["Under which licence?"] == ""
    shown = json.loads((tmp_path / "comparison.json").read_text())["shown"]
    without = {**data, "provenance": {}}
    lost = {one["question"] for one in missing(checklist(shown, without))}
    assert "Are the examples those that were meant?" in lost
    told = {**data, "tasks": {"Says": {**data["tasks"]["Says"], "said": {"licence": "CC0"}}}}
    assert "Says: CC0" in {one["answer"] for one in checklist(shown, told)}


# Contenders -----------------------------------------------------------------------------------------------------------


def test_models_as_text():
    assert contender("tiny") == Named("tiny")
    named = Named.read("runs/mine(dtype='bfloat16', compile=True)")
    assert named == Named("runs/mine", "bfloat16", compile=True)
    assert Named.read(named.described) == named
    assert Named("tiny").described == "tiny"
    with pytest.raises(ValueError, match="a model is a folder"):
        Named.read(" ")
    with pytest.raises(UnknownName, match="no field 'dtypes'"):
        Named.read("tiny(dtypes='bfloat16')")
    with pytest.raises(TypeError, match="a model is text"):
        contender(3)


def test_one_model_is_open_at_a_time():
    opened = []

    @dataclass(frozen=True)
    class Counted:
        described: str

        def open(self):
            opened.append(self.described)
            return system(name=self.described)

    models = Models([Counted("a"), Counted("b")])  # type: ignore[list-item]
    assert set(models.facts()["models"]) == {"a", "b"}
    models.opened(models.contenders[1])
    assert opened == ["a", "b"]
    models.opened(models.contenders[0])
    assert opened == ["a", "b", "a"]


def test_the_suite_of_what_is_taught(tmp_path):
    found = dict(batteries.battery("fine_tuning"))
    assert list(found) == ["intents", "answers"]
    assert found["answers"].form == "answers"
    with pytest.raises(ValueError, match=r"holds none of glue, snips, sciq/validation\.jsonl, ud/en_ewt"):
        batteries.battery("fine_tuning", tmp_path)
    (tmp_path / "glue").mkdir()
    (tmp_path / "snips").mkdir()
    found = dict(batteries.battery("fine_tuning", tmp_path))
    assert list(found) == ["glue", "intents"]
    assert (found["glue"].path, found["glue"].form) == (str(tmp_path / "glue"), "lines")


def test_what_makes_no_sense_is_refused(tmp_path):
    with pytest.raises(ValueError, match="leave system, budget and trials away"):
        Comparison("evaluation", ["tiny"], budget="4 evaluations")
    with pytest.raises(ValueError, match="the contender tiny is given 2 times"):
        Comparison("evaluation", ["tiny", "tiny"], task=[Says()])
    with pytest.raises(ValueError, match="one task is measured, got 2"):
        Comparison("decoding", ["greedy"], system=STRONG, task=["continuation", "continuation"])
    with pytest.raises(UnknownName, match="no suite of evaluation is called 'quik'; did you mean 'quick'"):
        batteries.battery("quik")
    with pytest.raises(ValueError, match="holds none of the sets that are known: arc/arc_easy_validation"):
        batteries.battery("choices", tmp_path)


def test_suites_and_limits(tmp_path):
    assert batteries.limited(MultipleChoice(), 5, 2) == MultipleChoice(items=5, batch_size=2)
    assert batteries.limited(Recall("needle"), 5, 2) == Recall("needle", documents=5)
    with pytest.raises(ValueError, match="the suite 'sets' is about known sets: give the folder"):
        batteries.battery("sets")
    for name in batteries.SUITES.keys() - {"sets"}:
        labels, tasks = zip(*batteries.battery(name), strict=True)
        assert Battery(tasks, labels, 2).examples("test")
    (tmp_path / "piqa").mkdir()
    row = {"goal": "rest", "sol1": "sit", "sol2": "run", "label": 0}
    (tmp_path / "piqa" / "validation.jsonl").write_text(json.dumps(row))
    assert [label for label, _ in batteries.battery("choices", tmp_path)] == ["piqa"]


def test_a_suite_of_every_set_that_is_there(tmp_path):
    with pytest.raises(ValueError, match="holds none of the sets that are known: arc, openbookqa"):
        batteries.battery("sets", tmp_path)
    for name in ("aqua", "snips", "gsm8k", "blimp"):
        (tmp_path / name).mkdir()
    row = {"question": "Half of four?", "options": ["A)1", "B)2 "], "rationale": "", "correct": "B"}
    (tmp_path / "aqua" / "dev.json").write_text(json.dumps(row))
    found = dict(batteries.battery("sets", tmp_path))
    assert list(found) == ["aqua", "blimp", "gsm8k", "slots"]
    (question,) = found["aqua"].questions("test")
    assert (question.options, question.answer) == (("1", "2"), 1)
    assert batteries.limited(found["gsm8k"], 3, None).items == 3


def test_written_sums(tmp_path):
    """Two examples with their reasoning, the question, and the number behind the marks or the last one."""
    for split, number in (("train", 2), ("test", 1)):
        rows = [{"question": f"{split} {n}?", "answer": f"It is {n}.\n#### 1,00{n}"} for n in range(number)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = HarnessTask(str(batteries.TASKS / "gsm8k.yaml"), data=str(tmp_path))
    ((_, item),) = task.asked("test")
    assert item.requests[0][0] == (
        "Question: train 0?\nAnswer: It is 0.\n#### 1,000\n\nQuestion: train 1?\nAnswer: It is 1.\n#### 1,001\n\n"
        "Question: test 0?\nAnswer:"
    )
    assert item.gold == "1,000"
    declared = task.declared[0]
    for said, marks, last in (
        (" So 900 and more.\n#### 1000", 1.0, 1.0),
        (" 3 + 4 = 7, so 1,000", 0.0, 1.0),
        (" #### 7 eggs", 0.0, 0.0),
    ):
        values = [
            _harness.of_writing(declared, item, _first(_harness.filtered(one, said)))[0]["exact_match"]
            for one in declared.filters
        ]
        assert values == [marks, last]


def _first(kept):
    return kept if isinstance(kept, str) else kept[0]


def test_a_report_of_several_tasks_holds_some_examples_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(findings, "SHOWN_BYTES", 3000)
    tasks = [Says(), Says(30, lacks="none")]
    report = run(tmp_path, task=[Battery(tuple(tasks), ("one", "two"))])
    groups = [example["group"] for example in report.data["examples"]]
    assert 2 <= len(groups) < 54
    assert abs(groups.count("one") - groups.count("two")) <= 1
    assert f"{len(groups)} of 54 are on this page" in page(report.data)
    assert "all are in records.jsonl" in page(report.data)


def test_many_tasks_stand_below_each_other(tmp_path):
    few, many = (Battery(tuple(Says(20 + n) for n in range(count))) for count in (8, 9))
    small, large = run(tmp_path / "few", task=[few]).data, run(tmp_path / "many", task=[many]).data
    assert 'id="leaders"' not in page(small)
    assert 'id="leaders"' in page(large)
    table = page(large).split('id="leaders"')[1].split("</section>")[0]
    assert table.count("<tr>") == 1 + len(large["leading"])
    verdicts = [pair["verdict"] for pair in large["pairs"] if pair["measure"] in large["leading"]]
    assert len(verdicts) == 9  # the rate of wins has none
    assert all(table.count(f">{verdict}<") == verdicts.count(verdict) for verdict in set(verdicts))
    assert large["question"] == "Which model is best by 9 tasks, Says 20, Says 21, Says 22 and others?"


# Measures of all rows -------------------------------------------------------------------------------------------------


def test_pooled_rows_by_hand():
    rows = {"a": {str(n): [[0.9, float(n % 10 != 0)]] for n in range(40)},
            "b": {str(n): [[0.9, float(n % 2)]] for n in range(40)}}  # fmt: skip
    pooled = PooledRows("ece_mass", rows, {str(n): str(n) for n in range(40)})
    good, bad, pair = pooled.summary("a"), pooled.summary("b"), pooled.pair("b", "a")
    assert good is not None
    assert bad is not None
    assert pair is not None
    assert good.mean == pytest.approx(0.0)
    assert bad.mean == pytest.approx(0.4)
    assert pair.interval.mean == pytest.approx(0.4)
    assert bad.low is not None
    assert bad.high is not None
    assert 0.2 < bad.low < 0.4 < bad.high < 0.6
    assert pair.p is not None
    assert pair.p < 0.01
    few = PooledRows("ece_mass", {"a": {"0": [[0.9, 1.0]]}}, {"0": "0"})
    assert few.summary("a") is None
    even = PooledRows(
        "bias_gender", {"a": {"0": [[1.0, 1.0]], "1": [[3.0, 1.0]]}, "b": {"0": [[0.0, 0.0]]}}, {"0": "0", "1": "1"}
    )
    found = even.summary("a")
    assert found is not None
    assert found.mean == pytest.approx(4 / 6 - 0.5)
    assert even.summary("b") is None  # undefined, never 0
