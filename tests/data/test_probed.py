"""Sets of texts with what probes read."""

import json

import pytest
import torch

from tests.data.test_dependencies import FRENCH
from trivium.core.errors import UnknownName
from trivium.data.constituents import tree_of
from trivium.data.probed import probed


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_intents():
    got = probed("intents")
    assert (len(got.texts), got.sort, got.structured) == (160, "classes", False)
    assert got.names == ("alarm", "music", "restaurant", "weather")
    assert torch.bincount(got.labels).tolist() == [40] * 4
    assert len(probed("intents", 20, "train").texts) == 20
    assert not set(probed("intents", split="train").texts) & set(probed("intents", split="test").texts)


def test_python():
    got = probed("python", 5)
    sizes = [len(each) for each in got.spans]
    assert (len(got.texts), got.sort, got.structured) == (5, "constituents", True)
    assert len(got.labels) == sum(sizes)
    rows = got.labels[: sizes[0]]
    tree = tree_of(rows[:-1, 0].tolist(), [got.names[at] for at in rows[:-1, 1]], [got.names[at] for at in rows[:, 2]])
    assert tree.brackets[:2][1].label in ("function_definition",)
    assert "tree-sitter-python" in got.about
    other = probed("python", 5, "test", got.names[:3])
    assert int(other.labels[:, 1].max()) <= 2
    assert int(other.labels[:, 1].min()) == -1


def test_some_of_the_texts():
    got = probed("python", 4)
    less = got.only([True, False, False, True])
    sizes = [len(each) for each in got.spans]
    assert less.texts == (got.texts[0], got.texts[3])
    assert torch.equal(less.labels, torch.cat((got.labels[: sizes[0]], got.labels[sum(sizes[:3]) :])))
    assert probed("intents", 3).only([False, True, False]).labels.shape == (1,)


def test_treebank(tmp_path):
    path = tmp_path / "some.conllu"
    path.write_text(FRENCH * 3, encoding="utf-8")
    got = probed(str(path))
    assert (got.sort, len(got.texts), got.labels.shape) == ("heads", 3, (18, 2))
    assert got.clusters(torch.arange(3).repeat_interleave(6)).tolist() == [0] * 18  # one document


def test_lines_with_labels(tmp_path):
    rows = [{"text": f"t {n}", "label": "ab"[n % 2], "group": n // 4} for n in range(40)]
    path = written(tmp_path / "a.jsonl", rows)
    got = probed(path)
    assert (got.sort, got.names, got.labels[:4].tolist()) == ("classes", ("a", "b"), [0, 1, 0, 1])
    assert got.clusters(torch.arange(40)).tolist() == [n // 4 for n in range(40)]
    parts = [set(probed(path, split=split).sources) for split in ("train", "validation", "test")]
    assert set.union(*parts) == set(got.sources)
    assert sum(map(len, parts)) == 10
    assert probed(path, names=("b",)).labels[:2].tolist() == [-1, 0]
    assert len(probed(path, 7).texts) == 7
    numbers = probed(written(tmp_path / "b.jsonl", [{"text": "t", "label": n} for n in (1, 2.5)]))
    assert (numbers.sort, numbers.labels.tolist(), numbers.sources) == ("values", [1.0, 2.5], ("1", "2"))
    spans = probed(written(tmp_path / "c.jsonl", [{"text": "ab cd", "label": "x", "start": 3, "stop": 5}]))
    assert spans.spans == (((3, 5),),)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"text": "a"}], "line 1 must be an object with"),
        ([{"text": "a", "label": "x"}, {"text": " ", "label": "x"}], "line 2: text must be words"),
        ([{"text": "a", "label": ["x"]}], "label a word or a number"),
        ([{"text": "a", "label": "x", "start": 1}], "start and stop go together"),
        ([{"text": "a", "label": "x", "start": 0, "stop": 1}, {"text": "a", "label": "x"}], "either every line"),
        ([], "holds nothing"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path, rows, told):
    with pytest.raises(ValueError, match=told):
        probed(written(tmp_path / "a.jsonl", rows))


def test_names_and_splits_that_are_not_there():
    with pytest.raises(UnknownName, match=r"'pythn' is neither a file nor a set that ships; did you mean 'python'"):
        probed("pythn")
    with pytest.raises(ValueError, match="the splits are"):
        probed("intents", split="dev")
    with pytest.raises(ValueError, match="count must be at least 1"):
        probed("intents", 0)
