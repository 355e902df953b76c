import json
import math

import pytest
import torch

from tests.compare.fakes import Uniform, system
from tests.evaluation.test_babylm import Bigrams
from tests.families import wrapped
from trivium.compare.contender import build, describe
from trivium.core.protocols import LMOutput
from trivium.data.self_reference import Statement, made
from trivium.evaluation.self_reference import QUESTION, SelfReference, judged, said_to_be, verdict
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TASK = SelfReference(items=3)


class Plain(ByteTokenizer):
    """Nothing before a text."""

    opening = ()


BIGRAMS = System(Bigrams(), ByteTokenizer(), "bigrams")


def costs(text, before=256):
    text = text.encode()
    return [-float(BIGRAMS.model.law[a, b]) for a, b in zip([before, *text[:-1]], text, strict=True)]


def mean(text, skip=0):
    found = costs(text)[skip:]
    return sum(found) / len(found)


def write(path, *rows):
    path.write_text(
        "\n".join(
            json.dumps(dict(zip(("beginning", "true_continuation", "false_continuation"), row, strict=True)))
            for row in rows
        )
    )
    return str(path)


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), Plain()])
def test_a_bigram_model_by_hand(tokenizer):
    """Where the tokenizer puts nothing before a text, its first token is no part of a loss."""
    skip = 0 if tokenizer.opening else 1
    made_ = System(BIGRAMS.model, tokenizer, "bigrams")
    task = SelfReference(items=6)
    for example, one in zip(task.examples("test"), made("test", 6), strict=True):
        seen = task.score(made_, example).values
        true, false = one.beginning + one.true, one.beginning + one.false
        assert seen["generation"] == float(mean(true, skip) < mean(false, skip))
        last = ord(one.beginning[-1])
        assert seen["continuation"] == float(sum(costs(one.true, last)) < sum(costs(one.false, last)))
        losses = [
            [mean(f"{QUESTION.format(statement=s)} {word}", skip) for word in (True, False)] for s in (true, false)
        ]
        (tt, ft), (tf, ff) = losses
        assert seen["validation"] == 0.5 * (tt < ft) + 0.5 * (ff < tf)
        assert seen["relative"] == float(tt / ft < tf / ff)
        assert seen["said_true"] == 0.5 * (tt < ft) + 0.5 * (tf < ff)
        assert seen["unread"] == 0


def test_the_first_token_can_decide(tmp_path):
    """An unlikely first letter weighs less in a longer text: with it another ending has the lower mean."""

    def turns(begin, true, false):
        with_it, without = (mean(begin + true, skip) < mean(begin + false, skip) for skip in (0, 1))
        return without and not with_it

    letters = "abcdefghijklmnopqrstuvwxyz"
    case = next((x, y, z * 4) for x in letters for y in letters for z in letters if turns(x, y, z * 4))
    task = SelfReference(write(tmp_path / "some.jsonl", case), items=None)
    for tokenizer, expected in ((Plain(), 1.0), (ByteTokenizer(), 0.0)):
        made_ = System(BIGRAMS.model, tokenizer, "bigrams")
        assert task.score(made_, task.examples("test")[0]).values["generation"] == expected
        task = SelfReference(task.path, items=None)


def test_turning_true_and_false_turns_generation(tmp_path):
    rows = [(one.beginning, one.true, one.false) for one in made("test", 12)]
    given = SelfReference(write(tmp_path / "given.jsonl", *rows), items=None)
    turned = SelfReference(write(tmp_path / "turned.jsonl", *((a, c, b) for a, b, c in rows)), items=None)
    for one, other in zip(given.examples("test"), turned.examples("test"), strict=True):
        first, second = given.score(BIGRAMS, one).values, turned.score(BIGRAMS, other).values
        for name in ("generation", "continuation", "relative"):
            assert first[name] == 1 - second[name]
        assert first["validation"] == pytest.approx(1 - second["validation"])


def test_the_two_rules_of_generation_can_disagree(tmp_path):
    """A long ending of likely letters costs more in all and less per token."""
    likely = max(range(97, 123), key=lambda b: float(BIGRAMS.model.law[b, b]))
    unlikely = min(range(97, 123), key=lambda b: float(BIGRAMS.model.law[likely, b]))
    path = write(tmp_path / "some.jsonl", (chr(likely) * 3, chr(likely) * 9, chr(unlikely)))
    task = SelfReference(path, items=None)
    seen = task.score(BIGRAMS, task.examples("test")[0]).values
    assert (seen["generation"], seen["continuation"]) == (1.0, 0.0)


def test_equal_losses_are_wrong(tmp_path):
    task = SelfReference(write(tmp_path / "some.jsonl", ("The last word is", " dog.", " cat.")), items=None)
    seen = task.score(system(), task.examples("test")[0]).values
    assert (seen["generation"], seen["continuation"], seen["relative"]) == (0, 0, 0)


def test_a_constant_judge_is_right_in_half():
    for says in (True, False):
        losses = (0.4, 0.9) if says else (0.9, 0.4)
        assert judged(losses, losses) == (0.5, 0.0, float(says))
        assert said_to_be(says, says)[:3] == (0.5, 0.0, float(says))
    assert judged((0.4, 0.9), (0.9, 0.4)) == (1.0, 1.0, 0.5)
    assert judged((0.4, 0.9), (0.6, 0.9)) == (0.5, 1.0, 1.0), "always true, but truer of the true one"
    assert judged((0.4, 0.2), (0.3, 0.1)) == (0.5, 1.0, 0.0)
    assert said_to_be(True, False) == (1.0, 1.0, 0.5, 0.0)
    assert said_to_be(None, False) == (0.5, 0.0, 0.0, 0.5)
    assert said_to_be(None, None) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It has six words. Answer: True.", True), ("So it is false", False), ("True or false? Answer: FALSE", False),
        ("True or false", None), ("I do not know", None), ("", None), ("untrue", None),
        ("answer : true\nAnswer: false", False), ("true, true", True),
    ],
)  # fmt: skip
def test_written_judgements_are_read(text, expected):
    assert verdict(text) is expected


def test_controls():
    (one,) = [each for each in made("test", 3) if each.control][:1]
    texts = {control: TASK.texts(one, control) for control in ("none", "instead", "before")}
    assert texts["none"] == ((one.beginning, one.true), (one.beginning, one.false))
    assert texts["instead"] == ((one.control, one.true), (one.control, one.false))
    assert texts["before"][1] == (f"{one.control}{one.false}\n\n{one.beginning}", one.false)
    for control in ("instead", "before"):
        task = SelfReference(items=6, control=control)
        chosen = task.statements("test")
        assert 0 < len(chosen) < 6
        for example, mine in zip(task.examples("test"), chosen, strict=True):
            seen = task.score(BIGRAMS, example).values
            true, false = ("".join(text) for text in task.texts(mine, control))
            expected = float(mean(true) < mean(false))
            assert seen["generation"] == expected
            plain = float(mean(mine.beginning + mine.true) < mean(mine.beginning + mine.false))
            assert seen["generation_gain"] == expected - plain
            assert set(seen) == {measure.name for measure in task.measures}


def test_shots_are_of_the_other_split_half_of_them_true():
    task = SelfReference(items=8, shots=4)
    (one, *_) = task.statements("test")
    asked = task.question("This is so.", "test", one.id)
    *shown, last = asked.split("\n\n")
    assert last == QUESTION.format(statement="This is so.")
    assert [block.rsplit(" ", 1)[1] for block in shown] == ["True", "False", "True", "False"]
    others = {
        each.beginning + ending: truth
        for each in task.statements("validation")
        for ending, truth in ((each.true, "True"), (each.false, "False"))
    }
    for block in shown:
        assert others[block.split('Statement: "')[1].rsplit('"\nAnswer:', 1)[0]] == block.rsplit(" ", 1)[1]
    assert SelfReference(items=8).question("This is so.", "test", one.id) == last
    with pytest.raises(ValueError, match="there are 4 statements to show, so not 6"):
        SelfReference(items=8, shots=6).question("x", "test", "one")


class Says(Uniform):
    """Goes on with one text, whatever it is asked."""

    max_positions = 2048

    def __init__(self, text):
        super().__init__(("causal", "state"))
        self.inner, self.said = wrapped("llama", vocab_size=259, max_position_embeddings=2048), text.encode()

    def run(self, ids, **given):
        out = self.inner.run(ids, **given)
        logits = torch.zeros_like(out.logits)
        for row, last in enumerate(ids[:, -1].tolist()):
            at = self.said.index(last) + 1 if last in self.said else 0
            logits[row, -1, self.said[at] if at < len(self.said) else 10] = 9.0
        return LMOutput(logits, out.hidden, out.state)


def test_reasoning():
    task = SelfReference(items=1, judge_by="reasoning", limit=8, batch_size=2)
    assert "Think step by step" in task.question("x", "test", "one")
    for text, validation, said, unread in ((" true", 0.5, 1.0, 0.0), (" hm", 0.0, 0.0, 1.0)):
        seen = task.score(System(Says(text), ByteTokenizer(), text), task.examples("test")[0]).values
        assert (seen["validation"], seen["said_true"], seen["unread"]) == (validation, said, unread)


def test_settings_and_splits(tmp_path):
    path = write(tmp_path / "some.jsonl", *[(f"{n}", "a", "b") for n in range(9)])
    task = SelfReference(path, items=4)
    assert [e.id[-1] for split in ("test", "validation") for e in task.examples(split)] == list("123456")
    assert SelfReference(path, items=None).examples("validation") == []
    assert SelfReference(path, control="before").examples("test") == []
    assert [len(SelfReference().examples(split)) for split in ("test", "validation")] == [60, 30]
    for fields, told in (
        ({"control": "both"}, "control must be one of none, instead, before; got 'both'"),
        ({"judge_by": "vote"}, "judge_by must be 'likelihood' or 'reasoning', got 'vote'"),
        ({"shots": 3}, "shots must be even"),
        ({"shots": -2}, "shots must be at least 0"),
        ({"items": 0}, "items must be at least 1"),
        ({"items": None}, "items must be a number where no path is given"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=told):
            SelfReference(**fields)
    with pytest.raises(ValueError, match="the splits are"):
        TASK.examples("train")
    assert math.isfinite(TASK.score(BIGRAMS, TASK.examples("validation")[0]).values["validation"])
    assert isinstance(TASK.statements("test")[0], Statement)


def test_it_can_be_written_on_a_command_line():
    words = "self_reference(control='before', items=8)"
    assert build("evaluation", words) == SelfReference(control="before", items=8)
    assert build("evaluation", describe(build("evaluation", words))) == build("evaluation", words)
