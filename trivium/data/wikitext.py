"""WikiText: a file of articles whose words and signs stand apart, and the running text that they were.

An article begins at a line `` = Title = `` behind an empty line, and ends before the next. The rules of ``joined`` are
those by which evaluation of language models has undone the spaces since Megatron-LM (Shoeybi et al. 2019,
arXiv:1909.08053); they are kept with their oddities, since published perplexities depend on them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

TITLE = re.compile(r" = [^=].* = ?")

BEFORE: Sequence[tuple[str, str]] = (
    ("s '", "s'"),
    *((f" @{sign}@ ", sign) for sign in "-,."),
    *((f" {sign} ", f"{sign} ") for sign in ":;.!?,"),
)
"""What is replaced before brackets and quotes are closed up, in this order."""

PAIRS: Sequence[tuple[str, str]] = (("(", ")"), ("[", "]"), ("{", "}"), ('"', '"'), ("'", "'"))

AFTER: Sequence[tuple[str, str]] = (
    ("= = = =", "===="),
    ("= = =", "==="),
    ("= =", "=="),
    (" ° ", "°"),
    (" \n", "\n"),
    ("\n ", "\n"),
    (" N ", " 1 "),
    (" 's", "'s"),
)


def articles(path: str | Path) -> list[str]:
    """The articles of a file, as they stand there. Raises ValueError for a file that has none."""
    found: list[list[str]] = []
    before = ""
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        if TITLE.fullmatch(line) and not before.strip():
            found.append([])
        if found:
            found[-1].append(line)
        before = line
    if not found:
        raise ValueError(f"{path} holds no article of WikiText: no line reads ' = Title = ' behind an empty one")
    return ["\n".join(lines) for lines in found]


def joined(text: str) -> str:
    """The text without the spaces around its signs."""
    for apart, together in BEFORE:
        text = text.replace(apart, together)
    for left, right in PAIRS:
        inside = rf"{re.escape(left)}\s*([^{re.escape(right)}]*?)\s*{re.escape(right)}"
        text = re.sub(inside, lambda match, left=left, right=right: f"{left}{match[1]}{right}", text)
    for apart, together in AFTER:
        text = text.replace(apart, together)
    return text
