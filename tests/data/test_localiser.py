import pytest
import torch

from trivium.core.seeds import generator
from trivium.data.localiser import LetterModel, localiser


def test_pairs_agree_in_words_and_nearly_in_letters_and_none_comes_twice():
    made = localiser(40)
    assert len(set(made.texts)) == 80
    assert made.labels.tolist() == [True, False] * 40
    assert made.groups.tolist() == [at // 2 for at in range(80)]
    for sentence, string in zip(made.texts[::2], made.texts[1::2], strict=True):
        words, strange = sentence.split(), string.split()
        assert len(words) == len(strange) == 12
        assert sentence == sentence.lower()
        assert all(abs(len(a) - len(b)) <= (1 if len(a) <= 10 else 4) for a, b in zip(words, strange, strict=True))
    spoken = {word for text in made.texts[::2] for word in text.split()}
    assert not spoken & {word for text in made.texts[1::2] for word in text.split()}


def test_the_same_seed_gives_the_same_and_halves_part_pairs():
    assert localiser(10, 3).texts == localiser(10, 3).texts != localiser(10, 4).texts
    first, second = localiser(10).halves()
    assert len(first.texts) == len(second.texts) == 10
    assert not set(first.groups.tolist()) & set(second.groups.tolist())
    assert first.labels.tolist() == [True, False] * 5


def test_letters_follow_by_the_two_before_them():
    """Of abc, abd and bb, each once: behind ab c and d are equally likely; behind nothing a is twice as likely as b."""
    model = LetterModel(["abc", "abd", "bb", "abc"])
    assert model.probability("ab", "c") == model.probability("ab", "d") == 0.5
    assert model.probability("^^", "a") == pytest.approx(2 / 3)
    assert model.probability("zz", "a") == 0
    assert {model.draw(generator(seed)) for seed in range(40)} == {"abc", "abd", "bb"}
    with pytest.raises(ValueError, match="3 words give 0 pseudo-words, not 2"):
        model.pseudo_words(2, generator(0))
    with pytest.raises(ValueError, match="at least one word"):
        LetterModel([])
    mixed = LetterModel(["bana", "nano", "anan"])
    found = mixed.pseudo_words(5, generator(0))
    assert len(set(found)) == 5
    for word in found:
        assert word not in mixed.known
        marked = f"^^{word}$"
        assert all(mixed.probability(marked[at - 2 : at], marked[at]) > 0 for at in range(2, len(marked)))


@pytest.mark.parametrize("wrong", [(0, 12), (5, 3), (5, 21)])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match="count must be at least 1 and words 4 to 20"):
        localiser(wrong[0], words=wrong[1])


def test_global_randomness_is_left_alone():
    state = torch.random.get_rng_state()
    localiser(4)
    assert torch.equal(torch.random.get_rng_state(), state)
