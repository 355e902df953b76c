"""Chimera: drafts are those of the whole sequence run at once, whatever was cached, and training sees the same."""

from functools import partial

import pytest
import torch

from tests.decoding.models import Table, tiny
from tests.drafting.trained import MASK, PROMPT, lesson, made_random, run
from trivium.core.errors import NotOffered
from trivium.data.lessons import NOTHING
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._trained import Head
from trivium.drafting.chimera import Chimera, Drafting
from trivium.models.unembedding import read_off, unembedding
from trivium.training.drafters import frozen

TREE = ((0,), (1,), (0, 0), (0, 2), (1, 0), (0, 2, 1))


def module_of(drafter, model, seed=0):
    module, generator = drafter.build(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise / parameter.shape[-1] ** 0.5)
    return module


def by_hand(model, module, text, path):
    """Logits and output after a text and drafted tokens: everything in one causal pass, tri-grams spelled out."""
    hidden = model(torch.tensor([text[:-1]])).hidden[0]
    tokens, slots = text + path, []
    for end in range(len(text) - 1, len(tokens)):
        z = torch.cat([model.embed(torch.tensor([[tokens[max(end - back, 0)]]]))[0, 0] for back in (2, 1, 0)])
        inner = module.first @ z + module.bias
        slots.append(module.second @ (z + inner * inner.sigmoid()))
    o = module.layer(embeds=torch.cat([hidden, torch.stack(slots)])[None]).hidden[0, -1]
    mix = module.mix[min(len(path), len(module.mix) - 1)]
    return read_off(mix @ torch.cat([hidden[-1], o]), unembedding(model, "test")), o


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("plain", [Greedy(), Sampling(0.8, repetition_penalty=1.2)], ids=["greedy", "sampling"])
def test_a_random_module_changes_nothing_in_a_ragged_batch(tmp_path, family, plain):
    model = tiny(family)
    drafter = made_random(Chimera(nodes=20), model, tmp_path)
    made = run(Speculative(drafter, of=plain), model)
    assert torch.equal(made.ids, run(plain, model).ids)
    assert made.trace.iterations[0]["drafted"] == 3 * 19
    assert made.trace.iterations[0]["draft_positions"] > 0


@torch.no_grad()
@pytest.mark.parametrize("one_head", [True, False])
def test_drafts_of_a_ragged_batch_are_those_of_the_whole_sequence(one_head):
    """Three rounds, in which rows take different numbers of tokens and the first row ends before the last."""
    model = tiny()
    drafter = Chimera(steps=3, one_head=one_head, tree=TREE)
    module = module_of(drafter, model)
    session = Drafting(module, Head(*unembedding(model, "chimera")), model, drafter.shape)
    texts = [PROMPT[row][MASK[row]].tolist() for row in range(3)]
    known = [0, 0, 0]
    for number, taken in enumerate([(1, 1, 1), (1, 3, 2), (0, 2, 4)]):
        for row, more in enumerate(taken):
            texts[row] += [(7 * number + 3 * row + place) % 64 for place in range(more)]
        live = [row for row in range(3) if taken[row]]
        states = [model(torch.tensor([texts[row][:-1]])).hidden[0, known[row] :] for row in live]
        session.observe(live, [torch.arange(len(each)) for each in states], states)
        for row, each in zip(live, states, strict=True):
            known[row] += len(each)
        room = [9 if row in live else 0 for row in range(3)]
        trees = session.propose([torch.tensor(text) for text in texts], room)
        for row in live:
            for node, path in enumerate(TREE, 1):
                before = [int(trees[row].tokens[at]) for at in trees[row].path(node)[1:-1]]
                logits, _ = by_hand(model, module, texts[row], before)
                assert int(trees[row].tokens[node]) == int(logits.topk(10).indices[path[-1]])
        assert all(len(trees[row]) == 1 for row in range(3) if row not in live)


@torch.no_grad()
def test_a_new_module_starts_as_described():
    model = tiny()
    module = Chimera().build(model)
    embedded = model.embed(PROMPT[:1, :3])
    torch.testing.assert_close(module.encode(embedded), embedded[:, 2], atol=1e-12, rtol=0)
    one, other = torch.randn(2, 4, 3, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(module.encode(one + other), module.encode(one) + module.encode(other))
    h, o = one[:, 0], other[:, 0]
    head = unembedding(model, "test")
    got = module.logits(h, o, torch.arange(4), head)
    torch.testing.assert_close(got, read_off(h, head) + read_off(o, head), atol=1e-9, rtol=0)


def test_training_sees_what_drafting_sees_and_its_loss_is_the_equation():
    model = tiny()
    drafter = Chimera(steps=3)
    module, taught = module_of(drafter, model), lesson(model)
    with frozen(model):
        found = drafter.loss(module, model, taught, torch.Generator().manual_seed(0))
        o, logits, targets, states = drafter._taught(module, model, taught, torch.arange(3), None)
        found.total.backward()
    total, place = 0.0, 0
    with torch.no_grad():
        for row in range(3):
            end = int(taught.mask[row].sum())
            for n in range(2, end - 2):  # the last verified column; the first three tokens are the prompt
                text = taught.ids[row].tolist()
                for step in range(3):
                    if n + 2 + step >= end:
                        assert targets[place, step] == NOTHING
                        continue
                    expected, output = by_hand(model, module, text[: n + 2], text[n + 2 : n + 2 + step])
                    torch.testing.assert_close(logits[place, step], expected, atol=1e-9, rtol=0)
                    torch.testing.assert_close(o[place, step], output, atol=1e-9, rtol=0)
                    assert int(targets[place, step]) == text[n + 2 + step]
                    assert torch.equal(states[place, step], taught.hidden[row, n + 1 + step])
                    said = model(taught.ids[row : row + 1, : n + 2 + step])
                    p = said.logits[0, -1].softmax(-1)
                    total += float((p * (p.log() - expected.log_softmax(-1))).sum())
                    total += float((output - said.hidden[0, -1]).square().mean())
                place += 1
    assert place == len(targets)
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-9)
    assert int(found.count) == int((targets != NOTHING).sum())
    for name in ("first", "second", "mix"):
        assert getattr(module, name).grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.parameters())


def test_a_lesson_that_is_repeated_is_learned():
    model = tiny()
    drafter = Chimera(steps=2)
    module, taught = drafter.build(model), lesson(model)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    values = []
    with frozen(model):
        for _ in range(30):
            loss = drafter.loss(module, model, taught, torch.Generator().manual_seed(0)).value
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(float(loss.detach()))
    assert values[-1] < 0.3 * values[0]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"steps": 0}, "at least 1"),
        ({"steps": 1, "tree": ((0,), (0, 0))}, "2 deep, but only 1"),
        ({"tree": ((1, 0),)}, "without its beginning"),
    ],
)
def test_wrong_settings_are_refused(words, match):
    with pytest.raises(ValueError, match=match):
        Chimera(**words)


def test_unsuited_targets_and_folders_are_refused(tmp_path):
    with pytest.raises(NotOffered, match="Table has none"):
        run(Speculative(Chimera()), Table(torch.zeros(8, 8).double()), prompt=torch.tensor([[1, 2]]), mask=None)
    drafter = made_random(Chimera(steps=2, one_head=True), tiny(), tmp_path)
    assert (drafter.resolved.steps, drafter.resolved.one_head) == (2, True)
    refused = partial(run, Speculative(drafter), tiny(seed=1))
    with pytest.raises(ValueError, match="draft train chimera"):
        refused()
