"""`trivium curate`: files in, documents and a table out."""

import json
from collections import Counter

import pytest

from tests.data.test_plan import SHARES, lines
from trivium import cli
from trivium.data.corpus import Corpus
from trivium.data.planted import planted

pytest.importorskip("pyarrow")


@pytest.fixture
def pages(tmp_path):
    made = list(planted(40, seed=3, shares=SHARES))
    (tmp_path / "a.jsonl").write_bytes(lines(made[:25]))
    (tmp_path / "b.jsonl").write_bytes(lines(made[25:]))
    return f"{tmp_path}/[ab].jsonl".replace("[ab]", "?")


def curate(*words: str) -> int:
    return cli.run(["curate", *words, "--engine", "here"])


def test_a_table_of_rules_and_a_file_to_train_on(pages, tmp_path, capsys):
    out, folder = tmp_path / "out/clean.jsonl", str(tmp_path / "run")
    words = ["--sources", f"web={pages}", "--methods", "gopher", "exact_copies", "--folder", folder]
    assert curate(*words, "--export", str(out)) == cli.OK
    said = capsys.readouterr().out
    assert "40 documents read" in said
    assert "never fires" in said
    assert "exact_copies" in said
    assert curate(*words, "--json") == cli.OK
    told = json.loads(capsys.readouterr().out)
    kept = out.read_text().splitlines()
    assert (told["total"]["read"], told["total"]["kept"]) == (40, len(kept))
    assert sum(len(part) for part in Corpus.read(out).splits.values()) == len(kept)


def test_rules_of_ones_own_and_a_plan_in_python(pages, tmp_path, capsys):
    words = ["--sources", pages, "--methods", "gopher", "--rules", "gopher.word_count < 50", "--json"]
    assert curate(*words, "--folder", str(tmp_path / "one")) == cli.OK
    one = json.loads(capsys.readouterr().out)
    assert set(one["total"]["dropped"]) == {"gopher.word_count < 50"}
    plan = tmp_path / "plan.py"
    plan.write_text(
        "from trivium.curation.gopher import Gopher\n"
        "from trivium.data.plan import Plan, Source\n"
        "from trivium.data.rules import Drop, Rules\n"
        f"plan = Plan([Source({pages!r})], {{'gopher': Gopher()}}, Rules((Drop('few', 'gopher.word_count < 50'),)))\n"
    )
    assert curate(str(plan), "--folder", str(tmp_path / "two"), "--json") == cli.OK
    two = json.loads(capsys.readouterr().out)
    assert two["total"]["kept"] == one["total"]["kept"]


def test_what_is_exported_is_what_is_drawn_in_its_order(pages, tmp_path, capsys):
    out, folder = tmp_path / "out.jsonl", tmp_path / "run"
    sources = Counter(d.source for d in planted(40, seed=3, shares=SHARES))
    mix = "blend(unit=documents, temperature=inf, max_epochs=3, size=60, seed=2)"
    assert curate("--sources", pages, "--mix", mix, "--folder", str(folder), "--export", str(out)) == cli.OK
    said = capsys.readouterr().out
    assert "draws of" in said
    assert "epochs" in said
    rows = [json.loads(row) for row in out.read_text().splitlines()]
    assert [row["id"] for row in rows] != sorted(row["id"] for row in rows)
    drawn = Counter(row["source"] for row in rows)
    assert 60 - len(sources) <= len(rows) <= 60
    assert all(drawn[name] <= 3 * count for name, count in sources.items())
    assert max(drawn.values()) - min(drawn.values()) <= 1 or min(drawn.values()) == 3 * min(sources.values())
    words = ["--sources", pages, "--mix", "word_budget(words=500)", "--folder", str(folder), "--replace", "--json"]
    assert curate(*words) == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert 400 < sum(row["drawn_size"] for row in told["groups"].values()) <= 500


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "which files?"),
        (["missing.py"], "cannot be read"),
        (["--sources", "nowhere/*.jsonl"], "no file matches"),
        (["--sources", "x", "--methods", "gofer"], "gofer"),
        (["--sources", "x", "--methods", "gopher", "--rules", "gopher.words < 3"], "which nobody measures"),
        (["--sources", "x", "--rules", "3"], "is a number, not a condition"),
        (["--sources", "x", "--mix", "blind(unit=words)"], "no mixer is called 'blind'; did you mean 'blend'"),
        (["--sources", "x", "--mix", "blend"], "blend needs unit"),
        (["--sources", "x", "--mix", "blend(unit=tokens)"], "unit of blend must be 'words'"),
        (["--sources", "x", "--mix", "blend(unit=words, weights={'a': 0.5})"], "come to 0.5, not to 1"),
        (["--sources", "x", "--mix", "blend(unit=words, by=language)"], "a method of the plan that gives scores"),
    ],
)
def test_bad_input(words, said, tmp_path, capsys):
    assert curate(*words, "--folder", str(tmp_path / "run")) == cli.BAD_INPUT
    assert said in capsys.readouterr().err


def test_packed_rows_are_written_checked_and_trained_on(pages, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--sources", pages, "--folder", str(folder), "--context", "64", "--held-out", "0.1"]
    assert curate(*words, "--pack", "best_fit") == cli.OK
    said = capsys.readouterr().out
    assert "tokens in" in said
    assert "rows of 64" in said
    assert curate(*words, "--pack", "best_fit", "--json") == cli.OK
    told = json.loads(capsys.readouterr().out)["packed"]
    assert told["documents"] + told["held_out"] == 40
    assert told["held_out"] > 0
    packed = str(folder / "packed")
    assert cli.run(["shards", "all", "--folder", packed, "--check"]) == cli.OK
    small = ["--architecture", "llama(width=16, depth=1, heads=2, hidden=24)", "--batch-size", "2", "--steps", "2"]
    small += ["--folder", str(tmp_path / "train"), "--json"]
    capsys.readouterr()
    assert cli.run(["train", "--shards", packed, *small]) == cli.OK
    told = json.loads(capsys.readouterr().out)
    assert told["spent"]["tokens"] <= 2 * 2 * 64
    assert "bits_per_byte" in told
    for bad, said in (
        (["--shards", str(folder)], f"holds no shards of tokens; give {packed}"),
        (["--shards", packed, "--length", "32"], "packed to rows of 64 tokens; leave out the length"),
        (["--shards", packed, "--tokenizer", "tiny"], "is tokenised already; leave out --tokenizer"),
        (["--shards", str(tmp_path)], "make them with trivium shards, or with trivium curate --tokenizer NAME"),
    ):
        assert cli.run(["train", *bad, *small]) == cli.BAD_INPUT
        assert said in capsys.readouterr().err
    assert curate(*words, "--pack", "concatenate") == cli.BAD_INPUT
    assert "with another tokenizer or otherwise" in capsys.readouterr().err
    assert curate(*words, "--pack", "concatenate", "--replace") == cli.OK
    assert curate(*words[:4], "--pack", "concatenate", "--context", "1") == cli.BAD_INPUT
    assert "got context 1" in capsys.readouterr().err
    tokens = folder / "packed/train/00000.tokens"
    tokens.write_bytes(b"\0" * tokens.stat().st_size)
    assert cli.run(["shards", "all", "--folder", packed, "--check"]) == cli.IN_THE_WAY
    assert "is gone or was changed" in capsys.readouterr().err
