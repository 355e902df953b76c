"""Suites of languages: of treebanks where they are, else of sentences of our own."""

import pytest

from trivium.compare import batteries
from trivium.evaluation.languages import Languages


def test_sentences_of_our_own():
    assert dict(batteries.battery("norwegian")) == {"norwegian": Languages("norwegian")}
    found = dict(batteries.battery("languages"))
    assert list(found) == ["english", "french", "spanish", "norwegian", "ancient greek", "arabic"]
    assert found["ancient greek"] == Languages("ancient_greek")


def test_treebanks_in_a_folder(tmp_path):
    folder = tmp_path / "ud"
    folder.mkdir()
    for name in batteries.TREEBANKS.values():
        (folder / f"{name}-ud-dev.conllu").write_text("# text = Oui\n1\tOui" + "\t_" * 8 + "\n")
    found = dict(batteries.battery("languages", tmp_path))
    assert list(found) == ["english", "french", "spanish", "norwegian", "ancient greek"]
    assert [one.text for one in found["french"].sentences("test")] == ["Oui"]
    assert found["french"].path.endswith("fr_gsd-ud-dev.conllu")
    (folder / "fr_gsd-ud-dev.conllu").unlink()
    with pytest.raises(ValueError, match=r"fr_gsd-ud-dev.conllu is not there; leave data out"):
        batteries.battery("french", tmp_path)
