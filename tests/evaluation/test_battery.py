import pytest

from tests.compare.fakes import system
from trivium.compare.contender import build, describe
from trivium.core.errors import NotOffered
from trivium.evaluation.battery import Battery, alone
from trivium.evaluation.bits_per_byte import BitsPerByte
from trivium.evaluation.continuation import Continuation
from trivium.evaluation.multiple_choice import MultipleChoice
from trivium.evaluation.order_sensitivity import OrderSensitivity
from trivium.evaluation.recall import Recall


def test_its_measures_and_examples_are_those_of_its_tasks():
    battery = Battery((MultipleChoice(items=3), BitsPerByte(documents=2)), items=2)
    assert battery.leading == ("multiple_choice.accuracy", "bits_per_byte.bits_per_byte")
    assert battery.measures[0].title == "multiple_choice: Accuracy"
    assert battery.weighted_by == {"bits_per_byte.bits_per_byte": "bits_per_byte.bytes"}
    examples = battery.examples("test")
    assert [one.fields["group"] for one in examples] == ["multiple_choice"] * 2 + ["bits_per_byte"] * 2
    made = system()
    for one in examples:
        label = one.fields["group"]
        seen = battery.score(made, one)
        alone = battery.of[label].score(made, one.fields["example"])
        assert seen.values == {f"{label}.{name}": value for name, value in alone.values.items()}


def test_labels_tell_tasks_apart():
    two = Battery((Recall("needle"), Recall("mqar", documents=3), MultipleChoice("data/piqa/validation.jsonl", "piqa")))
    assert list(two.of) == ["recall needle", "recall 3", "multiple_choice"]
    assert list(Battery((MultipleChoice(), Recall()), ("words", "pairs")).of) == ["words", "pairs"]
    with pytest.raises(ValueError, match="2 tasks are called 'recall'"):
        Battery((Recall(), Recall()))
    with pytest.raises(ValueError, match="2 tasks need as many labels, got 1"):
        Battery((MultipleChoice(), Recall()), ("words",))


def test_text_and_back():
    battery = Battery((MultipleChoice(items=3), Recall("needle")), ("a", "b"), 4)
    assert build("evaluation", describe(battery)) == battery


def test_what_cannot_be_done():
    assert alone(MultipleChoice())
    assert alone(OrderSensitivity())
    with pytest.raises(ValueError, match="continuation does not score a system by itself"):
        Battery((Continuation(),))
    with pytest.raises(ValueError, match="at least one task"):
        Battery(())
    with pytest.raises(ValueError, match="items must be at least 1"):
        Battery(items=0)
    battery = Battery((OrderSensitivity(),))
    with pytest.raises(NotOffered, match="order_sensitivity needs state, which uniform lacks"):
        battery.score(system(), battery.examples("test")[0])
