import hashlib
import multiprocessing
import os
import signal
import time

import pytest

from trivium.core.errors import RunBusy
from trivium.core.files import locked, sha256, write, written


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "table.json"
    write(path, "old")
    with pytest.raises(RuntimeError), written(path) as part:
        part.write_text("half of the n")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["table.json"]


def test_lone_surrogates_are_written_as_their_escape(tmp_path):
    write(tmp_path / "x.txt", "a\ud800b")
    assert (tmp_path / "x.txt").read_text() == "a\\ud800b"


def test_new_files_have_an_ordinary_mode(tmp_path):
    write(tmp_path / "x.txt", b"bytes")
    plain = tmp_path / "y.txt"
    plain.touch()
    assert (tmp_path / "x.txt").stat().st_mode == plain.stat().st_mode


def test_sha256_of_bytes_and_of_the_file_agree(tmp_path):
    data = os.urandom(100_000)
    (tmp_path / "x").write_bytes(data)
    assert sha256(data) == sha256(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def _hold(folder, ready):
    with locked(folder):
        ready.set()
        time.sleep(60)


def test_a_second_process_is_refused_and_a_dead_one_does_not_block(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(20)
    with pytest.raises(RunBusy, match=f"in use by process {holder.pid}"), locked(tmp_path):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with locked(tmp_path):
        pass
