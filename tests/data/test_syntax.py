"""Python code as trees; needs the extra 'syntax'."""

import pytest

from trivium.data.constituents import EMPTY, numbers_of, tree_of
from trivium.data.python_docs import modules
from trivium.data.syntax import functions, grammar, parse


def leaves(parsed):
    return [parsed.text[start:stop] for start, stop in parsed.spans]


def test_by_hand():
    got = parse("x = f(1)\n")
    assert leaves(got) == ["x", "=", "f", "(", "1", ")"]
    assert [tuple(one) for one in got.tree.brackets] == [
        ("module", 0, 6),
        ("expression_statement", 0, 6),
        ("assignment", 0, 6),
        ("call", 2, 6),
        ("argument_list", 3, 6),
    ]
    d, c, u = numbers_of(got.tree)
    assert d == [5, 4, 3, 2, 1]
    assert c[0] == "module<sep>expression_statement<sep>assignment"
    assert c[2:4] == ["call", "argument_list"]
    assert set(u) == {EMPTY}


def test_a_statement_of_one_token_is_the_label_of_its_leaf():
    got = parse("def f():\n    pass\n")
    assert leaves(got) == ["def", "f", "(", ")", ":", "pass"]
    assert numbers_of(got.tree).u[-1] == "block<sep>pass_statement"
    assert numbers_of(got.tree).u[0] == EMPTY


def test_comments_and_docstrings_are_taken_out_of_code_and_tree():
    code = 'def f(a):\n    """What\n    it does."""\n    # says\n    return a  # so\n'
    got = parse(code)
    assert got.text == "def f(a):\n    return a\n"
    assert "comment" not in {one.label for one in got.tree.brackets}
    assert parse("# only this\nx\n").text == "x\n"
    assert parse("x = 1; 'aside'\n").text.startswith("x = 1;")


def test_a_string_is_one_leaf():
    got = parse("x = f'a {b + 1} c' + 'd'\n")
    assert leaves(got) == ["x", "=", "f'a {b + 1} c'", "+", "'d'"]
    assert "interpolation" not in {one.label for one in got.tree.brackets}


def test_spans_are_in_characters():
    got = parse("名 = 'ü'  # ß\nß = 名\n")
    assert leaves(got) == ["名", "=", "'ü'", "ß", "=", "名"]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def f(:\n", "no Python that the grammar can parse"),
        ("", "has no leaf"),
        ("# nothing\n", "has no leaf"),
        ("x = '\ud800'", "half a character"),
    ],
)
def test_what_is_no_code_is_refused(code, told):
    with pytest.raises(ValueError, match=told):
        parse(code)


def test_files_of_the_standard_library_come_back_from_their_numbers():
    names = ("ast", "bisect", "heapq", "textwrap", "json.decoder", "keyword", "statistics", "fnmatch")
    paths = dict(modules())
    for name in names:
        tree = parse(paths[name].read_text(encoding="utf-8")).tree
        assert tree_of(*numbers_of(tree)) == tree
        assert tree.leaves > 50


def test_functions_of_the_standard_library():
    got = functions(30)
    assert len(got) == 30
    assert all(8 <= one.tree.leaves <= 60 for one in got)
    assert all(one.tree.brackets[0].label == "module" and one.text.lstrip().startswith(("def", "async")) for one in got)
    assert functions.__wrapped__(20) == got[:20]
    assert not any(one.text.rstrip().endswith(":") for one in got)
    held = functions(10, "test")
    assert not {one.source for one in held} & {one.source for one in got}
    assert max(sum(one.source == source for one in got) for source in {one.source for one in got}) <= 4
    assert grammar().startswith("tree-sitter-python 0.")


def test_functions_that_are_not_there_are_told():
    with pytest.raises(ValueError, match=r"has only 0 functions .* fewer than 3; raise per_module"):
        functions(3, "validation", least=1, most=2)
    with pytest.raises(ValueError, match="the splits are"):
        functions(3, "dev")
    with pytest.raises(ValueError, match="count, least, most and per_module"):
        functions(0)
