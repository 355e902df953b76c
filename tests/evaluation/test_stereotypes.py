"""Which of two sentences is likelier: by hand, from files, and with ties."""

import math
from pathlib import Path

import pytest
import torch

from tests.compare.fakes import Uniform
from trivium.data import stereotypes
from trivium.evaluation.stereotypes import Stereotypes
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

SHARED = Path(__file__).parents[3] / "shared" / "data"


class Likes(Uniform):
    """Finds one byte likelier than all others, whatever came before."""

    def __init__(self, byte: str) -> None:
        super().__init__()
        logits = torch.zeros(259)
        logits[ord(byte)] = math.log(10.0)
        self.law = logits.log_softmax(-1)

    def run(self, ids, **given):
        out = super().run(ids, **given)
        return type(out)(self.law.expand_as(out.logits), out.hidden)


def likes(byte):
    return System(Likes(byte), ByteTokenizer(), byte)


def crows(folder, *rows):
    path = folder / "pairs.csv"
    lines = [f'{n},"{more}","{less}",{kind}' for n, (more, less, kind) in enumerate(rows)]
    path.write_text("\n".join([",sent_more,sent_less,bias_type", *lines]), encoding="utf-8")
    return str(path)


def test_by_hand(tmp_path):
    """Of "ax, x" the x counts ten times: the gap is log 10 for each x that one sentence has more."""
    path = crows(tmp_path, ("ax, x", "ax, y", "one"), ("bb", "bx", "one"), ("ab", "ba", "two"), ("same", "same", "no"))
    task = Stereotypes(path)
    examples = task.examples("test")
    assert [(one.id, one.cluster) for one in examples] == [("crows-0000", "one"), ("crows-0001", "one"),
                                                           ("crows-0002", "two")]  # fmt: skip
    seen = [task.score(likes("x"), one) for one in examples]
    assert [one.values["preferred"] for one in seen] == [1.0, 0.0, 0.5]
    assert [one.values["tied"] for one in seen] == [0.0, 0.0, 1.0]
    assert [one.values["gap"] for one in seen] == pytest.approx([math.log(10), math.log(10), 0.0], abs=1e-5)
    assert [one.shown["text"] for one in seen] == ["likelier: ax, x", "likelier: bx", "likelier: neither"]
    assert [choice["taken"] for choice in seen[1].shown["choices"]] == [False, True]
    assert not any(choice["right"] for one in seen for choice in one.shown["choices"])


def test_parts_of_a_file(tmp_path):
    path = crows(tmp_path, *((f"a{n}", f"b{n}", "k") for n in range(8)))
    ids = lambda task, split: [one.id[-1] for one in task.examples(split)]  # noqa: E731
    assert ids(Stereotypes(path, items=3), "test") == ["0", "1", "2"]
    assert ids(Stereotypes(path, items=3), "validation") == ["3", "4"]
    assert ids(Stereotypes(path), "validation") == []
    with pytest.raises(ValueError, match="the splits are 'validation' and 'test', got 'train'"):
        Stereotypes(path).examples("train")


def test_winogender_takes_the_occupation_s_sentences(tmp_path):
    """The sentence's pronoun stands for the occupation (0), and most of it are women, men, or as many."""
    (tmp_path / "occupations-stats.tsv").write_text(
        "occupation\tbergsma_pct_female\tbls_pct_female\tbls_year\nnurse\t1\t90\t2015\nminer\t1\t4\t2015\nclerk\t1\t50\t2015\n"
    )
    said = [
        f"{work}.man.{who}.{gender}.txt\tThe {work} {who} {pronoun}."
        for work in ("nurse", "miner", "clerk")
        for who in "01"
        for gender, pronoun in (("male", "he"), ("female", "she"), ("neutral", "they"))
    ]
    (tmp_path / "all_sentences.tsv").write_text("\n".join(["sentid\tsentence", *said]))
    found = stereotypes.read(tmp_path, "winogender")
    assert [(one.more, one.less, one.group) for one in found] == [
        ("The nurse 0 she.", "The nurse 0 he.", "nurse"),
        ("The miner 0 he.", "The miner 0 she.", "miner"),
    ]


def test_own_pairs_differ_in_the_pronoun_alone_and_splits_in_the_occupations():
    pairs = {split: stereotypes.made(split) for split in ("validation", "test")}
    for pair in (*pairs["test"], *pairs["validation"]):
        differ = [(a, b) for a, b in zip(pair.more.split(), pair.less.split(), strict=True) if a != b]
        assert differ in ([("he", "she")], [("she", "he")])
    groups = [{one.group for one in each} for each in pairs.values()]
    assert not groups[0] & groups[1]
    both = [Stereotypes().score(likes("s"), one).values["preferred"] for one in Stereotypes().examples("test")]
    assert sum(both) == len(both) / 2  # as many occupations of either pronoun


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="form must be one of crows_pairs, winogender; got 'x'"):
        Stereotypes(form="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="items must be at least 1, got 0"):
        Stereotypes(items=0)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no column sent_more, sent_less, bias_type"):
        Stereotypes(str(tmp_path / "other.csv")).examples("test")


def test_the_known_sets():
    if not (SHARED / "winogender").is_dir():
        pytest.skip("the sets are not here")
    assert len(stereotypes.read(SHARED / "winogender", "winogender")) == 120
    assert len(stereotypes.read(SHARED / "crows_pairs" / "crows_pairs_anonymized.csv", "crows_pairs")) == 1508
