"""Few-shot: which examples stand before a question, how an answer is chosen, and what is counted."""

import dataclasses
import json

import pytest

from tests.evaluation.test_multiple_choice import Bytes
from trivium.architectures.llama import Llama
from trivium.data.corpus import Corpus
from trivium.data.puzzles import Puzzle
from trivium.evaluation import few_shot
from trivium.evaluation.few_shot import FewShot
from trivium.models.scoring import Request, score
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

BYTES = System(Bytes(), ByteTokenizer(), "bytes")


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


def answers(task, system=BYTES, split="test"):
    return [task.score(system, example) for example in task.examples(split)]


# Prompts --------------------------------------------------------------------------------------------------------------


def test_prompts_are_nested_and_without_the_question_itself():
    task = FewShot(items=6, shots=(0, 1, 3))
    asked = task.puzzles("test")
    for puzzle in asked.asked:
        drawn = task.drawn(puzzle, "test")
        assert len(drawn) == 3
        assert puzzle.question not in {one.question for one in drawn}
        prompts = [task.prompt(puzzle, drawn[:k], asked.instruction) for k in task.shots]
        assert prompts[0] == puzzle.question
        assert prompts[1] == f"{drawn[0].question} {drawn[0].answer}\n\n{puzzle.question}"
        assert [len(prompt.split("\n\n")) for prompt in prompts] == [1, 2, 4]
        assert prompts[2].split("\n\n")[0] == prompts[1].split("\n\n")[0]
        more = dataclasses.replace(task, shots=(0, 4)).drawn(puzzle, "test")
        assert more[:3] == drawn
    assert FewShot(task="cycled", items=2, shots=(0,)).examples("test")[0].text.startswith("Please unscramble")
    assert "\n--\n" in FewShot(items=1, delimiter="\n--\n").examples("test")[0].text


def test_one_draw_for_all_or_one_for_each():
    each, one = FewShot(task="addition", items=4, shots=(3,)), FewShot(task="addition", items=4, shots=(3,), draw="one")
    drawn = lambda task: [[e.id for e in task.drawn(p, "test")] for p in task.puzzles("test").asked]  # noqa: E731
    assert len({tuple(ids) for ids in drawn(one)}) == 1
    assert len({tuple(ids) for ids in drawn(each)}) == 4
    assert drawn(dataclasses.replace(one, seed=1)) != drawn(one)
    assert drawn(dataclasses.replace(each, seed=1)) != drawn(each)


def test_which_examples_is_written_down():
    task = FewShot(items=2, shots=(0, 2), seed=5, draw="one")
    for puzzle, seen in zip(task.puzzles("test").asked, answers(task), strict=True):
        assert seen.shown["examples"] == [one.id for one in task.drawn(puzzle, "test")]
        assert (seen.shown["draw"], seen.shown["seed"]) == ("one", 5)
        (sample,) = seen.shown["samples"]
        assert sample["arguments"]["gen_args_0"]["arg_0"] == task.prompt(puzzle, task.drawn(puzzle, "test"))


# Choosing -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choose_by", ["per_token", "sum", "p_ratio"])
def test_choices_by_a_slow_loop(choose_by, tmp_path):
    path = tmp_path / "some.jsonl"
    rows = [{"goal": f"{n} is", "sol1": "odd or not", "sol2": "so" * (1 + n % 3), "label": n % 2} for n in range(9)]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = FewShot(path=str(path), form="piqa", items=4, shots=(0, 2), choose_by=choose_by, answer_context="A:")
    for puzzle, seen in zip(task.puzzles("test").asked, answers(task), strict=True):
        for k in (0, 2):
            prompt = task.prompt(puzzle, task.drawn(puzzle, "test")[:k])
            numbers = []
            for option in puzzle.options:
                (found,) = score(BYTES, [Request(prompt, f" {option}")])
                (alone,) = score(BYTES, [Request("A:", f" {option}")])
                numbers.append(
                    {
                        "per_token": found.total / (1 + len(option)),
                        "sum": found.total,
                        "p_ratio": found.total - alone.total,
                    }[choose_by]
                )
            if abs(numbers[0] - numbers[1]) > 1e-6:
                said = puzzle.options[numbers.index(max(numbers))]
                assert seen.values[f"accuracy_{k}"] == float(said == puzzle.answer)
        assert seen.values["gain"] == seen.values["accuracy_2"] - seen.values["accuracy_0"]
        assert seen.values["chance"] == 0.5


def test_ways_of_choosing_differ():
    """The longer choice is likelier per token and the shorter in sum; the ratio is against what is likely anyway."""
    found = [few_shot.Scored((1,) * 4, (-1.0,) * 4, (False,) * 4), few_shot.Scored((1,), (-2.0,), (False,))]
    alone = [few_shot.Scored((1,) * 4, (-2.0,) * 4, (False,) * 4), few_shot.Scored((1,), (-1.0,), (False,))]
    assert FewShot(choose_by="per_token")._numbers(found, alone) == [-1.0, -2.0]
    assert FewShot(choose_by="sum")._numbers(found, alone) == [-4.0, -2.0]
    assert FewShot(choose_by="p_ratio")._numbers(found, alone) == [4.0, -1.0]


def test_a_model_that_reads_its_examples_gains_from_them(monkeypatch):
    """One that copies the label of the last example of the same kind; the curve rises as soon as both were shown."""
    task = FewShot(items=20, shots=(0, 8))

    def copying(system, requests, batch_size):
        found = []
        for request in requests:
            shown = request.context.count(f"Label:{request.continuation}\n")
            last = request.context.rsplit("Word: ", 1)[1].split("\n")[0]
            right = any(
                one.question == f"Word: {last}\nLabel:" and one.answer == request.continuation.strip()
                for one in task.puzzles("test").asked
            )
            found.append(few_shot.Scored((1,), (-1.0 + 0.5 * (shown > 0 and right),), (False,)))
        return found

    monkeypatch.setattr(few_shot, "score", copying)
    seen = answers(task)
    assert {one.values["accuracy_0"] for one in seen} == {0.5}  # both choices tie
    assert sum(one.values["accuracy_8"] for one in seen) >= 19  # eight draws of two kinds hold both but for chance
    assert all(one.values["gain"] == one.values["accuracy_8"] - 0.5 for one in seen)


# Writing --------------------------------------------------------------------------------------------------------------


def test_written_answers_are_compared_word_for_word(tiny, monkeypatch):
    task = FewShot(task="addition", items=3, shots=(0, 1), beam=2, alpha=0.5, limit=3)
    given = {}

    def search(system, contexts, **settings):
        given.update(settings)
        said = [one.answer for one in task.puzzles("test").asked for _ in task.shots]
        said = [text if n != 3 else "no" for n, text in enumerate(said)]
        return [
            [few_shot.beams.Beam(f" {text}." if n == 0 else f" {text}", (1,), -1.0, True)]
            for n, text in enumerate(said)
        ]

    monkeypatch.setattr(few_shot.beams, "search", search)
    seen = answers(task, tiny)
    assert [one.values["accuracy_0"] for one in seen] == [1.0, 1.0, 1.0]
    assert [one.values["accuracy_1"] for one in seen] == [1.0, 0.0, 1.0]
    assert [one.values["gain"] for one in seen] == [0.0, -1.0, 0.0]
    assert (given["width"], given["alpha"], given["limit"]) == (2, 0.5, 3)


def test_a_real_model_writes(tiny):
    task = FewShot(task="reversed", items=2, shots=(0,), limit=4, beam=2)
    for seen in answers(task, tiny):
        assert set(seen.values) == {"accuracy_0", "chance", "dropped"}


# What is wrong, and what is counted -----------------------------------------------------------------------------------


def test_prompts_that_do_not_fit():
    model = Llama(width=16, heads=2, context=64).build(ByteTokenizer.vocab_size).eval()
    short = System(model, ByteTokenizer(), "short")
    task = FewShot(items=2, shots=(0, 4))
    with pytest.raises(ValueError, match=r"with 4 examples needs \d+ tokens of the 64 that short takes; ask for fewer"):
        answers(task, short)
    seen = answers(dataclasses.replace(task, overflow="drop"), short)
    assert all(0 < one.values["dropped"] <= 4 for one in seen)
    (sample,) = seen[0].shown["samples"]
    puzzle = task.puzzles("test").asked[0]
    prompt = sample["arguments"]["gen_args_0"]["arg_0"]
    kept = 4 - int(seen[0].values["dropped"])
    assert prompt == task.prompt(puzzle, task.drawn(puzzle, "test")[4 - kept :])  # the earliest are gone
    long = dataclasses.replace(task, task="novel_words", overflow="drop", shots=(0,))
    with pytest.raises(ValueError, match=r"with 0 examples needs \d+ tokens of the 64 that short takes"):
        answers(long, short)


def test_more_examples_than_there_are():
    with pytest.raises(ValueError, match="17 examples are asked for and there are 16 to draw from"):
        FewShot(items=2, shots=(0, 17)).examples("test")


def test_items_seen_in_training_are_told_apart():
    task = FewShot(task="addition", items=4, shots=(0,), beam=1, limit=2)
    known = task.puzzles("test").asked[1]
    text = f"... {known.question} {known.answer} ..."
    task = dataclasses.replace(task, training=Corpus("seen", {"train": ["nothing", text]}))
    model = Llama(width=16, heads=2, context=128).build(ByteTokenizer.vocab_size).eval()
    seen = answers(task, System(model, ByteTokenizer(), "small"))
    assert [one.values["dirty"] for one in seen] == [0.0, 1.0, 0.0, 0.0]
    assert ["clean" in one.values for one in seen] == [True, False, True, True]
    assert {"clean", "dirty"} <= {measure.name for measure in task.measures}


def test_files_of_questions(tmp_path):
    path, more = tmp_path / "some.jsonl", tmp_path / "more.jsonl"
    rows = [{"goal": f"g{n}", "sol1": "a", "sol2": "b", "label": n % 2} for n in range(12)]
    path.write_text("\n".join(map(json.dumps, rows)))
    more.write_text("\n".join(json.dumps({**row, "goal": f"m{n}"}) for n, row in enumerate(rows)))
    task = FewShot(path=str(path), form="piqa", items=4, shots=(0, 2))
    assert [one.question for one in task.puzzles("test").asked] == [f"Question: g{n}\nAnswer:" for n in range(4)]
    assert [one.question for one in task.puzzles("validation").asked] == [f"Question: g{n}\nAnswer:" for n in (4, 5)]
    pool = task.puzzles("test").pool(Puzzle("x", "other", "a"))
    assert [one.question for one in pool] == [f"Question: g{n}\nAnswer:" for n in range(6, 12)]
    other = dataclasses.replace(task, train=str(more))
    assert all(one.question.startswith("Question: m") for one in other.puzzles("test").examples[""])
    itself = dataclasses.replace(task, train=str(path), shots=(0, 11))  # all that there are but the question
    for one in itself.puzzles("test").asked:
        assert one.question not in {example.question for example in itself.drawn(one, "test")}
    with pytest.raises(ValueError, match="has 12 questions, none of which is left for validation; lower items"):
        FewShot(path=str(path), form="piqa", items=12).examples("validation")


def test_options():
    assert len(FewShot(task="addition", digits=4, shots=(0,)).examples("test")[0].text) > len(
        "Q: What is 1 plus 2?\nA:"
    )
    arbitrary, meaningful = FewShot(items=3), FewShot(items=3, meaningful=True)
    assert arbitrary.puzzles("test").asked[0].options != meaningful.puzzles("test").asked[0].options
    assert [m.name for m in FewShot(shots=(4,)).measures] == ["accuracy_4", "chance", "dropped"]
    one, two = FewShot(items=4, shots=(0, 2)), FewShot(items=4, shots=(0, 2), batch_size=2)
    assert [seen.values for seen in answers(one)] == [seen.values for seen in answers(two)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task": "sums"}, "task must be one of labels, .*; got 'sums'"),
        ({"form": "x"}, "form must be one of aqua"),
        ({"draw": "some"}, "draw must be one of each, one; got 'some'"),
        ({"choose_by": "mean"}, "choose_by must be one of"),
        ({"overflow": "cut"}, "overflow must be one of error, drop"),
        ({"shots": (2, 1)}, "shots are numbers of examples from few to many"),
        ({"shots": ()}, "shots are numbers"),
        ({"shots": (-1,)}, "shots are numbers"),
        ({"alpha": -0.1}, "alpha must be 0 or more"),
        ({"items": 0}, "items must be at least 1"),
        ({"beam": 0}, "beam must be at least 1"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"digits": 0}, "digits must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"train": "x"}, "belongs to a file of questions"),
    ],
)
def test_bad_settings(changed, said):
    with pytest.raises(ValueError, match=said):
        FewShot(**changed)


def test_splits():
    with pytest.raises(ValueError, match="the splits are 'validation' and 'test', got 'train'"):
        FewShot().examples("train")
    assert len(FewShot(items=5).examples("validation")) == 3
