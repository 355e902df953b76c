"""The task of a comparison of probes."""

import json

import pytest
import torch

from trivium.architectures.llama import Llama
from trivium.compare.comparison import Comparison
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.seeds import generator
from trivium.evaluation.readout import Readout
from trivium.models.features import features
from trivium.models.system import System
from trivium.probing.ast_probe import AstProbe
from trivium.probing.head_tuning import HeadTuning
from trivium.probing.linear_readout import LinearReadout
from trivium.tokenization.byte import ByteTokenizer

SMALL = dict(lessons=40, items=12, layer=1)


@pytest.fixture(scope="module")
def system():
    return System(Llama(width=16, heads=2, depth=2, context=1024).build(259).eval(), ByteTokenizer(), "native")


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Texts, and how many letters each has: in groups of three."""
    path = tmp_path_factory.mktemp("texts") / "lengths.jsonl"
    rows = [{"text": "x" * (2 + n % 7), "label": float(2 + n % 7), "group": n // 3} for n in range(120)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_what_is_taught_and_what_an_example_scores(system):
    task = Readout(**SMALL)
    x, y, groups = task.taught(system)
    assert x.shape == (40, 16)
    assert groups is None
    probe = LinearReadout().fit(x, y, generator=generator(0))
    seen = [task.score(system, example, probe) for example in task.examples("test")]
    states = features(system, [example.text for example in task.examples("test")], "blocks.0.out")["blocks.0.out"]
    labels = task._set("test").labels
    torch.testing.assert_close(torch.tensor([one.values["score"] for one in seen]).mean().item(),
                               probe.score(states, labels), atol=1e-6, rtol=0)  # fmt: skip
    assert "labelled: " in seen[0].shown["text"]


def test_no_pass_of_the_model_is_charged(system):
    task = Readout(**SMALL)
    with Meter() as meter:
        task.taught(system)
    assert (meter.spent.calls, meter.spent.evaluations) == (0, 0)


def test_values_are_scored_by_squared_error(system, values):
    task = Readout(values, **SMALL)
    x, y, groups = task.taught(system)
    assert groups is None
    assert y.dtype == torch.float64
    probe = HeadTuning(intercept=True, ridge=None).fit(x, y, generator=generator(0))
    examples = task.examples("test")
    total = sum(task.score(system, example, probe).values["score"] for example in examples)
    states = features(system, [example.text for example in examples], "blocks.0.out")["blocks.0.out"]
    labels = torch.tensor([float(len(example.text)) for example in examples])
    assert total == pytest.approx(-probe.score(states, labels) * len(examples), rel=1e-5)
    assert {example.cluster for example in examples}.isdisjoint(set(task._set("train").sources))


def test_trees_are_given_by_group_and_with_their_names(system):
    task = Readout("python", lessons=12, items=4, layer=0)
    x, y, groups = task.taught(system)
    assert y.shape == (len(x), 3)
    assert int(groups.max()) == 11
    method = task.suited(AstProbe(rank=8, epochs=2))
    assert method.labels[0] == "<empty>"
    probe = method.fit(x, y, generator=generator(0), groups=groups)
    seen = [task.score(system, example, probe).values["score"] for example in task.examples("test")]
    assert all(0 <= one <= 1 for one in seen)
    assert task.refuses(LinearReadout()) == ("labels of classes or values",)
    assert task.refuses(AstProbe()) == ()


def test_a_comparison_of_probes(system, tmp_path):
    """Contenders that read other labels are not applicable; the budget is for fitting; the better probe wins."""
    report = Comparison(
        "probing",
        ["linear_readout", LinearReadout(penalty=1e9), "structural_probe", LinearReadout(solver="ridge")],
        system=system,
        task=Readout(**SMALL),
        seeds=1,
    ).run(tmp_path / "run")
    plain, held = report.contender("linear_readout"), report.contender("linear_readout(penalty=1000000000.0)")
    assert plain["spent"]["evaluations"]["median"] > 40
    assert plain["measures"]["score"]["mean"] >= held["measures"]["score"]["mean"]
    assert report.contender("structural_probe")["note"] == "not applicable, needs labels of heads"
    assert report.contender('linear_readout(solver="ridge")')["spent"]["evaluations"]["median"] == 40


def test_a_probe_that_reads_too_often_is_over_budget(system, tmp_path):
    report = Comparison(
        "probing",
        [LinearReadout(solver="ridge"), "linear_readout"],
        baseline=LinearReadout(solver="ridge"),
        system=system,
        task=Readout(**SMALL),
        budget="60 evaluations",
        seeds=1,
    ).run(tmp_path / "run")
    assert report.contender("linear_readout")["failed"][0]["type"] == "BudgetExceeded"
    assert report.contender('linear_readout(solver="ridge")')["measures"]


def test_misuse_is_told(system, tmp_path):
    with pytest.raises(ValueError, match="needs a task with activations and labels, such as readout"):
        Comparison("probing", ["linear_readout"], system=system, task="continuation").run(tmp_path / "a")
    with pytest.raises(NotOffered, match="linear_readout needs labels of classes or values"):
        Comparison("probing", ["linear_readout"], system=system, task=Readout("python", lessons=6, items=2)).run(
            tmp_path / "b"
        )
    for wrong, told in (({"lessons": 1}, "lessons must be at least 2"), ({"layer": -1}, "layer is counted from 0")):
        with pytest.raises(ValueError, match=told):
            Readout(**wrong)
    with pytest.raises(ValueError, match="native has 2 layers, so layer 3 is none"):
        Readout(layer=3).taught(system)
    with pytest.raises(ValueError, match="the splits are"):
        Readout().examples("train")
