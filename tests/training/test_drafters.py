"""Teaching drafters: what the target wrote is what is learned from, and a run that was killed ends the same."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.families import wrapped
from trivium.core.errors import RunMismatch
from trivium.core.progress import Bar
from trivium.drafting.medusa import Medusa
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.drafters import Texts, frequent, measured, teach, write_lessons
from trivium.training.settings import TrainingSettings

TEXTS = Texts(count=32, length=12, seed=3)
TRAINING = TrainingSettings(steps=6, learning_rate=3e-3, weight_decay=0.0, checkpoint_every=2)


@pytest.fixture(scope="module")
def system():
    tokenizer = ByteTokenizer()
    model = wrapped("llama", torch.float32, vocab_size=tokenizer.vocab_size, max_position_embeddings=1024)
    return System(model, tokenizer, "made-up", "f" * 64)


@pytest.fixture(scope="module")
def lessons(system, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lessons")
    return write_lessons(system, folder, TEXTS, Bar(0))


def test_lessons_hold_what_the_target_wrote_and_what_it_saw(system, lessons):
    lesson = lessons[0]
    assert len(lesson.ids) == 16
    assert lesson.written.any(1).all()
    assert not (lesson.written & ~lesson.mask).any()
    row = 5
    length = int(lesson.mask[row].sum())
    with torch.no_grad():
        alone = system.model(lesson.ids[row : row + 1, :length]).hidden[0]
    torch.testing.assert_close(lesson.hidden[row, :length], alone, atol=1e-4, rtol=1e-4)  # float32
    assert lessons.held_out == range(1, 2)
    assert torch.equal(lessons.batch(7).ids, lessons.batch(0).ids), "one lesson to learn from, dealt again each epoch"


def test_a_drafter_learns_only_its_own_weights_and_goes_on_where_it_was_killed(system, lessons, tmp_path):
    before = [weight.clone() for weight in system.model.parameters()]
    drafter = Medusa(heads=2)
    whole = teach(drafter, system, tmp_path / "whole", texts=TEXTS, training=TRAINING, lessons=lessons.folder)
    assert all(torch.equal(a, b) for a, b in zip(before, system.model.parameters(), strict=True))
    assert all(weight.requires_grad for weight in system.model.parameters())

    class Killed(Exception):
        pass

    losses = []
    original = Medusa.loss

    def counted(self, *given):
        losses.append(1)
        if len(losses) == 4:
            raise Killed
        return original(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Medusa, "loss", counted)
        with pytest.raises(Killed):
            teach(drafter, system, tmp_path / "cut", texts=TEXTS, training=TRAINING, lessons=lessons.folder)
    assert not (tmp_path / "cut" / "card.json").exists()
    again = teach(drafter, system, tmp_path / "cut", texts=TEXTS, training=TRAINING, lessons=lessons.folder)
    assert again["loss"] == whole["loss"]
    one, two = (load_file(tmp_path / name / "draft.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    card = json.loads((tmp_path / "cut" / "card.json").read_text())
    assert card["base"]["name"] == "made-up"
    assert card["module"] == {"heads": 2, "blocks": 1, "own_heads": False}
    assert card["steps"] == 6
    curve = [json.loads(line)["loss"] for line in (tmp_path / "cut" / "work" / "curve.jsonl").read_text().splitlines()]
    assert min(curve[1:]) < curve[0]


def test_another_drafter_or_other_texts_do_not_go_on_in_the_folder(system, lessons, tmp_path):
    short = TrainingSettings(steps=1, weight_decay=0.0)
    teach(Medusa(heads=1), system, tmp_path, texts=TEXTS, training=short, lessons=lessons.folder)
    with pytest.raises(RunMismatch, match="another drafter; it differs in heads"):
        teach(Medusa(heads=2), system, tmp_path, texts=TEXTS, training=short, lessons=lessons.folder)
    with pytest.raises(RunMismatch, match="other lessons; they differ in length"):
        write_lessons(system, lessons.folder, Texts(count=32, length=9, seed=3), Bar(0))
    with pytest.raises(ValueError, match="exceed the 1024 positions"):
        write_lessons(system, tmp_path / "long", Texts(count=32, length=1000), Bar(0))


def test_frequent_tokens_are_counted_over_what_is_learned_from(system, lessons, tmp_path):
    written = [int(token) for token in lessons[0].ids[lessons[0].written]]
    found = frequent(lessons, system.model.vocab_size)
    assert set(found) == set(written)
    assert found == sorted(found, key=lambda token: (-written.count(token), token))
    teach(Medusa(heads=2), system, tmp_path, texts=TEXTS, training=TRAINING, lessons=lessons.folder)
    assert Medusa(folder=str(tmp_path), vocabulary=2).frequent(system.model.vocab_size) == sorted(found[:2])


def test_accuracies_are_shares_of_ranks():
    ranks = torch.tensor([[0, 3], [0, -1], [10, 3], [1, 0]])
    shares = measured(ranks)
    assert shares[0][:2] == [0.5, 0.25]
    assert shares[1][0] == pytest.approx(1 / 3)
    assert shares[1][3] == pytest.approx(2 / 3)
    assert sum(shares[0]) == 0.75, "what is beyond the ranks is no rank"


@pytest.mark.parametrize("words", [{"count": 31}, {"length": 7}, {"temperature": 0.0}])
def test_wrong_texts_are_refused(words):
    with pytest.raises(ValueError, match=next(iter(words))):
        Texts(**words)
