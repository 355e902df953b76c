import math

import pytest
import torch

from tests.prompting.models import Sorts, system
from trivium.core.errors import BudgetExceeded
from trivium.core.privacy import concentrated
from trivium.core.seeds import generator
from trivium.core.wording import Exemplar
from trivium.prompting.dp_few_shot import DpFewShot, next_logits, prompt

SMALL = DpFewShot(groups=3, each=2, limit=5)
EVERY = DpFewShot(groups=3, each=3, limit=4)
"""All of the eight records of a label take part in each token."""


def test_each_record_takes_part_by_itself_and_in_one_group():
    records = [f"r{number}" for number in range(60)]
    draws, counts, sizes = generator(0), torch.zeros(60), []
    for _ in range(2000):
        groups = SMALL.grouped(records, draws)
        flat = [one for group in groups for one in group]
        assert len(groups) == 3
        assert len(set(flat)) == len(flat)
        counts[[int(one[1:]) for one in flat]] += 1
        sizes.append(len(flat))
    rate = SMALL.rate(60)
    assert rate == 0.1
    assert ((counts / 2000 - rate).abs() < 4 * math.sqrt(rate * (1 - rate) / 2000)).all()
    variance = torch.tensor(sizes, dtype=torch.float64).var()
    assert float(variance) == pytest.approx(60 * rate * (1 - rate), rel=0.15)  # they do not know of each other
    assert SMALL.rate(4) == 1.0


def test_a_changed_record_changes_at_most_one_group():
    records = [f"r{number}" for number in range(20)]
    for seed in range(30):
        one = SMALL.grouped(records, generator(seed))
        other = SMALL.grouped([*records[:7], "other", *records[8:]], generator(seed))
        assert sum(a != b for a, b in zip(one, other, strict=True)) == any("r7" in group for group in one)


def test_the_noise_pays_for_all_tokens_and_no_more_are_written():
    budget = SMALL.budget(6)  # of all of which each token is made
    multiplier = budget.mechanism.multiplier
    assert multiplier * 2**0.5 == pytest.approx(math.sqrt(2) * multiplier)
    assert concentrated(5 / (2 * multiplier**2), 1e-5) == pytest.approx(8.0, rel=2e-3)
    assert budget.mechanism.epsilon(5, 1e-5) <= 8.0 < budget.mechanism.epsilon(6, 1e-5)
    budget.take(3)
    with pytest.raises(BudgetExceeded, match="1 more uses of the private data"):
        for _ in range(9):
            SMALL.written(system(), "x", ["ab"] * 6, budget, generator(0))
    assert budget.uses == 5
    tighter = DpFewShot(groups=3, each=2, limit=5, epsilon=1.0).budget(6)
    assert tighter.mechanism.multiplier > 4 * multiplier


def test_next_tokens_are_those_of_each_prompt_alone():
    prompts, ids = [prompt("x", ["ab", "c"]), prompt("x", []), prompt("x", ["a" * 300])], [65, 66]
    together = next_logits(system(), prompts, ids)
    for row, text in zip(together, prompts, strict=True):
        whole = torch.cat([system().prompt(text), torch.tensor([ids])], 1)
        torch.testing.assert_close(row, system().model(whole).logits[0, -1].to(together.dtype), atol=1e-4, rtol=1e-3)
    cut = next_logits(system(), ["b" * 900], [65])
    torch.testing.assert_close(
        cut[0], system().model(torch.tensor([[98] * 767 + [65]])).logits[0, -1].to(together.dtype), atol=1e-4, rtol=1e-3
    )


def test_without_noise_it_writes_what_all_groups_find_likeliest(monkeypatch):
    """Records that are alike give what one of them would write, greedily, among the public top."""
    calls = []
    original = torch.randn

    def still(*shape, **given):
        calls.append(shape)
        return original(*shape, **given) * 0.0

    monkeypatch.setattr("trivium.nn.noisy.torch.randn", still)
    one = DpFewShot(groups=2, each=50, limit=4, top=20)  # every record takes part in every token
    draws = generator(1)
    text = one.written(system(), "x", ["ab"] * 2, one.budget(2), draws)
    assert len(calls) == 4
    draws, ids = generator(1), []
    for _ in range(4):
        groups = one.grouped(["ab"] * 2, draws)
        logits = next_logits(system(), [*(prompt("x", group) for group in groups), prompt("x", ())], ids)
        kept = logits[-1].topk(20).indices
        ids.append(int(kept[logits[:-1, kept].double().softmax(-1).mean(0).argmax()]))
        original((20,), dtype=torch.float64, generator=draws)
    assert text == system().tokenizer.decode(ids).strip().split("\n")[0].strip()


def test_prompts_show_what_was_made_and_no_private_record():
    made, budgets = EVERY.exemplars(Sorts(), system(), generator=generator(2))
    assert set(budgets) == {"x", "y", "z"}
    assert all(budget.spent <= 8.0 for budget in budgets.values())
    assert [one.label for one in made] == [label for label in "xyz" if label in {one.label for one in made}]
    task = EVERY(Sorts(), system(), generator=generator(2))
    assert task.wording.exemplars == made
    assert task.tells()["privacy"].startswith("x: total epsilon ")
    assert task.wording.exemplars != Sorts.wording.exemplars
    two = DpFewShot(shots=2, groups=3, each=3, limit=4, top=7).exemplars(Sorts(), system(), generator=generator(2))[0]
    assert len(two) > len(made)


def test_bad_input():
    for name, value in (("groups", 1), ("shots", 0), ("each", 0), ("limit", 0), ("top", 0)):
        with pytest.raises(ValueError, match=f"{name} must be at least"):
            DpFewShot(**{name: value})
    with pytest.raises(ValueError, match="epsilon must be positive"):
        DpFewShot(epsilon=0.0)
    with pytest.raises(ValueError, match="delta is a probability"):
        DpFewShot(delta=0.0)

    class Without(Sorts):
        pool = tuple(one for one in Sorts.pool if one.label != "y")

    with pytest.raises(ValueError, match="no record of the label 'y'"):
        DpFewShot()(Without(), system(), generator=generator(0))

    class Several(Sorts):
        pool = (*Sorts.pool, Exemplar({"question": "q"}, "x"))

    with pytest.raises(ValueError, match="of one field, these have question, text"):
        DpFewShot()(Several(), system(), generator=generator(0))
