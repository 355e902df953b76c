"""Records to documents, and what is no document to a refusal with its place and bytes."""

import gzip
import json

import pytest

from trivium.data.raw.documents import BadRecords, Document, Policy, Refused, documents

pyarrow = pytest.importorskip("pyarrow")


def jsonl(path, rows: list[bytes]):
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


GOOD = [json.dumps({"id": f"d{n}", "text": f"text {n}", "url": "u"}).encode() for n in range(5)]


def test_documents_with_source_and_metadata(tmp_path):
    rows = [
        b'{"id": "a", "text": "one", "source": "own", "metadata": {"lang": "en"}, "added": 3}',
        b"",
        b'{"id": 7, "text": "", "metadata": [1]}',
    ]
    found = list(documents(jsonl(tmp_path / "x.jsonl", rows)))
    assert found == [
        Document("a", "one", "own", {"added": 3, "lang": "en"}, 1),
        Document("7", "", tmp_path.name, {"metadata": [1]}, 3),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b'{"id": "x", "text": "a\xff"}', "InvalidUtf8"),
        (b'{"id": "x", "text": "\\ud800"}', "LoneSurrogate"),
        (b'{"id": "x", "text": "a"', "MalformedJson"),
        (b'{"id": "x", "text": NaN}', "MalformedJson"),
        (b'["id", "text"]', "NotAnObject"),
        (b'{"text": "a"}', "NoId"),
        (b'{"id": "", "text": "a"}', "NoId"),
        (b'{"id": 1.5, "text": "a"}', "NoId"),
        (b'{"id": true, "text": "a"}', "NoId"),
        (b'{"id": "x"}', "NoText"),
        (b'{"id": "x", "text": 3}', "NoText"),
        (b'{"id": "x", "text": "' + b"y" * 200 + b'"}', "DocumentTooLarge"),
    ],
)
def test_one_bad_record_harms_no_other(tmp_path, row, reason):
    path = jsonl(tmp_path / "x.jsonl", [*GOOD[:2], row, *GOOD[2:]])
    found = list(documents(path, longest=150))
    refused = [each for each in found if isinstance(each, Refused)]
    assert [each.id for each in found if isinstance(each, Document)] == ["d0", "d1", "d2", "d3", "d4"]
    assert [(each.reason, each.place) for each in refused] == [(reason, 3)]
    assert refused[0].offset == len(GOOD[0]) + len(GOOD[1]) + 2
    assert refused[0].data == (b"" if reason == "DocumentTooLarge" else row)
    assert not refused[0].ends


def test_control_characters_and_a_byte_order_mark_are_kept_and_dropped(tmp_path):
    rows = [b'\xef\xbb\xbf{"id": "a", "text": "x\\u0000\\u0007"}']
    (found,) = documents(jsonl(tmp_path / "x.jsonl", rows))
    assert isinstance(found, Document)
    assert found.text == "x\0\a"


def test_a_packed_file_that_ends_early(tmp_path):
    packed = gzip.compress(b"\n".join(GOOD * 2000))
    (tmp_path / "x.jsonl.gz").write_bytes(packed[:-20])
    *whole, last = documents(tmp_path / "x.jsonl.gz")
    assert all(isinstance(each, Document) for each in whole)
    assert isinstance(last, Refused)
    assert (last.reason, last.ends) == ("TruncatedStream", True)


def test_a_text_file_is_one_document(tmp_path):
    (tmp_path / "play.txt").write_bytes("Zeile\n\nEnde ü\n".encode())
    assert list(documents(tmp_path / "play.txt", source="s")) == [Document("play.txt", "Zeile\n\nEnde ü\n", "s", {}, 1)]
    (tmp_path / "bad.txt").write_bytes(b"ok\nno\xff")
    (refused,) = documents(tmp_path / "bad.txt")
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.offset) == ("InvalidUtf8", 5)
    (tmp_path / "empty.txt").write_bytes(b"")
    (empty,) = documents(tmp_path / "empty.txt")
    assert isinstance(empty, Document)
    assert empty.text == ""
    (tmp_path / "long.txt").write_bytes(b"ab\n" * 100)
    (refused,) = documents(tmp_path / "long.txt", longest=50)
    assert refused.reason == "DocumentTooLarge"


def test_parquet_rows(tmp_path):
    from pyarrow import parquet

    table = pyarrow.table({"id": ["a", "b", None], "text": ["x", None, "z"], "n": [1, 2, 3]})
    parquet.write_table(table, tmp_path / "x.parquet")
    one, two, three = documents(tmp_path / "x.parquet", source="s")
    assert one == Document("a", "x", "s", {"n": 1}, 1)
    assert (two.reason, two.place, three.reason, three.place) == ("NoText", 2, "NoId", 3)


def test_parquet_with_a_row_that_is_no_text(tmp_path):
    from pyarrow import parquet

    texts = pyarrow.array([b"x", b"\xff", b"z"], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"id": ["a", "b", "c"], "text": texts}), tmp_path / "x.parquet")
    found = list(documents(tmp_path / "x.parquet"))
    assert [each.id for each in found if isinstance(each, Document)] == ["a", "c"]
    assert (found[1].reason, found[1].place, found[1].data) == ("InvalidUtf8", 2, b"\xff")


@pytest.mark.parametrize("content", [b"no parquet", b""])
def test_a_broken_parquet_file(tmp_path, content):
    (tmp_path / "x.parquet").write_bytes(content)
    (refused,) = documents(tmp_path / "x.parquet")
    assert (refused.reason, refused.ends) == ("BrokenStream", True)


def test_parquet_without_the_columns(tmp_path):
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"content": ["a"]}), tmp_path / "x.parquet")
    (refused,) = documents(tmp_path / "x.parquet")
    assert (refused.reason, refused.ends) == ("NoText", True)
    assert "content" in refused.detail


# The policy ---------------------------------------------------------------------------------------------------------

RECORD, END = Refused("NoId", "why", 3, 40), Refused("TruncatedStream", "why", 9, 400, ends=True)


def test_by_default_records_are_quarantined_and_broken_files_stop_the_run():
    Policy().judge("f", RECORD)
    with pytest.raises(BadRecords, match="f, record 9, byte 400: TruncatedStream, why"):
        Policy().judge("f", END)
    Policy(on_bad_file="quarantine").judge("f", END)
    with pytest.raises(BadRecords, match="f, record 3, byte 40: NoId, why"):
        Policy(on_bad_record="fail").judge("f", RECORD)


def test_too_many_refusals_stop_the_run():
    Policy().judge_file("f", 1000, 1)
    with pytest.raises(BadRecords, match="2 of 1000 records were refused, more than max_bad_fraction"):
        Policy().judge_file("f", 1000, 2)
    Policy(max_bad_fraction=1.0).judge_file("f", 3, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"on_bad_record": "drop"}, {"on_bad_file": "skip"}, {"max_bad_fraction": 2}, {"max_document_bytes": 0},
     {"on_duplicate_id": "keep"}],
)  # fmt: skip
def test_a_policy_that_makes_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Policy(**wrong)
