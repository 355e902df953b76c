import json
import math

import pytest

from tests.compare.fakes import Uniform, system
from tests.evaluation.test_bits_per_byte import Bigram
from tests.models.test_scoring import native, words
from trivium.core.nouns import Example
from trivium.data.corpus import Corpus
from trivium.data.wikitext import joined
from trivium.evaluation.bits_per_byte import BitsPerByte
from trivium.evaluation.perplexity import RollingPerplexity
from trivium.evaluation.stats.intervals import summary
from trivium.models.scoring import Perplexity, Scored, roll
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

CORPUS = Corpus("three", {"validation": ["abc"], "test": ["hello", "wörld  and more", " a longer text, really"]})


def test_a_uniform_model_by_hand():
    seen = RollingPerplexity(corpus=CORPUS).score(system(), Example("one", "two words"))
    expected = {"byte_perplexity": 259, "word_perplexity": 259**4.5, "words": 2, "bytes": 9, "altered": 0}
    assert seen.values == pytest.approx(expected, rel=1e-5)
    assert seen.shown["text"] == f"9 tokens, {9 * math.log2(259):.1f} bits"


def test_the_figure_of_a_report_is_of_the_sums():
    """The mean that a report makes of a ratio: geometric, documents weighed by their words or bytes."""
    task, one = RollingPerplexity(corpus=CORPUS, length=6), native()
    seen = [task.score(one, example).values for example in task.examples("test")]
    whole = Perplexity.of(roll(one, CORPUS["test"], 6))
    for name, figure in (("word_perplexity", whole.word), ("byte_perplexity", whole.byte)):
        weights = [v[task.weighted_by[name]] for v in seen]
        found = summary([math.log(v[name]) for v in seen], range(3), weights)
        assert math.exp(found.mean) == pytest.approx(figure)
        assert figure != pytest.approx(sum(v[name] for v in seen) / 3, rel=1e-3)


def test_in_one_window_it_is_bits_per_byte():
    """For a tokenizer that opens each text with the token that stands for an empty context."""
    for example in RollingPerplexity(corpus=CORPUS).examples("test"):
        one = System(Bigram(), ByteTokenizer(), "bigram")
        bits = BitsPerByte(CORPUS).score(one, example).values["bits_per_byte"]
        seen = RollingPerplexity(corpus=CORPUS).score(one, example).values
        assert math.log2(seen["byte_perplexity"]) == pytest.approx(bits)


def test_windows_are_the_model_s_or_shorter_and_may_overlap():
    one, example = native(), Example("long", "a text of more than ninety-six bytes, " * 4)
    assert one.model.max_positions == 96
    by_default = RollingPerplexity(corpus=CORPUS).score(one, example).values
    assert by_default == RollingPerplexity(corpus=CORPUS, length=500, batch_size=1).score(one, example).values
    for fields, given in (({"length": 20}, (20, 0.0)), ({"length": 20, "overlap": 0.5}, (20, 0.5))):
        seen = RollingPerplexity(corpus=CORPUS, **fields).score(one, example).values
        (found,) = roll(one, [example.text], given[0], overlap=given[1])
        assert seen["byte_perplexity"] == pytest.approx(Perplexity.of([found]).byte)
        assert seen["byte_perplexity"] != pytest.approx(by_default["byte_perplexity"], rel=1e-4)


def test_a_model_of_any_length_is_given_windows_too():
    model = Uniform()
    model.max_positions = None
    seen = RollingPerplexity(corpus=CORPUS).score(System(model, ByteTokenizer(), "free"), Example("one", "x" * 1500))
    assert seen.values["byte_perplexity"] == pytest.approx(259, rel=1e-5)
    assert "word_perplexity" not in seen.values  # of one word of 1500 letters


def test_a_text_that_the_tokenizer_cannot_spell_is_told():
    class Small(type(words().tokenizer)):
        def encode(self, text):
            return super().encode(text.lower())

    one = System(words().model, Small(), "words")
    assert RollingPerplexity(corpus=CORPUS).score(one, Example("a", "abc ab")).values["altered"] == 0
    assert RollingPerplexity(corpus=CORPUS).score(one, Example("b", "ABC ab")).values["altered"] == 1


def test_a_server_reads_each_document_in_one_window():
    class Served:
        def scored(self, requests, *, batch_size, cache, bar):
            return [Scored((1,), (-math.log(2.0),), (True,)) for _ in requests]

    seen = RollingPerplexity(corpus=CORPUS).score(Served(), Example("a", "ab"))
    assert seen.values["word_perplexity"] == pytest.approx(2.0)


def test_a_file_is_read_whole(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(5)))
    task = RollingPerplexity(str(path), items=None)
    assert [e.text for e in task.examples("test")] == [f"text {n}" for n in range(5)]
    assert task.examples("validation") == []
    few = RollingPerplexity(str(path), items=2)
    assert [e.text for e in few.examples("test")] == ["text 0", "text 1"]
    assert [(e.id, e.text) for e in few.examples("validation")] == [("validation-00002", "text 2")]
    with pytest.raises(ValueError, match="the splits are"):
        few.examples("train")


def test_wikitext_is_read_joined_and_counted_apart(tmp_path):
    path = tmp_path / "wiki.txt"
    path.write_text(" \n = One = \n a well @-@ known one . \n \n = Two = \n more\n")
    task = RollingPerplexity(str(path), "wikitext")
    first = task.examples("test")[0]
    one = native()
    seen = task.score(one, first).values
    (read,) = roll(one, [joined(first.text)], 96)
    assert len(read.ids) < len(first.text)
    assert seen["words"] == len(first.text.split()) + 2
    assert seen["bytes"] == len(first.text)
    assert seen["byte_perplexity"] == pytest.approx(math.exp(-read.total / len(first.text)))
    with pytest.raises(ValueError, match="form 'wikitext' is how a file is read; give its path"):
        RollingPerplexity(form="wikitext")
    with pytest.raises(ValueError, match="form must be one of plain, wikitext; got 'html'"):
        RollingPerplexity(str(path), "html")


def test_examples_are_the_first_of_the_split():
    assert [e.text for e in RollingPerplexity(corpus=CORPUS, items=1).examples("test")] == ["hello"]
    assert len(RollingPerplexity(corpus=CORPUS, items=None).examples("test")) == 3
    assert len(RollingPerplexity(items=3).examples("test")) == 3


@pytest.mark.parametrize("fields", [{"items": 0}, {"length": 0}, {"batch_size": 0}, {"overlap": 1.0}])
def test_bad_settings_are_refused(fields):
    with pytest.raises(ValueError, match=r"must be at least 1|overlap is the share"):
        RollingPerplexity(**fields)
