"""A model on disk whose rows of tokens are exchanged while all its other tensors go from file to file in pieces.

Only the matrices at both ends are ever in memory, so that a model may be larger than that. What the pieces are called
is found out from the model's own code, built without storage.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn

from trivium.core import files
from trivium.core.errors import BrokenModel, NotFinite, NotOffered
from trivium.models import saving, sources
from trivium.models.vocabulary import Rows, check_finite_rows, check_padding, leftovers, respeak

PIECE = 1 << 24
"""Bytes that are held of a tensor that goes from file to file."""
DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
}  # fmt: skip
"""The number formats, by their names in safetensors, in which rows are exchanged."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: its file, number format, shape, and first and last byte."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def pieces(self) -> Iterator[bytes]:
        with self.file.open("rb") as file:
            file.seek(self.start)
            left = self.stop - self.start
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise BrokenModel(f"{self.file} ended while it was read; copy it again from where it came from")
                left -= len(piece)
                yield piece

    def read(self) -> Tensor:
        """The whole tensor. Raises NotOffered for what are no plain numbers."""
        if self.dtype not in DTYPES:
            raise NotOffered(f"rows are exchanged in plain floating point, and {self.file} has them as {self.dtype}")
        data = bytearray().join(self.pieces())
        return torch.frombuffer(data, dtype=DTYPES[self.dtype]).view(self.shape)


class OnDisk:
    """A model folder, checked, with the names of what depends on the vocabulary. Nothing of it is loaded.

    Raises BrokenModel for a shard that is cut short and for an index that names a tensor which its shard lacks,
    NotOffered for quantised weights and heads that are no rows of tokens.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = sources.config_of(self.folder)
        sources.check_weights(self.folder)
        if "quantization_config" in self.config:
            raise NotOffered(f"{folder} holds quantised weights; dequantise it first and store it in bfloat16")
        if (self.folder / sources.FACTORS).is_file():
            raise NotOffered(f"{folder} holds a factorised embedding, which is given no other rows")
        self.native = self.config.get("model_type") == "trivium"
        self.places = self._places()
        self.skeleton = self._built(None)
        self.ends = self._ends()

    @cached_property
    def vocab_size(self) -> int:
        return self.places[self.ends["embedding"][0]].shape[0]

    @property
    def parameters(self) -> int:
        return _count(self.skeleton)

    def rows(self) -> Rows:
        """Embedding and head, read. Raises NotFinite for damaged ones."""
        found = {end: self.places[names[0]].read() for end, names in self.ends.items()}
        rows = Rows(found["embedding"], found.get("head"), found.get("bias"))
        check_finite_rows(rows)
        return rows

    def check(self) -> None:
        """Raises NotFinite, naming the tensors, for weights with NaN or infinity in them; reads all once."""
        bad = []
        for name, place in self.places.items():
            if (dtype := DTYPES.get(place.dtype)) is not None and not all(
                torch.frombuffer(bytearray(piece), dtype=dtype).isfinite().all() for piece in place.pieces()
            ):
                bad.append(name)
        if bad:
            raise NotFinite(f"{self.folder} holds weights that are not finite: {', '.join(bad[:8])}; copy it again")

    def write(self, folder: Path, rows: Rows, roles: Mapping[str, int | None]) -> int:
        """Write the model with these rows into a folder; the number of its parameters.

        Raises NotOffered where something besides the ends depends on the vocabulary, ValueError where positions are
        counted from a padding token that moves.
        """
        count = len(rows.embedding)
        made = self._built(count)
        self._check_rest(made)
        check_padding(self.skeleton, roles)
        given = {"embedding": rows.embedding, "head": rows.head, "bias": rows.bias}
        new: dict[str, Tensor] = {}
        for end, names in self.ends.items():
            tensor = given[end]
            assert tensor is not None
            new.update({name: tensor for name in names})
        size = 0
        for shard in sorted({place.file for place in self.places.values()}):
            ours = {name: place for name, place in self.places.items() if place.file == shard}
            size += _copied(ours, new, folder / shard.name)
        index = self.folder / sources.INDEX
        if index.is_file():
            said = json.loads(index.read_text(encoding="utf-8"))
            said.setdefault("metadata", {})["total_size"] = size
            files.write(folder / sources.INDEX, json.dumps(said, indent=2) + "\n")
        self._describe(folder, count, roles)
        return _count(made)

    # How it is found out --------------------------------------------------------------------------------------------

    def _places(self) -> dict[str, Place]:
        single = self.folder / sources.WEIGHTS
        if single.is_file():
            return _header(single)
        index = self.folder / sources.INDEX
        said: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = {name: _header(self.folder / name) for name in sorted(set(said.values()))}
        return {tensor: shards[shard][tensor] for tensor, shard in said.items()}

    def _built(self, count: int | None) -> nn.Module:
        """The model without storage, of another vocabulary where a count is given."""
        with torch.device("meta"):
            if self.native:
                size = self.config.get("vocab_size") if count is None else count
                return saving.build(self.config.get("recipe"), size, str(self.folder / "config.json"))
            config = self._pretrained_config()
            if count is not None:
                respeak(config, None, count, {})
            made: Any = sources.class_for(self.config).from_config(config)
        return made

    def _pretrained_config(self) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BrokenModel(f"transformers cannot read {self.folder / 'config.json'}: {error}") from error

    def _tables(self, model: nn.Module) -> dict[str, Any]:
        """embedding, and head and bias where they are the model's own -> the parameter."""
        any_: Any = model
        embedding = any_.embedding if self.native else any_.get_input_embeddings()
        head = any_.head if self.native else any_.get_output_embeddings()
        table, own = getattr(embedding, "weight", None), getattr(head, "weight", None)
        if not isinstance(table, Tensor) or not isinstance(own, Tensor) or table.ndim != 2 or len(own) != len(table):
            raise NotOffered(f"{type(model).__name__} has no embedding and head with a row for each token")
        found: dict[str, Any] = {"embedding": table}
        if own is not table:
            found["head"] = own
        if isinstance(bias := getattr(head, "bias", None), Tensor):
            found["bias"] = bias
        return found

    def _ends(self) -> dict[str, list[str]]:
        """embedding, head, bias -> the tensors of the files that hold it, as a rule one."""
        parameters = dict(self.skeleton.named_parameters(remove_duplicate=False))
        model: Any = self.skeleton
        prefix = getattr(self.skeleton, "base_model_prefix", "") + "."
        found = {}
        for end, parameter in self._tables(self.skeleton).items():
            called = [name for name, other in parameters.items() if other is parameter]
            called += leftovers(model) if end == "bias" and not self.native else []
            called += [name.removeprefix(prefix) for name in called] + [prefix + name for name in called]
            called += [saving.PREFIX + name for name in called] if self.native else []
            held = [name for name in dict.fromkeys(called) if name in self.places]
            if not held:
                raise BrokenModel(f"{self.folder} lacks the {end}; none of {called[:4]} is in its files")
            for name in held:
                if self.places[name].shape != tuple(parameter.shape):
                    raise BrokenModel(
                        f"{self.places[name].file}: {name} is {self.places[name].shape}, where config.json says "
                        f"{tuple(parameter.shape)}"
                    )
            found[end] = held
        return found

    def _check_rest(self, made: nn.Module) -> None:
        """Nothing but the ends may have another shape in a model of another vocabulary."""
        ends = {id(part) for part in self._tables(self.skeleton).values()}
        apart = set() if self.native else set(leftovers(self.skeleton))
        held, new = (
            {**dict(one.named_parameters(remove_duplicate=False)), **dict(one.named_buffers())}
            for one in (self.skeleton, made)
        )
        for name, tensor in held.items():
            if id(tensor) not in ends and name not in apart and (name not in new or new[name].shape != tensor.shape):
                raise NotOffered(
                    f"{type(made).__name__} has weights besides embedding and head that depend on the vocabulary: "
                    f"{name}"
                )

    def _describe(self, folder: Path, count: int, roles: Mapping[str, int | None]) -> None:
        """config.json and generation_config.json, as a model that was changed in memory would write them."""
        if self.native:
            said = self.config | {"vocab_size": count}
            said |= {f"{role}_token_id": roles.get(role) for role in ("bos", "eos", "pad")}
            files.write(folder / saving.CONFIG, json.dumps(said, indent=2) + "\n")
            return
        from transformers import GenerationConfig

        config = self._pretrained_config()
        generation = None
        if (self.folder / "generation_config.json").is_file():
            generation = GenerationConfig.from_pretrained(self.folder)
        respeak(config, generation, count, roles)
        config.save_pretrained(folder)
        if generation is not None:
            generation.save_pretrained(folder)


def _count(model: nn.Module) -> int:
    return sum(part.numel() for part in model.parameters())


def _header(path: Path) -> dict[str, Place]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        said = json.loads(file.read(length))
    return {
        name: Place(path, one["dtype"], tuple(one["shape"]), *(8 + length + at for at in one["data_offsets"]))
        for name, one in said.items()
        if name != "__metadata__"
    }


def _copied(ours: Mapping[str, Place], new: Mapping[str, Tensor], path: Path) -> int:
    """Write a safetensors file of the tensors, new ones in their place; the bytes of its tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, place in ours.items():
        tensor = new.get(name)
        size = place.stop - place.start if tensor is None else tensor.numel() * tensor.element_size()
        dtype, shape = (place.dtype, place.shape) if tensor is None else (NAMES[tensor.dtype], tuple(tensor.shape))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    start = json.dumps(header, separators=(",", ":")).encode()
    start += b" " * (-len(start) % 8)
    with files.written(path) as part, part.open("wb") as file:
        file.write(struct.pack("<Q", len(start)))
        file.write(start)
        for name, place in ours.items():
            if (tensor := new.get(name)) is not None:
                _poured(tensor, file)
            else:
                for piece in place.pieces():
                    file.write(piece)
    return at


def _poured(tensor: Tensor, file: BinaryIO) -> None:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    for part in flat.split(max(PIECE // flat.element_size(), 1)):
        file.write(cast(Any, part.view(torch.uint8).numpy()).tobytes())
