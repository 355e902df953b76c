import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.compare.contender import build, describe
from trivium.core.errors import NotOffered
from trivium.core.protocols import LMOutput
from trivium.data.reading import TimedStory, simulated
from trivium.data.stories import story
from trivium.evaluation.reading_times import ReadingTimes, ceiling, columns, gain, lagged
from trivium.models.surprisal import surprisals
from trivium.models.system import System
from trivium.nn.held_out import in_sample_loglik
from trivium.tokenization.byte import ByteTokenizer

TASK = ReadingTimes()


class Frequencies(Uniform):
    """Bytes by a fixed random law, so that words differ."""

    def __init__(self):
        super().__init__()
        self.law = torch.randn(259, 259, generator=torch.Generator().manual_seed(0))

    def run(self, ids, **given):
        return LMOutput(self.law[ids], super().run(ids, **given).hidden)


BYTES = System(Frequencies(), ByteTokenizer(), "bytes")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def told(times, count=200, name="one", readers=None):
    words = tuple("ab"[: 1 + at % 2] for at in range(count))
    return TimedStory(name, words, times, noise(count, seed=9), readers)


def test_lags_by_hand():
    """Times follow the surprisal two words before."""
    bits = noise(50)
    times = np.concatenate([noise(2, seed=1), 3 * bits[:-2] + 100])
    table = {lag: lagged(times, bits, lag) for lag in range(-3, 4)}
    assert table[2] == pytest.approx(1)
    assert all(abs(r) < 0.4 for lag, r in table.items() if lag != 2)
    assert max(table, key=table.get) == 2
    assert lagged(bits, times, -2) == pytest.approx(1)
    assert lagged(times, times, 0) == pytest.approx(1)
    assert lagged(np.ones(9), bits[:9], 0) is None
    assert lagged(times[:4], bits[:4], 2) is None


def test_a_table_of_lags_has_one_peak_inside():
    """Spillover makes neighbours of the true lag rise towards it, on either side."""
    bits = np.convolve(noise(400), [1, 2, 3, 2, 1], "same")
    times = np.roll(bits, 0) + 0.5 * noise(400, seed=2)
    table = [lagged(times, bits, lag) for lag in range(-3, 4)]
    rises = np.sign(np.diff(table)).tolist()
    assert rises == [1, 1, 1, -1, -1, -1]


def test_gain_where_surprisal_counts_and_where_it_does_not():
    stories, bits = [], []
    for seed in range(6):
        mine = noise(200, seed=10 + seed)
        spill = np.concatenate([[0], mine[:-1]])
        stories.append(told(300 + 2 * mine + spill + noise(200, seed=20 + seed), name=str(seed)))
        bits.append(mine)
    gained = np.concatenate(gain(stories, bits))
    assert gained.mean() == pytest.approx(0.5 * math.log(1 + 4 + 1), abs=0.1)  # of variance 6, 1 is left
    for seed in range(3):
        shuffled = [np.random.default_rng(seed).permutation(mine) for mine in bits]
        assert abs(np.concatenate(gain(stories, shuffled)).mean()) < 0.01
    base, more, times, _ = columns(stories, [np.random.default_rng(5).permutation(mine) for mine in bits])
    assert in_sample_loglik(torch.cat([base, more], 1), times).sum() >= in_sample_loglik(base, times).sum()


def test_folds_are_stories():
    """What is special to one story cannot be learned from it."""
    mine = [noise(100, seed=s) for s in range(3)]
    stories = [
        told(100 + sign * 5 * m + noise(100, seed=5), 100, str(s))
        for s, (sign, m) in enumerate(zip((1, 1, -1), mine, strict=True))
    ]
    found = [each.mean() for each in gain(stories, mine)]
    assert found[2] < -1
    (alone,) = gain(stories[2:], mine[2:])  # ten stretches of a single story
    assert len(alone) == 98
    assert alone.mean() > 1


def test_columns_by_hand():
    story = TimedStory("one", ("a", "bb", "ccc", "dddd"), np.array([1.0, 2, 3, 4]), np.array([5.0, 6, 7, 8]))
    base, more, times, where = columns([story], [np.array([0.1, 0.2, 0.3, 0.4])])
    assert base.tolist() == [[3, 2, 1, 7, 6, 5, 2], [4, 3, 2, 8, 7, 6, 3]]
    assert more.tolist() == [[0.3, 0.2, 0.1], [0.4, 0.3, 0.2]]
    assert (times.tolist(), where.tolist()) == ([3, 4], [0, 0])
    with pytest.raises(ValueError, match="story 'two' has 2 words"):
        columns([TimedStory("two", ("a", "b"), np.ones(2), np.ones(2))], [np.ones(2)])


def test_the_ceiling_is_what_a_perfect_account_reaches():
    truth = noise(2000)
    for spread in (1.0, 3.0):
        readers = truth + spread * noise(12, 2000, seed=3)
        story = told(readers.mean(0), 2000, readers=readers)
        reached = lagged(story.times, truth, 0)
        assert ceiling(story) == pytest.approx(reached, abs=0.02)
        assert ceiling(story) == pytest.approx((1 / (1 + spread**2 / 12)) ** 0.5, abs=0.02)
    assert ceiling(told(truth, 2000)) is None
    assert ceiling(told(truth, 2000, readers=noise(1, 2000))) is None
    gaps = truth + noise(12, 2000, seed=3)
    gaps[noise(12, 2000, seed=4) > 0.5] = np.nan
    assert ceiling(told(truth, 2000, readers=gaps)) == pytest.approx((1 / (1 + 1 / (12 * 0.69))) ** 0.5, abs=0.03)
    assert ceiling(told(truth, 2000, readers=noise(12, 2000, seed=7))) in (None, pytest.approx(0, abs=0.4))


def test_words_of_a_story_cost_what_the_story_does():
    for whitespace in ("before", "behind"):
        task = ReadingTimes(whitespace=whitespace, items=2)
        stories = task.stories("test")
        for mine, one, read in zip(
            task.bits(BYTES, stories), stories, surprisals(BYTES, [s.text for s in stories]), strict=True
        ):
            extra = float(read.borders[-1]) if whitespace == "behind" else 0.0
            assert mine.sum() == pytest.approx(float(read.bits.sum()) + extra, abs=1e-3)
            assert len(mine) == len(one.words)
    other = task.bits(BYTES, stories)[0], replace(task, whitespace="before").bits(BYTES, stories)[0]
    assert not np.allclose(*other)


def test_what_is_observed_is_what_the_parts_say():
    stories = simulated("test")
    bits = TASK.bits(BYTES, stories)
    gained = gain(stories, bits)
    for at, example in enumerate(TASK.examples("test")):
        seen = TASK.score(BYTES, example).values
        assert seen["delta"] == pytest.approx(100 * gained[at].mean())
        assert seen["fitted"] == len(stories[at].words) - 2
        assert seen["r"] == lagged(stories[at].times, bits[at], 0)
        assert seen["r_next_1"] == lagged(stories[at].times, bits[at], -1)
        assert seen["r_last_3"] == lagged(stories[at].times, bits[at], 3)
        assert seen["share"] == pytest.approx(seen["r"] / ceiling(stories[at]))
        assert seen["bits_per_word"] == pytest.approx(bits[at].mean())
    assert TASK.weighted_by.keys() <= {measure.name for measure in TASK.measures}
    assert {measure.name for measure in TASK.measures} <= seen.keys()


def test_who_expects_what_the_readers_do_foretells_them():
    """A law such as simulated readers were made with gains, and correlates most at its own word."""
    stories = simulated("test")
    single, double = {}, {}
    known = [word for at in range(400) for word in story(1, at).split()]
    for pair in pairwise(known):
        double[pair] = double.get(pair, 0) + 1
        single[pair[0]] = single.get(pair[0], 0) + 1
    bits = [
        np.array(
            [
                -math.log2((double.get(p, 0) + 0.1) / (single.get(p[0], 0) + 100))
                for p in zip(("", *s.words), s.words, strict=False)
            ]
        )
        for s in stories
    ]
    assert np.concatenate(gain(stories, bits)).mean() > 0.05
    r = [np.mean([lagged(s.times, b, lag) for s, b in zip(stories, bits, strict=True)]) for lag in (-1, 0, 1)]
    assert r[1] == max(r)
    assert r[2] > r[0], "they are still busy with the word before"


def test_a_uniform_model_foretells_by_length_alone():
    """Its surprisal is the length and the space, which the baseline knows, but for a story's first word, which has no
    space: one word in a hundred or so is left to fit noise to."""
    example = TASK.examples("test")[0]
    assert abs(TASK.score(system(), example).values["delta"]) < 0.5
    assert TASK.score(system(), example).values["r"] > 0.2


def test_settings_and_splits():
    assert [len(ReadingTimes(items=3).examples(split)) for split in ("test", "validation")] == [3, 3]
    assert [len(TASK.examples(split)) for split in ("test", "validation")] == [8, 4]
    for fields, said in (
        ({"whitespace": "none"}, "whitespace must be one of before, behind; got 'none'"),
        ({"items": 0}, "items must be at least 1"),
        ({"length": 1}, "length must be at least 2"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            ReadingTimes(**fields)
    with pytest.raises(ValueError, match="the splits are"):
        TASK.examples("train")
    with pytest.raises(NotOffered, match="gives no whole distributions"):
        TASK.bits("a server", simulated("test"))


def test_a_corpus_by_path(tmp_path):
    count, lines = (
        40,
        {
            "all_stories.tok": ["word\tzone\titem"],
            "processed_wordinfo.tsv": ["word\tzone\titem\tmeanItemRT"],
            "freqs-1.tsv": [],
        },
    )
    for item in (1, 2, 3):
        times, words = 300 + 9 * noise(count, seed=item), noise(count, seed=3 + item)
        for zone in range(1, count + 1):
            word = "abcdefgh"[: 1 + int(abs(3 * words[zone - 1])) % 8]
            lines["all_stories.tok"].append(f"{word}\t{zone}\t{item}")
            lines["processed_wordinfo.tsv"].append(f"{word}\t{zone}\t{item}\t{times[zone - 1]}")
            lines["freqs-1.tsv"].append(f"{item}.{zone}.word\t1\t{word}\t{int(1 + 100 * abs(words[zone - 1]))}\tNA")
    for name, rows in lines.items():
        (tmp_path / name).write_text("\n".join(rows))
    task = ReadingTimes(str(tmp_path), items=2)
    assert [[e.id for e in task.examples(split)] for split in ("test", "validation")] == [
        ["story 1", "story 2"],
        ["story 3"],
    ]
    assert ReadingTimes(str(tmp_path)).examples("validation") == []
    seen = task.score(BYTES, task.examples("test")[0]).values
    assert "ceiling" not in seen
    assert math.isfinite(seen["delta"])


def test_it_can_be_written_on_a_command_line():
    words = "reading_times(whitespace='before', items=2)"
    assert build("evaluation", words) == ReadingTimes(whitespace="before", items=2)
    assert build("evaluation", describe(build("evaluation", words))) == build("evaluation", words)
