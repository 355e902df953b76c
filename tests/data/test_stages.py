"""Shards that are whole or not there, known by what went into them."""

import json
import os
import subprocess
import sys

import pytest

from tests.data.shard_work import copies
from trivium.core.errors import RunMismatch
from trivium.data.stages import Counts, Manifest, Shelf, Unbalanced, fingerprint

GOOD = Counts(read=3, kept=1, dropped={"a": 1}, quarantined=1, chars_read=30, chars_kept=8, chars_removed=2,
              chars_dropped=15, chars_quarantined=5)  # fmt: skip


def write(shelf: Shelf, name: str = "s0", text: str = "text", wanted: str = "f") -> Manifest:
    with shelf.writing(name, wanted, ["in"]) as shard:
        shard.path(".txt").write_text(text)
        shard.counts, shard.facts = GOOD, {"longest": 3}
    found = shelf.find(name, wanted)
    assert found is not None
    return found


def test_a_shard_that_was_written_is_found_again(tmp_path):
    shelf = Shelf(tmp_path, "stage")
    assert shelf.find("s0", "f") is None
    made = write(shelf)
    assert (made.stage, made.fingerprint, list(made.inputs), made.counts) == ("stage", "f", ["in"], GOOD)
    assert made.facts == {"longest": 3}
    assert (tmp_path / "s0.txt").read_text() == "text"
    assert Shelf(tmp_path, "stage").find("s0", "f") == made
    assert [one.name for one in shelf.manifests()] == ["s0"]
    assert {path.name for path in tmp_path.iterdir()} == {"s0.txt", "s0.manifest.json", "journal.jsonl"}


def test_a_changed_or_missing_file_makes_it_no_shard(tmp_path):
    shelf = Shelf(tmp_path, "stage")
    write(shelf)
    (tmp_path / "s0.txt").write_text("other")
    assert shelf.find("s0", "f") is None
    write(shelf)
    (tmp_path / "s0.txt").unlink()
    assert shelf.find("s0", "f") is None
    write(shelf)
    (tmp_path / "s0.manifest.json").write_text("{}")
    assert shelf.find("s0", "f") is None


def test_another_fingerprint_or_stage_is_never_taken(tmp_path):
    shelf = Shelf(tmp_path, "stage")
    write(shelf)
    with pytest.raises(RunMismatch, match="other inputs or settings"):
        shelf.find("s0", "g")
    with pytest.raises(RunMismatch, match="made by 'stage'"):
        Shelf(tmp_path, "else").find("s0", "f")
    again = Shelf(tmp_path, "stage", replace=True)
    assert again.find("s0", "g") is None
    assert write(again, text="new", wanted="g").fingerprint == "g"


def test_an_error_leaves_nothing(tmp_path):
    shelf = Shelf(tmp_path, "stage")

    def broken() -> None:
        with shelf.writing("s0", "f") as shard:
            shard.path(".txt").write_text("half")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        broken()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [({"kept": 2}, "3 documents were read, but 2 kept, 1 dropped and 1 quarantined"),
     ({"chars_removed": 3}, "30 characters were read, but 31 are accounted for")],
)  # fmt: skip
def test_what_does_not_add_up_is_no_shard(tmp_path, change, said):
    shelf = Shelf(tmp_path, "stage")

    def lost() -> None:
        with shelf.writing("s0", "f") as shard:
            shard.path(".txt").write_text("x")
            shard.counts = Counts(**{**vars(GOOD), **change})

    with pytest.raises(Unbalanced, match=said):
        lost()
    assert shelf.find("s0", "f") is None


def test_counts_add_up_by_rule():
    total = GOOD + Counts(read=2, kept=0, dropped={"a": 1, "b": 1}, chars_read=4, chars_dropped=4)
    assert (total.read, total.kept, total.dropped, total.quarantined) == (5, 1, {"a": 2, "b": 1}, 1)
    total.check("both")


def test_a_fingerprint_is_of_the_content_alone():
    one = fingerprint("s", config={"a": 1, "b": [2, "ü"]}, inputs=["x"])
    assert one == fingerprint("s", inputs=["x"], config={"b": [2, "ü"], "a": 1})
    others = [
        fingerprint("t", config={"a": 1, "b": [2, "ü"]}, inputs=["x"]),
        fingerprint("s", config={"a": 1, "b": ["ü", 2]}, inputs=["x"]),
        fingerprint("s", config={"a": 1, "b": [2, "ü"]}, inputs=[]),
    ]
    assert len({one, *others}) == 4


def test_a_newer_version_is_refused(tmp_path):
    shelf = Shelf(tmp_path, "stage")
    write(shelf)
    path = tmp_path / "s0.manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(RunMismatch, match="written by a newer version"):
        shelf.find("s0", "f")


def test_names_of_files(tmp_path):
    shelf = Shelf(tmp_path, "stage")
    for wrong in ("txt", ".manifest.json"):
        with pytest.raises(ValueError, match="a suffix begins with a point"), shelf.writing("s0", "f") as shard:
            shard.path(wrong)


@pytest.mark.parametrize("dies", [0, 1, 3])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, dies):
    """SIGKILL in the middle of a shard, then once more from the beginning."""
    names = [f"s{n}" for n in range(4)]
    whole = [copies((str(tmp_path / "whole"), name, -1)) for name in names]
    code = (
        "from tests.data.shard_work import copies\n"
        f"for name in {names!r}:\n"
        f"    copies(({str(tmp_path / 'run')!r}, name, {dies}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=100)
    assert ran.returncode == -9, ran.stderr
    shelf = Shelf(tmp_path / "run", "copies")
    assert [made.name for made in shelf.manifests()] == names[:dies]
    assert list((tmp_path / "run").glob(".*.part"))
    shelf.tidy()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    assert [copies((str(tmp_path / "run"), name, -1)) for name in names] == whole
    assert shelf.digest() == Shelf(tmp_path / "whole", "copies").digest()
    kept = [path for path in before if path.name != "journal.jsonl"]
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)
    for path in (tmp_path / "whole").iterdir():
        if path.name != "journal.jsonl":
            assert (tmp_path / "run" / path.name).read_bytes() == path.read_bytes()


def test_a_full_disk_is_told_and_leaves_no_shard(tmp_path):
    """/dev/full answers every write as a full disk does."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    shelf = Shelf(tmp_path, "stage")

    def full() -> None:
        with shelf.writing("s0", "f") as shard:
            shard.path(".txt").symlink_to("/dev/full")
            with shard.path(".txt").open("w") as file:
                file.write("x" * 100_000)

    with pytest.raises(OSError, match="No space left"):
        full()
    assert shelf.find("s0", "f") is None
