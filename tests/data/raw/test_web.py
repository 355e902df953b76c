"""Pages: main text in any encoding, and WARC records around broken ones, each with its place."""

import gzip

import pytest

from trivium.data.raw import web
from trivium.data.raw.documents import Document, Refused, documents
from trivium.data.raw.web import main_text

SAID = "The river rose in the night and took the bridge with it, and nobody had seen it go: café."
HTML = f"<html><body><nav><a href=a>Home</a></nav><div id=main><p>{SAID}</p></div></body></html>"


def record(number: int, body: bytes = HTML.encode(), *, kind="text/html", status="HTTP/1.1 200 OK", more="") -> bytes:
    http = f"{status}\r\nContent-Type: {kind}\r\n{more}\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a/{number}\r\nWARC-Record-ID: <urn:uuid:{number}>"
        f"\r\nWARC-Date: 2020-01-01T00:00:00Z\r\nContent-Type: application/http\r\nContent-Length: {len(http)}\r\n\r\n"
    )
    return head.encode() + http + b"\r\n\r\n"


def read(path, data: bytes):
    path.write_bytes(data)
    found = list(documents(path, source="s", longest=100_000))
    return [one for one in found if isinstance(one, Document)], [one for one in found if isinstance(one, Refused)]


def test_the_main_text_without_menus():
    assert main_text(HTML.encode()) == SAID
    assert main_text(b"<html><body></body></html>") == main_text(b"") == ""


@pytest.mark.parametrize(
    ("encoding", "charset"), [("utf-8", None), ("utf-8", "latin-1"), ("utf-8-sig", None), ("cp1252", "cp1252"),
                              ("cp1252", "ascii"), ("cp1252", "no-such"), ("utf-16", "utf-16"), ("cp1252", None)],
)  # fmt: skip
def test_wrong_and_missing_encodings(encoding, charset):
    assert main_text(HTML.encode(encoding), charset) == SAID


def test_the_encoding_that_a_page_was_sent_with_comes_before_a_guess():
    sent = HTML.encode("mac_roman")
    assert main_text(sent, "mac_roman") == SAID
    assert main_text(sent) != SAID, "nobody guesses this one"


def test_a_page_is_a_document(tmp_path):
    (page,), _ = read(tmp_path / "a.html", HTML.encode())
    assert (page.id, page.text) == ("a.html", SAID)
    (page,), _ = read(tmp_path / "a.html.gz", gzip.compress(HTML.encode()))
    assert page.text == SAID


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_records(tmp_path, name):
    packed = "Content-Encoding: gzip\r\n"
    rows = [record(0), record(1, b"\x89PNG", kind="image/png"), record(2, status="HTTP/1.1 404 Not Found"),
            record(3, b"<html></html>"), record(4, gzip.compress(HTML.encode()), more=packed)]  # fmt: skip
    pages, refused = read(tmp_path / name, b"".join(map(gzip.compress, rows) if name.endswith("gz") else rows))
    assert [(page.id, page.text, page.place) for page in pages] == [("0", SAID, 1), ("3", "", 4), ("4", SAID, 5)]
    assert pages[0].metadata == {"url": "http://a/0", "date": "2020-01-01T00:00:00Z"}
    assert not refused


@pytest.mark.parametrize("harm", ["torn", "flipped", "last"])
def test_a_broken_member_costs_itself_alone(tmp_path, harm):
    rows = [gzip.compress(record(n)) for n in range(4)]
    which = 3 if harm == "last" else 1
    at = sum(map(len, rows[:which]))
    rows[which] = rows[which][: len(rows[which]) // 2] if harm != "flipped" else rows[which][:40] + b"\xff" * 40
    pages, (refused,) = read(tmp_path / "a.warc.gz", b"".join(rows))
    assert [page.id for page in pages] == [str(n) for n in range(4) if n != which]
    assert (refused.offset, refused.place, refused.ends) == (at, which + 1, harm == "last")
    assert refused.reason in ("BrokenStream", "TruncatedStream")


@pytest.mark.parametrize(
    "harm",
    [lambda row: b"garbage" * 5 + b"\n", lambda row: row.replace(b"Content-Length: ", b"Content-Length: 9"),
     lambda row: row.replace(b"Content-Length", b"Content-Breadth"), lambda row: row[:-60] + b"\n",
     lambda row: row.replace(b"HTTP/1.1 200 OK", b"nonsense on top")],
)  # fmt: skip
def test_a_broken_record_costs_itself_alone(tmp_path, harm):
    rows = [record(n) for n in range(3)]
    pages, (refused,) = read(tmp_path / "a.warc", rows[0] + harm(rows[1]) + rows[2])
    assert [page.id for page in pages] == ["0", "2"]
    assert (refused.reason, refused.offset, refused.place) == ("MalformedRecord", len(rows[0]), 2)
    assert not refused.ends


def test_too_large_and_empty(tmp_path):
    pages, (refused,) = read(
        tmp_path / "a.warc.gz", gzip.compress(record(0, b"a" * 200_000)) + gzip.compress(record(1))
    )
    assert [page.id for page in pages] == ["1"]
    assert refused.reason == "DocumentTooLarge"
    assert read(tmp_path / "b.warc", b"") == ([], [])


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_large_record_with_little_text_is_too_large_too(tmp_path, name):
    large = record(1, HTML.replace("<body>", f"<body><!--{'x' * 200_000}-->").encode())
    rows = [record(0), large, record(2)]
    pages, (refused,) = read(tmp_path / name, b"".join(map(gzip.compress, rows) if name.endswith("gz") else rows))
    assert [page.id for page in pages] == ["0", "2"]
    assert (refused.reason, refused.place) == ("DocumentTooLarge", 2)


def test_behind_a_broken_member_reading_goes_on_where_a_record_begins(tmp_path):
    """What else unpacks there, such as a file within the broken one, is part of the damage."""
    rows = [
        gzip.compress(record(0)),
        gzip.compress(record(1))[:90],
        gzip.compress(b"no record"),
        gzip.compress(record(3)),
    ]
    pages, refused = read(tmp_path / "a.warc.gz", b"".join(rows))
    assert [page.id for page in pages] == ["0", "3"]
    assert len(refused) == 1


def test_a_member_that_unpacks_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "EXPANDS_FROM", 1 << 16)
    monkeypatch.setattr(web, "EXPANDS", 50)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(record(0)) + gzip.compress(bytes(1 << 22)) + gzip.compress(record(2)))
    found = list(documents(path, source="s", longest=1 << 30))
    assert [one.id if isinstance(one, Document) else one.reason for one in found] == ["0", "DocumentTooLarge", "2"]
