import pytest

from trivium.data import scenes
from trivium.data.perturbations import named


def test_scenes():
    test, validation = scenes.made("test"), scenes.made("validation")
    assert (len(test), len(validation)) == (42, 18)
    assert not {one.question for one in test} & {one.question for one in validation}
    assert len({one.id for one in (*test, *validation)}) == 60
    assert len({one.group for one in test[:6]}) == 6
    for one in test:
        right = one.options[one.answer]
        assert right.removeprefix("the ") in one.question
        assert len(set(one.options)) == 4
        assert one.question.endswith("\nAnswer:")
    assert {one.answer for one in test} == {0, 1, 2, 3}


def test_everybody_can_be_renamed():
    assert all(named("names")(one.question).changed for one in scenes.made("test"))
    assert any(named("gender")(one.question).changed for one in scenes.made("test"))


def test_beginnings():
    found = scenes.beginnings("test")
    assert len(found) == 48
    assert all(who in text for _, who, text in found)
    assert scenes.beginnings("validation") == ()
    with pytest.raises(ValueError, match="the splits are"):
        scenes.made("train")
