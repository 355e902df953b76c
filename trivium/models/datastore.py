"""What a model made of every token that it read: a key for each place, and the token that came there.

Entry i of a text has as its key the representation at token i - 1, which has seen everything before, and as its value
token i. A text longer than the window is read in windows that overlap, so that every key has seen a good part of what
stands before it.

    ffn     what enters the last block's feed-forward, after its norm: the default of kNN-LM
    final   what enters the head
    both    one after the other
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
KeyDtype = Literal["float32", "float16"]
HEADER, KEYS, VALUES = "header.json", "keys.npy", "values.npy"


@dataclass(frozen=True, eq=False)
class Entries:
    """``keys`` (entries, width), ``values`` (entries,) int64; ``logp`` (entries,): of the values by the model itself,
    where that was asked for; ``text`` (entries,) int64: number of the text that each is of, -1 where it is not kept."""

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
    plan = _plan(system, texts, representation, length, overlap, batch_size, limit)
    found = list(_passes(system, plan, representation, batch_size, likelihoods, bar))
    owner = torch.cat([torch.full((stop - first - 1,), row) for row, _, stop, first in plan.windows])
    logp = torch.cat([one for _, _, one in found if one is not None]) if likelihoods else None
    return Entries(
        torch.cat([keys for keys, _, _ in found]), torch.cat([values for _, values, _ in found]), owner, logp
    )


@dataclass(frozen=True)
class _Plan:
    """Tokens of each text, and of each window its text, start, stop, and the first place whose state is taken."""

    rows: list[list[int]]
    windows: list[tuple[int, int, int, int]]

    def __len__(self) -> int:
        return sum(stop - first - 1 for _, _, stop, first in self.windows)

    @property
    def digest(self) -> str:
        """Of all that is read."""
        return files.sha256(json.dumps([self.rows, self.windows]).encode())


def _plan(
    system: System,
    texts: Sequence[str],
    representation: Representation,
    length: int,
    overlap: float,
    batch_size: int,
    limit: int | None,
) -> _Plan:
    """What is to be read; refuses what cannot be."""
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
    return _Plan(rows, windows)


def _passes(
    system: System,
    plan: _Plan,
    representation: Representation,
    batch_size: int,
    likelihoods: bool,
    bar: Bar | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Keys, values and log-probabilities of each window in turn."""
    if bar is not None:
        bar.total = len(plan)
    for begin in range(0, len(plan.windows), batch_size):
        with torch.no_grad(), evaluating(system.model):
            some = plan.windows[begin : begin + batch_size]
            made = list(_pass(system, plan.rows, some, representation, likelihoods))
        if bar is not None:
            bar.advance(sum(len(values) for _, values, _ in made))
        yield from made


def narrowed(keys: Tensor, dtype: KeyDtype) -> Tensor:
    """Keys in this dtype. Raises NotFinite for numbers that it cannot hold, ValueError for another dtype."""
    if dtype not in get_args(KeyDtype):
        raise ValueError(f"dtype of keys must be one of {', '.join(get_args(KeyDtype))}; got {dtype!r}")
    made = keys.to(getattr(torch, dtype))
    if not made.isfinite().all():
        raise NotFinite(f"keys reach {float(keys.abs().max()):.3g}, which {dtype} cannot hold; keep them in float32")
    return made


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
        folder: str | Path | None = None,
        representation: Representation = "ffn",
        dtype: KeyDtype = "float32",
        length: int = 512,
        overlap: float = 0.25,
        batch_size: int = 4,
        limit: int | None = None,
        bar: Bar | None = None,
    ) -> "Datastore":
        """One pass over the texts; see ``entries``. With a ``folder`` keys go there as they are made, so that no memory
        holds them all, and a store of the same model and texts that is there already is taken as it is.

        Raises ValueError where the folder holds another store, NotFinite for keys that ``dtype`` cannot hold.
        """
        plan = _plan(system, texts, representation, length, overlap, batch_size, limit)
        made = made_by(system, representation) | {"dtype": dtype, "read": plan.digest}
        passes = (
            (narrowed(keys, dtype), values)
            for keys, values, _ in _passes(system, plan, representation, batch_size, False, bar)
        )
        if folder is None:
            found = list(passes)
            return Datastore(torch.cat([keys for keys, _ in found]), torch.cat([values for _, values in found]), made)
        folder = Path(folder)
        with files.locked(folder, wait=True):
            if (folder / HEADER).is_file():
                store = Datastore.load(folder)
                store.check(system, representation)
                _agree(store.made, {name: made[name] for name in ("dtype", "read")})
                return store
            _write(folder, passes, len(plan), made)
        return Datastore.load(folder)

    def __len__(self) -> int:
        return len(self.values)

    def check(self, system: System, representation: Representation) -> None:
        """Raise ValueError unless the keys mean to this system what they meant to the one that made them."""
        _agree(self.made, made_by(system, representation))

    @property
    def entries(self) -> Entries:
        """What is searched."""
        return Entries(self.keys, self.values, torch.full_like(self.values, -1))

    def save(self, folder: str | Path) -> None:
        """Keys and values as arrays, and a header, in place of a store that is there."""
        _write(Path(folder), [(self.keys, self.values)], len(self), self.made)

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


def _agree(made: Mapping[str, object], asked: Mapping[str, object]) -> None:
    told = {"read": "texts and windows whose digest is"}
    for name, value in asked.items():
        if made.get(name) != value:
            raise ValueError(
                f"this store was made with {told.get(name, name)} {made.get(name)!r}, not {value!r}; build it again, "
                "or another one elsewhere"
            )


def _write(folder: Path, parts: Iterable[tuple[Tensor, Tensor]], count: int, made: Mapping[str, object]) -> None:
    """The header goes first and comes last, so that a folder with one is whole."""
    (folder / HEADER).unlink(missing_ok=True)
    values, keys = np.empty(count, np.int64), None
    with files.written(folder / KEYS) as part:
        start = 0
        for rows, said in parts:
            if keys is None:
                dtype = rows.numpy().dtype
                keys = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=(count, rows.shape[1]))
            keys[start : start + len(rows)], values[start : start + len(rows)] = rows.numpy(), said.numpy()
            start += len(rows)
        if keys is not None:
            keys.flush()
    with files.written(folder / VALUES) as part, Path(part).open("wb") as out:
        np.save(out, values)
    files.write(folder / HEADER, json.dumps(dict(made), indent=1) + "\n")
