"""A pass may be run in stretches of layers that go on from a state: together they are the whole pass."""

import gc

import pytest
import torch

from tests.families import ATTENTION_FAMILIES, VOCAB, wrapped
from tests.models.test_huggingface import close
from trivium.architectures.gpt_bert import GptBert
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.models.skeleton import linear_flops
from trivium.models.state import Buffers

PROMPT = torch.tensor([[0, 0, 3, 4, 5, 6, 7], [9, 8, 7, 6, 5, 4, 3]])
MASK = torch.tensor([[False] * 2 + [True] * 5, [True] * 7])
NEW = torch.tensor([[11, 12, 13], [21, 22, 23]])
MORE = torch.tensor([[31, 32], [33, 34]])
KEEP = torch.tensor([[True, True], [True, False]])


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


class Added(torch.nn.Module):
    """Positions that are added to the embeddings too, beside the given ones."""

    def __init__(self, given):
        super().__init__()
        self.given = given
        self.table = torch.nn.Parameter(torch.randn(128, 32, generator=torch.Generator().manual_seed(0)).double())

    def forward(self, hidden, ctx):
        return self.given(hidden, ctx) + self.table[ctx.positions]


@pytest.fixture(scope="module", params=[*ATTENTION_FAMILIES, "native", "native, added", "native, relative"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    if not family.startswith("native"):
        return wrapped(family)
    sizes = {"width": 32, "depth": 3, "heads": 4, "hidden": 48}
    relative = family.endswith("relative")
    recipe = GptBert(**sizes, depth_weights=False) if relative else Llama(**sizes, context=128)
    made = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)
    if family.endswith("added"):
        made.position = Added(made.position)
    return made


@pytest.fixture
def near(family):
    return close(family) if not family.startswith("native") else {"atol": 1e-9, "rtol": 0}


def begun(model, ids=PROMPT, mask=MASK):
    return model(ids, mask=mask, keep_state=True).state


def split(model, at, ids, state, **words):
    """The lower layers, then the others."""
    hidden, state = model.go_on(0, at, ids=ids, state=state, **words)
    return model.go_on(at, model.depth, hidden=hidden, state=state)


def same_state(model, one, other, near):
    assert one.lengths.tolist() == other.lengths.tolist()
    probe = torch.tensor([[41, 42], [43, 44]])
    got, expected = (model(probe, state=state).logits for state in (one, other))
    torch.testing.assert_close(got, expected, **near)


@pytest.mark.parametrize("at", [1, 2])
def test_a_pass_in_two_stretches_is_the_whole_pass(model, at, near):
    if at == model.depth:
        pytest.skip("the model has too few layers to be cut here")
    state = begun(model)
    whole = model(NEW, state=state, keep_state=True)
    hidden, longer = split(model, at, NEW, state)
    torch.testing.assert_close(model.read_out(hidden), whole.logits, **near)
    same_state(model, longer, whole.state, near)
    from_scratch, longer = split(model, at, PROMPT, None, mask=MASK)
    torch.testing.assert_close(model.read_out(from_scratch)[MASK], model(PROMPT, mask=MASK).logits[MASK], **near)
    same_state(model, longer, state, near)


def test_the_upper_layers_may_come_later_in_a_ragged_batch(model, near):
    """Token by token through the first layer, one row shorter; then all of them through the others at once."""
    state = begun(model)
    first, lower = model.go_on(0, 1, ids=NEW[:, :1], state=state)
    second, lower = model.go_on(0, 1, ids=NEW[:, 1:2], mask=torch.tensor([[True], [False]]), state=lower)
    assert lower.lengths.tolist() == [7, 8]
    hidden, longer = model.go_on(1, model.depth, hidden=torch.cat([first, second], 1), state=lower)
    mask = torch.tensor([[True, True], [True, False]])
    whole = model(NEW[:, :2], mask=mask, state=state, keep_state=True)
    torch.testing.assert_close(model.read_out(hidden)[mask], whole.logits[mask], **near)
    same_state(model, longer, whole.state, near)


def test_columns_that_are_not_kept_are_gone(model, near):
    """A second column at the position of the first, which sees itself and the past but not the first."""
    state = begun(model)
    mask = torch.ones(2, 1, 2, state.slots + 2, dtype=torch.bool)
    mask[:, 0, :, state.slots :] = torch.eye(2, dtype=torch.bool)
    twice = {
        "ids": NEW[:, :1].expand(-1, 2),
        "mask": mask,
        "positions": state.lengths[:, None].expand(-1, 2),
        "kept": torch.tensor([[True, False]] * 2),
    }
    hidden, lower = model.go_on(0, 1, **twice, state=state)
    torch.testing.assert_close(hidden[:, 1], hidden[:, 0], **near)
    assert (lower.slots, lower.lengths.tolist()) == (8, [6, 8])
    out, longer = model.go_on(1, model.depth, hidden=hidden[:, :1], state=lower)
    whole = model(NEW[:, :1], state=state, keep_state=True)
    torch.testing.assert_close(model.read_out(out), whole.logits, **near)
    same_state(model, longer, whole.state, near)


def test_layers_that_only_store_take_in_the_stream_that_passes_by(model, near):
    """As if the stream were put back after each layer."""
    state = begun(model)
    hidden, lower = model.go_on(0, 1, ids=NEW, state=state)
    passed, stored = model.go_on(1, model.depth, hidden=hidden, state=lower, storing=True)
    assert torch.equal(passed, hidden)
    hold = {f"blocks.{layer}.out": lambda stream: hidden for layer in range(1, model.depth)}
    again, lower = model.go_on(0, 1, ids=NEW, state=state)
    with model.edit(hold):
        _, expected = model.go_on(1, model.depth, hidden=again, state=lower)
    same_state(model, stored, expected, near)
    spent = []
    for storing in (False, True):
        with Meter() as meter:
            model.go_on(1, model.depth, hidden=hidden, state=model.go_on(0, 1, ids=NEW, state=state)[1])
        whole = meter.spent.flops
        with Meter() as meter:
            lower = model.go_on(0, 1, ids=NEW, state=state)[1]
            model.go_on(1, model.depth, hidden=hidden, state=lower, storing=storing)
        spent.append(meter.spent.flops / whole)
    assert spent[0] == 1
    assert spent[1] < 0.85
    torch.testing.assert_close(model(NEW, state=state).logits, model(NEW, state=begun(model)).logits, **near)


def test_a_state_that_lacks_columns_is_a_value(model, near):
    """Going on from it twice gives twice the same, whatever became of the first."""
    state = begun(model)
    hidden, lower = model.go_on(0, 1, ids=NEW, state=state)
    once, kept = model.go_on(1, model.depth, hidden=hidden, state=lower)
    other, _ = model.go_on(1, model.depth, hidden=2 * hidden, state=lower)
    whole = model(NEW, state=begun(model), keep_state=True).state
    same_state(model, kept, whole, near)
    twice, longer = model.go_on(1, model.depth, hidden=hidden, state=lower)
    torch.testing.assert_close(once, twice, **near)
    assert (once - other).abs().max() > 1e-3
    same_state(model, longer, whole, near)
    del kept, longer, whole
    gc.collect()
    picked = lower.select(torch.tensor([1, 0, 1]))
    again, _ = model.go_on(1, model.depth, hidden=hidden[[1, 0, 1]], state=picked)
    torch.testing.assert_close(again, once[[1, 0, 1]], **near)
    torch.testing.assert_close(model(MORE, state=state).logits, model(MORE, state=begun(model)).logits, **near)


def test_nothing_is_copied_in_a_loop_of_drafts(model, monkeypatch):
    copies = []
    copied = Buffers.copied
    monkeypatch.setattr(Buffers, "copied", lambda self, *a, **k: copies.append(1) or copied(self, *a, **k))
    state = begun(model)
    for step in range(6):
        pieces, lower = [], state
        for column in range(3):
            hidden, lower = model.go_on(0, 1, ids=NEW[:, column : column + 1], state=lower)
            pieces.append(hidden)
        _, longer = model.go_on(1, model.depth, hidden=torch.cat(pieces, 1), state=lower)
        del lower
        keep = torch.ones(2, 3, dtype=torch.bool)
        keep[step % 2, 2] = False
        state = longer.gather(keep)
        del longer
    assert not copies
    assert state.lengths.tolist() == [5 + 15, 7 + 15]


def test_what_is_lacking_must_be_given_before_the_layers_go_on(model):
    state = begun(model)
    hidden, lower = model.go_on(0, 1, ids=NEW, state=state)
    with pytest.raises(ValueError, match="layer 1 was skipped"):
        model(MORE, state=lower)
    with pytest.raises(ValueError, match="lack the last 3 columns of the state, so give as many, not 2"):
        model.go_on(1, model.depth, hidden=hidden[:, :2], state=lower)
    with pytest.raises(ValueError, match="lack different columns"):
        model.go_on(0, model.depth, ids=NEW, state=lower)
    for words, message in [
        ({"start": 1, "stop": 1, "hidden": hidden}, "no range"),
        ({"start": 0, "stop": 9, "hidden": hidden}, "no range"),
        ({"start": 1, "stop": 2, "ids": NEW}, "begins with ids"),
        ({"start": 0, "stop": 1, "ids": NEW, "hidden": hidden}, "either ids or hidden"),
        ({"start": 0, "stop": 1, "ids": NEW[:, :0]}, "empty"),
        ({"start": 0, "stop": 1, "ids": NEW + VOCAB}, "outside the vocabulary"),
        ({"start": 0, "stop": 1, "ids": NEW, "kept": KEEP}, "kept says which new columns"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.go_on(words.pop("start"), words.pop("stop"), **words, state=state)


def test_a_stretch_is_metered(model, family):
    state = begun(model)
    with Meter() as meter:
        model(NEW, state=state)
    whole = meter.spent
    for _ in range(2):  # counted, then remembered
        with Meter() as meter:
            split(model, 1, NEW, state)
        assert (meter.spent.calls, meter.spent.evaluations, meter.spent.positions) == (2, 4, 12)
        head = 2 * 6 * model.width * VOCAB
        if family == "native, relative":
            head += linear_flops(model.norm, 6)  # a matrix before it
        # Masks are reckoned once more, with a sum along the columns.
        assert meter.spent.flops == pytest.approx(whole.flops - head, rel=1e-3)


def test_a_model_whose_memory_is_a_summary_is_refused():
    with pytest.raises(NotOffered, match="lacks 'layers'"):
        wrapped("mamba").go_on(0, 1, ids=NEW)
