"""SkipDecode as a drafter: exact whatever is skipped, drafts as the skipped target says, and no hole is left behind."""

import pytest
import torch

from tests.decoding.models import tiny
from tests.drafting.trained import MASK, PROMPT, run
from tests.families import VOCAB, wrapped
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.decoding._certificate import chi_square, exact_joint
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.skip_decode import SkipDecode
from trivium.models.state import Buffers

CONTEXTS = [row[real] for row, real in zip(PROMPT, MASK, strict=True)]
FALLING = SkipDecode(length=3, most=4, least=2, fall=6)


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma", "native"])
def model(request):
    """Five layers; of gemma's, every second one sees a window of 6 tokens."""
    if request.param == "native":
        made = Llama(width=32, depth=5, heads=4, hidden=48, context=128).build(VOCAB, seed=1).double().eval()
        with torch.no_grad():
            for weight in made.parameters():
                weight.mul_(4.0 if weight.ndim > 1 else 1.0)
        return made
    if request.param == "gemma":
        kinds = ["sliding_attention", "full_attention"] * 2 + ["full_attention"]
        return wrapped("gemma", num_hidden_layers=5, layer_types=kinds)
    return wrapped(request.param, **{"n_layer" if request.param == "gpt2" else "num_hidden_layers": 5})


def session_of(drafter, model, logits=lambda logits, histories: logits):
    return drafter.start(model, generator=torch.Generator().manual_seed(0), logits=logits)


def begun(model):
    return model(PROMPT[:, :-1], mask=MASK[:, :-1], keep_state=True).state


@pytest.mark.parametrize(
    ("plain", "draws", "verifier"),
    [
        (Greedy(), "deterministic", "match"),
        (Greedy(), "independent", "rejection"),
        (Sampling(0.8, repetition_penalty=1.2), "deterministic", "match"),
        (Sampling(0.8), "independent", "match"),
    ],
)
def test_whatever_is_skipped_the_text_is_the_plain_one(model, plain, draws, verifier):
    for drafter in (SkipDecode(draws=draws), SkipDecode(length=3, most=4, least=2, fall=6, draws=draws)):
        made = run(Speculative(drafter, verifier=verifier, of=plain), model)
        assert torch.equal(made.ids, run(plain, model).ids)
        assert made.trace.iterations[0]["drafted"] == 3 * drafter.length


def test_with_all_layers_every_draft_is_right(model):
    made = run(Speculative(SkipDecode(most=5)), model, limit=21)
    assert made.trace.total("accepted") == made.trace.total("verified") == 3 * 16


@torch.no_grad()
def test_drafts_are_what_the_skipped_target_says_on_the_whole_targets_keys(model):
    """By an oracle without a state: committed tokens run every layer, drafts theirs, in a ragged batch."""
    session = session_of(SkipDecode(length=3, most=4, least=2, fall=6, draws="independent"), model)
    session.share([0, 1, 2], begun(model))
    trees = session.propose(CONTEXTS, [3, 1, 2])
    assert [len(tree) for tree in trees] == [4, 2, 3]
    assert session.positions == 6
    for tree, context in zip(trees, CONTEXTS, strict=True):
        for node in range(len(tree) - 1):
            ids = torch.cat([context, tree.tokens[1 : node + 1]])[None]
            passes = [FALLING.falling(5).skipped(at - len(context) + 1, 5) for at in range(ids.shape[1])]
            with model.capture("blocks.0.in") as seen:
                model(ids)
            hidden = seen["blocks.0.in"]
            for layer in range(5):
                runs = [at < len(context) - 1 or layer not in skipped for at, skipped in enumerate(passes)]
                out = model.layers(layer, layer + 1, hidden)
                hidden = torch.where(torch.tensor(runs)[:, None], out, hidden)
            expected = model.read_out(hidden)[0, -1].softmax(-1)
            torch.testing.assert_close(tree.probs[node], expected, atol=1e-9, rtol=0)


def test_the_depth_falls_with_the_longest_row_and_within_a_draft(model, monkeypatch):
    skipped, skipping = [], model.skipping
    monkeypatch.setattr(model, "skipping", lambda layers: skipped.append(list(layers)) or skipping(layers))
    session = session_of(FALLING, model)
    contexts = list(CONTEXTS)
    with torch.no_grad():
        for _ in range(3):
            session.share([0, 1, 2], begun(model))
            session.propose(contexts, [2, 2, 2])
            contexts = [torch.cat([contexts[0], torch.tensor([5, 6])]), *contexts[1:]]
    depths = [5 - len(layers) for layers in skipped]
    assert depths == [FALLING.falling(5).at(t, 5) for t in (0, 1, 2, 3, 4, 5)] == [4, 4, 3, 3, 2, 2]
    assert all(0 not in layers for layers in skipped)


@torch.no_grad()
def test_the_targets_state_is_left_as_it_was(model):
    """No hole is in it, and nothing of the drafts."""
    state, session = begun(model), session_of(FALLING, model)
    session.share([0, 1, 2], state)
    session.propose(CONTEXTS, [3, 1, 0])
    new = torch.tensor([[7, 8], [8, 9], [9, 10]])
    plain = model(new, state=begun(model)).logits
    torch.testing.assert_close(model(new, state=state).logits, plain, atol=1e-12, rtol=0)
    kept = model(new, state=state, keep_state=True).state
    session.share([0, 1, 2], kept)
    session.propose([torch.cat([context, row]) for context, row in zip(CONTEXTS, new, strict=True)], [3, 3, 3])
    expected = model(torch.cat([new, new], 1), state=begun(model)).logits[:, 2:]
    torch.testing.assert_close(model(new, state=kept).logits, expected, atol=1e-9, rtol=0)


def test_layers_run_as_often_as_the_schedule_says_and_nothing_is_copied(model, monkeypatch):
    ran, copies = [0] * 5, []
    copied = Buffers.copied
    monkeypatch.setattr(Buffers, "copied", lambda self, *a, **k: copies.append(1) or copied(self, *a, **k))

    def counted(layer):
        def see(x):
            ran[layer] += x.shape[0] * x.shape[1]
            return x

        return see

    with model.edit({f"blocks.{layer}.attn.out": counted(layer) for layer in range(5)}), Meter() as meter:
        made = run(Speculative(SkipDecode(length=3, most=2)), model, prompt=PROMPT[:1], mask=None)
    drafts, fed = made.trace.total("draft_positions"), made.trace.total("target_positions")
    assert drafts == made.trace.total("drafted") > 0
    assert ran == [9 + fed + drafts, *[9 + fed] * 3, 9 + fed + drafts]
    assert meter.spent.positions == 9 + fed + drafts
    assert not copies


@pytest.mark.parametrize("draws", [3000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_rejection_follows_the_law(draws):
    """The joint of three tokens of four, where some of the drafts are rejected."""
    small = wrapped("llama", vocab_size=4)
    prompt, of = torch.tensor([[1, 0, 3, 0, 3]]), Sampling(temperature=3.0)
    fast = Speculative(SkipDecode(length=2, most=2, draws="independent"), verifier="rejection", of=of)
    law = exact_joint(small, of.pipeline, 3, prompt[0].tolist())
    counts, accepted = torch.zeros(4**3, dtype=torch.float64), 0
    for seed in range(draws // 1000):
        made = fast(small, prompt.repeat(1000, 1), limit=3, generator=torch.Generator().manual_seed(seed))
        counts += torch.bincount((made.ids * torch.tensor([16, 4, 1])).sum(1), minlength=4**3)
        accepted += made.trace.total("accepted")
    assert 0.1 * draws < accepted < 0.97 * draws
    assert chi_square(counts, law)[2] > 1e-3


def test_a_row_that_rests_at_the_last_position_goes_no_further():
    model = wrapped("gpt2", n_positions=10)
    session = session_of(SkipDecode(), model)
    with torch.no_grad():
        state = begun(model)
        session.share([0, 1, 2], state)
        trees = session.propose(CONTEXTS, [0, 3, 2])
    assert [len(tree) for tree in trees] == [1, 4, 3]


def test_what_does_not_fit_is_refused():
    for words, match in (
        ({"length": 0}, "length must be at least 1 drafted token"),
        ({"draws": "greedy"}, "'deterministic' or 'independent'"),
        ({"warm": 0}, "warm must be at least 1"),
        ({"fall": 0}, "fall must be at least 1 new token"),
        ({"most": 1}, "most must be more than the 1 warm"),
        ({"least": 1}, "least must be more than the 1 warm"),
        ({"most": 2, "least": 3}, "least must be at most the 2 layers of most"),
    ):
        with pytest.raises(ValueError, match=match):
            SkipDecode(**words)
    with pytest.raises(ValueError, match="most must be at most the 3 layers of this model"):
        run(Speculative(SkipDecode(most=4)), tiny())
    lacking = wrapped("llama")
    lacking.offers = lacking.offers - {"layers"}
    with pytest.raises(NotOffered, match="skip_decode needs 'layers'"):
        run(Speculative(SkipDecode()), lacking)
    with pytest.raises(ValueError, match="skip_decode drafts on the target's state, and was shown none"):
        session_of(SkipDecode(), tiny()).propose(CONTEXTS, [4, 4, 4])
