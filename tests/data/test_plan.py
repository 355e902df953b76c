"""A plan from files to documents: the same whoever does the work, whatever stops it, and nothing lost."""

import gzip
import json
import subprocess
import sys
from collections import Counter

import pytest

from trivium.core.errors import RunBusy, RunMismatch, UnknownName
from trivium.core.files import locked
from trivium.curation.exact_copies import ExactCopies
from trivium.curation.gopher import Gopher
from trivium.data import tables
from trivium.data.engines import Daft, Here, Processes
from trivium.data.plan import Plan, Run, Source
from trivium.data.planted import planted
from trivium.data.raw.documents import BadRecords, Document, Policy
from trivium.data.rules import Drop, Rules

pytest.importorskip("pyarrow")

SHARES = {"copy": 0.2, "short": 0.1, "repeated": 0.1, "symbols": 0.05}


def lines(documents: list[Document]) -> bytes:
    rows = [{"id": d.id, "text": d.text, "source": d.source, "metadata": d.metadata} for d in documents]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def pages(tmp_path):
    """Three files of planted documents, one of them packed; 90 in all."""
    made = list(planted(90, seed=3, shares=SHARES))
    home = tmp_path / "pages"
    home.mkdir()
    (home / "a.jsonl").write_bytes(lines(made[:40]))
    (home / "b.jsonl.gz").write_bytes(gzip.compress(lines(made[40:80]), mtime=0))
    (home / "c.jsonl").write_bytes(lines(made[80:]))
    return home


def plan(pages, **given) -> Plan:
    methods = {"gopher": Gopher(), "exact_copies": ExactCopies()}
    return Plan([Source(f"{pages}/*.jsonl*")], **{"methods": methods, **given})


def content(folder):
    """Every file but those that tell when."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("journal.jsonl", ".lock")
    }


def test_documents_go_in_and_all_are_accounted_for(pages, tmp_path):
    found = Run(plan(pages), tmp_path / "run").go()
    truth = {d.id: d for d in planted(90, seed=3, shares=SHARES)}
    assert (found.read.read, found.total.read) == (90, 90)
    stayed = {document.id: document for document in found.documents()}
    assert found.total.kept == len(stayed)
    assert 90 - len(stayed) == sum(found.total.dropped.values())
    for id, document in stayed.items():
        assert document == Document(id, truth[id].text, truth[id].source, truth[id].metadata, document.place)
        assert truth[id].metadata.get("planted") not in ("short", "repeated", "symbols")
    texts = Counter(" ".join(document.text.lower().split()) for document in stayed.values())
    assert set(texts.values()) == {1}
    sources = Counter(document.source for document in truth.values())
    assert {name: row["read"] for name, row in found.by_source.items()} == sources
    assert found.alone["exact_copies"] >= found.total.dropped.get("exact_copies", 0) > 0
    lost = [json.loads(line) for path in (tmp_path / "run/mixed").glob("*.dropped.jsonl") for line in path.open()]
    assert Counter(why for _, why in lost) == found.total.dropped


@pytest.mark.parametrize("batch", [1, 7])
def test_neither_batches_nor_engines_change_anything(pages, tmp_path, monkeypatch, batch):
    whole = Run(plan(pages), tmp_path / "whole").go(Here())
    monkeypatch.setattr(tables, "BATCH", batch)
    again = Run(plan(pages), tmp_path / "again").go(Here())
    assert [d.id for d in again.documents()] == [d.id for d in whole.documents()]
    assert again.total == whole.total


@pytest.mark.parametrize("methods", [{"gopher": Gopher()}, {}])
def test_files_that_changed_are_measured_and_mixed_anew(pages, tmp_path, methods):
    """Nothing of the old content is taken for the new one, not even where nothing is measured."""
    asked = plan(pages, methods=methods)
    Run(asked, tmp_path / "run").go()
    (pages / "a.jsonl").write_bytes(lines(list(planted(40, seed=9, shares=SHARES))))
    with pytest.raises(RunMismatch):
        Run(asked, tmp_path / "run").go()
    again = Run(asked, tmp_path / "run", replace=True).go()
    fresh = Run(asked, tmp_path / "fresh").go()
    assert [d.text for d in again.documents()] == [d.text for d in fresh.documents()]
    assert again.digest == fresh.digest


def test_other_processes_make_the_same_bytes(pages, tmp_path):
    Run(plan(pages), tmp_path / "here").go(Here())
    Run(plan(pages), tmp_path / "processes").go(Processes(2))
    assert content(tmp_path / "here") == content(tmp_path / "processes")


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["native", "ray"])
def test_daft_makes_the_same_bytes_on_this_machine_and_on_ray(pages, tmp_path, runner):
    pytest.importorskip("daft")
    pytest.importorskip("ray")
    Run(plan(pages), tmp_path / "here").go(Here())
    code = (
        "from tests.data.test_plan import Daft, Run, plan\n"
        f"Run(plan({str(pages)!r}), {str(tmp_path / 'daft')!r}).go(Daft({runner!r}, 2))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=400, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert content(tmp_path / "here") == content(tmp_path / "daft")
    assert Daft("ray").workers == 2


@pytest.mark.parametrize("dies", ["reading 00001", "sketching 00000", "comparing 00001", "mixing 00002"])
def test_a_killed_run_goes_on_to_the_same_bytes(pages, tmp_path, dies):
    Run(plan(pages), tmp_path / "whole").go()
    what, shard = dies.split()
    code = f"""
import os
from tests.data.test_plan import Run, plan
from trivium.data import stages
copies = "exact_copies"
where = {{"reading": "documents", "sketching": "sketches/" + copies, "comparing": "marks/" + copies, "mixing": "mixed"}}
stage = where[{what!r}]
path = stages.Writing.path
def killed(self, suffix):
    made = path(self, suffix)
    if self._name == {shard!r} and str(self._folder).endswith(stage):
        made.write_bytes(b"half")
        os.kill(os.getpid(), 9)
    return made
stages.Writing.path = killed
Run(plan({str(pages)!r}), {str(tmp_path / "run")!r}).go()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=200)
    assert ran.returncode == -9, ran.stderr[-2000:]
    assert content(tmp_path / "run") != content(tmp_path / "whole")
    Run(plan(pages), tmp_path / "run").go()
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_what_is_done_is_not_done_again(pages, tmp_path):
    first = Run(plan(pages), tmp_path).go()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.manifest.json")}
    assert Run(plan(pages), tmp_path).go() == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.manifest.json")} == before


def test_other_rules_do_the_last_stage_alone(pages, tmp_path):
    Run(plan(pages), tmp_path / "run").go()
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*.manifest.json") if "mixed" not in p.parts}
    fewer = plan(pages, rules=Rules((Drop("short", "gopher.word_count < 50"),)))
    with pytest.raises(RunMismatch, match="other inputs or settings"):
        Run(fewer, tmp_path / "run").go()
    found = Run(fewer, tmp_path / "run", replace=True).go()
    assert set(found.total.dropped) == {"short"}
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert found.digest == Run(fewer, tmp_path / "fresh").go().digest


def test_a_source_that_changes_between_runs_is_told(pages, tmp_path):
    Run(plan(pages), tmp_path / "run").go()
    with (pages / "c.jsonl").open("ab") as file:
        file.write(b'{"id": "new", "text": "more"}\n')
    with pytest.raises(RunMismatch, match="00002"):
        Run(plan(pages), tmp_path / "run").go()


def test_two_runs_in_one_folder(pages, tmp_path):
    code = (
        "import sys\nfrom trivium.core.files import locked\n"
        f"with locked({str(tmp_path / 'run')!r}):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    held = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert held.stdout is not None
    held.stdout.readline()
    try:
        with pytest.raises(RunBusy, match="is in use by process"):
            Run(plan(pages), tmp_path / "run").go()
    finally:
        held.communicate()
    with locked(tmp_path / "run"):
        pass


# Bad input ----------------------------------------------------------------------------------------------------------


def test_bad_records_go_to_the_quarantine_with_place_and_bytes(pages, tmp_path):
    with (pages / "a.jsonl").open("ab") as file:
        file.write(b'{"id": "x", "text": "\xff"}\n[1]\n')
    with pytest.raises(BadRecords, match="2 of 42 records were refused"):
        Run(plan(pages), tmp_path / "run").go()
    assert not list((tmp_path / "run/documents").glob("00000*"))
    found = Run(plan(pages, policy=Policy(max_bad_fraction=0.1)), tmp_path / "run").go()
    assert (found.read.read, found.read.quarantined, found.total.read) == (92, 2, 90)
    rows = [json.loads(line) for line in (tmp_path / "run/documents/00000.quarantine.jsonl").open()]
    assert [(row["reason"], row["place"], row["file"]) for row in rows] == [
        ("InvalidUtf8", 41, "a.jsonl"), ("NotAnObject", 42, "a.jsonl"),
    ]  # fmt: skip


def test_a_broken_file_stops_the_run_or_is_read_as_far_as_it_goes(pages, tmp_path):
    packed = pages / "b.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(BadRecords, match="TruncatedStream"):
        Run(plan(pages), tmp_path / "run").go()
    policy = Policy(on_bad_file="quarantine", max_bad_fraction=0.1)
    found = Run(plan(pages, policy=policy), tmp_path / "run2").go()
    assert found.read.quarantined == 1
    assert 50 < found.read.kept < 90
    manifest = json.loads((tmp_path / "run2/documents/00001.manifest.json").read_text())
    assert manifest["facts"]["complete"] is False
    assert manifest["facts"]["refused"] == {"TruncatedStream": 1}


def test_one_identity_twice_is_an_error_or_gets_another_name(pages, tmp_path):
    with (pages / "c.jsonl").open("ab") as file:
        file.write(lines([Document("3-0000001", "said anew", "books"), Document("3-0000001", "and again", "books")]))
    first = next(d for d in planted(2, seed=3, shares=SHARES) if d.id == "3-0000001")
    policy = Policy(on_duplicate_id="suffix")
    with pytest.raises(BadRecords, match="the document '3-0000001' of 'books' stands in"):
        Run(plan(pages), tmp_path / "run").go()
    found = Run(plan(pages, methods={"exact_copies": ExactCopies()}, policy=policy), tmp_path / "run2").go()
    named = [document.id for document in found.documents() if document.text in ("said anew", "and again")]
    extra = 1 if first.source == "books" else 0
    assert named == (["3-0000001#2", "3-0000001#3"] if extra else ["3-0000001", "3-0000001#2"])


def test_rules_about_nothing_are_an_error_before_anything_is_read(tmp_path):
    with pytest.raises(UnknownName, match="which nobody measures"):
        Plan([Source("nowhere/*")], {"gopher": Gopher()}, Rules((Drop("r", "gopher.wordcount < 3"),)))
    with pytest.raises(ValueError, match="its own rules do not fit"):
        Plan([Source("nowhere/*")], {"g": Gopher()})
    with pytest.raises(ValueError, match="at least one source"):
        Plan([])
    with pytest.raises(ValueError, match="is one word, such as gopher"):
        Plan([Source("x")], {"my rules": Gopher()}, Rules())
    with pytest.raises(ValueError, match="no file matches"):
        Run(Plan([Source(f"{tmp_path}/*.jsonl")]), tmp_path / "run").go()


def test_files_that_lead_out_or_count_twice(pages, tmp_path):
    secret = tmp_path / "secret.jsonl"
    secret.write_bytes(b'{"id": "s", "text": "s"}\n')
    with pytest.raises(ValueError, match="belongs to two sources"):
        Run(Plan([Source(str(pages)), Source(f"{pages}/a*")]), tmp_path / "run").go()
    (pages / "link.jsonl").symlink_to(secret)
    with pytest.raises(ValueError, match="leads out of"):
        Run(plan(pages), tmp_path / "run").go()


def test_a_plan_without_methods_gives_back_what_went_in(pages, tmp_path):
    found = Run(Plan([Source(f"{pages}/*")]), tmp_path / "run").go()
    truth = list(planted(90, seed=3, shares=SHARES))
    assert [(d.id, d.text, d.source, d.metadata) for d in found.documents()] == [
        (d.id, d.text, d.source, d.metadata) for d in truth
    ]
