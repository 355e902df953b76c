"""Keys that are trained tell held-out values better than the means they began as."""

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.learned_keys import train_keys
from trivium.nn.nearest import similarities, vote


def heaps(seed, count=600):
    """Three values; what tells them apart is small beside a coordinate that says nothing."""
    draw = generator(seed, "heaps")
    said = torch.randint(3, (count,), generator=draw)
    noise = torch.randn(count, 1, generator=draw) * 5
    return torch.cat((torch.eye(3)[said] + 0.3 * torch.randn(count, 3, generator=draw), noise), 1), said


def loss(keys, values, entries, said, similarity):
    scores = similarities(entries, keys, similarity)
    return -float(vote(scores, values.expand(len(said), -1), said, 1.0).mean())


@pytest.mark.parametrize("similarity", ["l2", "dot"])
def test_training_lowers_the_loss_of_other_entries(similarity):
    entries, said = heaps(0)
    keys, values = entries[:30], said[:30]
    before = keys.clone()
    learned = train_keys(keys, values, entries, said, tau=1.0, epochs=20, similarity=similarity)
    assert torch.equal(keys, before)
    others = heaps(1)
    assert loss(learned, values, *others, similarity) < 0.6 * loss(keys, values, *others, similarity)


def test_one_row_for_each_value_is_an_output_layer():
    """Against gradient descent on the cross-entropy of a linear layer, with the same steps."""
    entries, said = heaps(2, 200)
    rows = torch.randn(3, 4, generator=generator(0, "rows"))
    learned = train_keys(rows, torch.arange(3), entries, said, tau=1.0, epochs=2, similarity="dot")
    weight = rows.clone().requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.02 * float(rows.std()))
    for step in range(2):
        optimizer.param_groups[0]["lr"] = 0.02 * float(rows.std()) * (1 - step / 2)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(entries @ weight.mT, said).backward()
        optimizer.step()
    torch.testing.assert_close(learned, weight.detach(), atol=1e-5, rtol=1e-4)


def test_nothing_is_learned_in_no_epochs_and_misuse_is_told():
    entries, said = heaps(0)
    keys, values = entries[:30], said[:30]
    assert torch.equal(train_keys(keys, values, entries, said, tau=1.0, epochs=0), keys)
    first, again, other = (train_keys(keys, values, entries, said, tau=1.0, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="epochs must be at least 0, got -1"):
        train_keys(keys, values, entries, said, tau=1.0, epochs=-1)
    with pytest.raises(ValueError, match="value 2 of the entries is of no row"):
        train_keys(keys[values < 2], values[values < 2], entries, said, tau=1.0, epochs=1)
    with pytest.raises(ValueError, match="tau divides the scores"):
        train_keys(keys, values, entries, said, tau=0.0, epochs=1)
