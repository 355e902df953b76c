"""States at places of texts: by hand, in any batch, at any site."""

import logging

import pytest
import torch

from tests.compare.fakes import Uniform
from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotFinite, NotOffered, UnknownName
from trivium.models.features import features, stream, tokens_of
from trivium.models.sources import load
from trivium.models.system import System
from trivium.models.untrained import untrained
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ["one two three", "a", "quite long a text, and longer yet", "b c"]


def native(recipe=None):
    recipe = recipe or Llama(width=16, heads=2, context=48, depth=3)
    return System(recipe.build(259).double().eval(), ByteTokenizer(), "native")


def states(system, text, site="blocks.1.out"):
    """Of the text's own tokens, alone in a pass."""
    with torch.no_grad(), system.model.capture(site) as seen:
        system.model(system.prompt(text))
    return seen[site][0, 1:]


@pytest.mark.parametrize("recipe", [None, TransNormer(width=16, heads=2)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_position_in_any_batch(recipe, batch_size):
    system = native(recipe)
    by_hand = {"mean": lambda each: each.mean(0, keepdim=True), "last": lambda each: each[-1:]}
    for position, rows in by_hand.items():
        found = features(system, TEXTS, "blocks.1.out", position, batch_size=batch_size)
        assert found.text.tolist() == [0, 1, 2, 3]
        for number, text in enumerate(TEXTS):
            torch.testing.assert_close(
                found["blocks.1.out"][number : number + 1], rows(states(system, text)), atol=1e-9, rtol=0
            )


def test_words_and_spans_are_means_over_their_tokens():
    system = native()
    found = features(system, TEXTS, "blocks.1.out", "words")
    assert found.text.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3]
    each = states(system, TEXTS[0])
    torch.testing.assert_close(found["blocks.1.out"][1], each[4:7].mean(0), atol=1e-9, rtol=0)  # "two", bytes 4 to 6
    spans = [[(4, 7), (0, 13)], [(0, 1)], [(0, 5)], [(2, 3), (0, 1)]]
    found = features(system, TEXTS, "blocks.1.out", spans)
    assert found.text.tolist() == [0, 0, 1, 2, 3, 3]
    torch.testing.assert_close(found["blocks.1.out"][0], each[4:7].mean(0), atol=1e-9, rtol=0)
    torch.testing.assert_close(found["blocks.1.out"][4], states(system, TEXTS[3])[2], atol=1e-9, rtol=0)
    # The whole span has every token that begins with a letter in it: spaces between the words are no letter.
    letters = [at for at, letter in enumerate(TEXTS[0]) if letter != " "]
    torch.testing.assert_close(found["blocks.1.out"][1], each[letters].mean(0), atol=1e-9, rtol=0)


def test_several_sites_in_one_pass_and_sites_with_heads():
    system = native()
    passes = []
    handle = system.model.register_forward_hook(lambda *_: passes.append(1))
    found = features(system, TEXTS, [stream(0), stream(3), "blocks.0.attn.z"], batch_size=4)
    handle.remove()
    assert len(passes) == 1
    assert list(found.states) == ["blocks.0.in", "blocks.2.out", "blocks.0.attn.z"]
    assert found["blocks.0.attn.z"].shape == (4, 2, 8)
    torch.testing.assert_close(found[stream(3)][2], states(system, TEXTS[2], "blocks.2.out")[-1], atol=1e-9, rtol=0)
    with pytest.raises(UnknownName, match=r"no states were taken at 'blocks.1.out'"):
        found["blocks.1.out"]


class NoOpening(ByteTokenizer):
    opening = ()


def test_a_token_stands_before_the_text_where_the_tokenizer_puts_none():
    """So that the first word's state is like the others', not that of a first position."""
    model = native().model
    bare = System(model, NoOpening(), "bare")
    with_bos = features(System(model, ByteTokenizer(), "bos"), TEXTS, "blocks.1.out", "words")["blocks.1.out"]
    assert torch.equal(features(bare, TEXTS, "blocks.1.out", "words")["blocks.1.out"], with_bos)
    alone = features(bare, TEXTS, "blocks.1.out", "words", anchored=False)["blocks.1.out"]
    assert (alone[0] - with_bos[0]).abs().max() > 1e-3
    # a mean leaves the first token out where there are others
    mean = features(bare, ["ab", "a"], "blocks.1.out", "mean", anchored=False)["blocks.1.out"]
    last = features(bare, ["ab", "a"], "blocks.1.out", "last", anchored=False)["blocks.1.out"]
    torch.testing.assert_close(mean, last)


# Tokens of spans ----------------------------------------------------------------------------------------------------


def test_a_token_belongs_to_the_span_of_its_first_letter():
    """ "(a b):" in the tokens "(", "a", " b", "):" . The colon has no token of its own and shares the last."""
    text, tokens = "(a b):", [(0, 1), (1, 2), (2, 4), (4, 6)]
    spans = [(0, 1), (1, 2), (3, 4), (4, 5), (5, 6)]
    assert tokens_of(text, tokens, spans) == ([[0], [1], [2], [3], [3]], 1)


def test_bytes_are_not_characters():
    """ "é = ü": é takes two bytes, in two tokens; ü two in one with the space before it."""
    text = "é = ü"
    tokens = [(0, 1), (1, 2), (2, 4), (4, 7)]
    assert tokens_of(text, tokens, [(0, 1), (2, 3), (4, 5)]) == ([[0, 1], [2], [3]], 0)


def test_a_token_that_crosses_counts_for_the_span_in_which_it_begins(caplog):
    """ "foo(x" in the tokens "fo", "o(", "x"."""
    assert tokens_of("foo(x", [(0, 2), (2, 4), (4, 5)], [(0, 3), (3, 4), (4, 5)]) == ([[0, 1], [1], [2]], 1)
    system = load("tiny")
    with caplog.at_level(logging.WARNING):
        found = features(system, ["the  dog"], stream(1), [[(0, 2), (2, 8)]])
    assert found.states[stream(1)].shape[0] == 2


def test_a_span_with_a_token_of_its_own_shares_none():
    """ "f(xy" in the tokens "f", "(x", "y": the name has y, though x stands in the token of the bracket."""
    assert tokens_of("f(xy", [(0, 1), (1, 3), (3, 4)], [(0, 1), (1, 2), (2, 4)]) == ([[0], [1], [2]], 1)


def test_spans_may_overlap():
    assert tokens_of("ab cd", [(0, 2), (2, 5)], [(0, 5), (3, 5)]) == ([[0, 1], [1]], 0)


# The control --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [native, lambda: load("tiny")])
def test_an_untrained_copy_keeps_the_embeddings_and_nothing_else(make):
    system = make()
    before = {name: weight.clone() for name, weight in system.model.named_parameters()}
    made = untrained(system, seed=1)
    assert made.model.serial != system.model.serial
    assert made.name.endswith("(untrained)")
    for name, weight in system.model.named_parameters():
        assert torch.equal(weight, before[name])
    layers = [stream(0), stream(1)]
    theirs, ours = (features(each, ["one two", "three"], layers, "words") for each in (system, made))
    torch.testing.assert_close(ours[layers[0]], theirs[layers[0]])
    assert (ours[layers[1]] - theirs[layers[1]]).abs().max() > 1e-3
    again, other = untrained(system, seed=1), untrained(system, seed=2)
    assert torch.equal(features(again, ["one"], layers[1])[layers[1]], features(made, ["one"], layers[1])[layers[1]])
    assert not torch.equal(
        features(other, ["one"], layers[1])[layers[1]], features(made, ["one"], layers[1])[layers[1]]
    )


def test_other_models_have_no_untrained_copy():
    with pytest.raises(NotOffered, match="uniform is no model whose weights can be drawn anew"):
        untrained(System(Uniform(), ByteTokenizer(), "uniform"))


# Misuse -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"texts": []}, "1 sites and 0 texts; give at least one of each"),
        ({"texts": ["a", ""]}, "text 1 is empty"),
        ({"texts": ["x" * 60]}, "text 0 has 60 tokens and 1 before it, more than the 48"),
        ({"position": "first"}, "position must be 'last', 'mean', 'words' or spans; got 'first'"),
        ({"position": [[(0, 1)]]}, "4 texts need as many lists of spans, got 1"),
        ({"texts": ["ab"], "position": [[(0, 3)]]}, "text 0: characters 0 to 3 are no span of a text of 2"),
        ({"texts": ["ab"], "position": [[(1, 1)]]}, "characters 1 to 1 are no span"),
        ({"texts": ["a b"], "position": [[(1, 2)]]}, "white space only"),
        ({"texts": ["  "], "position": "words"}, "nothing is to be looked at"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"site": "blocks.0.attn.weights"}, "is of pairs of tokens"),
    ],
)
def test_misuse_is_told(given, told):
    with pytest.raises(ValueError, match=told):
        features(native(), **({"texts": TEXTS, "site": "blocks.0.out", "position": "last"} | given))


def test_models_and_sites_that_are_not_there():
    with pytest.raises(UnknownName, match=r"native has no site 'blocks.0.outs'.*'blocks.0.out'"):
        features(native(), TEXTS, "blocks.0.outs")
    with pytest.raises(NotOffered, match="looking at activations needs 'sites'"):
        features(System(Uniform(), ByteTokenizer(), "uniform"), TEXTS, "blocks.0.out")
    broken = native()
    next(iter(broken.model.parameters())).data.fill_(float("nan"))
    with pytest.raises(NotFinite, match=r"gives text 0, 'a', states at blocks.0.out that are not finite"):
        features(broken, ["a"], "blocks.0.out")
    with pytest.raises(ValueError, match="counted from 0, the embeddings; got -1"):
        stream(-1)
