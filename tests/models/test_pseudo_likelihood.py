import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.architectures.flexibert import FlexiBERT
from trivium.architectures.gpt_bert import GptBert
from trivium.core.errors import NotFinite, NotOffered
from trivium.models.pseudo_likelihood import pseudo_logprobs, words_of
from trivium.models.scoring import Pair, Request, encoded
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

PAIRS = [Pair((256,), tuple(b"a bcd")), Pair((256, 97), tuple(b" cd")), Pair((256,), tuple(b"x"))]
WORDS = [[0, 1, 1, 1, 1], [0, 0, 0], [0]]


class Neighbours(Uniform):
    """A token depends on its two neighbours, by a fixed random table; what is hidden tells nothing of itself."""

    def __init__(self, offers=("bidirectional",)):
        super().__init__(offers)
        self.left, self.right = torch.randn(2, 259, 259, generator=torch.Generator().manual_seed(0))

    def at(self, before, behind):
        return (self.left[before] + self.right[behind]).log_softmax(-1)

    def run(self, ids, *, mask, **given):
        out = super().run(ids, mask=mask, **given)
        row = torch.nn.functional.pad(ids, (1, 1), value=258)
        logits = self.at(row[:, :-2], row[:, 2:])
        if "causal" in self.offers:  # says at each place what comes next
            logits = torch.cat([logits[:, 1:], logits[:, :1]], 1)
        return type(out)(logits, out.hidden)


@pytest.mark.parametrize("offers", [("bidirectional",), ("bidirectional", "causal")])
@pytest.mark.parametrize("words", [None, WORDS])
def test_each_token_from_its_neighbours(offers, words):
    model = Neighbours(offers)
    mask = 258
    found = pseudo_logprobs(System(model, ByteTokenizer(), "neighbours"), PAIRS, words=words, batch_size=4)
    for number, pair in enumerate(PAIRS):
        whole = [*pair.context, *pair.continuation, 0 if number else mask]
        whole[-1] = mask if number == 0 else 0  # padding of shorter rows is 0, as the longest has none
        for at, token in enumerate(pair.continuation):
            place = len(pair.context) + at
            behind = whole[place + 1]
            last = at == len(pair.continuation) - 1
            if words is not None and not last and words[number][at + 1] == words[number][at]:
                behind = mask
            if last:
                continue  # what stands behind the last token depends on padding, which this model alone reads
            expected = float(model.at(whole[place - 1], behind)[token])
            assert found[number][at] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("recipe", [GptBert(width=16, heads=2, depth=2), FlexiBERT()])
@pytest.mark.parametrize("words", [None, WORDS])
def test_equals_a_slow_loop_on_real_encoders(recipe, words):
    """One row at a time, without padding; GPT-BERT says a token from the place before, FlexiBERT at its own."""
    model = recipe.build(259).eval()
    made = System(model, ByteTokenizer(), "encoder")
    found = pseudo_logprobs(made, PAIRS, words=words, mask_id=250)
    early = "causal" in model.offers
    assert early == isinstance(recipe, GptBert)
    for number, pair in enumerate(PAIRS):
        for at, token in enumerate(pair.continuation):
            given = [*pair.context, *pair.continuation]
            for other in range(len(pair.continuation)):
                if other == at or (words is not None and other > at and words[number][other] == words[number][at]):
                    given[len(pair.context) + other] = 250
            size = len(given)
            mask = torch.ones(1, 1, size, size, dtype=torch.bool) if early else None
            with torch.no_grad():
                logits = model(torch.tensor([given]), mask=mask).logits
            expected = logits[0, len(pair.context) + at - early].log_softmax(-1)[token]
            assert found[number][at] == pytest.approx(float(expected), abs=1e-4)


def test_hiding_the_rest_of_a_word_changes_all_but_its_last_token():
    made = System(GptBert(width=16, heads=2, depth=2).build(259), ByteTokenizer(), "encoder")
    whole, word = pseudo_logprobs(made, PAIRS[:1]), pseudo_logprobs(made, PAIRS[:1], words=WORDS[:1])
    same = [abs(a - b) < 1e-6 for a, b in zip(whole[0], word[0], strict=True)]
    assert same == [True, False, False, False, True]


def test_words_of_a_text():
    text = " It's red, isn't it?"
    (pair,) = [encoded(system(), Request("", text))]
    found = words_of(system(), text, pair.continuation)
    spelt = [
        [bytes([id for id, w in zip(pair.continuation, found, strict=True) if w == word]).decode()]
        for word in range(max(found) + 1)
    ]
    assert [one for (one,) in spelt] == [" It", "'", "s", " red", ",", " isn", "'", "t", " it", "?"]
    assert words_of(system(), "  ", tuple(b"  ")) == [0, 0]


def test_bad_input():
    made = System(Neighbours(), ByteTokenizer(), "neighbours")
    with pytest.raises(NotOffered, match="uniform is not bidirectional"):
        pseudo_logprobs(system(), PAIRS)
    with pytest.raises(ValueError, match="mask_id must be 0 to 258, a token of the model; got 259"):
        pseudo_logprobs(made, PAIRS, mask_id=259)
    made.model.max_positions = 5
    with pytest.raises(ValueError, match="6 tokens are more than the 5 positions of neighbours"):
        pseudo_logprobs(made, PAIRS)

    class Broken(Neighbours):
        def run(self, ids, **given):
            out = super().run(ids, **given)
            return type(out)(out.logits * float("nan"), out.hidden)

    class Words(Neighbours):
        def run(self, ids, **given):
            out = super().run(ids, **given)
            return type(out)(out.logits[:, :1], out.hidden)

    with pytest.raises(NotFinite, match="no finite likelihood to a hidden token"):
        pseudo_logprobs(System(Broken(), ByteTokenizer(), "broken"), PAIRS)
    with pytest.raises(NotOffered, match="no prediction for each token"):
        pseudo_logprobs(System(Words(), ByteTokenizer(), "words"), PAIRS)
