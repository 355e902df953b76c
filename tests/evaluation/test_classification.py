"""Classification, by answerers whose answers are known and by a tiny model."""

import math
from pathlib import Path

import pytest
import torch

from tests.prompting.models import system
from trivium.core.meter import Meter
from trivium.core.wording import Template, Wording
from trivium.data.formats import Format
from trivium.evaluation.classification import Classification
from trivium.prompting._steps import Changed
from trivium.prompting.plain import Plain
from trivium.prompting.set_based import SetBased

DATA = Path(__file__).parents[3] / "shared" / "data"
TASK = Classification()
TWO = ("weather", "music")


class Answering:
    """The three steps alone, with weights that are known."""

    def __init__(self, weights, task=TASK):
        self.ask, self.lay, self.weigh = task.ask, task.lay, lambda system, question, plan: weights


def test_an_answer_by_hand():
    example = TASK.examples("test")[1]
    assert TASK.labels == ("weather", "music", "restaurant", "alarm")
    assert example.fields["label"] == "music"
    seen = TASK.score(system(), example, Answering([-3.0, -1.0, -2.0, -4.0]))
    spread = sum(math.exp(x) for x in (-2.0, 0.0, -1.0, -3.0))
    assert seen.values["surprise"] == pytest.approx(math.log(spread))
    assert (seen.values["accuracy"], seen.values["tied"]) == (1.0, 0.0)
    assert seen.shown["text"] == "music; right: music"
    assert seen.vectors == {"own": (1.0, 1.0), "reference": (1.0, 1.0)}
    wrong = TASK.score(system(), example, Answering([0.0, -1.0, -2.0, -4.0]))
    assert wrong.values["accuracy"] == 0.0
    assert wrong.values["surprise"] == pytest.approx(1.0 + math.log(sum(math.exp(x) for x in (0.0, -1.0, -2.0, -4.0))))
    assert wrong.vectors["own"] == (0.0, 1.0)
    tied = TASK.score(system(), example, Answering([-1.0, -1.0, -2.0, -4.0]))
    assert (tied.values["accuracy"], tied.values["tied"]) == (0.5, 1.0)


@pytest.mark.parametrize("score_by", ["mean", "sum", "first"])
def test_weights_are_the_model_s_own_one_by_one_and_in_batches(score_by):
    task = Classification(score_by=score_by, shots=2, batch_size=2)
    if score_by == "first":  # bytes: answers must not all begin with a space
        task = Changed(task, words=Wording(Template("{text}\nIntent: ", before="")))
    questions = [task.ask(example) for example in task.examples("test")[:5]]
    together = task.weigh_all(system(), questions)
    for question, found in zip(questions, together, strict=True):
        plan = task.lay(system(), question)
        assert plan.ids.tolist() == system().prompt(question.text)[0].tolist()
        alone = task.weigh(system(), question, plan)
        assert found == pytest.approx(alone, abs=1e-5)  # sums in single precision run in another order
        for answer, weight in zip(question.answers, alone, strict=True):
            ids = system().prompt(question.text + answer)
            with torch.no_grad():
                logp = system().model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            own = logp[-len(answer) :]
            by_hand = {"mean": own.mean(), "sum": own.sum(), "first": own[0]}[score_by]
            assert weight == pytest.approx(float(by_hand), abs=1e-4)


def test_first_tokens_must_differ():
    task = Classification(score_by="first")
    alike = Wording(Template("{text}", words=(("music", "waves"),)))
    question = alike.ask({"text": "x"}, TASK.labels)
    with pytest.raises(ValueError, match="' weather' and ' waves' begin with the same token"):
        Classification(score_by="first").weigh(system(), question, task.lay(system(), question))


def test_shots_come_from_the_pool_label_by_label():
    task = Classification(shots=4, labels_kept=TWO)
    assert [one.label for one in task.wording.exemplars] == ["weather", "music"] * 2
    text = task.ask(task.examples("test")[0]).text
    assert text.count("Intent:") == 5
    assert text.endswith("\nIntent:")
    asked = {tuple(one.fields["fields"].values()) for split in ("validation", "test") for one in task.examples(split)}
    assert not asked & {tuple(one.fields.values()) for one in task.pool}
    with pytest.raises(ValueError, match="the pool has 40 items, too few for 50 shots"):
        Classification(shots=50).examples("test")


def test_exemplars_are_a_set_without_order_to_set_based_prompting():
    task = Classification(shots=3, labels_kept=TWO)
    turned = Changed(task, words=Wording(task.wording.form, task.wording.exemplars[::-1]))
    example = task.examples("test")[0]
    weights = {}
    for method in (Plain(), SetBased()):
        for name, which in (("given", task), ("turned", turned)):
            put = method(which, system(), generator=torch.Generator())
            question = put.ask(example)
            weights[type(method).__name__, name] = put.weigh(system(), question, put.lay(system(), question))
    assert weights["SetBased", "given"] == weights["SetBased", "turned"]
    assert weights["Plain", "given"] != pytest.approx(weights["Plain", "turned"], abs=1e-3)


def test_another_wording_is_what_is_asked():
    form = TASK.formats(5, torch.Generator().manual_seed(0))[3]
    put = Changed(TASK, words=Wording(form, TASK.pool[:1], "Sort these.\n"))
    question = put.ask(TASK.examples("test")[0])
    assert isinstance(form, Format)
    fields = TASK.examples("test")[0].fields["fields"]
    first = form.write(TASK.pool[0].fields, TASK.pool[0].label)
    assert question.text == f"Sort these.\n{first}\n\n{form.ask(fields)}"
    assert put.wording.instruction == "Sort these.\n"
    again = Changed(put, turns=lambda weights: [-weight for weight in weights])
    assert again.wording is put.wording
    assert again.ask(TASK.examples("test")[0]) == question
    (plain,), (turned,) = put.weigh_all(system(), [question]), again.weigh_all(system(), [question])
    assert turned == [-weight for weight in plain]
    assert again.weigh(system(), question, again.lay(system(), question)) == pytest.approx(turned, abs=1e-5)


def test_labels_as_listed_choices():
    task = Classification(listed=True, labels_kept=TWO)
    question = task.ask(task.examples("test")[0])
    assert question.text.endswith("\nOption (1) weather\nOption (2) music\nIntent:")
    assert question.answers == (" (1)", " (2)")
    other = task.formats(8, torch.Generator().manual_seed(1))[1]
    assert len({other.reply(label) for label in TWO}) == 2


def test_shares():
    task = Classification(labels_kept=TWO, shares=(0.8, 0.2))
    labels = [example.fields["label"] for example in task.examples("test")]
    assert (labels.count("weather"), labels.count("music")) == (14, 4)  # of 15 there are each
    even = [example.fields["label"] for example in Classification(labels_kept=TWO, items=10).examples("test")]
    assert (even.count("weather"), even.count("music")) == (5, 5)
    with pytest.raises(ValueError, match="shares must be one per label"):
        Classification(shares=(0.8, 0.2)).examples("test")


def test_a_split_is_scored_together_and_once():
    task = Classification(items=6)
    put = Plain()(task, system(), generator=torch.Generator())
    with Meter() as meter:
        seen = [task.score(system(), example) for example in task.examples("test")]
    once = meter.spent.calls
    with Meter() as meter:
        assert [task.score(system(), example) for example in task.examples("test")] == seen
    assert (once > 0, meter.spent.calls) == (True, 0)
    alone = [task.score(system(), example, put) for example in task.examples("test")]
    for one, other in zip(seen, alone, strict=True):
        assert one.values == pytest.approx(other.values, abs=1e-4)
        assert one.vectors == other.vectors
    assert seen != [task.score(system("gpt2"), example) for example in task.examples("test")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "quiz"}, "form must be one of intents, answers; got 'quiz'"),
        ({"score_by": "max"}, "score_by must be one of mean, sum, first; got 'max'"),
        ({"items": 0}, "items must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"shots": -1}, "shots must be at least 0"),
        ({"template": 12}, "template must be one of the 12, from 0; got 12"),
        ({"labels_kept": ("music",)}, "labels_kept must be two different labels"),
        ({"shares": (0.5, 0.6)}, "shares must be positive and add up to 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Classification(**settings)


def test_other_settings_and_bad_input():
    assert Classification(template=3).ask(TASK.examples("test")[0]).text.endswith("\nTopic:")
    assert Classification(form="answers").labels == ("yes", "no")
    with pytest.raises(ValueError, match="splits are 'validation' and 'test', got 'train'; exemplars are in the pool"):
        TASK.examples("train")
    with pytest.raises(ValueError, match="no item has the label 'sport'; there are weather, music"):
        Classification(labels_kept=("weather", "sport")).examples("test")
    long = Changed(TASK, words=Wording(TASK.wording.form, TASK.pool))
    with pytest.raises(ValueError, match="more than the 768 positions of llama; take fewer or shorter exemplars"):
        long.weigh_all(system(), [long.ask(TASK.examples("test")[0])])


@pytest.mark.skipif(not (DATA / "snips").is_dir(), reason=f"{DATA / 'snips'} is not here")
def test_real_files():
    task = Classification(str(DATA / "snips"), labels_kept=TWO, shares=(0.9, 0.1), items=100)
    labels = [example.fields["label"] for example in task.examples("test")]
    assert (labels.count("weather"), labels.count("music")) == (90, 10)
    answers = Classification(str(DATA / "sciq" / "validation.jsonl"), "answers", items=20)
    assert len(answers.examples("validation")) == 20
