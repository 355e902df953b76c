"""Surrogates: a model whose last block alone decides, and linearly, so that what each depth can tell is known."""

import json

import pytest
import torch

from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.core.seeds import generator
from trivium.data.policy import Asked, policy, prompt
from trivium.evaluation._triggers import Candidate, Search, states_of
from trivium.evaluation.surrogates import Agreement, Labelled, Surrogates
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TASK = Surrogates(prompts=90, phrases=("N",), limit=1, folds=3)
ASKED = policy(90)


class Plain(ByteTokenizer):
    """Nothing before a text."""

    opening = ()


@pytest.fixture(scope="module")
def system():
    """It says N or O by the sign of one direction of what enters the head, which no prompt's mean has."""
    model = Llama(width=32, depth=3, heads=4, context=256, tied=False).build(259, seed=1).eval()
    made = System(model, Plain(), "signs")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(5)
        last = torch.stack([model(made.prompt(prompt(one.text))).hidden[0, -1] for one in ASKED])
        w = torch.linalg.svd(last - last.mean(0), full_matrices=False)[2][0]
        mean = last.mean(0) / last.mean(0).norm()
        w = w - (w @ mean) * mean
        model.head.weight.zero_()
        model.head.weight[ord("N")], model.head.weight[ord("O")] = 50 * w, -50 * w
    return made


@pytest.fixture(scope="module")
def labelled(system):
    return TASK.label(system, ASKED)


def test_labels_are_the_models_own_responses(system, labelled):
    for at in (0, 7, 50):
        text = prompt(ASKED[at].text)
        with torch.no_grad():
            said = system.model(system.prompt(text)).logits[0, -1].argmax()
        assert labelled.responses[at] == chr(said)
        assert bool(labelled.refused[at]) == (chr(said) == "N")
    assert 20 < int(labelled.refused.sum()) < 70
    assert len(labelled.groups.unique()) == len({one.group for one in ASKED})


def test_the_deepest_candidate_has_the_models_own_last_state_and_none_looks_above_itself(system, labelled):
    texts = [prompt(one.text) for one in ASKED[:3]]
    with torch.no_grad(), system.model.capture("blocks.2.out", "blocks.0.in") as seen:
        system.model(system.prompt(texts[0]))
    torch.testing.assert_close(labelled.states[3][0], seen["blocks.2.out"][0, -1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(labelled.states[0][0], seen["blocks.0.in"][0, -1], atol=1e-5, rtol=1e-4)
    kept = {name: tensor.clone() for name, tensor in system.model.state_dict().items()}
    try:
        with torch.no_grad():
            for name, parameter in system.model.named_parameters():
                if name.startswith("blocks.2"):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator(0)))
        again = states_of(system, texts, [2, 3], 2)
        torch.testing.assert_close(again[2], labelled.states[2][:3], atol=1e-5, rtol=1e-5)
        assert (again[3] - labelled.states[3][:3]).abs().max() > 1e-2
        head = TASK.head(labelled, 2)
        out = Candidate(system, 2, head)(system.prompt(texts[0]))
        torch.testing.assert_close(out, head.logits(labelled.states[2][:1]), atol=1e-4, rtol=1e-4)
    finally:
        system.model.load_state_dict(kept)


def test_what_is_linear_at_the_top_is_found_there_and_a_constant_tells_nothing(system, labelled):
    """The last token is always the same, so that its embedding says nothing; permuted labels leave chance."""
    top, bottom = TASK.agreement(labelled, 3), TASK.agreement(labelled, 0)
    assert top.balanced > 0.85
    assert top.refused > top.always + 0.1
    assert bottom.balanced == pytest.approx(0.5, abs=0.15)
    assert TASK.agreement(labelled, 3, permuted=True).balanced == pytest.approx(0.5, abs=0.2)
    other = TASK.label(system, policy(60, 5))
    assert TASK.across(labelled, other, 3).balanced > 0.85
    assert TASK.across(labelled, other, 3).prompts == 60


def test_held_out_prompts_are_of_groups_that_no_head_has_seen(labelled):
    class Remembers:
        """A head that knows the groups it was fitted to, and says 1 of prompts that it has seen alike."""

        def fit(self, activations, labels, *, generator, groups):
            assert len(activations) < 90
            self.seen = activations
            return self

        def predict(self, activations):
            return torch.stack([(self.seen == one).all(1).any() for one in activations]).long()

    marked = Labelled(
        labelled.asked, labelled.responses, labelled.refused, {1: labelled.groups[:, None].float()}
    )  # states that tell the group
    task = Surrogates(prompts=90, phrases=("N",), limit=1, folds=3, probe=Remembers())
    assert task.foretold(marked, 1).sum() == 0


def test_scores_by_hand(system):
    """Said 1 1 1 0 where right is 1 0 0 0."""
    found = Agreement.of(torch.tensor([1, 1, 1, 0]), torch.tensor([True, False, False, False]))
    assert (found.refused, found.answered) == (pytest.approx(2 / 4), pytest.approx(2 / 4))
    assert found.balanced == pytest.approx((1 + 1 / 3) / 2)
    assert found.always == pytest.approx(2 / 5)
    small = Surrogates(prompts=60, phrases=("N",), limit=1, folds=3, shares=(0.0, 1.0))
    examples = small.examples("test")
    assert [example.id for example in examples] == ["0% of the depth", "100% of the depth"]
    seen = [small.score(system, example) for example in examples]
    assert seen[1].values["balanced_accuracy"] > 0.8 > seen[0].values["balanced_accuracy"]
    known = torch.tensor([one.refused for one in small.asked])
    labelled = small.label(system, small.asked)
    assert seen[0].values["labellers"] == pytest.approx(float((known == labelled.refused).double().mean()))
    assert "3 blocks" in seen[1].shown["text"]
    assert small.score(system, small.examples("validation")[1]).values != seen[1].values


def test_a_search_turns_the_candidate_and_what_it_finds_turns_the_model(system, labelled):
    search, made = Search(steps=40, width=24), []

    def watched(candidate, ids, free, *, generator):
        made.append((candidate, ids, search(candidate, ids, free, generator=generator)))
        return made[-1][2]

    found = TASK.transfer(system, labelled, 3, attack=watched, suffix=12, tried=5)
    assert found.tried == 5
    assert found.turned >= 3
    assert found.moved > found.random
    turned = [float(candidate(ids[None])) <= 0 for candidate, _, ids in made]
    before, after = (
        [TASK.respond(system, [bytes(row[at].tolist()).decode()])[0] for row in made] for at in (1, 2)
    )  # of the whole prompt as text
    assert before == ["N"] * 5
    assert found.turned == sum(turned)
    assert found.moved == sum(said == "O" and turn for said, turn in zip(after, turned, strict=True))
    assert found.rate == found.moved / found.turned

    def idle(candidate, ids, free, *, generator):
        return ids

    nothing = TASK.transfer(system, labelled, 3, attack=idle, suffix=4, tried=5)
    assert (nothing.turned, nothing.moved, nothing.rate) == (0, 0, None)

    def cheats(candidate, ids, free, *, generator):
        return ids + 1

    with pytest.raises(ValueError, match="changed tokens that are not free"):
        TASK.transfer(system, labelled, 3, attack=cheats, suffix=6, tried=2)


def test_the_search_lowers_the_output_and_touches_free_tokens_alone(system, labelled):
    candidate = Candidate(system, 3, TASK.head(labelled, 3))
    ids, free = TASK._with_suffix(system, ASKED[0].text, 4)
    assert bytes(ids.tolist()).decode() == f"{ASKED[0].text}....\ndesk:"
    assert bytes(ids[free].tolist()) == b"...."
    made = Search(steps=5, width=8)(candidate, ids, free, generator=generator(0))
    assert torch.equal(made[~free], ids[~free])
    assert float(candidate(made[None])) <= float(candidate(ids[None]))
    assert set(candidate.choices.tolist()) <= set(range(32, 127))
    with pytest.raises(ValueError, match="no token is free"):
        Search()(candidate, ids, torch.zeros_like(free), generator=generator(0))


def test_two_labellers(system, labelled):
    share, kappa = TASK.labellers(labelled, system)
    assert 0 <= share <= 1
    assert -1 <= kappa <= 1


def test_prompts_of_ones_own(tmp_path, system):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"text": one.text, "group": one.group}) for one in ASKED))
    task = Surrogates(path=str(path), prompts=20, phrases=("N",), limit=1, folds=3)
    assert len(task.asked) == 20
    assert task.put(system, "a question") == "a question"  # this tokenizer has no template
    labelled, labellers = task._labelled(system, "test")
    assert labellers is None
    assert len(labelled.responses) == 20


@pytest.mark.parametrize(
    "wrong",
    [{"prompts": 1}, {"limit": 0}, {"folds": 1}, {"batch_size": 0}, {"form": "no"}, {"shares": ()}, {"shares": (1.2,)}],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Surrogates(**wrong)
    for name in ("steps", "width"):
        with pytest.raises(ValueError, match=name):
            Search(**{name: 0})


def test_misuse_is_told(system, labelled):
    never = Surrogates(prompts=90, phrases=("zzz",), limit=1)
    with pytest.raises(ValueError, match="the model answers all 90 prompts"):
        never.agreement(never.label(system, ASKED), 1)
    few = Labelled(tuple(Asked("a", None, str(at % 2)) for at in range(90)), labelled.responses, labelled.refused, {})
    with pytest.raises(ValueError, match="at most the 2 groups"):
        TASK.foretold(few, 1)
    with pytest.raises(NotOffered, match="shows no states"):
        TASK.label("server", ASKED)
    marked = Labelled(labelled.asked, labelled.responses, torch.zeros(90, dtype=torch.bool), labelled.states)
    with pytest.raises(ValueError, match="are of class 0"):
        TASK.transfer(system, marked, 3)
