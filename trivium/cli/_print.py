"""Printing for people and for programs."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table


def console() -> Console:
    """Standard output; wide enough for whole tables when it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=True, default=str)
    sys.stdout.write("\n")


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the one look of the command line."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number == 0, overflow="fold")
    return made
