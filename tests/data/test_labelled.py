"""Labelled items: those of our own, and files in the forms of SNIPS and SciQ."""

import json
from collections import Counter
from pathlib import Path

import pytest

from trivium.data.labelled import INTENTS, SPLITS, Labelled, made, sciq, snips
from trivium.data.templates import GRAMMARS, TEMPLATES

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(("form", "sizes"), [("intents", (40, 60, 60)), ("answers", (24, 36, 36))])
def test_what_is_made_is_even_and_splits_share_nothing(form, sizes):
    splits = [made(form, split) for split in SPLITS]
    assert tuple(map(len, splits)) == sizes
    texts = [tuple(one.fields.values()) for some in splits for one in some]
    assert len(set(texts)) == len(texts)
    for some in splits:
        counts = Counter(one.label for one in some)
        assert len(set(counts.values())) == 1
        labels = list(counts)
        assert [one.label for one in some[: len(labels)]] == labels  # in turn
    assert made(form, "test") is made(form, "test")
    if form == "intents":
        assert set(labels) == set(INTENTS)
        assert not any(label in text.split() for (text,) in texts for label in INTENTS)  # the words are not given away


@pytest.mark.parametrize("form", ["intents", "answers"])
def test_templates_and_grammar_are_of_the_form_and_differ(form):
    fields = made(form, "test")[0].fields
    said = [template.ask(fields) for template in TEMPLATES[form]]
    assert len(set(said)) == 12
    assert all(text in one for one in said for text in fields.values())
    assert GRAMMARS[form].original.ask(fields)


def utterance(text):
    return {"data": [{"text": text[:2]}, {"text": text[2:], "entity": "x"}]}


def test_snips_by_hand(tmp_path):
    for intent, encoding in (("PlayMusic", "latin-1"), ("GetWeather", "utf-8"), ("Unheard", "utf-8")):
        told = [utterance(f" {intent} né {n} ") for n in range(6)] + [utterance(f"{intent} né 0")]
        data = json.dumps({intent: told}, ensure_ascii=False)
        (tmp_path / f"train_{intent}_full.json").write_bytes(data.encode(encoding))
        (tmp_path / f"validate_{intent}.json").write_bytes(data.encode(encoding))
    train, validation, test = (snips(tmp_path, split, ("music", "weather")) for split in SPLITS)
    assert [one.fields["text"] for one in train[:3]] == ["PlayMusic né 0", "GetWeather né 0", "PlayMusic né 1"]
    assert [one.label for one in train] == ["music", "weather"] * 3
    assert len(train) == len(validation) == 6
    assert not {one.fields["text"] for one in train} & {one.fields["text"] for one in validation}
    assert len(test) == 12
    assert {one.label for one in snips(tmp_path, "test")} == {"weather", "music", "Unheard"}
    with pytest.raises(ValueError, match="no intent 'alarm'; there are"):
        snips(tmp_path, "test", ("alarm",))
    with pytest.raises(ValueError, match="holds no file validate_"):
        snips(tmp_path / "none", "test")
    (tmp_path / "validate_Odd.json").write_text('{"Odd": [1]}')
    with pytest.raises(ValueError, match=r"validate_Odd\.json holds no utterances"):
        snips(tmp_path, "test")


def test_sciq_by_hand(tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [{"question": f"q{n}", "correct_answer": f"r{n}", "distractor1": f"d{n}"} for n in range(16)]
    path.write_text("\n".join(map(json.dumps, rows)))
    train, validation, test = (sciq(path, split) for split in SPLITS)
    assert [tuple(one.fields.values()) for one in train] == [("q0", "r0"), ("q1", "d1"), ("q8", "r8"), ("q9", "d9")]
    assert [one.label for one in train] == ["yes", "no"] * 2
    assert [len(some) for some in (train, validation, test)] == [4, 4, 8]
    assert len({one.fields["question"] for some in (train, validation, test) for one in some}) == 16
    with pytest.raises(ValueError, match="the splits are 'train', 'validation', 'test'; got 'dev'"):
        sciq(path, "dev")
    path.write_text("{}")
    with pytest.raises(ValueError, match="line 1 is no question in the form of SciQ"):
        sciq(path, "train")
    with pytest.raises(ValueError, match="field 'text' of 'x' is empty"):
        Labelled("x", {"text": " "}, "y")
    with pytest.raises(ValueError, match="form must be one of intents, answers; got 'quiz'"):
        made("quiz", "test")  # type: ignore[arg-type]


@pytest.mark.skipif(not (DATA / "snips").is_dir(), reason=f"{DATA / 'snips'} is not here")
def test_the_real_files():
    found = snips(DATA / "snips", "test")
    assert {one.label for one in found} == {"playlist", "restaurant", "weather", "music", "search"}
    assert len({one.fields["text"] for one in snips(DATA / "snips", "train")}) > 4000
    assert len(sciq(DATA / "sciq" / "validation.jsonl", "test")) == 500
