"""Provenance: what a number needs beside it before it may stand in a report."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("trivium", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Versions, commit and machine. Holds no path and no user name."""
    import torch

    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "commit": _commit(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
    }


def provenance(**facts: Any) -> dict[str, Any]:
    """The environment, the time, and the facts given (seeds, data hashes, settings, budgets)."""
    return {"made": datetime.now(UTC).isoformat(timespec="seconds"), **environment(), **facts}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


RECORDED = (":(exclude)claims/results", ":(exclude)benchmarks/results.json")


def _commit() -> dict[str, Any] | None:
    """Commit of the checkout this package runs from and whether it was clean; None outside one. Results recorded there
    do not count: one that was just written says nothing about the code behind the next."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        ask = lambda *words: subprocess.run(  # noqa: E731
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = ask("status", "--porcelain", "--untracked-files=no", "--", ".", *RECORDED)
        return {"id": ask("rev-parse", "HEAD"), "clean": not changed}
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
