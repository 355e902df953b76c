import pytest
import torch

from tests.prompting.models import Sorts, system
from trivium.core.nouns import Example
from trivium.core.seeds import generator
from trivium.prompting.nearest_exemplars import NearestExemplars


def counts(texts):
    """Letters of the texts."""
    return torch.tensor([[text.count(sign) + 0.01 for sign in "abcdefghkl"] for text in texts], dtype=torch.float64)


@pytest.fixture
def letters(monkeypatch):
    """An encoder that counts letters."""
    norm = torch.nn.functional.normalize
    monkeypatch.setattr("trivium.prompting.nearest_exemplars.embedder", lambda *_: lambda t: norm(counts(t), dim=1))


@pytest.mark.usefixtures("letters")
def test_the_most_alike_stand_before_the_question_the_nearest_last():
    for last, shown in ((True, "ak>z;ak>x;"), (False, "ak>x;ak>z;")):  # alike; the one that stands first is nearer
        task = NearestExemplars(shots=2, nearest_last=last)(Sorts(), system(), generator=generator(0))
        assert task.ask(Example("one", "aakb", fields={"label": "x"})).text == f"Sort:{shown}aakb>"
    by_hand = counts([one.fields["text"] for one in Sorts.pool]) @ counts(["aakb"])[0]
    assert Sorts.pool[int(by_hand.argmax())].fields["text"] == "ak"


def test_each_question_has_its_own_by_the_system_s_states():
    task = NearestExemplars()(Sorts(), system(), generator=generator(0))
    ak, bl = (task.ask(Example("one", text, fields={"label": "x"})).text for text in ("ak", "bl"))
    assert ak.split(";")[2].startswith("ak>")
    assert bl.split(";")[2].startswith("bl>")


def test_bad_settings():
    with pytest.raises(ValueError, match="shots must be at least 1"):
        NearestExemplars(shots=0)
    with pytest.raises(ValueError, match="too few for 25 shots"):
        NearestExemplars(shots=25)(Sorts(), system(), generator=generator(0))
