import json
import os
import textwrap

import pytest

from trivium.compare import claim as module
from trivium.compare.claim import Claim, ClaimResult, judge, list_claims, load_claim, recorded, run_claim
from trivium.core.errors import UnknownMethod

SOURCE = """
from claims._shared import HALF
from trivium.compare.claim import Claim, judge

def run(bar):
    bar.advance(1)
    return judge([0.4, 0.45, HALF], note="small", seen={"inf": float("inf")})

claim = Claim(statement="it helps", paper="a lot", rule="judge", run=run)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A current directory with claims, and a package that is not beside any."""
    monkeypatch.setattr(module, "__file__", str(tmp_path / "site-packages" / "trivium" / "compare" / "claim.py"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "claims" / "decoding"
    folder.mkdir(parents=True)
    (folder / "good.py").write_text(SOURCE)
    (folder / "_helper.py").write_text("")
    (tmp_path / "claims" / "_shared.py").write_text("HALF = 0.5\n")
    return tmp_path


def test_a_claim_is_run_and_recorded(checkout):
    record = run_claim("decoding/good")
    assert (
        json.loads((checkout / "claims/results/decoding/good.json").read_text()) == record == recorded("decoding/good")
    )
    assert (record["claim"], record["statement"], record["verdict"]) == ("decoding/good", "it helps", "supported")
    assert record["figures"]["difference"] == pytest.approx(0.45)
    assert record["figures"]["seen"] == {"inf": "inf"}
    assert record["note"] == "small"
    assert {"made", "versions", "commit", "machine"} <= set(record["provenance"])


def test_claims_are_listed_and_names_are_corrected(checkout):
    assert list_claims() == ("decoding/good",)
    run_claim("decoding/good")
    assert list_claims() == ("decoding/good",)  # results are no claims
    with pytest.raises(UnknownMethod, match="no claim 'decoding/god'; did you mean 'decoding/good'"):
        run_claim("decoding/god")


def test_a_claim_that_fails_leaves_the_recorded_result(checkout):
    run_claim("decoding/good")
    before = (checkout / "claims/results/decoding/good.json").read_bytes()
    (checkout / "claims/decoding/good.py").write_text(
        SOURCE.replace("return judge", "raise ValueError('no'); return judge")
    )
    with pytest.raises(ValueError, match="no"):
        run_claim("decoding/good")
    assert (checkout / "claims/results/decoding/good.json").read_bytes() == before
    assert [path.name for path in (checkout / "claims/results/decoding").iterdir()] == ["good.json"]


def test_what_is_no_claim_is_named(checkout):
    (checkout / "claims/decoding/bad.py").write_text("claim = 3\n")
    with pytest.raises(TypeError, match=r"claims/decoding/bad.py must end with claim = Claim\(...\), it has int"):
        load_claim("decoding/bad")
    (checkout / "claims/decoding/bad.py").write_text(
        textwrap.dedent("""
        from trivium.compare.claim import Claim
        claim = Claim("a", "b", "c", lambda bar: "supported")
        """)
    )
    with pytest.raises(TypeError, match="must return a ClaimResult, it returned str"):
        run_claim("decoding/bad")


def test_a_place_that_cannot_be_written_is_found_out_before_the_work(checkout):
    (checkout / "claims/results").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="results"):
        run_claim("decoding/good")


def test_from_an_installed_package_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "__file__", str(tmp_path / "trivium" / "compare" / "claim.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="run this from a checkout"):
        list_claims()


@pytest.mark.parametrize(
    ("differences", "more_than", "verdict"),
    [
        ([1.0, 1.1, 0.9], 0.0, "supported"),
        ([-1.0, -1.1, -0.9], 0.0, "contradicted"),
        ([1.0, -1.0, 0.5], 0.0, "not visible at this scale"),
        ([1.0, 1.1, 0.9], 2.0, "contradicted"),
        ([1.0, 1.0], 0.0, "not visible at this scale"),  # two seeds judge nothing
        ([0.0, 0.0, 0.0], 0.0, "not visible at this scale"),
    ],
)
def test_the_usual_rule(differences, more_than, verdict):
    assert judge(differences, more_than=more_than).verdict == verdict


def test_bad_results_are_refused():
    with pytest.raises(ValueError, match="a verdict is one of supported, contradicted, not visible"):
        ClaimResult("proved")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        judge([1.0, float("nan")])


@pytest.mark.parametrize("path", list_claims() if os.path.isdir("claims") else [])
def test_every_claim_of_the_repository_can_be_run(path):
    claim = load_claim(path)
    assert isinstance(claim, Claim)
    assert claim.statement
    assert claim.rule
    assert callable(claim.run)
