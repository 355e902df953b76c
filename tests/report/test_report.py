import copy
import io
import re

import pytest
from rich.console import Console

from tests.report import samples
from trivium.compare import report
from trivium.compare._report import examples, sections
from trivium.compare._report.markup import content_hash
from trivium.compare.record import example_report


def terminal(made, width=160):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(report.table(made, width))
    return console.file.getvalue()


@pytest.fixture(scope="module")
def html(pages):
    return pages("decoding").read_text(encoding="utf-8")


def test_the_page_of_the_documented_example_holds_every_part():
    page = report.page(example_report())
    for part in (
        "Which decoding is best by continuation", "contrastive_search is better than greedy in repeated 4-grams",
        "supported", "not visible at this scale", "not applicable, needs truncate", "untuned", "baseline", "lossless",
        "held equal", "64 new tokens", "cluster bootstrap, 10000 resamples", "trivium compare --again runs/decoding",
        "bits per byte on held-out text", "2026-01-01T00:00:00+00:00",
    ):  # fmt: skip
        assert part in page, part


def test_who_is_not_dominated_is_said_in_words(html):
    assert "Not dominated in mean log-probability and FLOPs, cheapest first: greedy, beam_search." in html
    assert "Rings on a dashed line" in html


def test_the_page_asks_nothing_of_the_network(html):
    without_names = re.sub(r"xmlns=(['\"]|&#39;)http://www\.w3\.org/2000/svg\1", "", html)
    assert not re.search(r"https?:|@import|url\((?!#)|\bsrc=|<link (?!rel=\"icon\" href=\"data:)", without_names)


def test_the_policy_allows_the_pages_own_script_and_style_and_no_other(html):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1].replace("&#39;", "'")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    assert len(scripts) == 1
    assert f"style-src {content_hash(style)};" in policy
    assert f"script-src {content_hash(scripts[0])};" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not re.search(r'\sstyle="|\son\w+="', html)


def test_the_page_of_a_hostile_report_can_be_written_and_holds_no_markup_of_theirs(pages):
    page = pages("hostile").read_text(encoding="utf-8")
    assert "window.injected" in page  # it is shown
    assert not re.search(r"<(img|b>bad|i>|iframe)", page)
    assert page.count("<script") == 3  # two of data, one of ours
    assert not re.search("[\ud800-\udfff]", page)
    assert "\x00" not in page


def test_a_report_without_anything_has_a_page():
    bare = {"title": "Nothing yet", "contenders": [], "measures": []}
    page = report.page(bare)
    assert "Nothing yet" in page
    assert "Examples side by side" not in page
    report.markdown(bare)
    terminal(bare)


def test_too_little_to_judge_is_said_and_no_verdict_given():
    made = example_report()
    made["smoke"] = True
    for pair in made["pairs"]:
        pair["verdict"] = None
    page, text = report.page(made), report.markdown(made)
    for shown in (page, text, terminal(made)):
        assert "Too little to judge" in shown
        assert "supported" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", shown, flags=re.DOTALL)


def test_examples_all_fit_and_nothing_is_left_out_in_a_small_run():
    made = samples.decoding()
    assert examples.kept(made) == made["examples"]
    assert "are on this page" not in sections.side_by_side(made)


def test_a_large_run_is_sampled_evenly_and_says_so(monkeypatch):
    monkeypatch.setattr(examples, "EXAMPLE_BYTES", 60_000)
    made = samples.decoding(prompts=60, seeds=2)
    kept = examples.kept(made)
    assert 0 < len(kept) < len(made["examples"])
    counts = [sum(example["group"] == group for example in kept) for group in samples.PROMPTS]
    assert max(counts) - min(counts) <= 2
    per_example = {example["id"]: sum(other["id"] == example["id"] for other in kept) for example in kept}
    assert set(per_example.values()) == {2}  # an example keeps all its seeds
    order = [made["examples"].index(example) for example in kept]
    assert order == sorted(order)
    assert f"{len(kept)} of {len(made['examples'])} are on this page" in sections.side_by_side(made)


def test_one_example_larger_than_the_page_can_hold_is_still_shown(monkeypatch):
    monkeypatch.setattr(examples, "EXAMPLE_BYTES", 10)
    assert len(examples.kept(samples.decoding(seeds=1))) == 1


def test_long_texts_are_cut_and_counted():
    made = samples.decoding(prompts=3, seeds=1)
    long = "a" * 12_000
    output = made["examples"][0]["outputs"]["speculative"]
    output.update(text=long * 2, spans=[{"kind": "accepted", "text": long}, {"kind": "plain", "text": long}])
    made["examples"][0]["prompt"] = "b" * 100_000
    item = examples.data(made)["items"][0]
    shown = item["outputs"][list(samples.CONFIGS).index("speculative")]
    assert [len(text) for _, text in shown["spans"]] == [12_000, 8_000]
    assert shown["left"] == 4_000
    assert (len(item["prompt"]), item["left"]) == (20_000, 80_000)


def test_plain_neighbours_are_joined_and_marked_ones_kept_apart():
    spans = [
        {"kind": kind, "text": text}
        for kind, text in (("plain", "a"), ("plain", "b"), ("accepted", "c"), ("accepted", "d"))
    ]
    assert examples._runs("abcd", spans) == [["plain", "ab"], ["accepted", "c"], ["accepted", "d"]]
    assert examples._runs("abcd", []) == [["plain", "abcd"]]


def test_attributions_come_as_trees_with_nothing_lost():
    made = samples.attribution()
    shown = examples.data(made)["items"][0]["outputs"][0]["fragment"]

    def count(nodes, of):
        return sum(of(node) + (count(node[3], of) if isinstance(node, list) else 0) for node in nodes)

    html = made["examples"][0]["outputs"]["occlusion"]["html"]
    assert count(shown, lambda node: isinstance(node, list) and "background" in node[2]) == html.count("background:")
    assert count(shown, lambda node: isinstance(node, list) and node[0] == "bdi") == html.count("<bdi")


def test_markdown_says_the_same_and_repeats_the_command():
    text = report.markdown(example_report())
    assert "- **supported**: contrastive\\_search is better than greedy in repeated 4-grams: −0.35" in text
    assert "| speculative | — | — | — | — | — | not applicable, needs truncate |" in text
    assert "```\ntrivium compare --again runs/decoding\n```" in text
    widths = {line.count("|") for line in text.split("## Results")[1].split("##")[0].splitlines() if "|" in line}
    assert widths == {8}


def test_hostile_strings_stay_within_their_line_of_markdown():
    text = report.markdown(samples.hostile())
    text.encode("utf-8")
    assert not re.search(r"(?<!\\)<", text.split("To repeat it:")[0])
    for section in ("Results", "Differences"):
        rows = [line for line in text.split(f"## {section}")[1].split("\n##")[0].splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    fence = re.search(r"^(`{3,})$", text.split("To repeat it:")[1], re.MULTILINE)[1]
    assert text.rstrip().endswith("\n" + fence)
    assert text.count("\n" + fence + "\n") == 2


def test_the_terminal_table_shows_numbers_intervals_verdicts_and_notes():
    shown = terminal(example_report())
    for part in (
        "contrastive_search",
        "▲ 0.050",
        "[0.020, 0.080]",
        "○ −1.40",
        "not applicable",
        "untuned",
        "Held equal: 64 new tokens",
    ):
        assert part in shown, part


def test_the_terminal_obeys_nothing_in_a_hostile_report():
    made = samples.hostile()
    made["title"] = "[bold red]not markup[/] \x1b[31m"
    shown = terminal(made)
    assert "[bold red]not markup[/] ␛[31m" in shown
    assert not re.search("[\x00-\x09\x0b-\x1f\u202a-\u202e\ud800-\udfff]", shown)


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_the_terminal_table_fits_and_says_what_it_left_out(width):
    shown = terminal(samples.decoding(prompts=3), width)
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in shown
    assert "mean" in shown
    assert ("On the page also:" in shown) == (width < 140)
    assert "contrastive_search" in shown


def test_drawing_changes_nothing_in_the_report():
    made = samples.attribution()
    before = copy.deepcopy(made)
    report.page(made)
    report.markdown(made)
    report.table(made)
    assert made == before
