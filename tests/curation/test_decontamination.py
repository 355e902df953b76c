"""Contaminated text is cut or drops its document as each reading says, and the split of the benchmark is reported."""

import json

import pytest

from trivium.curation.decontamination import PIECES, Decontamination, around
from trivium.data.curating import curated, measured
from trivium.data.marks import Texts
from trivium.data.planted import ITEMS, items, planted

QUESTION = "Which of the seven old towns at the great northern river was burnt down three times in one year?"
ANSWER = "It was the smallest one"


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "towns.jsonl"
    rows = [{"id": "a", "question": QUESTION, "answer": ANSWER}, {"question": "Short?", "answer": "yes"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def texts(*said: str) -> Texts:
    return Texts([f"d{n:02d}" for n in range(len(said))], said, ["s"] * len(said))


def filler(start: int, characters: int) -> str:
    return " ".join(f"word{n}" for n in range(start, start + characters))[:characters]


def test_the_run_goes_with_two_hundred_characters_on_either_side(questions):
    before, behind = filler(0, 500), filler(1000, 600)
    text = f"{before} {QUESTION} {behind}"
    found = curated(Decontamination((questions,)), texts(text, before))
    assert found.texts.texts[0] == f"{text[:301]}\n\n{text[500 + len(QUESTION) + 200 :]}"
    assert found.texts.texts[1] == before
    marks = found.marks
    ((start, end, _),) = marks.spans["decontamination.found"][0]
    assert text[start:end] == QUESTION[:-1]
    assert marks.numbers["decontamination.hits"].tolist() == [19 - 13 + 1, 0]
    assert marks.numbers["decontamination.items"].tolist() == [1, 0]
    assert marks.numbers["decontamination.pieces"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("spans", "size", "gone", "pieces"),
    [
        ([(500, 550)], 1000, [(300, 750)], 2),
        ([(399, 450)], 1000, [(0, 650)], 2),  # 199 characters are left before
        ([(400, 450)], 1000, [(200, 650)], 2),
        ([(400, 601)], 1000, [(200, 1000)], 2),
        ([(400, 600)], 1000, [(200, 800)], 2),
        ([(10, 20)], 100, [(0, 100)], 0),
        ([(500, 510), (700, 710)], 2000, [(300, 910)], 2),
        ([(500, 510), (1109, 1120)], 2000, [(300, 1320)], 3),  # 199 characters between
        ([(500, 510), (1110, 1120)], 2000, [(300, 710), (910, 1320)], 3),
    ],
)
def test_windows_and_what_is_too_short_beside_them(spans, size, gone, pieces):
    assert around(spans, size) == (gone, pieces)


def test_documents_in_too_many_pieces_and_those_of_which_nothing_is_left(questions):
    part = f" {QUESTION} {filler(0, 700)}"
    method = Decontamination((questions,))
    found = curated(method, texts(part * (PIECES + 1), part * (PIECES - 1), QUESTION, filler(0, 100)))
    assert found.marks.numbers["decontamination.pieces"].tolist() == [PIECES + 1, PIECES - 1, 0, 1]
    assert found.counts.dropped == {"decontamination.pieces": 1, "decontamination.nothing_left": 1}
    assert list(found.texts.ids) == ["d01", "d03"]


def test_runs_in_more_than_ten_documents_are_nobody_s(questions):
    of = lambda count: texts(*(f"{filler(100 * n, 500)} {QUESTION} {filler(7000, 500)}" for n in range(count)))  # noqa: E731
    for variant, ten, eleven in (("gpt3", 10, 0), ("datatrove", 0, 0)):
        method = Decontamination((questions,), variant)
        assert (measured(method, [of(10)])[0].numbers["hits"] > 0).sum() == ten
        assert (measured(method, [of(11)])[0].numbers["hits"] > 0).sum() == eleven
    (report,) = Decontamination((questions,)).report([Decontamination((questions,)).sketch(of(11))])
    assert (report.dirty, report.common) == ((), 7)


def test_the_other_readings_drop_documents(questions):
    both = f"{QUESTION} {ANSWER}"
    rows = texts(QUESTION, both, both.upper(), f"so\n{QUESTION}\nit was", f"so {QUESTION}", "nothing")
    datatrove = curated(Decontamination((questions,), "datatrove"), rows)
    assert list(datatrove.texts.ids) == ["d00", "d04", "d05"]  # d03: "it was" touches the answer
    dolma = curated(Decontamination((questions,), "dolma"), rows)
    assert list(dolma.texts.ids) == ["d01", "d02", "d04", "d05"]
    assert not any(dolma.marks.spans["decontamination.around"])


def test_the_report_splits_the_benchmark(questions):
    method = Decontamination((questions, "planted"))
    shards = [texts("nothing", f"x {QUESTION}"), texts(items()[3], items()[5])]
    planted_items, towns = method.report([method.sketch(shard) for shard in shards])
    assert planted_items.dirty == ("3", "5")
    assert len(planted_items.clean) == ITEMS - 2
    assert (towns.dirty, towns.clean, towns.unchecked) == (("a",), (), ("2",))
    assert towns.examples[0][:3] == ("a", "s", "d01")
    alone = Decontamination((questions,))
    assert alone.report([alone.sketch(shard) for shard in shards]) == [towns]
    with pytest.raises(ValueError, match="nothing was searched"):
        method.report([])


def test_planted_items_are_found_and_nothing_else():
    documents = list(planted(400, seed=0, shares={"leaked": 0.2, "near": 0.1}))
    leaked = [document.metadata.get("planted") == "leaked" for document in documents]
    # Each of 20 items stands in about four documents, so none is common.
    found = measured(Decontamination(), [Texts.of(documents)])[0]
    assert (found.numbers["hits"] > 0).tolist() == leaked
    for document, row in zip(documents, found.spans["found"], strict=True):
        if document.metadata.get("planted") == "leaked":
            ((start, end, _),) = row
            assert document.text[start:end] + "." == items(0)[document.metadata["item"]]
    kept = curated(Decontamination(), Texts.of(documents)).texts
    assert not measured(Decontamination(), [kept])[0].numbers["hits"].any()


def test_what_it_depends_on_is_what_the_files_hold(questions, tmp_path):
    method = Decontamination((questions,))
    before = method.depends
    assert before == Decontamination((questions,)).depends
    (tmp_path / "towns.jsonl").write_text(json.dumps({"question": QUESTION + " Say it now."}))
    assert method.depends != before
    assert measured(method, [texts(QUESTION + " say it now")])[0].numbers["hits"].tolist() == [10]


def test_bad_settings(tmp_path):
    for wrong, said in (
        ({"sets": ()}, "so there is nothing to check"),
        ({"variant": "mine"}, "variant must be one of gpt3, datatrove, dolma; got 'mine'"),
        ({"least_words": 0}, "least_words must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=said):
            Decontamination(**wrong)
    with pytest.raises(FileNotFoundError, match="no evaluation set '/nowhere"):
        _ = Decontamination(("/nowhere/x.jsonl",)).wanted
    (tmp_path / "short.jsonl").write_text('{"text": "too short"}')
    with pytest.raises(ValueError, match=r"nothing to check in 'short.jsonl': no item has 8 words"):
        _ = Decontamination((str(tmp_path / "short.jsonl"),)).wanted
