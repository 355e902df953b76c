from collections import Counter

import pytest
import torch

from trivium.architectures.llama import Llama
from trivium.architectures.mixture_of_experts import MixtureOfExperts
from trivium.architectures.ngram_heads import NgramHead, NgramHeads
from trivium.architectures.transnormer import TransNormer
from trivium.compare.contender import build, describe
from trivium.core.errors import BrokenModel, NotOffered
from trivium.models.saving import restore, save
from trivium.models.skeleton import Context, StackState
from trivium.models.state import KeyValueState

VOCAB, TIME = 3, 26
"""So few letters that three in a row come back."""
EXACT = {"atol": 1e-9, "rtol": 0}
LLAMA, TRANSNORMER = Llama(width=16, heads=2, hidden=24), TransNormer(width=16, heads=2, hidden=24, chunk=5)
BASES = {"tokens": LLAMA, "summary": TRANSNORMER}


def ids(batch=2, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(recipe):
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


@pytest.fixture(params=BASES.values(), ids=BASES.keys())
def model(request):
    return lively(NgramHeads(request.param))


def padding():
    mask = torch.ones(2, TIME, dtype=torch.bool)
    mask[0, :5] = mask[0, 12:14] = mask[1, 9] = mask[1, -4:] = False
    return mask


def heads(model):
    return [block.mixer for block in model.blocks if isinstance(block.mixer, NgramHead)]


def test_losses_that_the_base_asks_for_are_asked_for():
    base = MixtureOfExperts(width=16, heads=2, hidden=8, balance=0.25)
    model = NgramHeads(base=base).build(VOCAB)
    assert model.auxiliary == base.auxiliary == {"z": 1e-3, "balance": 0.25}
    assert {name.rpartition(".")[0] for name in model.train()(ids()).aux} >= {"z", "balance"}


def test_the_texts_of_these_tests_have_something_to_look_up(model):
    plain = model(ids()).logits
    for head in heads(model):
        with torch.no_grad():
            head.successor_proj.weight.neg_()
        assert (model(ids()).logits - plain).abs().max() > 1e-3, head.order
        plain = model(ids()).logits


@pytest.mark.parametrize("size", [1, 3, 7, TIME])
@pytest.mark.parametrize("mask", [torch.ones(2, TIME, dtype=torch.bool), padding()], ids=["plain", "padded"])
def test_chunks_and_steps_equal_the_whole(model, size, mask):
    tokens, logits, state = ids(), [], None
    for start in range(0, TIME, size):
        span = slice(start, start + size)
        out = model(tokens[:, span], mask=mask[:, span], state=state, keep_state=True)
        logits.append(out.logits)
        state = out.state
    torch.testing.assert_close(torch.cat(logits, 1)[mask], model(tokens, mask=mask).logits[mask], **EXACT)
    assert isinstance(state, KeyValueState if "truncate" in model.offers else StackState)
    assert state.bytes() == 2 * model.state_bytes(TIME)


def test_rows_with_padding_and_packed_documents_give_what_each_gives_alone(model):
    tokens, mask = ids(), padding()
    segments = torch.tensor([[0] * 10 + [1] * 16, [7] * 13 + [2] * 13])
    logits = model(tokens, mask=mask, segments=segments).logits
    for row, cut in enumerate((10, 13)):
        for span in (slice(0, cut), slice(cut, TIME)):
            kept = mask[row, span]
            alone = model(tokens[row : row + 1, span][:, kept]).logits[0]
            torch.testing.assert_close(logits[row, span][kept], alone, **EXACT)


def test_branches_of_a_tree_look_up_their_own_past_and_what_is_dropped_is_forgotten():
    model = lively(NgramHeads(LLAMA))
    tokens, prefix = ids(1), 12
    state = model(tokens[:, :prefix], keep_state=True).state
    a, b, more = ids(1, 5, seed=3), ids(1, 4, seed=4), ids(1, 6, seed=5)
    visible = torch.zeros(1, 1, 9, prefix + 9, dtype=torch.bool)
    visible[..., :prefix] = True
    visible[0, 0, :5, prefix : prefix + 5] = torch.ones(5, 5).tril().bool()
    visible[0, 0, 5:, prefix + 5 :] = torch.ones(4, 4).tril().bool()
    positions = prefix + torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3]])
    out = model(torch.cat((a, b), 1), mask=visible, positions=positions, state=state, keep_state=True)
    lines = [torch.cat((tokens[:, :prefix], line), 1) for line in (a, b)]
    expected = torch.cat([model(line).logits[:, prefix:] for line in lines], 1)
    torch.testing.assert_close(out.logits, expected, **EXACT)
    kept = out.state.gather(torch.tensor([[False] * 5 + [True] * 3 + [False]]))
    whole = model(torch.cat((lines[1][:, :-1], more), 1)).logits[:, -6:]
    torch.testing.assert_close(model(more, state=kept).logits, whole, **EXACT)
    shorter = out.state.truncate(prefix - 3)
    whole = model(torch.cat((tokens[:, : prefix - 3], more), 1)).logits[:, -6:]
    torch.testing.assert_close(model(more, state=shorter).logits, whole, **EXACT)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_without_orders_it_is_the_base(base):
    model, plain = lively(NgramHeads(base, orders=())), lively(base)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert torch.equal(model(ids()).logits, plain(ids()).logits)
    assert model.offers == plain.offers


@pytest.mark.parametrize("base", BASES.values(), ids=BASES.keys())
def test_heads_that_add_nothing_leave_the_base_as_it_is_built_alone(base):
    model, plain = NgramHeads(base, orders=(2, 1), places=(0, 2)).build(VOCAB, seed=5), base.build(VOCAB, seed=5)
    assert not torch.equal(model(ids()).logits, plain(ids()).logits)
    with torch.no_grad():
        for head in heads(model):
            for parameter in head.parameters():
                parameter.zero_()
    assert torch.equal(model(ids()).logits, plain(ids()).logits)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_one_head_by_hand(order):
    model = lively(NgramHeads(LLAMA, orders=(order,)))
    (head,) = heads(model)
    head.own_proj.bias.data.normal_(generator=torch.Generator().manual_seed(2))
    with model.capture("blocks.1.in", "blocks.1.out") as seen:
        model(ids())
    x = seen["blocks.1.in"]
    w0, w1 = head.successor_proj.weight, torch.eye(16) + head.own_proj.weight
    for row in range(2):
        said = ids()[row].tolist()
        for i in range(TIME):
            found = [j for j in range(order, i) if said[j - order : j] == said[i - order + 1 : i + 1]]
            h = x[row, found].mean(0) if found else torch.zeros(16).double()
            torch.testing.assert_close(seen["blocks.1.out"][row, i], w0 @ h + w1 @ x[row, i] + head.own_proj.bias)


@pytest.mark.parametrize("order", [1, 2])
def test_a_head_over_one_hot_vectors_counts_what_followed(order):
    """W_0 = 1, W_1 = 0: the in-context n-gram law itself, of what had followed before the last token came."""
    head = NgramHead(VOCAB, order).double()
    with torch.no_grad():
        head.successor_proj.weight.copy_(torch.eye(VOCAB))
        head.own_proj.weight.copy_(-torch.eye(VOCAB))
        head.own_proj.bias.zero_()
    tokens = ids(1)
    x = torch.nn.functional.one_hot(tokens, VOCAB).double()
    law = (x + head(x, Context(tokens, torch.arange(TIME)[None], TIME))[0])[0]
    said = tokens[0].tolist()
    for t in range(order, TIME):
        last = said[t - order + 1 : t + 1]
        seen = Counter(said[at + order] for at in range(t - order) if said[at : at + order] == last)
        counts = torch.tensor([float(seen[letter]) for letter in range(VOCAB)]).double()
        torch.testing.assert_close(law[t], counts / max(counts.sum(), 1))


def test_gradients_are_those_of_finite_differences():
    model = lively(NgramHeads(Llama(width=4, heads=2, hidden=4, depth=1), orders=(1, 2)))
    tokens = torch.tensor([[0, 1, 0, 1, 0, 2]])
    weight = torch.randn(1, 6, VOCAB, generator=torch.Generator().manual_seed(3)).double()
    parameters = tuple(model.parameters())
    assert torch.autograd.gradcheck(lambda *_: (model(tokens).logits * weight).sum(), parameters, fast_mode=True)
    (model(tokens).logits * weight).sum().backward()
    assert all(parameter.grad.abs().max() > 1e-6 for parameter in parameters)


def test_heads_stand_where_they_are_put_in_the_order_given():
    def kinds(**fields):
        blocks = NgramHeads(Llama(depth=3), **fields).build(VOCAB).blocks
        return [getattr(block.mixer, "order", 0) for block in blocks]

    assert kinds() == [0, 1, 2, 3, 0, 0]
    assert kinds(orders=(2, 1), places=(0, 3)) == [2, 0, 0, 0, 1]
    assert kinds(orders=(3, 1, 2), places=(1, 1, 0)) == [2, 0, 3, 1, 0, 0]


def test_parameters_added_and_operations_declared():
    base, model = LLAMA.build(VOCAB), NgramHeads(LLAMA, orders=(1, 4)).build(VOCAB)
    added = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in base.parameters())
    assert added == 2 * (2 * 16**2 + 16)
    assert model.flops(10) - base.flops(10) == 2 * (10 * 4 * 16**2 + 2 * 10**2 * 16)
    assert model.state_bytes(10) - base.state_bytes(10) == 2 * 10 * 16 * 4 + 10 * 4 * (2 + 5)


def test_it_says_that_ids_are_needed(model):
    assert not model.offers & {"embeds", "layers"}
    with pytest.raises(NotOffered, match="compares token ids"):
        model(embeds=model.embed(ids()))
    with pytest.raises(NotOffered, match="compares token ids"):
        model.layers(0, 1, model.embed(ids()))
    with pytest.raises(NotOffered, match="layers"), model.skipping([0]):
        pass


def test_a_recipe_that_holds_a_recipe_is_written_saved_and_read(tmp_path):
    recipe = build("architectures", "ngram_heads(base=transnormer(width=16, heads=2, decay=none), orders=(1, 3))")
    assert recipe == NgramHeads(TransNormer(width=16, heads=2, decay="none"), orders=(1, 3))
    assert build("architectures", describe(recipe)) == recipe
    model = recipe.build(VOCAB, seed=2)
    save(model, tmp_path)
    again = restore(tmp_path)
    assert again.recipe == recipe
    assert torch.equal(again(ids()).logits, model.eval()(ids()).logits)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("architectures/transnormer", "objectives/causal"))
    with pytest.raises(BrokenModel, match="'objectives/causal' is no architecture"):
        restore(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"orders": (0, 1)}, "at least 1 token"),
        ({"places": (0,)}, "one for each of the orders"),
        ({"places": (0, 1, -1)}, "from 0"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        NgramHeads(**wrong)


def test_a_place_behind_the_base_and_a_base_without_blocks_are_refused():
    with pytest.raises(ValueError, match="must lie in 0 to 2, the layers of the base"):
        NgramHeads(orders=(1,), places=(3,)).build(VOCAB)

    class Other:
        width = 4

        def build(self, vocab_size, *, seed=0):
            return torch.nn.Identity()

    with pytest.raises(TypeError, match="take a base such as llama"):
        NgramHeads(Other()).build(VOCAB)
