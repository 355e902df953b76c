import pytest
import torch

from trivium.core.meter import count_flops
from trivium.nn.attention import (
    attention,
    attention_reference,
    banded_attention,
    banded_attention_reference,
    banded_pairs,
    shown_attention,
)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inputs(time=5, keys=5, groups=2):
    return [
        x.requires_grad_()
        for x in (rand(2, 4, time, 8), rand(2, groups, keys, 8, seed=1), rand(2, groups, keys, 6, seed=2))
    ]


def ragged(time, keys):
    mask = torch.ones(2, 1, time, keys, dtype=torch.bool).tril(keys - time)
    mask[0, :, :, :2] = False  # the first two keys of row 0 are padding, so its first queries may see nothing
    return mask


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("case", ["causal", "longer keys", "one query", "all", "mask", "scale"])
def test_outputs_and_gradients_equal_the_reference(case, groups):
    time, keys = {"longer keys": (3, 7), "one query": (1, 6)}.get(case, (5, 5))
    q, k, v = inputs(time, keys, groups)
    v = v[..., :6] if case != "scale" else v
    mask = ragged(time, keys) if case == "mask" else None
    options = {"causal": case != "all", "scale": 0.3 if case == "scale" else None}
    fast, slow = attention(q, k, v, mask, **options), attention_reference(q, k, v, mask, **options)
    torch.testing.assert_close(fast, slow, atol=1e-10, rtol=0)
    weight = rand(*fast.shape, seed=3)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), (q, k, v)) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_a_query_that_sees_nothing_gives_zeros_and_finite_gradients():
    q, k, v = inputs()
    out = attention(q, k, v, ragged(5, 5))
    assert (out[0, :, :2] == 0).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), (q, k, v)))


@pytest.mark.parametrize("case", ["causal", "longer keys", "mask"])
def test_shown_attention_is_attention(case):
    """Outputs and gradients are those of the reference, queries that see nothing included."""
    time, keys = (3, 7) if case == "longer keys" else (5, 5)
    q, k, v = inputs(time, keys)
    mask = ragged(time, keys) if case == "mask" else None
    seen = {}

    def keep(name):
        return lambda x: seen.setdefault(name, x)

    shown = shown_attention(q, k, v, mask, scores=keep("scores"), weights=keep("weights"))
    slow = attention_reference(q, k, v, mask)
    torch.testing.assert_close(shown, slow, atol=1e-10, rtol=0)
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), (q, k, v)) for y in (shown, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)
    hidden = torch.ones(time, keys, dtype=torch.bool).triu(keys - time + 1) if mask is None else ~mask
    assert (seen["weights"].masked_select(hidden) == 0).all()
    sums = seen["weights"].sum(-1)
    blind = (~mask).all(-1).expand_as(sums) if case == "mask" else torch.zeros_like(sums, dtype=torch.bool)
    torch.testing.assert_close(sums, (~blind).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(seen["scores"], q @ k.repeat_interleave(2, 1).mT / 8**0.5, atol=1e-12, rtol=0)


def test_what_is_changed_on_the_way_counts():
    """Scores that are doubled are those of doubled queries; weights of nothing give nothing."""
    q, k, v = inputs()
    same = lambda x: x  # noqa: E731
    twice = shown_attention(q, k, v, scores=lambda x: 2 * x, weights=same)
    torch.testing.assert_close(twice, attention(2 * q, k, v), atol=1e-10, rtol=0)
    assert (shown_attention(q, k, v, scores=same, weights=torch.zeros_like) == 0).all()


def test_groups_equal_repeated_keys_and_values():
    q, k, v = inputs(groups=2)
    whole = attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))
    torch.testing.assert_close(attention(q, k, v), whole)


def test_equal_keys_give_the_mean_of_the_values():
    q, v = rand(1, 1, 4, 8), rand(1, 1, 4, 3, seed=1)
    out = attention(q, torch.zeros(1, 1, 4, 8, dtype=torch.float64), v)
    torch.testing.assert_close(out, v.cumsum(2) / torch.arange(1, 5)[:, None])


DOCUMENTS = torch.tensor([[0] * 4 + [1] * 8 + [2] * 9, [0] * 13 + [1] * 1 + [2] * 7])


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("window", [1, 2, 5, 10, 21, 40])
@pytest.mark.parametrize("case", ["whole", "packed", "one query", "going on", "far on"])
def test_banded_outputs_and_gradients_equal_the_reference(case, window, groups):
    time, keys = {"one query": (1, 21), "going on": (18, 21), "far on": (4, 21)}.get(case, (21, 21))
    tensors = inputs(time, keys, groups)
    documents = DOCUMENTS if case == "packed" else None
    fast = banded_attention(*tensors, window, documents=documents)
    slow = banded_attention_reference(*tensors, window, documents=documents)
    torch.testing.assert_close(fast, slow, atol=1e-10, rtol=0)
    weight = rand(*fast.shape, seed=3)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), tensors) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_a_band_of_equal_keys_gives_the_mean_of_its_last_values():
    q, k, v = rand(1, 1, 6, 8), torch.zeros(1, 1, 6, 8, dtype=torch.float64), rand(1, 1, 6, 3, seed=1)
    expected = torch.stack([v[:, :, max(0, t - 1) : t + 1].mean(2) for t in range(6)], 2)
    torch.testing.assert_close(banded_attention(q, k, v, 2), expected)
    assert torch.equal(banded_attention(q, k, v, 1), v)


@pytest.mark.parametrize("window", [1, 3, 8, 21, 30])
def test_banded_pairs_are_those_that_are_worked_on(window):
    q, k, _ = inputs(21, 21, groups=4)
    flops = count_flops(lambda: banded_attention(q, k, k, window))
    assert flops == 2 * 2 * 4 * banded_pairs(21, window) * (8 + 8)
    visible = sum(min(t, window) for t in range(1, 22))
    assert visible <= banded_pairs(21, window) < 2 * visible + 1
