"""Run the benchmarks and record the ratios: ``python -m benchmarks [NAME ...] [--drafts FOLDER] [--gguf FILE]``.

Each module has ``run() -> {"rows": [Ratio.to_dict(), ...], "notes": [sentence, ...]}``. Results are merged into
``benchmarks/results.json`` with the machine they were measured on; run it on a machine that does nothing else.
"""

import argparse
import inspect
import json
import sys
from importlib import import_module
from pathlib import Path

from trivium.core.files import write
from trivium.core.provenance import provenance

HERE = Path(__file__).parent
OTHERS = {"__main__", "__init__", "pairs"}


def main(wanted: list[str], options: dict[str, str | None]) -> None:
    """Run the named benchmarks, or all, each with the options that it knows."""
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in OTHERS)
    for name in wanted or known:
        if name not in known:
            sys.exit(f"no benchmark is called {name!r}; there are {', '.join(known)}")
        run = import_module(f"benchmarks.{name}").run
        found = run(**{word: value for word, value in options.items() if word in inspect.signature(run).parameters})
        path = HERE / "results.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        results[name] = {**found, "provenance": provenance()}
        write(path, json.dumps(dict(sorted(results.items())), indent=1) + "\n")
        for row in found["rows"]:
            target = row.get("target")
            met = "" if target is None else f"  target {target}: {'met' if row['ratio'] >= target else 'MISSED'}"
            print(f"{name}: {row['what']}: {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f}){met}", flush=True)
        for note in found.get("notes", []):
            print(f"  {note}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed against peers, as ratios.")
    parser.add_argument("names", nargs="*", help="benchmarks to run; all by default")
    parser.add_argument("--drafts", help="folder with trained drafters: medusa, hidden_transfer, chimera, draft")
    parser.add_argument("--gguf", help="the 4-bit file of the model, for llama.cpp; fetched where not given")
    said = vars(parser.parse_args())
    main(said.pop("names"), said)
