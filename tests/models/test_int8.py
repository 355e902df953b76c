"""Linear weights in 8 bits: the products are those of the codes, and the model around them works as before."""

import copy
import gc
import json
import weakref

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.drafting.trained import made_random
from tests.families import build
from tests.models import made
from tests.models.test_huggingface import a_tree, tokens
from trivium.cli.generate import Command
from trivium.compare.plan import Named, named_of
from trivium.core.capabilities import require_offers
from trivium.core.errors import NotFinite, NotOffered, UnknownName
from trivium.core.seeds import generator
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative
from trivium.drafting.medusa import Medusa
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.models import _int8, _packed
from trivium.models._compiled import CompiledStep
from trivium.models._int8 import FEW, TOP, Int8Linear, as_integers, dot_products, quantise
from trivium.models.huggingface import wrap
from trivium.models.sources import load
from trivium.models.system import System
from trivium.models.unembedding import unembedding
from trivium.tokenization.byte import ByteTokenizer

WAYS = ["integers", "float32"]
ROUNDING = dict(rtol=2**-7, atol=0.02)
"""bfloat16 keeps 8 bits; results near zero come from sums of terms of size 1."""


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Both ways of multiplying several positions, whatever processor the tests run on."""
    if request.param == "integers" and not dot_products():
        pytest.skip("this processor has no 8-bit dot products")
    monkeypatch.setattr(_int8, "dot_products", lambda: request.param == "integers")
    return request.param


def layer(width: int = 24, out: int = 40, bias: bool = True) -> nn.Linear:
    made = nn.utils.skip_init(nn.Linear, width, out, bias=bias)
    with torch.no_grad():
        for weight in made.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    return made.to(torch.bfloat16)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).bfloat16()


def in_8_bits(family: str, dtype: torch.dtype = torch.bfloat16):
    return wrap(quantise(build(family, dtype)))


def widened(family: str):
    """The same model in float32 with the weights that the codes stand for."""
    hf, other = build(family, torch.float32), quantise(build(family, torch.float32))
    if hf.config.tie_word_embeddings:  # the head has weights of its own here
        hf.lm_head.weight = nn.Parameter(hf.lm_head.weight.detach().clone())
    with torch.no_grad():
        for name, part in other.named_modules():
            if isinstance(part, Int8Linear):
                twin = hf.get_submodule(name)
                twin.weight.copy_(part.widened().T if isinstance(twin, Conv1D) else part.widened())
    return wrap(hf)


def test_codes_of_a_weight_worked_by_hand():
    made = nn.utils.skip_init(nn.Linear, 3, 2, bias=False)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([[127.0, -63.4, 0.6], [0.0, 0.0, 0.0]]))
    codes = Int8Linear.of(made, "layer")
    assert codes.codes.tolist() == [[127, -63, 1], [0, 0, 0]]
    assert codes.scale.tolist() == [1.0, 1.0]
    assert codes.codes.abs().max() <= TOP


def test_no_weight_is_off_by_more_than_half_a_step():
    made = layer()
    codes = Int8Linear.of(made, "layer")
    error = (codes.codes.float() * codes.scale.float()[:, None] - made.weight.float()).abs()
    # the scale is rounded to 8 bits, so that the largest weight may lie beyond the top code by 2^-9 of itself
    assert (error <= codes.scale.float()[:, None] * (0.5 + TOP * 2**-8)).all()
    assert (error <= codes.scale.float()[:, None] * 0.501).float().mean() > 0.9


@pytest.mark.parametrize("positions", [1, FEW, FEW + 1, 16, 1030])
@pytest.mark.parametrize(("width", "bias"), [(24, True), (64, False)])
def test_the_product_is_that_of_the_widened_weights(way, positions, width, bias):
    """A width of 24 is no multiple of what the kernel reads at a time."""
    made = layer(width, bias=bias)
    found = Int8Linear.of(made, "layer")
    given = inputs(1, positions, width)
    exact = nn.functional.linear(
        given.double(),
        found.codes.double() * found.scale.double()[:, None],
        made.bias.double() if bias else None,
    )
    with torch.no_grad():
        got = found(given)
    assert got.dtype == torch.bfloat16
    assert got.shape == (1, positions, 40)
    # rounded to bfloat16 after the sum and after the bias; in integers an activation keeps 15 bits
    torch.testing.assert_close(got.double(), exact, rtol=2**-7, atol=0.03)


def test_activations_keep_15_bits_and_rows_do_not_touch():
    rows = inputs(3, 50).float() * torch.tensor([[1e-3], [1.0], [1e3]])
    codes, step = as_integers(torch.cat([rows, torch.zeros(1, 50)]))
    coarse, fine = codes.double().chunk(2)
    again = step.double() * (coarse + fine / _int8.FINE)
    assert ((again[:3] - rows.double()).abs() <= rows.abs().amax(1, keepdim=True).double() * 2**-15).all()
    assert not again[3].any()


def test_a_position_in_integers_does_not_depend_on_its_neighbours():
    if not dot_products():
        pytest.skip("this processor has no 8-bit dot products")
    found, given = Int8Linear.of(layer(), "layer"), inputs(12, 24)
    with torch.no_grad():
        assert torch.equal(found(given)[:7], found(given[:7]))


@pytest.mark.parametrize("family", ["llama", "gemma", "gpt2", "opt"])
def test_a_model_gives_what_its_widened_weights_give(way, family):
    """In float32, so that only the products differ."""
    adapter, twin = in_8_bits(family, torch.float32), widened(family)
    ids = tokens(2, 12)
    with torch.no_grad():
        found, expected = adapter(ids).logits.float(), twin(ids).logits.float()
    spread = float(expected.std())
    error = float((found - expected).square().mean().sqrt())
    # activations of 15 bits are off by 2^-16 of the largest in each of about 20 products; float32 is exact beside it
    assert error <= (1e-3 if way == "integers" else 1e-4) * spread


def test_what_is_offered():
    adapter, plain = in_8_bits("llama"), wrap(build("llama").to(torch.bfloat16))
    assert plain.offers - adapter.offers == {"gradient"}
    assert "8-bit" in adapter.refused["gradient"]
    assert (adapter.precision, plain.precision, adapter.dtype) == ("int8", "bfloat16", torch.bfloat16)
    with pytest.raises(NotOffered, match="gradient"):
        require_offers("a method", adapter, ["gradient"])
    with torch.enable_grad(), pytest.raises(NotOffered, match="no gradient flows"):
        adapter(embeds=adapter.embed(tokens(1, 3)).detach().requires_grad_())
    with pytest.raises(NotOffered, match="saved"):
        adapter.inner.save_pretrained("nowhere")


def test_state_trees_and_ragged_rows(way):
    adapter = in_8_bits("llama")
    ids, mask = tokens(2, 6), torch.tensor([[True] * 6, [False, False, True, True, True, True]])
    tree = a_tree(7, 1)
    visible = torch.ones(2, 1, 7, 13, dtype=torch.bool)
    visible[..., 6:] = tree.visible
    where = torch.stack([tree.positions(6), tree.positions(4)])
    with torch.no_grad():
        state = adapter(ids, mask=mask, keep_state=True).state
        fed = tree.tokens[None].expand(2, -1)
        out = adapter(fed, mask=visible, positions=where, state=state, keep_state=True)
        for row, prompt in enumerate((ids[:1], ids[1:, 2:])):
            path = tree.paths()[-1]
            alone = adapter(torch.cat([prompt, tree.tokens[path][None]], 1)).logits[:, prompt.shape[1] :]
            torch.testing.assert_close(out.logits[row, path][None], alone, **ROUNDING)


def test_speculation_keeps_the_text():
    """The text that an 8-bit model writes by itself; ties of half precision are kept away by large weights."""
    hf = build("gpt2", torch.float32)
    with torch.no_grad():
        hf.get_output_embeddings().weight.mul_(8)
    adapter = wrap(quantise(hf))  # float32 activations, so that widths differ by less than ties
    prompt = tokens(1, 5).repeat(1, 4)
    plain = Greedy()(adapter, prompt, limit=24, generator=generator(0))
    fast = Speculative(PromptLookup(length=3))(adapter, prompt, limit=24, generator=generator(0))
    assert fast.ids.tolist() == plain.ids.tolist()
    assert fast.trace.total("accepted") > 0


def test_float_weights_are_let_go_of():
    hf = build("llama").to(torch.bfloat16)
    held = [weakref.ref(part.weight) for part in hf.modules() if type(part) is nn.Linear and part is not hf.lm_head]
    before = sum(p.numel() * p.element_size() for p in hf.parameters())
    quantise(hf)
    assert held
    assert not any(ref() is not None for ref in held)
    assert sum(p.numel() * p.element_size() for p in hf.parameters()) < before * 0.75


def test_a_shared_embedding_stays_as_it_is():
    hf = build("gpt2").to(torch.bfloat16)
    assert hf.config.tie_word_embeddings
    before = hf.get_input_embeddings().weight.clone()
    quantise(hf)
    assert torch.equal(hf.get_input_embeddings().weight, before)
    assert isinstance(hf.get_output_embeddings(), Int8Linear)


def test_the_head_can_be_read_off():
    adapter = in_8_bits("llama")
    hidden = inputs(1, 2, 32)
    weight, bias = unembedding(adapter, "a test")
    with torch.no_grad():
        torch.testing.assert_close(nn.functional.linear(hidden, weight, bias), adapter.parts.head(hidden), **ROUNDING)


def test_a_copy_and_changed_codes_have_a_layout_of_their_own(way):
    found, given = Int8Linear.of(layer(bias=False), "layer"), inputs(9, 24)
    with torch.no_grad():
        expected = found(given)
        twin = copy.deepcopy(found)
        assert torch.equal(twin(given), expected)
        twin.codes.neg_()
        assert torch.equal(twin(given), -expected)
        assert torch.equal(found(given), expected)


def test_the_second_layout_goes_with_the_codes():
    if not dot_products():
        pytest.skip("this processor has no 8-bit dot products")
    found = Int8Linear.of(layer(), "layer")
    place = found.codes.data_ptr()
    with torch.no_grad():
        found(inputs(9, 24))
    assert place in _packed._layouts
    del found
    gc.collect()
    assert place not in _packed._layouts


def test_large_weights_and_compiled_steps_go_through_integers(way, monkeypatch):
    """By whether the product is asked for, at a single position too."""
    asked = []
    original = Int8Linear._in_integers
    monkeypatch.setattr(Int8Linear, "_in_integers", lambda self, rows: asked.append(len(rows)) or original(self, rows))
    found, given = Int8Linear.of(layer(64), "layer"), inputs(1, 64)
    with torch.no_grad():
        small = found(given)
        monkeypatch.setattr(_int8, "LARGE", found.codes.numel())
        large = found(given)
        monkeypatch.setattr(_int8, "LARGE", 2 * found.codes.numel())
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        compiled = found(given)
    assert asked == ([1, 1] if way == "integers" else [])
    torch.testing.assert_close(large, small, **ROUNDING)
    assert torch.equal(compiled, large)


def test_it_composes_with_a_compiled_step():
    torch._dynamo.reset()
    adapter, plain = in_8_bits("llama", torch.float32), in_8_bits("llama", torch.float32)
    adapter.compiled = CompiledStep(adapter, backend="eager")
    ids = tokens(1, 14)
    with torch.no_grad():
        state, same = adapter(ids[:, :9], keep_state=True).state, plain(ids[:, :9], keep_state=True).state
        for start, stop in ((9, 10), (10, 14)):
            out = adapter(ids[:, start:stop], state=state, keep_state=True)
            expected = plain(ids[:, start:stop], state=same, keep_state=True)
            error = float((out.logits - expected.logits).square().mean().sqrt())
            assert error <= 1e-3 * float(expected.logits.std())  # activations of 15 bits, as above
            state, same = out.state, expected.state
    torch._dynamo.reset()


def test_what_cannot_be_held_in_8_bits_says_so():
    hf = build("llama").to(torch.bfloat16)
    with torch.no_grad():
        hf.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(NotFinite, match=r"layers\.1\.mlp\.up_proj"):
        quantise(hf)
    with pytest.raises(NotOffered, match="no linear layers"):
        quantise(nothing_linear())
    with pytest.raises(NotOffered, match="native model"):
        load("tiny", dtype="int8")
    with pytest.raises(NotOffered, match="CPU only"):
        load("tiny", dtype="int8", device="cuda")
    with pytest.raises(UnknownName, match="did you mean 'int8'"):
        load("tiny", dtype="int9")


def nothing_linear():
    hf = build("llama")
    for name, part in list(hf.named_modules()):
        if type(part) is nn.Linear:
            path, _, last = name.rpartition(".")
            setattr(hf.get_submodule(path), last, nn.Identity())
    return hf


def test_generate_and_open_again(capsys, monkeypatch):
    hf = build("llama", vocab_size=ByteTokenizer().vocab_size)
    system = System(wrap(quantise(hf.to(torch.bfloat16))), ByteTokenizer(), name="made", source="somewhere")
    assert named_of(system) == Named("somewhere", dtype="int8")
    opened = {"int8": system}
    monkeypatch.setattr("trivium.cli.generate.load", lambda name, dtype, compile, device: opened[dtype])
    Command("Once", model="x", dtype="int8", limit=3, json=True).run()
    assert len(json.loads(capsys.readouterr().out)["ids"]) == 3


@pytest.mark.parametrize("own_heads", [False, True])
def test_what_was_trained_for_the_model_drafts_for_it_in_8_bits(tmp_path, own_heads):
    made.folder(tmp_path / "model")
    whole = load(tmp_path / "model")
    heads = made_random(Medusa(heads=2, own_heads=own_heads, nodes=8), whole.model, tmp_path / "heads")
    eight = load(tmp_path / "model", dtype="int8").model
    prompt = torch.tensor([[5, 6, 7, 8]])
    drafted, plain = (
        decoder(eight, prompt, limit=12, generator=generator(0)) for decoder in (Speculative(heads), Greedy())
    )
    assert drafted.trace.total("drafted") > 0
    assert torch.equal(drafted.ids, plain.ids)
    with torch.no_grad():
        eight.inner.lm_head.codes.neg_()
    with pytest.raises(ValueError, match="was trained for made-up"):
        Speculative(heads)(eight, prompt, limit=2, generator=generator(0))
