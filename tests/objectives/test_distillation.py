"""Distillation: zero from oneself, the equation by a slow loop, and what a memory of k tokens loses."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.objectives.table import TableModel
from tests.objectives.test_contract import llama, ragged
from trivium.core.nouns import Batch
from trivium.core.seeds import generator
from trivium.data.teaching import AnsweredTexts, Answers, Targets
from trivium.objectives.causal import Causal
from trivium.objectives.distillation import Distillation

IDS = torch.tensor([[0, 1, 2, 1]])


def tables(vocab=5):
    draws = generator(0, "tables")
    return [TableModel(2 * torch.randn(vocab, vocab, dtype=torch.float64, generator=draws)).eval() for _ in range(2)]


def loss(objective, model, batch=Batch(IDS)):
    return objective(model, batch, generator=generator(0))


def remembered(teacher, k):
    """A teacher that names its k likeliest tokens only."""

    def answer(batch):
        best = teacher(batch.ids, mask=batch.mask, segments=batch.segments).logits.detach().log_softmax(-1).topk(k)
        return Targets(best.indices, best.values, torch.ones_like(batch.ids, dtype=torch.bool))

    return answer


def test_a_number_by_hand():
    """p = (1/2, 1/2) against q = (1/5, 4/5) at the one position: ln(5/2)/2 + ln(5/8)/2 = ln(5/4); the token is 1."""
    teacher, student = TableModel(torch.zeros(2, 2)).eval(), TableModel(torch.tensor([[0.0, math.log(4)], [0.0, 0.0]]))
    batch = Batch(torch.tensor([[0, 1]]))
    soft = loss(Distillation(teacher, alpha=1.0, temperature=1.0), student, batch).value.detach()
    assert float(soft) == pytest.approx(math.log(5 / 4), rel=1e-6)
    mixed = loss(Distillation(teacher, alpha=0.5, temperature=1.0), student, batch).value.detach()
    assert float(mixed) == pytest.approx(0.5 * math.log(5 / 4) + 0.5 * math.log(5 / 4), rel=1e-6)
    warm = loss(Distillation(teacher, alpha=1.0, temperature=2.0), student, batch).value.detach()  # q = (1/3, 2/3)
    assert float(warm) == pytest.approx(4 * 0.5 * (math.log(3 / 2) + math.log(3 / 4)), rel=1e-6)


@pytest.mark.parametrize("k", [None, 2, 5])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_equation_by_a_slow_loop(k, temperature):
    teacher, student = tables()
    made = loss(Distillation(teacher if k is None else remembered(teacher, k), 0.7, temperature), student)
    total = 0.0
    for at, token in zip(IDS[0, :-1].tolist(), IDS[0, 1:].tolist(), strict=True):
        p, q = (model.table.detach()[at].softmax(0) for model in (teacher, student))
        best = p.topk(k or 5).indices.tolist()
        groups = [[v] for v in best] + ([[v for v in range(5) if v not in best]] if len(best) < 5 else [])
        p, q_all = ([float(x[group].sum()) ** (1 / temperature) for group in groups] for x in (p, q))
        kl = sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q_all))) for a, b in zip(p, q_all, strict=True))
        total += 0.7 * temperature**2 * kl - 0.3 * math.log(float(q[token]))
    assert float(made.total.detach()) == pytest.approx(total, rel=1e-9)
    assert made.count == 3


def test_from_oneself_there_is_nothing_to_learn():
    model = llama()
    for teacher in (llama().eval(), remembered(llama(), 4)):
        found = loss(Distillation(teacher, alpha=1.0), model, ragged())
        found.value.backward()
        assert float(found.value.detach()) == pytest.approx(0.0, abs=1e-10)
        assert all(float(p.grad.abs().max()) < 1e-10 for p in model.parameters())
        model.zero_grad()


@pytest.mark.parametrize(
    "objective", [Distillation(), Distillation(alpha=1.0), Distillation(llama().eval(), alpha=0.0)]
)
def test_without_a_teacher_or_a_share_of_it_this_is_plain_training(objective):
    model = llama()
    one, two = loss(objective, model, ragged()), loss(Causal(), model, ragged())
    assert one.total == two.total
    assert one.count == two.count


def test_a_memory_of_more_tokens_is_a_tighter_bound():
    teacher, student = tables()
    objective = Distillation(teacher, alpha=1.0, temperature=1.0)
    whole = float(loss(objective, student).value.detach())
    found = [
        float(loss(replace(objective, teacher=remembered(teacher, k)), student).value.detach()) for k in range(1, 6)
    ]
    assert all(less <= more + 1e-12 for less, more in pairwise(found))
    assert found[3] == pytest.approx(whole, rel=1e-9)  # the bucket of the others holds one token
    assert found[0] > 0
    assert found[-1] == pytest.approx(whole, rel=1e-9)
    assert found[0] < 0.9 * whole


def test_padding_and_unknown_positions_do_not_count():
    teacher, model, batch = llama().eval(), llama(), ragged(rows=3)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    for answer in (teacher, remembered(teacher, 4)):
        objective = Distillation(answer, alpha=0.6)
        whole = loss(objective, model, batch)
        alone = [
            loss(objective, model, Batch(batch.ids[r, real][None], None, batch.segments[r, real][None]))
            for r, real in enumerate(batch.mask)
        ]
        torch.testing.assert_close(whole.total, sum(one.total for one in alone))
        assert whole.count == sum(one.count for one in alone)

    def first_two(batch):
        said = remembered(teacher, 4)(batch)
        return replace(said, known=said.known & (torch.arange(batch.ids.shape[1]) < 2))

    part = loss(Distillation(first_two, alpha=0.6), model, Batch(batch.ids[:, :12]))
    same = loss(Distillation(remembered(teacher, 4), alpha=0.6), model, Batch(batch.ids[:, :3]))
    torch.testing.assert_close(part.total, same.total)
    assert part.count == same.count == 6


def test_the_gradient_keeps_its_size_when_the_temperature_rises():
    """The factor T^2: for near-uniform logits the gradient does not depend on T, to first order in the logits."""
    sizes = []
    for temperature in (1.0, 4.0):
        teacher, student = (TableModel(0.01 * model.table.detach()).eval() for model in tables())
        loss(Distillation(teacher, 1.0, temperature), student).value.backward()
        sizes.append(float(student.table.grad.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_lessons_remember_each_row_wherever_its_padding_is():
    """What is kept is what a live teacher says, up to the mass beyond k: here none, as k is the vocabulary."""
    teacher, model = llama().eval(), llama()
    lessons = []
    for number in range(2):
        ids = torch.randint(0, 11, (4, 9), generator=generator(number))
        mask = torch.arange(9) >= torch.tensor([2, 2, 3, 1])[:, None]
        mask[1, 8] = False
        said = teacher(ids, mask=mask).logits.detach().log_softmax(-1).topk(11)
        lessons.append(Answers(ids, mask, said.indices[:, 3:8], said.values[:, 3:8], 3))
    lessons = AnsweredTexts(lessons, 2)
    assert len(lessons.parts) == 4
    for step in range(4):
        batch = lessons.batch(step)
        assert batch.mask.any(0).all()
        answer = lessons(batch)
        here = teacher(batch.ids, mask=batch.mask).logits.detach().log_softmax(-1).topk(11)
        known = answer.known & batch.mask
        assert known.sum() == 10
        torch.testing.assert_close(answer.logprobs[known], here.values[known].float(), atol=1e-6, rtol=0)
    assert torch.equal(lessons.batch(1).ids, lessons.batch(1).ids)
    with pytest.raises(KeyError, match="none of the texts"):
        lessons(Batch(ids))
    assert loss(Distillation(lessons, 1.0, 1.0), model, lessons.batch(0)).count > 0


def test_bad_settings_and_teachers():
    for alpha in (-0.1, 1.1):
        with pytest.raises(ValueError, match="alpha is a share"):
            Distillation(alpha=alpha)
    for temperature in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature must be positive"):
            Distillation(temperature=temperature)
    with pytest.raises(ValueError, match="vocabulary of 5 and the student one of 3"):
        loss(Distillation(tables()[0]), TableModel(torch.zeros(3, 3)))
    with pytest.raises(ValueError, match=r"call teacher\.eval"):
        loss(Distillation(tables()[0].train()), tables()[1])
    with pytest.raises(ValueError, match="no lesson"):
        AnsweredTexts([])
    with pytest.raises(ValueError, match="columns 3 to 5"):
        Answers(IDS, IDS > -1, torch.zeros(1, 2, 1), torch.zeros(1, 2, 1), 3)
