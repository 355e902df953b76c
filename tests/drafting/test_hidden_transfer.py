"""Hidden Transfer: guesses ride along in the pass, unseen by what is verified there, and as the equation says."""

import pytest
import torch

from tests.decoding.models import tiny
from tests.drafting.trained import MASK, PROMPT, lesson, made_random, run
from tests.families import wrapped
from trivium.core.errors import NotOffered
from trivium.core.tree import TokenTree
from trivium.data.lessons import NOTHING
from trivium.decoding._trees import pack
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.hidden_transfer import HiddenTransfer, Transferring
from trivium.models.unembedding import read_off, unembedding
from trivium.training.drafters import frozen

TREE = TokenTree.from_paths(6, [[1, 2, 3], [1, 4], [5]])
SMALL = TokenTree.from_paths(9, [[8], [2]])


def module_of(drafter, model, seed=0):
    module, generator = drafter.build(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        module.maps.add_(torch.randn(module.maps.shape, generator=generator, dtype=torch.float64) / 4)
    return module


def session_of(drafter, module, model):
    return Transferring(module, model, drafter.shape)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("plain", [Greedy(), Sampling(0.8, repetition_penalty=1.2)], ids=["greedy", "sampling"])
def test_random_maps_change_nothing_in_a_ragged_batch(tmp_path, family, plain):
    model = tiny(family)
    drafter = made_random(HiddenTransfer(nodes=10), model, tmp_path)
    made = run(Speculative(drafter, of=plain), model)
    assert torch.equal(made.ids, run(plain, model).ids)
    first, second = made.trace.iterations[:2]
    assert (first["drafted"], second["drafted"]) == (0, 3 * 9)
    assert first["target_positions"] == 3 * (1 + 3)


@torch.no_grad()
def test_what_is_verified_and_kept_is_as_without_guesses():
    model = tiny()
    drafter = HiddenTransfer()
    session = session_of(drafter, module_of(drafter, model), model)
    start = model(PROMPT[:2, :-1], mask=MASK[:2, :-1], keep_state=True).state
    out = session.accompany([0, 1], [TREE, SMALL], start)
    plain = model(**pack([TREE, SMALL], start, model.device), state=start, keep_state=True)
    for row, size in enumerate((len(TREE), len(SMALL))):
        torch.testing.assert_close(out.logits[row, :size], plain.logits[row, :size], atol=1e-12, rtol=0)
        torch.testing.assert_close(out.hidden[row, :size], plain.hidden[row, :size], atol=1e-12, rtol=0)
    keep = torch.tensor([[True, True, False, False, True, False], [True, True, False, False, False, False]])
    kept = out.state.gather(torch.nn.functional.pad(keep, (0, 3 * 6)))
    usual = plain.state.gather(keep)
    assert kept.lengths.tolist() == usual.lengths.tolist()
    ids = torch.tensor([[7], [8]])
    torch.testing.assert_close(model(ids, state=kept).logits, model(ids, state=usual).logits, atol=1e-12, rtol=0)


def by_hand(model, module, text):
    """The guesses after a text, layer range by layer range, their states appended where they enter."""
    n, layers = len(text), module.layers
    hidden, reached, extra = model.embed(torch.tensor([text])), 0, 0
    for guess, layer in enumerate([*layers, model.depth]):
        time = n + extra
        mask = torch.ones(time, time, dtype=torch.bool).tril()[None, None]
        positions = torch.arange(time)[None]
        hidden = model.layers(reached, layer, hidden, mask=mask, positions=positions)
        reached = layer
        if guess < len(layers):
            hidden = torch.cat([hidden, hidden[:, n - 1 : n] @ module.maps[guess].T], 1)
            extra += 1
    return model.read_out(hidden)[0, n:]


@torch.no_grad()
@pytest.mark.parametrize("layers", [(1, 1, 2), (1, 2, 2), (2, 2, 2)])
def test_guesses_are_what_the_equation_says(layers):
    """At every node of two trees of a ragged batch, against the model run layer range by layer range."""
    model = tiny()
    drafter = HiddenTransfer(layers=layers)
    module = module_of(drafter, model)
    session = session_of(drafter, module, model)
    state = model(PROMPT[:2, :-1], mask=MASK[:2, :-1], keep_state=True).state
    session.accompany([0, 1], [TREE, SMALL], state)
    _, guesses = session.passed
    for row, tree in enumerate((TREE, SMALL)):
        for node in range(len(tree)):
            text = PROMPT[row, :-1][MASK[row, :-1]].tolist() + tree.tokens[tree.path(node)].tolist()
            expected = by_hand(model, module, text)
            torch.testing.assert_close(guesses[row, :, node], expected, atol=1e-9, rtol=0)


def test_training_sees_what_drafting_sees():
    model = tiny()
    drafter = HiddenTransfer(layers=(1, 1, 2))
    module, taught = module_of(drafter, model), lesson(model)
    rows = torch.tensor([0, 2])
    drafted, targets, after = drafter._taught(module, model, taught, rows, 5, None)
    assert len(drafted) == 5 + 5  # row 2 has 10 tokens, of which those at 2 to 7 can be gone on from
    with torch.no_grad():
        for place, (row, n) in enumerate([(0, n) for n in range(2, 7)] + [(2, n) for n in range(2, 7)]):
            expected = by_hand(model, module, taught.ids[row, : n + 1].tolist())
            torch.testing.assert_close(drafted[place], expected, atol=1e-9, rtol=0)
            end = int(taught.mask[row].sum())
            coming = [int(taught.ids[row, n + 2 + j]) if n + 2 + j < end else NOTHING for j in range(3)]
            assert targets[place].tolist() == coming
            assert torch.equal(after[place, 0], taught.hidden[row, n + 1])


def test_the_loss_is_zero_for_perfect_guesses_and_trains_the_maps_only(monkeypatch):
    model = tiny()
    drafter = HiddenTransfer()
    module, taught = module_of(drafter, model), lesson(model)
    with frozen(model):
        found = drafter.loss(module, model, taught, torch.Generator().manual_seed(0))
        assert float(found.value.detach()) > 0
        found.total.backward()
    assert (module.maps.grad.abs().sum((1, 2)) > 0).all()
    assert all(weight.grad is None for weight in model.parameters())

    def perfect(self, module, model, lesson, rows, places, generator):
        _, targets, after = original(self, module, model, lesson, rows, places, generator)
        return read_off(after, unembedding(model, "test")), targets, after

    original = HiddenTransfer._taught
    monkeypatch.setattr(HiddenTransfer, "_taught", perfect)
    loss = drafter.loss(module, model, taught, torch.Generator().manual_seed(0))
    assert float(loss.value) == pytest.approx(0, abs=1e-12)


def test_layers_spread_from_the_middle_up_and_wrong_ones_are_refused():
    assert HiddenTransfer().placed(tiny("llama")) == (1, 1, 1)
    deep = tiny("llama")
    deep_layers = HiddenTransfer(guesses=3).placed(type("Deep", (), {"depth": 30})())
    assert deep_layers == (15, 18, 22)
    with pytest.raises(ValueError, match="below the top of the target's 3"):
        HiddenTransfer(layers=(1, 2, 3)).build(deep)
    for words, match in (
        ({"layers": (1, 2)}, "3 guesses need as many layers"),
        ({"layers": (2, 1, 2)}, "do not descend"),
        ({"layers": (0, 1, 2)}, "count from 1"),
        ({"guesses": 0}, "at least 1"),
        ({"guesses": 1, "tree": ((0,), (0, 0))}, "only 1 tokens are guessed"),
    ):
        with pytest.raises(ValueError, match=match):
            HiddenTransfer(**words)


def test_the_last_positions_of_a_model_can_be_reached():
    model = wrapped("gpt2", n_positions=24)
    words = {"prompt": PROMPT[:1], "mask": None, "limit": 15}
    assert torch.equal(run(Speculative(HiddenTransfer()), model, **words).ids, run(Greedy(), model, **words).ids)


def test_a_target_without_sites_is_refused_before_any_pass():
    model = wrapped("llama")
    model.offers = model.offers - {"sites"}
    with pytest.raises(NotOffered, match="hidden_transfer needs 'sites'"):
        run(Speculative(HiddenTransfer()), model)
