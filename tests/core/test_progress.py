import io

from trivium.core.progress import progress
from trivium.core.provenance import provenance


def test_the_bar_is_silent_without_a_terminal(capsys):
    with progress("work", 3) as bar:
        bar.advance()
        bar.note("x")
    assert bar.done == 1
    assert capsys.readouterr() == ("", "")


def test_the_bar_shows_what_remains(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    with progress("work", 2, show=True) as bar:
        bar.advance(note="half")
        bar.advance(note="all")
    assert "work" in out.getvalue()
    assert "2/2" in out.getvalue()


def test_provenance_names_versions_machine_and_facts_but_no_path():
    facts = provenance(seeds=[1, 2])
    assert facts["seeds"] == [1, 2]
    assert facts["versions"]["torch"]
    assert facts["machine"]["threads"] == 1
    assert "/" not in str(facts["machine"]["processor"])
