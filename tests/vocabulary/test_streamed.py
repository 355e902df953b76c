"""From folder to folder: the same model as in memory, with only its ends read; damaged input; crashes."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.vocabulary.systems import (
    NEW,
    languages,
    masked,
    native,
    new_tokenizer,
    old_tokenizer,
    pretrained,
    sentences,
    wordpiece,
)
from trivium import cli
from trivium.core.errors import BrokenModel, NotFinite, NotOffered
from trivium.core.seeds import generator
from trivium.models import streamed as on_disk
from trivium.models.sources import load, store
from trivium.vocabulary._streamed import stored, streamed
from trivium.vocabulary.multivariate import Multivariate
from trivium.vocabulary.ofa import Ofa
from trivium.vocabulary.subword_mean import SubwordMean

MAKE = {
    "native": (native, new_tokenizer),
    "native untied": (lambda: native(tied=False), new_tokenizer),
    "llama": (pretrained, new_tokenizer),
    "llama untied": (lambda: pretrained(tied=False), new_tokenizer),
    "gpt2": (lambda: pretrained("gpt2"), new_tokenizer),
    "bert": (masked, lambda: wordpiece(sentences(NEW), 70)),
    "bert untied": (lambda: masked(tied=False), lambda: wordpiece(sentences(NEW), 70)),
}


def draws():
    return generator(0, "x")


def tensors(folder):
    found = {}
    for path in sorted(folder.glob("model*.safetensors")):
        found |= load_file(path)
    return found


def shards(folder):
    """The single file of a folder, cut in two with an index."""
    whole = load_file(folder / "model.safetensors")
    names = sorted(whole)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for part, ours in parts.items():
        save_file({name: whole[name] for name in ours}, folder / part, metadata={"format": "pt"})
    at = {name: part for part, ours in parts.items() for name in ours}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": at}))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("which", MAKE)
def test_it_is_the_model_that_is_made_in_memory(which, cut, tmp_path):
    if cut and which.startswith("native"):
        pytest.skip("native models are one file")
    make, trained = MAKE[which]
    target = trained()  # once: WordPiece is not trained alike twice
    store(make(), tmp_path / "old")
    if cut:
        shards(tmp_path / "old")
    system, method = load(tmp_path / "old"), Multivariate(scale=0.5)
    made = method.transplant(system, target, generator=draws())
    stored(made, tmp_path / "memory", {})
    report = streamed(method, tmp_path / "old", tmp_path / "disk", target, generator=draws())
    one, two = tensors(tmp_path / "memory"), tensors(tmp_path / "disk")
    assert set(one) == set(two)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert report == made.report
    a, b = load(tmp_path / "memory"), load(tmp_path / "disk")
    ids = torch.arange(5, 12)[None]
    with torch.no_grad():
        assert torch.equal(a.model(ids).logits, b.model(ids).logits)
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("memory", "disk")]
    assert configs[0] == configs[1]
    text = "lo gatu posi em na"
    assert a.tokenizer.encode(text) == b.tokenizer.encode(text)
    card = json.loads((tmp_path / "disk" / "vocabulary.json").read_text())
    assert card["copied"] == report.copied
    assert card["config"] == {"method": "vocabulary/multivariate", "scale": 0.5, "match": "exact"}
    assert card["sha256"] == system.fingerprint


def test_only_the_ends_are_read_whole(tmp_path, monkeypatch):
    store(pretrained(tied=False), tmp_path / "old")
    read, biggest = [], []
    plain, pieces = on_disk.Place.read, on_disk.Place.pieces
    monkeypatch.setattr(on_disk, "PIECE", 64)
    monkeypatch.setattr(on_disk.Place, "read", lambda self: read.append(self.shape) or plain(self))
    monkeypatch.setattr(on_disk.Place, "pieces", lambda self: (biggest.append(len(one)) or one for one in pieces(self)))
    monkeypatch.setattr("trivium.models.sources._pretrained", None)  # nothing opens the model
    streamed(SubwordMean(), tmp_path / "old", tmp_path / "new", new_tokenizer(), generator=draws())
    rows = old_tokenizer().vocab_size + 8
    assert [shape[0] for shape in read] == [rows, rows]
    assert max(biggest) == 64


def test_the_command_streams_too(tmp_path, capsys):
    store(pretrained(), tmp_path / "old")
    new_tokenizer().save(tmp_path / "tokenizer")
    words = ["vocabulary", "transplant", "--model", str(tmp_path / "old"), "--tokenizer", str(tmp_path / "tokenizer")]
    assert cli.run([*words, str(tmp_path / "disk"), "--stream"]) == 0
    assert cli.run([*words, str(tmp_path / "memory")]) == 0
    one, two = tensors(tmp_path / "memory"), tensors(tmp_path / "disk")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert "kept their rows" in capsys.readouterr().out


# Bad input ------------------------------------------------------------------------------------------------------------


def refused(tmp_path, error, match, method=None):
    made = method or SubwordMean()
    with pytest.raises(error, match=match):
        streamed(made, tmp_path / "old", tmp_path / "new", new_tokenizer(), languages(), generator=draws())
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


def test_a_shard_that_is_cut_short_and_an_index_of_what_is_not_there(tmp_path):
    store(pretrained(), tmp_path / "old")
    shards(tmp_path / "old")
    part = tmp_path / "old" / "model-2.safetensors"
    whole = part.read_bytes()
    part.write_bytes(whole[:-7])
    refused(tmp_path, BrokenModel, r"model-2\.safetensors is cut short")
    part.write_bytes(whole[:5])
    refused(tmp_path, BrokenModel, r"model-2\.safetensors has no readable")
    part.write_bytes(whole)
    index = tmp_path / "old" / "model.safetensors.index.json"
    said = json.loads(index.read_text())
    said["weight_map"]["model.layers.9.ghost"] = "model-2.safetensors"
    index.write_text(json.dumps(said))
    refused(tmp_path, BrokenModel, r"model\.layers\.9\.ghost lies in model-2\.safetensors")
    with pytest.raises(BrokenModel, match=r"ghost"):
        load(tmp_path / "old")


def change(folder, edit):
    path = folder / "model.safetensors"
    held = load_file(path)
    edit(held)
    save_file(held, path, metadata={"format": "pt"})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, bad):
    store(pretrained(), tmp_path / "old")
    name = "model.layers.1.mlp.up_proj.weight"
    change(tmp_path / "old", lambda held: held[name].view(-1)[3:4].fill_(bad))
    refused(tmp_path, NotFinite, name.replace(".", r"\."))


def test_a_tokenizer_of_more_ids_than_rows(tmp_path):
    system = pretrained(padding=0)
    store(system, tmp_path / "old")
    new_tokenizer().save(tmp_path / "old")  # has ten more
    refused(tmp_path, ValueError, "do not belong together")


def test_whole_numbers_and_quantised_weights_are_refused(tmp_path):
    store(pretrained(), tmp_path / "old")
    name = "model.embed_tokens.weight"
    change(tmp_path / "old", lambda held: held.update({name: held[name].to(torch.int8)}))
    refused(tmp_path, NotOffered, "plain floating point")
    store(pretrained(), tmp_path / "old")
    path = tmp_path / "old" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": {"bits": 4}}))
    refused(tmp_path, NotOffered, "dequantise it first")


def test_factors_are_refused(tmp_path):
    store(pretrained(), tmp_path / "old")
    refused(tmp_path, NotOffered, "factors, not rows|stays on disk", Ofa(rank=4))


def test_a_crash_leaves_nothing_and_what_one_left_is_no_hindrance(tmp_path, monkeypatch):
    store(pretrained(), tmp_path / "old")
    with monkeypatch.context() as patch:
        patch.setattr(on_disk.OnDisk, "_describe", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        refused(tmp_path, OSError, "disk full")
    (tmp_path / ".new.part").mkdir()
    (tmp_path / ".new.part" / "model-7.safetensors").write_bytes(b"left behind")
    streamed(SubwordMean(), tmp_path / "old", tmp_path / "new", new_tokenizer(), generator=draws())
    assert not (tmp_path / "new" / "model-7.safetensors").exists()
    assert not (tmp_path / ".new.part").exists()
    refused_again = (tmp_path / "new" / "config.json").read_bytes()
    with pytest.raises(ValueError, match="exists"):
        streamed(SubwordMean(), tmp_path / "old", tmp_path / "new", new_tokenizer(), generator=draws())
    assert (tmp_path / "new" / "config.json").read_bytes() == refused_again


def test_files_are_safetensors_of_aligned_data(tmp_path):
    store(pretrained(), tmp_path / "old")
    streamed(SubwordMean(), tmp_path / "old", tmp_path / "new", new_tokenizer(), generator=draws())
    path = tmp_path / "new" / "model.safetensors"
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert length % 8 == 0
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
