import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.core.nouns import Example
from trivium.core.protocols import LMOutput
from trivium.data.corpus import Corpus
from trivium.data.recall import induction, mqar, needle
from trivium.evaluation.recall import Recall
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

MAKERS = {"mqar": mqar, "induction": induction, "needle": needle}


class Plain(ByteTokenizer):
    """Nothing before a text."""

    opening = ()


class Copies(Uniform):
    """Says what followed the last ``order`` bytes when they first occurred, and 'z' where they had not."""

    def __init__(self, order=1):
        super().__init__()
        self.order = order

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        said, logits = ids[0].tolist(), torch.zeros(*ids.shape, 259)
        for t in range(len(said)):
            last = said[t - self.order + 1 : t + 1]
            found = (said[at + self.order] for at in range(t - self.order + 1) if said[at : at + self.order] == last)
            logits[0, t, next(found, ord("z"))] = 1.0
        return LMOutput(logits, self.table[ids])


def copying(order=1, tokenizer=None):
    return System(Copies(order), tokenizer or ByteTokenizer(), "copies")


def task(sort, documents=12):
    return Recall(sort, MAKERS[sort](200), documents=documents)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), Plain()])
@pytest.mark.parametrize(("sort", "order"), [("mqar", 1), ("induction", 1), ("needle", 20)])
def test_who_looks_up_what_followed_recalls_everything(sort, order, tokenizer):
    for example in task(sort).examples("test"):
        seen = task(sort).score(copying(order, tokenizer), example).values
        assert seen["accuracy"] == 1.0
        assert seen["answers"] == (len(example.text) // 4 if sort == "mqar" else 1)


def test_answers_are_counted_one_by_one():
    """The first answer is b's B, which is known; the second would be P, but the model always says what came first."""

    class Always(Copies):
        def run(self, ids, **given):
            out = super().run(ids, **given)
            out.logits[..., ord("B")] = 2.0
            return out

    seen = Recall("mqar").score(System(Always(), ByteTokenizer(), "always"), Example("one", "aPbBbBaP")).values
    assert seen == {"accuracy": 0.5, "answers": 2.0}


def test_an_answer_of_several_tokens_is_right_as_a_whole():
    """Who looks at two bytes says 1, 1, 1 and 1 again, since that is what 11 was followed by first."""
    example = Example("one", "The number of the fox is 1112. He ran. The number of the fox is 1112.")
    for order, accuracy in ((1, 0.0), (2, 0.0), (4, 1.0)):
        assert Recall("needle").score(copying(order), example).values["accuracy"] == accuracy


def test_who_knows_nothing_recalls_nothing():
    for sort in MAKERS:
        for example in task(sort).examples("test"):
            assert task(sort).score(system(), example).values["accuracy"] == 0


def test_examples_are_the_first_of_the_split_and_a_needle_tells_its_depth():
    corpus = needle(200)
    examples = Recall("needle", corpus, documents=5).examples("validation")
    assert [example.text for example in examples] == list(corpus["validation"][:5])
    assert all(0 <= example.fields["depth"] < 1 for example in examples)
    assert len(Recall("mqar", mqar(200), documents=None).examples("test")) == len(mqar(200)["test"])
    assert not Recall("mqar", mqar(200)).examples("test")[0].fields
    assert Recall(documents=2).text.name.startswith("mqar-")


def test_a_text_that_is_too_long_or_of_another_sort_is_refused():
    short = system()
    short.model.max_positions = 7
    with pytest.raises(ValueError, match="8 tokens are more than the 7 positions of uniform"):
        Recall("mqar").score(short, Example("one", "aPbBbBaP"))
    with pytest.raises(ValueError, match="no text of the sort 'induction'"):
        Recall("induction", Corpus("other", {"test": ["aPbBbBaP"]})).score(system(), Example("one", "abcdef"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"documents": 0}, "documents must be at least 1"), ({"sort": "copy"}, "sort must be one of mqar, induction")],
)
def test_bad_settings_are_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        Recall(**fields)
