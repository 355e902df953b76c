"""What the README shows works as pasted."""

import re
import shlex
from pathlib import Path

import pytest

from trivium import cli
from trivium.core.method import split

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    for name in ("greedy", "contrastive_search", "min_p"):
        assert name in printed
    assert (tmp_path / "runs" / "first" / "report.html").stat().st_size > 10_000


GENERATED = ("parallelism", "recipes")
"""Pages that the docs build writes; what recipes show has tests of its own."""
FOLDER = Path(__file__).parents[1] / "docs" / "pages" / "guide"
GUIDES = [path for path in sorted(FOLDER.glob("*.md")) if path.stem not in GENERATED]


@pytest.mark.parametrize("guide", [path for path in GUIDES if "```python" in path.read_text()], ids=lambda p: p.stem)
def test_the_examples_of_the_guides_run(guide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in re.findall(r"```python\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(example, guide.name, "exec"), {})


def commands():
    return [line.strip().split("  #")[0] for line in README.splitlines() if line.startswith("    trivium ")]


@pytest.mark.parametrize("command", commands())
def test_the_commands_are_ones_that_exist(command):
    """Names, options and methods of every command line; running them all would take too long."""
    words = shlex.split(command)[1:]
    assert words[0] in cli.commands()
    source = (Path(cli.__file__).parent / f"{words[0]}.py").read_text(encoding="utf-8")
    for word in words[1:]:
        if word.startswith("--"):
            assert f"    {word[2:].replace('-', '_')}:" in source, f"{words[0]} has no option {word}"
    if words[0] in ("show", "certify", "claim"):
        assert split(words[1])


def test_the_make_targets_exist():
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make ([a-z][a-z-]*)", README):
        if target not in ("and",):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_the_picture_is_there():
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / picture).is_file(), picture
