"""FormatSpread by answerers whose spread is known."""

import numpy as np
import pytest

from tests.prompting.models import system
from trivium.compare.comparison import Comparison
from trivium.core.nouns import Example
from trivium.core.wording import Exemplar, Wording
from trivium.data.formats import Field, Grammar
from trivium.evaluation import _formats
from trivium.evaluation._formats import chart, parsed
from trivium.evaluation.battery import Battery
from trivium.evaluation.classification import Classification
from trivium.evaluation.format_spread import FormatSpread
from trivium.models.writing import Written

GRAMMAR = Grammar((Field("text", "item"),), "label")


class Known:
    """80 items of two labels; ``right`` says of a format and an item whether it is answered right."""

    labels = ("yes", "no")
    wording = Wording(GRAMMAR.original)

    def __init__(self, right, count=80):
        self.right, self.count, self.prompts = right, count, []

    def examples(self, split):
        return [Example(f"{split}-{n}", "", fields={"n": n}) for n in range(self.count)]

    def formats(self, count, generator):
        self.forms = GRAMMAR.formats(count, generator)
        return self.forms

    def read(self, example):
        return Exemplar({"text": f"<{example.fields['n']}>"}, self.labels[example.fields["n"] % 2])

    def weigh_all(self, system, questions):
        self.prompts += [question.text for question in questions]
        found = []
        for question in questions:
            n = int(question.text.split("<")[1].split(">")[0])
            arm = next(at for at, form in enumerate(self.forms) if form.ask({"text": f"<{n}>"}) == question.text)
            right = self.right(arm, n)
            answer = n % 2 if right else 1 - n % 2
            found.append([float(answer == 0), float(answer == 1)])
        return found


def scored(task, **settings):
    method = FormatSpread(task, **settings)
    return [method.score(system(), example) for example in method.examples("test")]


def test_one_format_has_no_spread():
    for seen in scored(Known(lambda arm, n: n % 3 == 0), formats=1):
        assert seen.values["spread"] == seen.values["retest"] == seen.values["null"] == 0.0
        assert seen.values["p_spread"] == seen.values["p_retest"] == 1.0


def test_exhaustive_search_equals_brute_force():
    """Format 2 is right on all items but every fourth, format 5 on every fourth alone; the others on even ones."""
    task = Known(lambda arm, n: {2: n % 4 != 0, 5: n % 4 == 0}.get(arm, n % 2 == 0))
    for seen in scored(task, formats=8, searches=3):
        values = seen.values
        assert values["best"] + 0.25 == pytest.approx(1.0, abs=0.15)
        assert values["retest"] == values["best"] - values["worst"]
        assert values["spread"] > values["null"] + 0.2
        assert values["p_spread"] < 0.01
        assert values["p_retest"] < 0.05
        assert values["prompts"] == 8 * 40
        assert values["too_few"] == 0
        assert seen.shown["text"] == f"best {task.forms[2].pattern!r}, worst {task.forms[5].pattern!r}"
        rates = seen.shown["rates"]
        assert set(rates) == {form.pattern for form in task.forms}
        assert max(s / m for s, m in rates.values()) - min(s / m for s, m in rates.values()) == values["spread"]


def test_formats_that_do_not_differ_have_the_spread_of_chance_which_the_retest_does_not_show():
    generator = np.random.default_rng(0)
    luck = generator.random((30, 80)) < 0.5
    seen = [one.values for one in scored(Known(lambda arm, n: bool(luck[arm, n])), formats=30, searches=8)]
    assert np.mean([one["spread"] for one in seen]) > 0.25
    assert np.mean([one["spread"] for one in seen]) == pytest.approx(np.mean([one["null"] for one in seen]), abs=0.06)
    assert abs(np.mean([one["retest"] for one in seen])) < 0.12
    assert min(one["p_spread"] for one in seen) > 0.01


@pytest.mark.parametrize("search", ["thompson", "ucb", "equal"])
def test_a_bandit_keeps_to_its_budget_and_asks_nothing_twice(search):
    task = Known(lambda arm, n: {2: n % 8 != 0, 5: n % 8 == 0}.get(arm, n % 2 == 0))
    (seen,) = scored(task, formats=12, search=search, budget=200, batch=5, least=10, searches=1)
    assert 200 - 10 < seen.values["prompts"] <= 200
    assert len(task.prompts) == len(set(task.prompts))
    assert "null" not in seen.values
    assert seen.values["too_few"] == sum(m < 10 for _, m in seen.shown["rates"].values()) + 12 - len(
        seen.shown["rates"]
    )
    assert seen.values["spread"] >= 0.3
    assert seen == scored(task, formats=12, search=search, budget=200, batch=5, least=10, searches=1)[0]


def test_searches_halve_the_items_anew_and_share_what_they_ask():
    task = Known(lambda arm, n: (n * (arm + 3)) % 5 < 2)
    seen = scored(task, formats=4, searches=3)
    assert len({one.values["spread"] for one in seen} | {one.values["original"] for one in seen}) > 1
    assert len(task.prompts) == len(set(task.prompts)) <= 4 * 80


def test_the_chart_counts_formats():
    made = chart(np.array([0.5, 0.52, 0.7, 1.0]))
    assert made.count("<div role") == 10  # 1.00 down to 0.50 by twentieths
    assert "2 formats right on 50% to 55% of the items" in made
    assert "1 format right on 95% to 100% of the items" in made


def test_exemplars_and_the_model_itself():
    seen = FormatSpread(formats=2, searches=1).task.wording
    assert seen.exemplars == ()
    small = Classification(labels_kept=("weather", "music"), items=6, shots=1)
    (one,) = scored(small, formats=3, searches=1, least=2)
    assert 0 <= one.values["worst"] <= 1
    assert one.values["prompts"] == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search": "random"}, "search must be one of exhaustive, thompson, ucb, equal; got 'random'"),
        ({"formats": 0}, "formats must be at least 1"),
        ({"budget": 0}, "budget must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"least": 0}, "least must be at least 1"),
        ({"searches": 0}, "searches must be at least 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FormatSpread(**settings)


def test_too_few_items_or_prompts_are_refused():
    with pytest.raises(ValueError, match="3 items cannot be halved"):
        scored(Known(lambda arm, n: True, count=3))
    with pytest.raises(ValueError, match=r"budget of 50 prompts is used up by the 40 items .* raise it to 60"):
        scored(Known(lambda arm, n: True), search="thompson", budget=50)


# Written answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\n yes", 0), ("yes, it is", 0), ("yesterday", None), ("no", 1), ("none", 2), ("none.", 2), ("No", None),
     ("it is no", None), ("", None), ("yes no", 0)],
)  # fmt: skip
def test_a_text_is_read_as_the_longest_answer_that_it_begins_with(text, expected):
    assert parsed(text, (" yes", " no", " none")) == expected


def test_wrapped_numbers_need_no_border():
    assert parsed("(b) it is", (" (a)", " (b)")) == 1
    assert parsed("(b)it", (" (a)", " (b)")) == 1
    for answers in ((" no", " no way"), (" no way", " no")):
        assert answers[parsed("no way!", answers)] == " no way"


class Written80(Known):
    """Ranks as ``right`` says, and writes as ``writes`` does."""

    def __init__(self, right, writes, monkeypatch):
        super().__init__(right)
        self.writes, self.limits = writes, []
        monkeypatch.setattr(_formats, "write", self.write)

    def write(self, system, prompts, *, batch_size):
        self.limits += [(one.limit, one.until) for one in prompts]
        made = []
        for prompt in prompts:
            n = int(prompt.context.split("<")[1].split(">")[0])
            arm = next(at for at, form in enumerate(self.forms) if form.ask({"text": f"<{n}>"}) == prompt.context)
            made.append(Written(self.writes(arm, n), (1,), (-1.0,), True))
        return made


def test_written_answers_have_a_spread_of_their_own(monkeypatch):
    """Ranked, all formats are alike; written, format 1 always answers, format 2 says what is no answer, others are
    right on every other pair of items."""

    def writes(arm, n):
        right, wrong = (" yes.", " no") if n % 2 == 0 else ("no", "yes")
        return {1: right, 2: "maybe yes"}.get(arm, right if n % 4 < 2 else wrong)

    task = Written80(lambda arm, n: n % 4 < 2, writes, monkeypatch)
    for seen in scored(task, formats=4, searches=2, by="both"):
        values = seen.values
        assert (values["spread"], values["retest"]) == (0.0, 0.0)
        assert (values["written_spread"], values["written_retest"]) == (1.0, 1.0)
        assert (values["written_best"], values["written_worst"]) == (1.0, 0.0)
        assert values["written_p_spread"] < 0.01
        assert values["p_spread"] == 1.0
        assert values["written_unread"] == pytest.approx(1 / 4, abs=0.01)
        assert values["agreement"] == 1.0  # in the original format, which is the first
        assert set(seen.shown["spread"]) == {"ranking", "writing"}
        assert sum(seen.shown["spread"]["writing"]["null"]) == 2000
        assert seen.shown["spread"]["writing"]["observed"] == 1.0
    longest = {form.pattern: len(form.reply("yes")) + 2 for form in task.forms}
    assert {limit for limit, _ in task.limits} == set(longest.values())
    assert {until for _, until in task.limits} == {("\n\n",)}


def test_by_writing_alone_the_model_is_not_asked_to_rank(monkeypatch):
    task = Written80(lambda arm, n: True, lambda arm, n: ("yes", "no")[(n + arm) % 2], monkeypatch)
    method = FormatSpread(task, formats=4, searches=1, by="writing")
    (seen,) = scored(task, formats=4, searches=1, by="writing")
    assert task.prompts == []
    assert seen.values["spread"] == 1.0
    assert seen.values["unread"] == 0.0
    assert {one.name for one in method.measures} == set(seen.values)
    both = FormatSpread(task, formats=4, searches=1, by="both")
    assert {one.name for one in both.measures} == set(scored(task, formats=4, searches=1, by="both")[0].values)
    with pytest.raises(ValueError, match="by must be ranking, writing or both; got 'voting'"):
        FormatSpread(by="voting")


def test_a_report_draws_the_spread_beside_its_null(tmp_path):
    small = Classification(labels_kept=("weather", "music"), items=8, shots=1)
    task = Battery((FormatSpread(small, formats=3, searches=1, least=2, by="both"),), ("formats",))
    report = Comparison("evaluation", ["tiny"], task=task, seeds=1).run(tmp_path).data
    found = report["spreads"]["formats"]
    assert set(found) == {"tiny", "tiny, written"}
    for entry in found.values():
        assert len(entry["rates"]) == 3
        assert len(entry["observed"]) == len(entry["p"]) == 1
        assert sum(entry["null"]) == 2000
    page = (tmp_path / "report.html").read_text()
    assert "accuracy in each format" in page
    assert "best minus worst format" in page
    assert "accuracy over formats and their spread beside its null on formats" in page
