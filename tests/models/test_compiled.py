"""The compiled step equals the plain one, compiles once per shape, and steps aside where it must.

The graphs are captured but run by Python here, which takes a second where the real compiler takes many; one slow test
runs the latter.
"""

import pytest
import torch

from tests.families import build, wrapped
from tests.models.test_huggingface import CLOSE, a_tree, model, tokens
from trivium.core import meter
from trivium.core.errors import NotOffered
from trivium.models._compiled import CompiledStep, span
from trivium.models.huggingface import HuggingFaceModel, wrap


class Captured:
    """A compiler that compiles nothing and counts what it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    with torch.no_grad():
        yield
    torch._dynamo.reset()


def compiled(family: str, **overrides) -> tuple[HuggingFaceModel, Captured]:
    adapter, backend = wrapped(family, **overrides), Captured()
    adapter.compiled = CompiledStep(adapter, backend=backend)
    return adapter, backend


@pytest.mark.parametrize("family", ["gpt2", "gemma"])
def test_a_compiled_step_equals_the_plain_one(family):
    """GPT-2 has learned positions and calls its blocks by position, Gemma has two kinds of layers and windows."""
    adapter, backend = compiled(family)
    ids = tokens(2, 30)
    first = adapter(ids[:, :9], keep_state=True)
    state, found = first.state, [first.logits]
    for time in (1, 3, 8, 1, 5, 2):
        out = adapter(ids[:, state.slots : state.slots + time], state=state, keep_state=True)
        state = out.state
        found.append(out.logits)
    expected = model(family)(ids[:, : state.slots])
    torch.testing.assert_close(torch.cat(found, 1), expected.logits, **CLOSE)
    assert out.hidden.shape == (2, 2, 32)
    torch.testing.assert_close(out.hidden, expected.hidden[:, -2:], **CLOSE)
    assert backend.graphs == 2  # one of width 1 and one of width 8


def test_padded_rows_trees_and_branches():
    adapter, _ = compiled("llama")
    plain = model("llama")
    ids, mask = tokens(2, 6), torch.tensor([[True] * 6, [False, False, True, True, True, True]])
    state = adapter(ids, mask=mask, keep_state=True).state
    same = plain(ids, mask=mask, keep_state=True).state
    tree = a_tree(7, 1)
    visible = torch.ones(2, 1, 7, 13, dtype=torch.bool)
    visible[..., 6:] = tree.visible
    fed = tree.tokens[None].expand(2, -1)
    where = torch.stack([tree.positions(6), tree.positions(4)])
    for _ in range(2):  # twice from the same state
        out = adapter(fed, mask=visible, positions=where, state=state, keep_state=True)
        wanted = plain(fed, mask=visible, positions=where, state=same, keep_state=True)
        torch.testing.assert_close(out.logits, wanted.logits, **CLOSE)
    keep = torch.zeros(2, 7, dtype=torch.bool)
    keep[:, tree.paths()[-1]] = True
    more, real = tokens(2, 3, seed=4), torch.tensor([[True, True, True], [True, False, True]])
    onwards = adapter(more, mask=real, state=out.state.gather(keep), keep_state=True)
    expected = plain(more, mask=real, state=wanted.state.gather(keep), keep_state=True)
    torch.testing.assert_close(onwards.logits[real], expected.logits[real], **CLOSE)
    assert onwards.state.lengths.tolist() == expected.state.lengths.tolist()
    last = adapter(tokens(2, 4, seed=6), state=onwards.state, logits_to_keep=1).logits
    torch.testing.assert_close(last, plain(tokens(2, 4, seed=6), state=expected.state).logits[:, -1:], **CLOSE)


def test_one_compilation_serves_every_step():
    adapter, backend = compiled("llama")
    for seed, context in enumerate((torch.no_grad, torch.inference_mode)):
        with context():
            state = adapter(tokens(1, 4 + seed), keep_state=True).state
            for step in range(6):
                state = adapter(tokens(1, 1, seed=step), state=state, keep_state=True).state
            branch = state.truncate(3)
            adapter(tokens(1, 1), state=branch)
    assert backend.graphs == 1


def test_growing_beyond_the_capacity():
    adapter, backend = compiled("llama", max_position_embeddings=512)
    ids = tokens(1, 255)
    state = adapter(ids, keep_state=True).state
    more = tokens(1, 3, seed=1)
    for column in range(3):
        out = adapter(more[:, column : column + 1], state=state, keep_state=True)
        state = out.state
    assert state.buffers.capacity == 512
    whole = wrapped("llama", max_position_embeddings=512)(torch.cat([ids, more], 1), logits_to_keep=1)
    torch.testing.assert_close(out.logits, whole.logits, **CLOSE)
    assert backend.graphs == 2


def test_stepping_aside():
    """Long passes, passes without a state or with gradients, hooks, and counting run as they are."""
    adapter, backend = compiled("llama")
    state = adapter(tokens(1, 4), keep_state=True).state
    adapter(tokens(1, 33), state=state)
    with torch.enable_grad():
        assert adapter(tokens(1, 2), state=state).logits.requires_grad
    with adapter.capture("blocks.0.out", "blocks.0.attn.weights") as seen:
        adapter(tokens(1, 2), state=state)
    assert len(seen) == 2
    with meter.Meter() as spent:
        adapter(tokens(1, 1), state=state)
    assert spent.spent.flops > 0
    assert backend.graphs == 0


def test_spans_are_whole_repetitions():
    llama, gemma = model("llama"), model("gemma")
    assert span(list(llama.parts.blocks) * 4, None) == 6
    assert span(list(llama.parts.blocks), None) == 3
    local, whole = "sliding_attention", "full_attention"
    blocks = list(gemma.parts.blocks) * 2
    assert span(blocks, [local, local, whole] * 2) == 6
    assert span(blocks * 2, [local, local, whole] * 4) == 6
    assert span(blocks + blocks[:4], [local, whole] * 5) == 2
    assert span(blocks[:5], [local, whole, local, local, whole]) == 5


def test_what_cannot_be_compiled_says_so():
    with pytest.raises(NotOffered, match="a compiled step needs 'tree'"):
        wrap(build("mamba"), compile=True)


@pytest.mark.slow
def test_the_real_compiler():
    adapter = wrapped("llama", torch.float32, compile=True)
    ids = tokens(1, 12)
    state, found = adapter(ids[:, :4], keep_state=True).state, []
    for piece in ids[:, 4:].split([1, 5, 1, 1], 1):
        out = adapter(piece, state=state, keep_state=True)
        state = out.state
        found.append(out.logits)
    expected = wrapped("llama", torch.float32)(ids).logits[:, 4:]
    torch.testing.assert_close(torch.cat(found, 1), expected, atol=1e-4, rtol=1e-4)  # fused kernels round otherwise
