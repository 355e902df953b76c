"""Fine-tuning: what is reported of a readout whose answers are known, and of a real one on the model that ships."""

import json
import math

import pytest
import torch
from scipy.stats import binomtest

from trivium.compare.comparison import Comparison
from trivium.core.errors import NotFinite, NotOffered
from trivium.data.labelled import Labelled
from trivium.evaluation import fine_tuning
from trivium.evaluation._taught import Result, by_trigrams
from trivium.evaluation.battery import Battery
from trivium.evaluation.fine_tuning import FineTuning
from trivium.models.fine_tuning import Tuning
from trivium.models.sources import load


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


def folder(place, name, train, validation, test, fields=("text",)):
    (place / name).mkdir()
    for split, rows in (("train", train), ("validation", validation), ("test", test)):
        lines = [json.dumps({**dict(zip(fields, texts, strict=True)), "label": label}) for *texts, label in rows]
        (place / name / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(place / name)


class Known:
    """In place of a trained classifier: the second word of a text is its answer, as far as the rate allows."""

    asked: list[Tuning]

    def __init__(self, monkeypatch, best=lambda tuning: (0.5, 1.0)):
        self.asked, self.rows, self.best = [], [], best
        monkeypatch.setattr(fine_tuning, "fine_tune", self)

    def __call__(self, system, train, validation, labels, tuning):
        self.asked.append(tuning)
        decode = system.tokenizer.decode

        class Made:
            classifier = type("C", (), {"tuning": tuning})()
            epoch, best = 3, self.best(tuning)

            def logits(made, rows, size):
                self.rows += [(tuning, decode(row)) for row in rows]
                said = [int(decode(row).split()[-1]) for row in rows]
                return torch.nn.functional.one_hot(torch.tensor(said), labels).float() * 2.0

        return Made()


ROWS = [("a 0", "no"), ("b 1", "no"), ("c 1", "yes"), ("d 1", "yes"), ("e 0", "no")]
TRAIN = [*ROWS[:2], ROWS[4], ROWS[2]]


def test_values_by_hand(tiny, tmp_path, monkeypatch):
    Known(monkeypatch)
    task = FineTuning(folder(tmp_path, "t", TRAIN, ROWS, ROWS), "lines", seeds=1)
    seen = [task.score(tiny, example) for example in task.examples("test")]
    assert [one.values["accuracy"] for one in seen] == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert [one.values["majority"] for one in seen] == [1.0, 1.0, 0.0, 0.0, 1.0]
    assert [one.values["gain"] for one in seen] == [0.0, -1.0, 1.0, 1.0, 0.0]
    assert [one.values["repeated"] for one in seen] == [1.0, 1.0, 1.0, 0.0, 1.0]
    surprise = math.log(math.exp(2) + 1)
    assert [one.values["surprise"] for one in seen] == pytest.approx([surprise - 2, surprise, *[surprise - 2] * 3])
    assert seen[1].vectors == {"own": (1.0, 0.0), "reference": (0.0, 0.0)}
    assert seen[1].shown["text"] == "yes; right: no"
    assert seen[1].shown["taught"] == "rate 5e-05, epoch 3, validation accuracy 0.500"
    assert task.weighted_by == {}
    found = task.results(tiny)["t"]
    assert (found.score, found.metric, found.majority) == (0.8, "accuracy", 0.6)
    assert found.p == (pytest.approx(binomtest(2, 3).pvalue),)
    assert found.against.test == "exact McNemar"
    assert found.against.p == pytest.approx(found.p[0])
    assert found.against.interval.mean == pytest.approx(0.2)
    # said: 0 1 1 1 0, right: 0 0 1 1 0 -> F1 of no 2*2/(2+3), of yes 2*2/(3+2)
    assert found.macro_f1 == pytest.approx(0.8)
    assert found.matthews == pytest.approx((2 * 2 - 0 * 1) / math.sqrt(2 * 3 * 3 * 2))
    assert found.spread is None


def test_tasks_weigh_the_same_and_are_judged_as_in_glue(tiny, tmp_path, monkeypatch):
    Known(monkeypatch)
    for name, rows in (("cola", ROWS), ("mrpc", ROWS[:4]), ("rte", ROWS[:2])):
        folder(tmp_path, name, TRAIN, ROWS, rows)
    task = FineTuning(str(tmp_path), "lines", seeds=2)
    examples = task.examples("test")
    seen = [task.score(tiny, example) for example in examples]
    assert len(examples) == 2 * (5 + 4 + 2)
    assert {example.cluster for example in examples if example.fields["task"] == "rte"} == {
        "rte-test-00001", "rte-test-00002"
    }  # fmt: skip
    weights = [one.values["weight"] for one in seen]
    assert sum(weights) == pytest.approx(1.0)
    accuracy = sum(w * one.values["accuracy"] for w, one in zip(weights, seen, strict=True))
    assert accuracy == pytest.approx((4 / 5 + 3 / 4 + 1 / 2) / 3)
    assert task.weighted_by["accuracy"] == "weight"
    assert "macro_f1" not in task.weighted_by
    assert seen[0].vectors == {}
    assert seen[0].shown["absent"]["macro_f1"] == "of several tasks together; see each by itself"
    found = task.results(tiny)
    assert {name: one.metric for name, one in found.items()} == {"cola": "matthews", "mrpc": "f1", "rte": "accuracy"}
    assert found["cola"].score == pytest.approx(found["cola"].matthews)
    assert found["mrpc"].score == pytest.approx(2 * 2 / (3 + 2))  # of yes
    assert found["rte"].accuracies == (0.5, 0.5)
    assert found["rte"].spread.repeats == 0.0


def test_rate_and_epoch_are_chosen_on_validation_for_each_seed(tiny, tmp_path, monkeypatch):
    best = {(0, 0.1): (0.9, 2.0), (0, 0.2): (0.9, 1.0), (0, 0.3): (0.8, 0.1), (1, 0.1): (0.7, 2.0),
            (1, 0.2): (0.6, 1.0), (1, 0.3): (0.6, 1.0)}  # fmt: skip
    known = Known(monkeypatch, lambda tuning: best[tuning.seed, tuning.rate])
    task = FineTuning(folder(tmp_path, "t", TRAIN, ROWS, ROWS), "lines", seeds=2, rates=(0.1, 0.2, 0.3))
    task.score(tiny, task.examples("test")[0])
    assert [(one.seed, one.rate) for one in known.asked] == list(best)
    assert dict.fromkeys((one.seed, one.rate) for one, _ in known.rows) == dict.fromkeys([(0, 0.2), (1, 0.1)])
    assert len(known.rows) == 2 * len(ROWS)  # nothing but the chosen sees the test


def test_a_rate_that_diverges_is_out(tiny, tmp_path, monkeypatch, caplog):
    known = Known(monkeypatch)

    def fails(system, train, validation, labels, tuning):
        if tuning.rate > 0.15:
            raise NotFinite("the loss is nan")
        return known(system, train, validation, labels, tuning)

    monkeypatch.setattr(fine_tuning, "fine_tune", fails)
    path = folder(tmp_path, "t", TRAIN, ROWS, ROWS)
    task = FineTuning(path, "lines", seeds=1, rates=(0.2, 0.1, 0.3))
    seen = task.score(tiny, task.examples("test")[0])
    assert seen.shown["taught"].startswith("rate 0.1")
    assert "tiny, rate 0.2: the loss is nan" in caplog.text
    task = FineTuning(path, "lines", seeds=1, rates=(0.2, 0.3))
    with pytest.raises(NotFinite, match="tiny cannot be taught at any rate: the loss is nan"):
        task.score(tiny, task.examples("test")[0])


def test_two_texts_are_joined_and_the_longer_one_cut(tiny, tmp_path):
    rows = [("abcdefgh", "x 1", "yes"), ("ab", "c 0", "no"), ("ab", "cdefgh 1", "yes")]
    path = folder(tmp_path, "t", rows, rows, rows, ("premise", "hypothesis"))
    task = FineTuning(path, "lines", seeds=1, longest=9, joint=" | ")
    one, two = (task._row(tiny, item) for item in task._tasks["t"]["test"][:2])
    assert (tiny.tokenizer.decode(one[0]), one[1]) == ("abcd | x", True)  # 1 to begin with, then 4 and 4 of 8
    assert (tiny.tokenizer.decode(two[0]), two[1]) == ("ab | c 0", False)
    assert len(one[0]) == 9
    assert one[0][:1] == list(tiny.tokenizer.opening)
    assert task._row(tiny, task._tasks["t"]["test"][2])[1]


def test_what_the_model_reads_is_chosen_by_how_it_reads(tiny, tmp_path, monkeypatch):
    known = Known(monkeypatch)
    path = folder(tmp_path, "t", TRAIN, ROWS, ROWS)
    for settings in ({}, {"both_ways": True}, {"place": "mean"}):
        task = FineTuning(path, "lines", seeds=1, **settings)
        task.score(tiny, task.examples("validation")[0])
    assert [one.place for one in known.asked] == ["last", "mean", "mean"]
    assert [one.trained for one in known.asked] == ["whole"] * 3
    usual = FineTuning(trained="lora")._tunings(0, "last")[0]
    assert (usual.rate, usual.epochs, usual.patience, usual.rank, usual.alpha, usual.dropout) == (
        3e-4,
        32,
        3,
        8,
        16,
        0.1,
    )
    usual = FineTuning()._tunings(0, "last")[0]
    assert (usual.rate, usual.epochs, usual.batch_size) == (5e-5, 10, 64)


def test_states_of_the_shipped_model_tell_intents_apart(tiny, tmp_path):
    task = FineTuning(trained="readout", seeds=2, epochs=40)
    battery = Battery((task,), ("intents",))
    report = Comparison("evaluation", ["tiny"], task=battery, seeds=1).run(tmp_path / "run").data
    measures = report["contenders"][0]["measures"]
    assert measures["intents.accuracy"]["mean"] > 0.5
    assert measures["intents.accuracy"]["clusters"] == 60
    assert measures["intents.accuracy"]["n"] == 120
    assert measures["intents.macro_f1"]["mean"] > 0.5
    assert measures["intents.matthews"]["mean"] > 0.3
    assert measures["intents.majority"]["mean"] == 0.25
    assert measures["intents.trigrams"]["mean"] > 0.5
    told = {one["question"]: one["answer"] for one in report["checklist"]}
    assert "trigrams" in told["What does a simple or a tuned small model reach?"]
    gain = measures["intents.gain"]
    assert gain["mean"] == pytest.approx(measures["intents.accuracy"]["mean"] - 0.25)
    assert gain["low"] > 0


def test_trigrams_are_fitted_to_what_is_learnt_from():
    texts = [("quick brown", "no"), ("brown dog", "no"), ("jumping high", "yes"), ("high jump", "yes")] * 3
    items = [Labelled(str(n), {"a": text, "b": f"{n}x"}, label) for n, (text, label) in enumerate(texts)]
    asked = [Labelled("x", {"a": "a brown one", "b": "?"}, "no"), Labelled("y", {"a": "jumps high", "b": "?"}, "no")]
    assert by_trigrams(items, asked, ["no", "yes"]) == [0, 1]
    turned = [Labelled(one.id, one.fields, {"no": "yes", "yes": "no"}[one.label]) for one in items]
    assert by_trigrams(turned, asked, ["no", "yes"]) == [1, 0]


def test_labels_of_noise_are_not_learnt(tiny, tmp_path):
    words = [f"{a}{b}" for a in "abcdefgh" for b in "klmnopqr"]
    rows = [(word, str((7 * n * n + n // 3) % 2)) for n, word in enumerate(words)]
    task = FineTuning(folder(tmp_path, "t", rows[:30], rows[30:40], rows[40:]), "lines", trained="readout", seeds=1)
    found = task.results(tiny)["t"]
    assert found.against.interval.low < 0.15


def test_several_seeds_say_how_much_is_theirs():
    from trivium.core.nouns import Observation

    def made(right, answer=(0, 0)):
        return Observation({"accuracy": float(right), "majority": 0.0}, {"answer": answer})

    rows = [[made(1), made(1), made(0), made(0)], [made(0), made(0), made(0), made(0)]]
    found = Result.of("t", rows, 2)
    assert found.accuracies == (0.5, 0.0)
    assert found.score == 0.25
    assert found.spread is not None
    assert found.spread.repeats > 0
    assert found.p == (0.5, 1.0)
    assert found.against.interval.clusters == 4


def test_what_is_no_model_of_ours(tiny):
    class Server:
        name, serial = "server", -1

    task = FineTuning(trained="readout", seeds=1)
    with pytest.raises(NotOffered, match="server shows no states"):
        task.score(Server(), task.examples("test")[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("trained", "some"), ("form", "poems"), ("place", "middle"), ("longest", 1), ("learnt", 0), ("items", 0),
     ("seeds", 0), ("rates", (0.0,)), ("epochs", 0), ("size", 0), ("rank", 0), ("dropout", 1.0)],
)  # fmt: skip
def test_settings_that_are_wrong(name, value):
    said = {"rates": "rate", "size": "batch_size"}.get(name, name)
    with pytest.raises(ValueError, match=said):
        FineTuning(**{name: value})


def test_only_validation_and_test_are_asked():
    with pytest.raises(ValueError, match="the splits are 'validation' and 'test'"):
        FineTuning().examples("train")
