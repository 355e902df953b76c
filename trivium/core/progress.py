"""The one progress bar: what remains and what was spent; off when standard error is no terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@dataclass
class Bar:
    """A handle on the running bar; every call is a no-op where there is no terminal."""

    total: float
    done: float = 0.0
    _progress: Progress | None = field(default=None, repr=False)
    _task: TaskID | None = field(default=None, repr=False)

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        self.done += amount
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=amount)
        if note is not None:
            self.note(note)

    def note(self, text: str) -> None:
        """Replace the text behind the bar: what runs now, or what was spent."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, note=text)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        (self._progress.console if self._progress is not None else Console(stderr=True)).print(text, markup=False)


@contextmanager
def progress(label: str, total: float, *, done: float = 0.0, show: bool | None = None) -> Iterator[Bar]:
    """Show one bar from ``done`` to ``total``. ``show=None`` asks the terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield Bar(total, done)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as shown:
        task = shown.add_task(label, total=total, completed=done, note="")  # pyright: ignore[reportArgumentType]
        yield Bar(total, done, shown, task)
