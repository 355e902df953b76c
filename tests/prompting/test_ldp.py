import json

import pytest

from tests.prompting.models import Questions, system
from trivium.core.errors import UnknownName
from trivium.core.meter import Meter
from trivium.core.nouns import Example
from trivium.core.seeds import generator
from trivium.data.diverse import ENGLISH, TRANSLATED, language_of
from trivium.models.writing import Written
from trivium.prompting.ldp import Ldp, Pair, shown


class Fake:
    """A system that writes by a table: what stands in the last bracket, or behind the last name, is looked up."""

    name, fingerprint = "fake", "f" * 64

    def __init__(self, table):
        self.table, self.prompts = table, []

    def written(self, prompts, *, batch_size, cache, bar):
        self.prompts += prompts
        texts = []
        for one in prompts:
            last = one.context.rstrip().splitlines()[-1 if "→" in one.context else -2]
            asked = last[1 : last.index("] → [")] if "→" in last else last.partition(": ")[2]
            texts.append(self.table.get(asked, ""))
        return [Written(text, (), (), True) for text in texts]


SPANISH = {
    "El perro duerme en la casa.": "The dog is sleeping in the house.",
    "Compramos pan esta mañana.": "We bought bread this morning.",
    "La puerta está abierta.": "The door is open.",
}


def test_no_exemplar_is_of_the_tested_language_or_names_one():
    for language in ("fr", "ru", "es"):
        fake = Fake(SPANISH)
        Ldp().to_english(fake, list(SPANISH), language, generator=generator(0))
        for prompt in fake.prompts:
            *pairs, asked = prompt.context.splitlines()
            assert len(pairs) == 4
            sources = [pair[1 : pair.index("] → [")] for pair in pairs]
            found = {code for code, texts in TRANSLATED.items() for text in sources if text in texts}
            assert len(found) == 4
            assert language not in found
            assert asked.endswith("] → [")
            assert not any(name in prompt.context for name in ("French", "English", "German"))


def test_given_pairs_say_the_same_and_differ_from_seed_to_seed():
    made = Ldp().diverse(None, "es", generator=generator(0))
    for pair in made:
        places = {texts.index(pair.source) for texts in TRANSLATED.values() if pair.source in texts}
        assert {ENGLISH[place] for place in places} == {pair.target}
    assert len({pair.target for pair in made}) == 4
    assert Ldp().diverse(None, "es", generator=generator(0)) == made
    assert Ldp().diverse(None, "es", generator=generator(1)) != made


def test_one_pair_is_ordinary_cross_lingual_prompting():
    fake = Fake(SPANISH)
    one = Ldp(pairs=1, languages=("fr",))
    [pair] = one.diverse(fake, "es", generator=generator(2))
    assert one.to_english(fake, ["La puerta está abierta."], "es", generator=generator(2)) == ["The door is open."]
    assert fake.prompts[0].context == f"[{pair.source}] → [{pair.target}]\n[La puerta está abierta.] → ["
    assert fake.prompts[0].until == ("]", "\n")


def test_written_pairs_are_those_of_the_system_and_are_filtered():
    english = {texts[n]: ENGLISH[n] for texts in TRANSLATED.values() for n in range(len(ENGLISH))}
    made = Ldp(english="written").diverse(Fake(english), "es", generator=generator(0))
    assert made == Ldp().diverse(None, "es", generator=generator(0))
    with pytest.raises(ValueError, match="all 4 pairs were dropped: 4 by empty; give more texts"):
        Ldp(english="written").diverse(Fake({}), "es", generator=generator(0))


def test_the_other_direction_stands_on_pairs_that_were_made_of_unlabelled_texts():
    table = {**SPANISH, "The children are asleep.": "Los niños duermen.", "I see a dog.": "Veo un perro."}
    fake = Fake(table)
    made = Ldp(limit=9).from_english(
        fake, ["The children are asleep.", "I see a dog."], list(SPANISH), "es", generator=generator(0), shots=2
    )
    assert made == ["Los niños duermen.", "Veo un perro."]
    last = fake.prompts[-1]
    pairs = [Pair(english, spanish) for spanish, english in list(SPANISH.items())[:2]]
    assert last.context == f"{shown(pairs)}[I see a dog.] → ["
    assert last.limit == 9
    references = {"Los niños duermen.", "Veo un perro."}
    assert not any(text in prompt.context for prompt in fake.prompts for text in references)


def test_each_pair_is_dropped_by_its_first_filter():
    sources = ["La puerta está abierta.", "Compramos pan.", "El perro duerme.", "Una casa roja y un perro.", "Hola."]
    targets = ["The door is open.", "", "el perro duerme.", "Una mesa verde y un gato.", "It has been a long day."]
    found = Ldp().filtered(sources, targets, "en")
    assert found.kept == (Pair(sources[0], targets[0]),)
    assert found.dropped == {"empty": 1, "length": 1, "copy": 1, "language": 1}
    assert len(Ldp(ratio=9.0).filtered(sources, targets, "en").kept) == 2


def test_stages_are_kept_with_their_provenance(tmp_path):
    one, fake = Ldp(cache=str(tmp_path)), Fake(SPANISH)
    first = one.to_english(fake, list(SPANISH), "es", generator=generator(0))
    asked = len(fake.prompts)
    assert one.to_english(fake, list(SPANISH), "es", generator=generator(0)) == first
    assert len(fake.prompts) == asked
    [path] = tmp_path.glob("ldp-2-*.json")
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["written"] == first
    assert kept["provenance"]["fingerprint"] == "f" * 64
    one.to_english(fake, list(SPANISH), "fr", generator=generator(0))  # other exemplars, another file
    assert len(fake.prompts) == 2 * asked


def test_as_a_prompting_the_pairs_stand_before_each_question():
    system()  # which checks itself once
    with Meter() as meter:
        task = Ldp(language="no", pairs=2)(Questions(), system(), generator=generator(0))
    assert meter.spent.calls == 0
    example = Example("one", "red?", fields={"options": ("sky", "rose", "grass")})
    plain, asked = Questions().ask(example), task.ask(example)
    assert asked.text == shown(Ldp(pairs=2).diverse(None, "no", generator=generator(0))) + plain.text
    assert asked.answers == plain.answers


def test_the_language_is_told_from_the_questions():
    class French(Questions):
        def ask(self, example):
            question = super().ask(example)
            return type(question)(("Les enfants mangent du pain dans le jardin avec leur mère.",), question.answers)

    task = Ldp()(French(), system(), generator=generator(0))
    text = str(task.ask(Questions().examples("test")[0]).segments[0])
    assert not any(sentence in text for sentence in TRANSLATED["fr"])
    assert language_of("Les enfants mangent du pain dans le jardin avec leur mère.") == "fr"


def test_bad_input():
    with pytest.raises(UnknownName, match="no sentences of the language 'xx'"):
        Ldp(language="xx")
    with pytest.raises(UnknownName, match="'yy'"):
        Ldp().to_english(Fake({}), ["a"], "yy", generator=generator(0))
    with pytest.raises(ValueError, match="no text to translate"):
        Ldp().from_english(Fake({}), ["a"], [], "es", generator=generator(0))
    with pytest.raises(ValueError, match="4 pairs of languages other than fr are wanted, there are 3"):
        Ldp(languages=("fr", "de", "ru", "el")).diverse(None, "fr", generator=generator(0))
    for changed, said in (
        ({"languages": ("en", "fr")}, "differ from each other and from English"),
        ({"english": "made"}, "english must be 'given' or 'written'"),
        ({"pairs": 0}, "pairs must be at least 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"ratio": 0.5}, "ratio must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            Ldp(**changed)
