import pytest

from trivium.data.puzzles import POOL, made

SORTS = (
    "labels", "novel_words", "addition", "subtraction", "multiplication", "expressions", "cycled", "anagrams_1",
    "anagrams_2", "inserted", "reversed",
)  # fmt: skip


@pytest.mark.parametrize("name", SORTS)
def test_the_same_again_and_never_an_example_of_itself(name):
    found = made(name, "test", 20)
    assert found == made(name, "test", 20)
    assert len({one.id for one in found.asked}) == 20
    others = {one.question for one in made(name, "validation", 20).asked}
    assert {one.question for one in found.asked} != others
    for puzzle in found.asked:
        pool = found.pool(puzzle)
        assert len(pool) >= 16
        assert puzzle.question not in {one.question for one in pool}
        assert not puzzle.options or puzzle.answer in puzzle.options
    assert made(name, "test", 20, seed=1) != found


def parsed(question):
    return question.removeprefix("Q: What is ").removesuffix("?\nA:")


def test_sums_are_right():
    words = {"addition": " plus ", "subtraction": " minus ", "multiplication": " times "}
    of = {"addition": int.__add__, "subtraction": int.__sub__, "multiplication": int.__mul__}
    for name, word in words.items():
        for digits in (2, 5):
            found = made(name, "test", 30, digits=digits).asked
            for one in found:
                a, b = map(int, parsed(one.question).split(word))
                assert one.answer == str(of[name](a, b))
                assert max(a, b) < 10**digits
            assert max(max(map(int, parsed(one.question).split(word))) for one in found) >= 10 ** (digits - 1)
    for one in made("expressions", "test", 30).asked:
        text = parsed(one.question)
        first, operator, rest = text[0], text[1], text[3:-1]
        inner = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[rest[1]](int(rest[0]), int(rest[2]))
        assert one.answer == str({"+": int.__add__, "-": int.__sub__, "*": int.__mul__}[operator](int(first), inner))


def test_words_are_scrambled_as_they_should_be():
    for name in ("cycled", "anagrams_1", "anagrams_2", "inserted", "reversed"):
        found = made(name, "test", 30)
        assert found.instruction.startswith("Please unscramble")
        for one in found.asked:
            word, scrambled = one.answer, one.question.removesuffix(" =")
            assert scrambled != word
            if name == "cycled":
                assert scrambled in word + word
            elif name == "reversed":
                assert scrambled == word[::-1]
            elif name == "inserted":
                assert scrambled[::2] == word
                assert not any(mark.isalnum() for mark in scrambled[1::2])
            else:
                kept = int(name[-1])
                assert sorted(scrambled) == sorted(word)
                assert scrambled[:kept] == word[:kept]
                assert scrambled[-kept:] == word[-kept:]


def test_labels_can_be_told_from_examples_and_from_nothing_else():
    found = made("labels", "test", 40)
    assert len({one.group for one in found.asked}) == 40  # a mapping of its own for each question
    for puzzle in found.asked:
        first, second = puzzle.group.split(" or ")
        labels = {one.question: one.answer for one in found.pool(puzzle)}
        assert set(labels.values()) == set(puzzle.options)
        assert list(puzzle.options) == sorted(puzzle.options)
        assert not any(option in f"{first} {second}" for option in puzzle.options)
    told = made("labels", "test", 40, meaningful=True)
    for one in told.asked:
        assert set(one.options) == {kind.split(" ", 1)[1] for kind in one.group.split(" or ")}
    answers = [one.options.index(one.answer) for one in found.asked]
    assert 10 < sum(answers) < 30
    by_group = {}
    for one in made("labels", "test", 90).asked:
        by_group.setdefault(one.group, []).append(one.answer)
    assert all(len(set(answers)) == len(answers) == 2 for answers in by_group.values())


def test_a_new_word_is_used_as_it_is_meant():
    for one in made("novel_words", "test", 30).asked:
        word = one.question.split('"')[1]
        assert all(word in option for option in one.options)
        assert len(set(one.options)) == 2


def test_what_cannot_be_made():
    with pytest.raises(ValueError, match="the splits are 'validation' and 'test', got 'train'"):
        made("labels", "train", 3)
    with pytest.raises(ValueError, match="there are 90 puzzles of labels, 91 were asked for; lower items"):
        made("labels", "test", 91)
    with pytest.raises(ValueError, match=f"there are only 100 different puzzles of addition, {POOL} of them"):
        made("addition", "test", 50, digits=1)
