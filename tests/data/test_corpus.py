import pytest
from hypothesis import given
from hypothesis import strategies as st

from trivium.data.corpus import Corpus

MANY = [f"document number {number}" for number in range(2000)]


def test_splits_have_the_shares_asked_for():
    corpus = Corpus.split("c", MANY, validation=0.1, test=0.2)
    sizes = {split: len(documents) for split, documents in corpus.splits.items()}
    assert sum(sizes.values()) == 2000
    # binomial: five standard deviations are 67 and 89 documents
    assert abs(sizes["validation"] - 200) < 67
    assert abs(sizes["test"] - 400) < 89


@given(st.lists(st.text(), min_size=1, max_size=30))
def test_a_document_goes_where_it_goes_whatever_is_beside_it(others):
    alone = Corpus.split("c", MANY)
    more = Corpus.split("c", [*others, *MANY])
    for split in alone.splits:
        assert set(alone[split]) <= set(more[split])


def test_copies_never_stand_on_both_sides():
    corpus = Corpus.split("c", MANY + MANY)
    assert not set(corpus["train"]) & (set(corpus["test"]) | set(corpus["validation"]))


def test_split_without_held_out_data():
    assert set(Corpus.split("c", ["a"], validation=0, test=0).splits) == {"train"}


@pytest.mark.parametrize("shares", [{"validation": 0.5, "test": 0.5}, {"test": -0.1}, {"validation": 1.0}])
def test_shares_must_leave_something(shares):
    with pytest.raises(ValueError, match="shares"):
        Corpus.split("c", MANY, **shares)


def test_an_empty_split_is_refused():
    with pytest.raises(ValueError, match="the validation split of few is empty"):
        Corpus("few", {"train": ["one"], "validation": []})["validation"]


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="no split 'dev'; it has train, validation, test"):
        Corpus.split("c", MANY)["dev"]


def test_the_hash_tells_documents_order_and_borders_apart():
    hashes = {
        Corpus("c", {"train": documents}).sha256
        for documents in (["ab", "c"], ["a", "bc"], ["c", "ab"], ["abc"], ["ab", "c", ""])
    }
    assert len(hashes) == 5
    assert Corpus("c", {"train": ["a"], "test": ["b"]}).sha256 != Corpus("c", {"train": ["b"], "test": ["a"]}).sha256
    assert Corpus("other", {"train": ["ab", "c"]}).sha256 == Corpus("c", {"train": ["ab", "c"]}).sha256


def test_bytes_are_those_of_utf8():
    assert Corpus("c", {"train": ["é", "ab\ud800"]}).bytes("train") == 2 + 2 + 3


def test_reads_files_folders_and_jsonl(tmp_path):
    (tmp_path / "a.txt").write_text("first\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.md").write_text("\ufeffsecond", encoding="utf-8")
    (tmp_path / "c.jsonl").write_text('{"text": "third\\u2028line"}\n\n{"text": "fourth", "id": 4}\n')
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    corpus = Corpus.read(tmp_path, validation=0, test=0)
    assert sorted(corpus["train"]) == ["first\n", "fourth", "second", "third\u2028line"]
    assert corpus.name == tmp_path.name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: expected an object"),
        ('{"body": "x"}', "line 2"),
        ("[1]", "line 2"),
        ('{"text": 3}', "must be a string, it is int"),
    ],
)
def test_a_broken_jsonl_line_is_named(tmp_path, line, message):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        Corpus.read(path)


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8"):
        Corpus.read(tmp_path)


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match="holds no text"):
        Corpus.read(tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        Corpus.read()
    with pytest.raises(FileNotFoundError):
        Corpus.read(tmp_path / "missing.txt")


def test_a_single_text_is_cut_and_its_end_is_held_out(tmp_path):
    path = tmp_path / "play.txt"
    paragraphs = [f"{n}: " + "word " * 60 for n in range(200)]
    path.write_text("\n\n".join(paragraphs), encoding="utf-8")
    corpus = Corpus.read(path, validation=0.1, test=0.05)
    parts = [part for split in ("train", "validation", "test") for part in corpus[split]]
    assert "\n\n".join(parts) == path.read_text(encoding="utf-8")
    assert all(2000 <= len(part) < 2700 for part in parts[:-1])
    assert len(corpus["validation"]) == round(0.1 * len(parts))
    assert corpus["test"][-1].splitlines()[-1].startswith("199: ")
    assert Corpus.read(path, validation=0, test=0)["train"] == [path.read_text(encoding="utf-8")]


def test_a_single_text_without_an_empty_line_cannot_be_held_out_from(tmp_path):
    path = tmp_path / "flat.txt"
    path.write_text("word " * 4000, encoding="utf-8")
    with pytest.raises(ValueError, match="has 1 parts between empty lines"):
        Corpus.read(path)
