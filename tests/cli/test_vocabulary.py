"""``trivium vocabulary``, from a tokenizer to a model that has it."""

import json

import pytest

from trivium import cli
from trivium.models.sources import load


@pytest.fixture
def texts(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(60):
        text = f"kucing number {number} sat on the red mat and saw kucing again. " * 3
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return str(folder)


def test_from_texts_to_a_model(texts, tmp_path, capsys):
    tokenizer, bigger, moved = (str(tmp_path / name) for name in ("tokenizer", "bigger", "moved"))
    assert cli.run(["vocabulary", "train", tokenizer, "--corpus", texts, "--vocab-size", "280"]) == 0
    assert cli.run(["vocabulary", "expand", tokenizer, bigger, "--corpus", texts, "--count", "3"]) == 0
    assert cli.run(["vocabulary", "measure", tokenizer, bigger, "tiny", "--corpus", texts, "--json"]) == 0
    said = capsys.readouterr().out
    found = json.loads(said[said.index("{") :])
    counts = [next(iter(found[name].values()))["tokens"] for name in (bigger, tokenizer, "tiny")]
    assert counts == sorted(counts)
    assert counts[0] < counts[1]
    words = ["vocabulary", "transplant", moved, "--model", "tiny", "--tokenizer", bigger]
    assert cli.run(words) == 0
    system = load(moved)
    assert system.model.vocab_size == system.tokenizer.vocab_size
    card = json.loads((tmp_path / "moved" / "vocabulary.json").read_text())
    assert card["copied"] + card["new"] == card["tokens"] == system.model.vocab_size
    assert cli.run(words) == cli.BAD_INPUT  # the folder is there
    assert cli.run([*words[:2], str(tmp_path / "x"), "--model", "tiny"]) == cli.BAD_INPUT
    lacking = [*words[:2], str(tmp_path / "x"), *words[3:], "--method", "focus"]
    assert cli.run(lacking) == cli.BAD_INPUT
    assert "new_texts" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
