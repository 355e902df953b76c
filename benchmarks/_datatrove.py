"""datatrove's side of the curation benchmark, run by the Python of an environment in which it is installed.

It reads the documents from the file that its argument names and, for each piece of work that a line asks for, does it
once and says how long that took and how many documents it kept, or tokens it wrote.
"""

import inspect
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main(said: dict[str, Any]) -> None:
    from datatrove.data import Document  # type: ignore[import-not-found]
    from datatrove.utils.logging import logger  # type: ignore[import-not-found]

    logger.remove()
    rows = [json.loads(line) for line in Path(said["file"]).read_text(encoding="utf-8").splitlines()]
    fresh = lambda: [Document(text=row["text"], id=row["id"]) for row in rows]  # noqa: E731
    work = {"tag": tag, "minhash": minhash, "pack": lambda documents: pack(documents, said["tokenizer"])}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        documents = fresh()
        began = time.perf_counter()
        kept = work[line.strip()](documents)
        print(json.dumps({"seconds": time.perf_counter() - began, "kept": kept}), flush=True)


def tag(documents: list[Any]) -> int:
    """Gopher's and C4's filters, as they follow each other in its own example of FineWeb; each stops at what falls."""
    from datatrove.pipeline.filters import (  # type: ignore[import-not-found]
        C4QualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = [GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter()]
    return sum(all(one.filter(document) is True for one in filters) for document in documents)


def minhash(documents: list[Any]) -> int:
    """Its four steps, from documents to those that stay."""
    from datatrove.pipeline.dedup import minhash as steps  # type: ignore[import-not-found]
    from datatrove.utils.hashing import HashConfig  # type: ignore[import-not-found]

    config = steps.MinhashConfig(hash_config=HashConfig(precision=64), n_grams=5, num_buckets=14, hashes_per_bucket=8)
    with tempfile.TemporaryDirectory() as home:
        signatures, buckets, gone = (f"{home}/{name}" for name in ("signatures", "buckets", "gone"))
        steps.MinhashDedupSignature(output_folder=signatures, config=config).run(documents, 0, 1)
        for bucket in range(config.num_buckets):
            step = steps.MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)
            step.run(None, bucket, config.num_buckets)
        steps.MinhashDedupCluster(input_folder=buckets, output_folder=gone, config=config).run(None, 0, 1)
        return sum(1 for _ in steps.MinhashDedupFilter(input_folder=gone).run(documents, 0, 1))


def pack(documents: list[Any], tokenizer: str) -> int:
    """Its tokeniser, from documents to a file of tokens with their ends; rows it cuts when it reads."""
    from datatrove.pipeline.tokens import DocumentTokenizer  # type: ignore[import-not-found]

    known = inspect.signature(DocumentTokenizer).parameters
    unshuffled = {name: False for name in ("shuffle", "shuffle_documents") if name in known}
    with tempfile.TemporaryDirectory() as home:
        step = DocumentTokenizer(home, tokenizer_name_or_path=tokenizer, eos_token="<|eos|>", **unshuffled)
        step.run(iter(documents), 0, 1)
        return sum(path.stat().st_size for path in Path(home).glob("*.ds")) // 2


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
