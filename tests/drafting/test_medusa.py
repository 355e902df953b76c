"""Medusa: exact whatever the heads say, and a tree that is the best one for what was measured."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.decoding.models import Table, tiny
from tests.drafting.trained import PROMPT, lesson, made_random, run
from tests.families import wrapped
from trivium.core.errors import BrokenModel, NotFinite, NotOffered
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._shape import TOP, Shape, guessed
from trivium.drafting._trained import WEIGHTS, rank
from trivium.drafting.medusa import DECAY, Medusa
from trivium.models.fingerprint import fingerprint
from trivium.models.trained import CARD
from trivium.models.unembedding import read_off, unembedding


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("own_heads", [True, False])
@pytest.mark.parametrize("plain", [Greedy(), Sampling(0.8, repetition_penalty=1.2)], ids=["greedy", "sampling"])
def test_random_heads_change_nothing_in_a_ragged_batch(tmp_path, family, own_heads, plain):
    drafter = made_random(Medusa(heads=3, blocks=2, own_heads=own_heads, nodes=24), tiny(family), tmp_path)
    made = run(Speculative(drafter, of=plain), tiny(family))
    assert torch.equal(made.ids, run(plain, tiny(family)).ids)
    assert made.trace.iterations[0]["drafted"] == 3 * 23


def test_heads_say_what_the_equation_says():
    """Two blocks in two heads, each with weights of its own, against the obvious loop; in the paper's letters."""
    model = tiny()
    module = Medusa(heads=2, blocks=2, own_heads=True).build(model)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    h = torch.randn(5, model.width, generator=generator, dtype=torch.float64)
    got = module(h, unembedding(model, "test"))
    for k in range(2):
        x = h
        for block in range(2):
            z = x @ module.weight[k, block].T + module.bias[k, block, 0]
            x = x + z * z.sigmoid()
        torch.testing.assert_close(got[k], x @ module.out[k].T, atol=1e-9, rtol=0)


@pytest.mark.parametrize("own_heads", [True, False])
def test_new_heads_repeat_the_targets_own(own_heads):
    model = tiny()
    with torch.no_grad():
        out = model(PROMPT[:1])
        logits = Medusa(heads=4, own_heads=own_heads).build(model)(out.hidden[0], unembedding(model, "test"))
    for head in logits:
        torch.testing.assert_close(head, out.logits[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(read_off(out.hidden, unembedding(model, "test")), out.logits, atol=1e-9, rtol=0)


class Oracle(torch.nn.Module):
    """Heads that know the text: for a last state they have seen they name what comes, as far as they reach."""

    def __init__(self, model, text, depth):
        super().__init__()
        self.states, self.text, self.depth = model(torch.tensor([text])).hidden[0], text, depth

    def forward(self, hidden, head):
        at = torch.cdist(hidden, self.states).argmin(-1).tolist()
        coming = [[self.text[min(i + 2 + k, len(self.text) - 1)] for i in at] for k in range(self.depth)]
        return torch.nn.functional.one_hot(torch.tensor(coming), 64).double()


def test_heads_that_know_the_text_are_taken_whole(monkeypatch):
    """So the places are right: head 1 guesses the token after the pending one, not the pending one."""
    model, drafter = tiny(), Medusa(heads=4, tree=((0,), (0, 0), (0, 0, 0), (0, 0, 0, 0)))
    plain = Greedy()(model, PROMPT[:1], limit=21, generator=torch.Generator())
    oracle = Oracle(model, PROMPT[0].tolist() + plain.ids[0].tolist(), 4)
    monkeypatch.setattr(Medusa, "opened", lambda self, model: oracle)
    made = Speculative(drafter)(model, PROMPT[:1], limit=21, generator=torch.Generator())
    assert torch.equal(made.ids, plain.ids)
    assert [entry["accepted"] for entry in made.trace.iterations] == [4, 4, 4, 4]


def test_the_tree_builder_adds_the_likeliest_paths():
    """By hand: products 0.6; 0.6 * 0.5 = 0.3; 0.2; 0.6 * 0.3 = 0.18; 0.1 = 0.2 * 0.5."""
    accuracy = [[0.6, 0.2], [0.5, 0.3]]
    assert Shape.best(accuracy, 6).paths == ((0,), (0, 0), (1,), (0, 1), (1, 0))
    assert Shape.best(accuracy, 6).expected(accuracy) == pytest.approx(1 + 0.6 + 0.3 + 0.2 + 0.18 + 0.1)
    assert len(Shape.best(accuracy, 99).paths) == 2 + 4
    lengths = [Shape.best(guessed(4), nodes).expected(guessed(4)) for nodes in range(2, 70)]
    assert lengths == sorted(lengths)


def test_the_expected_length_is_what_independent_heads_give():
    accuracy = torch.tensor([[0.5, 0.2, 0.1], [0.4, 0.3, 0.1], [0.3, 0.1, 0.3]]).double()
    shape = Shape.best(accuracy.tolist(), 12)
    generator = torch.Generator().manual_seed(0)
    rest = 1 - accuracy.sum(1, keepdim=True)
    right = torch.multinomial(torch.cat([accuracy, rest], 1), 20_000, replacement=True, generator=generator).T
    known = set(shape.paths)
    lengths = []
    for ranks in right.tolist():
        depth = 0
        while depth < 3 and tuple(ranks[: depth + 1]) in known:
            depth += 1
        lengths.append(depth + 1)
    # A spread below 1 over 20000 draws: four standard errors are under 0.03.
    assert sum(lengths) / len(lengths) == pytest.approx(shape.expected(accuracy.tolist()), abs=0.03)


def test_a_shape_is_filled_with_the_tokens_of_its_ranks_and_cut_to_the_room():
    tops = torch.tensor([[10, 11, 12], [20, 21, 22]])
    shape = Shape(((0,), (2,), (0, 1), (2, 0)))
    tree = shape.tree(5, tops, 9)
    assert [tree.tokens[path].tolist() for path in tree.paths()] == [[5, 10, 21], [5, 12, 20]]
    assert shape.tree(5, tops, 1).tokens.tolist() == [5, 10, 12]
    assert shape.tree(5, tops[:, :2], 9).tokens.tolist() == [5, 10, 21], "what a missing rank carries goes with it"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"tree": ((0, 0),)}, "without its beginning"),
        ({"tree": ((0,), (0,))}, "twice"),
        ({"tree": ((TOP,),)}, "ranks are 0 to 9"),
        ({"heads": 1, "tree": ((0,), (0, 1))}, "2 deep, but only 1"),
        ({"heads": 0}, "at least 1"),
        ({"nodes": 1}, "at least 2"),
    ],
)
def test_wrong_settings_are_refused(words, match):
    with pytest.raises(ValueError, match=match):
        Medusa(**words)


def test_a_folder_brings_its_own_recipe_and_belongs_to_one_model(tmp_path):
    model = tiny()
    drafter = made_random(Medusa(heads=2, blocks=3), model, tmp_path)
    assert (drafter.resolved.heads, drafter.resolved.blocks) == (2, 3)
    assert drafter.shape.depth == 2
    assert fingerprint(copy.deepcopy(model).bfloat16()) == fingerprint(model), "a number format is no other model"
    with pytest.raises(ValueError, match=r"trained for made-up with weights .* of this target .*draft train medusa"):
        run(Speculative(drafter), tiny(seed=1))
    with pytest.raises(ValueError, match="width 32 and 64 tokens, but this target has width 48"):
        run(Speculative(drafter), wrapped("llama", hidden_size=48))
    with pytest.raises(ValueError, match=r"3 deep, but .* guesses 2"):
        run(Speculative(replace(drafter, tree=((0,), (0, 0), (0, 0, 0)))), model)


def test_damaged_folders_are_refused_by_name(tmp_path):
    model = tiny()
    drafter = made_random(Medusa(heads=2), model, tmp_path)
    card, weights = tmp_path / CARD, tmp_path / WEIGHTS
    good_card, good = card.read_text(), load_file(weights)
    bad = {name: tensor.clone() for name, tensor in good.items()}
    bad["weight"][0, 0, 0, 0] = float("nan")
    for tensors, error, match in (
        (bad, NotFinite, "'weight' holds NaN"),
        ({"weight": good["weight"]}, BrokenModel, "lacks tensor 'bias'"),
        (good | {"weight": good["weight"][..., :-1].contiguous()}, BrokenModel, r"'weight' is \(2, 1, 32, 31\)"),
    ):
        save_file(tensors, weights)
        with pytest.raises(error, match=match):
            run(Speculative(drafter), model)
    weights.write_bytes(b"not tensors")
    with pytest.raises(BrokenModel, match="truncated or damaged"):
        run(Speculative(drafter), model)
    weights.unlink()
    with pytest.raises(BrokenModel, match="missing"):
        run(Speculative(drafter), model)
    card.write_text(json.dumps(json.loads(good_card) | {"format": 7}))
    with pytest.raises(BrokenModel, match="format 7, this version reads 1"):
        run(Speculative(drafter), model)
    card.write_text(json.dumps(json.loads(good_card) | {"method": "drafting/chimera"}))
    with pytest.raises(ValueError, match="holds a 'drafting/chimera' drafter"):
        run(Speculative(drafter), model)
    card.unlink()
    with pytest.raises(BrokenModel, match="is missing"):
        run(Speculative(drafter), model)


def test_a_target_without_a_head_or_trees_is_refused_and_a_decoder_that_shows_nothing_too():
    table = Table(torch.zeros(8, 8).double())
    with pytest.raises(NotOffered, match="Table has none"):
        run(Speculative(Medusa()), table, prompt=torch.tensor([[1, 2]]), mask=None)
    session = Medusa().start(tiny(), generator=torch.Generator(), logits=lambda logits, histories: logits)
    with pytest.raises(ValueError, match="was shown none of row 0"):
        session.propose([PROMPT[0]], [4])


def test_the_loss_is_the_weighted_cross_entropy_and_its_gradient_trains_heads_only():
    model = tiny()
    drafter = Medusa(heads=3)
    module, taught = drafter.build(model), lesson(model)
    found = drafter.loss(module, model, taught, torch.Generator().manual_seed(0))
    total, count = 0.0, 0
    for row in range(len(taught.ids)):
        length = int(taught.mask[row].sum())
        for t in range(taught.ids.shape[1]):
            if t + 2 < length and taught.written[row, t + 1]:
                count += 1
                logp = model(taught.ids[row : row + 1, : t + 1]).logits[0, -1].detach().log_softmax(-1)
                for k in range(1, 4):
                    if t + 1 + k < length:
                        total -= DECAY**k * float(logp[taught.ids[row, t + 1 + k]])
    assert int(found.count) == count
    assert float(found.total) == pytest.approx(total, rel=1e-9)
    found.total.backward()
    assert module.weight.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.parameters())


def test_ranks_count_what_is_likelier():
    logits = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0], [0.0, 5.0, 1.0]])
    assert rank(logits, torch.tensor([2, 1, -100])).tolist() == [1, 0, -1]
