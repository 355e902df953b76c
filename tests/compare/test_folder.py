"""What can be wrong with a run folder, and that nothing is lost by it."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.compare.fakes import Mean, Writes, system
from trivium.compare import folder as folder_module
from trivium.compare.comparison import Comparison, remake
from trivium.compare.folder import RunFolder
from trivium.core import files
from trivium.core.errors import RunBusy, RunMismatch

ROOT = Path(__file__).resolve().parents[2]
ASKED = {"format": 1, "identity": {"kind": "decoding", "seeds": [0]}}


@pytest.fixture(autouse=True)
def _page(monkeypatch):
    monkeypatch.setattr("trivium.compare.comparison.page", lambda data: f"<!doctype html>{len(data)}")


def record(n: int = 0, **given) -> dict:
    base = {"contender": "a", "config": "a", "phase": "score", "trial": None, "seed": 0, "example": f"e{n}"}
    return base | {"values": {"x": float(n)}, "spent": {}, "output": {}, "error": None} | given


def comparison(**given) -> Comparison:
    settings = {"system": system(), "task": Mean(count=3), "budget": "6 new_tokens", "seeds": 2, "baseline": Writes(10)}
    return Comparison("decoding", [Writes(10), Writes(14)], **(settings | given))


def test_records_come_back_as_they_were_added(tmp_path):
    here = RunFolder(tmp_path / "run")
    odd = record(1, output={"text": "\ud800 \u2028 \x00 </script>"})
    with here.held(ASKED):
        here.append(record(0))
        here.append(odd)
    assert here.records() == [record(0), odd]
    with pytest.raises(RuntimeError, match="inside"):
        here.append(record(2))


def test_every_record_is_on_disk_as_soon_as_it_is_added(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd))[1])
    here = RunFolder(tmp_path)
    with here.held(ASKED):
        before = len(synced)
        here.append(record())
        assert len(synced) == before + 1
        assert here.records() == [record()]


@pytest.mark.parametrize("broken", [b'{"contender": "a"', b"\x00\xff", b"[1]", b'{"contender": "a"}', b"null"])
def test_a_broken_line_anywhere_is_put_aside(tmp_path, broken):
    here = RunFolder(tmp_path)
    with here.held(ASKED):
        here.append(record(0))
        here.append(record(1))
    first, second = here.records_file.read_bytes().splitlines(keepends=True)
    here.records_file.write_bytes(first + broken + b"\n" + second)
    assert here.records() == [record(0), record(1)]  # a reader is not hindered
    with here.held(ASKED):
        here.append(record(2))
    assert here.records_file.read_bytes() == first + second + json.dumps(record(2)).encode() + b"\n"
    assert (tmp_path / "records.broken.jsonl").read_bytes() == broken + b"\n"


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    here = RunFolder(tmp_path)
    with here.held(ASKED):
        here.append(record(0))
    here.records_file.write_bytes(here.records_file.read_bytes()[:-1])
    with here.held(ASKED):
        here.append(record(1))
    assert here.records() == [record(0), record(1)]
    assert not (tmp_path / "records.broken.jsonl").exists()


def test_a_unit_counts_once_and_success_before_failure(tmp_path):
    here = RunFolder(tmp_path)
    failed = record(0, error={"type": "ValueError", "message": "no"}, values={})
    with here.held(ASKED):
        for each in (failed, record(0, values={"x": 5.0}), record(0, values={"x": 6.0}), record(1), failed):
            here.append(each)
    assert [r["values"] for r in here.records()] == [{"x": 5.0}, {"x": 1.0}]


def test_numbers_that_json_does_not_have_are_refused(tmp_path):
    here = RunFolder(tmp_path)
    with here.held(ASKED), pytest.raises(ValueError, match="JSON"):
        here.append(record(values={"x": float("nan")}))
    assert here.records() == []


def test_another_comparison_is_refused_with_what_differs(tmp_path):
    comparison().run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for given, what in [
        ({"seeds": 3}, r"its seeds is \[0, 1\], yours is \[0, 1, 2\]"),
        ({"budget": "7 new_tokens"}, "its budget is"),
        ({"task": Mean(count=4)}, "its examples is .*task"),
        ({"system": system(name="other")}, "its system is"),
    ]:
        with pytest.raises(RunMismatch, match=what):
            comparison(**given).run(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_or_foreign_comparison_file_is_named(tmp_path):
    comparison().run(tmp_path)
    asked = tmp_path / "comparison.json"
    good = asked.read_text()
    asked.write_text(good[: len(good) // 2])
    with pytest.raises(RunMismatch, match=r"comparison\.json is damaged"):
        comparison().run(tmp_path)
    asked.write_text(json.dumps({"format": 99}))
    with pytest.raises(RunMismatch, match="has format 99"):
        comparison().run(tmp_path)
    asked.unlink()
    with pytest.raises(RunMismatch, match=r"records but no comparison\.json"):
        comparison().run(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        remake(tmp_path)


def test_two_processes_do_not_share_a_folder(tmp_path):
    code = textwrap.dedent(
        f"""
        import sys, time; sys.path.insert(0, {str(ROOT)!r})
        from trivium.core.files import locked
        with locked({str(tmp_path)!r}):
            print("held", flush=True)
            time.sleep(60)
        """
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunBusy, match=f"in use by process {other.pid}"):
            comparison().run(tmp_path)
        assert not (tmp_path / "comparison.json").exists()
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.communicate()
    comparison().run(tmp_path)  # a lock does not outlive its process
    with files.locked(tmp_path), pytest.raises(RunBusy):
        comparison().run(tmp_path)


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OSError, match=r"run folder .*/run cannot be written"):
        comparison().run(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root; as another user the next test does it")
def test_a_folder_of_somebody_else_is_refused_before_any_work(tmp_path):
    tmp_path.chmod(0o755)
    run = tmp_path / "run"
    run.mkdir(mode=0o555)
    worked = []

    class Notes(Writes):
        def __call__(self, *args, **kwargs):
            worked.append(1)
            return super().__call__(*args, **kwargs)

    asked = Comparison("decoding", [Notes(10)], system=system(), task=Mean(count=3), baseline=Notes(10))
    asked.plan.check()
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=r"run folder .*/run cannot be written \(Permission denied\)"):
            asked.run(run)
    finally:
        os.seteuid(0)
    assert not worked


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_any_work(tmp_path):
    run = tmp_path / "run"
    run.mkdir(mode=0o555)
    with pytest.raises(PermissionError, match=r"run folder .*/run cannot be written \(Permission denied\)"):
        comparison().run(run)


def test_a_nearly_full_disk_is_refused_before_any_work(tmp_path, monkeypatch):
    usage = folder_module.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(folder_module.shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    with pytest.raises(OSError, match="less than 32 MiB are free") as caught:
        comparison().run(tmp_path / "run")
    assert caught.value.errno == errno.ENOSPC


def test_a_disk_that_fills_up_loses_nothing_that_was_recorded(tmp_path):
    """The kernel refuses to let the file grow, in the middle of a line, as a full disk does."""
    whole = comparison().run(tmp_path / "whole")
    size = (tmp_path / "whole" / "records.jsonl").stat().st_size
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(size // 2 + 7, 8192), old[1]))
    try:
        with pytest.raises(
            OSError, match=r"File too large while adding a line .*records.jsonl; what was recorded"
        ) as caught:
            Comparison(
                "decoding", [Writes(10), Writes(14)], system=system(), task=Mean(count=24), budget="6 new_tokens",
                seeds=2, baseline=Writes(10),
            ).run(tmp_path / "run")  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    lines = (tmp_path / "run" / "records.jsonl").read_bytes()
    assert not lines.endswith(b"\n")  # a cut line is there
    kept = len(RunFolder(tmp_path / "run").records())
    assert kept >= 5
    report = Comparison(
        "decoding", [Writes(10), Writes(14)], system=system(), task=Mean(count=24), budget="6 new_tokens", seeds=2,
        baseline=Writes(10),
    ).run(tmp_path / "run")  # fmt: skip
    assert report.contender("Writes")["measures"]["mean"]["n"] == 24
    assert whole.contender("Writes")["measures"]["mean"]["n"] == 3


def test_provenance_tells_where_a_run_went_on(tmp_path, monkeypatch):
    comparison().run(tmp_path)
    first = json.loads((tmp_path / "provenance.json").read_text())
    assert {"versions", "python", "commit", "machine", "seeds", "budget", "system", "examples"} <= set(first)
    comparison().run(tmp_path)
    assert "continued" not in json.loads((tmp_path / "provenance.json").read_text())
    from trivium.compare import comparison as module

    elsewhere = module.environment() | {"python": "4.0"}
    monkeypatch.setattr(module, "environment", lambda: elsewhere)
    monkeypatch.setattr(module, "provenance", lambda **facts: {"made": "later", **elsewhere, **facts})
    for _ in range(2):
        report = comparison().run(tmp_path)
    continued = report.data["provenance"]["continued"]
    assert [place["python"] for place in continued] == ["4.0"]
