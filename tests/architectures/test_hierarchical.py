import pytest
import torch

from trivium.architectures.hierarchical import Hierarchical
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.models.skeleton import Context
from trivium.nn.words import WHITE_SPACE
from trivium.tokenization.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()
EXACT = {"atol": 1e-10, "rtol": 1e-10}


def lively(**changes):
    model = Hierarchical(**changes).build(TOKENIZER.vocab_size, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


def read(*texts):
    return torch.tensor([[TOKENIZER.bos, *TOKENIZER.encode(text)] for text in texts])


def cut(ids, limit):
    """The words of one text, byte by byte; the last may be open or empty."""
    found = [[]]
    for id in ids:
        found[-1].append(id)
        if id in WHITE_SPACE or id >= 256 or len(found[-1]) == limit:
            found.append([])
    return found


def run(blocks, position, x, *, causal):
    """A stack on one run (time, width)."""
    time = len(x)
    seen = torch.ones(1, 1, time, time, dtype=torch.bool)
    ctx = Context(None, torch.arange(time)[None], time, attend=seen.tril() if causal else seen)
    hidden = position(x[None], ctx)
    for block in blocks:
        hidden, _ = block(hidden, ctx)
    return hidden[0]


@torch.no_grad()
def word_by_word(model, ids):
    """Logits (time, vocab) of one text as the equation says it, one word and one byte at a time."""
    table, stream, logits = model.embedding.weight, [model.first[0]], []
    found = cut(ids, model.limit)
    for number, word in enumerate(found):
        word = torch.tensor(word, dtype=torch.int64)
        ahead = model.words_norm(run(model.blocks, model.position, torch.stack(stream), causal=True)[-1])
        going_on = number == len(found) - 1  # the open word, whose next byte is predicted too
        for place in range(len(word) + going_on):
            x = torch.cat((model.from_words(ahead)[None], table[word[:place]]))
            hidden = run(model.decoder.blocks, model.decoder.position, x, causal=True)[-1]
            logits.append(model.head(model.norm(hidden)))
        x = torch.cat((model.start, table[word]))
        stream.append(model.to_words(run(model.encoder.blocks, model.encoder.position, x, causal=False)[0]))
    return torch.stack(logits)[1:]  # that of the first byte has nothing before it


@pytest.mark.parametrize(
    "text", ["It was cold, and so\nwe stayed at home.", "a  b ", "x", "\n\n\n", "Straße – naïve ☃ "]
)
@pytest.mark.parametrize("limit", [3, 64])
def test_logits_are_those_of_the_equation_word_by_word(text, limit):
    model, ids = lively(limit=limit), read(text)
    expected = word_by_word(model, ids[0].tolist())
    torch.testing.assert_close(model(ids).logits[0], expected, **EXACT)


def test_the_vector_of_a_word_depends_on_nothing_but_its_bytes():
    model = lively()
    with model.capture("blocks.0.in") as seen:
        model(read("the cat saw the dog. ", "a dog. saw the big ox"))
    one, other = seen["blocks.0.in"]
    assert one.shape == (7, 64)  # the one before the first, bos, and five words
    torch.testing.assert_close(one[2], one[5], **EXACT)
    torch.testing.assert_close(one[6], other[3], **EXACT)
    torch.testing.assert_close(one[4], other[4], **EXACT)
    assert (one[3] - one[4]).abs().max() > 1e-2


def test_the_backbone_takes_in_a_word_with_its_last_byte_and_not_before():
    model = lively()
    one, other = read("the cat sat on it"), read("the cow sat on it")
    a, b = model(one).logits[0], model(other).logits[0]
    assert (a - b)[:6].abs().max() == 0
    assert (a - b)[6:].abs().amax(-1).min() > 1e-6
    with torch.no_grad():
        model.to_words[1].weight.zero_()  # words say nothing any more, so only the open one is known
    a, b = model(one).logits[0], model(other).logits[0]
    assert (a - b)[6:8].abs().amax(-1).min() > 1e-6
    assert (a - b)[8:].abs().max() == 0


def test_an_end_of_text_is_the_end_of_its_last_word():
    model = lively()
    with model.capture("blocks.0.in") as seen:
        model(torch.tensor([[TOKENIZER.bos, *b"the end.", TOKENIZER.eos]]))
    assert seen["blocks.0.in"].shape[1] == 4  # the one before the first, bos, "the ", "end." with its end


@pytest.mark.parametrize("limit", [1, 2, 5])
@torch.no_grad()
def test_going_on_inside_a_word_equals_the_whole(limit):
    model, ids = lively(limit=limit), read("unforgettable ox, and", "a b c d e f gh ij kl ")
    whole = model(ids).logits
    for split in range(1, ids.shape[1]):
        state = model(ids[:, :split], keep_state=True).state
        got = model(ids[:, split:], state=state).logits
        torch.testing.assert_close(got, whole[:, split:], **EXACT)


def test_a_state_keeps_the_open_word_and_the_words_before_it():
    model = lively(limit=8)
    state = model(read("one two thr", "nothingness"), keep_state=True).state
    assert state.open.tolist() == [[*b"thr", -1, -1, -1, -1], [*b"ess", -1, -1, -1, -1]]
    assert state.words.lengths.tolist() == [4, 3]
    assert state.lengths.tolist() == [12, 12]


def test_a_step_inside_a_word_leaves_the_backbone_alone():
    model = lively()
    state = model(read("one two thr"), keep_state=True).state
    with pytest.raises(RuntimeError, match="never ran"), model.capture("blocks.0.out"):
        state = model(torch.tensor([[101]]), state=state, keep_state=True).state
    with model.capture("blocks.0.out") as seen:
        model(torch.tensor([[32]]), state=state)
    assert seen["blocks.0.out"].shape == (1, 1, 64)


def test_every_pass_is_metered_by_what_its_tokens_cost():
    model = lively()
    few, many = read("incomprehensibilities"), read("a b c d e f g h i j k")[:, :22]
    with Meter() as meter, torch.no_grad():
        model(few)
    with Meter() as other, torch.no_grad():
        model(many)
    assert meter.spent.flops == pytest.approx(model.flops_for(few), rel=1e-3)  # cumulative sums of the layout
    assert other.spent.flops == pytest.approx(model.flops_for(many), rel=1e-3)
    assert model.flops_for(many) > 1.5 * model.flops_for(few)


def test_one_long_word_does_not_make_short_ones_dear():
    model = lively()
    short, mixed = read("of an ox " * 10), read("of an ox " * 10 + "x" * 48)
    assert model.flops_for(mixed) < 1.8 * model.flops_for(short)


def test_usual_positions_may_be_said_and_others_not():
    model, ids = lively(), read("the cat sat", "on the mat.")
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[0, :3] = False
    plain = model(ids, mask=mask).logits
    assert torch.equal(model(ids, mask=mask, positions=(mask.cumsum(1) - 1).clamp(min=0)).logits, plain)
    with pytest.raises(NotOffered, match="tree"):
        model(ids, positions=torch.arange(12)[None] + 1)
    state = model(ids[:, :5], keep_state=True).state
    model(ids[:, 5:], state=state, positions=torch.arange(5, 12)[None])
    with pytest.raises(NotOffered, match="tree"):
        model(ids[:, 5:], state=state, positions=torch.arange(7)[None])


def test_it_goes_on_from_its_own_states_only():
    from trivium.architectures.llama import Llama

    state = Llama().build(259)(read("x"), keep_state=True).state
    with pytest.raises(TypeError, match="WordState"):
        Hierarchical().build(259)(read("x"), state=state)


@pytest.mark.parametrize(
    "change",
    [
        {"word_width": 32},
        {"width": 48},
        {"depth": 1},
        {"byte_depth": 1},
        {"heads": 2},
        {"limit": 4},
        {"base": 50.0},
        {"eps": 1e-2},
    ],
)
def test_every_setting_changes_the_logits(change):
    ids = read("It was cold, and so we stayed at home.")
    assert (lively(**change)(ids).logits - lively()(ids).logits).abs().max() > 1e-3


def test_the_parameter_count_is_that_of_the_equations():
    width, wide = 32, 64
    block = lambda d, hidden: 4 * d * d + 3 * d * hidden + 2 * d  # noqa: E731
    bytes_, words = block(width, 96), block(wide, 192)
    between = width + width * wide + wide + wide * width  # norm and matrix into the words, norm and matrix out of them
    expected = 259 * width + 4 * bytes_ + 2 * words + between + width + wide + width  # [w], first word, last norm
    tied, free = (Hierarchical(tied=flag).build(259) for flag in (True, False))
    assert sum(p.numel() for p in tied.parameters()) == expected
    assert sum(p.numel() for p in free.parameters()) == expected + 259 * width


def test_the_context_is_a_limit():
    model = Hierarchical(context=8).build(259)
    model(read("1234567"))
    with pytest.raises(ValueError, match="more than the 8 positions"):
        model(read("12345678"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"width": 30}, "even number"),
        ({"word_width": 20, "heads": 4}, "word_width 20"),
        ({"word_width": 0}, "word_width 0"),
        ({"byte_depth": 0}, "byte_depth must be at least 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"base": -1.0}, "must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Hierarchical(**wrong)


def test_another_vocabulary_is_refused():
    with pytest.raises(ValueError, match="259 ids at most"):
        Hierarchical().build(260)
