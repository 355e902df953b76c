"""Lines of plain and packed files, whole and damaged."""

import gzip
import tracemalloc

import pytest

from trivium.data.raw import lines as module
from trivium.data.raw.lines import Fault, Line, lines

zstd = pytest.importorskip("backports.zstd")

ROWS = [b"%d" % n * 60 for n in range(4000)]
TEXT = b"\n".join(ROWS) + b"\n"
PACK = {".gz": gzip.compress, ".zst": zstd.compress}


def read(path, **given) -> list[Line | Fault]:
    return list(lines(path, **given))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_every_line_with_its_place(tmp_path, suffix):
    path = tmp_path / f"rows.txt{suffix}"
    path.write_bytes(PACK.get(suffix, bytes)(TEXT))
    found = read(path)
    assert [line.data for line in found] == ROWS
    assert [line.number for line in found] == list(range(1, len(ROWS) + 1))
    assert all(TEXT[line.offset : line.offset + len(line.data)] == line.data for line in found)


@pytest.mark.parametrize(
    ("text", "wanted"), [(b"", []), (b"\n", [b""]), (b"a", [b"a"]), (b"a\n\nb", [b"a", b"", b"b"])]
)
def test_the_last_line_needs_no_end(tmp_path, text, wanted):
    (tmp_path / "x").write_bytes(text)
    assert [line.data for line in read(tmp_path / "x")] == wanted


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_all_members_are_read_and_padding_is_no_member(tmp_path, suffix):
    pack = PACK[suffix]
    (tmp_path / f"x{suffix}").write_bytes(pack(b"one\ntw") + pack(b"o\n") + pack(b"") + pack(b"three") + b"\0" * 512)
    assert [line.data for line in read(tmp_path / f"x{suffix}")] == [b"one", b"two", b"three"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_a_file_that_ends_early_gives_its_whole_lines(tmp_path, suffix, share):
    packed = PACK[suffix](TEXT)
    (tmp_path / f"x{suffix}").write_bytes(packed[: int(share * len(packed))])
    *whole, fault = read(tmp_path / f"x{suffix}")
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.ends) == ("TruncatedStream", True)
    assert [line.data for line in whole] == ROWS[: len(whole)]
    assert fault.number == len(whole) + 1
    assert f"{len(whole)} whole lines" in fault.detail
    assert share < 0.5 or whole


def test_a_wrong_checksum_costs_no_line_before_it(tmp_path):
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 0xFF
    (tmp_path / "x.gz").write_bytes(packed)
    *whole, fault = read(tmp_path / "x.gz")
    assert [line.data for line in whole] == ROWS
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.offset) == ("BrokenStream", len(TEXT))


def test_a_file_that_is_not_packed_at_all(tmp_path):
    (tmp_path / "x.gz").write_bytes(b"plain text\n")
    (fault,) = read(tmp_path / "x.gz")
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.number) == ("BrokenStream", 1)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_line_that_is_too_long_is_told_and_not_held(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(module, "EXPANDS", 10**9)
    text = b"first\n" + b"x" * (40 << 20) + b"\nlast"
    (tmp_path / f"x{suffix}").write_bytes(PACK.get(suffix, bytes)(text))
    del text
    tracemalloc.start()
    first, fault, last = read(tmp_path / f"x{suffix}", longest=1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.number, fault.offset, fault.ends) == ("DocumentTooLarge", 2, 6, False)
    assert f"{40 << 20} bytes" in fault.detail
    assert isinstance(first, Line)
    assert isinstance(last, Line)
    assert (first.data, last.data, last.offset) == (b"first", b"last", 7 + (40 << 20))
    assert peak < 8 << 20


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_bomb_is_not_unpacked(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(module, "EXPANDS_FROM", 4 << 20)
    (tmp_path / f"x{suffix}").write_bytes(PACK[suffix](b"good\n" + b"\0" * (32 << 20)))
    first, fault = read(tmp_path / f"x{suffix}")
    assert isinstance(first, Line)
    assert first.data == b"good"
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.ends) == ("ExpandsTooFar", True)


def test_bad_arguments(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.jsonl")
    with pytest.raises(ValueError, match="longest must be at least 1 byte, got 0"):
        read(tmp_path / "missing", longest=0)
