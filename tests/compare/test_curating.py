"""Curation compared: one model trained on what each contender keeps, scored on text that nobody curates."""

import json
from dataclasses import replace

import pytest

from trivium.compare import comparison as module
from trivium.compare.comparison import Comparison
from trivium.compare.curating import Curating, kept
from trivium.compare.training import Training
from trivium.core.errors import UnknownName
from trivium.curation.exact_copies import ExactCopies
from trivium.curation.gopher import Gopher
from trivium.curation.keep_all import KeepAll
from trivium.data.corpus import Corpus
from trivium.data.planted import planted
from trivium.data.raw_texts import Planted, texts_of

CLEAN = Corpus("clean", {"train": ["never read."], "validation": ["a hill and a sea."], "test": ["the sea rose.", "a"]})
WORDS = (
    "curating(length=16, batch_size=2, architecture=llama(width=16, depth=1, heads=1), "
    "raw=planted(count=30, share=0.06))"
)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Pages have tests of their own, and take longer to draw than all else here."""
    monkeypatch.setattr(module, "page", lambda data: "")


def training(**given) -> Curating:
    return Curating.read(WORDS) if not given else Curating(**{"corpus": CLEAN, "length": 16, **given})


def comparison(**given) -> Comparison:
    words = {"vary": "curation", "contenders": ["gopher"], "system": training(), "budget": "2e7 flops", "seeds": 2}
    return Comparison(**words | given)


def test_it_runs_and_goes_on_with_the_same_numbers(tmp_path):
    clean = tmp_path / "clean.jsonl"
    clean.write_text("\n".join(json.dumps({"text": f"The sea rose {n} times."}) for n in range(40)))
    made = Curating.read(f"{WORDS[:-1]}, corpus={str(clean)!r})")
    report = comparison(system=made).run(tmp_path / "run", show=False)
    everything, gopher = report.contender("keep_all"), report.contender("gopher")
    assert everything["baseline"]
    assert everything["spent"]["documents_kept"]["median"] == 30
    assert 0 < gopher["spent"]["documents_kept"]["median"] < 30
    for row in (everything, gopher):
        spent = {name: amount["median"] for name, amount in row["spent"].items()}
        rows = spent["tokens_kept"] // made.length
        assert spent["epochs"] == pytest.approx(spent["tokens"] / (rows * made.length))
        assert spent["flops"] == pytest.approx(2e7, rel=0.02)
        assert row["measures"]["bits_per_byte"]["n"] == 2
    assert gopher["spent"]["epochs"]["median"] > everything["spent"]["epochs"]["median"]
    records = (tmp_path / "run/records.jsonl").read_text().splitlines()
    (tmp_path / "run/records.jsonl").write_text("\n".join(records[: len(records) // 2]) + "\n")
    again = Comparison.load(tmp_path / "run").run(tmp_path / "run", show=False)
    assert again.contender("gopher")["measures"] == gopher["measures"]
    assert "documents kept" in (tmp_path / "run/report.md").read_text()


def test_what_is_held_out_is_not_curated():
    clean = training(corpus=CLEAN)
    assert clean.raw == Planted()
    assert [example.text for example in clean.task().examples("test")] == CLEAN["test"]


def test_each_gets_what_it_keeps_of_the_same_documents():
    made = training(raw=Planted(40, share=0.05))
    all_of_it, few = kept(KeepAll(), made), kept(Gopher(), made)
    assert all_of_it.facts["documents_kept"] == 40 == len(all_of_it.ids)
    good = [d for d in planted(40, 1, shares=0.05) if d.metadata.get("planted") != "short"]
    assert len(few.ids) <= len(good) < 40
    assert few.facts["tokens_kept"] == sum(map(len, few.ids)) < all_of_it.facts["tokens_kept"]


def test_none_of_the_generated_documents_holds_a_text_on_which_models_are_scored():
    held = [text for split in ("validation", "test") for text in Curating().documents[split]]
    raw = {half for text in Planted(800).texts().texts for half in text.split("\n\n")}
    assert len(held) > 300
    assert not raw & set(held)


def test_documents_of_files(tmp_path):
    rows = [{"id": "a", "text": "one two"}, {"id": "b", "text": "one  TWO"}, {"id": "c", "text": "three"}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = training(raw=f"{tmp_path}/*.jsonl")
    assert list(made.raw_documents.texts) == ["one two", "one  TWO", "three"]
    assert kept(ExactCopies(), made).facts["documents_kept"] == 2
    facts = made.facts()
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows[:2])))
    assert training(raw=f"{tmp_path}/*.jsonl").facts()["raw_sha256"] != facts["raw_sha256"]


def test_bad_input(tmp_path):
    (tmp_path / "leak.jsonl").write_text(json.dumps({"id": "it", "text": " the sea rose.\n"}))
    with pytest.raises(ValueError, match="'it' is one of those held out in clean"):
        kept(KeepAll(), training(raw=str(tmp_path / "leak.jsonl")))
    (tmp_path / "bad.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(ValueError, match="1 of 1 records were refused"):
        texts_of(str(tmp_path / "bad.jsonl"))
    with pytest.raises(ValueError, match="no file matches"):
        texts_of(str(tmp_path / "none.jsonl"))
    (tmp_path / "short.jsonl").write_text(json.dumps({"id": "it", "text": "two words"}))
    with pytest.raises(ValueError, match="gopher keeps none of 1 documents"):
        kept(Gopher(), training(raw=str(tmp_path / "short.jsonl")))
    with pytest.raises(ValueError, match="count must be at least 1"):
        Planted(0)
    with pytest.raises(ValueError, match="shares are at least 0"):
        Planted(share=0.5)
    with pytest.raises(TypeError, match=r"curation are compared by training them: give system=Curating"):
        comparison(system=Training())
    with pytest.raises(TypeError, match="has no tag or gather"):
        comparison(contenders=[object()])
    with pytest.raises(UnknownName):
        comparison(contenders=["gofer"])


def test_one_that_keeps_nothing_fails_alone(tmp_path):
    short = tmp_path / "short.jsonl"
    short.write_text("\n".join(json.dumps({"id": str(n), "text": "some few words only"}) for n in range(40)))
    report = comparison(system=replace(training(), corpus=CLEAN, raw=str(short))).run(tmp_path / "run", show=False)
    (failed,) = report.contender("gopher")["failed"]
    assert failed["message"] == "gopher keeps none of 40 documents, so there is nothing to train on"
    assert report.contender("keep_all")["measures"]
