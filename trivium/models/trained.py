"""Small trained modules that belong to one model: the folder they are kept in, and the hash that ties them to it.

A folder holds ``card.json`` and one file of tensors. The card names the method, the version of this layout, the base
model by a hash of its weights, and whatever the method wants to be told again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trivium.core import files
from trivium.core.errors import BrokenModel, NotFinite
from trivium.core.protocols import LanguageModel
from trivium.core.provenance import provenance
from trivium.models.fingerprint import fingerprint

FORMAT = 1
CARD = "card.json"

M = TypeVar("M", bound=nn.Module)


class Module(nn.Module):
    """A trained part."""

    offers: frozenset[str] = frozenset()
    over_vocabulary: tuple[str, ...] = ()
    """Names of parameters (..., vocab, width), where there are any."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype


@dataclass(frozen=True)
class TrainedFolder:
    """Where a trained module is kept. ``what`` and ``command``: what errors call it, and what makes a new one;
    ``weights``: the file of its tensors; ``entries``: what its card must have."""

    folder: Path
    method: str
    what: str
    command: str
    weights: str
    entries: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The card's."""
        return self.folder / CARD

    def card(self) -> dict[str, Any]:
        """What the card says. Raises BrokenModel for a damaged one, ValueError for that of another method."""
        path = self.path
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BrokenModel(
                f"{path} is missing; {self.folder} should be what `{self.command} --folder` wrote"
            ) from None
        except ValueError as error:
            raise BrokenModel(f"{path} is no valid JSON ({error}); train again or copy the file anew") from error
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            said = card.get("format") if isinstance(card, dict) else type(card).__name__
            raise BrokenModel(f"{path} has format {said!r}, this version reads {FORMAT}; train the {self.what} again")
        if card.get("method") != self.method:
            raise ValueError(f"{self.folder} holds a {card.get('method')!r} {self.what}, not {self.method!r}")
        lacking = {"base", *self.entries} - card.keys()
        if lacking:
            raise BrokenModel(f"{path} lacks {', '.join(sorted(lacking))}; train the {self.what} again")
        return card

    def check(self, card: Mapping[str, Any], model: LanguageModel) -> None:
        """Raise ValueError where the card names another model than this one."""
        base, way_out = card["base"], f"Train one for it: {self.command} --model MODEL --folder FOLDER"
        if (base["width"], base["vocab_size"]) != (model.width, model.vocab_size):
            raise ValueError(
                f"{self.folder} was trained for {base['name']} of width {base['width']} and {base['vocab_size']} "
                f"tokens, but this target has width {model.width} and {model.vocab_size} tokens. {way_out}"
            )
        if base["sha256"] != fingerprint(model):
            raise ValueError(
                f"{self.folder} was trained for {base['name']} with weights {base['sha256'][:12]}; those of this "
                f"target are {fingerprint(model)[:12]}. {way_out}"
            )

    def fill(self, module: M) -> M:
        """The module with the tensors of the folder. Raises BrokenModel for a damaged file, and NotFinite for numbers
        that are none."""
        path = self.folder / self.weights
        found = path.stat() if path.exists() else None
        tensors = _read(str(path), None if found is None else (found.st_mtime_ns, found.st_size), self.what)
        wanted = dict(module.named_parameters())
        for name in wanted.keys() ^ tensors.keys():
            raise BrokenModel(f"{path} {'lacks' if name in wanted else 'has an unknown'} tensor {name!r}")
        with torch.no_grad():
            for name, tensor in wanted.items():
                if tensors[name].shape != tensor.shape:
                    shape = tuple(tensors[name].shape)
                    raise BrokenModel(f"{path}: tensor {name!r} is {shape}, the card wants {tuple(tensor.shape)}")
                tensor.copy_(tensors[name])
        return module

    def write(self, module: nn.Module, model: LanguageModel, /, *, base: str, **entries: Any) -> None:
        """Write tensors and card, the card last: without it there is nothing, with it there is a whole one. ``base``:
        what the model is called."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.named_parameters()}
        card = {
            "format": FORMAT,
            "method": self.method,
            "base": {
                "name": base,
                "sha256": fingerprint(model),
                "width": model.width,
                "vocab_size": model.vocab_size,
            },
            **entries,
            "provenance": provenance(),
        }
        with files.written(self.folder / self.weights) as part:
            save_file(tensors, part)
        files.write(self.path, json.dumps(card, indent=1) + "\n")


@lru_cache(maxsize=4)
def _read(path: str, state: tuple[int, int] | None, what: str) -> dict[str, Tensor]:
    """The tensors of a file, read once as long as it does not change; and checked."""
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise BrokenModel(f"{path} is missing; a {what}'s folder holds {CARD} and {Path(path).name}") from None
    except SafetensorError as error:
        raise BrokenModel(f"{path} is truncated or damaged ({error}); copy the file anew") from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise NotFinite(f"{path}: tensor {name!r} holds NaN or infinity; its training diverged, train it again")
    return tensors
