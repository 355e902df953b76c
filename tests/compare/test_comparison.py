import json
import random
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from tests.compare.fakes import Killer, Mean, Needy, Writes, system
from trivium.compare import findings as findings_module
from trivium.compare.comparison import Comparison, remake
from trivium.compare.tuning import Tuned, edges
from trivium.compare.work import seed_of
from trivium.core import seeds
from trivium.core.errors import NotOffered, UnknownMethod, UnknownName
from trivium.core.method import Card, find
from trivium.core.nouns import Example
from trivium.core.progress import Bar
from trivium.decoding.top_k import TopK
from trivium.evaluation.continuation import Continuation
from trivium.training.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[2]
VOLATILE = {"seconds", "peak_bytes", "new_tokens_per_second"}


@pytest.fixture
def drawn():
    """The test wants the real page; the others do without its charts, which take longer than the run."""


@pytest.fixture(autouse=True)
def _page(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("trivium.compare.comparison.page", lambda data: f"<!doctype html>{len(data)}")


@dataclass(frozen=True)
class Counting:
    """A decoder that counts how often it is called, and draws or does not."""

    fixed: bool
    calls: list[int] = field(default_factory=lambda: [0], compare=False)

    def __call__(self, model, prompt, *, limit, generator, mask=None, stop=None):
        self.calls[0] += 1
        return Writes(10)(model, prompt, limit=limit, generator=torch.Generator() if self.fixed else generator)


def comparison(contenders=(Writes(10), Writes(14)), **given) -> Comparison:
    settings = {"system": system(), "task": Mean(), "budget": "6 new_tokens", "seeds": 2, "baseline": Writes(10)}
    return Comparison("decoding", list(contenders), **(settings | given))


def numbers(folder: Path) -> list[dict]:
    """The records without what differs from run to run, sorted."""
    records = [json.loads(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]
    for record in records:
        record["spent"] = {unit: n for unit, n in record["spent"].items() if unit not in VOLATILE}
    return sorted(records, key=lambda r: (r["phase"], r["contender"], r["seed"], r["example"], r["trial"] or 0))


def measured(report) -> list:
    return [(c["name"], c["measures"], c["failed"]) for c in report.data["contenders"]] + report.data["pairs"]


def test_one_record_per_contender_seed_and_example(drawn, tmp_path):
    report = comparison().run(tmp_path)
    records = numbers(tmp_path)
    assert len(records) == 2 * 2 * 8
    assert {r["contender"] for r in records} == {"Writes", "Writes(top=14)"}
    assert all(r["spent"]["new_tokens"] == 6 and r["spent"]["calls"] == 6 and r["error"] is None for r in records)
    assert all(r["spent"]["evaluations"] == 6 for r in records)
    assert {p.name for p in tmp_path.iterdir()} == {
        "comparison.json", "records.jsonl", "provenance.json", "report.json", "report.md", "report.html", ".lock",
    }  # fmt: skip
    assert json.loads((tmp_path / "report.json").read_text()) == report.data
    assert (tmp_path / "report.md").read_text().startswith("# Decoding on uniform")
    assert str(report).endswith(f"report: {report.page}")
    assert "Writes(top=14)" in str(report)
    assert report.page.read_text().startswith("<!doctype html>")


def test_what_draws_nothing_is_done_once_and_repeated_for_the_other_seeds(tmp_path):
    fixed, free = Counting(fixed=True), Counting(fixed=False)
    report = comparison([Writes(10), fixed, free], seeds=3).run(tmp_path)
    assert (fixed.calls, free.calls) == ([8], [24])
    records = [r for r in numbers(tmp_path) if r["contender"].startswith("Counting(fixed=True")]
    assert len(records) == 24
    assert [r["drew"] for r in records] == [False] * 24
    assert {r["seed"]: r.get("repeats") for r in records} == {0: None, 1: 0, 2: 0}
    assert len({json.dumps(r["values"]) for r in records if r["example"] == "test-3"}) == 1
    assert report.contender(records[0]["contender"])["measures"]["mean"]["n"] == 8


def test_values_are_those_of_the_outputs(tmp_path):
    """By hand, from the same seeds: the mean over examples of the mean over seeds."""
    report = comparison().run(tmp_path)
    by_example = []
    for n in range(8):
        draws = [torch.randint(14, (1, 6), generator=seeds.generator(s, f"test-{n}", "decoding")) for s in (0, 1)]
        by_example.append(sum(d.double().mean().item() for d in draws) / 2)
    found = report.contender("Writes(top=14)")["measures"]["mean"]
    assert found["mean"] == pytest.approx(sum(by_example) / 8)
    assert (found["n"], found["clusters"]) == (8, 8)
    assert found["low"] < found["mean"] < found["high"]


def test_contenders_draw_from_the_same_seeds(tmp_path):
    """Two decoders that are the same are equal on every item: pairing, and no dependence on order."""
    report = comparison([Writes(10), Writes(10, pause=1e-9)]).run(tmp_path)
    (pair,) = report.data["pairs"]
    assert (pair["difference"], pair["low"], pair["high"], pair["p"]) == (0.0, 0.0, 0.0, 1.0)
    assert pair["verdict"] == "not visible at this scale"


def test_records_do_not_depend_on_the_order_of_contenders_or_examples(tmp_path):
    comparison([Writes(10), Writes(14), Writes(5)]).run(tmp_path / "a")
    comparison([Writes(5), Writes(14), Writes(10)]).run(tmp_path / "b")
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    few = comparison([Writes(10), Writes(14), Writes(5)], task=Mean(count=3), seeds=[1])
    few.run(tmp_path / "c")
    assert all(record in numbers(tmp_path / "a") for record in numbers(tmp_path / "c"))


def test_a_real_difference_is_supported_and_its_mirror_contradicted(tmp_path):
    report = comparison([Writes(10), Writes(100), Writes(2)]).run(tmp_path)
    verdicts = {pair["a"]: pair["verdict"] for pair in report.data["pairs"] if pair["measure"] == "mean"}
    assert verdicts == {"Writes(top=100)": "supported", "Writes(top=2)": "contradicted"}
    assert [p for p in report.data["pairs"] if p["measure"] == "first"] == []  # a measure without direction
    assert report.data["smoke"] is False


def test_too_little_to_judge_has_no_verdict(tmp_path):
    report = comparison([Writes(10), Writes(100)], task=Mean(count=5)).run(tmp_path)
    assert report.data["smoke"] is True
    assert [pair["verdict"] for pair in report.data["pairs"]] == [""]
    assert report.data["pairs"][0]["difference"] > 0


def test_groups_have_means_of_their_own(tmp_path):
    report = comparison(task=Mean(groups=True)).run(tmp_path)
    row = report.contender("Writes(top=14)")
    groups = row["by_group"]
    assert set(groups) == {"even", "odd"}
    assert (groups["even"]["mean"] + groups["odd"]["mean"]) / 2 == pytest.approx(row["measures"]["mean"]["mean"])


def test_contenders_take_turns_at_going_first():
    plan = comparison([Writes(10), Writes(14), Writes(5)]).plan
    first = [unit.contender for unit in plan.scoring_units({})][::3]
    assert {name: first.count(name) for name in set(first)} == {"Writes": 6, "Writes(top=14)": 5, "Writes(top=5)": 5}


# Costs and failures ----------------------------------------------------------


def test_spending_more_than_the_budget_is_a_failure_of_that_contender(tmp_path):
    report = comparison([Writes(10), Writes(14, tokens=9)]).run(tmp_path)
    row = report.contender("Writes(top=14, tokens=9)")
    assert row["measures"] == {}
    assert row["note"] == "16 of 16 failed: BudgetExceeded"
    assert row["failed"][0]["type"] == "BudgetExceeded"
    assert "spent 9 of 6 new_tokens (+50.0%)" in row["failed"][0]["message"]
    assert row["failed"][0]["count"] == 16
    assert report.contender("Writes")["measures"]["mean"]["n"] == 8
    assert report.data["pairs"] == []


def test_the_usual_baseline_takes_the_settings_it_has_among_the_contenders():
    small = Comparison("architectures", ["transnormer(width=64)", "llama(width=64)"])
    assert small.baseline == find("architectures", "llama")(width=64)
    assert len(small.contenders) == 2
    added = Comparison("architectures", ["transnormer(width=64)"])
    assert added.contenders[0] == added.baseline == find("architectures", "llama")()
    asked = Comparison("architectures", ["llama(width=64)"], baseline="transnormer")
    assert asked.baseline == find("architectures", "transnormer")()


def test_a_budget_in_calls_stops_at_the_call(tmp_path):
    report = comparison(
        [Writes(10, tokens=3), Writes(14, tokens=50)], baseline=Writes(10, tokens=3), budget="4 calls"
    ).run(tmp_path)
    spent = [r["spent"]["calls"] for r in numbers(tmp_path) if r["contender"] == "Writes(top=14, tokens=50)"]
    assert set(spent) == {5}  # not 50
    assert report.contender("Writes(tokens=3)")["spent"]["calls"]["median"] == 3


def test_what_is_left_after_failures_has_no_verdict(tmp_path):
    report = comparison([Writes(10), Writes(100, fails_at="prompt 3")]).run(tmp_path)
    row = report.contender('Writes(top=100, fails_at="prompt 3")')
    assert row["note"] == "2 of 16 failed: ValueError"
    assert row["failed"] == [
        {"example": "test-3", "seed": 0, "type": "ValueError", "message": "this prompt is refused", "count": 2}
    ]
    (pair,) = report.data["pairs"]
    assert (pair["n"], pair["verdict"]) == (7, "")
    shown = next(e for e in report.data["examples"] if e["id"] == "test-3")
    assert shown["outputs"][row["name"]]["error"] == "ValueError: this prompt is refused"


def test_a_fault_of_the_program_ends_the_run(tmp_path):
    class Broken:
        def __call__(self, *_, **__):
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        comparison([Writes(10), Broken()]).run(tmp_path)


def test_numbers_that_are_not_finite_are_failures(tmp_path):
    class Odd(Mean):
        def score(self, system, example, output):
            seen = super().score(system, example, output)
            return type(seen)({"mean": float("nan"), "first": 1.0}) if example.id == "test-2" else seen

    report = comparison(task=Odd()).run(tmp_path)
    assert report.contender("Writes")["failed"][0]["type"] == "NotFinite"
    assert report.contender("Writes")["measures"]["mean"]["n"] == 7


def test_a_decoder_that_does_not_report_its_tokens_is_counted_all_the_same(tmp_path, monkeypatch):
    from trivium.core import meter

    monkeypatch.setattr("tests.compare.fakes.meter.spend", lambda **_: None)
    monkeypatch.setattr(
        "trivium.compare.holes.meter.spend",
        lambda **amounts: [m.add(meter.Spent(**amounts)) for m in meter._meters.get()],
    )
    report = comparison([Writes(10), Writes(14, tokens=9)]).run(tmp_path)
    assert report.contender("Writes")["spent"]["new_tokens"]["median"] == 6
    assert report.contender("Writes(top=14, tokens=9)")["failed"][0]["type"] == "BudgetExceeded"


def test_costs_are_shown_beside_with_rates(tmp_path):
    spent = comparison().run(tmp_path).contender("Writes")["spent"]
    assert spent["calls"] == {"median": 6.0, "low": 6.0, "high": 6.0, "total": 96.0}
    assert spent["new_tokens_per_call"]["median"] == 1.0
    assert spent["new_tokens_per_second"]["median"] > 0
    assert "total" not in spent["new_tokens_per_call"]
    assert "backwards" not in spent  # nothing of it was spent


# Not applicable, untuned, tuning ----------------------------------------------------------


def test_what_the_model_lacks_is_not_applicable_and_never_runs(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(Needy, "__card__", Card("Needy", "x", 2020, frozenset({"tree", "gather"})), raising=False)
    report = comparison([Writes(10), Needy()]).run(tmp_path)
    row = report.contender("Needy")
    assert row["note"] == "not applicable, needs gather, tree"
    assert (row["measures"], row["spent"]) == ({}, {})
    assert "not applicable, needs gather, tree" in report.page.read_text()
    with pytest.raises(NotOffered, match="the baseline Needy needs gather, tree"):
        comparison([Writes(10), Needy()], baseline=Needy()).run(tmp_path / "b")
    with pytest.raises(NotOffered, match="no contender can run"):
        comparison([Needy()], baseline=Needy()).run(tmp_path / "c")
    assert not (tmp_path / "b").exists()


def test_needs_of_methods_within_methods_count(monkeypatch):
    from trivium.compare.holes import needs_of
    from trivium.core.method import find

    speculative = find("decoding", "speculative")()
    inner = type(speculative.drafter)
    monkeypatch.setattr(inner, "__card__", Card("x", "x", 2020, frozenset({"attention"}), kind="drafting", name="x"))
    assert "attention" in needs_of(speculative)


def test_an_untuned_loser_is_marked_and_a_winner_is_not(tmp_path):
    report = comparison([Writes(10), Writes(100), Writes(2)]).run(tmp_path)
    notes = {row["name"]: row["note"] for row in report.data["contenders"]}
    assert notes == {"Writes": "", "Writes(top=100)": "", "Writes(top=2)": "untuned"}


def test_tuning_chooses_on_the_validation_split_with_equal_trials(tmp_path):
    asked = comparison(
        [Writes(10), Writes(14)], trials=3, tune={"Writes": {"top": [3, 30]}, "Writes(top=14)": {"top": [5, 40, 6, 7]}}
    )
    report = asked.run(tmp_path)
    records = numbers(tmp_path)
    tried = [r for r in records if r["phase"] == "tune"]
    assert {(r["contender"], r["trial"]) for r in tried} == {
        (c, t) for c in ("Writes", "Writes(top=14)") for t in range(3)
    }
    assert {r["example"].split("-")[0] for r in tried} == {"validation"}
    assert len(tried) == 2 * 3 * 8
    ran = {r["contender"]: r["config"] for r in records if r["phase"] == "score"}
    assert ran == {"Writes": "Writes(top=30)", "Writes(top=14)": "Writes(top=40)"}
    tuned = report.contender("Writes")["tuned"]
    assert [(t["config"], t["chosen"]) for t in tuned] == [
        ("Writes", False),
        ("Writes(top=3)", False),
        ("Writes(top=30)", True),
    ]
    assert "3 trials for each of 2" in report.data["tuning"]["counted"]


def test_which_trials_stand_at_the_end_of_what_was_tried():
    plain, settings = TopK(), TrainingSettings(learning_rate=1e-3)
    rates = [plain, Tuned(plain, (("learning_rate", 4e-3),)), Tuned(plain, (("learning_rate", 2e-3),))]
    assert edges(rates, settings) == {
        "top_k": "learning_rate=0.001 is the least tried",
        "top_k with learning_rate=0.004": "learning_rate=0.004 is the greatest tried",
    }
    assert edges(rates[:2], settings) == {}, "two values are both at an end, whatever is best"
    assert edges([TopK(k=5), TopK(k=9), TopK(k=7)]) == {
        "top_k(k=5)": "k=5 is the least tried", "top_k(k=9)": "k=9 is the greatest tried",
    }  # fmt: skip


def test_tuning_never_sees_the_seeds_of_the_comparison():
    asked = comparison(trials=2, seeds=5, tune={"Writes": {"top": [3]}, "Writes(top=14)": {"top": [15]}})
    used = {seed_of(unit) for unit in asked.plan.scoring_units({})}
    assert used == {0, 1, 2, 3, 4}
    assert not used & {seed_of(unit) for unit in asked.plan.tuning_units()}


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"trials": 3, "tune": {"Writes": {"top": [3]}}},
            ValueError,
            "Writes has 2 configurations .* lower trials to 2",
        ),
        ({"trials": 2, "tune": {"Writes": {"tip": [3]}}}, UnknownName, "no field 'tip' to tune; did you mean 'top'"),
        ({"trials": 2, "tune": {"Wrotes": {"top": [3]}}}, UnknownName, "names 'Wrotes', which is no contender"),
        ({"tune": {"Writes": {"top": [3]}}}, ValueError, "trials of at least 1"),
        ({"trials": -1}, ValueError, "trials=-1"),
        ({"trials": 2, "trial_share": 0.5}, ValueError, "of a training.* in a comparison of decoding"),
    ],
)
def test_bad_tuning_is_refused_before_any_work(tmp_path, given, error, message):
    with pytest.raises(error, match=message):
        comparison(**given).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Bad input ----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"contenders": []}, ValueError, "at least one method"),
        ({"contenders": "greedy"}, ValueError, "must be a list"),
        ({"contenders": ["gredy"]}, UnknownMethod, "did you mean 'greedy'"),
        ({"contenders": ["min_p(flor=0.1)"]}, UnknownName, "no field 'flor'; did you mean 'floor'"),
        ({"contenders": ["min_p(floor=3)"]}, ValueError, "got 3"),
        ({"contenders": [Writes]}, TypeError, "Writes is a class; give an object"),
        ({"contenders": [3]}, TypeError, "3 cannot be compared as decoding"),
        ({"contenders": [Writes(3), Writes(3)]}, ValueError, r"Writes\(top=3\) is given 2 times"),
        ({"vary": "decodin"}, UnknownName, "did you mean 'decoding'"),
        ({"vary": "retrieval"}, UnknownName, "no comparison varies 'retrieval'"),
        ({"budget": "six calls"}, ValueError, "a budget reads like"),
        ({"budget": "6 new_tokns"}, UnknownName, "did you mean 'new_tokens'"),
        ({"budget": "6.5 new_tokens"}, ValueError, "whole number, got 6.5"),
        ({"budget": "0 calls"}, ValueError, "positive"),
        ({"seeds": 0}, ValueError, "at least 1"),
        ({"seeds": [1, 1]}, ValueError, "without repeats"),
        ({"system": None}, ValueError, "needs a system"),
        ({"task": "continuatin"}, UnknownMethod, "did you mean 'continuation'"),
    ],
)
def test_bad_questions_are_refused_when_they_are_asked(given, error, message):
    settings = {"vary": "decoding", "contenders": ["greedy"], "system": system(), "task": Mean()}
    with pytest.raises(error, match=message):
        Comparison(**(settings | given))


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "has no test examples"),
        ([Example("a", "x"), Example("a", "y")], "2 test examples have the id 'a'"),
        ([Example("", "x")], "have the id ''"),
        ([Example("long", "x" * 600)], "'long': a prompt of 601 tokens and 6 new ones are more than the 512 positions"),
    ],
)
def test_bad_examples_are_refused_before_any_work(tmp_path, examples, message):
    class Given(Mean):
        def examples(self, split):
            return examples

    with pytest.raises(ValueError, match=message):
        comparison(task=Given()).run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_hostile_text_goes_through_whole(drawn, tmp_path):
    nasty = "<script>alert(1)</script> \u202egnp\u202c \ud800 \x00 👩‍👩‍👧 " + "x" * 200

    class Nasty(Mean):
        def examples(self, split):
            return [Example(f"{split} {nasty[:30]} {n}", nasty) for n in range(2)]

        def score(self, system, example, output):
            return type(super().score(system, example, output))({"mean": 1.0, "first": 1.0}, {"text": nasty})

    report = comparison(task=Nasty()).run(tmp_path)
    shown = report.data["examples"][0]
    assert shown["outputs"]["Writes"]["text"] == shown["prompt"] == nasty
    assert comparison(task=Nasty()).run(tmp_path).data["contenders"] == report.data["contenders"]  # resumes too
    page = report.page.read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page


# Going on ----------------------------------------------------------


def test_a_finished_run_is_not_done_again(tmp_path):
    comparison().run(tmp_path)
    before = (tmp_path / "records.jsonl").read_bytes()

    class Never(Writes):
        def __call__(self, *_, **__):
            raise AssertionError("worked again")

    Never.__name__ = "Writes"
    again = comparison([Never(10), Never(14)], baseline=Never(10)).run(tmp_path)
    assert (tmp_path / "records.jsonl").read_bytes() == before
    assert measured(again) == measured(remake(tmp_path))


def test_cut_anywhere_it_ends_with_the_same_numbers(tmp_path):
    whole = comparison(task=Mean(count=3)).run(tmp_path / "whole")
    content = (tmp_path / "whole" / "records.jsonl").read_bytes()
    places = [*random.Random(0).sample(range(len(content)), 12), 0, 1, len(content) - 1]
    for place in places:
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "comparison.json").write_bytes((tmp_path / "whole" / "comparison.json").read_bytes())
        (folder / "records.jsonl").write_bytes(content[:place])
        again = comparison(task=Mean(count=3)).run(folder)
        assert numbers(folder) == numbers(tmp_path / "whole")
        assert measured(again) == measured(whole)
        cut = content[:place].rpartition(b"\n")[2]
        broken = folder / "records.broken.jsonl"
        if cut and cut + b"\n" not in content:
            assert broken.read_bytes() == cut + b"\n"
        else:
            assert not broken.exists()


def test_a_killed_run_goes_on(tmp_path):
    kill = textwrap.dedent(
        f"""
        import sys; sys.path.insert(0, {str(ROOT)!r})
        from tests.compare.fakes import Killer, Mean, Writes, system
        from trivium.compare.comparison import Comparison
        Comparison("decoding", [Writes(10), Killer({str(tmp_path / "run")!r}, int(sys.argv[1]))], system=system(),
                   task=Mean(), budget="6 new_tokens", seeds=2, baseline=Writes(10)).run({str(tmp_path / "run")!r})
        """
    )
    killed = subprocess.run([sys.executable, "-c", kill, "9"], cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert 0 < len(numbers(tmp_path / "run")) < 32
    last = comparison([Writes(10), Killer(str(tmp_path / "run"), 9)])
    monkeypatched = pytest.MonkeyPatch()
    monkeypatched.setattr("tests.compare.fakes.os.kill", lambda *_: None)
    try:
        report = last.run(tmp_path / "run")
    finally:
        monkeypatched.undo()
    whole = comparison([Writes(10), Writes(7)]).run(tmp_path / "whole")
    assert [r["values"] for r in numbers(tmp_path / "run")] != []
    name = report.data["contenders"][1]["name"]
    assert report.contender(name)["measures"] == whole.contender("Writes(top=7)")["measures"]
    assert len(numbers(tmp_path / "run")) == 32


def test_ctrl_c_says_how_to_go_on(tmp_path):
    class Interrupts(Writes):
        left = 5

        def __call__(self, *args, **kwargs):
            type(self).left -= 1
            if type(self).left == 0:
                raise KeyboardInterrupt
            return super().__call__(*args, **kwargs)

    said = []

    class Says(Bar):
        def say(self, text):
            said.append(text)

    asked = comparison([Writes(10), Interrupts(14)])
    with pytest.raises(KeyboardInterrupt):
        asked.run(tmp_path, bar=Says(1.0))
    assert "run the same comparison on that folder to go on" in said[0]
    kept = len(numbers(tmp_path))
    assert kept > 0
    assert f"{kept} records are kept in {tmp_path}" in said[0]
    asked.run(tmp_path)
    assert len(numbers(tmp_path)) == 32


def test_failed_units_are_kept_unless_they_are_to_be_tried_again(tmp_path):
    class Flaky(Writes):
        broken = True

        def __call__(self, model, prompt, *, limit, generator, mask=None, stop=None):
            if self.broken:
                raise RuntimeError("out of memory")
            return super().__call__(model, prompt, limit=limit, generator=generator)

    asked = comparison([Writes(10), Flaky(14)])
    assert asked.run(tmp_path).contender("Flaky(top=14)")["note"] == "16 of 16 failed: RuntimeError"
    Flaky.broken = False
    assert asked.run(tmp_path).contender("Flaky(top=14)")["note"] == "16 of 16 failed: RuntimeError"
    assert asked.run(tmp_path, retry=True).contender("Flaky(top=14)")["measures"]["mean"]["n"] == 8
    assert len(numbers(tmp_path)) == 32


def test_a_clock_that_goes_backwards_does_no_harm(tmp_path, monkeypatch):
    now = iter(range(10**9, 0, -1000))
    monkeypatch.setattr("time.time", lambda: float(next(now)))
    monkeypatch.setattr("time.time_ns", lambda: next(now) * 10**9)
    report = comparison().run(tmp_path)
    assert report.contender("Writes")["spent"]["seconds"]["low"] >= 0
    assert numbers(tmp_path) == (comparison().run(tmp_path / "b"), numbers(tmp_path / "b"))[1]


def test_the_bar_ends_at_its_total_however_much_was_done_before(tmp_path):
    comparison(seeds=1).run(tmp_path)
    lines = (tmp_path / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:7]))
    bar = Bar(0.0)
    comparison(seeds=1).run(tmp_path, bar=bar)
    assert bar.done == pytest.approx(16 * 6.0)


# From the folder alone ----------------------------------------------------------


def test_the_report_is_made_again_without_the_model(drawn, tmp_path, monkeypatch):
    report = comparison().run(tmp_path)
    for name in ("report.json", "report.md", "report.html"):
        (tmp_path / name).unlink()
    assert remake(tmp_path).data == report.data
    assert (tmp_path / "report.html").exists()


def test_an_unfinished_run_has_a_report(tmp_path):
    comparison().run(tmp_path)
    lines = (tmp_path / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[:5]))
    assert sum(c["measures"]["mean"]["n"] for c in remake(tmp_path).data["contenders"]) == 5


def test_a_comparison_is_read_back_from_its_folder(tmp_path):
    task = Continuation((Example("a", "one"), Example("b", 'two "quoted"', fields={"kind": "x"})))
    asked = Comparison(
        "decoding", ["greedy", "min_p(floor=0.5)"], system=system(("causal", "state")), task=task, seeds=[3, 1]
    )
    (tmp_path / "comparison.json").write_text(json.dumps(asked.plan.asked(tmp_path, "", "")))
    with pytest.raises(ValueError, match="with system that text cannot describe; give system="):
        Comparison.load(tmp_path)
    again = Comparison.load(tmp_path, system=system(("causal", "state")))
    assert (again.contenders, again.task, again.budget, again.seeds) == (
        asked.contenders,
        asked.task,
        asked.budget,
        (3, 1),
    )
    from trivium.core.errors import RunMismatch

    with pytest.raises(RunMismatch, match="another system"):
        Comparison.load(tmp_path, system=system(("causal", "state"), name="other"))


def test_methods_of_ones_own_must_be_given_again(tmp_path):
    comparison().run(tmp_path)
    with pytest.raises(ValueError, match="contenders and task and system that text cannot describe"):
        Comparison.load(tmp_path)
    again = Comparison.load(tmp_path, contenders=[Writes(10), Writes(14)], task=Mean(), system=system())
    assert again.plan.asked(tmp_path, "", "")["identity"] == comparison().plan.asked(tmp_path, "", "")["identity"]


def test_findings_are_plain_json_and_follow_the_data_model(tmp_path):
    from trivium.compare.record import example_report

    data = comparison([Writes(10), Writes(14, fails_at="prompt 3")], task=Mean(groups=True)).run(tmp_path).data
    assert json.loads(json.dumps(data)) == data
    model = example_report()
    assert set(data) == set(model)
    for part in ("contenders", "pairs", "examples", "measures"):
        assert set(data[part][0]) >= set(model[part][0]), part
    output = next(iter(data["examples"][0]["outputs"].values()))
    assert set(output) == set(model["examples"][0]["outputs"]["greedy"])
    assert len(data["examples"]) <= findings_module.SHOWN_EXAMPLES
