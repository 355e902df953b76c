"""Initialisers compared: one model, two languages to learn, equal operations, and what the old language lost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vocabulary.systems import NEW, OLD, sentences
from trivium import cli
from trivium.architectures.llama import Llama
from trivium.compare.adapting import Adapting
from trivium.compare.comparison import Comparison
from trivium.compare.training import Training
from trivium.data.corpus import Corpus
from trivium.models.likelihood import likelihoods
from trivium.tokenization.training import TokenizerRecipe
from trivium.training.settings import TrainingSettings

UD = Path(__file__).parents[2].parent / "shared" / "data" / "ud"
FASTER = TrainingSettings(learning_rate=3e-3, evaluate_every=9, checkpoint_every=9)


def corpus(name, words):
    sizes = {"train": 40, "validation": 3, "test": 6}
    return Corpus(name, {split: sentences(words, size, seed) for seed, (split, size) in enumerate(sizes.items())})


@pytest.fixture(scope="module", autouse=True)
def no_page():
    """Its charts take longer than all the rest, and tests of reports draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trivium.compare.comparison.page", lambda data: "")
        yield


def adapting(**given):
    return Adapting(
        **{
            "old": corpus("old", OLD),
            "new": (corpus("cipher", NEW), corpus("reversed", [word[::-1] for word in OLD])),
            "architecture": Llama(width=16, depth=1, heads=2, hidden=16),
            "first": TrainingSettings(steps=8, learning_rate=3e-3),
            "tokenizer": TokenizerRecipe(vocab_size=300),
            "settings": FASTER,
            "length": 16,
            "batch_size": 2,
            "documents": 4,
            "vectors": 0,
        }
        | given
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    asked = Comparison("vocabulary", ["mean", "subword_mean", "wechsel"], adapting(), budget="3e7 flops", seeds=2)
    return asked, asked.run(folder), folder


def records(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def test_contenders_spend_alike_and_are_scored_on_both_languages(run):
    _, report, folder = run
    assert report.data["baseline"] == "random"
    spent = [report.contender(name)["spent"]["flops"]["median"] for name in ("random", "mean", "subword_mean")]
    assert max(spent) <= 1.02 * 3e7
    assert min(spent) >= 0.7 * 3e7
    for name in ("random", "mean"):
        found = report.contender(name)["measures"]
        assert found["bits_per_byte"]["mean"] < found["at_once"]["mean"]  # it learns
        each = [found[f"bits_per_byte_{language}"]["mean"] for language in ("cipher", "reversed")]
        assert min(each) <= found["bits_per_byte"]["mean"] <= max(each)
        assert abs(found["forgot"]["mean"]) > 1e-3
    assert "new_words" in report.contender("wechsel")["note"]
    judged = {(pair["a"], pair["measure"]) for pair in report.data["pairs"]}
    assert {("mean", "bits_per_byte"), ("mean", "forgot")} <= judged
    assert {path.name for path in (folder / "trainings").iterdir() if path.name.startswith("base")} == {
        "base-0",
        "base-1",
    }


def test_seeds_are_paired(run):
    """With one seed all begin with one model of the old language, and see its texts under it."""
    fixed, folder = run[0].system, run[2]
    base = fixed.base(0, folder / "trainings" / "base-0")
    again = fixed.base(0, folder / "trainings" / "base-0")
    assert all((a == b).all() for a, b in zip(base.model.parameters(), again.model.parameters(), strict=True))
    text = fixed.known["test"][0]
    (first,) = likelihoods(base.model, [text], base.tokenizer, 16)
    rows = [r for r in records(folder) if r["example"].endswith("/old-test-00000") and r["seed"] == 0]
    assert len(rows) == 6  # three contenders, two languages
    assert len({round(row["values"]["forgot"], 12) for row in rows}) > 1
    assert all(row["values"]["forgot"] + first.bits_per_byte > 0 for row in rows)


def test_it_is_loaded_again_and_a_stopped_run_goes_on_to_the_same_numbers(run, tmp_path):
    asked, _, folder = run
    again = Comparison.load(folder, system=adapting())
    assert again.run(folder).data["contenders"][0]["measures"]
    few = replace(asked, contenders=["mean"], seeds=1)
    few.run(tmp_path)
    wanted = records(tmp_path)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    (tmp_path / "records.jsonl").write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    few.run(tmp_path)
    value = lambda r: (r["contender"], r["example"], r["values"].get("bits_per_byte"), r["values"].get("forgot"))  # noqa: E731
    assert sorted(map(str, map(value, records(tmp_path)))) == sorted(map(str, map(value, wanted)))


def test_word_vectors_are_made_where_a_contender_reads_them(tmp_path):
    pytest.importorskip("gensim")
    shared = ["anna", "otto", "paris", "rome"]
    fixed = adapting(
        old=corpus("old", [*OLD, *shared]), new=(corpus("cipher", [*NEW, *shared]),), vectors=8, replay=0.2
    )
    hand = fixed.at_hand("cipher", ("new_words",))
    assert set(shared) <= {a for a, b in hand.dictionary if a == b}
    assert hand.new_words.width == hand.old_words.width == 8
    report = Comparison("vocabulary", ["ofa", "wechsel"], fixed, budget="4e6 flops", seeds=1).run(tmp_path)
    assert all("bits_per_byte" in row["measures"] for row in report.data["contenders"])


def test_bad_input():
    with pytest.raises(TypeError, match="system=Adapting"):
        Comparison("vocabulary", ["mean"], Training())
    with pytest.raises(TypeError, match="system=Training"):
        Comparison("architectures", ["llama"], adapting())
    with pytest.raises(ValueError, match="needs a system"):
        Comparison("decoding", ["greedy"], adapting())
    for settings in ({"new": ()}, {"replay": 1.0}, {"length": 0}, {"vectors": -1}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            adapting(**settings)
    with pytest.raises(ValueError, match="no word is spelt alike"):
        adapting(vectors=4).at_hand("cipher", ("new_words",))
    two = adapting(new=(corpus("same", NEW), corpus("same", OLD)))
    assert list(two.learnt) == ["same", "same-2"]


def test_it_reads_as_text():
    words = "adapting(old='a', new=('b', 'c'), tokenizer=tokenizer_recipe(vocab_size=300), replay=0.1)"
    fixed = Adapting.read(words)
    assert (fixed.new, fixed.replay, fixed.tokenizer.vocab_size) == (("b", "c"), 0.1, 300)
    assert Adapting.read(fixed.text()) == fixed
    assert adapting().text() == ""


@pytest.mark.skipif(not UD.is_dir(), reason=f"no treebanks at {UD}")
def test_treebanks_of_two_languages_from_the_command_line(tmp_path, capsys):
    names = {}
    for word in ("es_gsd", "fr_gsd", "no_bokmaal"):  # their first sentences, for speed
        whole = (UD / f"{word}-ud-dev.conllu").read_text(encoding="utf-8").split("\n\n")
        names[word] = str(tmp_path / f"{word}.conllu")
        Path(names[word]).write_text("\n\n".join(whole[:120]), encoding="utf-8")
    small = (
        "architecture=llama(width=8, depth=1, heads=1, hidden=8), first=training_settings(steps=2), "
        "tokenizer=tokenizer_recipe(vocab_size=270), length=16, batch_size=2, documents=2, vectors=0"
    )
    languages = f"old='{names['es_gsd']}', new=('{names['fr_gsd']}', '{names['no_bokmaal']}')"
    words = ["compare", "vocabulary", "--contenders", "mean", "--training", f"adapting({languages}, {small})"]
    assert cli.run([*words, "--budget", "2e6 flops", "--seeds", "1", "--folder", str(tmp_path / "run"), "--json"]) == 0
    said = capsys.readouterr().out
    found = json.loads(said[said.index("{") :])
    assert found["system"]["name"] == "es_gsd to fr_gsd, no_bokmaal"
    assert {"bits_per_byte_fr_gsd", "bits_per_byte_no_bokmaal"} <= set(found["contenders"][0]["measures"])
    again = Comparison.load(tmp_path / "run")
    assert again.system.replay == 0.0
