"""Wordings: the text that is said, and what is refused."""

import pytest

from trivium.core.prompt import Parts
from trivium.core.wording import Exemplar, Template, Wording

TEMPLATE = Template("Says: {text}\nIt is", words=(("good", "a joy"),))


def test_a_question_by_hand():
    wording = Wording(TEMPLATE, (Exemplar({"text": "hooray"}, "good"), Exemplar({"text": "alas"}, "bad")), "Judge.\n")
    question = wording.ask({"text": "well"}, ("good", "bad"))
    assert question.text == "Judge.\nSays: hooray\nIt is a joy\n\nSays: alas\nIt is bad\n\nSays: well\nIt is"
    assert question.answers == (" a joy", " bad")
    parts = [one for one in question.segments if isinstance(one, Parts)]
    assert [len(one.texts) for one in parts] == [2]


def test_nothing_stands_before_an_item_without_exemplars():
    assert Wording(TEMPLATE).ask({"text": "x {y}"}, ("good", "bad")).segments == ("Says: x {y}\nIt is",)
    other = Template("{text}", before="\n", between=" / ")
    told = Wording(other, (Exemplar({"text": "a"}, "b"),)).ask({"text": "c"}, ("b", "d"))
    assert (told.text, told.answers) == ("a\nb / c", ("\nb", "\nd"))


def test_bad_templates_and_labels_are_refused():
    with pytest.raises(ValueError, match=r"\{text!r\}|is no field"):
        Template("{text!r}")
    with pytest.raises(ValueError, match="is no field; write its plain name"):
        Template("{0}")
    with pytest.raises(ValueError, match="asks for 'other', the item has text"):
        Wording(Template("{other}")).ask({"text": "x"}, ("a", "b"))
    same = Template("{text}", words=(("yes", "A"), ("no", "A")))
    with pytest.raises(ValueError, match="labels 'yes' and 'no' are both written ' A'"):
        Wording(same).ask({"text": "x"}, ("yes", "no"))
