"""``trivium shards``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from trivium.cli._print import console, print_json
from trivium.core.progress import progress
from trivium.data.named import named
from trivium.data.packed_shards import PackedShards
from trivium.data.packing import tokenised
from trivium.data.prepared import HELD_OUT, Prepared
from trivium.data.shards import SHARD, Shards, write
from trivium.models.sources import load
from trivium.tokenization.byte import ByteTokenizer


@dataclass(frozen=True)
class Command:
    """Turn a corpus into token shards on disk, which training reads as it goes.

    Example: trivium shards python_docs --tokenizer smollm2-135m --folder data/docs

    Then: trivium train --shards data/docs --steps 500

    Documents stand end to end here, and a row is any stretch of them. To pack curated documents to rows, see
    trivium curate --tokenizer.
    """

    corpus: Positional[str]
    """stories, python_docs, python_code, or a text file or folder."""
    folder: Path
    """Where train/, validation.jsonl and the tokenizer go."""
    tokenizer: str | None = None
    """A model whose tokenizer to use; bytes by default."""
    size: int = SHARD
    """Tokens in a shard."""
    check: bool = False
    """Only compare the shards that lie there with their SHA-256."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        if self.check:
            there = Prepared.named(self.folder).shards
            there.check()
            return self._tell(there)
        tokenizer: Any = ByteTokenizer() if self.tokenizer is None else load(self.tokenizer).tokenizer
        corpus = named(self.corpus)
        documents = corpus["train"]
        Prepared.begin(self.folder, tokenizer, list(corpus["validation"])[:HELD_OUT])

        with progress(f"tokenising {corpus.name}", len(documents)) as bar:

            def ids() -> Iterator[list[int]]:
                for document in documents:
                    yield from tokenised([document], tokenizer)
                    bar.advance()

            shards = write(
                self.folder / "train",
                ids(),
                vocab_size=tokenizer.vocab_size,
                size=self.size,
                facts={"corpus": corpus.name, "corpus_sha256": corpus.sha256, "vocab_size": tokenizer.vocab_size},
            )
        return self._tell(shards)

    def _tell(self, shards: Shards | PackedShards) -> int:
        outcome = {
            "folder": str(self.folder),
            "corpus": shards.facts.get("corpus"),
            "documents": shards.documents,
            "tokens": shards.tokens,
            "shards": len(shards.shards),
            "bytes": sum(path.stat().st_size for path in shards.folder.iterdir()),
        }
        if self.json:
            print_json(outcome)
        else:
            count = f"{shards.documents:,} documents, {shards.tokens:,} tokens in {len(shards.shards)} shards"
            console().print(f"{outcome['corpus']}: {count}")
            console().print(f"train on them: trivium train --shards {self.folder} --steps 500", style="dim")
        return 0
