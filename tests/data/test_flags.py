import pytest

from trivium.data.flags import flags


def test_flags_are_read_and_taken_out():
    assert flags("def f(x): [Flag: smallest model]") == ("def f(x):", {"size": 1.0})
    assert flags("[flag: Smallest Model] What? [Flag: size 0.25]", 2.0) == ("What?", {"size": 2.25})
    assert flags("Fix this [Flag: age=0.5]\nnow [1]") == ("Fix this\nnow [1]", {"age": 0.5})
    assert flags(" plain ") == ("plain", {})


def test_flags_that_cannot_be_read():
    with pytest.raises(ValueError, match="the flag 'best model' cannot be read; write one of smallest model"):
        flags("x [Flag: best model]")
    with pytest.raises(ValueError, match="negative weight"):
        flags("x [Flag: size -1]")
