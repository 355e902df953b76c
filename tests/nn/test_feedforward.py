import torch

from trivium.nn.feedforward import swiglu, swiglu_reference


def test_outputs_and_gradients_equal_the_reference():
    generator = torch.Generator().manual_seed(0)
    gate, up, weight = (torch.randn(2, 3, 7, generator=generator, dtype=torch.float64) for _ in range(3))
    gate.requires_grad_()
    up.requires_grad_()
    fast, slow = swiglu(gate, up), swiglu_reference(gate, up)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=0)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), (gate, up)) for y in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_hand_worked_number():
    value = swiglu(torch.tensor([0.0, 2.0]), torch.tensor([5.0, 3.0]))
    torch.testing.assert_close(value, torch.tensor([0.0, 2 / (1 + torch.tensor(-2.0).exp()) * 3]))
