"""Drafts: what they keep of their target, what they learn, and that a kill costs nothing."""

from dataclasses import replace

import pytest
import torch

from tests.families import ATTENTION_FAMILIES, wrapped
from tests.models.made import folder as model_folder
from trivium.core.errors import NotOffered, RunMismatch
from trivium.core.progress import Bar
from trivium.data.openings import Opening, openings
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative
from trivium.drafting.draft_model import DraftModel
from trivium.models.cutting import cut, spread
from trivium.models.huggingface import wrap
from trivium.models.sources import load
from trivium.models.system import same_vocabulary
from trivium.training import distil
from trivium.training.distil import Recipe, check_made_for, draft_card, examine, make_draft

SMALL = Recipe(tokens=3 * 32 * 12, length=12, epochs=12, top=16, learning_rate=3e-3, held_out=0.3, temperature=1.0)
BEGINNINGS = tuple(Opening(one.text[:24], chat=False) for one in openings(32))


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return load(model_folder(tmp_path_factory.mktemp("models") / "target"))


@pytest.fixture(scope="module")
def made(target, tmp_path_factory):
    home = tmp_path_factory.mktemp("drafts") / "draft"
    bar = Bar(100.0)
    card = make_draft(target, folder=home, layers=1, write_from=BEGINNINGS, recipe=SMALL, bar=bar)
    return home, card


def test_the_draft_opens_with_the_vocabulary_of_its_target_and_has_learned(target, made):
    home, card = made
    draft = load(home)
    same_vocabulary(target, draft)
    assert draft.stop == target.stop
    assert draft.model.depth == 1
    assert card["target"]["fingerprint"] == target.fingerprint
    assert card == draft_card(home)
    assert card["after"]["overlap"] > card["before"]["overlap"] + 0.02
    embedding = lambda system: system.model.parts.embedding.weight  # noqa: E731
    assert torch.equal(embedding(draft), embedding(target))
    assert all(parameter.requires_grad for parameter in draft.model.parameters())


def test_the_draft_speeds_up_its_target_and_changes_nothing(target, made):
    home, _ = made
    prompt = target.prompt("Once upon a time")
    words = {"limit": 24, "generator": torch.Generator().manual_seed(0)}
    plain = Greedy()(target.model, prompt, **words)
    fast = Speculative(DraftModel(load(home).model, length=3, min_confidence=0.0))(target.model, prompt, **words)
    assert torch.equal(plain.ids, fast.ids)
    assert fast.trace.acceptance_rate is not None


def test_a_finished_draft_is_left_alone_and_another_is_refused(target, made, monkeypatch):
    home, card = made
    monkeypatch.setattr(distil, "_write", None)  # whatever is written again would fail
    words = {"folder": home, "write_from": BEGINNINGS}
    assert make_draft(target, layers=1, recipe=SMALL, **words) == card
    with pytest.raises(RunMismatch, match=r"recipe\.seed"):
        make_draft(target, layers=1, recipe=replace(SMALL, seed=1), **words)


def test_the_card_names_its_target(target, made, tmp_path):
    home, _ = made
    check_made_for(home, target)
    with pytest.raises(RunMismatch, match="make one for it"):
        check_made_for(home, replace(target, fingerprint="0" * 64))


def test_a_killed_run_goes_on_to_the_same_draft(target, made, tmp_path, monkeypatch):
    write, written = distil._write, []

    def dies(*arguments):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(1)
        return write(*arguments)

    words = {"folder": tmp_path / "draft", "layers": 1, "write_from": BEGINNINGS, "recipe": SMALL}
    monkeypatch.setattr(distil, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        make_draft(target, **words)
    monkeypatch.setattr(distil, "_write", write)
    card = make_draft(target, **words)
    assert card["after"] == made[1]["after"]
    one, two = (load(home).model.state_dict() for home in (made[0], tmp_path / "draft"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_texts_hold_what_the_target_says_of_them(target, made):
    """Noted on the way, they are what a pass over the whole text gives: no shift, no padding in the way."""
    lessons = distil.AnsweredTexts([distil.Answers.load(path) for path in sorted((made[0] / "text").glob("*"))], 8)
    for batch in lessons:
        said = lessons(batch)
        logp = target.model(batch.ids, mask=batch.mask).logits.log_softmax(-1)
        seen = said.known & batch.mask
        assert seen.any()
        torch.testing.assert_close(logp.gather(-1, said.tokens)[seen], said.logprobs[seen], atol=1e-4, rtol=0)


def test_a_model_knows_itself(target, made):
    lessons = distil.AnsweredTexts([distil.Answers.load(path) for path in sorted((made[0] / "text").glob("*"))], 8)
    found = examine(target.model, lessons)
    assert found["agreement"] > 0.999
    covered = torch.cat([x.logprobs.exp().sum(-1).flatten() for x in lessons.lessons]).mean()
    assert found["overlap"] == pytest.approx(float(covered), abs=0.02)


def test_alignment_starts_from_the_given_model(target, made, tmp_path):
    small = load(made[0])
    card = make_draft(target, folder=tmp_path / "aligned", start=small, write_from=BEGINNINGS, recipe=SMALL)
    assert card["start"] == small.fingerprint
    assert card["before"]["overlap"] == pytest.approx(made[1]["after"]["overlap"])
    assert card["after"]["overlap"] >= card["before"]["overlap"] - 0.02


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_a_cut_model_is_the_target_without_some_of_its_blocks(family, tmp_path):
    """Against the target with the other blocks switched off; saved and opened it is the same."""
    target = wrapped(family, num_hidden_layers=4) if family not in ("gpt2", "gemma") else wrapped(family)
    keep = [0, target.depth - 1]
    short = cut(target, keep)
    ids = torch.tensor([[1, 5, 6, 7, 3, 9, 2, 8, 4]])
    with torch.no_grad():
        with target.capture("blocks.0.in") as seen:
            target(ids)
        hidden = seen["blocks.0.in"]
        for layer in keep:
            hidden = target.layers(layer, layer + 1, hidden)
        expected = target.parts.head(target.parts.norm(hidden))
        whole = short(ids)
        step = short(ids[:, -1:], state=short(ids[:, :-1], keep_state=True).state)
        short.inner.save_pretrained(tmp_path)
        opened = wrap(type(short.inner).from_pretrained(tmp_path, dtype=torch.float64))
        torch.testing.assert_close(
            opened(ids).logits, whole.logits, atol=1e-5, rtol=0
        )  # gemma opens a scale in float32
    torch.testing.assert_close(whole.logits, expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(step.logits[:, 0], whole.logits[:, -1], atol=1e-9, rtol=0)
    assert (short.depth, target.depth) == (2, 2 if family == "gpt2" else 3 if family == "gemma" else 4)


def test_bad_input(target, tmp_path):
    assert spread(30, 4) == (0, 10, 19, 29)
    with pytest.raises(ValueError, match="layers must be 1 to the 2"):
        make_draft(target, folder=tmp_path / "a", layers=3)
    with pytest.raises(ValueError, match="fewer layers than the 2"):
        make_draft(target, folder=tmp_path / "a", layers=2)
    with pytest.raises(ValueError, match="each once and in order"):
        make_draft(target, folder=tmp_path / "a", keep=[2])
    with pytest.raises(ValueError, match="write_from holds no beginning"):
        make_draft(target, folder=tmp_path / "a", layers=1, write_from=())
    with pytest.raises(NotOffered, match="native"):
        make_draft(load("tiny"), folder=tmp_path / "a")
    with pytest.raises(ValueError, match="exceed the 128 positions"):
        make_draft(target, folder=tmp_path / "b", layers=1, recipe=replace(SMALL, length=128))
    for field in ("tokens", "length", "top", "epochs", "batch_size"):
        with pytest.raises(ValueError, match=field):
            Recipe(**{field: 0})
    assert not (tmp_path / "a").exists()
