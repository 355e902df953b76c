"""Quality: every number by hand or by a slow loop, the real text as reference, and a judge of its own."""

import math

import pytest
import torch

from tests.compare.fakes import Writes
from tests.compare.fakes import system as uniform
from tests.families import wrapped
from trivium.compare import contender
from trivium.compare.comparison import Comparison
from trivium.core.errors import UnknownName
from trivium.core.nouns import Generation
from trivium.data.corpus import Corpus
from trivium.decoding.greedy import Greedy
from trivium.evaluation import quality
from trivium.evaluation.quality import Quality, bits_per_byte, greedy_choices
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TEXTS = [f"{n} is a number. " + "It comes after another number, and so on it goes. " * 3 for n in range(14)]
TASK = Quality((Corpus("numbers", {"test": TEXTS}),), passages=12, opening=24, rest=60, judge="tiny", encoder="tiny")


@pytest.fixture(scope="module")
def system():
    return System(wrapped("llama", vocab_size=259), ByteTokenizer(), "made")


def generation(ids):
    return Generation(torch.tensor([ids]), torch.full((1, len(ids)), -2.0), torch.tensor([len(ids)]))


def test_examples_are_passages_and_those_of_a_document_a_cluster():
    found = TASK.examples("test")
    assert [example.id for example in found[:2]] == ["numbers/test-0000-0", "numbers/test-0001-0"]
    assert [example.cluster for example in found[:2]] == ["numbers/0", "numbers/1"]
    assert found[0].fields["group"] == "numbers"
    assert TEXTS[0].startswith(found[0].text + found[0].fields["real"])
    many = Quality(("python_docs",), passages=20).examples("test")
    assert 1 < len({example.cluster for example in many}) < 20
    assert len({example.id for example in many}) == 20
    assert {example.fields["group"] for example in Quality().examples("test")} == {"stories", "python_docs"}
    with pytest.raises(ValueError, match="got 'train'"):
        TASK.examples("train")


def test_numbers_of_a_text_by_hand(system):
    example = TASK.examples("test")[0]
    ids = list(b"abababab")
    seen = TASK.score(system, example, generation(ids))
    values = seen.values
    assert values["repetition"] == pytest.approx(1 - 2 / 5)
    assert (values["repetition_2"], values["repetition_3"]) == (pytest.approx(1 - 2 / 7), pytest.approx(1 - 2 / 6))
    assert values["diversity"] == pytest.approx(2 / 5 * 2 / 7 * 2 / 6)
    assert values["logprob"] == -2.0
    assert seen.shown["text"] == "abababab"
    encode = quality._encoder("tiny")
    own, real, opening = encode(["abababab", example.fields["real"][:8], example.text])
    assert values["coherence"] == pytest.approx(float(own @ opening))
    assert seen.vectors["own"] == pytest.approx(own.tolist())
    assert seen.vectors["reference"] == pytest.approx(real.tolist())
    assert set(values) <= {measure.name for measure in TASK.measures}


def test_the_judges_bits_by_a_slow_loop(system):
    example, judge = TASK.examples("test")[0], load("tiny")
    ids = list("wörds".encode())
    values = TASK.score(system, example, generation(ids)).values

    def slow(text):
        before, bits = judge.prompt(example.text)[0].tolist(), 0.0
        for id in judge.tokenizer.encode(text):
            with torch.no_grad():
                logits = judge.model(torch.tensor([before])).logits[0, -1].double()
            bits -= float(logits.log_softmax(-1)[id]) / math.log(2)
            before.append(id)
        return bits / len(text.encode())

    assert values["judged"] == pytest.approx(slow("wörds"), rel=1e-5)
    assert values["excess"] == pytest.approx(slow("wörds") - slow(example.fields["real"][: len(ids)]), rel=1e-4)


def test_the_real_text_is_no_surprise_above_itself(system):
    example = TASK.examples("test")[3]
    seen = TASK.score(system, example, generation(system.tokenizer.encode(example.fields["real"])[:20]))
    assert seen.values["excess"] == 0.0
    assert seen.vectors["own"] == seen.vectors["reference"]


def test_a_uniform_judge_needs_the_log_of_its_vocabulary():
    assert bits_per_byte(uniform(), "a", "bcd") == pytest.approx(math.log2(259))
    assert bits_per_byte(uniform(), "a", "") is None


def test_greedy_text_is_greedys_and_other_text_up_to_where_it_differs(system):
    example = TASK.examples("test")[0]
    made = Greedy()(system.model, system.prompt(example.text), limit=8, generator=torch.Generator())
    ids = made.ids[0].tolist()
    values = TASK.score(system, example, made).values
    assert (values["greedy_share"], values["greedy_prefix"]) == (1.0, 1.0)
    other = [*ids[:3], (ids[3] + 1) % 256, *ids[4:]]
    taken = greedy_choices(system, example.text, other)
    assert taken[:4].tolist() == [True, True, True, False]
    values = TASK.score(system, example, generation(other)).values
    assert values["greedy_prefix"] == 3 / 8
    assert values["greedy_share"] == pytest.approx(float(taken.double().mean()))


def test_columns_after_the_end_and_texts_too_short_for_n_grams(system):
    example = TASK.examples("test")[0]
    made = Generation(torch.tensor([[65, 66, 0]]), torch.tensor([[-1.0, -3.0, 0.0]]), torch.tensor([2]))
    seen = TASK.score(system, example, made)
    assert seen.values["logprob"] == -2.0
    assert seen.shown["text"] == "AB"
    assert not {"repetition", "diversity", "repetition_3"} & set(seen.values)
    assert seen.values["repetition_2"] == 0.0
    with pytest.raises(ValueError, match="nothing was generated"):
        TASK.score(system, example, generation([]))


def test_the_judge_is_another_model(system, monkeypatch):
    asked = []
    monkeypatch.setattr(quality, "_loaded", lambda name: asked.append(name) or load("tiny"))
    Quality().judge_of(system)
    Quality().judge_of(System(system.model, system.tokenizer, "gemma3-270m"))
    assert asked == ["gemma3-270m", "smollm2-135m"]
    with pytest.raises(ValueError, match="the judge tiny is the model that writes"):
        TASK.judge_of(load("tiny"))


def test_what_is_missing_is_told_before_any_work(system, tmp_path):
    task = Quality(TASK.sources, opening=24, rest=60, judge="tiny", encoder=str(tmp_path / "none"))
    with pytest.raises(UnknownName, match="no model is called"):
        Comparison("decoding", ["greedy"], system, task, budget="2 new_tokens", seeds=1).run(tmp_path / "run")
    assert not (tmp_path / "run" / "records.jsonl").exists()


def test_a_comparison_has_mauve_of_every_contender(system, tmp_path, monkeypatch):
    monkeypatch.setattr("trivium.compare.comparison.page", lambda data: "")
    comparison = Comparison("decoding", ["greedy", Writes(250)], system, TASK, budget="8 new_tokens", seeds=2)
    report = comparison.run(tmp_path)
    for row in report.data["contenders"]:
        found = row["measures"]["mauve"]
        assert 0 <= found["low"] <= found["mean"] <= found["high"] <= 1
        assert (found["n"], found["clusters"]) == (12, 12)
    assert report.contender("greedy")["measures"]["greedy_share"]["mean"] == 1.0
    assert {pair["measure"] for pair in report.data["pairs"]} == {"mauve", "repetition", "coherence"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sources": "stories"}, "list of at least one corpus, got 'stories'"),
        ({"sources": ()}, "list of at least one corpus"),
        ({"passages": 0}, "passages must be at least 1, got 0"),
        ({"opening": 3}, "opening must be at least 16, got 3"),
        ({"rest": 0}, "rest must be at least 16"),
        ({"limit": 0}, "limit must be at least 1"),
    ],
)
def test_bad_settings_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Quality(**fields)


def test_the_task_survives_being_written_as_text():
    task = Quality(("stories", "prompts"), passages=4, judge="tiny")
    assert contender.build("evaluation", contender.describe(task)) == task
