import pytest

from trivium.core.errors import MissingExtra, UnknownName, did_you_mean
from trivium.core.optional import require


def test_a_near_miss_is_named():
    assert did_you_mean("minp", ["min_p", "top_p"]) == "; did you mean 'min_p'?"
    assert did_you_mean("Contrastive-Search", ["contrastive_search"]) == "; did you mean 'contrastive_search'?"


def test_a_far_miss_lists_what_is_there():
    assert did_you_mean("zzz", ["b", "a"]) == "; there are a, b"
    assert did_you_mean("zzz", []) == "; there are none"
    assert did_you_mean("zzz", [f"name{i:02d}x" for i in range(40)]).endswith("and 16 more")


def test_unknown_name_prints_its_sentence_unquoted():
    assert str(UnknownName("no such thing")) == "no such thing"


def test_a_missing_extra_says_how_to_install_it():
    with pytest.raises(MissingExtra, match=r"pip install 'trivium\[moon\]'"):
        require("no_such_package_at_all", extra="moon", why="a test")
    assert require("json", extra="none", why="a test").dumps(1) == "1"
