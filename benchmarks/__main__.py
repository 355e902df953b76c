"""Run the benchmarks and record the ratios: ``python -m benchmarks [NAME ...] [--drafts FOLDER] [--device cuda] ...``.

Each module has ``run() -> {"rows": [Ratio.to_dict(), ...], "notes": [sentence, ...]}``. Results are merged into
``benchmarks/results.json`` with the machine they were measured on; run it on a machine that does nothing else. Those of
a GPU stand beside the others, under the name of the benchmark and the device.
"""

import argparse
import inspect
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from trivium.core.files import write
from trivium.core.provenance import provenance

HERE = Path(__file__).parent
OTHERS = {"pairs"}


def main(wanted: list[str], options: dict[str, Any]) -> None:
    """Run the named benchmarks, or all, each with the options that it knows."""
    known = sorted(path.stem for path in HERE.glob("[!_]*.py") if path.stem not in OTHERS)
    for name in wanted or known:
        if name not in known:
            sys.exit(f"no benchmark is called {name!r}; there are {', '.join(known)}")
        run = import_module(f"benchmarks.{name}").run
        takes = inspect.signature(run).parameters
        own = {word: value for word, value in options.items() if value is not None and word in takes}
        found = run(**own)
        elsewhere = own.get("device")
        path = HERE / "results.json"
        results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        results[f"{name} {elsewhere}" if elsewhere else name] = {**found, "provenance": provenance()}
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
    parser.add_argument("--model", help="a folder or name in place of smollm2-135m, where the benchmark allows it")
    parser.add_argument("--litgpt", help="the Python of an environment with litgpt, which wants packages of its own")
    parser.add_argument("--inseq", help="the Python of an environment with inseq, which may want packages of its own")
    parser.add_argument("--peers", help="the Python of an environment with datatrove, for the benchmark of curation")
    parser.add_argument("--large", type=int, help="documents at which the memory of curation is measured")
    parser.add_argument("--count", type=int, help="prompts of each kind, or documents")
    parser.add_argument("--tokens", type=int, help="tokens of the prompt that attribution explains")
    parser.add_argument("--points", type=int, help="points on the path of integrated gradients")
    parser.add_argument("--repeats", type=int, help="runs of each contestant")
    parser.add_argument("--device", help="where the model runs, such as cuda; the processor by default")
    said = vars(parser.parse_args())
    main(said.pop("names"), said)
