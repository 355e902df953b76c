"""M2R2: exact whatever the adapters say, as the equation says, and no layer is run twice on a token."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.decoding.models import tiny
from tests.drafting.trained import MASK, PROMPT, lesson, made_random, run
from tests.families import VOCAB, wrapped
from trivium.architectures.llama import Llama
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.tree import TokenTree
from trivium.data.lessons import NOTHING
from trivium.decoding._certificate import chi_square, exact_joint
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._trained import WEIGHTS
from trivium.drafting.m2r2 import M2R2, Accelerated
from trivium.models.state import Buffers
from trivium.models.unembedding import read_off, unembedding
from trivium.training.drafters import frozen

SLOW = pytest.mark.slow
CONTEXTS = [row[real] for row, real in zip(PROMPT, MASK, strict=True)]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma", "native"])
def model(request):
    if request.param != "native":
        return tiny(request.param)
    made = Llama(width=32, depth=4, heads=4, hidden=48, context=128).build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4.0 if weight.ndim > 1 else 1.0)
    return made


def module_of(drafter, model, seed=0, scale=0.5):
    module, generator = drafter.build(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        module.up.add_(scale * torch.randn(module.up.shape, generator=generator, dtype=torch.float64))
    return module


def session_of(drafter, module, model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Accelerated(drafter, module, model, generator, lambda logits, histories: logits)


def begun(model):
    return model(PROMPT[:, :-1], mask=MASK[:, :-1], keep_state=True).state


def by_hand(model, module, text, layers):
    """Exit logits after a text: layer by layer, the last column accelerated, the others slow."""
    with model.capture("blocks.0.in") as seen:
        model(torch.tensor([text]))
    slow = seen["blocks.0.in"]
    fast = slow[:, -1:]
    for layer in range(layers):
        mixed = model.layers(layer, layer + 1, torch.cat([slow[:, :-1], fast], 1))
        z = fast @ module.down[layer].T
        fast = mixed[:, -1:] + (z * z.sigmoid()) @ module.up[layer].T
        slow = model.layers(layer, layer + 1, slow)
    return model.read_out(fast)[0, 0]


@pytest.mark.parametrize(
    ("plain", "draws", "verifier"),
    [
        (Greedy(), "deterministic", "match"),
        (Greedy(), "independent", "rejection"),
        (Sampling(0.8, repetition_penalty=1.2), "deterministic", "match"),
        (Sampling(0.8), "independent", "match"),
    ],
)
def test_random_adapters_change_nothing_in_a_ragged_batch(tmp_path, model, plain, draws, verifier):
    drafter = made_random(M2R2(length=3, draws=draws), model, tmp_path)
    made = run(Speculative(drafter, verifier=verifier, of=plain), model)
    assert torch.equal(made.ids, run(plain, model).ids)
    assert made.trace.iterations[0]["drafted"] == 3 * 3


class Lying(Accelerated):
    """Says that its drafts were drawn evenly."""

    def propose(self, contexts, room):
        told = []
        for tree in super().propose(contexts, room):
            even = None if tree.probs is None else torch.full_like(tree.probs[:-1], 1 / tree.probs.shape[1])
            told.append(TokenTree.chain(int(tree.tokens[0]), tree.tokens[1:], draws=tree.draws, probs=even))
        self.trees = {row: told[row] for row in self.rows}
        return told


@pytest.mark.parametrize(
    ("layers", "draws"), [(1, 3000), pytest.param(1, 50_000, marks=SLOW), pytest.param(2, 50_000, marks=SLOW)]
)
def test_rejection_follows_the_law(tmp_path, monkeypatch, layers, draws):
    """The joint of three tokens of four, drafts drawn from an exit that is wrong about them; and a wrong control."""
    small = wrapped("llama", vocab_size=4)
    prompt = torch.tensor([[1, 0, 3, 0, 3]])
    drafter = made_random(M2R2(length=2, layers=layers, rank=4, draws="independent"), small, tmp_path)
    of = Sampling(temperature=3.0)
    fast = Speculative(drafter, verifier="rejection", of=of)
    law = exact_joint(small, of.pipeline, 3, prompt[0].tolist())
    assert float((law * law.log()).sum().neg()) > 2, "a law of few texts is soon matched"
    for session, count, exact in ((Accelerated, draws, True), (Lying, 2000, False)):
        monkeypatch.setattr("trivium.drafting.m2r2.Accelerated", session)
        counts, accepted = torch.zeros(4**3, dtype=torch.float64), 0
        for seed in range(count // 1000):
            made = fast(small, prompt.repeat(1000, 1), limit=3, generator=torch.Generator().manual_seed(seed))
            counts += torch.bincount((made.ids * torch.tensor([16, 4, 1])).sum(1), minlength=4**3)
            accepted += made.trace.total("accepted")
        assert accepted > 0.1 * count, "hardly anything was accepted, so hardly anything was tested"
        assert (chi_square(counts, law)[2] > 1e-3) == exact


@torch.no_grad()
def test_drafts_are_drawn_from_what_the_equation_says(model):
    """In a ragged batch with room for different depths: the distributions after each node, against a slow loop."""
    drafter = M2R2(length=3, layers=model.depth - 1, rank=4, draws="independent")
    module = module_of(drafter, model)
    session = session_of(drafter, module, model)
    session.share([0, 1, 2], begun(model))
    trees = session.propose(CONTEXTS, [3, 1, 2])
    assert [len(tree) for tree in trees] == [4, 2, 3]
    for tree, context in zip(trees, CONTEXTS, strict=True):
        assert tree.draws == "independent"
        for node in range(len(tree) - 1):
            text = context.tolist() + tree.tokens[1 : node + 1].tolist()
            expected = by_hand(model, module, text, model.depth - 1).softmax(-1)
            torch.testing.assert_close(tree.probs[node], expected, atol=1e-9, rtol=0)
    assert session.positions == 3 + 1 + 2


@torch.no_grad()
def test_adapters_that_add_nothing_leave_the_slow_stream(model):
    """So the drafts are the target's own early exit."""
    drafter = M2R2(length=2, layers=1)
    session = session_of(drafter, drafter.build(model), model)
    session.share([0, 1, 2], begun(model))
    with model.capture("blocks.0.out") as seen:
        trees = session.propose(CONTEXTS, [1, 1, 1])
        columns = seen["blocks.0.out"]
    torch.testing.assert_close(columns[:, 0], columns[:, 1], atol=1e-12, rtol=0)
    for tree, context in zip(trees, CONTEXTS, strict=True):
        with model.capture("blocks.0.out") as seen:
            model(context[None])
        exit = model.read_out(seen["blocks.0.out"])[0, -1]
        assert tree.tokens.tolist() == [int(context[-1]), int(exit.argmax())]


@torch.no_grad()
def test_the_verification_is_the_plain_pass_and_so_is_what_it_leaves(model):
    drafter = M2R2(length=3, layers=1)
    session = session_of(drafter, module_of(drafter, model), model)
    state = begun(model)
    session.share([0, 1, 2], state)
    trees = session.propose(CONTEXTS, [3, 1, 0])
    out = session.accompany([0, 1, 2], trees, state)
    ids = torch.stack([torch.nn.functional.pad(tree.tokens, (0, 4 - len(tree))) for tree in trees])
    mask = torch.arange(4) < torch.tensor([len(tree) for tree in trees])[:, None]
    plain = model(ids, mask=mask, state=begun(model), keep_state=True)
    torch.testing.assert_close(out.logits[mask], plain.logits[mask], atol=1e-9, rtol=0)
    torch.testing.assert_close(out.hidden[mask], plain.hidden[mask], atol=1e-9, rtol=0)
    assert out.state.lengths.tolist() == plain.state.lengths.tolist()
    keep = torch.tensor([[True, True, False, False], [True, True, False, False], [True, False, False, False]])
    kept, usual = out.state.gather(keep), plain.state.gather(keep)
    assert kept.lengths.tolist() == usual.lengths.tolist()
    assert kept.slots == usual.slots
    new = torch.tensor([[7], [8], [9]])
    torch.testing.assert_close(model(new, state=kept).logits, model(new, state=usual).logits, atol=1e-9, rtol=0)
    for layer in range(model.depth):
        one, other = (held.buffers.keys[layer][:, :, : held.slots] for held in (kept, usual))
        seen = kept.seen()[:, None, :, None].expand_as(one)
        torch.testing.assert_close(one[seen], other[seen], atol=1e-9, rtol=0)


def test_no_layer_runs_twice_on_a_token(model, monkeypatch):
    """L (g + 1) position-layers of the slow stream and k g of the accelerated one, whatever is accepted."""
    drafter, ran, copies = M2R2(length=3, layers=1), [0] * model.depth, []
    copied = Buffers.copied
    monkeypatch.setattr(Buffers, "copied", lambda self, *a, **k: copies.append(1) or copied(self, *a, **k))

    def counted(layer):
        def see(x):
            ran[layer] += x.shape[0] * x.shape[1]
            return x

        return see

    with model.edit({f"blocks.{layer}.attn.out": counted(layer) for layer in range(model.depth)}):
        made = run(Speculative(drafter), model, prompt=PROMPT[:1], mask=None, limit=20)
    drafted = [entry["drafted"] for entry in made.trace.iterations]
    assert max(drafted) == 3
    assert ran[0] == 9 + sum(2 * g + 1 for g in drafted)
    assert ran[1:] == [9 + sum(g + 1 for g in drafted)] * (model.depth - 1)
    assert made.trace.total("target_positions") == sum(g + 1 for g in drafted)
    assert made.trace.total("draft_positions") == sum(drafted)
    assert not copies, "a state that is still held makes the next pass copy it"


def test_training_sees_what_drafting_sees(model):
    drafter = M2R2(length=2, layers=1, rank=4)
    module, taught = module_of(drafter, model), lesson(model)
    rows = torch.tensor([0, 2])
    drafted, targets, states = drafter._taught(module, model, taught, rows, 2, None)
    places = [(0, n) for n in range(2, 14)] + [(2, n) for n in range(2, 8)]  # row 2 has 10 tokens
    assert len(drafted) == len(places)
    with torch.no_grad():
        for place, (row, n) in enumerate(places):
            end = int(taught.mask[row].sum())
            for step in range(2):
                at = n + 1 + step
                coming = int(taught.ids[row, at + 1]) if at + 1 < end else NOTHING
                assert int(targets[place, step]) == coming
                if coming != NOTHING:
                    expected = by_hand(model, module, taught.ids[row, : at + 1].tolist(), 1)
                    torch.testing.assert_close(drafted[place, step], expected, atol=1e-9, rtol=0)
                    assert torch.equal(states[place, step], taught.hidden[row, at])


def test_the_loss_is_zero_for_a_perfect_exit_and_trains_the_adapters_only(monkeypatch):
    model, drafter = tiny(), M2R2(layers=2)
    module, taught = module_of(drafter, model), lesson(model)
    with frozen(model):
        found = drafter.loss(module, model, taught, torch.Generator().manual_seed(0))
        assert float(found.value.detach()) > 0
        found.total.backward()
    assert (module.up.grad.abs().sum((1, 2)) > 0).all()
    assert (module.down.grad.abs().sum((1, 2)) > 0).all()
    assert all(weight.grad is None for weight in model.parameters())
    assert drafter.ranks(module, model, taught).shape == (12 + 9 + 6, 4)
    original = M2R2._taught

    def perfect(self, *given):
        _, targets, states = original(self, *given)
        return read_off(states, unembedding(model, "test")), targets, states

    monkeypatch.setattr(M2R2, "_taught", perfect)
    loss = drafter.loss(module, model, taught, torch.Generator().manual_seed(0))
    assert float(loss.value) == pytest.approx(0, abs=1e-12)


def test_a_seed_decides_what_is_drawn_and_rows_draw_for_themselves():
    model, drafter = tiny(), M2R2(length=4, layers=1, draws="independent")
    texts = []
    for seed, rows in ((0, [0, 1]), (0, [0, 1]), (0, [0]), (1, [0])):
        session = session_of(drafter, drafter.build(model), model, seed)
        with torch.no_grad():
            session.share(rows, model(PROMPT[:1, :-1].repeat(len(rows), 1), keep_state=True).state)
        texts.append([tree.tokens.tolist() for tree in session.propose(CONTEXTS[:1] * len(rows), [4] * len(rows))])
    assert texts[0] == texts[1]
    assert texts[0][0] == texts[2][0] != texts[0][1]
    assert texts[3] != texts[2]


def test_the_exit_lies_in_the_lower_part_and_wrong_settings_are_refused():
    assert M2R2().placed(type("Deep", (), {"depth": 30})()) == 4
    assert M2R2().placed(tiny()) == 1
    for words, match in (
        ({"length": 0}, "length must be at least 1"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"draws": "greedy"}, "'deterministic' or 'independent'"),
    ):
        with pytest.raises(ValueError, match=match):
            M2R2(**words)
    for model in (tiny(), wrapped("llama", num_hidden_layers=1)):
        with pytest.raises(ValueError, match="below the top of the target's"):
            run(Speculative(M2R2(layers=model.depth)), model)
    with pytest.raises(ValueError, match="verifier 'rejection' is biased"):
        Speculative(M2R2(), verifier="rejection")
    lacking = wrapped("llama")
    lacking.offers = lacking.offers - {"layers"}
    with pytest.raises(NotOffered, match="m2r2 needs 'layers'"):
        run(Speculative(M2R2()), lacking)


def test_a_folder_belongs_to_one_model_and_must_hold_numbers(tmp_path):
    model = tiny()
    drafter = made_random(M2R2(layers=2, rank=3), model, tmp_path)
    assert (drafter.resolved.layers, drafter.resolved.rank) == (2, 3)
    assert drafter.opened(model).layers == 2
    with pytest.raises(ValueError, match=r"trained for made-up with weights .* draft train m2r2"):
        run(Speculative(drafter), tiny(seed=1))
    tensors = load_file(tmp_path / WEIGHTS)
    tensors["up"][0, 0, 0] = float("nan")
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(NotFinite, match="'up' holds NaN"):
        run(Speculative(drafter), model)


def test_the_last_positions_of_a_model_can_be_reached():
    model = wrapped("gpt2", n_positions=24)
    words = {"prompt": PROMPT[:1], "mask": None, "limit": 15}
    assert torch.equal(run(Speculative(M2R2()), model, **words).ids, run(Greedy(), model, **words).ids)


def test_a_row_that_rests_at_the_last_position_goes_no_further():
    model = wrapped("gpt2", n_positions=10)
    session = session_of(M2R2(), M2R2().build(model), model)
    with torch.no_grad():
        state = begun(model)
        session.share([0, 1, 2], state)
        trees = session.propose(CONTEXTS, [0, 3, 2])
    assert [len(tree) for tree in trees] == [1, 4, 3]


def test_a_decoder_that_shows_no_state_or_other_trees_is_told():
    model, drafter = tiny(), M2R2()
    session = session_of(drafter, drafter.build(model), model)
    with pytest.raises(ValueError, match="was shown none; the decoder must call 'share'"):
        session.propose(CONTEXTS, [4, 4, 4])
    with torch.no_grad():
        state = begun(model)
        session.share([0, 1, 2], state)
        trees = session.propose(CONTEXTS, [4, 4, 4])
        changed = [TokenTree.chain(int(tree.tokens[0]), tree.tokens[1:3]) for tree in trees]
        with pytest.raises(ValueError, match="its own drafts only"):
            session.accompany([0, 1, 2], changed, state)
