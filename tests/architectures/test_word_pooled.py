import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from trivium.architectures.word_pooled import WordPooled
from trivium.models.skeleton import Context, Skeleton
from trivium.tokenization.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()
EXACT = {"atol": 1e-10, "rtol": 1e-10}


def lively(**changes):
    model = WordPooled(**changes).build(TOKENIZER.vocab_size, seed=1).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return model


def read(*texts):
    return torch.tensor([[TOKENIZER.bos, *TOKENIZER.encode(text)] for text in texts])


def run(stack, x, *, causal):
    """Blocks with their positions (a stack, or a model's backbone) on one run (time, width)."""
    time = len(x)
    seen = torch.ones(1, 1, time, time, dtype=torch.bool)
    ctx = Context(None, torch.arange(time)[None], time, attend=seen.tril() if causal else seen)
    hidden = (x + stack.position.table.weight[:time])[None]
    for block in stack.blocks:
        hidden, _ = block(hidden, ctx)
    return hidden[0]


@torch.no_grad()
def word_by_word(model, found):
    """Logits of a text that is given as its words, the last of them open or empty, as the equation says it."""
    wide, table, logits = len(model.start), model.embedding.weight, []
    stream = model.first
    for number, word in enumerate(found):
        word = torch.tensor(list(word), dtype=torch.int64)
        ahead = model.words_norm(run(model, stream, causal=True))[-wide:]
        for place in range(len(word) + (number == len(found) - 1)):
            hidden = run(model.decoder, torch.cat((ahead, table[word[:place]])), causal=True)
            logits.append(model.head(hidden[wide + place - 1]))
        pooled = run(model.encoder, torch.cat((model.start, table[word])), causal=False)[:wide]
        stream = torch.cat((stream, pooled))
    return torch.stack(logits)[1:]


@pytest.mark.parametrize("prefix", [1, 2, 4])
def test_logits_are_those_of_the_equation_word_by_word(prefix):
    model = lively(prefix=prefix, limit=8)
    ids = read("It was extraordinarily cold. So")
    found = [[256], b"It ", b"was ", b"extraord", b"inarily ", b"cold. ", b"So"]
    assert b"".join(map(bytes, found[1:])) == b"It was extraordinarily cold. So"
    torch.testing.assert_close(model(ids).logits[0], word_by_word(model, found), **EXACT)
    torch.testing.assert_close(model(ids[:, :-2]).logits[0], word_by_word(model, [*found[:-1], b""]), **EXACT)


def test_words_of_one_byte_make_a_decoder_of_bytes_with_layers_on_each_side():
    model, ids = lively(prefix=1, limit=1), read("It was cold.")
    with torch.no_grad():
        pooled = torch.stack(
            [run(model.encoder, torch.stack((model.start[0], x)), causal=False)[0] for x in model.embedding(ids[0])]
        )
        backbone = model.words_norm(run(model, torch.cat((model.first, pooled)), causal=True))
        expected = torch.stack([model.head(run(model.decoder, x[None], causal=True))[0] for x in backbone[1:]])
    torch.testing.assert_close(model(ids).logits[0], expected, **EXACT)


def test_without_a_prefix_it_is_the_gpt_of_transformers():
    recipe = WordPooled(prefix=0, context=32, depth=3)
    model = lively(prefix=0, context=32, depth=3)
    assert isinstance(model, Skeleton)
    with torch.random.fork_rng():
        other = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=TOKENIZER.vocab_size,
                n_embd=recipe.width,
                n_layer=3,
                n_head=recipe.heads,
                n_positions=32,
                activation_function="gelu",
                layer_norm_epsilon=recipe.eps,
                tie_word_embeddings=False,
            )
        )
    renamed = {"transformer.wte.weight": model.embedding.weight, "transformer.wpe.weight": model.position.table.weight}
    renamed |= {"transformer.ln_f.weight": model.norm.gain, "lm_head.weight": model.head.weight}
    for layer, block in enumerate(model.blocks):
        at, mixer = f"transformer.h.{layer}.", block.mixer
        renamed |= {
            f"{at}ln_1.weight": block.mixer_norm.gain,
            f"{at}ln_2.weight": block.channel_norm.gain,
            f"{at}attn.c_attn.weight": torch.cat([getattr(mixer, f"{x}_proj").weight for x in "qkv"]).T,
            f"{at}attn.c_proj.weight": mixer.o_proj.weight.T,
            f"{at}mlp.c_fc.weight": block.channel.up_proj.weight.T,
            f"{at}mlp.c_proj.weight": block.channel.down_proj.weight.T,
        }
    other = other.double().eval()
    missing, unexpected = other.load_state_dict({name: x.detach() for name, x in renamed.items()}, strict=False)
    assert not unexpected
    assert all(name.endswith("bias") for name in missing)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    ids = read("It was cold.")
    torch.testing.assert_close(model(ids).logits, other(ids).logits, atol=1e-9, rtol=1e-9)


def test_a_word_is_predicted_without_its_own_vectors():
    model = lively()
    one, other = read("the cat sat"), read("the cow sat")
    a, b = model(one).logits[0], model(other).logits[0]
    assert (a - b)[:6].abs().max() == 0
    assert (a - b)[6:].abs().amax(-1).min() > 1e-6
    state = model(one[:, :9], keep_state=True).state  # "cat " has ended, so from here on its vectors are seen
    assert state.words.lengths.tolist() == [4 * 4]
    assert state.ahead.shape == (1, 4, 64)


@pytest.mark.parametrize("prefix", [1, 3])
def test_the_backbone_has_as_many_places_for_each_word(prefix):
    model = lively(prefix=prefix)
    with model.capture("blocks.0.in") as seen:
        model(read("one two three "))
    assert seen["blocks.0.in"].shape == (1, 5 * prefix, 64)  # the one before the first, bos, three words


def test_the_order_of_bytes_counts():
    model = lively()
    a, b = model(read("dog ran")).logits[0, 4:], model(read("god ran")).logits[0, 4:]
    assert (a - b).abs().max() > 1e-3


def test_more_words_than_have_positions_are_refused():
    model = WordPooled(words=4).build(259)
    model(read("a b c"))
    with pytest.raises(ValueError, match="24 places of the 20"):
        model(read("a b c d "))
    state = model(read("a b c"), keep_state=True).state
    with pytest.raises(ValueError, match="more words"):
        model(torch.tensor([[32, 100, 32]]), state=state)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 32},
        {"depth": 1},
        {"byte_depth": 1},
        {"heads": 2},
        {"prefix": 0},
        {"prefix": 1},
        {"limit": 4},
        {"eps": 1e-2},
    ],
)
def test_every_setting_changes_the_logits(change):
    ids = read("It was cold, and so we stayed at home.")
    assert (lively(**change)(ids).logits - lively()(ids).logits).abs().max() > 1e-3


def test_the_parameter_count_is_that_of_the_equations():
    width, prefix, limit, words = 64, 4, 20, 1024
    block = 12 * width**2 + 4 * width
    tables = 2 * 259 * width + (prefix + limit) * width + (prefix + limit - 1) * width + (words + 1) * prefix * width
    count = sum(p.numel() for p in WordPooled().build(259).parameters())
    assert count == 6 * block + 2 * width + tables + 2 * prefix * width
    fewer = sum(p.numel() for p in WordPooled(words=100).build(259).parameters())
    assert count - fewer == 924 * prefix * width


def test_the_context_is_a_limit():
    for prefix in (0, 2):
        model = WordPooled(context=8, prefix=prefix).build(259)
        model(read("a b c d"))
        with pytest.raises(ValueError, match="more than the 8 positions"):
            model(read("a b c de"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"heads": 5}, "multiple of the 5 heads"),
        ({"prefix": -1}, "prefix must not be negative"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"words": 0}, "words must be at least 1"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        WordPooled(**wrong)
