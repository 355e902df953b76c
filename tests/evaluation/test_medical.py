import json
import math

import pytest
import torch

from tests.compare.fakes import system
from tests.evaluation.test_babylm import Bigrams
from tests.families import wrapped
from trivium.compare.contender import build, describe
from trivium.core.nouns import Example, Observation
from trivium.data.choices import Choice
from trivium.data.medicine import Subject, made
from trivium.evaluation.medical import Medical, by_prompt, by_subject, cosines
from trivium.models.embedding import embed
from trivium.models.scoring import Request, score
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

BIGRAMS = System(Bigrams(), ByteTokenizer(), "bigrams")
LLAMA = System(wrapped("llama", vocab_size=259, max_position_embeddings=2048), ByteTokenizer(), "llama")
ROWS = [
    {"question": f"Q{n}?", "subject": "x", "choices": ["red", "green", "blue", "black"], "answer": n % 4}
    for n in range(9)
]


def folder(path, *subjects):
    for name in subjects:
        (path / f"{name}_test.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
        (path / f"{name}_dev.jsonl").write_text("\n".join(map(json.dumps, ROWS[:5])))
    return str(path)


def cost(text, before=256):
    text = text.encode()
    return sum(float(BIGRAMS.model.law[a, b]) for a, b in zip([before, *text[:-1]], text, strict=True))


def test_prompts():
    (subject, one), *_ = Medical().questions("test")
    assert (subject.name, one.question) == ("anatomy", "Which organ makes urine?")
    assert Medical(by="letter").prompt(subject, one, 0) == (
        "The following are multiple choice questions (with answers) about anatomy.\n\n"
        "Which organ makes urine?\nA. kidney\nB. stomach\nC. heart\nD. spleen\nAnswer:"
    )
    shown = Medical(by="text", shots=2).prompt(subject, one, 2)
    assert shown == (
        "Question: Which organ pumps blood through the body?\nAnswer: heart\n\n"
        "Question: Which bone protects the brain?\nAnswer: skull\n\nQuestion: Which organ makes urine?\nAnswer:"
    )
    letters = Medical(by="letter", shots=3).prompt(subject, one, 0)
    for each in subject.shown:
        assert f"{each.question}\nA. {each.options[0]}" in letters
        assert f"Answer: {'ABCD'[each.answer]}\n\n" in letters
    assert not any(each.question in letters for each in (*subject.held_back, *subject.asked) if each != one)
    with pytest.raises(ValueError, match="anatomy has 3 examples to show, so not 4; lower shots"):
        Medical(shots=4).prompt(subject, one, 0)


@pytest.mark.parametrize("by", ["letter", "text"])
def test_a_bigram_model_by_hand(by):
    task = Medical(by=by, items=2)
    for example, (_, one) in zip(task.examples("test"), task.questions("test"), strict=True):
        seen = task.score(BIGRAMS, example).values
        options = "ABCD" if by == "letter" else one.options
        numbers = [cost(f" {option}", ord(":")) for option in options]
        assert seen["accuracy"] == float(numbers.index(max(numbers)) == one.answer)
        right = f" {one.options[one.answer]}"
        assert seen["bits"] == pytest.approx(-cost(right, ord(":")) / math.log(2) / len(right))
        assert seen["gain"] == pytest.approx(0, abs=1e-6), "a bigram model sees the colon alone"
        assert (seen["chance"], seen["bytes"], seen["range"]) == (0.25, len(right), 0)


def test_the_question_is_seen():
    task = Medical(items=1)
    for example, (_, one) in zip(task.examples("test"), task.questions("test"), strict=True):
        seen = task.score(LLAMA, example).values
        right = f" {one.options[one.answer]}"
        behind, alone = score(LLAMA, [Request(f"Question: {one.question}\nAnswer:", right), Request("Answer:", right)])
        size = math.log(2) * len(right)
        assert seen["bits"] == pytest.approx(-behind.total / size, abs=1e-4)
        assert seen["gain"] == pytest.approx((behind.total - alone.total) / size, abs=1e-4)


def test_no_opinion_is_worth_chance():
    for by in ("letter", "embedding"):
        task = Medical(by=by, items=1)
        made_ = system()
        if by == "embedding":
            with torch.no_grad():
                made_.model.table += 1.0  # every text has the same vector
        for example in task.examples("test"):
            assert task.score(made_, example).values["accuracy"] == 0.25


def test_cosines_by_hand():
    found = cosines(torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0], [-1.0, -1.0]]))
    half = 2**-0.5
    assert found.tolist() == [pytest.approx([0.6, 0.8, -1.4 * half]), pytest.approx([0, 1, -half])]


@pytest.mark.parametrize(("by", "pooling"), [("label", "mean"), ("embedding", "mean"), ("embedding", "last")])
def test_subjects_by_their_descriptions(by, pooling):
    task = Medical(by=by, pooling=pooling, items=2, prompts=2)
    descriptions = [subject.description for subject in task.subjects]
    for example, (subject, one) in zip(task.examples("test"), task.questions("test"), strict=True):
        found = task.score(LLAMA, example)
        right = descriptions.index(subject.description)
        credits = []
        for wording in range(2):
            if by == "label":
                text = (f"{one.question}\nThis text is about", f"Text: {one.question}\nTopic:")[wording]
                numbers = [each.total for each in score(LLAMA, [Request(text, f" {d}") for d in descriptions])]
            else:
                text = (one.question, f"Question: {one.question}")[wording]
                numbers = cosines(embed(LLAMA, [text], pooling=pooling), embed(LLAMA, descriptions, pooling=pooling))[
                    0
                ].tolist()
            credits.append(float(numbers.index(max(numbers)) == right))
        assert found.shown["by_prompt"] == credits
        assert found.values["accuracy"] == sum(credits) / 2
        assert found.values["range"] == abs(credits[0] - credits[1])
        assert "bits" not in found.values


@pytest.mark.parametrize("by", ["label", "embedding"])
def test_other_names_for_the_subjects_and_another_order_change_nothing(tmp_path, by):
    """The description decides: files are turned round, and what each is called with them."""
    said = []
    for at, names in enumerate((("a", "b", "c"), ("c", "a", "b"))):
        home = tmp_path / str(at)
        home.mkdir()
        for name, topic in zip(names, ("anatomy", "nutrition", "infection"), strict=True):
            (home / f"{name}_test.jsonl").write_text(
                "\n".join(json.dumps(r | {"question": f"{topic} {r['question']}"}) for r in ROWS[:3])
            )
        labels = dict(zip(names, ("of bones", "of food", "of germs"), strict=True))
        (home / "labels.json").write_text(json.dumps(labels))
        task = Medical(str(home), by=by)
        said.append({e.text: labels[task.score(LLAMA, e).shown["text"].split(";")[0]] for e in task.examples("test")})
    assert said[0] == said[1]
    assert len(said[0]) == 9


def example(subject, at=0):
    return Example(str(at), "", fields={"group": subject})


def test_subjects_are_tested_together():
    """Six of six right have p = 4^-6, twice that after Holm; one of six is what a guesser has more often than not."""
    examples = [example("a", n) for n in range(6)] + [example("b", n) for n in range(6)]
    observed = [Observation({"accuracy": 1.0, "chance": 0.25})] * 6
    observed += [Observation({"accuracy": value, "chance": 0.25}) for value in (1.0, 0.5, 0, 0, 0, 0)]
    found = by_subject(examples, observed)
    assert found["a"].above == pytest.approx(0.25**6)
    assert found["a"].holm == pytest.approx(2 * 0.25**6)
    assert found["b"].above == pytest.approx(1 - 0.75**6)
    assert found["b"].interval.mean == pytest.approx(1 / 6), "half right in its wordings is not right"
    assert found["a"].interval.method == "Wilson"
    assert found["a"].interval.low == pytest.approx(6 / (6 + 1.959964**2), abs=1e-6)
    assert found["a"].chance == 0.25
    with pytest.raises(ValueError, match="there is no question"):
        by_subject([], [])


def test_prompts_are_averaged_and_shown():
    observed = [Observation({}, {"by_prompt": row}) for row in ([1.0, 0.0], [1.0, 0.5])]
    assert by_prompt(observed) == [1.0, 0.25]
    with pytest.raises(ValueError, match="there is no question"):
        by_prompt([])


def test_splits_and_settings(tmp_path):
    path = folder(tmp_path, "b_x", "a")
    task = Medical(path, items=4, by="letter", shots=5)
    ids = [[e.id for e in task.examples(split)] for split in ("test", "validation")]
    assert ids[0][:4] == ["a_test-0001", "b_x_test-0001", "a_test-0002", "b_x_test-0002"]
    assert len(ids[0]) == 8
    assert ids[1] == ["a_test-0005", "b_x_test-0005", "a_test-0006", "b_x_test-0006"]
    assert task.prompt(*task.questions("test")[1], 0).startswith(
        "The following are multiple choice questions (with answers) about b x."
    )
    assert len(Medical(path, items=None).examples("test")) == 18
    assert Medical(path, items=None).examples("validation") == []
    assert [len(Medical().examples(split)) for split in ("test", "validation")] == [24, 12]
    for fields, told in (
        ({"by": "vote"}, "by must be one of letter, text, label, embedding; got 'vote'"),
        ({"pooling": "max"}, "pooling must be one of"),
        ({"items": 0}, "items must be at least 1"),
        ({"shots": -1}, "shots must be at least 0"),
        ({"shots": 1, "by": "label"}, "shots are for answers by letter or text, not for 'label'"),
        ({"prompts": 4}, "prompts must be at most the 3 that there are, got 4"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=told):
            Medical(**fields)
    with pytest.raises(ValueError, match="the splits are"):
        Medical().examples("train")
    assert made()[0] == Medical().subjects[0]
    assert isinstance(Medical().questions("test")[0][1], Choice)
    assert isinstance(made()[0], Subject)


def test_it_can_be_written_on_a_command_line():
    words = "medical(by='embedding', prompts=2)"
    assert build("evaluation", words) == Medical(by="embedding", prompts=2)
    assert build("evaluation", describe(build("evaluation", words))) == build("evaluation", words)
