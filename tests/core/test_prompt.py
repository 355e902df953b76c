"""Plans of structured prompts, by hand."""

import pytest
import torch

from trivium.core.prompt import Parts, PromptPlan, Question, pack, positions_of, segments

A, S1, S2, C = [1, 2], [5], [6, 7, 8], [9, 3]


def test_positions_and_mask_by_hand():
    plan = PromptPlan.of([A, [S1, S2], C], canonical=False)
    assert plan.ids.tolist() == [1, 2, 5, 6, 7, 8, 9, 3]
    assert plan.positions.tolist() == [0, 1, 2, 2, 3, 4, 5, 6]  # the suffix begins behind the longest part
    assert plan.end == 7
    assert plan.visible.int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 1, 0, 0, 0, 0],
        [1, 1, 0, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]
    assert plan.spans == ((slice(2, 3), slice(3, 6)),)
    assert not plan.plain


def test_several_sets_each_see_what_comes_before():
    plan = PromptPlan.of([[S2, S1], A, [S1, S1, A], C])
    assert plan.positions.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 5, 5, 7, 8]
    later = plan.spans[1][0].start
    assert plan.visible[later, :6].all()  # a later set sees every part of an earlier one


def test_canonical_order_forgets_the_order_and_spans_tell_it():
    one, other = PromptPlan.of([A, [S2, S1, [5, 1]], C]), PromptPlan.of([A, [S1, [5, 1], S2], C])
    assert torch.equal(one.ids, other.ids)
    assert torch.equal(one.visible, other.visible)
    for plan, parts in ((one, [S2, S1, [5, 1]]), (other, [S1, [5, 1], S2])):
        assert [plan.ids[span].tolist() for span in plan.spans[0]] == parts
    given = PromptPlan.of([A, [S2, S1], C], canonical=False)
    assert given.ids.tolist() == [1, 2, 6, 7, 8, 5, 9, 3]


def test_one_part_is_ordinary_text():
    plan, flat = PromptPlan.of([A, [S2], C]), PromptPlan.flat([A, [S2], C])
    assert plan.plain
    assert plan.mask is None
    assert torch.equal(plan.ids, flat.ids)
    assert torch.equal(plan.positions, flat.positions)
    assert PromptPlan.flat([A, [S2, S1], C]).ids.tolist() == [1, 2, 6, 7, 8, 5, 9, 3]


def test_padded_parts_stand_as_unpadded_ones_do():
    plan = PromptPlan.of([A, [S1, S2], C], padded=True, pad=4)
    assert plan.ids.tolist() == [1, 2, 5, 4, 4, 6, 7, 8, 9, 3]
    real = plan.visible.diagonal()
    assert real.tolist() == [True] * 3 + [False] * 2 + [True] * 5
    assert not plan.visible[:, ~real].any()
    assert not plan.visible[~real].any()
    assert plan.positions[real].tolist() == PromptPlan.of([A, [S1, S2], C]).positions.tolist()


@pytest.mark.parametrize("canonical", [True, False])
def test_positions_follow_from_the_mask(canonical):
    plans = [
        PromptPlan.of([A, [S1, S2, C], C, [S2, A], S1], canonical=canonical),
        PromptPlan.of([[S2, S1, [4, 4, 4, 4]]], canonical=canonical),
        PromptPlan.flat([A, C]),
        PromptPlan.of([A, [S2, S1], C], canonical=canonical),
    ]
    ids, mask = pack(plans)
    where = positions_of(mask[:, 0])
    for row, plan in enumerate(plans):
        assert where[row, -len(plan) :].tolist() == plan.positions.tolist()
        assert ids[row, -len(plan) :].tolist() == plan.ids.tolist()
        assert not where[row, : -len(plan)].any()


def test_ordinary_text_of_one_length_packs_without_a_mask():
    assert pack([PromptPlan.flat([A]), PromptPlan.flat([C])])[1] is None
    assert pack([PromptPlan.flat([A]), PromptPlan.flat([S1])])[1] is not None
    with pytest.raises(ValueError, match="no prompt"):
        pack([])


def test_marked_text():
    found = segments("Which? [[ a|| b]] and [[x]] Answer:")
    assert found == ("Which? ", Parts(" a", " b"), " and ", Parts("x"), " Answer:")
    assert segments("<1|2>3", start="<", split="|", end=">") == (Parts("1", "2"), "3")
    assert Question(found).text == "Which?  a b and x Answer:"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a [[b||c", "has no ']]'"),
        ("a b||c]] d", "has not opened"),
        ("a [[b]] c]] d", "has not opened"),
        ("a [[b||[[c]] d]]", "has no ']]'; close it before another begins"),
        ("a [[b||]] c", "part 1 of 2 is empty"),
        ("a [[]] c", "part 0 of 1 is empty"),
    ],
)
def test_bad_marks_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        segments(text)


def test_bad_sets_are_refused():
    with pytest.raises(ValueError, match="set of parts is empty"):
        Parts()
    with pytest.raises(TypeError, match="cannot be nested"):
        Parts("a", Parts("b"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be nested"):
        PromptPlan.of([A, [S1, [S2]], C])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="part 1 of 2 of a set has no tokens"):
        PromptPlan.of([A, [S1, []], C])
    with pytest.raises(ValueError, match="no tokens"):
        PromptPlan.of([A, [], C])
    for make in (PromptPlan.of, PromptPlan.flat):
        with pytest.raises(ValueError, match="prompt is empty"):
            make([])
