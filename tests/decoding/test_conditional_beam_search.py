"""Conditional beam search: against every text there is, its limits, and what it must not return."""

import itertools

import pytest
import torch

from tests.decoding.models import Table, tiny
from trivium.compare.contender import build, describe
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.decoding._attributes import Attribute, Exact, Length, NonDegenerate, Predicate
from trivium.decoding._modes import modes_by_length
from trivium.decoding.beam_search import BeamSearch
from trivium.decoding.conditional_beam_search import ConditionalBeamSearch, score
from trivium.decoding.greedy import Greedy

PROMPT = torch.tensor([[1, 5, 6, 7]])
EVERYTHING = Predicate(lambda text: True)


def table(size, seed, sharpness=2.0):
    return sharpness * torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def texts(logits, first, limit, stop):
    """Every text that ends at its first stop or at the limit, with its log-probability."""
    logp, found = logits.log_softmax(-1), {}
    for text in itertools.product(range(len(logits)), repeat=limit):
        end = next((at + 1 for at, token in enumerate(text) if token == stop), limit)
        total, before = 0.0, first
        for token in text[:end]:
            total, before = total + float(logp[before, token]), token
        found[text[:end]] = total
    return found


def without(text, stop):
    return text[:-1] if text and text[-1] == stop else text


def run(decoder, model, prompt=PROMPT, **arguments):
    return decoder(model, prompt, **({"limit": 8, "generator": torch.Generator()} | arguments))


@pytest.mark.parametrize("attribute", [Length(2, 2), Length(1), NonDegenerate(n=1, share=0.0), NonDegenerate(2, 0.34)])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_covers_everything_finds_the_mode_given_the_attribute(seed, exact, attribute):
    logits = table(4, seed)
    wanted = {text: p for text, p in texts(logits, 1, 4, 3).items() if attribute.holds(without(text, 3))}
    search = ConditionalBeamSearch(256, 256, Exact(attribute) if exact else attribute)
    found = search.n_best(Table(logits), torch.tensor([[1]]), limit=4, stop=Stop(tokens=(3,)))[0]
    assert found[0].tokens == max(wanted, key=wanted.__getitem__)
    assert found[0].total == pytest.approx(max(wanted.values()))
    assert {one.tokens for one in found} <= wanted.keys()


def test_the_exact_program_gives_the_probability_that_counting_gives():
    logits, attribute, stop = table(3, 4), Length(2, 3), Stop(tokens=(2,))
    every = texts(logits, 1, 4, 2)
    seen = {}

    class Spied(Exact):
        def judge(self, *arguments):
            judge = super().judge(*arguments)
            seen.update(judge.tables[0])
            return judge

    ConditionalBeamSearch(4, 4, Spied(attribute)).n_best(Table(logits), torch.tensor([[1]]), limit=4, stop=stop)
    for prefix in [(0,), (1,), (2,), (0, 1), (1, 1, 0)]:
        inside = {text: p for text, p in every.items() if text[: len(prefix)] == prefix}
        mass = lambda found: sum(torch.tensor(list(found)).exp().tolist())  # noqa: E731
        good = mass(p for text, p in inside.items() if attribute.holds(without(text, 2)))
        assert seen[prefix] == pytest.approx(good / mass(inside.values()), abs=1e-6)


def test_an_exact_classifier_finds_in_a_narrow_beam_what_possibility_alone_misses():
    # Token 1 is likely at first but never leads to a text of exactly two tokens; 0 nearly always does.
    p = torch.tensor([[0.02, 0.0, 0.98], [0.02, 0.98, 0.0], [0.4, 0.6, 0.0]]).clamp(min=1e-12)
    model, prompt, stop = Table(p.log().double()), torch.tensor([[2]]), Stop(tokens=(2,))
    attribute = Length(1, 1)
    blind, guided = (
        run(ConditionalBeamSearch(1, 3, one), model, prompt, limit=3, stop=stop)
        for one in (attribute, Exact(attribute))
    )
    assert guided.row(0).tolist() == [0, 2]
    assert blind.row(0).tolist() == [1, 2]
    assert guided.logprobs.sum() > blind.logprobs.sum()


class Constant(Attribute):
    """Says nothing, and decides nothing."""

    def __init__(self, value):
        self.value = value

    def holds(self, text):
        return None

    def chances(self, prefix, tokens, room, ends):
        return torch.full((len(tokens),), self.value, dtype=torch.float64)


@pytest.mark.parametrize("value", [1.0, 0.3])
def test_a_classifier_that_says_nothing_makes_a_beam_search(value):
    conditional = ConditionalBeamSearch(6, 64, Constant(value)).n_best(tiny(), PROMPT, limit=7)[0]
    plain = BeamSearch(6, length_penalty=0.0).n_best(tiny(), PROMPT, limit=7)[0]
    assert [one.tokens for one in conditional] == [one.tokens for one in plain]
    for seed in range(6):  # with a stop, the search may end before the hopeless ones have
        stop, model, prompt = Stop(tokens=(4,)), Table(table(5, seed)), torch.tensor([[1]])
        some = ConditionalBeamSearch(4, 5, Constant(value)).n_best(model, prompt, limit=6, stop=stop)[0]
        every = BeamSearch(4, length_penalty=0.0).n_best(model, prompt, limit=6, stop=stop)[0]
        kept = [one.tokens for one in some]
        assert kept == [one.tokens for one in every if one.tokens in kept]
        assert kept[0] == every[0].tokens


def test_width_one_with_such_a_classifier_is_greedy():
    plain = run(Greedy(), tiny(), limit=16)
    assert torch.equal(run(ConditionalBeamSearch(1, 1, EVERYTHING), tiny(), limit=16).ids, plain.ids)
    stop = Stop(tokens=(int(plain.ids[0, 5]),))
    one, two = (run(d, tiny(), limit=16, stop=stop) for d in (ConditionalBeamSearch(1, 1, EVERYTHING), Greedy()))
    assert torch.equal(one.ids, two.ids)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_length_is_met_exactly_though_the_stop_is_among_the_least_likely(n):
    logits = tiny()(PROMPT).logits[0, -1]
    stop = Stop(tokens=(int(logits.argmin()),))
    made = run(ConditionalBeamSearch(3, 3, Length(n, n)), tiny(), PROMPT.repeat(2, 1), limit=12, stop=stop)
    assert made.lengths.tolist() == [n + 1, n + 1]
    assert made.ids[0, n] == stop.tokens[0]
    assert not made.reasons


def test_no_candidate_comes_twice():
    stop = Stop(tokens=(3,))
    for seed in range(5):
        found = ConditionalBeamSearch(40, 40, EVERYTHING).n_best(
            Table(table(4, seed)), PROMPT[:, :1], limit=3, stop=stop
        )
        assert len({one.tokens for one in found[0]}) == len(found[0])


def test_raising_the_weight_never_lowers_the_attribute_of_what_is_returned():
    chance = torch.rand(30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    class Some(Constant):
        def chances(self, prefix, tokens, room, ends):
            return chance[tokens]

    rises = 0
    for seed in range(5):
        picked = []
        for weight in (0.0, 0.5, 1.0, 3.0, 30.0):
            search = ConditionalBeamSearch(30, 30, Some(0.0), weight)
            one = search.n_best(Table(table(30, seed)), torch.tensor([[seed]]), limit=1)[0][0]
            assert score(one) == pytest.approx(one.total + weight * float(chance[one.tokens[0]].log()))
            picked.append(float(chance[one.tokens[0]]))
        assert picked == sorted(picked)
        rises += picked[-1] > picked[0]
    assert rises


def test_the_classifier_is_replaced_and_not_summed():
    found = ConditionalBeamSearch(3, 9, Constant(0.5)).n_best(tiny(), PROMPT, limit=6)[0]
    assert all(one.penalty == pytest.approx(-torch.tensor(0.5).log().item()) for one in found)
    # Twice at a chance of one half would lose to once at 0.3; replaced, it wins.
    chance = {0: 0.5, 1: 0.3}

    class Once(Constant):
        def chances(self, prefix, tokens, room, ends):
            first = [(*prefix, token)[0] for token in tokens.tolist()]
            return torch.tensor([chance[token] for token in first], dtype=torch.float64)

    even = Table(torch.zeros(2, 2, dtype=torch.float64))
    assert ConditionalBeamSearch(4, 4, Once(0.0)).n_best(even, torch.tensor([[0]]), limit=3)[0][0].tokens[0] == 0


def test_the_search_ends_when_nothing_live_can_win():
    p = torch.tensor([[0.05, 0.05, 0.9]] * 3)
    with Meter() as meter:
        made = run(
            ConditionalBeamSearch(3, 3, EVERYTHING), Table(p.log().double()), PROMPT[:, :1], limit=50, stop=Stop((2,))
        )
    assert made.row(0).tolist() == [2]
    assert meter.spent.calls == 2


@pytest.mark.parametrize(
    ("attribute", "stop", "said"),
    [
        (Length(20, 20), Stop(tokens=(2,)), "limit is 8"),
        (Length(2, 3), Stop(), "give a stop token"),
        (Predicate(lambda text: False), Stop(tokens=(2,)), "widen the beam"),
        (Predicate(lambda text: True, lambda text: 0.0), Stop(), "widen the beam"),
    ],
)
def test_an_impossible_attribute_gives_nothing_and_says_why(attribute, stop, said):
    made = run(ConditionalBeamSearch(3, 5, attribute), tiny(), PROMPT.repeat(2, 1), stop=stop)
    assert made.lengths.tolist() == [0, 0]
    assert made.ids.shape == made.logprobs.shape == (2, 0)
    assert all(said in made.reasons[row] for row in (0, 1))


def test_one_row_may_be_empty_beside_another_that_is_not():
    fits = Predicate(lambda text: 5 in text, lambda text: float(text[0] == 5))
    logits = torch.full((8, 8), -30.0, dtype=torch.float64)
    logits[1, 5] = logits[5, 5] = logits[2, 3] = logits[3, 3] = 0.0
    made = run(ConditionalBeamSearch(1, 1, fits), Table(logits), torch.tensor([[1], [2]]), limit=3)
    assert made.lengths.tolist() == [3, 0]
    assert set(made.reasons) == {1}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_returned_has_the_attribute(seed):
    loops = torch.full((6, 6), -2.0, dtype=torch.float64) + 0.3 * table(6, seed, 1.0)
    loops[torch.arange(5), (torch.arange(5) + 1) % 3] = 2.0
    attribute = NonDegenerate(n=3, share=0.1)
    model, prompt = Table(loops), torch.tensor([[0]])
    assert not attribute.holds(tuple(run(Greedy(), model, prompt, limit=12).row(0).tolist()))
    made = run(ConditionalBeamSearch(5, 6, attribute), model, prompt, limit=12)
    assert made.lengths[0] == 12
    assert attribute.holds(tuple(made.row(0).tolist()))


def test_chances_of_non_degeneracy_against_counting():
    attribute, generator = NonDegenerate(n=2, share=0.25), torch.Generator().manual_seed(0)
    for length in range(8):
        prefix, tokens = tuple(torch.randint(3, (length,), generator=generator).tolist()), torch.arange(3)
        for room in (0, 2, 9):
            for token, chance in zip(range(3), attribute.chances(prefix, tokens, room, True).tolist(), strict=True):
                text = (*prefix, token)
                grams = list(itertools.pairwise(text))
                repeats = len(grams) - len(set(grams))
                assert (chance == 0) == (repeats > 0.25 * (len(grams) + room))
                assert (chance == 1) == attribute.holds(text)
    assert not attribute.holds(())


def test_a_stop_text_completes_a_text_too():
    spell = lambda ids: "".join(f"<{id}>" for id in ids)  # noqa: E731
    free = run(ConditionalBeamSearch(attribute=EVERYTHING), tiny())
    stop = Stop(texts=(f"<{int(free.ids[0, 1])}>",), decode=spell)
    short = run(ConditionalBeamSearch(attribute=Length(1, 4)), tiny(), stop=stop, limit=6)
    assert short.lengths[0] <= 4
    assert spell(short.row(0).tolist()).endswith(stop.texts[0])
    long = run(ConditionalBeamSearch(attribute=Length(6, 6)), tiny(), stop=stop, limit=6)
    assert stop.texts[0] not in spell(long.row(0).tolist()[:-1])


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan")])
def test_a_classifier_that_gives_no_probabilities_is_refused(value):
    with pytest.raises(ValueError, match="between 0 and 1"):
        run(ConditionalBeamSearch(attribute=Constant(value)), tiny())


@pytest.mark.parametrize("seed", range(4))
def test_the_exact_mode_of_each_length(seed):
    logits = table(4, seed, 1.0)
    every = texts(logits, 1, 5, 3)
    found = modes_by_length(Table(logits), torch.tensor([[1]]), limit=4, stop=Stop(tokens=(3,)))
    for length in range(5):
        ended = {text: p for text, p in every.items() if len(text) == length + 1 and text[-1] == 3}
        assert found[length].total == pytest.approx(max(ended.values()))
        assert ended[found[length].tokens] == pytest.approx(max(ended.values()))  # another one may be as likely
    with Meter() as meter:
        modes_by_length(Table(logits), torch.tensor([[1]]), limit=4, stop=Stop(tokens=(3,)))
    assert meter.spent.calls < sum(3**depth for depth in range(5))  # something was cut off


def test_the_exact_mode_on_a_model_with_keys_and_values():
    stop = Stop(tokens=(int(tiny()(PROMPT).logits[0, -1].argmax()), 3))
    found = modes_by_length(tiny(), PROMPT, limit=2, stop=stop)
    wide = ConditionalBeamSearch(4096, 4096, Length(2, 2)).n_best(tiny(), PROMPT, limit=3, stop=stop)[0][0]
    assert found[2].tokens == wide.tokens
    assert found[2].total == pytest.approx(wide.total)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"width": 0}, "width"),
        ({"width": 5, "candidates": 4}, "candidates must be at least the width 5"),
        ({"weight": -1.0}, "weight"),
        ({"weight": float("nan")}, "weight"),
    ],
)
def test_settings_out_of_range(wrong, said):
    with pytest.raises(ValueError, match=said):
        ConditionalBeamSearch(**wrong)


@pytest.mark.parametrize(
    ("which", "wrong"), [(Length, (3, 2)), (Length, (-1,)), (NonDegenerate, (0,)), (NonDegenerate, (2, 1.0))]
)
def test_attributes_out_of_range(which, wrong):
    with pytest.raises(ValueError, match="got"):
        which(*wrong)


def test_an_exact_program_is_for_toys():
    with pytest.raises(ValueError, match="train a classifier"):
        run(ConditionalBeamSearch(attribute=Exact()), tiny())


def test_it_is_written_as_text():
    made = build("decoding", "conditional_beam_search(width=3, attribute=length(at_least=2, at_most=4))")
    assert made == ConditionalBeamSearch(3, attribute=Length(2, 4))
    assert build("decoding", describe(made)) == made
    assert build("decoding", "conditional_beam_search(attribute=non_degenerate)") == ConditionalBeamSearch()
    with pytest.raises(TypeError, match="attribute of conditional_beam_search"):
        build("decoding", "conditional_beam_search(attribute=shortness)")
