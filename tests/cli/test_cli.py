"""Commands that need no model: help, listing, exit codes."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from trivium import cli
from trivium.core.method import kinds, names, options


def test_help_lists_every_command(capsys):
    assert cli.run([]) == cli.OK
    out = capsys.readouterr().out
    for name in cli.commands():
        assert f"\n  {name} " in out
    assert {"list", "show", "demo", "compare", "report", "claim", "certify", "generate", "train", "attribute"} <= set(
        cli.commands()
    )
    assert "exit codes" in out


@pytest.mark.parametrize("name", cli.commands())
def test_every_command_explains_its_options(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run([name, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: trivium {name}" in out
    assert "Example" in out or "trivium" in out.split("usage", 1)[1]


@pytest.mark.parametrize("name", ["compare", "vocabulary"])
def test_help_breaks_no_line_within_a_paragraph(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "2000")
    words = [name] if name == "compare" else [name, "bakeoff"]
    with pytest.raises(SystemExit):
        cli.run([*words, "--help"])
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    tree = ast.parse((Path(cli.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in ("Bakeoff", "Command")]
    node = classes[0]
    said = [option.text for option in options(node) if option.text]
    said += (ast.get_docstring(node) or "").split("\n\n")
    assert len(said) > 5
    for text in said:
        assert any(" ".join(text.split()) in line for line in lines), text


def test_a_misspelt_command_names_the_near_one(capsys):
    assert cli.run(["compar"]) == cli.BAD_INPUT
    assert "did you mean 'compare'" in capsys.readouterr().err


def test_a_misspelt_method_names_the_near_one(capsys):
    assert cli.run(["show", "oclusion"]) == cli.BAD_INPUT
    assert "UnknownMethod: no method named 'oclusion'; did you mean 'occlusion'?" in capsys.readouterr().err
    assert cli.run(["list", "decodings"]) == cli.BAD_INPUT
    assert "did you mean 'decoding'" in capsys.readouterr().err


def test_an_unknown_option_is_bad_input():
    with pytest.raises(SystemExit) as stopped:
        cli.run(["list", "--colour"])
    assert stopped.value.code == cli.BAD_INPUT


def test_list_prints_every_method_and_json(capsys):
    assert cli.run(["list"]) == cli.OK
    out = capsys.readouterr().out
    for kind in kinds():
        assert kind in out
    assert cli.run(["list", "attribution", "--json"]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert [method["name"] for method in found] == list(names("attribution"))
    assert all(method["source"] and method["title"] for method in found)


def test_show_prints_the_card_the_options_and_the_claim(capsys):
    assert cli.run(["show", "occlusion"]) == cli.OK
    out = capsys.readouterr().out
    for heading in ("Source", "Equation", "Shapes", "Cost", "Caveats", "Options", "Claim", "Needs"):
        assert f"\n{heading}\n" in out
    assert cli.run(["show", "attribution/occlusion", "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["card"]["year"] == 2014


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from trivium import cli; code = cli.run(['list']); heavy = {'torch', 'transformers', 'scipy'}; "
        "assert not heavy & set(sys.modules), 'something heavy was imported'; sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("ValueError('x')", "BAD_INPUT"),
        ("errors.UnknownMethod('x')", "BAD_INPUT"),
        ("errors.Unreachable('x')", "IN_THE_WAY"),
        ("errors.RunBusy('x')", "IN_THE_WAY"),
        ("errors.HashMismatch('x')", "IN_THE_WAY"),
        ("OSError(28, 'No space left on device')", "IN_THE_WAY"),
        ("errors.BudgetExceeded('x')", "OVER_BUDGET"),
        ("KeyboardInterrupt()", "INTERRUPTED"),
    ],
)
def test_exit_codes_tell_what_went_wrong(error, code, monkeypatch, capsys):
    from trivium.cli import list as listing
    from trivium.core import errors

    def fail(self):
        raise eval(error, {"errors": errors})

    monkeypatch.setattr(listing.Command, "run", fail)
    assert cli.run(["list"]) == getattr(cli, code)
    message = capsys.readouterr().err
    assert message.startswith("trivium: ")
    assert "Traceback" not in message


def test_a_traceback_is_there_when_asked_for(monkeypatch):
    monkeypatch.setenv("TRIVIUM_TRACEBACK", "1")
    with pytest.raises(LookupError):
        cli.run(["list", "nothing"])


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m trivium list --json | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
