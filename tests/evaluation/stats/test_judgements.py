import json

import pytest

from trivium.evaluation.stats.judgements import Judgement, both_orders, read, systems


def test_a_file_is_read(tmp_path):
    path = tmp_path / "records.jsonl"
    lines = [
        {"prompt": 7, "a": "x", "b": "y", "outcome": "a", "judge": "ann", "first": "b", "time": 3, "length_a": 5,
         "length_b": 9, "comment": "kept out"},
        {"prompt": "q", "a": "x", "b": "z", "outcome": "both_bad", "judge": None},
    ]  # fmt: skip
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert read(path) == [
        Judgement("7", "x", "y", "a", "ann", "b", 3.0, 5.0, 9.0),
        Judgement("q", "x", "z", "both_bad"),
    ]
    assert systems(read(path)) == ("x", "y", "z")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "p", "a": "x", "b": "x", "outcome": "a"}', "line 2: prompt 'p' sets 'x' against itself"),
        ('{"prompt": "p", "a": "x", "b": "y", "outcome": "A"}', "line 2: an outcome is one of a, b, tie, both_bad"),
        ('{"prompt": "p", "a": "x", "b": "y", "outcome": "a", "first": "x"}', "line 2: first is"),
        ('{"prompt": "p", "a": "x"}', "line 2: there is no b and no outcome"),
        ('{"prompt": "p", "a": "x", "b": "y", "outcome": "a", "time": "noon"}', "line 2: could not convert"),
        ("[1]", "line 2: a judgement is an object"),
        ("nonsense", "line 2: Expecting value"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, line, message):
    path = tmp_path / "records.jsonl"
    path.write_text('{"prompt": "p", "a": "x", "b": "y", "outcome": "a"}\n' + line)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(ValueError, match="holds no judgement"):
        read(tmp_path / "none.jsonl")


def test_credit_and_mirror():
    one = Judgement("p", "x", "y", "a", "ann", "a", 1.0, 5.0, 9.0)
    assert one.mirrored == Judgement("p", "y", "x", "b", "ann", "b", 1.0, 9.0, 5.0)
    assert one.mirrored.mirrored == one
    assert one.credit == 1.0
    assert [Judgement("p", "x", "y", outcome).credit for outcome in ("b", "tie", "both_bad")] == [0.0, 0.5, 0.5]


def test_orders_that_disagree_are_a_tie():
    likes_first = [Judgement("p", "x", "y", "a", "m", "a"), Judgement("p", "y", "x", "a", "m", "a")]
    assert both_orders(likes_first) == [Judgement("p", "x", "y", "tie", "m")]
    likes_x = [Judgement("p", "x", "y", "a", "m", "a"), Judgement("p", "y", "x", "b", "m", "a")]
    assert both_orders(likes_x) == [Judgement("p", "x", "y", "a", "m")]
    bad = [Judgement("p", "x", "y", "both_bad", "m", "a"), Judgement("p", "x", "y", "both_bad", "m", "b")]
    assert both_orders(bad) == [Judgement("p", "x", "y", "both_bad", "m")]


def test_other_judges_prompts_and_single_orders_stay():
    alone = [
        Judgement("p", "x", "y", "a", "m", "a"),
        Judgement("p", "x", "y", "b", "n", "b"),
        Judgement("q", "x", "y", "b", "m", "b"),
        Judgement("r", "x", "y", "a", "m"),
        Judgement("r", "x", "y", "b", "m"),
    ]
    assert both_orders(alone) == alone
