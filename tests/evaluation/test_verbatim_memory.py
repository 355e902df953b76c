import math

import pytest
import torch

from tests.compare.fakes import Uniform, system
from tests.families import wrapped
from trivium.compare.contender import build, describe
from trivium.core.protocols import LMOutput
from trivium.data.word_lists import CONDITIONS
from trivium.evaluation.verbatim_memory import Costs, VerbatimMemory
from trivium.models.scoring import Request, score
from trivium.models.sources import load
from trivium.models.surprisal import token_spans, within
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

SMALL = VerbatimMemory(length=4, items=4)


class Unigrams(Uniform):
    """Each byte has a probability of its own, whatever came before."""

    def __init__(self):
        super().__init__()
        self.law = torch.randn(259, generator=torch.Generator().manual_seed(0))

    def run(self, ids, **given):
        out = super().run(ids, **given)
        return LMOutput(self.law.expand(*ids.shape, 259), out.hidden)


class Remembers(Uniform):
    """Expects what followed the last six bytes when they occurred last."""

    max_positions = 1024

    def run(self, ids, **given):
        logits = torch.zeros(*ids.shape, 259)
        for row, said in enumerate(ids.tolist()):
            followed = {}
            for t in range(5, len(said)):
                key = tuple(said[t - 5 : t + 1])
                if key in followed:
                    logits[row, t, followed[key]] = 8.0
                if t + 1 < len(said):
                    followed[key] = said[t + 1]
        return LMOutput(logits, self.table[ids])


def values(task, made, split="test"):
    return [task.score(made, example).values for example in task.examples(split)]


def test_who_knows_frequencies_alone_is_as_surprised_again():
    """Whole lists of the same nouns cost the same: the first noun counts, too, or the order would matter."""
    made = System(Unigrams(), ByteTokenizer(), "unigrams")
    for seen in values(VerbatimMemory(length=4, items=4, skip=0), made):
        assert seen["repeat"] == pytest.approx(100, abs=1e-3)
        assert seen["permuted"] == pytest.approx(100, abs=1e-3)
        assert seen["novel"] != pytest.approx(100, abs=1e-3)
    for seen in values(SMALL, made):
        assert seen["repeat"] == pytest.approx(100, abs=1e-3)
        assert seen["permuted"] != pytest.approx(100, abs=1e-3), "another noun is left out"


def test_who_remembers_order_is_less_surprised():
    for seen in values(SMALL, System(Remembers(), ByteTokenizer(), "remembers")):
        assert seen["repeat"] < seen["permuted"] < seen["novel"]
        assert seen["retained"] == pytest.approx(seen["novel"] - seen["repeat"])
        assert seen["order"] == pytest.approx(seen["permuted"] - seen["repeat"])


def test_by_hand():
    costs = [
        Costs([9.0, 2.0, 4.0], [1.0, 0.5, 1.0]),
        Costs([9.0, 2.0, 4.0], [0.0, 3.0, 3.0]),
        Costs([9.0, 2.0, 4.0], [0.0, 6.0, 6.0], 2),
    ]
    seen = VerbatimMemory(length=3).observed("one", costs).values
    assert seen == {
        "repeat": 25.0,
        "permuted": 100.0,
        "novel": 200.0,
        "retained": 175.0,
        "order": 75.0,
        "first": 3.0,
        "shared": 2.0,
    }
    seen = VerbatimMemory(length=3, skip=0).observed("one", costs).values
    assert seen["repeat"] == pytest.approx(100 * 2.5 / 15)
    with pytest.raises(ValueError, match="one: the first list costs no bits"):
        VerbatimMemory(length=3).observed("one", [Costs([1.0, 0.0, 0.0], [1.0, 1.0, 1.0])] * 3)


def test_the_first_list_is_the_same_under_all_conditions():
    made = System(wrapped("llama", vocab_size=259, max_position_embeddings=512), ByteTokenizer(), "llama")
    for one in SMALL.vignettes("test"):
        told = [one.told(condition, SMALL.between) for condition in CONDITIONS]
        costs = [SMALL.costs(made, each, *score(made, [Request("", each.text)])) for each in told]
        for other in costs[1:]:
            assert other.first == pytest.approx(costs[0].first, abs=1e-4)
        assert costs[0].second != pytest.approx(costs[2].second, abs=1e-2)


def test_nouns_are_found_where_cutting_the_text_again_finds_them():
    """A noun's tokens are those of the text up to its end without those up to its beginning, in bytes."""
    (one,) = SMALL.vignettes("test")[:1]
    told = one.told("repeat", 5)
    tokenizer = ByteTokenizer()
    mine = within(token_spans(tokenizer, told.text, tokenizer.encode(told.text)), told.second, told.text)
    for (start, stop), tokens in zip(told.second, mine, strict=True):
        assert tokens == list(range(len(tokenizer.encode(told.text[:start])), len(tokenizer.encode(told.text[:stop]))))


def test_a_token_with_a_comma_in_it_is_counted():
    task = VerbatimMemory(length=4, items=1, between=0)
    (one,) = task.vignettes("test")
    joined = f"{one.nouns[0][-1]},"

    class Joins(ByteTokenizer):
        """The last letter of the first noun and a comma behind it are one token."""

        opening = ()

        def encode(self, text):
            return list(text.replace(joined, "\x01").encode())

        def bytes_of(self, id):
            return joined.encode() if id == 1 else super().bytes_of(id)

    commas = sum(one.told(c, 0).text.count(joined) for c in CONDITIONS)
    assert values(task, System(Uniform(), Joins(), "joins"))[0]["shared"] == commas > 0
    assert values(task, system())[0]["shared"] == 0


def test_uniform_costs_by_letters():
    seen = values(VerbatimMemory(length=3, items=1, between=0), system())[0]
    (one,) = VerbatimMemory(length=3, items=1).vignettes("test")
    assert seen["first"] == pytest.approx(sum(map(len, one.nouns[1:])) / 2 * math.log2(259), abs=1e-3)
    assert seen["novel"] == pytest.approx(100 * sum(map(len, one.novel[1:])) / sum(map(len, one.nouns[1:])), abs=1e-2)


def test_settings_and_splits(tmp_path):
    assert len(VerbatimMemory().examples("test")) == 10
    assert len(VerbatimMemory().examples("validation")) == 5
    assert len(VerbatimMemory(between=200).examples("test")[0].text) > 900 + len(
        VerbatimMemory().examples("test")[0].text
    )
    one, other = (VerbatimMemory(sort=sort).lists for sort in ("arbitrary", "category"))
    assert other[0][:2] == ("horse", "rabbit") != one[0][:2]
    path = tmp_path / "lists.txt"
    path.write_text("cat, dog, cow\nsun, moon, star\n")
    task = VerbatimMemory(str(path), length=3, items=2, batch_size=1)
    assert "cat, dog, cow." in task.examples("test")[0].text
    assert values(task, system())[0]["first"] > 0
    assert task.examples("validation") == []
    for fields, told in (
        ({"length": 1}, "length must be at least 2, got 1"),
        ({"length": 13}, "length must be 2 to 12 nouns"),
        ({"skip": 10}, "skip must leave a noun of a list of 10"),
        ({"skip": -1}, "skip must be at least 0"),
        ({"between": 900}, "between must be at most"),
        ({"sort": "words"}, "sort must be one of"),
        ({"items": 0}, "items must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=told):
            VerbatimMemory(**fields)
    with pytest.raises(ValueError, match="the splits are"):
        VerbatimMemory().examples("train")


def test_a_text_that_does_not_fit_is_refused():
    short = system()
    short.model.max_positions = 60
    with pytest.raises(ValueError, match="is longer than uniform takes, 60"):
        values(SMALL, short)


@pytest.mark.slow
def test_nouns_of_a_real_vocabulary():
    tokenizer = load("smollm2-135m").tokenizer
    for one in VerbatimMemory().vignettes("test"):
        told = one.told("novel", 20)
        mine = within(token_spans(tokenizer, told.text, tokenizer.encode(told.text)), told.first, told.text)
        for (start, stop), tokens in zip(told.first, mine, strict=True):
            before, behind = (len(tokenizer.encode(told.text[:at])) for at in (start - 1, stop))
            assert tokens == list(range(before, behind))


def test_it_can_be_written_on_a_command_line():
    words = "verbatim_memory(length=5, sort='category')"
    assert build("evaluation", words) == VerbatimMemory(length=5, sort="category")
    assert build("evaluation", describe(build("evaluation", words))) == build("evaluation", words)
