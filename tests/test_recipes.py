"""The recipes of model families: short, documented with their full scale, and runnable."""

import ast
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from trivium.cli import run

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.glob("*.py"))


def test_there_is_one_for_each_family():
    assert [path.stem for path in RECIPES] == [
        "babylm", "gpt3", "languini", "paramanu_ganita", "pints", "tinystories", "yi",
    ]  # fmt: skip


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_is_short_and_says_its_full_scale(path):
    text = path.read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text)) or ""
    assert len(text.splitlines()) <= 60
    assert "Full scale (" in said
    assert re.search(r"minutes", said)
    assert f"trivium train --recipe recipes/{path.name} --folder" in said


QUICK = ("gpt3", "pints", "tinystories")


@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[] if path.stem in QUICK else pytest.mark.slow, id=path.stem) for path in RECIPES]
)
def test_it_trains(path, tmp_path, capsys):
    """One update, and the trained model is there."""
    assert run(["train", "--recipe", str(path), "--steps", "1", "--folder", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 1
    assert (tmp_path / "model" / "config.json").is_file()


@pytest.mark.slow
def test_what_yi_grows(tmp_path, capsys):
    """The further commands of its docstring, with a step each."""
    said = ast.get_docstring(ast.parse((FOLDER / "yi.py").read_text(encoding="utf-8"))) or ""
    lines = re.sub(r"\\\n\s+", "", said).splitlines()
    first, *grown = [shlex.split(line)[1:] for line in lines if line.startswith("    trivium ")]
    assert run([*first, "--steps", "1", *_into(first, tmp_path)]) == 0
    for words in grown:
        here = [str(tmp_path / word) if word.startswith("runs/") else word for word in words]
        here[here.index("--steps") + 1] = "1"
        assert run([*here, "--batch-size", "1", "--doublings", "0"]) == 0
    assert "steps" in capsys.readouterr().out
    assert (tmp_path / "runs" / "yi-longer" / "model" / "config.json").is_file()


def _into(words: list[str], folder: Path) -> list[str]:
    return ["--folder", str(folder / words[words.index("--folder") + 1])]


@pytest.mark.slow
def test_a_domain_model_can_begin_with_another(tmp_path, capsys):
    assert run(["train", "--recipe", str(FOLDER / "tinystories.py"), "--steps", "1",
                "--folder", str(tmp_path / "general"), "--json"]) == 0  # fmt: skip
    capsys.readouterr()
    assert run(["train", "--recipe", str(FOLDER / "paramanu_ganita.py"), "--start-from",
                str(tmp_path / "general" / "model"), "--steps", "1", "--folder", str(tmp_path / "further"),
                "--json"]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["steps"] == 1


def test_words_of_the_budget_are_counted():
    """BabyLM's recipe takes no more words than it may, and nearly all of them."""
    found = runpy.run_path(str(FOLDER / "babylm.py"))
    words = sum(len(text.split()) for text in found["corpus"]["train"])
    assert found["WORDS"] - 60 <= words <= found["WORDS"]
