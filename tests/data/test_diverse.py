from pathlib import Path

import pytest

from trivium.core.errors import UnknownName
from trivium.data.diverse import ENGLISH, NAMES, TRANSLATED, language_of, sentences

UD = Path(__file__).parents[3] / "shared" / "data" / "ud"


def test_every_sentence_of_every_language_has_its_english():
    assert set(TRANSLATED) | {"en"} == set(NAMES)
    assert {len(found) for found in TRANSLATED.values()} == {len(ENGLISH)}
    everything = [text for code in NAMES for text in sentences(code)]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The weather is not very good in the mountains.", "en"),
        ("Le temps n'est pas très bon dans la montagne.", "fr"),
        ("El tiempo no es muy bueno en la montaña.", "es"),
        ("Das Wetter ist in den Bergen nicht sehr gut.", "de"),
        ("Погода в горах не очень хорошая.", "ru"),
        ("Ο καιρός δεν είναι πολύ καλός στα βουνά.", "el"),
        ("山里的天气不太好。", "zh"),
    ],
)
def test_sentences_that_are_in_no_profile(text, code):
    assert language_of(text) == code


def test_a_choice_among_some_and_bad_input():
    assert language_of("le jardin", ("en", "fr")) == "fr"
    with pytest.raises(UnknownName, match="no sentences of the language 'xx'"):
        language_of("a", ("xx",))
    with pytest.raises(ValueError, match="in no language"):
        language_of(" ")


def test_real_sentences_are_mostly_told():
    right = total = 0
    for name, code in (("en_ewt", "en"), ("fr_gsd", "fr"), ("es_gsd", "es"), ("no_bokmaal", "no")):
        path = UD / f"{name}-ud-dev.conllu"
        if not path.is_file():
            pytest.skip(f"{path} is not here")
        with path.open(encoding="utf-8") as file:
            lines = [line[9:].strip() for line in file if line.startswith("# text = ")]
        long = [line for line in lines if len(line) >= 60][:60]
        right += sum(language_of(line) == code for line in long)
        total += len(long)
    assert right / total > 0.8  # of nine languages; chance is 0.11
