"""A process with another Python that answers lines of JSON: a peer that cannot be installed beside us."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Ask = Callable[[str], dict[str, Any]]
"""A line to the process -> what it answers."""


@contextmanager
def worker(python: str, script: str, said: dict[str, Any]) -> Iterator[Ask]:
    """Start a script of this folder; it is told ``said`` and answers with a line of JSON when it is ready."""
    process = subprocess.Popen(
        [python, str(Path(__file__).parent / script), json.dumps(said)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def answer() -> dict[str, Any]:
        assert process.stdout is not None
        while line := process.stdout.readline():
            if line.startswith("{"):  # whatever else a library prints is not for us
                return json.loads(line)
        raise RuntimeError(f"the process of {script} ended; run its command by hand to see why")

    def ask(line: str) -> dict[str, Any]:
        assert process.stdin is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        return answer()

    try:
        answer()
        yield ask
    finally:
        process.kill()
        process.wait()
