import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trivium.core.seeds import generator
from trivium.data.sanitising import Sanitiser, replaced, replacement_logp

PIECES = st.sampled_from(
    ["ada@example.org", "+44 20 7946 0018", "12.5", "2026-11-03", "Anna Maria Lopez", "Tom", "[EMAIL_1]", "[NAME_1]",
     "[NUMBER_10]", "the", "Paris", ",", "7", "tom", "x@y", "(030) 123 456", "é", "\n"]
)  # fmt: skip


def test_each_kind_has_its_placeholder_and_the_same_detail_the_same_one():
    found = Sanitiser()("Mail ada@example.org or Anna Lopez, +44 20 7946 0018; ada@example.org has 3 or 12.50.")
    assert found.text == "Mail [EMAIL_1] or [NAME_1], [PHONE_1]; [EMAIL_1] has [NUMBER_1] or [NUMBER_2]."
    assert found.originals["[PHONE_1]"] == "+44 20 7946 0018"
    assert found.originals["[NAME_1]"] == "Anna Lopez"


def test_a_record_is_consistent_over_its_texts_and_records_are_not_linked():
    one = Sanitiser()("From a@b.co", "to c@d.co and a@b.co")
    assert one.texts == ("From [EMAIL_1]", "to [EMAIL_2] and [EMAIL_1]")
    assert Sanitiser()("to c@d.co").text == "to [EMAIL_1]"
    with pytest.raises(ValueError, match="the record has 2 texts"):
        _ = one.text


@given(st.lists(PIECES, max_size=12).map(" ".join), st.lists(PIECES, max_size=6).map(" ".join))
def test_restoring_undoes_it(first, second):
    record = Sanitiser()(first, second)
    assert tuple(map(record.restore, record.texts)) == (first, second)
    assert "@example.org" not in "".join(record.texts)


def test_a_placeholder_in_the_text_is_left_alone_and_an_answer_gets_its_details():
    record = Sanitiser()("[EMAIL_1] is not a@b.co")
    assert record.text == "[EMAIL_1] is not [EMAIL_2]"
    assert record.restore("I wrote to [EMAIL_2], not [EMAIL_1]") == "I wrote to a@b.co, not [EMAIL_1]"
    many = Sanitiser()(", ".join(map(str, range(100, 112))))
    assert many.restore("[NUMBER_11] [NUMBER_1]") == "110 100"


def test_only_what_is_asked_for():
    text = "Tom has 3 apples, Zora has 4"
    assert Sanitiser(kinds=("number",))(text).text == "Tom has [NUMBER_1] apples, Zora has [NUMBER_2]"
    assert Sanitiser(kinds=("name",), names=("Zora",))(text).text == "Tom has 3 apples, [NAME_1] has 4"
    assert Sanitiser(kinds=("email",))(text).originals == {}
    with pytest.raises(ValueError, match=r"kinds must be some of .*; got \['adress'\]"):
        Sanitiser(kinds=("adress",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="names must be a list of names"):
        Sanitiser(names=("",))
    with pytest.raises(ValueError, match="no text to sanitise"):
        Sanitiser()()


def test_the_law_of_replacement_by_hand_and_as_drawn():
    vectors = torch.tensor([[0.0], [1.0], [3.0]])
    weights = [1.0, math.exp(-1.0), math.exp(-3.0)]  # epsilon 2, from word 0
    law = torch.tensor([w / sum(weights) for w in weights], dtype=torch.float64)
    torch.testing.assert_close(replacement_logp(torch.tensor([0.0, 1.0, 3.0]), 2.0).exp(), law, atol=1e-12, rtol=0)
    drawn = replaced(torch.zeros(20_000, dtype=torch.int64), vectors, 2.0, generator=generator(0))
    shares = torch.bincount(drawn, minlength=3) / 20_000
    torch.testing.assert_close(shares.double(), law, atol=0.015, rtol=0)  # four standard errors of a share


def test_replacement_keeps_its_promise_for_every_pair_of_words():
    """No output is more than exp(epsilon d) times likelier for one word than for another at distance d."""
    vectors = torch.randn(40, 3, generator=generator(1))
    distance = torch.cdist(vectors.double(), vectors.double())
    for epsilon in (0.5, 4.0):
        logp = replacement_logp(distance, epsilon)
        worst = (logp[:, None] - logp[None]).amax(-1)
        assert (worst <= epsilon * distance + 1e-9).all()
        assert (worst[distance > 0] > epsilon * distance[distance > 0] / 2 - 1e-9).any()


def test_limits_and_bad_input_of_replacement():
    vectors = torch.randn(9, 4, generator=generator(2))
    ids = torch.tensor([3, 1, 4, 1])
    assert replaced(ids, vectors, 1e4, generator=generator(0)).tolist() == ids.tolist()
    one, other = (replaced(ids, vectors, 1.0, generator=generator(5), chunk=size) for size in (1024, 3))
    assert one.shape == other.shape
    with pytest.raises(ValueError, match="epsilon must be positive, got 0"):
        replaced(ids, vectors, 0.0, generator=generator(0))
    with pytest.raises(ValueError, match="do not fit a vocabulary of 9"):
        replaced(torch.tensor([9]), vectors, 1.0, generator=generator(0))
    with pytest.raises(ValueError, match="give \\(time,\\) ids"):
        replaced(ids[None], vectors, 1.0, generator=generator(0))
