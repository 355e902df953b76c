from pathlib import Path

import numpy as np
import pytest

from trivium.data.reading import TimedStory, read, simulated

SHARED = Path(__file__).parents[3] / "shared" / "data" / "natural_stories"


def write(folder, **changed):
    """A corpus of two stories of three and two words, as changed."""
    files = {
        "all_stories.tok": "word\tzone\titem\nThe\t1\t1\n'cat,\t2\t1\nsat.\t3\t1\nA\t1\t2\ndog.\t2\t2\n",
        "processed_wordinfo.tsv": "word\tzone\titem\tnItem\tmeanItemRT\nThe\t1\t1\t9\t300.5\n'cat,\t2\t1\t9\t310\n"
        "sat.\t3\t1\t9\t320\nA\t1\t2\t9\t330\ndog.\t2\t2\t9\t340\n",
        "freqs-1.tsv": "1.1.whole\t1\tThe\t8\tNA\n1.1.word\t1\tThe\t100\tNA\n1.2.word\t1\tcat\t10\tNA\n"
        "1.3.whole\t1\tsat.\t5\tNA\n2.1.word\t1\tA\t0\tNA\n2.2.word\t1\tdog\t1\tNA\n",
        **{name.replace("__", ".").replace("_tsv", ".tsv"): text for name, text in changed.items()},
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_corpus(tmp_path):
    one, two = read(write(tmp_path))
    assert (one.name, one.words, one.text) == ("1", ("The", "'cat,", "sat."), "The 'cat, sat.")
    assert one.times.tolist() == [300.5, 310, 320]
    assert one.frequency.tolist() == pytest.approx(np.log([100, 10, 5]))
    assert two.frequency.tolist() == pytest.approx([0, 0])
    assert [one.text[a:b] for a, b in one.spans] == list(one.words)
    assert one.readers is None


def test_each_reader(tmp_path):
    """Times that no reader can have meant are left out; means are of the others."""
    (write(tmp_path) / "processed_RTs.tsv").write_text(
        "WorkerId\titem\tzone\tRT\na\t1\t1\t200\nb\t1\t1\t400\na\t1\t2\t50\nb\t1\t2\t500\na\t1\t3\t300\nb\t1\t3\t5000\n"
        "a\t2\t1\t100\na\t2\t2\t3000\n"
    )
    one, two = read(tmp_path)
    assert one.times.tolist() == [300, 500, 300]
    assert np.array_equal(one.readers, [[200, np.nan, 300], [400, 500, np.nan]], equal_nan=True)
    assert two.readers.tolist() == [[100, 3000]]
    (tmp_path / "processed_RTs.tsv").write_text("WorkerId\titem\tzone\tRT\na\t1\t1\t200\n")
    with pytest.raises(ValueError, match="no time for zone 2 of story 1"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("all_stories.tok", "word\tzone\titem\nThe\t1\t1\nsat\t3\t1\n", "story 1 has no zone 2, but zone 3"),
        ("all_stories.tok", "word\tzone\titem\nThe\t1\t1\nsat\t1\t1\n", "line 3: zone 1 of story 1 is given twice"),
        ("all_stories.tok", "word\tzone\titem\nThe\t0\t1\n", "line 2: zones are counted from 1, got '0'"),
        ("all_stories.tok", "word\tzone\nThe\t0\n", "line 1 must name the columns word, zone, item"),
        ("all_stories.tok", "word\tzone\titem\nThe\t1\n", "line 2 has 2 cells, not 3"),
        (
            "all_stories.tok",
            "word\tzone\titem\nThe\t1\t3\n",
            "processed_wordinfo.tsv has no time for zone 1 of story 3",
        ),
        ("processed_wordinfo.tsv", "word\tzone\titem\tmeanItemRT\nThe\t1\t1\tfast\n", "line 2: 'fast' is no number"),
        ("freqs-1.tsv", "1.1.word\t1\tThe\t100\tNA\n", "freqs-1.tsv has no frequency for zone 2 of story 1"),
        ("freqs-1.tsv", "1.1\tThe\n", "line 1 is no code, length, word and count"),
        ("freqs-1.tsv", "1.1.word\t1\tThe\tmany\n", "line 1: 'many' is no number"),
    ],
)
def test_bad_files(tmp_path, name, text, told):
    (write(tmp_path) / name).write_text(text)
    with pytest.raises(ValueError, match=told):
        read(tmp_path)


def test_missing_files_and_bad_stories(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"all_stories\.tok is not there"):
        read(tmp_path)
    two = np.ones(2)
    for given, told in (
        ({"times": np.ones(3)}, "times must have a finite number"),
        ({"frequency": np.array([1, np.nan])}, "frequency must have a finite number"),
        ({"readers": np.ones((4, 3))}, "readers must have 2 columns"),
    ):
        with pytest.raises(ValueError, match=told):
            TimedStory("one", ("a", "b"), **{"times": two, "frequency": two} | given)


def test_simulated_readers():
    test, validation = simulated("test"), simulated("validation")
    assert (len(test), len(validation)) == (8, 4)
    assert len({one.text for one in (*test, *validation)}) == 12
    again = simulated.__wrapped__("test")
    for one, other in zip(test, again, strict=True):
        assert np.array_equal(one.times, other.times)
        assert one.readers.shape == (12, len(one.words))
        assert one.times == pytest.approx(one.readers.mean(0))
        length = [len(word) for word in one.words]
        assert np.corrcoef(length, one.times)[0, 1] > 0.2
        assert np.corrcoef(one.frequency, one.times)[0, 1] < -0.2
    assert len(simulated("test", 3)[0].readers) == 3
    for call, told in ((lambda: simulated("train"), "the splits are"), (lambda: simulated("test", 1), "at least 2")):
        with pytest.raises(ValueError, match=told):
            call()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not here")
def test_the_corpus_itself():
    found = read(SHARED)
    assert [len(one.words) for one in found] == [1073, 990, 1040, 1085, 1013, 1099, 999]
    assert found[0].text.startswith("If you were to journey to the North of England, you would come to a valley")
    length = [np.array([len(word) for word in one.words]) for one in found]
    r = [np.corrcoef(a, one.times)[0, 1] for a, one in zip(length, found, strict=True)]
    assert 0.2 < sum(r) / len(r) < 0.45
