"""Attributions as text, JSON and HTML: they say the numbers, and nothing that a model wrote does harm."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from rich.cells import cell_len

from trivium.attribution._page import fragment, to_html
from trivium.attribution._render import LOWERS, RAISES, from_json, to_json, to_terminal, to_text
from trivium.attribution._tokens import LONGEST, direction, shown, visible
from trivium.core.nouns import Attribution, Target

PIECES: list[str | bytes] = [
    "We", " landed", " in", " Thai", "land", ".", "\n", "\tI", " stay", " in", " Bangkok",
    "<script>alert(1)</script>", "</style><img src=x onerror=alert(2)>",
    "\u202egnp.exe", "שלום", "مرحبا", "👩‍🚀", b"\xe2\x80",
    b"\x99s", "\x1b[31mred", "é", "\u0301", "\ud83d", "x" * 5000, "&amp;\"'`", "\u2028", "",
]  # fmt: skip
SPECIAL = len(PIECES) - 1


class Pieces:
    """A tokenizer with a piece per id; the last is special, and id 99 is one that only the model has."""

    vocab_size = len(PIECES)
    bos = eos = pad = SPECIAL

    def encode(self, text):
        raise NotImplementedError

    def decode(self, ids):
        return "".join("<|end|>" if id == SPECIAL else str(PIECES[id]) for id in ids)

    def bytes_of(self, id):
        if not 0 <= id < len(PIECES):
            raise ValueError(f"token id {id} is outside")
        piece = PIECES[id]
        return piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")


TOKENIZER = Pieces()
PROMPT = torch.arange(10)


def made(method="occlusion", ids=PROMPT, seed=0, **facts):
    scores = torch.randn(len(ids), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.3
    scores[min(3, len(ids) - 1)] = 2.5
    return Attribution(scores, ids, Target(10), method, facts or {"value": -0.125})


HOSTILE = made("<b>method</b>", torch.tensor([*range(SPECIAL + 1), 99]))


def test_tokens_are_visible_and_never_empty():
    assert shown(TOKENIZER, [1, 6, 7, 17, 18, SPECIAL, 99, 22]) == [
        "·landed", "↵", "⇥I", "⟨E2 80⟩", "⟨99⟩s", "<|end|>", "⟨id 99⟩", "⟨ED A0 BD⟩",
    ]  # fmt: skip
    assert all(shown(TOKENIZER, range(100)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a  b", "·a··b"),
        ("\r\n", "␍↵"),
        ("\x1b[2J", "␛[2J"),
        ("\u202e", "⟨U+202E⟩"),
        ("\u200b", "⟨U+200B⟩"),
        ("\ud83d", "⟨U+D83D⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("\x7f\x85", "⟨U+007F⟩⟨U+0085⟩"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        ("\u200d", "⟨U+200D⟩"),
        ("👩‍🚀", "👩‍🚀"),
        ("שלום", "שלום"),
    ],
)
def test_what_has_no_shape_gets_one(text, expected):
    assert visible(text) == expected


def test_the_middle_of_a_long_token_is_counted():
    (token,) = shown(TOKENIZER, [23])
    assert len(token) < LONGEST
    left_out = int(re.search(r"⟨\+(\d+)⟩", token).group(1))
    assert token.count("x") + left_out == 5000


def test_direction_is_that_of_the_first_letter():
    assert [direction(text) for text in ("12 שלום abc", "abc שלום", "123", "مرحبا")] == ["rtl", "ltr", "ltr", "rtl"]


def test_text_marks_sign_and_size_without_colour():
    scores = torch.tensor([0.0, 1.0, -1.0, 0.5, -0.4])
    text = to_text(Attribution(scores, torch.arange(5), Target(10), "occlusion"), TOKENIZER, 60)
    tokens, marks = text.split("\n")[2:4]
    assert tokens == "We·landed·in·Thailand"
    assert marks == "  " + RAISES[-1] * 7 + LOWERS[-1] * 3 + RAISES[4] * 5 + LOWERS[1] * 4
    assert re.search(r"\+1\.000  ·landed  position 1", text)
    assert re.search(r"−1\.000  ·in  position 2", text)


@pytest.mark.parametrize("width", [20, 37, 80, 200])
def test_no_line_is_wider_than_asked_and_marks_stand_under_their_tokens(width):
    text = to_terminal(HOSTILE, TOKENIZER, width)
    lines = text.plain.split("\n")
    assert max(cell_len(line) for line in lines) <= width
    assert "\x1b" not in text.plain
    text.plain.encode()


def test_a_line_break_in_the_prompt_breaks_the_line():
    assert "We·landed·in·Thailand.↵\n" in to_text(made(), TOKENIZER, 80)


def test_the_facts_are_told():
    text = to_text(made("integrated_gradients", value=-0.125, relative_gap=0.613, converged=0.0), TOKENIZER)
    assert text.startswith(
        "integrated gradients: log-probability of “·Bangkok”\nvalue −0.125, relative gap 61.3%, not converged"
    )


def test_a_narrow_terminal_is_refused():
    with pytest.raises(ValueError, match="at least 20 columns, got 10"):
        to_text(made(), TOKENIZER, 10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_json_reads_back_bit_for_bit(dtype):
    scores = torch.randn(10, generator=torch.Generator().manual_seed(1), dtype=dtype) / 3
    target = Target(3, foil=4, objective="contrast")
    before = Attribution(scores, PROMPT, target, "own", {"gap": float("inf"), "value": 1 / 3})
    text = to_json(before, TOKENIZER)
    after = from_json(text)
    assert torch.equal(before.scores, after.scores)
    assert before.scores.dtype == after.scores.dtype
    assert torch.equal(before.ids, after.ids)
    assert (before.target, before.method, before.facts) == (after.target, after.method, after.facts)
    assert json.loads(text)["tokens"][3] == "·Thai"


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "null", to_json(made())[:-20],
        to_json(made()).replace("float64", "int64"), to_json(made()).replace("float64", "load"),
        to_json(made()).replace('"ids": [0, ', '"ids": ['), to_json(made()).replace("logprob", "luck"),
    ],
)  # fmt: skip
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match=r"no attribution as to_json writes it"):
        from_json(text)


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    return reader


def test_the_page_asks_for_nothing_and_hostile_tokens_stay_text():
    html = to_html(HOSTILE, TOKENIZER, title="</title><script>alert(3)</script>")
    html.encode()
    reader = read(html)
    assert reader.tags.count("script") == 1
    assert reader.tags.count("style") == 2
    assert "img" not in reader.tags
    assert not [
        name for name, _ in reader.attributes if name in ("src", "action", "onerror", "onload", "onclick", "style")
    ]
    assert [value for name, value in reader.attributes if name == "href"] == ["data:,"]
    assert not re.search(r"url\(|@import|https?:", html)
    assert "</title><script>alert(3)</script>" in "".join(reader.words)


def test_the_table_holds_every_number_of_every_explainer():
    two = [made("occlusion", seed=1), made("gradient_times_input", seed=2)]
    cells = re.findall(r'<td class="[^"]*">([^<]*)</td>', to_html(two, TOKENIZER))
    numbers = torch.tensor([float(cell.replace("−", "-")) for cell in cells]).reshape(10, 2)
    expected = torch.stack([one.scores for one in two], 1)
    torch.testing.assert_close(numbers.double(), expected, atol=6e-4, rtol=0)  # three decimals are shown


def test_bars_are_as_high_as_scores_and_the_scale_is_centred_at_zero():
    scores = torch.tensor([2.0, -2.0, 1.0, -0.5, 0.0])
    html = to_html(Attribution(scores, torch.arange(5), Target(10), "occlusion"), TOKENIZER)
    assert re.findall(r'<span class="ta-token([^"]*)"', html) == [
        " ta-up ta-n20", " ta-down ta-n20", " ta-up ta-n10", " ta-down ta-n5", "",
    ]  # fmt: skip
    assert '"ta-text ta-top20 ta-deep20"' in html


def test_scores_that_are_all_zero_draw_nothing_and_break_nothing():
    blank = Attribution(torch.zeros(3), torch.arange(3), Target(1))
    assert "ta-up ta-n" not in to_html(blank, TOKENIZER).split("<main")[1]
    assert "+0.000" in to_text(blank, TOKENIZER)
    assert "background" not in fragment(blank, TOKENIZER)


def test_the_fragment_is_inline_and_without_script():
    html = fragment([made(), made("gradient_times_input"), made("integrated_gradients")], TOKENIZER)
    reader = read(html + fragment(HOSTILE, TOKENIZER))
    assert set(reader.tags) <= {"div", "p", "b", "small", "span", "bdi", "br"}
    assert {name for name, _ in reader.attributes} <= {"style", "title", "dir", "role", "aria-label", "class"}
    assert html.count('role="group"') == 3
    assert re.search(r'title="“·Thai” \+2\.500, position 3"', html)


def test_explainers_side_by_side_share_their_prompt():
    with pytest.raises(ValueError, match="the same prompt"):
        to_html([made(), made(ids=torch.arange(9))], TOKENIZER)
    with pytest.raises(ValueError, match="at least one"):
        fragment([], TOKENIZER)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const over = colours => {  // painted one over the other, so that transparency and mixing are the browser's own
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const luminance = rgb => [.2126, .7152, .0722].reduce((sum, w, i) => sum + w * linear(rgb[i]), 0);
  const seen = [];
  const texts = 'h1, p, summary, th, td, .ta-word, .ta-space, .ta-name, .ta-head span, .ta-target, [role=group] *';
  for (const element of document.querySelectorAll(texts)) {
    if (![...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const behind = [];
    for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
    const back = over(behind), front = over([...behind, getComputedStyle(element).color]);
    const [a, b] = [luminance(front), luminance(back)].sort((x, y) => y - x);
    seen.push([(a + .05) / (b + .05), element.textContent.slice(0, 30)]);
  }
  return seen;
}"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def show(browser, tmp_path):
    """Opens HTML; at the end of the test nothing may have been asked for, said or run."""
    complaints, pages = [], []

    def opened(html, *, scheme="light", width=1000):
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for page in pages:
        page.close()
    assert complaints == []


THREE = [
    made("occlusion", seed=1),
    made("gradient_times_input", seed=2),
    made("integrated_gradients", seed=3, converged=0.0),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["three", "hostile", "fragment"])
def test_everything_on_the_page_can_be_read(show, scheme, what):
    """WCAG AA: 4.5 to 1 for text, whatever tint lies behind it."""
    own = "<!DOCTYPE html><style>:root{color-scheme:light dark;background:light-dark(#fff,#14181e)}</style>"
    html = {
        "three": to_html(THREE, TOKENIZER),
        "hostile": to_html(HOSTILE, TOKENIZER),
        "fragment": own + fragment(THREE, TOKENIZER),
    }[what]
    seen = show(html, scheme=scheme).evaluate(CONTRASTS)
    assert len(seen) > 30
    worst, where = min(seen)
    assert worst >= 4.5, f"{where!r} has a contrast of {worst:.2f}"


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("attributions", [THREE, HOSTILE])
def test_it_fits_the_screen(show, width, attributions):
    page = show(to_html(attributions, TOKENIZER), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    texts = page.locator(".ta-text")
    assert all(texts.nth(i).evaluate("e => e.scrollWidth <= e.clientWidth") for i in range(texts.count()))


def test_numbers_show_on_hover_and_rows_point_at_the_same_token(show):
    page = show(to_html(THREE, TOKENIZER))
    token = page.locator(".ta-text").nth(1).locator(".ta-token").nth(3)
    told = "e => { const s = getComputedStyle(e, '::after'); return s.visibility === 'visible' ? s.content : null }"
    assert token.evaluate(told) is None
    token.hover()
    assert token.evaluate(told) == '"“·Thai” +2.500, position 3"'
    assert page.locator(".ta-token.ta-same").count() == 3
    assert page.locator("tr.ta-same").inner_text().split("\t")[1] == "·Thai"


def test_the_keyboard_walks_the_tokens_and_each_is_told(show):
    page = show(to_html(THREE, TOKENIZER))
    page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.locator(".ta-token:focus").get_attribute("data-tip") == "“·Thai” +2.500, position 3"
    assert page.locator(".ta-text").nth(1).locator(".ta-token:focus").count() == 1
    assert page.locator(".said").inner_text() == "“·Thai” +2.500, position 3"
    page.keyboard.press("End")
    assert page.locator(".said").inner_text().endswith("position 9")
    page.keyboard.press("ArrowRight")  # there is no next
    assert page.locator(".said").inner_text().endswith("position 9")


def test_a_script_that_gets_into_the_page_does_not_run(browser, tmp_path):
    """Even where escaping failed: the policy of the page knows its own script by hash."""
    path, refusals = tmp_path / "taken.html", []
    foreign = "<script>document.title = 'taken'</script><p style='color:red'></p></main>"
    path.write_text(to_html(THREE, TOKENIZER).replace("</main>", foreign), encoding="utf-8")
    page = browser.new_page()
    page.on("console", lambda message: refusals.append(message.text))
    page.goto(path.as_uri())
    assert page.title() == "Attribution"
    assert sum("Content Security Policy" in refusal for refusal in refusals) == 2
    page.close()


def test_right_to_left_prompts_run_from_right_to_left(show):
    page = show(to_html(made(ids=torch.tensor([14, 15, 14])), TOKENIZER))
    boxes = [page.locator(".ta-token").nth(i).bounding_box()["x"] for i in range(3)]
    assert boxes == sorted(boxes, reverse=True)
