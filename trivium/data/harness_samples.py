"""Records in the sample format of lm-evaluation-harness: one JSON line per item, ``samples_TASK_TIME.jsonl``.

{"doc_id": 0, "doc": {...}, "target": "2",           the right answer, as text
 "arguments": {"gen_args_0": {"arg_0": context, "arg_1": continuation or settings}, ...},
 "resps": [[["-3.2", "False"]], ...],                per request what was answered, numbers as text
 "filtered_resps": [["-3.2", "False"], ...], "filter": "none",
 "metrics": ["acc", "acc_norm"],
 "doc_hash", "prompt_hash", "target_hash": SHA-256,
 "acc": 1.0, "acc_norm": 0.0}                        one entry per metric
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trivium.core import files

Sample = dict[str, Any]

NAMES = {
    "accuracy": "acc",
    "per_character": "acc_norm",
    "per_byte": "acc_bytes",
    "pmi": "acc_mutual_info",
}
"""What the harness calls the measures of our own multiple choice."""


def sample(
    number: int,
    document: Mapping[str, Any],
    target: Any,
    arguments: Sequence[Sequence[Any]],
    answers: Sequence[Any],
    filtered: Sequence[Any],
    metrics: Mapping[str, Any],
    *,
    name: str = "none",
) -> Sample:
    """One line of a file. ``arguments``: what each request was; ``answers``: what was answered to it, such as
    (log-probability, greedy) or a text; ``filtered``: the same behind the filter ``name``."""
    told = json.dumps(document, indent=2, default=str, ensure_ascii=False)
    return {
        "doc_id": number,
        "doc": dict(document),
        "target": str(target),
        "arguments": {
            f"gen_args_{n}": {f"arg_{k}": part for k, part in enumerate(request)} for n, request in enumerate(arguments)
        },
        "resps": [[_texts(answer)] for answer in answers],
        "filtered_resps": [_texts(answer) for answer in filtered],
        "filter": name,
        "metrics": list(metrics),
        "doc_hash": _hash(told),
        "prompt_hash": _hash(str(arguments[0][0])),
        "target_hash": _hash(str(target)),
        **metrics,
    }


def write(samples: Mapping[str, Iterable[Sample]], folder: str | Path, stamp: str) -> list[Path]:
    """One file per task, named as the harness names them; ``stamp`` is the time in the name. Returns the files."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for task, lines in sorted(samples.items()):
        path = folder / f"samples_{task}_{stamp}.jsonl"
        lines = list(lines)
        filters = list(dict.fromkeys(line["filter"] for line in lines))
        ordered = sorted(lines, key=lambda line: (filters.index(line["filter"]), line["doc_id"]))
        files.write(path, "".join(json.dumps(line, default=str, ensure_ascii=False) + "\n" for line in ordered))
        written.append(path)
    return written


def _texts(found: Any) -> Any:
    """Lists stay lists, everything in them becomes text."""
    return [_texts(one) for one in found] if isinstance(found, (list, tuple)) else str(found)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
