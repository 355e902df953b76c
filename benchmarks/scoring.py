"""Scoring of continuations against lm-evaluation-harness, on the same weights in float32: requests per second.

Both sides are given the same requests, of ARC-Easy, HellaSwag and BLiMP in the harness's forms, and each runs in the
batch size that is best for it, found on the first of them. The harness's model is its own ``HFLM`` around the very
module that we run, with its cache of logits on. Ours keeps nothing from one run to the next. The largest difference of
a log-probability is noted. Needs the package ``lm-eval`` (extra ``bench``) and the sets beside the checkout.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.pairs import in_turns, processor, ratio_of, seconds
from trivium.data import questions
from trivium.data.questions import Form
from trivium.models.huggingface import HuggingFaceModel
from trivium.models.scoring import Request, score
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.huggingface import HuggingFaceTokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS: dict[str, tuple[str, Form]] = {
    "ARC-Easy": ("arc/arc_easy_validation.jsonl", "arc"),
    "HellaSwag": ("hellaswag/validation_part.jsonl", "hellaswag"),
    "BLiMP": ("blimp/anaphor_gender_agreement.jsonl.gz", "blimp"),
}
SIZES = (1, 4, 8, 16, 32, 64)

Scorer = Callable[[Sequence[Request], int], list[float]]


def run(model: str = "smollm2-135m", *, count: int = 60, repeats: int = 3) -> dict[str, Any]:
    """``count`` questions of each set."""
    system = load(model, dtype="float32")
    sides: dict[str, Scorer] = {"ours": _ours(system), "harness": _harness(system)}
    rows, notes = [], [processor()]
    for name, (path, form) in SETS.items():
        if not (DATA / path).is_file():
            notes.append(f"{name} left out: {DATA / path} is not there")
            continue
        asked = questions.read(DATA / path, form)[:count]
        requests = [Request(one.question, f" {option}") for one in asked for option in one.options]
        tried = requests[: max(len(requests) // 4, 1)]
        best = {side: _best(scorer, tried) for side, scorer in sides.items()}
        bodies = {side: partial(scorer, requests, best[side]) for side, scorer in sides.items()}
        took = in_turns(bodies, repeats=repeats)
        row = ratio_of(f"scoring / lm-eval, {name}", took["ours"], took["harness"], 2.0)
        rows.append(row)
        apart = max(abs(a - b) for a, b in zip(*(body() for body in bodies.values()), strict=True))
        notes.append(
            f"{name}, {len(requests)} requests: {len(requests) / row['ours_seconds']:.1f} requests/s in batches of "
            f"{best['ours']} against {len(requests) / row['peer_seconds']:.1f} in batches of {best['harness']}; "
            f"at most {apart:.1e} nats apart"
        )
    return {"rows": rows, "notes": notes}


def _best(scorer: Scorer, requests: Sequence[Request]) -> int:
    """The batch size in which a side is fastest, after one run to warm up."""
    scorer(requests, SIZES[0])
    return min(SIZES, key=lambda size: seconds(lambda: scorer(requests, size)))


def _ours(system: System) -> Scorer:
    return lambda requests, size: [one.total for one in score(system, requests, batch_size=size)]


def _harness(system: System) -> Scorer:
    """The harness's own model class around our module and tokenizer."""
    if not isinstance(system.model, HuggingFaceModel) or not isinstance(system.tokenizer, HuggingFaceTokenizer):
        raise TypeError(f"{system.name} is no Hugging Face model, so the harness has nothing to run")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    peer: Any = import_module("lm_eval.models.huggingface")
    instance: Any = import_module("lm_eval.api.instance").Instance
    model = peer.HFLM(pretrained=system.model.inner, tokenizer=system.tokenizer.inner, device="cpu", batch_size=1)

    def scored(requests: Sequence[Request], size: int) -> list[float]:
        model.batch_size_per_gpu = size
        made = [instance("loglikelihood", doc={}, arguments=(one.context, one.continuation), idx=0) for one in requests]
        with torch.no_grad():
            return [total for total, _ in model.loglikelihood(made, disable_tqdm=True)]

    return scored
