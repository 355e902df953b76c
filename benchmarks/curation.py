"""Curation against datatrove on the same generated documents: documents per second, and memory as they grow more.

datatrove wants packages of its own, so ``--peers`` names the Python of an environment that has it; without, only memory
is measured. Both sides have their documents in memory and run in one process: the rules of Gopher and C4 in datatrove's
reading, and MinHash from documents to those that stay (5 words, 14 x 8). datatrove stops at the first filter that drops
a document, and we measure them all. Tokens are made of real text, Python's standard library, by one byte-level BPE: we
pack them to rows with an index and checksums, datatrove writes them end to end; a process starts with no word known.
Memory is the peak of a process that curates files by plan, at two sizes.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._worker import worker
from benchmarks.pairs import processor, ratio_of, seconds
from trivium.curation.c4 import C4
from trivium.curation.gopher import Gopher
from trivium.curation.near_copies import NearCopies
from trivium.data.curated_packing import Packing
from trivium.data.curating import curated, measured
from trivium.data.marks import Texts
from trivium.data.plan import Plan, Run, Source
from trivium.data.planted import planted
from trivium.data.python_docs import python_code
from trivium.tokenization.training import TokenizerRecipe

COUNT, TARGET = 20_000, 2.0
SMALL, FLAT = 50_000, 1.2
"""Documents of the smaller run by plan, and how much more memory a larger one may take."""
_BY_PLAN = """
import resource, sys
from trivium.curation.c4 import C4
from trivium.curation.gopher import Gopher
from trivium.data.engines import Here
from trivium.data.plan import Plan, Run, Source
home = sys.argv[1]
Run(Plan([Source(home + "/*.jsonl")], {"gopher": Gopher(), "c4": C4()}), home + "/run").go(Here(), show=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def run(*, peers: str | None = None, count: int = COUNT, repeats: int = 5, large: int = 0) -> dict[str, Any]:
    """``peers``: the Python of an environment with datatrove; ``large``: documents of a second run by plan, such as
    1,000,000, whose memory is set beside that of 50,000."""
    rows: list[dict[str, Any]] = []
    notes = [processor(), f"{count:,} generated documents of about 1,100 characters"]
    if peers is not None:
        for rows_of, said in (_speeds(peers, count, repeats), _packing(peers, count, repeats)):
            rows += rows_of
            notes += said
    if large:
        rows.append(_memory(min(SMALL, large // 2), large))
        notes.append("of memory the figures are kilobytes, where others are seconds")
    return {"rows": rows, "notes": notes}


def _speeds(python: str, count: int, repeats: int) -> tuple[list[dict[str, Any]], list[str]]:
    texts = Texts.of(planted(count))
    ours = {"tag": lambda: _tag(texts), "minhash": lambda: len(curated(NearCopies(), texts).texts)}
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "documents.jsonl"
        _write(path, texts)
        with worker(python, "_datatrove.py", {"file": str(path)}) as ask:
            for name, body in ours.items():
                kept, theirs = body(), ask(name)["kept"]  # the first of each is a warm-up
                notes.append(f"{name}: we keep {kept:,}, datatrove {theirs:,}")
                took = [(seconds(body), ask(name)["seconds"]) for _ in range(repeats)]
                mine, peer = ([pair[side] for pair in took] for side in (0, 1))
                rows.append(ratio_of(f"{name} / datatrove", mine, peer, TARGET))
    return rows, notes


def _packing(python: str, count: int, repeats: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Documents to packed shards, in a folder of its own each time so that nothing is remembered."""
    found = list(python_code()["train"])[:count]
    texts = Texts([str(number) for number in range(len(found))], found, ["python"] * len(found))
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        _write(home / "documents.jsonl", texts)
        tokenizer = TokenizerRecipe("bpe", 8000).train(found[:100])
        tokenizer.save(home / "tokenizer")  # type: ignore[attr-defined]
        kept = Run(Plan([Source(str(home / "documents.jsonl"))]), home / "run").go(show=False).kept

        def ours(turn: int) -> tuple[float, int]:
            folder = home / f"turn{turn}"
            shutil.copytree(home / "run", folder)
            began = time.perf_counter()
            made = Packing(held_out=0).go(replace(kept, folder=folder), tokenizer, show=False)
            took = time.perf_counter() - began
            shutil.rmtree(folder)
            return took, made.tokens

        said = {"file": str(home / "documents.jsonl"), "tokenizer": str(home / "tokenizer/tokenizer.json")}
        with worker(python, "_datatrove.py", said) as ask:
            (_, tokens), theirs = ours(0), ask("pack")["kept"]  # the first of each is a warm-up
            took = [(ours(turn)[0], ask("pack")["seconds"]) for turn in range(1, repeats + 1)]
    mine, peer = ([pair[side] for pair in took] for side in (0, 1))
    characters = sum(map(len, found))
    notes = [f"pack: {characters:,} characters of real text; we write {tokens:,} tokens, datatrove {theirs:,}"]
    return [ratio_of("tokenise and pack / datatrove", mine, peer, TARGET)], notes


def _tag(texts: Texts) -> int:
    gopher, c4 = Gopher("datatrove"), C4("datatrove")
    stay = [
        method.rules.decide(marks.under(name)).kept
        for name, method in (("gopher", gopher), ("c4", c4))
        for marks in measured(method, [texts])
    ]
    return int((stay[0] & stay[1]).sum())


def _memory(small: int, large: int) -> dict[str, Any]:
    """Peak of the small run over that of the large one: 1 is flat."""
    peaks = [float(peak) for peak in map(_peak, (small, large))]
    what = f"peak memory at {small:,} documents / at {large:,}"
    return ratio_of(what, [peaks[1]], [peaks[0]], 1 / FLAT)


def _peak(count: int) -> int:
    """Kilobytes, of a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        for number, part in enumerate(_shards(count)):
            _write(Path(home) / f"{number:05d}.jsonl", part)
        done = subprocess.run([sys.executable, "-c", _BY_PLAN, home], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1])


def _shards(count: int, size: int = 10_000) -> Iterator[Texts]:
    held = []
    for one in planted(count):
        held.append(one)
        if len(held) == size:
            yield Texts.of(held)
            held = []
    if held:
        yield Texts.of(held)


def _write(path: Path, texts: Texts) -> None:
    with path.open("w", encoding="utf-8") as file:
        for id, text, source in zip(texts.ids, texts.texts, texts.sources, strict=True):
            file.write(json.dumps({"id": id, "text": text, "source": source}) + "\n")
