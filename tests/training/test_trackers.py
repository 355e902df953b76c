"""Trackers are told every row once, in order, and a run that goes on goes on there too."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from tests.training.small import Ragged, StopAt, Stopped, tiny
from trivium.core.errors import MissingExtra
from trivium.objectives.causal import Causal
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings
from trivium.training.trackers import figures, flattened, identity, tracker

SETTINGS = TrainingSettings(steps=6, learning_rate=1e-2, checkpoint_every=2, evaluate_every=3)


class Listener:
    """What a tracker is told."""

    def __init__(self):
        self.heard = []

    def start(self, facts, step):
        self.heard.append(("start", step, facts["objective"]["method"]))

    def row(self, row):
        self.heard.append(("row", row["step"], row.get("sample")))

    def close(self):
        self.heard.append(("close",))


def run(folder, *told, stop=None, sample=None):
    batches = Ragged() if stop is None else StopAt(Ragged(), stop)
    return train(
        tiny(),
        Causal(),
        batches,
        SETTINGS,
        folder=folder,
        evaluate=lambda model: {"one": 1.0},
        sample=sample,
        trackers=told,
    )


def test_what_a_tracker_is_told(tmp_path):
    one, other = Listener(), Listener()
    with pytest.raises(Stopped):
        run(tmp_path, one, stop=5)
    run(tmp_path, other, sample=lambda model: "and so on")
    assert one.heard[0] == ("start", 0, "objectives/causal")
    assert [heard[1] for heard in one.heard if heard[0] == "row"] == [0, 1, 2, 3]  # a row is told a step late
    assert one.heard[-1] == ("close",)
    assert other.heard == [
        ("start", 4, "objectives/causal"),
        ("row", 4, None),
        ("row", 5, "and so on"),
        ("close",),
    ]


def test_a_sample_stands_in_the_curve_and_costs_the_run_nothing(tmp_path):
    def sample(model):
        assert not model.training
        model(Ragged().batch(0).ids)
        return "once"

    plain, told = run(None), run(tmp_path, sample=sample)
    assert [row.get("sample") for row in told.curve] == [None, None, "once", None, None, "once"]
    assert told.spent.calls == plain.spent.calls
    assert told.loss == plain.loss


def test_figures_that_are_none_are_left_out():
    row = {"step": 3, "loss": float("nan"), "gradient_norm": None, "learning_rate": 0.1, "evaluation": {"bits": 2}}
    assert figures(row) == {"learning_rate": 0.1, "evaluation/bits": 2.0}
    assert dict(flattened({"a": {"b": 1, "c": {"d": 2}}, "e": 3})) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_tensorboard_files(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Stopped):
        run(tmp_path, tracker("tensorboard", tmp_path), stop=5)
    result = run(tmp_path, tracker("tensorboard", tmp_path), sample=lambda model: "and so on")
    seen = EventAccumulator(str(tmp_path / "tensorboard"))
    seen.Reload()
    assert [event.step for event in seen.Scalars("loss")] == list(range(6))
    assert [event.value for event in seen.Scalars("loss")] == pytest.approx([row["loss"] for row in result.curve])
    assert [event.step for event in seen.Scalars("evaluation/one")] == [2, 5]
    (text,) = seen.Tensors("sample/text_summary")
    assert text.tensor_proto.string_val == [b"and so on"]
    (table,) = seen.Tensors("run/text_summary")
    assert b"| settings.learning_rate | 0.01 |" in table.tensor_proto.string_val[0]


def test_wandb_is_told_in_its_own_words(tmp_path, monkeypatch):
    heard = []
    stub = ModuleType("wandb")
    stub.Html = lambda text: ("html", text)
    stub.init = lambda **given: (
        heard.append(("init", given))
        or SimpleNamespace(log=lambda values, step: heard.append((step, values)), finish=lambda: heard.append("finish"))
    )
    monkeypatch.setitem(sys.modules, "wandb", stub)
    run(tmp_path, tracker("wandb", tmp_path, "mine"), sample=lambda model: "<so>")
    (_, given), *rest = heard
    assert (given["project"], given["name"], given["id"]) == ("mine", tmp_path.name, identity(tmp_path))
    assert given["resume"] == "allow"
    assert given["config"]["settings.learning_rate"] == 0.01
    assert [entry[0] for entry in rest[:-1]] == list(range(6))
    assert rest[2][1]["sample"] == ("html", "<pre>&lt;so&gt;</pre>")
    assert rest[-1] == "finish"


def test_mlflow_goes_on_with_its_run(tmp_path, monkeypatch):
    heard = []
    stub = ModuleType("mlflow")
    stub.set_experiment = lambda name: heard.append(("experiment", name))
    known = [SimpleNamespace(info=SimpleNamespace(run_id="r1"))]
    stub.search_runs = lambda filter_string, output_format: heard.append(("search", filter_string)) or known
    stub.start_run = lambda **given: heard.append(("start", given))
    stub.log_params = lambda given: heard.append(("params", given["settings.learning_rate"]))
    stub.log_metrics = lambda given, step: heard.append(("metrics", step))
    stub.log_text = lambda text, path: heard.append(("text", text, path))
    stub.active_run = object
    stub.end_run = lambda: heard.append("end")
    monkeypatch.setitem(sys.modules, "mlflow", stub)
    with pytest.raises(Stopped):
        run(tmp_path, tracker("mlflow", tmp_path), stop=5)
    key = identity(tmp_path)
    assert heard[:3] == [
        ("experiment", "trivium"),
        ("start", {"run_name": tmp_path.name, "tags": {"trivium.folder": key}}),
        ("params", "0.01"),
    ]
    heard.clear()
    run(tmp_path, tracker("mlflow", tmp_path), sample=lambda model: "so")
    assert heard[:3] == [
        ("experiment", "trivium"),
        ("search", f"tags.`trivium.folder` = '{key}'"),
        ("start", {"run_id": "r1"}),
    ]
    assert heard[3:] == [("metrics", 4), ("metrics", 5), ("text", "so", "samples/00000005.txt"), "end"]


def test_a_tracker_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match=r"wandb is not installed .* pip install 'trivium\[wandb\]'"):
        tracker("wandb", tmp_path)
    with pytest.raises(ValueError, match="no tracker is called 'comet'; there are tensorboard, wandb, mlflow"):
        tracker("comet", tmp_path)
