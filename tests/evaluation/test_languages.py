"""Bits by language, of models whose bits are known."""

import math
from pathlib import Path

import pytest

from tests.compare.fakes import system
from tests.evaluation.oracles import of_bytes
from trivium.core.errors import UnknownName
from trivium.data.languages import PROFILES, made
from trivium.evaluation.languages import Languages

UD = Path(__file__).parents[3] / "shared" / "data" / "ud"


@pytest.mark.parametrize("name", PROFILES)
def test_a_uniform_model_needs_log_2_of_its_vocabulary_for_each_byte(name):
    task = Languages(name)
    for example, one in zip(task.examples("test"), made(name), strict=False):
        seen, size = task.score(system(), example).values, len(one.text.encode())
        assert seen["bits_per_byte"] == pytest.approx(math.log2(259), rel=1e-5)
        assert seen["bits_per_character"] == pytest.approx(math.log2(259) * size / len(one.text), rel=1e-5)
        assert seen["fertility"] == size / len(task.profile.words(one.text))
        assert (seen["bytes"], seen["characters"]) == (size, len(one.text))
        assert seen["bits_per_character"] * seen["characters"] == pytest.approx(seen["bits_per_byte"] * seen["bytes"])
        assert seen["altered"] == 0.0


def test_bits_are_those_of_a_slow_loop_in_windows_too():
    model = of_bytes()
    for length in (512, 7):
        task = Languages("french", length=length, items=3, batch_size=2)
        for example in task.examples("test"):
            text = example.text.encode()
            nats = sum(float(model.model.law[a, b]) for a, b in zip([256, *text[:-1]], text, strict=True))
            seen = task.score(model, example).values
            assert seen["bits_per_byte"] == pytest.approx(-nats / math.log(2) / len(text), abs=1e-5)


def test_a_sentence_without_words_weighs_nothing_in_fertility(tmp_path):
    path = tmp_path / "some.conllu"
    path.write_text("# newdoc id = d\n# text = ***\n1\t***" + "\t_" * 8 + "\n\n# text = Oui\n1\tOui" + "\t_" * 8 + "\n")
    task = Languages("french", str(path))
    first, second = (task.score(system(), example).values for example in task.examples("test"))
    assert (first["fertility"], first["words"]) == (0.0, 0.0)
    assert (second["fertility"], second["words"]) == (3.0, 1.0)
    assert [example.cluster for example in task.examples("test")] == ["d", "d"]


def test_splits_and_bad_settings():
    task = Languages("norwegian")
    assert [len(task.examples(split)) for split in ("test", "validation")] == [8, 4]
    assert len(Languages(items=3).examples("test")) == 3
    with pytest.raises(UnknownName, match=r"no language is called 'danish'.*there are english, french"):
        Languages("danish")
    for name in ("items", "length", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            Languages(**{name: 0})
    with pytest.raises(ValueError, match="got 'train'"):
        task.examples("train")


def test_a_treebank_as_it_lies():
    path = UD / "grc_proiel-ud-dev.conllu"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    task = Languages("ancient_greek", str(path), items=6)
    assert [len(task.examples(split)) for split in ("test", "validation")] == [6, 3]
    assert len(Languages("ancient_greek", str(path), items=None).examples("test")) > 1000
    model = system()
    seen = [task.score(model, example).values for example in task.examples("test")]
    assert all(one["bits_per_character"] > 1.8 * one["bits_per_byte"] for one in seen)
