"""What the page on statistics shows works as pasted, prints what it says, and its commands exist."""

import re
import shlex
from pathlib import Path

from trivium import cli

PAGE = (Path(__file__).parents[1] / "docs" / "pages" / "statistics.md").read_text(encoding="utf-8")


def test_every_example_runs_and_prints_what_the_page_says(capsys):
    space: dict = {}
    blocks = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", PAGE, re.DOTALL)
    assert len(blocks) > 8
    for code, printed in blocks:
        exec(compile(code, "statistics.md", "exec"), space)
        assert capsys.readouterr().out == printed


def test_the_commands_are_ones_that_exist():
    found = [shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("    trivium ")]
    assert {words[0] for words in found} == {"rate", "dsl"}
    for words in found:
        assert words[0] in cli.commands()
        source = (Path(cli.__file__).parent / f"{words[0]}.py").read_text(encoding="utf-8")
        for word in words[1:]:
            if word.startswith("--"):
                assert f"    {word[2:].replace('-', '_')}:" in source, f"{words[0]} has no option {word}"


def test_every_module_is_on_the_page():
    folder = Path(__file__).parents[1] / "trivium" / "evaluation" / "stats"
    shown = set(re.findall(r"trivium\.evaluation\.stats\.(\w+)", PAGE))
    inner = {"elo", "learner", "verdicts"}  # named in words: what others are made of, and Elo
    assert {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")} - inner == shown
