"""The page of a run of curation: figures that add up and are counted again, texts that are only texts."""

import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.data.test_plan import SHARES, lines
from trivium import cli
from trivium.compare import curated
from trivium.compare.mixers import described, mixer
from trivium.core.errors import RunMismatch
from trivium.curation.c4 import C4
from trivium.curation.decontamination import Decontamination
from trivium.curation.exact_copies import ExactCopies
from trivium.curation.gopher import Gopher
from trivium.curation.near_copies import NearCopies
from trivium.data.blends import Blend
from trivium.data.curated_folder import CuratedFolder
from trivium.data.curated_tally import EDGES, Drawn, tally
from trivium.data.grouping import best
from trivium.data.marks import Marks
from trivium.data.plan import Plan, Run, Source
from trivium.data.planted import planted
from trivium.data.raw.documents import Document, Policy
from trivium.data.stages import Unbalanced

pytest.importorskip("pyarrow")

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'x' \u202e back " * 3
METHODS = {"gopher": Gopher(), "c4": C4(), "exact_copies": ExactCopies(), "near_copies": NearCopies()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("curated")
    documents = list(planted(90, seed=3, shares=SHARES | {"near": 0.1, "code": 0.05}))
    documents.append(Document("evil <b>", HOSTILE, "<i>forum"))
    (home / "a.jsonl").write_bytes(lines(documents[:50]))
    (home / "b.jsonl").write_bytes(lines(documents[50:]) + b'{"id": "x"}\n')
    plan = Plan([Source(f"{home}/*.jsonl")], METHODS, policy=Policy(max_bad_fraction=0.1))
    outcome = Run(plan, home / "run").go()
    return plan, outcome, curated.write(home / "run", plan), {d.id: d for d in documents}, home / "run"


def test_every_record_is_accounted_for(made):
    _, outcome, report, documents, _ = made
    total = report["total"]
    assert (total["read"], total["quarantined"], total["documents"]) == (92, 1, 91)
    assert (total["kept"], total["dropped"]) == (outcome.total.kept, 91 - outcome.total.kept)
    for column in zip(*(counts for *_, counts in curated.sections.account(report)[2:]), strict=True):
        assert column[0] - sum(column[1:-1]) == column[-1]
    rows = curated.sections.account(report)
    assert [row[:2] for row in rows[:3]] == [
        ("sum", "records read"), ("removed", "quarantine: NoText"), ("sum", "documents"),
    ]  # fmt: skip
    assert {name: of["read"] for name, of in report["sources"].items()} == Counter(d.source for d in documents.values())
    assert sum(of["words_read"] for of in report["sources"].values()) == sum(
        len(d.text.split()) for d in documents.values()
    )
    kept = {d.id: d.text for d in outcome.documents()}
    assert sum(of["words_kept"] for of in report["sources"].values()) == sum(len(t.split()) for t in kept.values())
    assert sum(report["lengths"]["read"]) == 91
    assert sum(report["lengths"]["kept"]) == len(kept)
    assert report["quarantine"][0]["places"][0] | {"offset": 0} == {
        "file": "b.jsonl", "place": 42, "offset": 0, "detail": "'text' of 'x' must be a text, got NoneType",
    }  # fmt: skip


def test_a_rule_is_counted_first_alone_and_as_the_only_one(made):
    plan, outcome, report, *_ = made
    folder = CuratedFolder(outcome.folder)
    alone, only, first, both = Counter(), Counter(), Counter(), Counter()
    for shard in folder.shards:
        for part in folder.parts(shard):
            fired = [[d.name for d in plan.decisions.drops if d.condition(part.marks)[at]] for at in part.rows]
            for names in fired:
                alone.update(names)
                first.update(names[:1])
                only.update(names if len(names) == 1 else [])
                both.update((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    for row in report["rules"]:
        assert (row["first"], row["alone"], row["only"]) == tuple(c[row["name"]] for c in (first, alone, only))
    assert {(a, b): n for a, b, n in report["both"]} == both
    assert [row["name"] for row in report["rules"]] == [d.name for d in plan.decisions.drops]


def test_examples_are_what_they_are_said_to_be_and_the_same_for_a_seed(made):
    _, outcome, report, documents, folder = made
    stayed = {d.id: d.text for d in outcome.documents()}
    for kind, rows in report["examples"].items():
        for one in rows:
            text = documents[one["id"]].text
            assert text[one["begin"] :].startswith(one["text"])
            assert one["characters"] == len(text)
            assert (one["id"] in stayed) == (kind in ("kept", "cut"))
            assert (stayed.get(one["id"]) == text) == (kind == "kept")
            for start, end, name in one["spans"]:
                assert 0 <= start < end <= len(one["text"])
                assert name.startswith("c4.")
    assert "gopher.symbol_to_word_ratio" in report["examples"]["dropped gopher.symbol_to_word_ratio"][0]["values"]
    assert tally(CuratedFolder(folder), seed=0)["examples"] == report["examples"]
    assert tally(CuratedFolder(folder), seed=1)["examples"] != report["examples"]


def test_the_least_keys_are_drawn_whatever_their_order():
    keys = [bytes([n * 37 % 101, n]) for n in range(40)]
    for order in (keys, keys[::-1]):
        drawn = Drawn(3)
        for key in order:
            if drawn.wants(key):
                drawn.add(key, {"key": key.hex()})
        assert [row["key"] for row in drawn.rows()] == [key.hex() for key in sorted(keys)[:3]]


def test_a_cluster_is_shown_with_its_members(made):
    _, _, report, documents, _ = made
    for method in ("exact_copies", "near_copies"):
        found = report["clusters"][method]
        sizes = {int(size): count for size, count in found["sizes"].items()}
        assert found["documents"] == sum(size * count for size, count in sizes.items())
        assert found["clusters"] == sum(sizes.values())
        first, *others = found["example"]
        assert others
        assert len({one["id"] for one in found["example"]}) == len(found["example"])
        words = set(documents[first["id"]].text.lower().split())
        for other in others:
            mine = set(documents[other["id"]].text.lower().split())
            assert len(mine & words) / len(mine | words) > 0.7


class Page(HTMLParser):
    """Tags, identifiers and text of a page, and whether its tags are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.text, self.ids, self.open = "", [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        self.ids += [value for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag not in ("meta", "link", "wbr", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_holds_everything_and_nothing_that_runs(made):
    *_, folder = made
    html = (folder / "report.html").read_text()
    page = Page(html)
    assert not page.open
    assert page.tags["script"] == page.tags["i"] == page.tags["b"] - 1 == 0
    assert not re.search(r"(src|href)=[\"']?(http|//)", html)
    assert "<script>alert(1)" in page.text
    assert "\u202e" not in html
    assert len(page.ids) == len(set(page.ids))
    assert {"account", "rules", "overlaps", "examples", "lengths", "sources", "copies", "marks", "quarantine"} <= set(
        page.ids
    )
    assert page.tags["table"] == page.tags["caption"]
    assert "never fires" in page.text


def test_markdown_and_json_say_the_same(made):
    _, outcome, report, _, folder = made
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))
    text = (folder / "report.md").read_text()
    assert f"91 documents read, {outcome.total.kept} stay" in text
    assert "<i>forum" not in text


def test_made_again_without_the_plan_and_by_the_command(made, capsys):
    _, _, report, _, folder = made
    again = curated.write(folder)
    assert again == report
    assert cli.run(["report", str(folder), "--json", "--seed", "1"]) == cli.OK
    said = json.loads(capsys.readouterr().out)
    assert said["total"] == report["total"]
    assert said["examples"] != report["examples"]
    (folder / "plan.json").rename(folder / "kept")
    try:
        bare = tally(CuratedFolder(folder))
    finally:
        (folder / "kept").rename(folder / "plan.json")
    assert {row["name"]: row["first"] for row in bare["rules"]} == {
        row["name"]: row["first"] for row in report["rules"]
    }
    assert {row["only"] for row in bare["rules"]} == {None}


def test_what_does_not_fit_together_is_an_error(made, tmp_path):
    *_, folder = made
    with pytest.raises(RunMismatch, match="holds no run of curation"):
        CuratedFolder(tmp_path)
    dropped = next((folder / "mixed").glob("*.dropped.jsonl"))
    before = dropped.read_text()
    rows = before.splitlines()
    try:
        dropped.write_text("\n".join(rows[1:]))
        with pytest.raises(RunMismatch, match="neither kept nor dropped"):
            tally(CuratedFolder(folder))
        place = json.loads(rows[0])[0]
        dropped.write_text("\n".join([json.dumps([place, "c4.lorem_ipsum"]), *rows[1:]]))
        with pytest.raises(Unbalanced, match="dropped is"):
            tally(CuratedFolder(folder))
    finally:
        dropped.write_text(before)


def test_contamination_is_told_by_what_was_found(tmp_path):
    documents = list(planted(40, shares={"leaked": 0.2}))
    leaked = sum(document.metadata.get("planted") == "leaked" for document in documents)
    (tmp_path / "a.jsonl").write_bytes(lines(documents))
    plan = Plan([Source(str(tmp_path / "a.jsonl"))], {"decontamination": Decontamination()})
    Run(plan, tmp_path / "run").go()
    report = curated.write(tmp_path / "run", plan)
    assert report["contamination"].keys() == {"decontamination.hits", "decontamination.items"}
    assert {of["documents"] for of in report["contamination"].values()} == {leaked}
    assert 0 < leaked < 40


def test_the_language_of_a_document_is_that_of_its_best_score():
    marks = Marks(3, {
        "language.score_en": np.array([0.9, 0.1, 0.0]), "language.other": np.array([0.1, 0.9, 0.0]),
        "language.letters": np.array([5.0, 5.0, 0.0]),
    })  # fmt: skip
    found = {name: here.tolist() for name, here in best(marks, "language")}
    assert found == {
        "en": [True, False, False], "other": [False, True, False], "none told": [False, False, True],
    }  # fmt: skip


def test_nothing_dropped_and_no_method_is_a_report_too(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines([Document("a", "", "s"), Document("b", "x" * 3, "s")]))
    plan = Plan([Source(str(tmp_path / "a.jsonl"))])
    Run(plan, tmp_path / "run").go()
    report = curated.write(tmp_path / "run", plan)
    assert report["total"]["kept"] == 2
    assert [edge for edge, n in zip(EDGES, report["lengths"]["read"], strict=True) if n] == [0, 3]
    assert not Page((tmp_path / "run/report.html").read_text()).open


def test_a_mix_is_told_by_group_before_and_after(tmp_path):
    web, wiki = ([Document(f"{n}", f"{n} " + "word " * 9, source) for n in range(count)] for source, count in
                 (("web", 40), ("<i>wiki", 4)))  # fmt: skip
    (tmp_path / "a.jsonl").write_bytes(lines([*web, *wiki]))
    blend = Blend("words", weights={"web": 0.5, "<i>wiki": 0.5}, size=400)
    plan = Plan([Source(str(tmp_path / "a.jsonl"))], mixer=blend)
    Run(plan, tmp_path / "run").go()
    report = curated.write(tmp_path / "run", plan)
    assert report["mix"] == {"rule": "blend", "by": "source", "unit": "words", "groups": {
        "<i>wiki": {"documents": 4, "size": 40, "drawn": 4, "draws": 20, "drawn_size": 200},
        "web": {"documents": 40, "size": 400, "drawn": 20, "draws": 20, "drawn_size": 200},
    }}  # fmt: skip
    assert report["stages"][-1] == {"stage": "draw", "in": 44, "out": 24, "removed": {"blend": 20}, "draws": 40}
    said = "40 draws of 24 documents; 20 are not drawn, 16 are repetitions"
    page, text = Page((tmp_path / "run/report.html").read_text()), (tmp_path / "run/report.md").read_text()
    assert not page.open
    assert "mix" in page.ids
    assert said in page.text
    assert said in text
    assert page.text.count("more than 4 epochs") == 1
    assert "| web | 40 | 400 | 90.9 % | 20 | 200 | 50.0 % | 0.50 |" in text
    assert "blend(unit=" in page.text
    assert mixer(described(blend)) == blend
    assert curated.write(tmp_path / "run") == report
    Run(Plan([Source(str(tmp_path / "a.jsonl"))]), tmp_path / "run").go()
    assert curated.write(tmp_path / "run", Plan([Source(str(tmp_path / "a.jsonl"))]))["mix"] is None
    drawn = tmp_path / "run/drawn/00000.manifest.json"
    files = json.loads(drawn.read_text())
    drawn.write_text(json.dumps(files | {"inputs": []}))
    with pytest.raises(RunMismatch, match="was drawn from other documents"):
        curated.write(tmp_path / "run", plan)
    drawn.unlink()
    (tmp_path / "run/drawn/00001.manifest.json").write_text(json.dumps(files | {"name": "00001"}))
    with pytest.raises(RunMismatch, match=r"the shard 00000 of .* is not drawn"):
        curated.write(tmp_path / "run", plan)
    (tmp_path / "run/drawn/00001.manifest.json").unlink()
    files["counts"] |= {"read": 43, "dropped": {"blend": 19}}
    drawn.write_text(json.dumps(files))
    with pytest.raises(Unbalanced, match="44 documents stayed, and 43 came to the mixer"):
        curated.write(tmp_path / "run", plan)
