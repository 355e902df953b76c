"""The contrastive loss against its definition: value and gradient."""

import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.contrastive import contrastive, contrastive_reference


@pytest.mark.parametrize("margin", [0.5, 0.9])
def test_equals_the_definition(margin):
    hidden = torch.randn(2, 6, 4, dtype=torch.float64, generator=generator(0)).requires_grad_()
    pairs = torch.rand(2, 6, 6, generator=generator(1)) < 0.6
    weights = torch.rand(2, 6, dtype=torch.float64, generator=generator(2))
    found, expected = (function(hidden, pairs, margin) for function in (contrastive, contrastive_reference))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
    assert (expected > 0).any()
    gradients = [torch.autograd.grad((each * weights).sum(), hidden)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-10)


def test_the_length_of_a_state_is_of_no_matter_and_half_precision_is_widened():
    hidden = torch.randn(1, 5, 3, generator=generator(0))
    pairs = ~torch.eye(5, dtype=torch.bool)[None]
    scaled = hidden * torch.tensor([1.0, 3.0, 0.1, 7.0, 20.0])[:, None]
    torch.testing.assert_close(contrastive(scaled, pairs, 0.5), contrastive(hidden, pairs, 0.5))
    half = contrastive(hidden.bfloat16(), pairs, 0.5)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, contrastive(hidden.bfloat16().float(), pairs, 0.5))
