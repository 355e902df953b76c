"""Run the benchmarks and record the ratios: ``python -m benchmarks [NAME ...]``.

Each module has ``run() -> {"rows": [Ratio.to_dict(), ...], "notes": [sentence, ...]}``. Results are merged into
``benchmarks/results.json`` with the machine they were measured on; run it on a machine that does nothing else.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

from trivium.core.files import write
from trivium.core.provenance import provenance

HERE = Path(__file__).parent
OTHERS = {"__main__", "__init__", "pairs"}


def main(wanted: list[str]) -> None:
    """Run the named benchmarks, or all."""
    known = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in OTHERS)
    for name in wanted or known:
        if name not in known:
            sys.exit(f"no benchmark is called {name!r}; there are {', '.join(known)}")
        found = import_module(f"benchmarks.{name}").run()
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
    main(sys.argv[1:])
