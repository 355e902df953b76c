import json
from pathlib import Path

import pytest

from tests.compare.fakes import Mean, Writes, system
from trivium.compare.comparison import Comparison
from trivium.compare.executors import InProcess, Ray, executor_of
from trivium.core import optional
from trivium.core.errors import MissingExtra, UnknownName
from trivium.core.progress import Bar

TIMINGS = {"seconds", "peak_bytes"}


@pytest.fixture(autouse=True)
def _page(monkeypatch):
    monkeypatch.setattr("trivium.compare.comparison.page", lambda data: f"<!doctype html>{len(data)}")


def comparison() -> Comparison:
    return Comparison(
        "decoding",
        [Writes(10), Writes(14), Writes(5, fails_at="prompt 3"), Writes(6, tokens=9)],
        system=system(),
        task=Mean(),
        budget="6 new_tokens",
        seeds=2,
        baseline=Writes(10),
        trials=2,
        tune={"Writes(top=14)": {"top": [3]}, "Writes(top=6, tokens=9)": {"top": [20]}},
    )


def numbers(folder: Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]
    for record in records:
        record["spent"] = {unit: amount for unit, amount in record["spent"].items() if unit not in TIMINGS}
    return sorted(records, key=json.dumps)


@pytest.mark.slow
def test_ray_leaves_the_same_records_as_this_process(tmp_path):
    """A run that was begun here and cut in the middle of a line goes on under Ray."""
    ray = pytest.importorskip("ray")
    here = comparison().run(tmp_path / "here")
    lines = (tmp_path / "here" / "records.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "comparison.json").write_bytes((tmp_path / "here" / "comparison.json").read_bytes())
    (tmp_path / "there" / "records.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:20])
    bar = Bar(0.0)
    there = comparison().run(tmp_path / "there", executor=Ray(workers=2), bar=bar)
    assert not ray.is_initialized()  # what was started for this is gone
    assert numbers(tmp_path / "here") == numbers(tmp_path / "there")
    assert len(numbers(tmp_path / "here")) == 4 * 2 * 8 + 2 * 2 * 8
    assert [c["measures"] for c in here.data["contenders"]] == [c["measures"] for c in there.data["contenders"]]
    assert [c["failed"] for c in here.data["contenders"]] == [c["failed"] for c in there.data["contenders"]]
    assert here.data["pairs"] == there.data["pairs"]
    assert bar.done == pytest.approx(6.0 * (4 * 2 * 8 + 2 * 2 * 8))


def test_executors_have_names():
    assert isinstance(executor_of("process"), InProcess)
    assert isinstance(executor_of("ray"), Ray)
    own = InProcess()
    assert executor_of(own) is own
    with pytest.raises(UnknownName, match="no executor is called 'rya'; did you mean 'ray'"):
        executor_of("rya")
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        Ray(0)


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(optional, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'trivium\[cluster\]'"):
        comparison().run(tmp_path, executor="ray")
