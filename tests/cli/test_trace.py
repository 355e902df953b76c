"""`trivium trace`: documents, tokens, rows and steps."""

import json

import pytest

from tests.data.test_curated_packing import packing
from tests.data.test_tracing import pages, run
from trivium import cli
from trivium.data.packed_shards import PackedBatches
from trivium.tokenization.byte import ByteTokenizer

pytest.importorskip("pyarrow")
__all__ = ["pages"]


@pytest.fixture
def folder(pages, tmp_path):
    packing(held_out=0).go(run(pages, tmp_path / "run").kept, ByteTokenizer())
    return str(tmp_path / "run")


def trace(capsys, *words: str):
    assert cli.run(["trace", *words]) == cli.OK
    return capsys.readouterr().out


def test_a_document_in_words_and_as_json(folder, capsys):
    said = trace(capsys, folder, "twice#2")
    for part in ("twice#2  (web)", "b.jsonl, record 19, 108 characters", "gopher.word_count = 18", "stays"):
        assert part in said
    assert "tokens 0 to 109 of 110 from row" in said.replace("tokens 0 to 99 of 110", "tokens 0 to 109 of 110")
    told = json.loads(trace(capsys, folder, "twice#2", "--json"))["documents"][0]
    assert told["packed"][0]["tokens"] == 110
    assert sum(piece["tokens"] for piece in told["packed"][0]["pieces"]) == 110
    dropped = json.loads(trace(capsys, folder, "e", "--most", "50", "--json"))["documents"]
    short = next(one for one in dropped if len(one["rules"]) == 2)
    assert "dropped   by few; short would too" in trace(capsys, folder, short["id"])
    assert "refused: " in trace(capsys, folder, "torn leaf")


def test_tokens_rows_and_steps_lead_to_documents(folder, capsys):
    told = json.loads(trace(capsys, folder, "twice", "--json"))["documents"][0]
    piece = told["packed"][0]["pieces"][0]
    said = trace(capsys, folder, "--at", f"{piece['shard']}:{piece['at'] + 1}")
    assert "id 116, 't', token 1 of its document, in 'the first one the first o" in said
    assert "twice  (web)" in said
    row = json.loads(trace(capsys, folder, "--row", str(piece["row"]), "--json"))[0]
    assert "twice" in {one["id"] for one in row["pieces"]}
    assert "twice" in trace(capsys, folder, "--row", str(piece["row"]))
    rows = json.loads(trace(capsys, folder, "--step", "4", "--batch-size", "3", "--seed", "5", "--json"))
    from trivium.data.tracing import Trace

    shards = Trace(folder).shards
    assert shards is not None
    assert [one["row"] for one in rows] == PackedBatches(shards, 3, 5).rows(4).tolist()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of: an id or text, --at TOKEN"),
        (["a", "--row", "1"], "give one of"),
        (["nowhere at all"], "is called 'nowhere at all' or holds this text"),
        (["a", "--most", "0"], "most must be at least 1"),
        (["--row", "9999"], "there are rows 0 to"),
        (["--at", "x"], "a token is named by SHARD:TOKEN"),
    ],
)
def test_bad_input(folder, words, said, capsys):
    assert cli.run(["trace", folder, *words]) == cli.BAD_INPUT
    assert said in capsys.readouterr().err
