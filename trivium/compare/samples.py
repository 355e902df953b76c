"""The records of a run as sample files of lm-evaluation-harness: one folder per contender, one file per task."""

import re
from collections import defaultdict
from pathlib import Path

from trivium.compare.folder import RunFolder
from trivium.data import harness_samples
from trivium.data.harness_samples import Sample


def exported(folder: str | Path, into: str | Path) -> list[Path]:
    """Write the files and return them. Of several seeds the first counts.

    Raises ValueError for a run whose task does not keep its requests.
    """
    run = RunFolder(folder)
    made = run.provenance().get("made", "")
    stamp = re.sub(r"[^0-9T.-]", "-", made.split("+")[0]) or "run"
    found: dict[str, dict[str, dict[tuple[str, int], Sample]]] = defaultdict(lambda: defaultdict(dict))
    records = 0
    for record in run.records():
        if record["phase"] != "score" or record["error"] is not None or not record["example"]:
            continue
        records += 1
        output = record["output"] or {}
        for sample in output.get("samples", ()):
            kept = found[record["contender"]][output.get("task", "task")]
            kept.setdefault((sample["filter"], sample["doc_id"]), sample)
    if not found:
        said = "holds no scored example" if not records else "is of a task that does not keep its requests"
        raise ValueError(f"{folder} {said}; harness_task, multiple_choice and few_shot keep them")
    written = []
    for contender, tasks in found.items():
        place = Path(into) / re.sub(r"[^\w.=,-]+", "_", contender).strip("_")
        written += harness_samples.write({task: kept.values() for task, kept in tasks.items()}, place, stamp)
    return written
