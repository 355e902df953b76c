import json

import pytest
import torch
import torch.nn.functional as F

from trivium.architectures.byte2word import OWN, Byte2Word
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.models.saving import restore, save
from trivium.models.skeleton import Context
from trivium.tokenization.byte import ByteTokenizer

BYTES = ByteTokenizer()
EXACT = {"atol": 1e-10, "rtol": 1e-10}
PIECES = ("", "the", " cat", " c", "at", " sat", "s", " do", "g", "\n", " mat", ".", " é".encode().decode("latin-1"))
"""The first one is a special token."""


def lively(pieces=PIECES, **changes):
    recipe = Byte2Word(pieces=pieces, **changes)
    model = recipe.build(OWN + (BYTES.vocab_size if pieces is None else len(pieces)), seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


def read(*rows):
    return torch.tensor([[PIECES.index(piece) for piece in row] for row in rows])


TEXT = read(["", "the", " cat", "s", " sat", " do", "g", "s", ".", ""])
WORDS = [b"the", b" cats", b" sat", b" dogs."]


def test_a_word_begins_with_white_space_and_special_tokens_stand_alone():
    model = lively()
    assert model.words_of(TEXT).tolist() == [[0, 1, 2, 2, 3, 4, 4, 4, 4, 5]]
    mask = torch.ones_like(TEXT, dtype=torch.bool)
    mask[0, 0] = mask[0, 3] = False
    assert model.words_of(TEXT, mask=mask).tolist() == [[-1, 0, 1, -1, 2, 3, 3, 3, 3, 4]]
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1, 1]])
    assert model.words_of(TEXT, segments=segments).tolist() == [[0, 1, 2, 3, 4, 5, 5, 5, 5, 6]]
    assert lively(limit=2).words_of(TEXT).tolist() == [[0, 1, 2, 2, 3, 4, 4, 5, 5, 6]]


@torch.no_grad()
def by_hand(model, words, slots):
    """Logits of some slots of each word, one word, head and query at a time. A word is rows of the table."""
    recipe, pooling, vectors = model.recipe, model.pooling, []
    width = recipe.width // recipe.heads
    for word in words:
        x = model.embedding.weight[torch.tensor(word)]
        if pooling.places is not None:
            x = x + pooling.places.weight[torch.arange(len(word)).clamp(max=recipe.longest - 1)]
        read = []
        for query in pooling.queries:
            for head in range(recipe.heads):
                part = slice(head * width, head * width + width)
                q = pooling.q_proj.weight[part] @ query
                weights = (x @ pooling.k_proj.weight[part].T @ q / width**0.5).softmax(0)
                read.append(weights @ x @ pooling.v_proj.weight[part].T)
        z = pooling.o_proj.weight @ torch.cat(read)
        n = F.rms_norm(z, (len(z),), pooling.norm.gain, recipe.eps)
        up = F.silu(pooling.channel.gate_proj.weight @ n) * (pooling.channel.up_proj.weight @ n)
        vectors.append(z + pooling.channel.down_proj.weight @ up)
    count = len(words)
    ctx = Context(None, torch.arange(count)[None], count, attend=torch.ones(1, 1, count, count, dtype=torch.bool))
    h = model.position(torch.stack(vectors)[None], ctx)
    for block in model.blocks:
        h, _ = block(h, ctx)
    h = model.words_norm(h)[0]
    return [
        torch.stack([model.head(model.norm(model.speller(torch.cat((h[i], model.slots.weight[s]))))) for s in some])
        for i, some in enumerate(slots)
    ]


@pytest.mark.parametrize("change", [{}, {"queries": 1}, {"byte_positions": False}, {"longest": 3}, {"heads": 2}])
def test_logits_are_those_of_the_equation_word_by_word(change):
    model = lively(**change)
    words = [[256], *map(list, WORDS), [256]]
    expected = torch.cat(by_hand(model, words, [[0], [0], [0, 1], [0], [0, 1, 2, 3], [0]]))
    torch.testing.assert_close(model(TEXT).logits[0], expected, **EXACT)


def test_a_hidden_word_is_one_symbol_in_place_of_its_bytes():
    model = lively()
    chosen = torch.zeros_like(TEXT, dtype=torch.bool)
    chosen[0, 7] = True  # one piece of " dogs." hides the word
    hidden = model.hide(TEXT, chosen)
    first, more = model.hidden_id, model.more_id
    assert hidden.tolist() == [[*TEXT[0, :5].tolist(), first, more, more, more, TEXT[0, 9]]]
    words = [[256], b"the", b" cats", b" sat", [257], [256]]
    slots = [range(16) if number == 4 else [0] for number in range(6)]
    expected = by_hand(model, [list(word) for word in words], slots)[4]
    at = hidden == first
    torch.testing.assert_close(model.spell(hidden, at)[0], expected, **EXACT)
    torch.testing.assert_close(model(hidden).logits[0, 5:9], expected[:4], **EXACT)


def test_nothing_of_a_hidden_word_is_seen_its_length_neither():
    model = lively()
    long = read(["the", " do", "g", "s", " sat", "."])
    short = read(["the", " cat", " sat", "."])
    chosen = lambda ids: (torch.arange(ids.shape[1]) == 1)[None]  # noqa: E731
    a, b = (model.hide(ids, chosen(ids)) for ids in (long, short))
    torch.testing.assert_close(model.spell(a, chosen(a)), model.spell(b, chosen(b)), **EXACT)
    torch.testing.assert_close(model(a).logits[0, -2:], model(b).logits[0, -2:], **EXACT)
    assert (model(long).logits[0, -2:] - model(short).logits[0, -2:]).abs().max() > 1e-3


def test_hidden_words_side_by_side_stay_words():
    for limit in (2, 16):
        model = lively(limit=limit)
        every = torch.ones_like(TEXT, dtype=torch.bool)
        hidden = model.hide(TEXT, every)
        assert torch.equal(model.words_of(hidden), model.words_of(TEXT))
        assert set(hidden.flatten().tolist()) == {model.hidden_id, model.more_id}


def test_a_word_is_the_same_however_it_is_cut_into_pieces():
    model = lively()
    one, other = read(["the", " cat", "s", " sat"]), read(["the", " c", "at", "s", " sat"])
    with model.capture("blocks.0.in") as seen:
        model(one)
    first = seen["blocks.0.in"]
    with model.capture("blocks.0.in") as seen:
        model(other)
    torch.testing.assert_close(seen["blocks.0.in"], first, **EXACT)
    torch.testing.assert_close(model(one).logits[0, [0, -1]], model(other).logits[0, [0, -1]], **EXACT)


def test_the_order_of_bytes_counts_where_positions_are_on():
    for flag in (True, False):
        model = lively(None, byte_positions=flag)
        with model.capture("blocks.0.in") as seen:
            model(torch.tensor([[*b" dog god"]]))
        dog, god = seen["blocks.0.in"][0]
        assert ((dog - god).abs().max() > 1e-3) == flag


def test_the_table_is_small_and_counts_bytes_and_not_pieces():
    many = ("", *(f" {number}" for number in range(4000)))
    model = Byte2Word(pieces=many).build(len(many) + OWN)
    table = sum(p.numel() for p in (model.embedding.weight, model.pooling.places.weight))
    assert model.embedding.weight.shape == (256 + 1 + 1, 16)  # bytes, one special token, a hidden word
    assert table < 0.1 * len(many) * 64
    whole = Byte2Word(pieces=many, byte_width=None).build(len(many) + OWN)
    assert whole.embedding.weight.shape == (len(many) + OWN, 64)


def test_with_a_row_for_every_piece_it_is_a_subword_encoder():
    model = lively(byte_width=None)
    time = TEXT.shape[1]
    ctx = Context(None, torch.arange(time)[None], time, attend=torch.ones(1, 1, time, time, dtype=torch.bool))
    h = model.position(model.embedding(TEXT), ctx)
    for block in model.blocks:
        h, _ = block(h, ctx)
    slot = model.slots.weight[:1].expand(1, time, -1)
    expected = model.head(model.norm(model.speller(torch.cat((model.words_norm(h), slot), -1))))
    torch.testing.assert_close(model(TEXT).logits, expected, **EXACT)
    chosen = torch.zeros_like(TEXT, dtype=torch.bool)
    chosen[0, 3] = True  # a word is hidden whole here, too, but each piece keeps its place
    assert torch.equal(model.words_of(TEXT), lively().words_of(TEXT))
    assert model.hide(TEXT, chosen)[0, 1:5].tolist() == [1, model.hidden_id, model.hidden_id, TEXT[0, 4]]


def test_every_pass_is_metered_by_what_its_tokens_cost():
    model = lively()
    few, many = read(["the", *["g"] * 7]), read(["the", *[" sat"] * 7])
    spent = []
    for ids in (few, many):
        with Meter() as meter, torch.no_grad():
            model(ids)
        spent.append(meter.spent.flops)
        assert meter.spent.flops == pytest.approx(model.flops_for(ids), rel=1e-2)  # cumulative sums of the layout
    assert spent[1] > 1.5 * spent[0]


def test_pieces_are_those_of_a_tokenizer_and_survive_a_file(tmp_path):
    recipe = Byte2Word().fitted(BYTES)
    assert recipe.pieces[32:35] == (" ", "!", '"')
    assert recipe.pieces[256:] == ("", "", "")
    model = recipe.build(BYTES.vocab_size + OWN, seed=2).eval()
    ids = torch.tensor([[*"née à".encode()]])
    plain = Byte2Word().build(BYTES.vocab_size + OWN, seed=2).eval()
    assert torch.equal(model(ids).logits, plain(ids).logits)
    odd = Byte2Word(pieces=PIECES).build(len(PIECES) + OWN, seed=2).eval()
    save(odd, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["recipe"]["pieces"] == list(PIECES)
    assert torch.equal(restore(tmp_path)(TEXT).logits, odd(TEXT).logits)


def test_it_is_no_autoregressive_model_and_says_so():
    model = lively()
    assert model.offers == {"bidirectional"}
    with pytest.raises(NotOffered, match="state"):
        model(TEXT, keep_state=True)
    with pytest.raises(NotOffered, match="tree"):
        model(TEXT, mask=torch.ones(1, 1, 10, 10, dtype=torch.bool))
    with pytest.raises(NotOffered, match="state"):
        model.state_bytes_for(TEXT)


def test_a_row_of_padding_alone_does_no_harm():
    model = lively()
    ids, mask = TEXT.expand(2, -1), torch.ones(2, 10, dtype=torch.bool)
    mask[0] = False
    torch.testing.assert_close(model(ids, mask=mask).logits[1], model(TEXT).logits[0], **EXACT)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 32},
        {"depth": 1},
        {"heads": 2},
        {"byte_width": 8},
        {"queries": 3},
        {"byte_positions": False},
        {"longest": 2},
        {"limit": 2},
        {"base": 50.0},
        {"eps": 1e-2},
    ],
)
def test_every_setting_changes_the_logits(change):
    assert (lively(**change)(TEXT).logits - lively()(TEXT).logits).abs().max() > 1e-3


def test_the_context_is_a_limit():
    with pytest.raises(ValueError, match="more than the 8 positions"):
        lively(context=8)(TEXT)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"width": 30}, "even number"),
        ({"queries": 0}, "queries must be at least 1"),
        ({"byte_width": 0}, "byte_width must be at least 1"),
        ({"pieces": ("a", "Ω")}, "Latin-1"),
        ({"eps": 0.0}, "must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Byte2Word(**wrong)


def test_a_vocabulary_that_is_not_that_of_the_pieces_is_refused():
    with pytest.raises(ValueError, match="2 pieces and 3"):
        Byte2Word(pieces=("a", "b")).build(4)
    with pytest.raises(ValueError, match="more than 3"):
        Byte2Word().build(3)
