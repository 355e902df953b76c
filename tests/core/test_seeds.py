import torch

from trivium.core.seeds import derive, generator, numpy_generator


def test_names_give_independent_streams_that_do_not_depend_on_order():
    a = torch.rand(4, generator=generator(1, "order", 7))
    torch.rand(4, generator=generator(1, "dropout"))
    assert torch.equal(a, torch.rand(4, generator=generator(1, "order", 7)))
    assert not torch.equal(a, torch.rand(4, generator=generator(1, "order", 8)))
    assert not torch.equal(a, torch.rand(4, generator=generator(2, "order", 7)))


def test_names_are_kept_apart():
    assert derive(0, "ab", "c") != derive(0, "a", "bc") != derive(0, "abc")


def test_the_derivation_is_fixed_for_ever():
    # A change here would silently change every recorded result.
    assert derive(0) == int.from_bytes(__import__("hashlib").sha256(b"0").digest()[:8], "big") >> 1
    assert 0 <= derive(123, "x") < 2**63
    assert numpy_generator(3, "a").integers(1 << 30) == numpy_generator(3, "a").integers(1 << 30)
