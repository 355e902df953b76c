import pytest

from trivium.core.errors import UnknownName
from trivium.data.named import NAMED, named


def test_a_name_a_path_and_neither(tmp_path):
    assert named("stories").name.startswith("stories-")
    path = tmp_path / "letters.txt"
    path.write_text("Dear reader")
    assert named(str(path)).name == "letters"
    with pytest.raises(UnknownName, match="did you mean 'stories'"):
        named("storys")


def test_every_name_makes_a_corpus_that_is_called_like_it():
    assert {"stories", "regbench", "mqar", "induction", "needle"} <= NAMED.keys()
    assert all(make.__name__ == name for name, make in NAMED.items())
