"""Documents that stay, as packed rows: every token where the index says, whatever stops the work, whoever does it."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from tests.data.test_plan import content, lines
from trivium.core.errors import BrokenModel, RunMismatch
from trivium.data.blends import Blend
from trivium.data.curated_packing import Packing
from trivium.data.engines import Here, Processes
from trivium.data.packed_shards import PackedBatches, PackedShards
from trivium.data.packed_table import read_documents
from trivium.data.plan import Plan, Run, Source
from trivium.data.planted import planted
from trivium.data.prepared import Prepared
from trivium.data.raw.documents import Document
from trivium.tokenization.byte import ByteTokenizer

pytest.importorskip("pyarrow")

CONTEXT = 100
WAYS = ("best_fit", "concatenate")


def packing(way="best_fit", **given):
    return Packing(way, **{"context": CONTEXT, "held_out": 0.1, "documents": 20} | given)


@pytest.fixture
def pages(tmp_path):
    """Two files of documents, 70 in all, some much longer than a row and one that is read twice under two names."""
    made = [Document(d.id, d.text[: 3 + 37 * (n % 12)], d.source) for n, d in enumerate(planted(69, seed=3))]
    made.append(Document("again", made[7].text, "books"))
    home = tmp_path / "pages"
    home.mkdir()
    (home / "a.jsonl").write_bytes(lines(made[:40]))
    (home / "b.jsonl").write_bytes(lines(made[40:]))
    return home


def curated(pages, folder):
    return Run(Plan([Source(f"{pages}/*.jsonl")]), folder).go()


def unpacked(shards):
    """The ids of each document, put together from its pieces, in the order of shards."""
    found = []
    for number, shard in enumerate(shards.shards):
        table = list(read_documents(shards.folder / f"{shard['name']}.documents.parquet"))
        ids = [np.full(one.tokens, -1) for one in table]
        for row, column, count, document, place in shards.pieces(number).tolist():
            assert (ids[document][place : place + count] == -1).all(), "no token stands twice"
            ids[document][place : place + count] = shards.ids(number, row)[column : column + count]
        found += [(one, each.tolist()) for one, each in zip(table, ids, strict=True)]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_every_document_is_packed_whole_or_held_out(pages, tmp_path, way):
    outcome = curated(pages, tmp_path / "run")
    shards = packing(way).go(outcome.kept, ByteTokenizer())
    tokenizer = ByteTokenizer()
    expected = list(outcome.documents())
    found = unpacked(shards)
    assert [(one.id, one.source, one.place) for one, _ in found] == [(d.id, d.source, d.place) for d in expected]
    held = set()
    for (one, ids), document in zip(found, expected, strict=True):
        if one.held_out:
            assert ids == []
            held.add(document.text)
        else:
            assert ids == [tokenizer.bos, *tokenizer.encode(document.text), tokenizer.eos]
    assert 2 < len(held) < 20
    prepared = Prepared(str(tmp_path / "run/packed"))
    assert sorted(prepared.validation) == sorted(held)
    assert not held & {d.text for (one, _), d in zip(found, expected, strict=True) if not one.held_out}
    assert len(shards.shards) == 4
    assert shards.documents == sum(not one.held_out for one, _ in found)
    assert shards.tokens == sum(one.tokens for one, _ in found)
    shards.check()


@pytest.mark.parametrize("way", WAYS)
def test_batches_are_rows_with_their_documents_apart(pages, tmp_path, way):
    shards = packing(way).go(curated(pages, tmp_path / "run").kept, ByteTokenizer())
    batch = shards.read(np.arange(shards.rows))
    assert batch.mask is not None
    assert int(batch.mask.sum()) == shards.tokens
    assert batch.segments is not None
    for number in range(shards.rows):
        shard, row = shards.place(number)
        pieces = shards.pieces_of_row(shard, row)
        expected = np.repeat(np.arange(len(pieces)), pieces[:, 2])
        assert batch.segments[number, : len(expected)].tolist() == expected.tolist()
        assert batch.mask[number].tolist() == [True] * len(expected) + [False] * (CONTEXT - len(expected))


def test_each_epoch_deals_every_row_once(pages, tmp_path):
    shards = packing().go(curated(pages, tmp_path / "run").kept, ByteTokenizer())
    batches = PackedBatches(shards, 3, seed=1)
    dealt = np.concatenate([batches.rows(step) for step in range(shards.rows)])
    epochs = dealt.reshape(3, shards.rows)
    assert (np.sort(epochs, 1) == np.arange(shards.rows)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    assert PackedBatches(shards, 3, seed=2).rows(0).tolist() != batches.rows(0).tolist()
    torch.testing.assert_close(batches.batch(5).ids, shards.read(batches.rows(5)).ids)


def test_neither_workers_nor_what_is_encoded_together_change_anything(pages, tmp_path, monkeypatch):
    packing().go(curated(pages, tmp_path / "here").kept, ByteTokenizer(), Here())
    packing().go(curated(pages, tmp_path / "processes").kept, ByteTokenizer(), Processes(2))
    packed = content(tmp_path / "here/packed")
    there = content(tmp_path / "processes/packed")
    named = [json.loads(each.pop("train/index.json")) for each in (packed, there)]
    assert packed == there
    assert [each["facts"].pop("corpus") for each in named] == ["here", "processes"]
    assert named[0] == named[1]
    monkeypatch.setattr("trivium.data.curated_packing.AT_ONCE", 3)
    packing().go(curated(pages, tmp_path / "threes/here").kept, ByteTokenizer())
    assert content(tmp_path / "threes/here/packed") == content(tmp_path / "here/packed")


@pytest.mark.parametrize("dies", ["00000.tokens", "00001.pieces", "00003.documents.parquet", "validation", "index"])
def test_killed_while_packing_it_goes_on_to_the_same_bytes(pages, tmp_path, dies):
    packing().go(curated(pages, tmp_path / "whole/run").kept, ByteTokenizer())
    code = f"""
import os
from pathlib import Path
from tests.data.test_curated_packing import ByteTokenizer, curated, packing
from trivium.data import curated_packing, stages
path, write = stages.Writing.path, curated_packing.files.write
def killed(self, suffix):
    made = path(self, suffix)
    if self._name + suffix == {dies!r} and self._folder.name == "train":
        made.write_bytes(b"half")
        os.kill(os.getpid(), 9)
    return made
def cut(path, content):
    if Path(path).name.startswith({dies!r}):
        os.kill(os.getpid(), 9)
    write(path, content)
stages.Writing.path, curated_packing.files.write = killed, cut
packing().go(curated(Path({str(pages)!r}), Path({str(tmp_path / "broken/run")!r})).kept, ByteTokenizer())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=100)
    assert ran.returncode == -9, ran.stderr[-2000:]
    assert not Prepared.there(tmp_path / "broken/run/packed")
    packing().go(curated(pages, tmp_path / "broken/run").kept, ByteTokenizer())
    assert content(tmp_path / "broken/run") == content(tmp_path / "whole/run")


def test_what_is_drawn_several_times_is_packed_several_times(pages, tmp_path):
    mixer = Blend("documents", {"web": 0.6, "books": 0.2, "forum": 0.2}, size=150)
    outcome = Run(Plan([Source(f"{pages}/*.jsonl")], mixer=mixer), tmp_path).go()
    found = unpacked(packing().go(outcome.kept, ByteTokenizer()))
    assert [one.id for one, _ in found] == [document.id for document in outcome.documents()]
    times = Counter(one.id for one, _ in found)
    assert max(times.values()) > 1
    assert {len({tuple(ids) for one, ids in found if one.id == id}) for id in times} == {1}
    assert len({(one.id, one.held_out) for one, _ in found}) == len(times), "all of one are packed, or none"


def test_what_is_packed_is_not_packed_again(pages, tmp_path):
    kept = curated(pages, tmp_path).kept
    first = packing().go(kept, ByteTokenizer())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "packed/train").glob("*.tokens")}
    assert packing().go(kept, ByteTokenizer()) == first
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_damaged_shard_is_made_anew_and_a_short_one_is_told(pages, tmp_path):
    kept = curated(pages, tmp_path).kept
    shards = packing().go(kept, ByteTokenizer())
    whole = content(tmp_path / "packed")
    path = tmp_path / "packed/train/00001.tokens"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    with pytest.raises(BrokenModel, match="SHA-256 is not the one in index"):
        PackedShards.open(shards.folder).check()
    path.write_bytes(data[:-4])
    with pytest.raises(BrokenModel, match=r"00001.tokens has \d+ bytes where the index says"):
        _ = Prepared(tmp_path / "packed").shards
    packing().go(kept, ByteTokenizer())
    assert content(tmp_path / "packed") == whole
    path.unlink()
    with pytest.raises(BrokenModel, match="holds no whole packed shards"):
        PackedShards.open(shards.folder)


def test_another_packing_tokenizer_or_mix_is_refused_and_replaced(pages, tmp_path, tokenizer_like_bytes):
    kept = curated(pages, tmp_path / "run").kept
    packing(documents=7).go(kept, ByteTokenizer())
    with pytest.raises(RunMismatch, match="with another tokenizer or otherwise"):
        packing("concatenate").go(kept, ByteTokenizer())
    with pytest.raises(RunMismatch, match="is another tokenizer"):
        packing(documents=7).go(kept, tokenizer_like_bytes)
    assert Prepared.there(tmp_path / "run/packed"), "what is there stays as it was"
    other = packing(documents=7).go(kept, tokenizer_like_bytes, replace=True)
    assert {ids[-1] for _, ids in unpacked(other) if ids} == {tokenizer_like_bytes.eos}, "no shard of before is left"
    packing().go(kept, tokenizer_like_bytes, replace=True)
    packing().go(curated(pages, tmp_path / "fresh/run").kept, tokenizer_like_bytes)
    assert content(tmp_path / "run/packed") == content(tmp_path / "fresh/run/packed")
    (pages / "a.jsonl").write_bytes((pages / "a.jsonl").read_bytes() + b'{"id": "x", "text": "more"}\n')
    more = Run(Plan([Source(f"{pages}/*.jsonl")]), tmp_path / "run", replace=True).go().kept
    with pytest.raises(RunMismatch, match="packed of other documents"):
        packing().go(more, tokenizer_like_bytes)


def test_while_shards_are_replaced_there_is_no_index(pages, tmp_path):
    class Stops:
        def map(self, work, items):
            yield work(items[0])
            raise KeyboardInterrupt

    kept = curated(pages, tmp_path).kept
    packing().go(kept, ByteTokenizer())
    with pytest.raises(KeyboardInterrupt):
        packing("concatenate").go(kept, ByteTokenizer(), Stops(), replace=True)
    assert not Prepared.there(tmp_path / "packed")


def test_only_so_many_texts_are_kept_to_evaluate_on(pages, tmp_path, monkeypatch):
    monkeypatch.setattr("trivium.data.curated_packing.HELD_OUT", 2)
    packing(held_out=0.5).go(curated(pages, tmp_path).kept, ByteTokenizer())
    assert len(Prepared(tmp_path / "packed").validation) == 2


@pytest.fixture
def tokenizer_like_bytes(tmp_path):
    """A byte-level BPE without merges, with other special tokens than the byte tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from trivium.tokenization.huggingface import BYTE_TO_CHAR, HuggingFaceTokenizer

    inner = Tokenizer(models.BPE(vocab={BYTE_TO_CHAR[byte]: byte for byte in range(256)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>"))


def test_newer_formats_and_bad_input(pages, tmp_path):
    kept = curated(pages, tmp_path).kept
    shards = packing().go(kept, ByteTokenizer())
    path = shards.folder / "index.json"
    path.write_text(json.dumps(dict(shards.index) | {"format": 3}))
    with pytest.raises(BrokenModel, match="has format 3, this version reads 2; update trivium"):
        _ = Prepared(tmp_path / "packed").shards
    with pytest.raises(ValueError, match="share that leaves some to train on, got 1"):
        packing(held_out=1)
    with pytest.raises(ValueError, match="at least 1 document, got 0"):
        packing(documents=0)
    with pytest.raises(ValueError, match="got context 1"):
        packing(context=1)
    mute = ByteTokenizer()
    mute.eos, mute.opening = None, ()
    with pytest.raises(ValueError, match="marks neither the begin nor the end"):
        packing().go(kept, mute, replace=True)
    with pytest.raises(ValueError, match=r"rows 0 to \d+, not -1"):
        shards.place(-1)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        PackedBatches(shards, 0)
    with pytest.raises(ValueError, match="counted from 0"):
        PackedBatches(shards, 1).batch(-1)


def test_a_run_of_which_nothing_stays(pages, tmp_path):
    (pages / "a.jsonl").write_bytes(b"")
    (pages / "b.jsonl").write_bytes(b"")
    with pytest.raises(ValueError, match="nothing to pack"):
        packing().go(curated(pages, tmp_path / "run").kept, ByteTokenizer())
