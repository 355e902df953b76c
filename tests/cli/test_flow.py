"""`trivium flow`: a table, a page that needs nothing else, and errors that say what to do."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import torch

from trivium import cli
from trivium.cli import flow
from trivium.evaluation._flow import Flow, Sweep, sliding, tiled
from trivium.evaluation._flow_page import Shown, chart, numbers, sentences, to_html
from trivium.models.sources import load

TEXT = "Once there was a fox named Tim. The fox said to the owl: my name is"
SPANS = ["--span", "name=Tim", "fox:2=fox"]
PLAIN = ["flow", TEXT, *SPANS, "--model", "tiny", "--window", "2"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The small model that ships, loaded once."""
    monkeypatch.setattr(flow, "load", lambda name, dtype, device: load(name))


def run(capsys, *words):
    code = cli.run(list(words))
    out, err = capsys.readouterr()
    return code, out, " ".join(err.split())


def test_a_text_as_json_and_as_a_table(capsys):
    code, out, _ = run(capsys, *PLAIN, "--json")
    assert code == cli.OK
    found = json.loads(out)
    depth = load("tiny").model.depth
    assert [(row["source"], row["target"]) for row in found["windows"]] == [("name", "last")] * depth + [
        ("fox", "last")
    ] * depth
    assert found["prompts"][0]["answered"]  # it was asked for what it says itself
    assert found["spent"]["calls"] > 0
    first = found["windows"][0]
    assert (first["first"], first["last"], first["clipped"]) == (0, 0, True)
    plain = found["prompts"][0]["probability"]
    assert first["change"] == pytest.approx(100 * (first["probability"] / plain - 1), abs=1e-6)
    code, out, _ = run(capsys, *PLAIN)
    assert code == cli.OK
    assert "name → last" in out
    assert f"{first['probability']:.3f}" in out
    assert "the window reaches over an end" in out


def test_what_is_cut_changes_the_numbers(capsys):
    def changes(*more):
        code, out, _ = run(capsys, *PLAIN, "--json", "--flow", "name->last", *more)
        assert code == cli.OK
        return [row["change"] for row in json.loads(out)["windows"]]

    plain = changes()
    for more in (["--heads", "0"], ["--no-renormalize"], ["--window", "1"]):
        assert changes(*more) != plain


def test_a_file_of_prompts(capsys, tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [
        {"text": TEXT, "answer": " Tim", "spans": {"name": "Tim"}, "name": "first"},
        {"text": "Zoe and a cat. The cat likes", "spans": {"name": [0, 3]}},
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    code, out, err = run(capsys, "flow", "--prompts", str(path), "--all", "--model", "tiny", "--json")
    assert code == cli.OK, err
    found = json.loads(out)
    assert [one["name"] for one in found["prompts"]] == ["first", "line 2"]
    assert found["windows"][0]["change_error"] is not None


def test_prompts_of_our_own(capsys):
    """Which the tiny model does not answer; then it says so, and with --all there are numbers."""
    code, out, err = run(capsys, "flow", "--model", "tiny", "--items", "2")
    assert code == cli.BAD_INPUT
    assert "answered right" in err
    code, out, _ = run(capsys, "flow", "--model", "tiny", "--items", "2", "--all", "--json", "--flow", "again->last")
    assert code == cli.OK
    assert len(json.loads(out)["prompts"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([TEXT, "--span", "name=Peter"], "span 'name': 'Peter' does not occur"),
        ([TEXT, "--span", "fox=fox"], "span 'fox': 'fox' occurs 2 times, at characters 17, 36"),
        ([TEXT, "--span", "fox=fox"], "such as --span fox:1=fox"),
        ([TEXT, "--span", "fox:3=fox"], "there is no number 3"),
        ([TEXT, "--span", "fox"], "a span is written name=piece"),
        ([TEXT, "--span", "fox:x=fox"], "a span is written name=piece"),
        ([TEXT, "--span", "a=Tim", "a=owl"], "a name of its own"),
        ([TEXT, "--span", "a=Tim", "b=Ti"], "'a' and 'b' share a token"),
        ([TEXT, "--span", "last=Tim"], "'last' is there already"),
        ([TEXT], "name at least one piece of the text"),
        ([TEXT, *SPANS, "--flow", "nam->last"], "no span 'nam'; did you mean 'name'"),
        ([TEXT, *SPANS, "--flow", "name"], "written source->target"),
        ([TEXT, *SPANS, "--window", "0"], "at least one layer"),
        ([TEXT, *SPANS, "--heads", "99"], "there is no head 99"),
        ([TEXT, *SPANS, "--answer", "x"], "0 are answered right"),
        ([TEXT, *SPANS, "--batch-size", "0"], "batch_size must be at least 1"),
        ([TEXT, "--prompts", "x.jsonl"], "either a text or --prompts"),
        (["--span", "a=b"], "belong to a text"),
        (["--items", "0"], "--items must be at least 1"),
    ],
)
def test_bad_input(capsys, words, message):
    code, _, err = run(capsys, "flow", "--model", "tiny", *words)
    assert code == cli.BAD_INPUT
    assert message in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[]", "line 2: a prompt is an object"),
        ('{"text": 3}', "line 2: a prompt is an object"),
        ('{"text": "a b"}', 'line 2: it needs "spans"'),
        ('{"text": "a b", "spans": {}}', 'line 2: it needs "spans"'),
        ('{"text": "a b", "answer": 3, "spans": {"x": "a"}}', '"answer" that is text'),
        ('{"text": "a b", "spans": {"x": "c"}}', "line 2: 'c' does not occur"),
        ('{"text": "a a", "spans": {"x": "a"}}', "line 2: 'a' occurs 2 times"),
        ('{"text": "a b", "spans": {"x": [0, 9]}}', "line 2: characters 0 to 9 are no piece"),
        ('{"text": "a b", "spans": {"x": 1}}', "line 2: a span is a piece of the text or two numbers"),
    ],
)
def test_files_that_are_none(capsys, tmp_path, line, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"text": "a b", "spans": {"x": "a"}}) + "\n" + line)
    code, _, err = run(capsys, "flow", "--prompts", str(path), "--model", "tiny")
    assert code == cli.BAD_INPUT
    assert message in err
    path.write_text("\n")
    assert "holds no prompt" in run(capsys, "flow", "--prompts", str(path), "--model", "tiny")[2]
    assert run(capsys, "flow", "--prompts", str(tmp_path / "none"), "--model", "tiny")[0] == cli.IN_THE_WAY


def test_a_model_without_attention(capsys, monkeypatch):
    from tests.families import wrapped
    from trivium.models.system import System
    from trivium.tokenization.byte import ByteTokenizer

    mamba = System(wrapped("mamba", vocab_size=259), ByteTokenizer(), "mamba")
    monkeypatch.setattr(flow, "load", lambda *a, **k: mamba)
    code, _, err = run(capsys, *PLAIN)
    assert code == cli.BAD_INPUT
    assert "needs 'attention'" in err


def made(flows=2, prompts=3, depth=6, window=3):
    plain = torch.linspace(0.3, 0.9, prompts).double().log()
    windows = tuple(sliding(depth, window))
    draws = torch.Generator().manual_seed(0)
    cut = [plain[:, None] - torch.rand(prompts, depth, generator=draws).double() for _ in range(flows)]
    kept = torch.ones(prompts, dtype=torch.bool)
    found = tuple(Flow(f"source{at}", "last", windows, plain, values) for at, values in enumerate(cut))
    return Sweep(found, tuple(f"p{at}" for at in range(prompts)), plain, kept, kept)


class Page(HTMLParser):
    """Cells, marks, and every address that a page names."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.addresses, self.tags, self._in = [], [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in = tag == "td"
        self.addresses += [value for name, value in attrs if name in ("href", "src", "xlink:href") and value]
        assert not any(name.startswith("on") or name == "style" for name, _ in attrs), attrs

    def handle_data(self, data):
        if self._in:
            self.cells.append(data)

    def handle_endtag(self, tag):
        self._in = False


class TestPage:
    TEXT = "The <b>cat</b> & the owl"

    def page(self, found=None, **more):
        shown = [Shown(self.TEXT, {"<i>": (4, 7), "owl": (21, 24)}, " </script>")]
        return to_html(found or made(), title="A <b> title", facts={"model": "<x>"}, prompts=shown, **more)

    def test_it_needs_nothing_else(self):
        html = self.page()
        page = Page(html)
        assert [each for each in page.addresses if not each.startswith(("data:", "#"))] == []
        assert "script" not in page.tags
        (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in html
        assert "default-src 'none'" in html

    def test_nothing_in_it_is_obeyed(self):
        html = self.page()
        assert "A &lt;b&gt; title" in html
        assert "&lt;x&gt;" in html
        assert "The <mark>&lt;b&gt;<small>&lt;i&gt;</small></mark>cat" in html
        assert "&lt;/script&gt;" in html
        found = made()
        named = Flow("<img src=x>", "last", found.flows[0].windows, found.flows[0].plain, found.flows[0].cut)
        assert "<img" not in self.page(Sweep((named,), found.names, found.plain, found.answered, found.kept))

    def test_the_table_holds_every_number(self):
        found = made()
        assert Page(self.page(found)).cells == [cell for row in found.rows() for cell in numbers(row)]

    def test_one_marker_for_each_window_and_hollow_ones_for_clipped(self):
        found = made(flows=1)
        svg = chart(found, "change", 860)
        markers = re.findall(r'aria-roledescription="point"[^>]*', svg)
        assert len(markers) == 6
        clipped = sum(window.clipped for window in found.flows[0].windows)
        assert clipped == 2
        assert sum('fill="#fffdfa"' in marker for marker in markers) == clipped
        inside = made(flows=1)
        tiles = tuple(tiled(6, 2))
        flow = Flow("a", "last", tiles, inside.plain, inside.flows[0].cut[:, :3])
        whole = Sweep((flow,), inside.names, inside.plain, inside.answered, inside.kept)
        assert "#fffdfa" not in chart(whole, "change", 860)
        assert "Hollow markers" not in to_html(whole, title="x", facts={})

    def test_what_it_says(self):
        plain = torch.tensor([0.5]).double().log()
        kept = torch.tensor([True])
        for cut, said in (
            ([0.4, 0.25], "falls most with layer 1 cut, by 50.0 %"),
            ([0.6, 0.7], "falls in no window"),
        ):
            flow = Flow("a", "b", tuple(sliding(2, 1)), plain, torch.tensor([cut]).double().log())
            (line,) = sentences(Sweep((flow,), ("p",), plain, kept, kept))
            assert said in line
            assert "(one prompt)" in line

    def test_no_minus_nothing(self):
        row = made().rows()[0] | {"change": -0.01, "difference": -0.0001, "change_error": None}
        assert numbers(row)[3] == "0.0"
        assert numbers(row)[4].startswith("0.000 ± ")

    def test_the_command_writes_it(self, tmp_path, capsys):
        path = tmp_path / "flow.html"
        code, out, _ = run(capsys, *PLAIN, "--html", str(path))
        assert code == cli.OK
        assert str(path) in out.replace("\n", "")
        html = path.read_text()
        assert "<mark>Tim<small>name</small></mark>" in html
        assert html.count("<svg") == 4  # two charts, each for a desk and for a phone
