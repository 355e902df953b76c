"""States are values: whatever was done to others, going on from one gives what its rows give from scratch."""

import gc

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from torch import Tensor

from tests.families import ATTENTION_FAMILIES, FAMILIES, VOCAB, wrapped
from tests.models.test_huggingface import CLOSE, close, model, tokens
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.core.protocols import State
from trivium.models import state as states
from trivium.models.state import KeyValueState, capacity_for


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def start(family: str, ids: Tensor) -> State:
    state = model(family)(ids, keep_state=True).state
    assert state is not None
    return state


def follows(family: str, state: State, ids: Tensor) -> None:
    """Assert that the state is that of ``ids``: what comes next is what comes next from scratch."""
    probe = tokens(len(ids), 2, seed=50)
    expected = model(family)(torch.cat([ids, probe], 1)).logits[:, -2:]
    torch.testing.assert_close(model(family)(probe, state=state).logits, expected, **close(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_going_on_twice_from_one_state(family):
    ids = tokens(2, 6)
    state = start(family, ids)
    left = model(family)(tokens(2, 3, seed=1), state=state, keep_state=True).state
    right = model(family)(tokens(2, 3, seed=2), state=state, keep_state=True).state
    follows(family, left, torch.cat([ids, tokens(2, 3, seed=1)], 1))
    follows(family, right, torch.cat([ids, tokens(2, 3, seed=2)], 1))
    follows(family, state, ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_select_picks_and_repeats_rows(family):
    ids = tokens(3, 6)
    state = start(family, ids)
    for rows in ([2, 0], [1, 1, 1, 0], [0, 1, 2], [2]):
        picked = state.select(torch.tensor(rows))
        assert picked.batch == len(rows)
        assert picked.lengths.tolist() == [6] * len(rows)
        follows(family, picked, ids[rows])
    follows(family, state, ids)


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_truncating_while_the_longer_one_lives(family):
    ids = tokens(2, 9)
    longer = start(family, ids)
    shorter = longer.truncate(4)
    assert shorter.lengths.tolist() == [4, 4]
    other = model(family)(tokens(2, 3, seed=3), state=shorter, keep_state=True).state
    follows(family, other, torch.cat([ids[:, :4], tokens(2, 3, seed=3)], 1))
    follows(family, longer, ids)
    follows(family, shorter, ids[:, :4])


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_truncating_each_row_to_its_own_length(family):
    ids = tokens(3, 9)
    state = start(family, ids).truncate(torch.tensor([9, 2, 5]))
    assert state.lengths.tolist() == [9, 2, 5]
    for row, length in enumerate([9, 2, 5]):
        follows(family, state.select(torch.tensor([row])), ids[row : row + 1, :length])


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
def test_gather_keeps_the_marked_slots(family):
    """Kept slots keep their positions, so a chain is cut back and a tree is pruned; the latter is tested with trees."""
    ids = tokens(2, 9)
    state = start(family, ids)
    keep = torch.tensor([[True, True, False], [False, False, False]])
    kept = state.gather(keep)
    assert kept.lengths.tolist() == [8, 6]
    assert kept.slots == 8
    follows(family, kept.select(torch.tensor([0])), ids[:1, :8])
    follows(family, kept.select(torch.tensor([1])), ids[1:, :6])
    follows(family, state, ids)


def test_a_loop_copies_nothing_and_a_branch_copies_once():
    state = start("llama", tokens(1, 4))
    buffers = state.buffers
    for step in range(20):
        state = model("llama")(tokens(1, 1, seed=step), state=state, keep_state=True).state
        assert state.buffers is buffers
    other = model("llama")(tokens(1, 1), state=state, keep_state=True).state
    assert other.buffers is buffers
    branch = model("llama")(tokens(1, 1, seed=7), state=state, keep_state=True).state
    assert branch.buffers is not buffers


def test_a_dropped_draft_frees_its_columns():
    state = start("llama", tokens(1, 4))
    longer = model("llama")(tokens(1, 5), state=state, keep_state=True).state
    buffers = longer.buffers
    kept = longer.gather(torch.tensor([[True, True, False, False, False]]))
    del longer
    gc.collect()
    onwards = model("llama")(tokens(1, 5), state=kept, keep_state=True).state
    assert onwards.buffers is buffers
    assert onwards.slots == 6 + 5


def test_growing_keeps_what_was_there():
    ids = tokens(1, 120)
    state = start("llama", ids)
    assert state.buffers.capacity == 128
    grown = wrapped("llama", max_position_embeddings=400)
    long = tokens(1, 300)
    state = grown(long[:, :100], keep_state=True).state
    for column in range(100, 300):
        state = grown(long[:, column : column + 1], state=state, keep_state=True).state
    assert state.buffers.capacity == 512
    found = grown(tokens(1, 2), state=state).logits
    expected = grown(torch.cat([long, tokens(1, 2)], 1)).logits[:, -2:]
    torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize(("slots", "capacity"), [(1, 128), (128, 128), (129, 256), (1000, 1024)])
def test_capacities_double(slots, capacity):
    assert capacity_for(slots) == capacity


def test_waste_is_squeezed_out():
    state = start("llama", tokens(2, 10))
    longer = model("llama")(tokens(2, 90), state=state, keep_state=True).state
    keep = torch.zeros(2, 90, dtype=torch.bool)
    keep[0, [3, 89]] = True
    keep[1, 50] = True
    kept = longer.gather(keep)
    assert kept.slots == 12
    assert kept.lengths.tolist() == [12, 11]
    assert kept.buffers is not longer.buffers
    follows("llama", longer, torch.cat([tokens(2, 10), tokens(2, 90)], 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_count_the_slots_in_use(family):
    adapter = model(family)
    state = start(family, tokens(2, 6))
    if family == "mamba":
        inner = 2 * 64 * (3 + 4) * 8  # rows x channels x (kernel + memory) x bytes, in each layer
        assert state.bytes() in (adapter.depth * inner, adapter.depth * (2 * 64 * 3 * 8 + 2 * 64 * 4 * 4))
    else:
        groups = getattr(adapter.config, "num_key_value_heads", 4)
        assert (
            state.bytes() == adapter.depth * 2 * 2 * groups * 6 * 8 * 8
        )  # keys and values, rows, heads, slots, width, float64
        assert state.truncate(3).bytes() * 2 == state.bytes()


def test_states_cross_between_inference_mode_and_outside():
    ids = tokens(1, 6)
    with torch.inference_mode():
        state = start("llama", ids)
    later = model("llama")(tokens(1, 2, seed=1), state=state, keep_state=True).state
    with torch.inference_mode():
        later = model("llama")(tokens(1, 2, seed=2), state=later, keep_state=True).state
    follows("llama", later, torch.cat([ids, tokens(1, 2, seed=1), tokens(1, 2, seed=2)], 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_are_not_there(family):
    state = start(family, tokens(2, 4))
    for rows in ([2], [-1], []):
        with pytest.raises(ValueError, match="of the 2 rows of this state"):
            state.select(torch.tensor(rows, dtype=torch.long))


def test_lengths_and_slots_that_are_not_there():
    state = start("llama", tokens(2, 4))
    with pytest.raises(ValueError, match=r"cannot truncate rows of \[4, 4\] tokens to 5"):
        state.truncate(5)
    with pytest.raises(ValueError, match="cannot truncate"):
        state.truncate(-1)
    with pytest.raises(ValueError, match="one for each of 2 rows"):
        state.truncate(torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="keep must be bool"):
        state.gather(torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="keep must be bool"):
        state.gather(torch.ones(2, 2))


def test_nothing_left_is_a_beginning():
    ids = tokens(2, 4)
    empty = start("llama", ids).truncate(0)
    assert empty.slots == 0
    torch.testing.assert_close(model("llama")(ids, state=empty).logits, model("llama")(ids).logits, **CLOSE)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "native"])
def test_gradients_reach_what_is_held_and_what_is_added_to_it(family):
    made = Llama(width=16, depth=2, heads=2).build(VOCAB).double().eval() if family == "native" else model(family)
    past, ids = made(tokens(2, 5), keep_state=True).state, tokens(2, 3, seed=1)
    held = [one[:, :, :5] for one in past.tensors()]
    new = [one[:, :, 5:8] for one in made(ids, state=past, keep_state=True).state.tensors()]
    zeros = [torch.zeros_like(one) for one in new]
    value = lambda tensors, shifts: made(ids, state=past.holding(tensors, shifts)).logits.sin().sum()  # noqa: E731
    torch.testing.assert_close(value(held, zeros), made(ids, state=past).logits.sin().sum())
    with torch.enable_grad():
        embeds = made.embed(ids).detach().requires_grad_()
        out = made(embeds=embeds, state=past.holding(held, zeros), keep_state=True)
        grads = torch.autograd.grad(out.logits.sin().sum(), out.state.tensors())
        first = made(embeds=embeds, keep_state=True)  # a beginning too
        assert all(g is not None for g in torch.autograd.grad(first.logits.sin().sum(), first.state.tensors()))
    for at in range(len(held)):
        for part, start in ((held, 0), (zeros, 5)):
            ends = []
            for sign in (1, -1):
                moved = [one.clone() for one in part]
                moved[at][1, 0, 2, 1] += sign * 1e-5
                ends.append(value(moved, zeros) if part is held else value(held, moved))
            assert float(grads[at][1, 0, start + 2, 1]) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, abs=1e-7)
    shifted = made(ids, state=past.holding(held, [one + 1 for one in zeros]), keep_state=True).state
    assert not shifted.holding(shifted.tensors()).buffers.shifts, "a shift belongs to one pass"
    torch.testing.assert_close(shifted.tensors()[0][:, :, 5:8], new[0] + 1)


class Handles(RuleBasedStateMachine):
    """Random use of many handles at once, each compared with its rows from scratch."""

    family = "llama"
    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.former = states.SMALLEST, states.WASTE
        states.SMALLEST, states.WASTE = 4, 2  # so that growth and compaction happen all the time
        self.grad = torch.no_grad()
        self.grad.__enter__()
        self.alive: list[tuple[KeyValueState, list[list[int]]]] = []

    def teardown(self) -> None:
        states.SMALLEST, states.WASTE = self.former
        self.grad.__exit__(None, None, None)

    def made(self, state: State | None, rows: list[list[int]]) -> tuple[State, list[list[int]]]:
        assert state is not None
        assert state.lengths.tolist() == [len(row) for row in rows]
        return state, rows

    @initialize(target=handles, rows=st.integers(1, 3), time=st.integers(1, 5), seed=st.integers(0, 99))
    def begin(self, rows, time, seed):
        ids = tokens(rows, time, seed=seed)
        return self.made(model(self.family)(ids, keep_state=True).state, ids.tolist())

    @rule(target=handles, handle=handles, time=st.integers(1, 5), seed=st.integers(0, 99))
    def feed(self, handle, time, seed):
        state, rows = handle
        if len(max(rows, key=len)) + time > 60:
            return multiple()
        ids = tokens(len(rows), time, seed=seed)
        after = model(self.family)(ids, state=state, keep_state=True).state
        return self.made(after, [row + new for row, new in zip(rows, ids.tolist(), strict=True)])

    @rule(target=handles, handle=handles, time=st.integers(1, 4), seed=st.integers(0, 99))
    def feed_padded(self, handle, time, seed):
        state, rows = handle
        if len(max(rows, key=len)) + time > 60:
            return multiple()
        ids = tokens(len(rows), time, seed=seed)
        mask = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < 0.6
        after = model(self.family)(ids, mask=mask, state=state, keep_state=True).state
        return self.made(after, [row + new[real].tolist() for row, new, real in zip(rows, ids, mask, strict=True)])

    @rule(target=handles, handle=handles, seed=st.integers(0, 99))
    def draft(self, handle, seed):
        """A tree of one level, of which each row keeps one node or none."""
        state, rows = handle
        if len(max(rows, key=len)) > 58:
            return multiple()
        ids = tokens(len(rows), 3, seed=seed)
        mask = torch.ones(len(rows), 1, 3, state.slots + 3, dtype=torch.bool)
        mask[..., state.slots :] = torch.eye(3, dtype=torch.bool)
        positions = state.lengths[:, None].expand(-1, 3)
        after = model(self.family)(ids, mask=mask, positions=positions, state=state, keep_state=True).state
        choice = torch.randint(4, (len(rows),), generator=torch.Generator().manual_seed(seed))
        keep = torch.arange(3)[None] == choice[:, None]
        return self.made(
            after.gather(keep), [row + new[kept].tolist() for row, new, kept in zip(rows, ids, keep, strict=True)]
        )

    @rule(target=handles, handle=handles, seed=st.integers(0, 99))
    def truncate(self, handle, seed):
        state, rows = handle
        generator = torch.Generator().manual_seed(seed)
        lengths = [int(torch.randint(len(row) + 1, (), generator=generator)) for row in rows]
        cut = state.truncate(torch.tensor(lengths))
        return self.made(cut, [row[:length] for row, length in zip(rows, lengths, strict=True)])

    @rule(target=handles, handle=handles, seed=st.integers(0, 99), count=st.integers(1, 3))
    def select(self, handle, seed, count):
        state, rows = handle
        chosen = torch.randint(len(rows), (count,), generator=torch.Generator().manual_seed(seed))
        return self.made(state.select(chosen), [rows[index] for index in chosen])

    @rule(target=handles, handle=consumes(handles), token=st.integers(3, VOCAB - 1))
    def step(self, handle, token):
        """As a decoding loop does: the old state is forgotten."""
        state, rows = handle
        if len(max(rows, key=len)) > 60:
            state, rows = state.truncate(0), [[] for _ in rows]
        after = model(self.family)(torch.full((len(rows), 1), token), state=state, keep_state=True).state
        return self.made(after, [[*row, token] for row in rows])

    @rule(handle=handles, token=st.integers(3, VOCAB - 1))
    def compare(self, handle, token):
        state, rows = handle
        found = model(self.family)(torch.full((len(rows), 1), token), state=state).logits[:, 0]
        for logits, row in zip(found, rows, strict=True):
            expected = model(self.family)(torch.tensor([[*row, token]])).logits[0, -1]
            torch.testing.assert_close(logits, expected, **CLOSE)

    @invariant()
    def no_gradient_is_kept(self):
        assert not torch.is_grad_enabled()


class WindowedHandles(Handles):
    family = "gemma"


QUICK = settings(
    max_examples=15, stateful_step_count=14, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
TestHandles = Handles.TestCase
TestHandles.settings = QUICK
TestWindowedHandles = WindowedHandles.TestCase
TestWindowedHandles.settings = QUICK


def test_placed_tokens_may_share_positions_and_the_usual_ones_are_not_kept():
    state = start("llama", tokens(2, 4))
    assert state.placed(torch.arange(4).expand(2, -1)).positions is None
    placed = state.placed(torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]]))
    assert placed.lengths.tolist() == [4, 4]
    assert placed.next_position.tolist() == [3, 1]
    assert placed.select(torch.tensor([1])).next_position.tolist() == [1]
    assert placed.truncate(2).next_position.tolist() == [2, 1]
    dropped = placed.gather(torch.tensor([[True, False, True, False]] * 2))
    assert dropped.next_position.tolist() == [2, 1]
    with pytest.raises(ValueError, match="one for each slot"):
        state.placed(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(NotOffered, match="cannot place"):
        start("mamba", tokens(1, 2)).placed(torch.zeros(1, 2, dtype=torch.int64))
