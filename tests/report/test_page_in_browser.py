"""The page in headless Chromium: what a reader sees, does, and must not come to harm by."""

import itertools
import re

import pytest

from tests.report import samples
from trivium.compare import report
from trivium.compare._report import sections

PAGES = ("decoding", "training", "attribution", "hostile")
CONTRAST = """
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a] = rgba(getComputedStyle(at).backgroundColor);
      if (a > 0.5) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const low = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.checkVisibility({ visibilityProperty: true })) continue;
    if (node.closest("script, style, noscript, title, option")) continue;
    const style = getComputedStyle(node);
    const ink = rgba(node.namespaceURI.endsWith("svg") ? style.fill : style.color);
    const paper = behind(node);
    if (node.matches("svg text") && ink.slice(0, 3).join() === paper.join()) continue; // the halo of a text
    const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
    seen += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) low.push([walker.currentNode.data.slice(0, 40), style.color, paper.join()]);
  }
  return { seen, low };
}
"""


class Visit:
    """One open page and everything that went wrong on it."""

    def __init__(self, browser, path, *, width=1280, **context):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._asked)
        self.own = path.as_uri()
        self.page.goto(self.own)

    def _asked(self, request):
        if request.url != self.own and not request.url.startswith("data:image/svg+xml,"):
            self.wrong.append(f"request: {request.url[:100]}")

    def overflow(self):
        """How far the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def column(self, index):
        """The numbers of a column of the results, top to bottom."""
        cells = self.page.locator(f".results tbody tr:visible > :nth-child({index + 1}) .main")
        return [float(re.sub(r"[▲▼○ ]", "", cell).replace("−", "-")) for cell in cells.all_inner_texts()]

    def names(self):
        return self.page.locator(".results tbody tr:visible .name bdi").all_inner_texts()


@pytest.fixture
def visit(browser, pages):
    opened = []

    def go(name, **options):
        opened.append(Visit(browser, pages(name), **options))
        return opened[-1]

    yield go
    for one in opened:
        one.context.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_loads_quietly_and_fits_the_window(visit, name, width):
    seen = visit(name, width=width)
    assert seen.wrong == []
    assert seen.overflow() <= 0
    assert seen.page.locator("h1").is_visible()
    charts = seen.page.locator(".pane svg:visible")
    assert charts.count() >= 1
    for i in range(charts.count()):
        assert charts.nth(i).bounding_box()["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["decoding", "training", "hostile"])
def test_every_text_is_readable_on_what_is_behind_it(visit, name, scheme):
    seen = visit(name, color_scheme=scheme)
    seen.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    found = seen.page.evaluate(CONTRAST)
    assert found["seen"] > 150
    assert found["low"] == []


def test_the_theme_follows_the_system_and_the_switch_overrules_it(visit):
    seen = visit("decoding", color_scheme="dark")
    paper = lambda: seen.page.evaluate("getComputedStyle(document.body).backgroundColor")  # noqa: E731
    assert paper() == "rgb(20, 24, 30)"
    seen.page.click("#theme")
    assert (paper(), seen.page.inner_text("#theme")) == ("rgb(254, 254, 254)", "Theme: light")
    label = seen.page.locator("#tradeoff svg:visible text", has_text="sampling").last
    assert label.evaluate("node => getComputedStyle(node).fill") == "rgb(10, 98, 196)"
    seen.page.click("#theme")
    assert paper() == "rgb(20, 24, 30)"
    assert label.evaluate("node => getComputedStyle(node).fill") == "rgb(108, 178, 255)"
    seen.page.click("#theme")
    assert seen.page.inner_text("#theme") == "Theme: auto"


def test_sorting_goes_best_first_then_worst_then_back(visit):
    seen = visit("decoding")
    before = seen.names()
    head = seen.page.locator(".results thead th[aria-sort]").nth(2)
    button = head.locator("button")
    button.click()
    values = seen.column(2)
    assert len(values) == len(samples.QUALITY)
    assert (values, head.get_attribute("aria-sort")) == (sorted(values), "ascending")  # lower is better
    button.click()
    values = seen.column(2)
    assert (values, head.get_attribute("aria-sort")) == (sorted(values, reverse=True), "descending")
    assert seen.names()[-1] == "mirostat"  # what has no number stays last
    button.click()
    assert (seen.names(), head.get_attribute("aria-sort")) == (before, "none")


def test_sorting_by_another_column_takes_over_and_is_announced(visit):
    seen = visit("decoding")
    heads = seen.page.locator(".results thead th[aria-sort]")
    heads.nth(1).locator("button").click()
    seconds = heads.filter(has_text="seconds")
    seconds.locator("button").click()
    assert heads.nth(1).get_attribute("aria-sort") == "none"
    assert seen.names()[0] == "speculative"
    assert seen.page.inner_text("#said") == "sorted by seconds, ascending"
    heads.nth(0).locator("button").click()
    assert seen.names() == sorted(samples.CONFIGS)


def test_minor_costs_are_one_click_away_with_or_without_script(visit):
    for javascript in (True, False):
        seen = visit("decoding", java_script_enabled=javascript)
        memory = seen.page.locator(".results thead th", has_text="peak memory")
        assert not memory.is_visible()
        seen.page.locator("#every").check()
        assert memory.is_visible()
        assert seen.page.locator(".results tbody td.minor:visible").count() == 2 * len(samples.QUALITY)


def test_sorting_works_from_the_keyboard(visit):
    seen = visit("decoding")
    button = seen.page.locator(".results thead button").nth(1)
    button.focus()
    assert button.evaluate("node => getComputedStyle(node).outlineStyle") in ("solid", "auto")
    seen.page.keyboard.press("Enter")
    assert seen.names()[0] == "beam_search"


def test_a_contender_that_is_switched_off_leaves_tables_and_examples_and_fades_in_charts(visit):
    seen = visit("decoding")
    page = seen.page
    assert page.locator("#stage h3:visible").count() == len(samples.QUALITY) + 1  # and the prompt's
    page.locator(".chips label", has_text="beam_search").click()
    assert "beam_search" not in seen.names()
    assert page.locator("#kinds th:visible", has_text="beam_search").count() == 0
    assert page.locator("#contenders h3:visible", has_text="beam_search").count() == 0
    assert page.locator("#stage h3:visible", has_text="beam_search").count() == 0
    faded = page.locator(".pane svg:visible .off")
    assert faded.count() >= 6  # in both charts: intervals, marker, name, halo
    assert float(faded.first.evaluate("node => getComputedStyle(node).opacity")) < 0.2
    assert page.locator("#tradeoff svg:visible text:not(.off)", has_text="sampling").count() >= 1
    page.click("#next")
    assert page.locator("#stage h3:visible", has_text="beam_search").count() == 0  # also in the next example
    page.click("#all")
    assert seen.names() == list(samples.CONFIGS)
    assert page.locator(".off").count() == 0


def test_filtering_works_from_the_keyboard(visit):
    seen = visit("decoding")
    seen.page.locator(".chips input").first.focus()
    seen.page.keyboard.press("Space")
    assert "greedy" not in seen.names()
    assert seen.page.inner_text("#said") == "7 of 8 contenders shown"


@pytest.mark.parametrize("javascript", [True, False])
def test_charts_are_chosen_by_radio_buttons_with_or_without_script(visit, javascript):
    seen = visit("decoding", java_script_enabled=javascript)
    shown = lambda: seen.page.locator("#tradeoff svg:visible").get_attribute("aria-label")  # noqa: E731
    assert shown().startswith("FLOPs against mean log-probability")
    seen.page.locator("#tradeoff label", has_text="model calls").click()
    assert shown().startswith("model calls against mean log-probability")
    seen.page.locator("#tradeoff label", has_text="repeated 4-grams").click()
    seen.page.keyboard.press("ArrowLeft")
    seen.page.locator("#tradeoff label", has_text="seconds").click()
    assert shown().startswith("seconds against mean log-probability")
    assert seen.page.locator("#tradeoff svg:visible").count() == 1


def test_without_script_findings_tables_and_charts_are_there_and_the_rest_is_explained(visit):
    seen = visit("decoding", java_script_enabled=False)
    assert seen.names() == list(samples.CONFIGS)
    assert seen.page.locator("#findings li:visible").count() == 6
    assert seen.page.locator(".pane svg:visible").count() == 2
    assert "needs a script, which is off" in seen.page.inner_text("noscript .notice")
    assert seen.page.locator(".scripted:visible").count() == 0


def test_examples_are_chosen_by_kind_example_and_seed(visit):
    seen = visit("decoding")
    page = seen.page
    assert page.locator("#group option").all_inner_texts() == ["every kind", "copy", "chat", "code"]
    page.select_option("#group", "code")
    assert page.locator("#example option").all_inner_texts() == [f"code-{i:02d}" for i in range(4)]
    assert "moving_average" in page.inner_text(".prompt .text")
    page.select_option("#seed", "1")
    page.click("#next")
    assert (page.input_value("#example"), page.input_value("#seed")) == ("code-01", "1")  # the seed is kept
    page.click("#previous")
    page.click("#previous")
    assert page.input_value("#example") == "code-03"  # round the corner


def test_examples_are_walked_with_the_arrow_keys(visit):
    seen = visit("decoding")
    seen.page.focus("#stage")
    seen.page.keyboard.press("ArrowRight")
    assert seen.page.input_value("#example") == "chat-00"
    seen.page.keyboard.press("ArrowLeft")
    assert seen.page.input_value("#example") == "copy-00"


def test_accepted_tokens_are_shaded_underlined_and_explained(visit):
    seen = visit("decoding")
    card = seen.page.locator(".output", has=seen.page.locator("h3", has_text="speculative"))
    marked = card.locator(".accepted")
    assert marked.count() >= 1
    style = marked.first.evaluate("node => [getComputedStyle(node).backgroundColor, getComputedStyle(node).boxShadow]")
    assert style[0] == "rgb(211, 235, 217)"
    assert "inset" in style[1]
    assert marked.first.get_attribute("title") == "proposed by the drafter and accepted"
    assert "proposed by the drafter and accepted" in seen.page.inner_text(".legend")
    assert card.locator(".text").text_content() == samples.WORDS["copy"]


def test_attributions_are_shown_with_their_bars_and_colours(visit):
    for scheme in ("light", "dark"):
        seen = visit("attribution", color_scheme=scheme)
        fragments = seen.page.locator("#stage .fragment")
        assert fragments.count() == 3
        assert "The" in fragments.first.inner_text()
        colours = fragments.first.locator("span[style*=background]").evaluate_all(
            "nodes => nodes.map((node) => [getComputedStyle(node).backgroundColor, node.offsetHeight])"
        )
        assert len({colour for colour, _ in colours}) == 2  # raises and lowers
        assert max(height for _, height in colours) >= 20
        assert seen.wrong == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_hostile_output_does_harm(visit, width):
    seen = visit("hostile", width=width)
    page = seen.page
    for step in range(len(samples.HOSTILE)):
        kind, text = list(samples.HOSTILE.items())[step]
        assert page.evaluate("typeof window.injected") == "undefined"
        assert seen.overflow() <= 0, kind
        assert page.locator("#stage img, #stage script, #stage iframe, #stage a, #stage svg:not(.marker)").count() == 0
        shown = page.locator(".prompt .text").text_content()
        assert not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]", shown)
        if kind in ("script", "closing", "emoji", "endless"):
            assert shown.startswith(text[:20_000].rstrip())
        page.click("#next")
    assert seen.wrong == []
    assert page.locator("main b").evaluate_all("nodes => nodes.filter((n) => n.textContent === 'bad').length") == 0
    assert page.locator("body > *:not(header, main, footer, script)").count() == 0


def test_right_to_left_text_stays_in_its_block(visit):
    seen = visit("hostile")
    page = seen.page
    page.select_option("#example", index=list(samples.HOSTILE).index("right to left"))
    block = page.locator(".prompt .text")
    assert block.evaluate("node => getComputedStyle(node).unicodeBidi") == "isolate"
    title = page.locator("#stage h3 bdi").first
    assert title.evaluate("node => getComputedStyle(node).direction") == "ltr"
    assert "\u202e" not in page.inner_text("header") + page.inner_text("#results") + page.inner_text("#findings")


def test_a_long_output_says_what_is_left_out(visit):
    seen = visit("hostile")
    seen.page.select_option("#example", index=list(samples.HOSTILE).index("many"))
    assert seen.page.locator(".prompt .aside").inner_text().strip() == "… and 80,000 characters more"
    box = seen.page.locator(".prompt .text").bounding_box()
    assert box["height"] < 400  # it scrolls within its block


def test_injected_markup_would_be_stopped_by_the_policy(visit):
    """The second barrier: even markup that came in through a hole could run nothing and load nothing."""
    seen = visit("decoding")
    seen.page.evaluate(
        """() => {
          const hole = document.createElement("div");
          document.body.append(hole);
          hole.innerHTML = "<img src='http://127.0.0.1:9/x.png' onerror='window.injected = 1'>"
            + "<svg onload='window.injected = 1'></svg><p id=styled style='position: fixed'>x</p>";
          const script = document.createElement("script");
          script.textContent = "window.injected = 1";
          document.body.append(script);
        }"""
    )
    seen.page.wait_for_timeout(300)
    assert seen.page.evaluate("typeof window.injected") == "undefined"
    assert seen.page.locator("#styled").evaluate("node => getComputedStyle(node).position") == "static"
    assert any("Content Security Policy" in message for message in seen.wrong)


def test_the_command_can_be_copied_or_is_selected(visit):
    seen = visit("decoding")
    seen.page.click("#copy")
    seen.page.wait_for_function(
        "getSelection().toString() !== '' || document.querySelector('#copy').textContent === 'copied'"
    )
    assert seen.wrong == []


def test_the_page_prints_light_and_without_controls(visit):
    seen = visit("decoding", color_scheme="dark")
    seen.page.emulate_media(media="print", color_scheme="dark")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(254, 254, 254)"
    assert seen.page.locator(".tools:visible, .choices:visible, #theme:visible").count() == 0
    assert seen.page.locator(".pane svg:visible").count() == 2


def test_the_page_is_a_document_that_assistive_technology_can_read(visit):
    seen = visit("decoding")
    page = seen.page
    levels = [
        int(name[1]) for name in page.locator("h1, h2, h3").evaluate_all("nodes => nodes.map((n) => n.localName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    heads = page.locator(".results tbody th[scope=row]").count(), page.locator(".results thead th[scope=col]").count()
    assert heads == (len(samples.CONFIGS), 9)
    assert page.locator("table caption").count() >= 1
    unnamed = "nodes => nodes.filter((n) => !(n.labels?.length || n.textContent.trim() || n.ariaLabel)).length"
    assert page.locator("input, select, button").evaluate_all(unnamed) == 0
    scrolling = page.locator(".scroll")
    assert scrolling.evaluate_all("nodes => nodes.every((n) => n.tabIndex === 0 && n.role && n.ariaLabel)")
    assert page.evaluate("document.documentElement.lang") == "en"
    hidden_idea = page.locator(".results .glyph").evaluate_all("nodes => nodes.every((n) => n.ariaLabel)")
    assert hidden_idea


def test_every_control_is_reached_by_tab_and_shows_it(visit):
    seen = visit("decoding")
    reached = set()
    for _ in range(45):
        seen.page.keyboard.press("Tab")
        reached.add(
            seen.page.evaluate(
                "document.activeElement.id || document.activeElement.name || document.activeElement.localName"
            )
        )
    assert {
        "theme",
        "contender",
        "button",
        "quality",
        "cost",
        "difference",
        "group",
        "example",
        "seed",
        "stage",
    } <= reached


def test_a_thousand_examples_load_quickly(browser, tmp_path, monkeypatch):
    """1000 examples by 8 contenders: only one example is in the page's tree at a time."""
    monkeypatch.setattr(sections, "_chart", lambda *_, **__: None)
    made = samples.decoding(prompts=501, seeds=2)
    path = tmp_path / "large.html"
    path.write_text(report.page(made), encoding="utf-8")
    assert path.stat().st_size < 8_000_000
    seen = Visit(browser, path)
    nodes = seen.page.evaluate("document.querySelectorAll('*').length")
    small = len(re.findall("<", report.page(samples.decoding(prompts=3))))
    assert nodes < small + 2_000
    took = seen.page.evaluate(
        """() => {
          const start = performance.now();
          document.querySelector("#next").click();
          document.body.offsetHeight;
          return performance.now() - start;
        }"""
    )
    assert took < 500
    loaded = seen.page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert loaded < 5_000
    assert seen.wrong == []
    seen.context.close()
