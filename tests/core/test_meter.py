"""FLOPs against closed formulas, nesting, budgets, and reuse of counts."""

import math
import time
from contextlib import nullcontext

import pytest
import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from trivium.core.budget import Budget
from trivium.core.errors import BudgetExceeded
from trivium.core.meter import Meter, _mapping, aside, count_flops, counting, gradient, measured, spend


def quietly(build):
    with torch.random.fork_rng():
        return build().eval()


def attention_pairs(queries, keys, causal):
    return sum(min(i + 1, keys) for i in range(queries)) if causal else queries * keys


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("queries", "keys", "causal"), [(8, 8, True), (8, 8, False), (3, 9, False), (6, 4, True)])
def test_attention_on_a_cpu_is_counted(dtype, queries, keys, causal):
    q, k = torch.ones(2, 4, queries, 16, dtype=dtype), torch.ones(2, 4, keys, 16, dtype=dtype)
    got = count_flops(lambda: F.scaled_dot_product_attention(q, k, k, is_causal=causal))
    assert got == 2 * 2 * 4 * attention_pairs(queries, keys, causal) * (16 + 16)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_attention_of_a_gpu_is_counted_alike(kernel, causal):
    """By shapes alone, so that no GPU is needed: grouped heads, and causality as on a processor."""
    operator = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention")
    bias = {} if kernel == "flash" else {"attn_bias": None, "compute_log_sumexp": False}
    q, k = (torch.empty(2, heads, 5, 16, device="meta", dtype=torch.bfloat16) for heads in (6, 6))
    got = count_flops(lambda: operator(q, k, k, **bias, is_causal=causal))  # type: ignore[arg-type]
    assert got == 2 * 2 * 6 * attention_pairs(5, 5, causal) * (16 + 16)
    assert _mapping()[operator](q, k[:, :2], k[:, :2], **bias, is_causal=causal) == got


@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_attention_backward_of_a_gpu_is_twice_the_forward(kernel):
    """Its arguments stand in the order of the operator's schema, the gradient first."""
    operator = getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}_attention_backward")
    q, k = (torch.empty(2, heads, 5, 16, device="meta") for heads in (6, 2))
    for causal in (False, True):
        given = {"query": q, "key": k, "value": k, "is_causal": causal}
        names = [argument.name for argument in operator.default._schema.arguments if not argument.kwarg_only]
        got = _mapping()[operator](*[given.get(name) for name in names])
        assert got == 2 * 2 * 2 * 6 * attention_pairs(5, 5, causal) * (16 + 16)


def test_attention_backward_is_twice_the_forward():
    q = torch.ones(1, 2, 8, 16, requires_grad=True)
    forward = count_flops(lambda: F.scaled_dot_product_attention(q, q, q))
    both = count_flops(lambda: F.scaled_dot_product_attention(q, q, q).sum().backward())
    assert both == 3 * forward


def test_fourier_transforms_and_scans_are_counted():
    x = torch.ones(3, 64)
    assert count_flops(lambda: torch.fft.fft(x.to(torch.complex64))) == 5 * 3 * 64 * 6
    assert count_flops(lambda: torch.fft.rfft(x)) == 5 * 3 * 64 * 6 // 2
    assert count_flops(lambda: torch.fft.irfft(torch.fft.rfft(x))) == 5 * 3 * 64 * 6
    assert count_flops(lambda: x.cumsum(1)) == 3 * 64


@pytest.mark.parametrize("grad", [False, True])
def test_gpt2_agrees_with_the_closed_formula(grad):
    width, depth, time, vocab = 96, 3, 40, 130
    model = quietly(
        lambda: GPT2LMHeadModel(GPT2Config(n_embd=width, n_layer=depth, n_head=4, vocab_size=vocab, n_positions=64))
    )
    ids = torch.zeros(2, time, dtype=torch.long)
    matrices = depth * 12 * width**2 + width * vocab  # qkv 3, out 1, mlp 8; a tied head counts once
    attention = depth * 4 * width * (time + 1) / 2
    with torch.set_grad_enabled(grad):
        got = count_flops(lambda: model(ids, use_cache=False))
    assert got == pytest.approx(2 * time * (2 * matrices + attention), rel=0.01)


def test_llama_agrees_with_the_closed_formula():
    width, hidden, depth, heads, groups, time, vocab = 64, 176, 2, 8, 2, 48, 200
    config = LlamaConfig(
        hidden_size=width, intermediate_size=hidden, num_hidden_layers=depth, num_attention_heads=heads,
        num_key_value_heads=groups, vocab_size=vocab, max_position_embeddings=64,
    )  # fmt: skip
    model = quietly(lambda: LlamaForCausalLM(config))
    ids = torch.zeros(3, time, dtype=torch.long)
    head = width // heads
    matrices = depth * (2 * width**2 + 2 * width * groups * head + 3 * width * hidden) + width * vocab
    with torch.no_grad():
        got = count_flops(lambda: model(ids, use_cache=False))
    assert got == pytest.approx(3 * time * (2 * matrices + depth * 4 * heads * head * (time + 1) / 2), rel=0.01)


def matmul():
    return torch.ones(8, 16) @ torch.ones(16, 4)


def test_meters_nest_and_each_sees_what_happens_inside_it():
    with Meter() as outer:
        with measured(None, calls=1, positions=8):
            matmul()
        with Meter() as inner, measured(None, calls=1):
            matmul()
        spend(new_tokens=3)
    assert (outer.spent.calls, outer.spent.positions, outer.spent.new_tokens) == (2, 8, 3)
    assert outer.spent.flops == 2 * inner.spent.flops == 2 * 2 * 8 * 16 * 4
    assert outer.spent.seconds >= inner.spent.seconds > 0
    assert outer.spent == outer.spent  # final after the block: the clock has stopped


def test_a_count_is_reused_for_the_same_key_and_only_then():
    ran = []

    def body():
        ran.append(counting())
        matmul()

    with Meter() as meter:
        for key in [("test", 1), ("test", 1), ("test", 2)]:
            before = meter.spent.flops
            with measured(key):
                body()
            assert meter.spent.flops - before == 2 * 8 * 16 * 4
    assert ran == [True, False, True]  # counted, reused, counted


def test_along_a_length_three_counts_fix_the_line():
    counted = []

    def attend(keys):
        counted.append(counting())
        q, k = torch.ones(1, 2, 4, 8), torch.ones(1, 2, keys, 8)
        F.scaled_dot_product_attention(q, k, k)

    with Meter() as meter:
        for keys in (3, 10, 4, 17, 100):
            before = meter.spent.flops
            with measured("line", length=keys):
                attend(keys)
            assert meter.spent.flops - before == 2 * 2 * 4 * keys * (8 + 8)
    assert counted == [True, True, True, False, False]


def test_what_is_no_line_is_counted_every_time():
    with Meter() as meter:
        for size in (2, 3, 5, 7):
            before = meter.spent.flops
            with measured("square", length=size):
                torch.ones(size, size) @ torch.ones(size, 1)
            assert meter.spent.flops - before == 2 * size * size


def test_work_inside_a_measured_body_is_not_counted_twice():
    with Meter() as meter, measured(None, calls=1):
        with measured(None, calls=1):
            matmul()
        matmul()
    assert meter.spent.flops == 2 * 2 * 8 * 16 * 4
    assert meter.spent.calls == 2


def test_a_failed_body_is_not_charged_and_counting_ends():
    with Meter() as meter:
        with pytest.raises(RuntimeError), measured(None, calls=1):
            raise RuntimeError
        assert meter.spent.calls == 0
        assert not counting()


def test_the_overrunning_call_raises():
    with pytest.raises(BudgetExceeded, match="greedy spent 3 of 2 calls"), Meter(Budget("calls", 2), who="greedy"):
        for _ in range(5):
            spend(calls=1)


def test_nothing_is_counted_without_a_meter():
    spend(calls=1)
    with measured(("nobody", 1)):
        assert not counting()


def test_gradients_are_charged_as_a_backward_pass():
    x, unused = torch.ones(4, 8, requires_grad=True), torch.ones(1, requires_grad=True)
    with Meter() as meter:
        got, none = gradient((x @ torch.full((8, 2), 3.0)).sum(), [x, unused])
    assert torch.equal(got, torch.full((4, 8), 6.0))
    assert none is None
    assert meter.spent.backwards == 1
    assert meter.spent.flops == 2 * 4 * 8 * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="where there is a GPU, its memory is what is watched")
def test_peak_memory_sees_what_was_held_and_freed():
    with Meter() as outer:
        with Meter() as inner:
            held = torch.ones(64 * 2**20 // 4)
            del held
        quiet = Meter()
        with quiet:
            pass
    assert inner.spent.peak_bytes > 60 * 2**20
    assert outer.spent.peak_bytes >= inner.spent.peak_bytes * 0.9
    assert quiet.spent.peak_bytes < 30 * 2**20


def test_what_is_done_aside_is_charged_to_nobody():
    with Meter() as outer, Meter() as inner:
        spend(calls=1)
        with aside():
            spend(calls=10, new_tokens=5)
            time.sleep(0.2)
    for spent in (outer.spent, inner.spent):
        assert (spent.calls, spent.new_tokens) == (1, 0)
        assert spent.seconds < 0.15


def test_operations_are_counted_aside_so_that_a_repeat_need_not():
    square = torch.eye(8)
    key = ("aside", object())
    counted = []
    for around in (aside(), nullcontext()):
        with Meter() as m, around, measured(key):
            counted.append(counting())
            _ = square @ square
        counted.append(m.spent.flops)
    assert counted == [True, 0, False, 2 * 8**3]


@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_a_square_mask_that_hides_what_is_ahead_counts_as_causal(kind):
    """Whether or not it hides more, such as other documents; so a batch costs what its shape costs."""
    q = torch.ones(2, 2, 6, 16, requires_grad=True)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    documents = causal.clone()
    documents[3:, :3] = False
    ahead = causal.clone()
    ahead[0, 1] = True

    def count(seen, backward=False):
        mask = seen if kind == torch.bool else torch.zeros(seen.shape).masked_fill(~seen, -math.inf)
        out = lambda: F.scaled_dot_product_attention(q, q, q, attn_mask=mask)  # noqa: E731
        return count_flops(lambda: out().sum().backward()) if backward else count_flops(out)

    told = count_flops(lambda: F.scaled_dot_product_attention(q, q, q, is_causal=True))
    assert count(causal) == count(documents) == told
    assert count(documents, backward=True) == 3 * told
    assert count(ahead) == count(torch.ones(6, 6, dtype=torch.bool)) == 2 * 2 * 2 * 36 * 32
