"""The three flows end to end on tiny models: decoders, trained architectures and objectives, explainers."""

import itertools
import json
from pathlib import Path

import pytest
import torch

from tests.families import build
from trivium.compare.comparison import Comparison
from trivium.compare.training import Training
from trivium.core.errors import RunMismatch
from trivium.core.nouns import Example
from trivium.data.corpus import Corpus
from trivium.evaluation.bits_per_byte import BitsPerByte
from trivium.evaluation.continuation import Continuation
from trivium.evaluation.faithfulness import Faithfulness
from trivium.models.huggingface import wrap
from trivium.models.system import System
from trivium.objectives.causal import Causal
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.settings import TrainingSettings

VOLATILE = {"seconds", "peak_bytes"}
WORDS = [
    "the cat sat on the mat",
    "a dog ran to the red house",
    "birds sing in the tall green tree",
    "rain fell all day",
]
CORPUS = Corpus(
    "words",
    {
        "train": [f"{a}, and {b}." for a in WORDS for b in WORDS],
        "validation": [f"{a}!" for a in WORDS],
        "test": [f"{a}; {b}?" for a, b in itertools.pairwise(WORDS)],
    },
)


@pytest.fixture(autouse=True)
def _page(monkeypatch):
    monkeypatch.setattr("trivium.compare.comparison.page", lambda data: f"<!doctype html>{len(data)}")


@pytest.fixture(scope="module")
def tiny() -> System:
    return System(wrap(build("llama", torch.float64, vocab_size=259)), ByteTokenizer(), "tiny llama")


def numbers(folder: Path) -> list[dict]:
    records = [json.loads(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]
    for record in records:
        record["spent"] = {unit: amount for unit, amount in record["spent"].items() if unit not in VOLATILE}
    return sorted(records, key=json.dumps)


# A: decoders --------------------------------------------------


def test_decoders_on_a_pretrained_kind_of_model(tmp_path, tiny):
    task = Continuation([Example(f"p{n}", "abcabc" * (n + 1), fields={"kind": "copy"}) for n in range(3)])
    asked = Comparison(
        "decoding", ["min_p(floor=0.2)", "speculative"], system=tiny, task=task, budget="8 new_tokens", seeds=2
    )
    report = asked.run(tmp_path)
    plain, drafted = report.contender("greedy"), report.contender("speculative")
    assert drafted["lossless"] is True
    assert report.contender("min_p")["lossless"] is False
    texts = [{n: o["text"] for n, o in example["outputs"].items()} for example in report.data["examples"]]
    assert all(each["speculative"] == each["greedy"] for each in texts)
    assert any(each["min_p"] != each["greedy"] for each in texts)
    means = [row["measures"]["logprob"]["mean"] for row in (plain, drafted)]
    assert means[0] == pytest.approx(means[1], abs=1e-9)  # float64; one pass over many positions sums in another order
    assert drafted["spent"]["calls"]["total"] <= plain["spent"]["calls"]["total"] == 6 * 8
    assert plain["spent"]["new_tokens"]["median"] == drafted["spent"]["new_tokens"]["median"] == 8
    assert plain["by_group"]["copy"]["tokens_per_pass"] == 1.0
    greedy = [r for r in numbers(tmp_path) if r["contender"] == "greedy"]
    assert all(a["values"] == b["values"] for a in greedy for b in greedy if a["example"] == b["example"])


def test_drafters_are_compared_inside_the_speculative_decoder(tmp_path, tiny):
    task = Continuation([Example("p", "abcabcabcabc")])
    contenders = ["prompt_lookup", "prompt_lookup(length=2)"]
    report = Comparison("drafting", contenders, system=tiny, task=task, budget="8 new_tokens", seeds=1).run(tmp_path)
    outputs = report.data["examples"][0]["outputs"]
    assert len({output["text"] for output in outputs.values()}) == 1  # lossless, whatever is drafted
    assert {row["name"] for row in report.data["contenders"]} == set(contenders)


# B: architectures and objectives --------------------------------------------------


def training(**given) -> Training:
    settings = TrainingSettings(learning_rate=3e-3, evaluate_every=4, checkpoint_every=2)
    return Training(**({"corpus": CORPUS, "length": 16, "batch_size": 2, "settings": settings} | given))


LLAMA, OTHER = "llama(width=16, depth=1, heads=2)", "transnormer(width=16, depth=1, heads=2)"


def architectures(system: Training | None = None, **given) -> Comparison:
    settings = {"budget": "3e7 flops", "seeds": 3, "baseline": LLAMA} | given
    return Comparison(
        "architectures", [LLAMA, OTHER], system=system or training(), task=BitsPerByte(CORPUS), **settings
    )


def test_architectures_are_trained_at_equal_flops_and_scored_per_byte(tmp_path):
    report = architectures().run(tmp_path)
    for name in ("llama", "transnormer"):
        row = report.contender(name)
        flops = row["spent"]["flops"]
        assert 0.7 * 3e7 < flops["median"] <= 3e7 * 1.02
        assert (row["measures"]["bits_per_byte"]["n"], row["spent"]["parameters"]["median"] > 0) == (3, True)
        curves = report.data["curves"][name]
        assert set(curves) == {"0", "1", "2"}
        assert all(point["flops"] <= 3e7 * 1.02 for curve in curves.values() for point in curve)
        assert curves["0"][-1]["loss"] < curves["0"][0]["loss"]
        assert curves["0"][-1]["bits_per_byte"] < 8
    records = numbers(tmp_path)
    documents = [r for r in records if r["contender"] == LLAMA and r["seed"] == 0 and r["example"]]
    assert len(documents) == 3
    by_seed = []
    for seed in range(3):
        seen = [r["values"] for r in records if r["contender"] == LLAMA and r["seed"] == seed and r["example"]]
        by_seed.append(sum(v["bits_per_byte"] * v["bytes"] for v in seen) / sum(v["bytes"] for v in seen))
    assert report.contender("llama")["measures"]["bits_per_byte"]["mean"] == pytest.approx(sum(by_seed) / 3)
    (pair,) = report.data["pairs"]
    assert (pair["n"], pair["test"], report.data["smoke"]) == (3, "paired t-test", False)
    assert report.data["statistics"]["items"] == "training seeds"


def test_two_seeds_are_a_smoke_test(tmp_path):
    report = architectures(seeds=2, budget="6e6 flops").run(tmp_path)
    assert (report.data["smoke"], report.data["pairs"][0]["verdict"]) == (True, "")


class Stops(Causal):
    """Ends the program in the middle of a training, once."""

    left = 0

    def __call__(self, model, batch, *, generator):
        type(self).left -= 1
        if type(self).left == 0:
            raise KeyboardInterrupt
        return super().__call__(model, batch, generator=generator)


@pytest.mark.parametrize("after", [5, 12, 30])
def test_a_training_that_was_stopped_goes_on_to_the_same_numbers(tmp_path, after):
    Stops.left = 0
    whole = architectures(training(objective=Stops()), seeds=1).run(tmp_path / "whole")
    asked = architectures(training(objective=Stops()), seeds=1)
    Stops.left = after
    with pytest.raises(KeyboardInterrupt):
        asked.run(tmp_path / "run")
    again = asked.run(tmp_path / "run")
    mine, theirs = ({(r["contender"], r["example"]): r for r in numbers(tmp_path / name)} for name in ("run", "whole"))
    assert mine.keys() == theirs.keys()
    for key, record in mine.items():
        assert record["values"] == theirs[key]["values"]
        assert record["spent"]["tokens"] == theirs[key]["spent"]["tokens"]
        # Packed documents make the FLOPs of a step depend a little on its data, and they are counted on one step.
        assert record["spent"]["flops"] == pytest.approx(theirs[key]["spent"]["flops"], rel=0.02)
        mine_loss, their_loss = ([p["loss"] for p in r["output"].get("curve", [])] for r in (record, theirs[key]))
        assert mine_loss == their_loss
    assert again.data["pairs"] == whole.data["pairs"]


@pytest.mark.parametrize(
    "given", [{"trial_share": 0.5}, {"trials": 2, "trial_share": 0.0}, {"trials": 2, "trial_share": 1.5}]
)
def test_a_share_of_no_trial_or_no_part_of_the_budget_is_refused(given):
    with pytest.raises(ValueError, match="above 0 and at most 1, and needs trials"):
        architectures(**given)


def test_trained_models_that_were_not_scored_are_not_trained_again(tmp_path):
    asked = architectures(training(objective=Stops()), seeds=1)
    asked.run(tmp_path)
    file = tmp_path / "records.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not json.loads(line)["example"]]
    file.write_bytes(b"".join(kept))
    before = numbers(tmp_path)
    Stops.left = 10**9
    asked.run(tmp_path)
    assert Stops.left >= 10**9 - 4  # the measuring of a step at most
    Stops.left = 0
    assert len(numbers(tmp_path)) == len(lines)
    assert all(record in numbers(tmp_path) for record in before)


@pytest.mark.parametrize(("share", "trial"), [(None, 5e6), (1.0, 1e7)])
def test_learning_rates_are_tuned_on_the_validation_split(share, trial, tmp_path):
    report = architectures(seeds=1, trials=2, trial_share=share, budget="1e7 flops").run(tmp_path)
    tuned = report.contender("llama")["tuned"]
    assert [point["config"] for point in tuned] == [LLAMA, f"{LLAMA} with learning_rate=0.0015"]
    assert sum(point["chosen"] for point in tuned) == 1
    best = min(tuned, key=lambda point: point["value"])
    assert best["chosen"]
    trials = [r for r in numbers(tmp_path) if r["phase"] == "tune" and not r["example"]]
    assert {round(r["spent"]["flops"] / trial) for r in trials} == {1}  # an equal share of one more budget, or all
    assert Comparison.load(tmp_path, task=BitsPerByte(CORPUS), system=training()).trial_share == share
    with pytest.raises(RunMismatch, match="trial_share"):
        architectures(seeds=1, trials=2, trial_share=0.75, budget="1e7 flops").run(tmp_path)
    assert ("the whole budget each" if share else "in equal shares") in report.data["tuning"]["counted"]
    ran = {r["config"] for r in numbers(tmp_path) if r["phase"] == "score" and r["contender"] == LLAMA}
    assert ran == {best["config"]}


def test_objectives_train_the_fixed_architecture(tmp_path):
    from trivium.compare import contender

    system = training(architecture=contender.build("architectures", LLAMA))
    asked = Comparison(
        "objectives",
        ["causal", "orpo"],
        system=system,
        task=BitsPerByte(CORPUS),
        budget="6e6 flops",
        seeds=1,
        baseline="causal",
    )
    report = asked.run(tmp_path)
    assert report.contender("causal")["measures"]["bits_per_byte"]["n"] == 1
    assert report.contender("orpo")["note"] == "not applicable, needs pairs"  # which a corpus of text does not hold


def test_models_are_scored_in_the_context_they_were_trained_on():
    """Else an architecture that goes beyond its training length would win whatever it learned."""
    assert Training(length=64).task().length == 64
    assert Training(length=512).task().length == 512


def test_a_training_is_written_as_text_and_read_again():
    plain = Training(length=64, settings=TrainingSettings(learning_rate=2e-3))
    assert Training.read(plain.text()) == plain
    assert training().text() == ""  # a corpus in memory has no text
    assert Training.read("training(corpus='python_docs', batch_size=4)") == Training("python_docs", batch_size=4)
    with pytest.raises(TypeError, match="give system=Training"):
        Comparison("architectures", [LLAMA], system="tiny")
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        Training(length=0)


# C: explainers --------------------------------------------------


class Short(Faithfulness):
    def examples(self, split):
        return super().examples(split)[:2]


def test_explainers_at_a_budget_of_evaluations(tmp_path, tiny):
    task = Short(draws=2, hard_draws=2)
    contenders = ["occlusion", "gradient_times_input", "integrated_gradients", "lime", "reagent"]
    report = Comparison("attribution", contenders, system=tiny, task=task, seeds=1).run(tmp_path)
    for name in contenders:
        row = report.contender(name)
        assert row["failed"] == []
        assert {"soft_nc", "hard_ns_replace", "decisive_top3"} <= set(row["measures"])
        assert row["spent"]["evaluations"]["median"] <= 256
    assert "backwards" not in report.contender("occlusion")["spent"]
    assert report.contender("gradient_times_input")["spent"]["backwards"]["median"] == 1
    output = report.data["examples"][0]["outputs"]["occlusion"]
    assert "Thailand" in output["text"] or "landed" in output["text"]
    assert "<" in output["html"]
    assert "<script" not in output["html"]
