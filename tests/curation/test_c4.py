"""C4's lines and pages, in two readings that differ over a brace in a line that falls anyway."""

import json
from pathlib import Path

import pytest

from trivium.curation.c4 import C4
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.quality_rules import kept_lines

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "quality_rules.json"
GOOD = "\n".join(f"This is sentence number {n}, and it ends well." for n in range(6))


def made(text: str, **given):
    return curated(C4(**given), Texts(["d"], [text], ["s"]))


@pytest.mark.parametrize("variant", ["paper", "datatrove"])
def test_lines_are_cut_as_the_published_rules_cut_them(variant):
    text = f"{GOOD}\nMenu | Home\nToo short.\nPlease turn on Javascript now.\n{GOOD}"
    found = made(text, variant=variant)
    assert found.texts.texts[0] == f"{GOOD}\n{GOOD}"
    assert found.texts.texts[0] == kept_lines(text, {"paper": "c4", "datatrove": "c4_datatrove"}[variant])


def test_a_line_break_of_two_characters_goes_with_its_line():
    assert made(GOOD.replace("\n", "\r\n") + "\r\nno end\r\n" + GOOD).texts.texts[0].count("\r\n") == 6


@pytest.mark.parametrize(
    ("text", "variant", "dropped"),
    [
        (GOOD, "paper", {}),
        (f"{GOOD}\nif (x) {{", "paper", {"c4.curly_brace": 1}),
        (f"{GOOD}\nif (x) {{", "datatrove", {}),
        (f"{GOOD}\nThis is a {'{'} that ends well.", "datatrove", {"c4.curly_brace": 1}),
        (f"{GOOD}\nLorem ipsum dolor sit amet.", "paper", {"c4.lorem_ipsum": 1}),
        ("\n".join(GOOD.splitlines()[:4]), "paper", {"c4.sentences": 1}),
        ("", "paper", {"c4.sentences": 1}),
    ],
)
def test_pages(text, variant, dropped):
    assert made(text, variant=variant).counts.dropped == dropped


def test_settings():
    assert made("\n".join(GOOD.splitlines()[:3]), least_sentences=3).counts.kept == 1
    assert made(f"{GOOD}\nA darn bad thing was said here.", bad_words=("darn",)).counts.dropped == {"c4.bad_words": 1}
    assert made(f"{GOOD}\nA darned good thing was said here.", bad_words=("darn",)).counts.kept == 1
    for wrong, said in (
        ({"variant": "c4"}, "variant must be one of paper, datatrove, dolma_v1, dolma_v2"),
        ({"least_sentences": -1}, "least_sentences must be at least 0"),
        ({"bad_words": ("Darn",)}, "small letters"),
        ({"bad_words": ("darn",), "variant": "datatrove"}, "has no rule about bad_words"),
    ):
        with pytest.raises(ValueError, match=said):
            C4(**wrong)


@pytest.mark.parametrize("variant", ["paper", "datatrove", "dolma_v1", "dolma_v2"])
def test_without_a_list_there_is_no_rule_about_bad_words(variant):
    for given, there in (({}, False), ({"bad_words": ("darn",)}, variant != "datatrove")):
        if given and not there:
            continue
        method = C4(variant, **given)
        named = {*method.measures, *(drop.name for drop in method.rules.drops)}
        assert any("bad_words" in name or "naughty" in name for name in named) is there


@pytest.mark.parametrize("variant", ["dolma_v1", "dolma_v2"])
def test_dolma_cuts_lines_without_an_end_mark_and_measures_the_rest(variant):
    text = "Menu | Home\nToo short.\nSee loadJavascript() for {x}, please.\nno end, a darn thing\n🙂 It ends well."
    found = made(text, variant=variant, bad_words=("darn", "bad thing"))
    assert found.texts.texts == ["Too short.\nSee loadJavascript() for {x}, please.\n🙂 It ends well."]
    spans = found.marks.spans["c4.lines_with_too_few_words"][0]
    assert [text[a:b] for a, b, _ in spans] == ["Too short.\n"]
    assert {name.removeprefix("c4."): column[0] for name, column in found.marks.numbers.items()} == {
        "line_count": 5, "has_curly_brace": 1, "has_lorem_ipsum": 0, "has_naughty_word": 1,
        "has_javascript": variant == "dolma_v2",
    }  # fmt: skip


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_dolma_s_code_finds_the_same(version):
    if not VECTORS.exists():
        pytest.skip("the parity vectors are not there")
    for document in json.loads(VECTORS.read_text(encoding="utf-8"))["documents"]:
        (found,) = [C4(f"dolma_{version}").tag(Texts(["d"], [document["text"]], ["s"]))]
        mine = [[name, *span] for name, (row,) in found.spans.items() for span in row]
        theirs = document["dolma"][f"c4_{version}"]
        assert sorted(mine) == sorted(span for span in theirs if span[0] in found.spans)
        for name, (value,) in found.numbers.items():
            assert value == next((span[3] for span in theirs if span[0] == name), 0.0)


def test_datatrove_s_code_keeps_and_drops_the_same():
    if not VECTORS.exists():
        pytest.skip("the parity vectors are not there")
    for document in json.loads(VECTORS.read_text(encoding="utf-8"))["documents"]:
        kept, reason, *_ = document["datatrove"]["c4"]
        assert reason in (None, "too_few_sentences")
        dropped = made(document["text"], variant="datatrove").counts.dropped
        assert dropped == ({} if kept else {"c4.sentences": 1})
