import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from tests.compare.fakes import Uniform, system
from tests.families import wrapped
from trivium.compare.contender import build, describe
from trivium.core.nouns import Observation
from trivium.core.protocols import LMOutput
from trivium.data.answer_sets import Answers, made
from trivium.evaluation.dare import DARE, read_off, robustness
from trivium.models.scoring import Request, score
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

CSQA = Path(__file__).parents[3] / "shared" / "data" / "commonsense_qa" / "validation.jsonl"
ASKED = Answers("one", "Which is red?", ("sky", "rose", "grass", "blood", "snow", "coal"), frozenset({1, 3}))


def values(task, given):
    return task.observed(task.variants(ASKED), given).values


def test_subsets_hold_the_right_option_and_every_choice_of_others():
    standard, *subsets = DARE().variants(ASKED)
    assert standard.asked.options == ("sky", "rose", "grass", "snow", "coal")
    assert [v.asked.options[v.right] for v in subsets] == ["rose"] * 6
    others = [set(v.asked.options) - {"rose"} for v in subsets]
    assert sorted(map(sorted, others)) == sorted(
        map(sorted, itertools.combinations(["sky", "grass", "snow", "coal"], 2))
    )
    assert len(DARE(subset=4).variants(ASKED)) == 1 + math.comb(4, 3)
    assert subsets[0].prompt == (
        "Question: Which is red?\nA. sky\nB. rose\nC. grass\nAnswer with the words of the right option.\nAnswer:"
    )
    with pytest.raises(ValueError, match="subset 5 leaves out none of the 5 options of 'one'; lower it"):
        DARE(subset=5).variants(ASKED)


def test_other_words_and_formats_ask_for_the_same():
    for vary, count in (("wording", 3), ("format", 3)):
        found = DARE(vary=vary).variants(ASKED)
        assert len({v.prompt for v in found}) == len(found) == count
        assert {v.asked for v in found} == {found[0].asked}
        assert {v.right for v in found} == {1}
        for variant in found:
            for part in (ASKED.question, *found[0].asked.options):
                assert part in variant.prompt
    assert [v.answers[1] for v in found] == ["rose", "B", '{"answer": "B"}']
    assert [v.name for v in DARE(vary="format", format="json").variants(ASKED)] == ["standard", "text", "letter"]


def test_any_number_of_right_options():
    standard, none, one, two = DARE(vary="count").variants(ASKED)
    assert [v.asked.options for v in (none, one, two)] == [
        ("sky", "grass", "snow", "coal"),
        ("sky", "rose", "grass", "snow"),
        ("sky", "rose", "grass", "blood"),
    ]
    assert [v.answers[v.right] for v in (none, one, two)] == ["none", "B", "B, D"]
    assert {len(v.answers) for v in (none, one, two)} == {16}
    assert len(set(two.answers)) == 16
    assert [v.chance for v in (standard, none)] == [1 / 5, 1 / 16]
    single = Answers("two", "Which?", ("a", "b", "c", "d", "e"), frozenset({2}))
    assert [v.name for v in DARE(vary="count").variants(single)] == ["standard", "0 right", "1 right"]


def test_by_hand():
    """Six subsets; the standard question does not count among them."""
    seen = values(DARE(), [0.0, 1, 1, 0, 1, 1, 1])
    assert seen == {
        "worst": 0,
        "standard": 0,
        "mean": pytest.approx(5 / 6),
        "corrected": pytest.approx((5 / 6 - 1 / 3) / (2 / 3)),
        "best": 1,
        "flips": 1,
        "chance": pytest.approx(1 / 3),
        "chance_worst": pytest.approx(3.0**-6),
        "unread": 0,
    }
    seen = values(DARE(vary="wording"), [1.0, 1, 1])
    assert (seen["worst"], seen["mean"], seen["flips"], seen["standard"]) == (1, 1, 0, 1)
    assert seen["chance_worst"] == pytest.approx(5.0**-3)
    seen = values(DARE(vary="count"), [1.0, 0, 1, None])
    assert (seen["mean"], seen["unread"]) == (pytest.approx(1 / 3), 1 / 4)
    assert seen["chance_worst"] == pytest.approx(16.0**-3)


def seen_of(*rows):
    return [Observation({}, {"right": dict(zip("xyz", row, strict=False))}) for row in rows]


def test_robustness_by_hand_and_its_order():
    found = robustness(seen_of((1, 0, 1), (1, 1, 1), (0, 0, 1), (0, 1, 1)))
    assert found.variants == {"x": 0.5, "y": 0.5, "z": 1.0}
    assert (found.worst, found.worst_variant, found.mean, found.best) == (0.25, 0.5, pytest.approx(2 / 3), 1.0)
    assert (found.flips, found.independent) == (0.75, 0.25)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        rows = (torch.rand(7, 3, generator=generator) > 0.4).double().tolist()
        found = robustness(seen_of(*rows))
        assert found.worst <= found.worst_variant + 1e-12 <= found.mean + 2e-12 <= found.best + 3e-12
    alone = robustness(seen_of((1,), (0,)))
    assert alone.worst == alone.worst_variant == alone.mean == alone.best == 0.5
    for rows in ((), ((1, 0), (1,))):
        with pytest.raises(ValueError, match="questions must have the same variants"):
            robustness(seen_of(*rows))


@pytest.mark.parametrize("score_by", ["sum", "mean"])
def test_the_likeliest_answer_is_taken(score_by):
    made_ = System(wrapped("llama", vocab_size=259, max_position_embeddings=512), ByteTokenizer(), "llama")
    task = DARE(items=2, score_by=score_by)
    for example, asked in zip(task.examples("test"), made("test"), strict=False):
        observed, expected = task.score(made_, example), []
        for variant in task.variants(asked)[1:]:
            found = score(made_, [Request(variant.prompt, f" {answer}") for answer in variant.answers])
            numbers = [each.total / (len(each.ids) if score_by == "mean" else 1) for each in found]
            expected.append(float(numbers.index(max(numbers)) == variant.right))
        assert list(observed.shown["right"].values()) == expected


def test_a_guesser_is_worth_its_share():
    """Letters are all one token: no opinion counts 1 / options, and nothing flips."""
    for vary, chance in (("options", 1 / 3), ("wording", 1 / 5)):
        task = DARE(items=3, vary=vary, format="letter")
        for example in task.examples("test"):
            seen = task.score(system(), example).values
            assert seen["mean"] == pytest.approx(chance)
            assert seen["worst"] == pytest.approx(chance)
            assert seen["corrected"] == pytest.approx(0)
            assert seen["flips"] == 0


READINGS = [
    ("letter", " B.", 1),
    ("letter", "The answer is (B)", 1),
    ("letter", "B or C", None),
    ("letter", "rose", None),
    ("letter", "Z", None),
    ("text", " rose.", 1),
    ("text", "it is grass", 2),
    ("text", "rose or snow", None),
    ("text", "roses", None),
    ("text", "", None),
    ("json", '{"answer": "B"}', 1),
    ("json", 'So: {"answer":"E"} ok', 4),
    ("json", '{"answer": "Z"}', None),
    ("json", '{"answer": B}', None),
    ("json", "B", None),
    ("json", '{"a": "B"}', None),
    ("json", '{"answer": ["B"]}', None),
    ("json", '{"answer": "AB"}', None),
    ("json", '{"answer": ""}', None),
]


@pytest.mark.parametrize(("form", "text", "expected"), READINGS)
def test_written_answers_are_read(form, text, expected):
    variant = DARE(format=form).variants(ASKED)[0]
    assert read_off(variant, text) == expected


def test_written_sets_are_read_as_sets():
    none, one, two = DARE(vary="count").variants(ASKED)[1:]
    assert read_off(two, " D and B") == two.right
    assert read_off(two, "B, B, D.") == two.right
    assert read_off(two, "B") != two.right
    assert read_off(one, "B") == one.right
    assert read_off(none, "None of them") == none.right == 0
    assert read_off(none, "I cannot say") is None
    within = Answers("in", "Which?", ("sea", "the sea", "sand"), frozenset({1}))
    assert read_off(DARE(subset=2).variants(within)[0], "the sea") == 1


class Says(Uniform):
    """Goes on with one text, whatever it is asked."""

    max_positions = 2048

    def __init__(self, text):
        super().__init__(("causal", "state"))
        self.inner = wrapped("llama", vocab_size=259, max_position_embeddings=2048)
        self.said = text.encode()

    def run(self, ids, **given):
        out = self.inner.run(ids, **given)
        logits = torch.zeros_like(out.logits)
        for row, last in enumerate(ids[:, -1].tolist()):
            at = self.said.index(last) + 1 if last in self.said else 0
            logits[row, -1, self.said[at] if at < len(self.said) else 10] = 9.0
        return LMOutput(logits, out.hidden, out.state)


def test_writing():
    task = DARE(items=2, by="writing", format="letter", vary="wording", limit=4, batch_size=2)
    for example, asked in zip(task.examples("test"), made("test"), strict=False):
        observed = task.score(System(Says(" B"), ByteTokenizer(), "says"), example)
        right = DARE().variants(asked)[0].right
        assert observed.values["mean"] == float(right == 1)
        assert observed.values["unread"] == 0
    observed = task.score(System(Says(" ?"), ByteTokenizer(), "says"), task.examples("test")[0])
    assert observed.values["unread"] == 1
    assert observed.values["mean"] == 0
    assert observed.shown["text"] == "standard: not read, wording 2: not read, wording 3: not read"


def test_files_splits_and_settings(tmp_path):
    path = tmp_path / "some.jsonl"
    rows = [
        {
            "id": str(n),
            "question": f"{n}?",
            "choices": {"text": list("pqrst"), "label": list("ABCDE")},
            "answerKey": "C",
        }
        for n in range(7)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = DARE(str(path), items=4)
    assert [e.id for split in ("test", "validation") for e in task.examples(split)] == list("012345")
    assert "4?" in task.examples("validation")[0].text
    assert DARE(str(path), items=None).examples("validation") == []
    assert len(DARE().examples("test")) == 40
    with pytest.raises(ValueError, match="has 11 options; at most 10 do"):
        DARE().variants(Answers("long", "?", tuple("abcdefghijk"), frozenset({0})))
    for fields, told in (
        ({"vary": "order"}, "vary must be one of options, wording, format, count; got 'order'"),
        ({"format": "xml"}, "format must be one of text, letter, json; got 'xml'"),
        ({"by": "vote"}, "by must be 'likelihood' or 'writing', got 'vote'"),
        ({"score_by": "max"}, "score_by must be 'sum' or 'mean', got 'max'"),
        ({"items": 0}, "items must be at least 1"),
        ({"subset": 1}, "subset must be at least 2"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=told):
            DARE(**fields)
    with pytest.raises(ValueError, match="the splits are"):
        DARE().examples("train")


@pytest.mark.skipif(not CSQA.is_file(), reason="the shared data is not here")
def test_commonsense_qa():
    task = DARE(str(CSQA), items=None)
    assert len(task.questions("test")) > 1000
    sizes = [len(task.variants(one)) for one in task.questions("test")]
    assert set(sizes) == {4, 7}, "a few questions have an option twice"
    assert sizes.count(4) < 100


def test_it_can_be_written_on_a_command_line():
    words = "dare(vary='count', items=4)"
    assert build("evaluation", words) == DARE(vary="count", items=4)
    assert build("evaluation", describe(build("evaluation", words))) == build("evaluation", words)
