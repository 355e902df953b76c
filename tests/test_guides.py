"""Examples of the guide to the inside of models run as they stand, each by itself."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "docs" / "pages" / "guide" / "interpretability.md"
EXAMPLES = re.findall(r"## ([^\n]+)\n(?:(?!\n## ).)*?```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", [code for _, code in EXAMPLES], ids=[heading for heading, _ in EXAMPLES])
def test_it_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "guide", "exec"), {})


def test_none_is_left_out():
    assert len(EXAMPLES) == GUIDE.read_text(encoding="utf-8").count("```python")
