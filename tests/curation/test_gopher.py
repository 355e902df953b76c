"""Gopher's rules as a method: decisions of the published code, bounds at their edges, numbers that are missing."""

import json
from pathlib import Path

import numpy as np
import pytest

from trivium.curation.gopher import Gopher
from trivium.data.curating import curated
from trivium.data.marks import Marks, Texts
from trivium.data.quality_rules import measure

GOOD = " ".join(f"the sea and a hill that we have by {word}" for word in "abcdefghij")
VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "quality_rules.json"
REASONS = {  # datatrove's own names
    "gopher_short_doc": "n_non_symbol_words",
    "gopher_too_many_bullets": "bullet_line_ratio",
    "gopher_below_alpha_threshold": "alpha_word_ratio",
    "gopher_too_many_end_ellipsis": "ellipsis_line_ratio",
    "gopher_too_many_hashes": "hash_ratio",
}
REPETITION = ("dup_", "top_", "duplicated_")


@pytest.fixture(scope="module")
def documents():
    if not VECTORS.exists():
        pytest.skip("the parity vectors are not there")
    return json.loads(VECTORS.read_text(encoding="utf-8"))["documents"]


def one(text: str) -> Texts:
    return Texts(["d"], [text], ["s"])


def fired(method: Gopher, numbers) -> list[str]:
    """The rules that drop a document of which these numbers are known, by what they are about."""
    marks = Marks(1, {f"gopher.{name}": np.array([numbers.get(name, np.nan)]) for name in method.measures})
    return [name.removeprefix("gopher.") for name, count in method.rules.decide(marks).alone.items() if count]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_dolma_s_code_drops_the_same_for_the_same_reasons(documents, version):
    for document in documents:
        found = curated(Gopher(f"dolma_{version}"), one(document["text"])).decided
        reasons = [name.removeprefix("gopher.") for name, count in found.alone.items() if count]
        assert reasons == document["dolma"][f"gopher_{version}"]["drop_rules"]
        assert found.reason[0] == (f"gopher.{reasons[0]}" if reasons else "")


def test_datatrove_s_code_drops_the_same_for_the_same_reasons(documents):
    """With its own words, which those of ``Gopher.words`` stand for."""
    for document in documents:
        theirs = document["datatrove"]
        reasons = fired(
            Gopher("datatrove"), measure(document["text"], "gopher_datatrove", words=theirs["words"]).numbers
        )
        repetition = [name for name in reasons if name.startswith(REPETITION)]
        quality = [name for name in reasons if not name.startswith(REPETITION)]
        for part, ours in (("quality", quality), ("repetition", repetition)):
            kept, reason = theirs[part]
            if kept != "error":
                assert ours[:1] == ([] if kept else [REASONS.get(reason, reason)])
        for name, (kept, _) in theirs["repetition_single"].items():
            if kept != "error":
                assert (name not in repetition) == kept


@pytest.mark.parametrize(
    ("name", "at", "beyond"),
    [("word_count", 50, 49), ("word_count", 100_000, 100_001), ("median_word_length", 10, 10.5),
     ("symbol_to_word_ratio", 0.1, 0.11), ("required_word_count", 2, 1),
     ("fraction_of_characters_in_most_common_3grams", 0.18, 0.19),
     ("fraction_of_characters_in_duplicate_10grams", 0.1, 0.11)],
)  # fmt: skip
def test_a_number_at_the_bound_stays(name, at, beyond):
    assert fired(Gopher(), {name: at}) == []
    assert fired(Gopher(), {name: beyond}) == [name]


def test_of_datatrove_by_hand():
    text = "• one... #\n  - the be…\n\n\nthe the\n\nthe the"
    words = ["•", "one", "...", "#", "-", "the", "be", "…", "the", "the", "the", "the"]
    reasons = fired(Gopher("datatrove"), measure(text, "gopher_datatrove", words=words).numbers)
    assert [name for name in reasons if not name.startswith(REPETITION)] == [
        "n_non_symbol_words", "mean_non_symbol_word_length", "ellipsis_ratio", "alpha_word_ratio"
    ]  # fmt: skip


@pytest.mark.parametrize("variant", ["dolma_v1", "dolma_v2", "datatrove"])
def test_texts_good_and_bad(variant):
    few = {"datatrove": "n_non_symbol_words"}.get(variant, "word_count")
    for text in ("few words", ""):
        assert curated(Gopher(variant), one(text)).decided.reason[0] == f"gopher.{few}"
    symbols = {"datatrove": "hash_ratio"}.get(variant, "symbol_to_word_ratio")
    assert curated(Gopher(variant), one("# " * 80)).decided.alone[f"gopher.{symbols}"] == 1


def test_a_number_that_a_short_text_lacks_drops_nothing():
    found = curated(Gopher(), one("two words"))
    lacks = found.marks.numbers["gopher.fraction_of_characters_in_duplicate_5grams"]
    assert np.isnan(lacks[0])
    assert "gopher.fraction_of_characters_in_duplicate_5grams" not in found.counts.dropped


def test_unknown_variant():
    with pytest.raises(ValueError, match="variant must be one of dolma_v1, dolma_v2, datatrove; got 'gopher'"):
        Gopher("gopher")  # type: ignore[arg-type]
