"""GGUF files turned, once, into a folder of safetensors, configuration and tokenizer.

The blocks of a quantised file are written out in float32. No smaller type holds them: on SmolLM2-135M in Q4_1 the
products of block scale and 4-bit code are off by up to 0.2 % of a matrix's largest weight in bfloat16 and by 0.04 % in
float16, while float32 keeps each exactly, so that exactness claims hold for the file as published.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from trivium.core import files
from trivium.core.errors import BrokenModel
from trivium.models._quiet import quiet

MAGIC = b"GGUF"
SPLITS_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r"})
"""Names of pre-tokenizers that make each digit a piece of its own before anything else."""


def convert(source: Path, folder: Path) -> None:
    """Write the model in a GGUF file to a folder. Raises BrokenModel for a file that is cut short or no GGUF."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    pre, size = _vocabulary(source)
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # its reader draws a bar whatever it is told
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
            model: Any = AutoModelForCausalLM.from_pretrained(
                source.parent,
                gguf_file=source.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
            )
        except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise BrokenModel(
                f"{source} cannot be converted: {error}; try another quantisation of the model"
            ) from error
        model.hf_quantizer = None  # the weights are plain by now; without this they would not be saved
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _as_in_the_file(folder / "tokenizer.json", pre, size)


def _vocabulary(source: Path) -> tuple[str, int]:
    """The name of the file's pre-tokenizer and its number of tokens; reads the whole table of contents on the way."""
    import gguf

    with open(source, "rb") as file:
        magic = file.read(4)
    if magic != MAGIC:
        raise BrokenModel(f"{source} is no GGUF file: it begins with {magic!r}, expected {MAGIC!r}; fetch it again")
    try:
        reader = gguf.GGUFReader(source)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise BrokenModel(f"{source} is cut short or damaged ({error}); fetch it again") from error
    pre, tokens = reader.get_field("tokenizer.ggml.pre"), reader.get_field("tokenizer.ggml.tokens")
    if tokens is None:
        raise BrokenModel(f"{source} holds no tokenizer; use a GGUF file that does")
    return str(pre.contents()) if pre is not None else "", len(tokens.data)


def _as_in_the_file(path: Path, pre: str, size: int) -> None:
    """Bring a converted tokenizer in line with its file, in two things that transformers makes up.

    It adds an end-of-text token of its own where the file's has another name, for which the model has no row; and it
    reads no pre-tokenizer name, so that digits, which the model was trained to see split off first, would leave the
    space before a number to it instead of to the run of spaces ahead.
    """
    said = json.loads(path.read_text(encoding="utf-8"))
    said["added_tokens"] = [token for token in said["added_tokens"] if token["id"] < size]
    if pre in SPLITS_DIGITS:
        said["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        }
    files.write(path, json.dumps(said, ensure_ascii=False))


def is_gguf(path: Path) -> bool:
    """Whether a file's name says that it is GGUF."""
    return path.suffix.lower() == ".gguf"
