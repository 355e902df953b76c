"""Cards and look-up, on a package of three files made for the test."""

import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest

from trivium.core import method as registry
from trivium.core.errors import UnknownMethod, UnknownName
from trivium.core.method import Card, card_of, entry, find, headings, method, names, settings, split

FILE = '''
"""{title}: in one line.

Source
    Somebody 2020,
    arXiv:0000.
Equation
    y = x
Shapes
    any
Cost
    none
Caveats
    None known.
"""
from dataclasses import dataclass, field
from typing import ClassVar

from trivium.core.method import method


@method(title="{title}", source="arXiv:0000", year=2020, needs=("causal",))
@dataclass(frozen=True)
class Thing:
    unit: ClassVar[str] = "m"
    floor: float = 0.1
    """Smallest share kept;
    0 keeps all."""
    words: tuple[str, ...] = field(default_factory=lambda: ("a",))
    deep: int = field(default=3, repr=False)
    other: object = field(default_factory=lambda: find("fall", "greedy")())
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "trivium"
    for kind, files in {"ascent": ["min_p", "top_p"], "fall": ["greedy", "top_p"], "core": ["seeds"]}.items():
        (root / kind).mkdir(parents=True)
        (root / kind / "__init__.py").write_text(f'"""All about {kind}."""\n')
        (root / kind / "_private.py").write_text("")
        for name in files:
            (root / kind / f"{name}.py").write_text(FILE.format(title=name.title()).lstrip())
    monkeypatch.setattr(registry, "PACKAGE", root)
    entry.cache_clear()
    yield root
    entry.cache_clear()


def test_the_folder_is_the_registry(package):
    assert registry.kinds() == ("ascent", "fall")
    assert names("ascent") == ("min_p", "top_p")
    (package / "ascent" / "typical.py").write_text("")
    assert "typical" in names("ascent")
    assert registry.kind_summary("fall") == "All about fall."


def test_misspellings_name_the_near_one(package):
    with pytest.raises(UnknownMethod, match="no ascent method named 'minp'; did you mean 'min_p'"):
        find("ascent", "minp")
    with pytest.raises(UnknownName, match="no kind is called 'ascend'; did you mean 'ascent'"):
        names("ascend")
    with pytest.raises(UnknownMethod, match="did you mean 'greedy'"):
        split("greedi")
    with pytest.raises(UnknownMethod, match="exists in ascent, fall; write ascent/top_p"):
        split("top_p")


def test_a_bare_name_is_enough_where_it_is_unique(package):
    assert split("min_p") == ("ascent", "min_p")
    assert split("fall/top_p") == ("fall", "top_p")


def test_an_entry_is_read_without_import(package):
    got = entry("ascent", "min_p")
    assert got.card == Card("Min_P", "arXiv:0000", 2020, frozenset({"causal"}), False, "ascent", "min_p")
    assert got.summary == "Min_P: in one line."
    assert list(got.headings) == list(registry.HEADINGS)
    assert got.headings["Source"] == "Somebody 2020,\narXiv:0000."
    assert [(o.name, o.type, o.default) for o in got.options] == [
        ("floor", "float", "0.1"), ("words", "tuple[str, ...]", "('a',)"), ("deep", "int", "3"),
        ("other", "object", "greedy"),
    ]  # fmt: skip
    assert got.options[0].text == "Smallest share kept;\n0 keeps all."
    assert "trivium.ascent.min_p" not in sys.modules


def test_two_carded_classes_in_one_file_are_refused(package):
    path = package / "ascent" / "min_p.py"
    path.write_text(path.read_text() + path.read_text().split('"""', 2)[2])
    with pytest.raises(TypeError, match="exactly one class under @method, it holds 2"):
        entry("ascent", "min_p")


def test_headings_keep_their_lines():
    text = "One line.\n\nSource\n    A.\n\n    B.\nCaveats\n    None known.\n"
    assert headings(text) == {"Source": "A.\n\nB.", "Caveats": "None known."}


@dataclass(frozen=True)
class Inner:
    k: int = 2


def test_settings_are_plain_and_nested():
    @dataclass(frozen=True)
    class Outer:
        inner: Inner
        many: tuple[int, ...] = (1, 2)

    assert settings(Outer(Inner(3))) == {"inner": {"k": 3}, "many": [1, 2]}
    with pytest.raises(TypeError, match="cannot be written down"):
        settings(3)


def test_a_method_of_ones_own_needs_no_registration():
    assert card_of(Inner()).title == "Inner"
    with pytest.raises(UnknownName, match="no capability is called 'casual'; did you mean 'causal'"):
        method(title="x", source="y", year=1, needs=["casual"])(Inner)


def test_listing_imports_no_torch():
    code = """
        import sys
        from trivium.core.method import entries, kinds
        found = [e.card.path for kind in kinds() for e in entries(kind)]
        assert "torch" not in sys.modules and "transformers" not in sys.modules, "a listing must stay quick"
        print(len(found))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == sum(len(names(kind)) for kind in registry.kinds())
