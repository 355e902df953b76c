"""Set-based prompting: no order of the parts is left, on models of learned, rotary and windowed positions."""

import itertools
from dataclasses import replace

import pytest
import torch

from tests.prompting.models import Questions, system
from trivium.core.errors import NotOffered
from trivium.core.nouns import Example
from trivium.core.prompt import Parts, Question, pack
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.models.planned import check_orders
from trivium.prompting.plain import Plain
from trivium.prompting.set_based import SetBased, labelled

FAMILIES = ("gpt2", "llama", "gemma")
OPTIONS = ("sky", "a rose", "grass", "sky")
ORDERS = list(itertools.permutations(range(4)))[::4]


def weights(method, order, family, options=OPTIONS):
    """Per option as given, whatever the order."""
    task = method(Questions(), system(family), generator=torch.Generator())
    question = task.ask(Example("one", "red?", fields={"options": [options[place] for place in order]}))
    found = task.weigh(system(family), question, task.lay(system(family), question))
    return [found[list(order).index(place)] for place in range(len(options))]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_weigh_the_same_in_every_order(family):
    tables = [torch.tensor([weights(method, order, family) for order in ORDERS], dtype=torch.float64)
              for method in (SetBased(), SetBased(canonical=False), SetBased(padded=True), Plain())]  # fmt: skip
    exact, free, padded, plain = tables
    assert (exact == exact[0]).all()
    torch.testing.assert_close(free, exact, atol=1e-5, rtol=0)  # wrapped models end in float32
    torch.testing.assert_close(padded, exact, atol=1e-5, rtol=0)
    assert (plain - plain[0]).abs().max() > 0.1


@pytest.mark.parametrize("decoder", [Greedy(), Sampling()])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_written_behind_it_does_not_know_the_order(family, decoder):
    model, written = system(family).model, []
    for options in (OPTIONS, OPTIONS[::-1]):
        question = Questions().ask(Example("one", "red?", fields={"options": options}))
        ids, mask = pack([SetBased().lay(system(family), question)])
        made = decoder(model, ids, mask=mask, limit=6, generator=torch.Generator().manual_seed(1))
        written.append((made.ids.tolist(), made.logprobs.tolist()))
    assert written[0] == written[1]


def test_canonical_order_alone_sorts_the_parts():
    question = Questions().ask(Example("one", "red?", fields={"options": ("sky", "grass")}))
    sorted_, given = (SetBased(canonical=on).lay(system(), question).ids.tolist() for on in (True, False))
    text = system().tokenizer.decode
    assert text(sorted_) == "Pick: grass; sky; red?"
    assert text(given) == "Pick: sky; grass; red?"
    padded = SetBased(padded=True).lay(system(), question)
    assert len(padded) == len(given) + len("grass") - len("sky")


def test_one_option_is_plain_prompting():
    assert weights(SetBased(), (0,), "llama", ("rose",)) == weights(Plain(), (0,), "llama", ("rose",))


class Deaf:
    """A model's pass that drops something it was given."""

    def __init__(self, run, lost):
        self.run, self.lost = run, lost

    def __call__(self, *args, **words):
        if words["mask"] is not None and words["mask"].ndim == 4:
            words[self.lost] = None
        return self.run(*args, **words)


@pytest.mark.parametrize("lost", ["positions", "mask"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_ignores_positions_or_masks_is_refused(family, lost, monkeypatch):
    model = system(family).model
    check_orders(model)
    monkeypatch.setattr(model, "run", Deaf(model.run, lost))
    with pytest.raises(NotOffered, match="sees the order of parts"):
        SetBased()(Questions(), system(family), generator=torch.Generator())


@pytest.mark.parametrize(
    ("parts", "label"),
    [
        (("A. sky", "B. rose"), "A."),
        ((" (a) sky", " (b) rose", " (c) grass"), "(a)"),
        (("\n1) sky", "\n2) rose"), "1)"),
        (("ii. sky", "i. rose"), "ii."),
        (("- B: sky", "- A: rose"), "- B:"),
        (("[x] sky", "[y] rose"), "[x]"),
        (("A. sky", "rose"), None),
        (("A. sky", "A. rose"), None),
        (("A. sky", "(B) rose"), None),
        (("1.5 km", "2.5 km"), None),
        (("- sky", "- rose"), None),
        (("a rose", "b rose"), None),
        (("A. sky",), None),
    ],
)
def test_labels_are_found(parts, label):
    assert labelled(Parts(*parts)) == label


def test_labelled_parts_are_refused_unless_they_are_kept():
    question = Question(("Pick:", Parts(" A. sky", " B. rose"), " red?"))
    with pytest.raises(ValueError, match=r"labelled like 'A\.'.*labels='keep'"):
        SetBased().lay(system(), question)
    assert not SetBased(labels="keep").lay(system(), question).plain
    with pytest.raises(ValueError, match="labels must be"):
        SetBased(labels="drop")  # type: ignore[arg-type]


def test_a_question_without_a_set_is_refused():
    with pytest.raises(ValueError, match="has no set of parts; use plain"):
        SetBased().lay(system(), Question(("Pick: red?",)))


def test_several_sets_in_one_question():
    def plan(flip):
        parts = [Parts(*texts[::flip]) for texts in ((" x", " yy"), (" r", " s", " ttt"))]
        return SetBased().lay(system(), Question((parts[0], " and", parts[1], " ?")))

    one, other = plan(1), plan(-1)
    assert torch.equal(one.ids, other.ids)
    assert torch.equal(one.visible, other.visible)
    assert one.spans != other.spans  # which tells where each part went


def test_the_answer_follows_the_options_it_was_made_for():
    one = weights(SetBased(), (0, 1, 2, 3), "llama")
    assert one[0] == one[3]  # the same text twice
    assert len({round(value, 6) for value in one[:3]}) == 3
    assert replace(SetBased(), canonical=False) != SetBased()
