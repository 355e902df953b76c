"""The bake-off of tokenizers: equal bytes or operations, figures by hand, and the command."""

import json
import math

import pytest

from tests.vocabulary.systems import NEW, OLD, sentences
from trivium import cli
from trivium.architectures.llama import Llama
from trivium.data.batches import Batches
from trivium.data.corpus import Corpus
from trivium.data.packing import tokenised
from trivium.models.likelihood import Likelihood, likelihoods
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.training import TokenizerRecipe
from trivium.training.bakeoff import Outcome, Row, TokenizerBakeoff, _seen, _steps, mgpt
from trivium.training.settings import TrainingSettings

SMALL = Llama(width=8, depth=1, heads=1, hidden=8, context=32)


def languages():
    return {
        name: Corpus(
            name, {"train": [text.title() for text in sentences(words, 40)], "validation": sentences(words, 3, 1)}
        )
        for name, words in (("old", OLD), ("cipher", NEW))
    }


def bakeoff(**given):
    small = {"recipe": SMALL, "amount": 3000.0, "length": 16, "batch_size": 4, "settings": TrainingSettings()}
    return TokenizerBakeoff(**small | given)


def test_the_five_read_the_same_bytes_and_differ_in_their_ends_alone(tmp_path):
    pytest.importorskip("sentencepiece")
    corpora = languages()
    texts = {name: corpus["validation"] for name, corpus in corpora.items()}
    found = bakeoff(candidates=mgpt(300)).run(corpora, seeds=1, folder=tmp_path, parallel=texts)
    rows = {row.candidate: row for row in found.rows}
    assert list(rows) == ["default", "case", "arithmetic", "combined", "char"]
    assert len({row.parameters for row in rows.values()}) == 1
    assert all(abs(row.bytes_seen - 3000) <= 16 * 4 * 4 for row in rows.values())  # half a batch, at most
    assert rows["char"].steps > 1.5 * rows["default"].steps
    assert found.chosen == min(rows, key=lambda name: rows[name].mean)
    assert list(found.means().values()) == sorted(found.means().values())
    assert rows["default"].parity["old"] == 1.0
    assert rows["default"].parity["cipher"] != 1.0
    assert rows["char"].bytes_per_token["old"] < rows["default"].bytes_per_token["old"]
    said = json.loads((tmp_path / "bakeoff.json").read_text())
    assert said["chosen"] == found.chosen
    again = bakeoff(candidates=mgpt(300)).run(corpora, seeds=1, folder=tmp_path, parallel=texts)  # goes on from its end
    assert [row.bits_per_byte for row in again.rows] == [row.bits_per_byte for row in found.rows]


def test_figures_are_sums_over_the_held_out_texts():
    recipe, corpora = TokenizerRecipe("byte"), languages()
    (row,) = bakeoff(candidates={"bytes": recipe}, amount=256.0).run(corpora, seeds=1).rows
    tokenizer = ByteTokenizer()
    ids = tokenised([text for corpus in corpora.values() for text in corpus["train"]], tokenizer)
    batches = Batches(ids, 16, 4, 0)
    assert row.steps == _steps(batches, tokenizer, 256.0)
    assert row.bytes_seen == sum((batches.batch(step).ids < 256).sum().item() for step in range(row.steps))
    assert row.bits_per_byte["old"] == pytest.approx(math.log2(row.token_perplexity["old"]))  # a token is a byte
    assert row.bits_per_character == pytest.approx(row.bits_per_byte)  # plain letters
    assert row.mean == pytest.approx(sum(row.bits_per_byte.values()) / 2)
    assert 0 <= row.inequality < 1e-9


def test_a_uniform_model_over_bytes_needs_eight_bits():
    import torch

    model = SMALL.build(256, seed=0)
    with torch.no_grad():
        model.head.weight.zero_()

    class Bytes(ByteTokenizer):
        vocab_size, opening, bos, eos = 256, (), None, None

    (seen,) = likelihoods(model, ["straße, ΑΣ ς, ıİ"], Bytes(), 32)
    assert (seen + Likelihood()).bits_per_byte == pytest.approx(8.0)


def test_equal_operations_let_a_fine_vocabulary_read_less():
    candidates = {"bytes": TokenizerRecipe("byte"), "bpe": TokenizerRecipe(vocab_size=330)}
    rows = bakeoff(candidates=candidates, equal="flops", amount=2e7).run(languages(), seeds=1).rows
    assert rows[0].flops == pytest.approx(rows[1].flops, rel=0.1)
    assert rows[0].bytes_seen < rows[1].bytes_seen


def test_the_mean_over_seeds_chooses():
    def row(name, seed, bits):
        return Row(name, seed, 1, 1, 1, 1, 1.0, 1.0, {"x": bits, "y": bits + 1}, {}, {}, {}, {})

    assert Outcome([row("a", 0, 1.0), row("a", 1, 3.0), row("b", 0, 1.9), row("b", 1, 1.9)]).chosen == "b"


def test_steps_come_nearest_to_the_amount():
    tokenizer = ByteTokenizer()
    batches = Batches([list(b"abcdefgh" * 4)], 4, 1, 0)  # four bytes a batch
    assert [_steps(batches, tokenizer, amount) for amount in (1.0, 8.0, 9.0, 11.0)] == [1, 2, 2, 3]
    assert _seen(batches, tokenizer, 3) == 12


def test_bad_input():
    for settings in ({"candidates": {}}, {"equal": "tokens"}, {"amount": 0.0}, {"length": 1}, {"documents": 0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            bakeoff(**settings)
    with pytest.raises(ValueError, match=r"settings\.steps"):
        bakeoff(settings=TrainingSettings(steps=3))
    one = bakeoff(candidates={"bytes": TokenizerRecipe("byte")})
    with pytest.raises(ValueError, match="at least one corpus"):
        one.run({})
    with pytest.raises(ValueError, match="parallel texts of greek"):
        one.run(languages(), parallel={"greek": ["a"]})
    empty = {"none": Corpus("none", {"train": [], "validation": ["a"]})}
    with pytest.raises(ValueError, match="empty"):
        one.run(empty)


def test_the_command(tmp_path, capsys):
    for name, words in (("old", OLD), ("cipher", NEW)):
        (tmp_path / name).mkdir()
        for at, text in enumerate(sentences(words, 30)):
            (tmp_path / name / f"{at}.txt").write_text(text, encoding="utf-8")
    words = [
        "vocabulary",
        "bakeoff",
        str(tmp_path / "run"),
        "--corpus",
        str(tmp_path / "old"),
        str(tmp_path / "cipher"),
    ]
    small = ["--candidates", "default", "case", "--vocab-size", "300", "--amount", "2000", "--seeds", "1"]
    shape = ["--length", "16", "--batch-size", "2", "--architecture", "llama(width=8, depth=1, heads=1, hidden=8)"]
    assert cli.run([*words, *small, *shape]) == 0
    out = capsys.readouterr().out
    assert "chosen" in out
    assert json.loads((tmp_path / "run" / "bakeoff.json").read_text())["chosen"] in ("default", "case")
    assert cli.run([*words, *small, *shape, "--candidates", "nonsense"]) == cli.BAD_INPUT
