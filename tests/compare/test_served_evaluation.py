"""Servers put to tasks: what they cannot do is said once, and what failed for good is not asked again and again."""

import pytest

from tests.models.made import folder
from tests.models.served import serving
from trivium.cli.evaluate import Command
from trivium.compare.comparison import Comparison
from trivium.compare.models import Named
from trivium.core.errors import Unreachable
from trivium.evaluation.bits_per_byte import BitsPerByte
from trivium.evaluation.multiple_choice import MultipleChoice
from trivium.evaluation.recall import Recall
from trivium.models._endpoint import Endpoint
from trivium.models.sources import load

TASKS = [MultipleChoice(items=3), BitsPerByte(documents=3), Recall(documents=2)]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return load(folder(tmp_path_factory.mktemp("served") / "model"))


def weighed(path, address, task, **given):
    report = Comparison("evaluation", [Named(address)], task=task if isinstance(task, list) else [task], seeds=1).run(
        path, **given
    )
    (entry,) = report.data["contenders"]
    return entry


def test_without_a_prefix_only_mutual_information_is_missing(local, tmp_path):
    with serving(local) as endpoint:
        found = weighed(tmp_path, f"server:{endpoint.url}?model=small", TASKS[0])
    assert found["measures"]["multiple_choice.accuracy"]["n"] == 3
    assert list(found["absent"]) == ["multiple_choice.pmi"]
    assert found["absent"]["multiple_choice.pmi"]["word"] == "not applicable"
    assert "prefix=<|endoftext|> in its address" in found["absent"]["multiple_choice.pmi"]["why"]


def test_what_a_server_does_not_show_is_not_applicable(local, tmp_path):
    with serving(local) as endpoint:
        found = weighed(tmp_path, f"server:{endpoint.url}?model=small", TASKS[:2])
    missing = found["absent"]["bits_per_byte.bits_per_byte"]
    assert missing["word"] == "not applicable"
    assert "but not its 'model'" in missing["why"]


def test_what_failed_for_good_is_asked_once_a_task_and_after_two_tasks_not_at_all(local, tmp_path, monkeypatch):
    """Of three tasks with three examples each, the first two are asked once and the third not."""
    tasks = [MultipleChoice(items=3), MultipleChoice(items=3, ties="first"), MultipleChoice(items=3, ties="wrong")]
    asked, whole = [], Endpoint.answers
    monkeypatch.setattr(Endpoint, "answers", lambda self, jobs, *more: asked.append(jobs) or whole(self, jobs, *more))
    with serving(local) as endpoint:
        address = f"server:{endpoint.url}?model=small&prefix=<s>&retries=0"
        endpoint.faults.extend([b"{no json"] * 500)
        found = weighed(tmp_path, address, tasks)
        assert len(asked) == 2
        assert all("its answer is no JSON" in entry["why"] for entry in found["absent"].values())
        endpoint.faults.clear()
        again = weighed(tmp_path, address, tasks, retry=True)
    assert not again["absent"]
    assert {entry["n"] for entry in again["measures"].values()} == {3}


def test_a_failure_is_told_once_however_many_measures_it_empties(local, tmp_path, capsys):
    with serving(local) as endpoint:
        address = f"server:{endpoint.url}?model=small&retries=0&wait=0"
    Command((address,), tasks=("multiple_choice",), items=3, folder=tmp_path).run()
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("ConnectError") == 1
    assert "multiple_choice.accuracy and" in said or "accuracy and" in said
    assert Unreachable.__name__ not in said
