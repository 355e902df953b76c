"""What a model made of every token that it read: a key for each place, and the token that came there.

Entry i of a text has as its key the representation at token i - 1, which has seen everything before, and as its value
token i. A text longer than the window is read in windows that overlap, so that every key has seen a good part of what
stands before it.

    ffn     what enters the last block's feed-forward, after its norm: the default of kNN-LM
    final   what enters the head
    both    one after the other
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from trivium.core import files
from trivium.core.capabilities import require_offers
from trivium.core.errors import BrokenModel, NotFinite
from trivium.core.progress import Bar
from trivium.models._rows import check_batch, padded
from trivium.models.fingerprint import fingerprint
from trivium.models.system import System
from trivium.nn.modes import evaluating

Representation = Literal["ffn", "final", "both"]
HEADER, KEYS, VALUES = "header.json", "keys.npy", "values.npy"


@dataclass(frozen=True, eq=False)
class Entries:
    """``keys`` (entries, width), ``values`` (entries,) int64; ``logp`` (entries,): of the values by the model itself,
    where that was asked for; ``text`` (entries,) int64: number of the text that each is of."""

    keys: Tensor
    values: Tensor
    text: Tensor
    logp: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def some(self, kept: Tensor) -> "Entries":
        """Those that are marked, or of these numbers."""
        return Entries(
            self.keys[kept], self.values[kept], self.text[kept], None if self.logp is None else self.logp[kept]
        )


def entries(
    system: System,
    texts: Sequence[str],
    *,
    representation: Representation = "ffn",
    length: int = 512,
    overlap: float = 0.25,
    batch_size: int = 4,
    limit: int | None = None,
    likelihoods: bool = False,
    bar: Bar | None = None,
) -> Entries:
    """Every predicted token of the texts, in order, at most ``limit`` of them.

    ``overlap``: the share of a window that was read before. Raises ValueError for texts without a predicted token,
    NotFinite for keys that are not finite, UnknownName where the model shows no such place.
    """
    if representation not in get_args(Representation):
        raise ValueError(f"representation must be one of {', '.join(get_args(Representation))}; got {representation!r}")
    require_offers("a datastore", system.model, ["causal", "sites"])
    check_batch(system, batch_size)
    most = system.model.max_positions
    length = length if most is None else min(length, most)
    if length < 2 or not 0.0 <= overlap < 1.0 or (limit is not None and limit < 1):
        raise ValueError(f"length must be at least 2, overlap 0 to 1, limit 1; got {length}, {overlap} and {limit}")
    rows: list[list[int]] = []
    left = limit
    for text in texts:
        ids = system.prompt(text)[0].tolist() if text else []
        rows.append(ids if left is None else ids[: left + 1])
        if left is not None and (left := left - max(len(rows[-1]) - 1, 0)) <= 0:
            break
    windows = [(row, *each) for row, ids in enumerate(rows) for each in _windows(len(ids), length, overlap)]
    if not windows:
        raise ValueError(f"none of the {len(texts)} texts has a token that is predicted; give longer ones")
    if bar is not None:
        bar.total = sum(stop - first - 1 for _, _, stop, first in windows)
    found: list[tuple[Tensor, Tensor, Tensor | None]] = []
    with torch.no_grad(), evaluating(system.model):
        for begin in range(0, len(windows), batch_size):
            some = windows[begin : begin + batch_size]
            made = list(_pass(system, rows, some, representation, likelihoods))
            found += made
            if bar is not None:
                bar.advance(sum(len(values) for _, values, _ in made))
    owner = torch.cat([torch.full((stop - first - 1,), row) for row, _, stop, first in windows])
    logp = torch.cat([one for _, _, one in found if one is not None]) if likelihoods else None
    return Entries(
        torch.cat([keys for keys, _, _ in found]), torch.cat([values for _, values, _ in found]), owner, logp
    )


def _windows(count: int, length: int, overlap: float) -> Iterator[tuple[int, int, int]]:
    """Start, stop, and the first place whose state is taken, so that each place but the last is taken once."""
    done, fresh = 0, max(1, round(length * (1 - overlap)) - 1)
    while done < count - 1:
        stop = min(length if done == 0 else done + fresh + 1, count)
        yield max(stop - length, 0), stop, done
        done = stop - 1


def _pass(
    system: System,
    rows: Sequence[list[int]],
    some: Sequence[tuple[int, int, int, int]],
    representation: Representation,
    likelihoods: bool,
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Keys, values and log-probabilities of each window; padding stands on the right, where nothing sees it."""
    model = system.model
    ids, mask = padded([rows[row][start:stop] for row, start, stop, _ in some], model.device, left=False)
    site = f"blocks.{model.depth - 1}.mlp.norm"
    sites = () if representation == "final" else (site,)
    whole = likelihoods or representation != "ffn"
    with model.capture(*sites) as seen:
        out = model(ids, mask=mask, logits_to_keep=0 if whole else 1)
    states = {"ffn": seen.get(site), "final": out.hidden}
    parts = [states[name] for name in (("ffn", "final") if representation == "both" else (representation,))]
    keys = torch.cat([part for part in parts if part is not None], -1).float().cpu()
    for place, (row, start, stop, first) in enumerate(some):
        taken = slice(first - start, stop - start - 1)
        mine = keys[place, taken]
        if not mine.isfinite().all():
            raise NotFinite(f"{system.name} gives text {row} states that are not finite; use a wider dtype")
        values = torch.tensor(rows[row][first + 1 : stop])
        logp = None
        if likelihoods:
            wide = out.logits[place, taken].float().log_softmax(-1).cpu()
            logp = wide.gather(1, values[:, None])[:, 0].double()
        yield mine, values, logp


@dataclass(frozen=True, eq=False)
class Datastore:
    """Entries of one model, to be searched by that model alone. ``made``: how, with the fingerprint of its weights."""

    keys: Tensor
    values: Tensor
    made: dict[str, object]

    @staticmethod
    def build(
        system: System,
        texts: Sequence[str],
        *,
        representation: Representation = "ffn",
        length: int = 512,
        overlap: float = 0.25,
        batch_size: int = 4,
        limit: int | None = None,
        bar: Bar | None = None,
    ) -> "Datastore":
        """One pass over the texts; see ``entries``."""
        read = entries(
            system,
            texts,
            representation=representation,
            length=length,
            overlap=overlap,
            batch_size=batch_size,
            limit=limit,
            bar=bar,
        )
        return Datastore(read.keys, read.values, made_by(system, representation))

    def __len__(self) -> int:
        return len(self.values)

    def check(self, system: System, representation: Representation) -> None:
        """Raise ValueError unless the keys mean to this system what they meant to the one that made them."""
        asked = made_by(system, representation)
        for name, value in self.made.items():
            if asked[name] != value:
                raise ValueError(f"this store was made with {name} {value!r}, not {asked[name]!r}; build it again")

    def save(self, folder: str | Path) -> None:
        """Keys and values as arrays, and a header."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, tensor in ((KEYS, self.keys), (VALUES, self.values)):
            with files.written(folder / name) as part, Path(part).open("wb") as out:
                np.save(out, tensor.numpy())
        files.write(folder / HEADER, json.dumps(self.made, indent=1) + "\n")

    @staticmethod
    def load(folder: str | Path, *, mapped: bool = True) -> "Datastore":
        """A store as it was saved; ``mapped``: keys stay on disk until they are read. Raises BrokenModel where a file
        is missing or the numbers of entries differ."""
        folder = Path(folder)
        for name in (HEADER, KEYS, VALUES):
            if not (folder / name).is_file():
                raise BrokenModel(f"{folder / name} is missing; a datastore holds {HEADER}, {KEYS} and {VALUES}")
        keys = np.load(folder / KEYS, mmap_mode="c" if mapped else None, allow_pickle=False)
        values = np.load(folder / VALUES, allow_pickle=False)
        if keys.ndim != 2 or values.shape != keys.shape[:1]:
            raise BrokenModel(f"{folder} has keys {keys.shape} for values {values.shape}; build the store again")
        made = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        return Datastore(torch.from_numpy(keys), torch.from_numpy(values), made)


def made_by(system: System, representation: Representation) -> dict[str, object]:
    """What must agree between a store and who asks it."""
    return {
        "model": fingerprint(system.model),
        "precision": system.precision,
        "opening": list(getattr(system.tokenizer, "opening", ())),
        "representation": representation,
    }
