"""GGUF files turned, once, into a folder of safetensors, configuration and tokenizer.

The blocks of a quantised file are written out in float32. No smaller type holds them: on SmolLM2-135M in Q4_1 the
products of block scale and 4-bit code are off by up to 0.2 % of a matrix's largest weight in bfloat16 and by 0.04 % in
float16, while float32 keeps each exactly, so that exactness claims hold for the file as published.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from trivium.core.errors import BrokenModel
from trivium.models._quiet import quiet

MAGIC = b"GGUF"
SPLITS_DIGITS = frozenset({"smollm", "starcoder", "refact", "command-r"})
"""Names of pre-tokenizers that make each digit a piece of its own before anything else."""


def convert(source: Path, folder: Path) -> None:
    """Write the model in a GGUF file to a folder. Raises BrokenModel for a file that is cut short or no GGUF."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    pre = _pre_tokenizer(source)
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
            raise BrokenModel(f"{source} cannot be converted: {error}; try another quantisation of the model") from error
        if pre in SPLITS_DIGITS:
            _split_digits(tokenizer)
        model.hf_quantizer = None  # the weights are plain by now; without this they would not be saved
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _pre_tokenizer(source: Path) -> str:
    """The name of the file's pre-tokenizer; reads the whole table of contents on the way."""
    import gguf

    with open(source, "rb") as file:
        magic = file.read(4)
    if magic != MAGIC:
        raise BrokenModel(f"{source} is no GGUF file: it begins with {magic!r}, expected {MAGIC!r}; fetch it again")
    try:
        reader = gguf.GGUFReader(source)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise BrokenModel(f"{source} is cut short or damaged ({error}); fetch it again") from error
    field = reader.get_field("tokenizer.ggml.pre")
    return str(field.contents()) if field is not None else ""


def _split_digits(tokenizer: Any) -> None:
    """Split digits off before the byte-level pieces, as the model was trained; transformers reads no pre-tokenizer name
    and would let the space before a number join the run of spaces ahead of it."""
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


def is_gguf(path: Path) -> bool:
    return bool(re.search(r"\.gguf$", path.name, re.IGNORECASE))
