import base64
import hashlib
import json
import re

import pytest

from tests.report.samples import HOSTILE
from trivium.compare._report.markup import (
    Fragment,
    Html,
    content_hash,
    element,
    embedded,
    escape,
    join,
)
from trivium.core.text import one_line, printable


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_can_be_written_as_utf8_and_holds_no_control_character(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)


def test_what_was_hidden_is_seen():
    assert printable("a\x00b\x1b[31mc\x7f") == "a␀b␛[31mc␡"
    assert printable("a\ud83d\udc00b\ud800") == "a\ufffd\ufffdb\ufffd"
    assert printable("line\r\nnext\ttab") == "line\nnext\ttab"
    assert printable("👩‍👩‍👧 é مرحبا") == "👩‍👩‍👧 é مرحبا"


def test_a_name_cannot_turn_what_stands_around_it():
    assert one_line("min\u202e_p\u2066\n x") == "min\ufffd_p\ufffd x"
    assert one_line("שלום") == "שלום"


def test_children_and_attributes_are_escaped_unless_built_here():
    assert element("p", "<b>&'\"", title="\"><script>") == (
        '<p title="&quot;&gt;&lt;script&gt;">&lt;b&gt;&amp;&#39;&quot;</p>'
    )  # fmt: skip
    assert element("p", element("b", "x")) == "<p><b>x</b></p>"
    assert join("<", Html("<br>"), None, ["a", ["&"]]) == "&lt;<br>a&amp;"


def test_attributes_are_left_out_bare_or_dashed():
    assert element("input", type="radio", checked=True, disabled=False, value=None) == '<input type="radio" checked>'
    assert element("td", class_="n", data_value=0.5) == '<td class="n" data-value="0.5"></td>'


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_embedded_data_cannot_end_its_element_and_is_read_back(text):
    markup = embedded({"text": text, "number": float("nan"), "list": [float("inf"), 1.5]}, "data")
    inside = re.fullmatch(r'<script type="application/json" id="data">(.*)</script>', markup, re.DOTALL)
    assert inside is not None
    assert not re.search(r"[<>&]", inside[1])
    assert inside[1].isascii()
    assert json.loads(inside[1]) == {"text": printable(text), "number": None, "list": [None, 1.5]}


def test_content_hash_is_what_a_browser_computes():
    digest = base64.b64encode(hashlib.sha256("käse".encode()).digest()).decode()
    assert content_hash("käse") == f"'sha256-{digest}'"


def test_a_fragment_keeps_what_an_attribution_is_made_of():
    hue = "light-dark(#c2410c,#fb923c)"
    html = (
        f'<div role="group" aria-label="occlusion"><span title="a &amp; b" style="display:block;height:4px;'
        f'background:color-mix(in oklab,{hue} 40%,transparent)">A<br>B</span> &lt;tail&gt;</div>'
    )
    style = {"display": "block", "height": "4px", "background": f"color-mix(in oklab,{hue} 40%,transparent)"}
    span = ["span", {"title": "a & b"}, style, ["A", ["br", {}, {}, []], "B"]]
    assert Fragment(html).nodes == [["div", {"role": "group", "aria-label": "occlusion"}, {}, [span, " <tail>"]]]


def test_a_fragment_loses_what_could_do_harm():
    html = (
        "<style>p{color:red}</style><script>alert(1)</script><img src=x onerror=alert(1)>"
        "<a href='javascript:1'>link</a>"
        "<iframe srcdoc='<script>1</script>'></iframe>"
        "<p onclick='x()' style='position:fixed;margin:0' id=stage>text</p>"
        "<p class=notice style='background:url(http://x);color:v\\61r(--x);height:expression(1)'>two</p>"
        "<svg><path d='M0'/></svg></div></body><form action=http://x><input>"
    )
    assert Fragment(html).nodes == ["link", ["p", {}, {"margin": "0"}, ["text"]], ["p", {}, {}, ["two"]]]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_any_text_makes_a_tree_of_allowed_tags(text):
    def tags(nodes):
        return {tag for node in nodes if isinstance(node, list) for tag in ({node[0]} | tags(node[3]))}

    assert tags(Fragment(text).nodes) <= Fragment.TAGS


def test_escape_replaces_direction_marks_but_not_letters():
    assert escape("\u202eabc עברית") == "\ufffdabc עברית"
