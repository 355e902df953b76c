"""Lines of Markdown, and cells of a terminal, in which nothing that is told is markup or control."""

from rich.text import Text

from trivium.core.text import one_line


def plain(text: object) -> str:
    """Text within a line of Markdown."""
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#&~" else character for character in one_line(text))


def line(*cells: object) -> str:
    """A row of a table."""
    return "| " + " | ".join(map(plain, cells)) + " |"


def safe(text: object, style: str = "") -> Text:
    """Text for a terminal."""
    return Text(one_line(text), style=style)
