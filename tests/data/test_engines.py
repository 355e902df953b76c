"""One plan on every engine: the same results, in other processes where there are several."""

import os

import pytest

from tests.data.shard_work import fails, squared
from trivium.core.errors import UnknownName
from trivium.data.engines import Daft, Here, Processes, engine

LOCAL = [Here(), Processes(2)]


def local() -> list:
    pytest.importorskip("daft")
    return [*LOCAL, Daft("native", 2)]


def test_every_engine_gives_every_result():
    for one in local():
        found = list(one.map(squared, range(6)))
        assert sorted(square for square, _ in found) == [0, 1, 4, 9, 16, 25]
        elsewhere = {process for _, process in found} - {os.getpid()}
        assert bool(elsewhere) == (one != Here())
        assert list(one.map(squared, [])) == []


def test_what_a_worker_raises_ends_the_whole():
    for one in local():
        with pytest.raises(Exception, match="three is no shard"):
            list(one.map(fails, range(5)))


@pytest.mark.slow
def test_the_same_plan_on_ray():
    pytest.importorskip("daft")
    pytest.importorskip("ray")
    import subprocess
    import sys

    code = (
        "from tests.data.shard_work import squared\n"
        "from trivium.data.engines import Daft\n"
        "print(sorted(square for square, _ in Daft('ray', 2).map(squared, range(6))))\n"
    )  # a process has one runner, so this wants one of its own
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert ran.stdout.strip().endswith("[0, 1, 4, 9, 16, 25]"), ran.stderr[-2000:]


def test_engines_by_name():
    assert engine("here") == Here()
    assert engine("processes", 3) == Processes(3)
    assert engine("ray", 2) == Daft("ray", 2)
    with pytest.raises(UnknownName, match="no engine is called 'dafft'; did you mean 'daft'"):
        engine("dafft")
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        engine("processes", 0)
    with pytest.raises(ValueError, match="runner must be native or ray, got 'dask'"):
        Daft("dask")  # type: ignore[arg-type]
