"""A policy that learns from its own trees, and a value model that learns from preferences."""

import json

import pytest
import torch

from tests.families import wrapped
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered, RunMismatch
from trivium.core.seeds import generator
from trivium.data.pairs import Pair, Pairs
from trivium.decoding.cosmos import Cosmos
from trivium.decoding.greedy import Greedy
from trivium.models.sources import load
from trivium.models.system import System
from trivium.objectives.orpo import answers, log_odds
from trivium.tokenization.byte import ByteTokenizer
from trivium.training import stories
from trivium.training.settings import TrainingSettings
from trivium.training.stories import Rounds, improve, preferences, teach_value

OPENINGS = ["Once upon a time.", "Ann ran.", "A dog sat."]
SEARCHING = Cosmos(siblings=3, depth=2, simulations=6, step=4, centre=5.0, spread=1.0)
RECIPE = Rounds(rounds=2, openings=2, limit=8, gap=0.02, epochs=1, batch_size=4, learning_rate=1e-3)


def teller(family="llama"):
    tokenizer = ByteTokenizer()
    if family == "native":
        model = Llama(width=16, depth=1, heads=2, hidden=24, context=128).build(tokenizer.vocab_size).eval()
    else:
        model = wrapped(family, torch.float32, vocab_size=tokenizer.vocab_size, max_position_embeddings=128)
    return System(model, tokenizer, "teller")


def weights(system):
    return torch.cat([parameter.detach().flatten() for parameter in system.model.parameters()])


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A finished run: its folder, the trained system, the weights before, and what was reported."""
    folder, system = tmp_path_factory.mktemp("taught"), teller()
    before = weights(system).clone()
    return folder, system, before, improve(system, SEARCHING, OPENINGS, folder, recipe=RECIPE)


def test_the_rounds_leave_a_trained_model_and_figures(taught):
    folder, system, before, found = taught
    assert not torch.equal(weights(system), before)
    assert [one["round"] for one in found["rounds"]] == [0, 1]
    for one in found["rounds"]:
        assert one["pairs"] > 0
        assert 0 <= one["value"] <= 1
        assert 0 <= one["repeated"] <= 1
        assert one["surprisal"] > 0
    assert json.loads((folder / "rounds.json").read_text()) == found["rounds"]
    again = load(folder / "model")
    prompt = torch.tensor([[65, 66, 67]])
    made = [Greedy()(one.model, prompt, limit=6, generator=generator(0)).ids for one in (system, again)]
    assert torch.equal(*made)


def test_siblings_of_higher_worth_become_likelier(taught):
    folder, system, _, _ = taught
    trees = [json.loads(path.read_text()) for path in sorted(folder.glob("round-*/tree-*.json"))]
    pairs = Pairs.of([Pair(*map(tuple, pair)) for tree in trees for pair in tree["pairs"]])
    ratio = []
    for one in (teller(), system):
        with torch.no_grad():
            winner, loser = answers(one.model, pairs)
        ratio.append(float((log_odds(winner) - log_odds(loser)).mean()))
    assert ratio[1] > ratio[0]


def test_a_native_model_learns_too(tmp_path):
    found = improve(teller("native"), SEARCHING, OPENINGS, tmp_path, recipe=Rounds(**{**vars(RECIPE), "rounds": 1}))
    assert load(found["folder"]).model.vocab_size == ByteTokenizer().vocab_size


def test_an_interrupted_run_goes_on_to_the_same_weights(taught, tmp_path, monkeypatch):
    """Once it ends between two trees of the second round, once in its training."""
    searches, real_search, real_train = [], Cosmos.search, stories.train

    def search(self, *arguments, **words):
        searches.append(1)
        if len(searches) == 4:
            raise KeyboardInterrupt
        return real_search(self, *arguments, **words)

    monkeypatch.setattr(Cosmos, "search", search)
    with pytest.raises(KeyboardInterrupt):
        improve(teller(), SEARCHING, OPENINGS, tmp_path, recipe=RECIPE)

    def train(*arguments, folder, **words):
        if "round-01" in str(folder):
            raise KeyboardInterrupt
        return real_train(*arguments, folder=folder, **words)

    monkeypatch.setattr(stories, "train", train)
    with pytest.raises(KeyboardInterrupt):
        improve(teller(), SEARCHING, OPENINGS, tmp_path, recipe=RECIPE)
    monkeypatch.setattr(stories, "train", real_train)
    system = teller()
    found = improve(system, SEARCHING, OPENINGS, tmp_path, recipe=RECIPE)
    assert torch.equal(weights(system), weights(taught[1]))
    assert found["rounds"] == taught[3]["rounds"]
    assert len(searches) == 5  # four trees, one of them tried twice: none that was there was grown again


def test_the_judge_stays_what_it_was_while_the_policy_learns(tmp_path, monkeypatch):
    seen, real = [], Cosmos.search

    def search(self, model, *arguments, **words):
        flat = lambda one: torch.cat([parameter.detach().flatten() for parameter in one.parameters()])  # noqa: E731
        assert self.reference is not model
        assert not any(parameter.requires_grad for parameter in self.reference.parameters())
        seen.append((flat(self.reference), flat(model), (self.centre, self.spread)))
        return real(self, model, *arguments, **words)

    monkeypatch.setattr(Cosmos, "search", search)
    system = teller()
    before = weights(system).clone()
    improve(system, SEARCHING, OPENINGS, tmp_path, recipe=RECIPE)
    assert all(torch.equal(reference, before) for reference, _, _ in seen)
    assert len({curve for _, _, curve in seen}) == 1
    assert torch.equal(seen[0][1], before)
    assert not torch.equal(seen[-1][1], before)  # the second round searches with what the first has taught


def test_a_folder_of_another_run_and_rounds_without_pairs_are_refused(taught, tmp_path):
    with pytest.raises(RunMismatch, match=r"recipe\.gap"):
        improve(teller(), SEARCHING, OPENINGS, taught[0], recipe=Rounds(**{**vars(RECIPE), "gap": 0.5}))
    with pytest.raises(RunMismatch, match=r"model\.sha256"):
        improve(taught[1], SEARCHING, OPENINGS, taught[0], recipe=RECIPE)
    with pytest.raises(ValueError, match=r"no two siblings differ by more than 0\.999"):
        improve(teller(), SEARCHING, OPENINGS, tmp_path, recipe=Rounds(**{**vars(RECIPE), "gap": 0.999}))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"rounds": 0}, "rounds must be"), ({"gap": -0.1}, "gap is a difference"), ({"gap": 1.0}, "gap is a difference")],
)
def test_recipes_that_are_none_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        Rounds(**change)


def test_what_grows_no_trees_and_openings_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="greedy grows no trees"):
        improve(teller(), Greedy(), OPENINGS, tmp_path)
    for openings in ([], ["A.", " "]):
        with pytest.raises(ValueError, match="openings are texts"):
            improve(teller(), SEARCHING, openings, tmp_path)
    system = teller()
    system.model.offers = frozenset({"causal"})
    with pytest.raises(NotOffered, match="state"):
        improve(system, SEARCHING, OPENINGS, tmp_path)
    assert not any(tmp_path.iterdir())


# the value model ----------------------------------------------------------------------------------------------------


TOLD = [f"A {one} sat. It saw {two}. It ran to {two}! The end of {one}." for one in "abcdefgh" for two in "klmn"]


def test_preferences_are_the_authors_own_next_sentences():
    system = teller()
    pairs = preferences(system, TOLD, seed=1)
    assert len(pairs) > 24
    assert pairs == preferences(system, TOLD, seed=1) != preferences(system, TOLD, seed=2)
    decode = system.tokenizer.decode
    again = 0
    for pair in pairs:
        context = decode(pair.context)
        assert any(story.startswith(context + decode(pair.winner)) for story in TOLD)
        assert any(decode(pair.loser) in story for story in TOLD)
        again += context.endswith(decode(pair.loser))
    assert 8 < again < len(pairs) - 8
    with pytest.raises(ValueError, match="at least 2 must"):
        preferences(system, ["One. Two.", "A. B. C."])


@pytest.mark.parametrize("by", ["pairwise", "binary"])
def test_a_value_model_is_taught_saved_and_used(by, tmp_path):
    system = teller()
    pairs = [Pair((65, n), (70, 71, 70), (90 + n % 5, 91, 92)) for n in range(66, 90)]
    before = weights(system).clone()
    training = TrainingSettings(steps=30, learning_rate=3e-3, weight_decay=0.0)
    found = teach_value(Cosmos(), system, pairs, tmp_path, training=training, batch_size=8, by=by)
    assert found["accuracy"] == 1.0
    assert torch.equal(weights(system), before)
    assert all(parameter.requires_grad for parameter in system.model.parameters())
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["base"]["name"] == "teller"
    assert card["by"] == by
    searching = Cosmos(value="model", folder=str(tmp_path), simulations=4, step=3)
    (tree,) = searching.search(system.model, torch.tensor([[65, 70]]), limit=6, generator=generator(0))
    assert tree.root.visits == 4
    with pytest.raises(RunMismatch, match="by"):
        teach_value(
            Cosmos(), system, pairs, tmp_path, training=training, by="binary" if by == "pairwise" else "pairwise"
        )


def test_too_few_pairs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 pairs are too few"):
        teach_value(Cosmos(), teller(), [Pair((1,), (2,), (3,))] * 2, tmp_path)
