"""What every initialiser refuses before anything is made, and what a crash leaves behind: nothing."""

import pytest
import torch

from tests.vocabulary.systems import languages, native, new_tokenizer, pretrained, small
from trivium.compare.contender import build
from trivium.core.errors import NotFinite, NotOffered, UnknownName
from trivium.core.languages import Languages
from trivium.core.seeds import generator
from trivium.models._int8 import quantise
from trivium.models.huggingface import wrap
from trivium.models.system import System
from trivium.vocabulary._frame import Filling, Initialiser
from trivium.vocabulary._streamed import stored
from trivium.vocabulary.cw2v import Cw2v
from trivium.vocabulary.mean import Mean


def draws():
    return generator(0, "x")


@pytest.mark.parametrize("make", [native, pretrained])
def test_damaged_weights_are_named_wherever_they_are(make):
    system = make()
    name, part = next((name, part) for name, part in system.model.named_parameters() if "mlp" in name or "up" in name)
    with torch.no_grad():
        part.view(-1)[2] = float("inf")
    with pytest.raises(NotFinite, match=name.replace(".", r"\.")):
        Mean()(system, new_tokenizer(), generator=draws())


def test_a_tokenizer_of_more_ids_than_rows_is_no_system():
    system = native(padding=0)
    with pytest.raises(ValueError, match="do not belong together"):
        System(system.model, new_tokenizer(), "wrong")


def test_eight_bit_weights_are_refused():
    system = pretrained(tied=False)
    eight = System(wrap(quantise(system.model.inner.to(torch.bfloat16))), system.tokenizer, "int8")
    with pytest.raises(NotOffered, match="load the model in float32"):
        Mean()(eight, new_tokenizer(), generator=draws())


def test_whole_numbers_are_refused():
    system = small(["a", "b", "c"])
    system.model.embedding.weight = torch.nn.Parameter(torch.ones(3, 8, dtype=torch.int32), requires_grad=False)
    system.model.head.weight = system.model.embedding.weight
    with pytest.raises(NotOffered, match="not rows of tokens"):
        Mean()(system, small(["a", "cd"]).tokenizer, generator=draws())


def test_unknown_settings_have_a_nearest_name():
    with pytest.raises(UnknownName, match="did you mean 'min_count'"):
        build("vocabulary", "focus(min_cuont=3)")
    with pytest.raises(UnknownName, match="did you mean 'subword_mean'"):
        build("vocabulary", "subwordmean")


def test_texts_without_tokens_teach_nothing():
    with pytest.raises(ValueError, match="new_texts"):
        Cw2v()(native(), new_tokenizer(), Languages(), generator=draws())
    with pytest.raises(ValueError, match="no pair"):
        Cw2v(rank=4)(native(), new_tokenizer(), Languages(["", ""]), generator=draws())


class Broken(Initialiser):
    match = "exact"

    def __init__(self, rows):
        self.made_rows = rows

    def fill(self, frame, generator):
        return Filling(
            lambda source: (
                self.made_rows.new_ones(1)
                if self.made_rows.ndim == 3
                else self.made_rows.expand(len(frame.new), source.shape[1])
            )
        )


def test_what_a_method_makes_is_looked_at():
    for rows, error, words in (
        (torch.tensor([[float("nan")]]), NotFinite, "is not finite"),
        (torch.tensor([[0.0]]), ValueError, "is all zero"),
        (torch.zeros(1, 1, 1), TypeError, "were to be made"),
    ):
        with pytest.raises(error, match=words):
            Broken(rows)(native(), new_tokenizer(), generator=draws())


def test_a_crash_while_storing_leaves_nothing(tmp_path, monkeypatch):
    made = Mean().transplant(native(), new_tokenizer(), languages(), generator=draws())
    with monkeypatch.context() as patch:
        patch.setattr("trivium.vocabulary._streamed._card", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            stored(made, tmp_path / "new", {})
    assert not list(tmp_path.iterdir())
    stored(made, tmp_path / "new", {"why": "test"})
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    with pytest.raises(ValueError, match="exists"):
        stored(made, tmp_path / "new", {})
