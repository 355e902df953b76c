"""Tokenizers read from a model's folder."""

import json
from pathlib import Path

from trivium.core.errors import BrokenModel
from trivium.core.protocols import Tokenizer
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.huggingface import HuggingFaceTokenizer
from trivium.tokenization.transforms import CaseTokenizer

WAYS = (("tokenizer.json",), ("tokenizer.model",), ("spiece.model",), ("vocab.json", "merges.txt"), ("vocab.txt",))
"""The sets of files of which one holds a whole vocabulary."""


def restore(folder: str | Path, *, remote_code: bool = False) -> Tokenizer:
    """The tokenizer of a model folder. Raises BrokenModel where its files are missing or cannot be read."""
    folder = Path(folder)
    if not any(all((folder / name).is_file() for name in names) for names in WAYS) and not remote_code:
        raise BrokenModel(
            f"{folder} has no tokenizer: expected {folder / 'tokenizer.json'}; copy it from where the model came from"
        )
    config = folder / "tokenizer_config.json"
    try:
        said = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    except ValueError as error:
        raise BrokenModel(
            f"{config} is no valid JSON ({error}); copy it again from where the model came from"
        ) from error
    if said.get("trivium") == "byte":
        return ByteTokenizer()
    from transformers import AutoTokenizer

    try:
        inner = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=remote_code)
    except Exception as error:  # the tokenizers library raises bare Exception for a file it cannot parse
        raise BrokenModel(
            f"the tokenizer in {folder} cannot be read: {error}; copy its files again from where the model came from"
        ) from error
    restored = HuggingFaceTokenizer(inner)
    return CaseTokenizer(restored) if said.get("trivium_transform") == "case" else restored
