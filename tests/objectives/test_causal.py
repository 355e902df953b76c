"""Causal language modelling."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.objectives.table import TableModel
from trivium.architectures.llama import Llama
from trivium.core.nouns import Batch
from trivium.core.seeds import generator
from trivium.nn.cross_entropy import IGNORED
from trivium.objectives.causal import Causal, next_tokens


def test_by_hand():
    """p(1 | 0) = 3/4 and p(0 | 1) = 1/2: the loss of 0 1 0 is ln(4/3) + ln 2 over two predictions."""
    model = TableModel(torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]], dtype=torch.float64))
    loss = Causal()(model, Batch(torch.tensor([[0, 1, 0]])), generator=generator(0))
    assert loss.count == 2
    assert loss.total.item() == pytest.approx(math.log(4 / 3) + math.log(2), rel=1e-12)


def test_is_cross_entropy_with_its_gradients():
    """O1: this objective has nothing to switch off."""
    model = Llama(width=16, depth=1, heads=2, hidden=24).build(13).double()
    ids = torch.randint(0, 13, (4, 9), generator=generator(1))
    loss = Causal()(model, Batch(ids), generator=generator(0))
    loss.value.backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    expected = F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    expected.backward()
    torch.testing.assert_close(loss.value, expected)
    for a, b in zip(got, model.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad, atol=1e-12, rtol=1e-10)


def test_no_prediction_crosses_a_border():
    """Rows: left padding, two documents, right padding. Hand-marked targets."""
    ids = torch.tensor([[9, 9, 1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 9, 9]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    segments = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
    no = IGNORED
    expected = [[no, no, 2, 3, no], [2, no, 4, 5, no], [2, 3, no, no, no]]
    assert next_tokens(Batch(ids, mask, segments)).tolist() == expected


def test_packed_documents_cost_what_they_cost_alone():
    model = Llama(width=16, depth=2, heads=2, hidden=24).build(13).double()
    first, second = (torch.randint(0, 13, (1, n), generator=generator(n)) for n in (5, 7))
    segments = torch.tensor([[0] * 5 + [1] * 7])
    packed = Causal()(model, Batch(torch.cat([first, second], 1), None, segments), generator=generator(0))
    alone = [Causal()(model, Batch(ids), generator=generator(0)) for ids in (first, second)]
    torch.testing.assert_close(packed.total, alone[0].total + alone[1].total, atol=1e-10, rtol=1e-10)
    assert packed.count == 10


def test_a_batch_without_a_prediction_has_count_zero():
    loss = Causal()(TableModel(torch.zeros(3, 3)), Batch(torch.tensor([[1], [2]])), generator=generator(0))
    assert loss.count == 0
    assert loss.total == 0


def test_gradient_descent_reaches_the_bigram_entropy():
    """The claim at toy size: what it minimises is the conditional entropy of the next token, here of a known chain."""
    chain = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64)
    draws, state, sequence = generator(0), 0, []
    for _ in range(3000):
        sequence.append(state)
        state = int(torch.multinomial(chain[state], 1, generator=draws))
    batch = Batch(torch.tensor([sequence]))
    model = TableModel(torch.zeros(3, 3, dtype=torch.float64))
    for _ in range(300):
        loss = Causal()(model, batch, generator=draws).value
        (gradient,) = torch.autograd.grad(loss, model.table)
        with torch.no_grad():
            model.table -= 2.0 * gradient
    ids = batch.ids[0]
    counts = torch.bincount(3 * ids[:-1] + ids[1:], minlength=9).view(3, 3).double()
    entropy = -(counts * (counts / counts.sum(1, keepdim=True)).log()).sum() / counts.sum()
    assert loss.item() == pytest.approx(entropy.item(), abs=1e-6)
