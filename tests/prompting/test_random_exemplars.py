import pytest

from tests.prompting.models import Sorts, system
from trivium.core.meter import Meter
from trivium.core.seeds import generator
from trivium.prompting.random_exemplars import RandomExemplars


def test_one_draw_for_every_question_and_nothing_spent():
    system()  # which checks itself once
    with Meter() as meter:
        made = [RandomExemplars(shots=4)(Sorts(), system(), generator=generator(seed)) for seed in (0, 0, 1)]
    assert meter.spent.calls == 0
    texts = [[one.ask(example).text for example in one.examples("test")] for one in made]
    assert texts[0] == texts[1] != texts[2]
    first, second = texts[0]
    assert first.count(";") == 4
    assert first.removesuffix("mm>") == second.removesuffix("nn>")
    assert len(set(first.removeprefix("Sort:").split(";"))) == 5  # four exemplars, none twice, and the item


def test_none_and_too_many():
    bare = RandomExemplars(shots=0)(Sorts(), system(), generator=generator(0))
    assert bare.ask(bare.examples("test")[0]).text == "Sort:mm>"
    with pytest.raises(ValueError, match="too few for 25 shots"):
        RandomExemplars(shots=25)(Sorts(), system(), generator=generator(0))
    with pytest.raises(ValueError, match="shots must not be negative"):
        RandomExemplars(shots=-1)
