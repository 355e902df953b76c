"""A run with a mixer: what is drawn, how often, in which order; the same whoever does it and wherever one begins."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from tests.data.test_plan import content, lines
from trivium.core.errors import RunMismatch
from trivium.curation.exact_copies import ExactCopies
from trivium.curation.gopher import Gopher
from trivium.data import draws, tables
from trivium.data.blends import Blend
from trivium.data.budgets import WordBudget
from trivium.data.engines import Processes
from trivium.data.plan import Plan, Run, Source
from trivium.data.raw.documents import Document
from trivium.data.rules import Drop, Rules

pytest.importorskip("pyarrow")

BLEND = Blend("words", weights={"web": 0.5, "wiki": 0.5}, size=1200)


def some(source: str, count: int, words: int) -> list[Document]:
    rows = range(count)
    return [Document(f"{n}", f"{source} {n} " + "word " * (words - 2 + n % 3), source, {"n": n % 2}) for n in rows]


@pytest.fixture
def pages(tmp_path):
    """Two sources in three files: 60 documents of the web in 600 words or a little more, 20 of a wiki in 200."""
    home = tmp_path / "pages"
    home.mkdir()
    web, wiki = some("web", 60, 9), some("wiki", 20, 9)
    (home / "a.jsonl").write_bytes(lines(web[:30] + wiki[:5]))
    (home / "b.jsonl").write_bytes(lines(web[30:]))
    (home / "c.jsonl").write_bytes(lines(wiki[5:]))
    return home


def plan(pages, mixer, **given) -> Plan:
    return Plan([Source(f"{pages}/*.jsonl")], mixer=mixer, **given)


def words(documents) -> Counter[str]:
    found: Counter[str] = Counter()
    for document in documents:
        found[document.source] += len(document.text.split())
    return found


def test_a_blend_gives_each_source_its_words_and_all_is_accounted_for(pages, tmp_path):
    found = Run(plan(pages, BLEND), tmp_path / "run").go()
    out = list(found.documents())
    times = Counter((document.source, document.id) for document in out)
    assert len(found.kept) == len(out)
    for source, n in words(out).items():
        assert 600 - 10 < n <= 600, source
    assert {source: row["drawn_size"] for source, row in found.groups.items()} == words(out)
    assert {source: row["size"] for source, row in found.groups.items()} == {"web": 600, "wiki": 199}
    assert (found.total.kept, found.drawn.read, found.drawn.kept) == (80, 80, len(times))
    assert found.drawn.dropped == ({"blend": 80 - len(times)} if len(times) < 80 else {})
    once = {(document.source, document.id): len(document.text) for document in out}
    assert (found.drawn.chars_read, found.drawn.chars_kept) == (found.total.chars_kept, sum(once.values()))
    assert set(times[key] for key in times if key[0] == "wiki") <= {3, 4}
    assert times.most_common(1)[0][0][0] == "wiki"
    truth = {(d.source, d.id): d for d in [*some("web", 60, 9), *some("wiki", 20, 9)]}
    for document in out:
        want = truth[document.source, document.id]
        assert (document.text, document.metadata) == (want.text, want.metadata)


@pytest.mark.parametrize("window", [3, 7, 4096])
def test_one_may_begin_at_any_place(pages, tmp_path, monkeypatch, window):
    monkeypatch.setattr(draws, "WINDOW", window)
    monkeypatch.setattr(draws, "CHARACTERS", 500)
    monkeypatch.setattr(tables, "BATCH", 4)
    found = Run(plan(pages, BLEND), tmp_path / "run").go()
    whole = list(found.documents())
    for k in (0, 1, window, window + 1, len(whole) - 1, len(whole)):
        if k <= len(whole):
            assert list(found.documents(k)) == whole[k:]
            assert list(found.kept.documents(k // 2, k)) == whole[k // 2 : k]
    with pytest.raises(ValueError, match="do not lie among"):
        found.documents(len(whole) + 1)
    monkeypatch.undo()
    assert list(Run(plan(pages, BLEND), tmp_path / "other").go().documents()) == whole


def test_any_stretch_of_a_shard_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 4)
    made = some("web", 10, 9)
    with tables.DocumentWriter(tmp_path / "a.parquet") as out:
        for document in made:
            out.add(document)
    for begin in range(11):
        for end in (*range(begin, 11), None):
            assert list(tables.rows(tmp_path / "a.parquet", begin, end)) == made[begin:end]


def test_without_a_mixer_one_may_begin_at_any_place_too(pages, tmp_path):
    found = Run(plan(pages, None), tmp_path / "run").go()
    whole = list(found.documents())
    for k in (0, 34, 35, 36, 79, 80):
        assert list(found.documents(k)) == whole[k:]
    assert (len(whole), found.drawn.read, found.groups) == (80, 0, {})


@pytest.mark.parametrize(
    "mixer", [BLEND, Blend("documents", by="metadata.n", size=60), WordBudget(300)], ids=["blend", "metadata", "budget"]
)
def test_the_order_depends_on_content_and_seed_and_not_on_files(pages, tmp_path, mixer):
    first = Run(plan(pages, mixer), tmp_path / "one").go()
    other = tmp_path / "other"
    other.mkdir()
    rows = b"".join(path.read_bytes() for path in pages.glob("*")).splitlines(keepends=True)
    (other / "all.jsonl").write_bytes(b"".join(sorted(rows, reverse=True)))
    again = Run(plan(other, mixer), tmp_path / "two").go()
    named = lambda found: [(d.source, d.id) for d in found.documents()]  # noqa: E731
    assert named(first) == named(again)
    seeded = Run(plan(pages, replace(mixer, seed=1)), tmp_path / "three").go()
    assert set(named(first)[:20]) != set(named(seeded)[:20])


def test_a_source_of_weight_0_changes_nothing_for_the_others(pages, tmp_path):
    first = Run(plan(pages, BLEND), tmp_path / "one").go()
    (pages / "d.jsonl").write_bytes(lines(some("forum", 9, 9)))
    more = Blend("words", weights={"web": 0.5, "wiki": 0.5, "forum": 0}, size=1200)
    again = Run(plan(pages, more), tmp_path / "two").go()
    assert [d.text for d in first.documents()] == [d.text for d in again.documents()]
    assert again.drawn.dropped["blend"] >= 9


def test_other_processes_make_the_same_bytes_and_nothing_is_done_twice(pages, tmp_path):
    Run(plan(pages, BLEND), tmp_path / "here").go()
    first = Run(plan(pages, BLEND), tmp_path / "processes").go(Processes(2))
    assert content(tmp_path / "here") == content(tmp_path / "processes")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*.manifest.json")}
    assert Run(plan(pages, BLEND), tmp_path / "here").go().digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "here").rglob("*.manifest.json")} == before


def test_another_mixer_draws_anew_and_nothing_else(pages, tmp_path):
    Run(plan(pages, BLEND), tmp_path / "run").go()
    made = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "run").rglob("*.manifest.json")
        if path.parent.name in ("documents", "mixed", "grouped")
    }
    budget = WordBudget(300, {"web": 0.5, "wiki": 0.5})
    with pytest.raises(RunMismatch, match="other inputs or settings"):
        Run(plan(pages, budget), tmp_path / "run").go()
    found = Run(plan(pages, budget), tmp_path / "run", replace=True).go()
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert found.digest == Run(plan(pages, budget), tmp_path / "fresh").go().digest
    plain = Run(plan(pages, None), tmp_path / "run").go()
    assert len(list(plain.documents())) == 80


def test_what_was_grouped_and_ordered_is_made_anew_where_files_or_units_are_others(pages, tmp_path):
    Run(plan(pages, BLEND), tmp_path / "run").go()
    characters = replace(BLEND, unit="characters", size=5000)
    found = Run(plan(pages, characters), tmp_path / "run", replace=True).go()
    assert found.digest == Run(plan(pages, characters), tmp_path / "one").go().digest
    assert Counter({s: sum(len(d.text) for d in found.documents() if d.source == s) for s in ("web", "wiki")}) == {
        source: row["drawn_size"] for source, row in found.groups.items()
    }
    (pages / "b.jsonl").write_bytes(lines([Document(f"new {n}", f"of the {n}th", "web") for n in range(30)]))
    again = Run(plan(pages, characters), tmp_path / "run", replace=True).go()
    fresh = Run(plan(pages, characters), tmp_path / "two").go()
    assert again.digest == fresh.digest
    assert list(again.documents()) == list(fresh.documents())


@pytest.mark.parametrize("dies", ["grouped 00001", "order 00002", "drawn 00001"])
def test_a_killed_run_goes_on_to_the_same_bytes(pages, tmp_path, dies):
    Run(plan(pages, BLEND), tmp_path / "whole").go()
    stage, shard = dies.split()
    code = f"""
import os
from tests.data.test_draws import BLEND, Run, plan
from trivium.data import stages
path = stages.Writing.path
def killed(self, suffix):
    made = path(self, suffix)
    if self._name == {shard!r} and self._folder.name == {stage!r}:
        made.write_bytes(b"half")
        os.kill(os.getpid(), 9)
    return made
stages.Writing.path = killed
Run(plan({str(pages)!r}, BLEND), {str(tmp_path / "run")!r}).go()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=200)
    assert ran.returncode == -9, ran.stderr[-2000:]
    assert content(tmp_path / "run") != content(tmp_path / "whole")
    Run(plan(pages, BLEND), tmp_path / "run").go()
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_word_budget_is_met_by_whole_documents_once_each(pages, tmp_path):
    found = Run(plan(pages, WordBudget(300, {"web": 0.7, "wiki": 0.3})), tmp_path / "run").go()
    out = list(found.documents())
    assert len({(d.source, d.id) for d in out}) == len(out)
    assert 210 - 9 < words(out)["web"] <= 210
    assert 90 - 9 < words(out)["wiki"] <= 90
    assert found.drawn.dropped == {"word budget": 80 - len(out)}


def test_documents_are_grouped_by_what_they_say_or_by_a_method(pages, tmp_path):
    by = Blend("documents", by="metadata.n", weights={"0": 1.0, "1": 0.0}, size=20)
    found = Run(plan(pages, by), tmp_path / "one").go()
    assert {document.metadata["n"] for document in found.documents()} == {0}
    assert len(found.kept) == 20
    language = pytest.importorskip("trivium.curation.language")
    pytest.importorskip("py3langid")
    english = [Document(f"e{n}", f"This is the {n}th page about the house and the garden.", "x") for n in range(6)]
    german = [Document(f"d{n}", f"Das ist die {n}. Seite über das Haus und den Garten.", "x") for n in range(3)]
    (tmp_path / "l").mkdir()
    (tmp_path / "l/a.jsonl").write_bytes(lines([*english, Document("e1#", english[1].text, "x"), *german]))
    methods = {"copies": ExactCopies(), "language": language.Language(keep=("en", "de"))}
    mixer = Blend("documents", by="language", temperature=float("inf"), size=12)
    rules = Rules((Drop("copy", "copies.stays == 0"),))
    found = Run(Plan([Source(str(tmp_path / "l"))], methods, rules, mixer=mixer), tmp_path / "two").go()
    assert {name: row["documents"] for name, row in found.groups.items()} == {"en": 6, "de": 3}
    assert {name: row["draws"] for name, row in found.groups.items()} == {"en": 6, "de": 6}
    assert Counter(d.id[0] for d in found.documents()) == {"e": 6, "d": 6}


def test_groups_that_are_not_there(pages, tmp_path):
    with pytest.raises(ValueError, match="a method of the plan that gives scores"):
        plan(pages, Blend("words", by="language"))
    with pytest.raises(ValueError, match="nothing is measured in 'tokens'"):
        plan(pages, Blend("tokens"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'0' of 'web' says nothing under 'lang'"):
        Run(plan(pages, Blend("words", by="metadata.lang")), tmp_path / "one").go()
    with pytest.raises(ValueError, match="says nothing of 'wiki'"):
        Run(plan(pages, Blend("words", weights={"web": 1.0})), tmp_path / "two").go()
    assert not list((tmp_path / "two").glob("order/*"))
    assert json.loads((tmp_path / "two/mixed/00000.manifest.json").read_text())["counts"]["kept"] == 35


def test_shards_of_which_nothing_stays_and_groups_that_differ_by_little(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines(some("web", 5, 9)))
    (tmp_path / "b.jsonl").write_bytes(lines([Document("x", "a" * 9, "web\0"), Document("y", "b" * 9, "Web")]))
    (tmp_path / "c.jsonl").write_bytes(lines([Document("z", " ".join(["again"] * 90), "gone")]))
    rules = Rules((Drop("long", "gopher.word_count > 50"),))
    asked = Plan([Source(f"{tmp_path}/*.jsonl")], {"gopher": Gopher()}, rules, mixer=Blend("documents", size=14))
    found = Run(asked, tmp_path / "run").go()
    assert {name: row["draws"] for name, row in found.groups.items()} == {"web": 10, "web\0": 2, "Web": 2}
    assert Counter(d.id for d in found.documents()) == dict.fromkeys("01234xy", 2)


def test_nothing_stays_and_nothing_can_be_drawn(pages, tmp_path):
    rules = Rules((Drop("all", "copies.stays < 2"),))
    asked = plan(pages, Blend("documents", size=3), methods={"copies": ExactCopies()}, rules=rules)
    with pytest.raises(ValueError, match="every group needs some text"):
        Run(asked, tmp_path / "run").go()
