"""A task as the harness declares it: by hand, by a slow loop, and by the harness itself where it is installed."""

import dataclasses
import json
import math
import random

import pytest
import torch

from tests.compare.fakes import Uniform
from tests.evaluation.test_multiple_choice import Bytes
from trivium.architectures.llama import Llama
from trivium.compare.comparison import Comparison
from trivium.data.harness import Declared
from trivium.data.harness_measuring import Filtering
from trivium.evaluation import _harness
from trivium.evaluation.battery import Battery
from trivium.evaluation.harness_task import HarnessTask
from trivium.models.scoring import Request, Scored, rolling, score, score_pairs
from trivium.models.sources import load
from trivium.models.system import System
from trivium.models.writing import Prompt, write
from trivium.tokenization.byte import ByteTokenizer

WORDS = ["red", "green", "blue", "black", "white"]


def documents(count):
    draw = random.Random(0)
    return [
        {
            "question": f"Is {draw.choice(WORDS)} {draw.choice(WORDS)}er than {draw.choice(WORDS)}? ({n})",
            "options": ["yes", "no, never", "sí"][: 2 + n % 2],
            "right": n % 2,
            "said": draw.choice(WORDS),
            "text": " ".join(draw.choice(WORDS) for _ in range(20 + 5 * n)) + "\n",
        }
        for n in range(count)
    ]


BASE = """
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/test.jsonl
    train: {folder}/train.jsonl
test_split: test
"""
TASKS = {
    "translated": """
output_type: generate_until
doc_to_text: "{{question}} "
doc_to_target: "{{said}} e {{text}}"
generation_kwargs: {until: ["."], max_gen_toks: 24, do_sample: false}
metric_list: [{metric: chrf++}, {metric: bleu, aggregation: bleu}, {metric: ter}, {metric: chrf}]
""",
    "plain": """
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_choice: options
doc_to_target: right
metric_list: [{metric: acc}, {metric: acc_norm}, {metric: acc_bytes}, {metric: acc_mutual_info}, {metric: exact_match}]
""",
    "few": """
output_type: multiple_choice
description: "Say yes or no.\\n\\n"
num_fewshot: 2
fewshot_split: test
doc_to_text: question
doc_to_choice: ["yes", "no"]
doc_to_target: "{{right}}"
metric_list: [{metric: acc}, {metric: f1}, {metric: brier_score}]
""",
    "others": """
output_type: multiple_choice
num_fewshot: 3
training_split: train
fewshot_delimiter: "\\n"
target_delimiter: ""
gen_prefix: "I say "
doc_to_text: "{{question}}\\n"
doc_to_choice: "{{options}}"
doc_to_target: "{{options[right]}}"
""",
    "varying": """
output_type: multiple_choice
doc_to_text: right
doc_to_choice: "{{[said ~ ' is', question ~ ' was']}}"
doc_to_target: "{{'seen'}}"
num_fewshot: 1
fewshot_split: train
metric_list: [{metric: acc}]
""",
    "last": """
output_type: loglikelihood
doc_to_text: "{{question}}"
doc_to_target: " {{said}}"
metric_list: [{metric: perplexity}, {metric: acc}]
""",
    "rolled": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
""",
    "written": """
output_type: generate_until
num_fewshot: 1
doc_to_text: "{{question}} "
doc_to_target: said
generation_kwargs: {until: ["\\n", "."], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match, ignore_case: true, ignore_punctuation: true}]
filter_list:
- name: strict
  filter:
  - function: regex
    regex_pattern: "([a-z]+)"
  - function: take_first
- name: loose
  filter:
  - function: remove_whitespace
  - function: lowercase
  - function: take_first
""",
}


def folder(place, count=6):
    rows = documents(count + 6)
    (place / "test.jsonl").write_text("\n".join(map(json.dumps, rows[:count])))
    (place / "train.jsonl").write_text("\n".join(map(json.dumps, rows[count:])))
    for name, text in TASKS.items():
        (place / f"{name}.yaml").write_text(f"task: {name}\n" + BASE.format(folder=place) + text)
    (place / "all.yaml").write_text(f"group: all\ntask: [{', '.join(TASKS)}]\n")
    return place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


# Numbers --------------------------------------------------------------------------------------------------------------


def test_choices_by_a_slow_loop(place):
    made = System(Bytes(), ByteTokenizer(), "bytes")
    task = HarnessTask(str(place / "plain.yaml"))
    for example, item in zip(task.examples("test"), task.declared[0].items("test"), strict=True):
        seen = task.score(made, example).values

        def cost(before, text):
            given = [*before.encode()] or [made.tokenizer.bos]
            behind = text.encode()
            return sum(float(made.model.law[a, b]) for a, b in zip([given[-1], *behind[:-1]], behind, strict=True))

        context = item.requests[0][0]
        sums = [cost(context, f" {choice}") for choice in item.choices]
        alone = [cost("", f" {choice}") for choice in item.choices]
        ways = {
            "acc": sums,
            "acc_norm": [x / len(choice) for x, choice in zip(sums, item.choices, strict=True)],
            "acc_bytes": [x / len(choice.encode()) for x, choice in zip(sums, item.choices, strict=True)],
            "acc_mutual_info": [x - y for x, y in zip(sums, alone, strict=True)],
        }
        for name, numbers in ways.items():
            assert seen[name] == float(numbers.index(max(numbers)) == item.gold), name
        assert seen["tied"] == seen["truncated"] == seen["merged"] == 0.0


def found(*totals, greedy=(), cut=0):
    return [Scored((1,), (total,), (n in greedy,), cut=cut) for n, total in enumerate(totals)]


def made(**changed):
    config = {
        "task": "some",
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "q",
        "doc_to_choice": ["a", "b"],
        "doc_to_target": "right",
    }
    task = Declared({**config, **changed}, {"test": [{"q": "?", "right": 1}]})
    return task, task.items("test")[0]


def test_metrics_by_hand():
    names = ["acc", "exact_match", "brier_score", "f1"]
    task, item = made(metric_list=[{"metric": name} for name in names])
    values, raw = _harness.of_choices(task, item, found(math.log(0.25), math.log(0.75), greedy=(1,)), "first")
    assert values["acc"] == values["exact_match"] == 1.0
    assert values["brier_score"] == pytest.approx(2 * 0.25**2)
    assert raw["f1"] == (1, 1)
    assert raw["brier_score"] == (1, pytest.approx([0.25, 0.75]))
    values, _ = _harness.of_choices(task, item, found(-1.0, -2.0, greedy=(0,), cut=3), "first")
    assert values["acc"] == values["exact_match"] == 0.0
    assert values["truncated"] == 1.0
    task, item = made(doc_to_target="{{[0, 1]}}")
    assert _harness.of_choices(task, item, found(-1.0, -2.0), "first")[0]["acc"] == 1.0
    task, item = made(doc_to_target="{{[0, 1]}}", metric_list=[{"metric": "brier_score"}])
    with pytest.raises(ValueError, match=r"brier_score needs one right answer, got \[0, 1\]"):
        _harness.of_choices(task, item, found(-1.0, -2.0), "first")


def test_every_normaliser_has_its_own_winner():
    """Seven characters in eleven bytes against eight; and the likelier of two alone is not the one that the question
    makes likelier."""
    names = ["acc", "acc_norm", "acc_bytes", "acc_mutual_info"]
    task, item = made(doc_to_choice=["été été", "abcdefgh"], metric_list=[{"metric": name} for name in names])
    values, _ = _harness.of_choices(task, item, found(-7.4, -8.0, -7.0, -9.0), "first")
    assert [values[name] for name in names] == [0.0, 1.0, 0.0, 1.0]
    values, _ = _harness.of_choices(task, item, found(-7.4, -8.0, -9.0, -7.0), "first")
    assert values["acc_mutual_info"] == 0.0


def test_ties_and_choices_that_are_alike():
    task, item = made()
    for ties, expected in (("first", 0.0), ("shared", 0.5), ("wrong", 0.0)):
        values, _ = _harness.of_choices(task, item, found(-1.0, -1.0), ties)
        assert (values["acc"], values["tied"], values["identical"]) == (expected, 1.0, 0.0)
    task, item = made(doc_to_choice=["a", "a"])
    for ties, expected in (("first", 0.5), ("wrong", 0.0)):  # no place among equals says anything
        values, _ = _harness.of_choices(task, item, found(-1.0, -1.0), ties)
        assert (values["acc"], values["identical"]) == (expected, 1.0)


def test_texts_by_hand():
    whole = {"doc_to_choice": None, "output_type": "loglikelihood_rolling", "doc_to_target": "{{'été  x '}}"}
    task, item = made(**whole)
    values, raw = _harness.of_text(task, item, -6.0)
    assert (values["words"], values["bytes"]) == (3.0, 9.0)  # "été", "x" and an empty one
    assert values["word_perplexity"] == pytest.approx(math.exp(2.0))
    assert values["bits_per_byte"] == pytest.approx(6 / 9 / math.log(2))
    assert values["byte_perplexity"] == pytest.approx(2 ** values["bits_per_byte"])
    assert raw["word_perplexity"] == (-6.0, 3)
    with pytest.raises(ValueError, match="measure bits_per_byte in its place"):
        _harness.of_text(task, item, -9000.0)
    assert _harness.together("word_perplexity", [(-6.0, 3), (-2.0, 1)]) == pytest.approx(math.exp(2.0))
    assert _harness.together("bits_per_byte", [(-6.0, 3), (-1.0, 4)]) == pytest.approx(1 / math.log(2))
    assert _harness.together("perplexity", [-1.0, -3.0]) == pytest.approx(math.exp(2.0))
    assert _harness.together("f1", [(1, 1), (0, 1), (0, 0), (1, 0), (1, 1)]) == pytest.approx(4 / 6)
    assert _harness.together("f1", [(0, 0)]) == 0.0


def test_filters_by_hand():
    def behind(text, *steps):
        return _harness.filtered(Filtering("x", steps), text)

    regex = ("regex", {"regex_pattern": r"#### (\d+)|(\d+)!", "group_select": -1})
    assert behind("a #### 12 b 7! ", regex) == ["7"]
    assert behind("a #### 12", regex, ("take_first", {})) == "12"
    assert behind("nothing", regex, ("take_first", {})) == "[invalid]"
    assert behind("nothing", ("regex", {"fallback": "none"})) == ["none"]
    assert behind(" A b ", ("remove_whitespace", {}), ("lowercase", {}), ("take_first", {})) == "a b"
    assert behind(" A", ("take_first", {}), ("remove_whitespace", {})) == "A"
    assert _harness.plainer("It's 3, No!", ignore_case=True, ignore_punctuation=True) == "its 3 no"
    assert _harness.plainer("$3 a", ignore_numbers=True, regexes_to_ignore=[r"\$"]) == " a"


def test_what_is_written_is_filtered_and_judged(place, tiny):
    task = HarnessTask(str(place), "written")
    assert [m.name for m in task.measures] == ["exact_match,strict", "exact_match,loose", "truncated", "unfinished"]
    examples = task.examples("test")
    for example, said in zip(
        examples, write(tiny, [Prompt(one.text, ("\n", "."), 12) for one in examples]), strict=True
    ):
        seen = task.score(tiny, example)
        strict, loose = seen.shown["samples"]
        assert strict["resps"] == [[said.text]]
        assert loose["filtered_resps"] == [said.text.strip().lower()]
        right = task.declared[0].documents("test")[example.fields["number"]]["said"]
        assert seen.values["exact_match,strict"] == float(strict["filtered_resps"] == [right])
        assert seen.values["unfinished"] == float(not said.finished)


def test_a_right_answer_is_known_when_written():
    """A model that writes what the documents want."""
    task, item = made(output_type="generate_until", doc_to_choice=None, doc_to_target="{{['Yes.', 'no']}}")
    for text, expected in (("Yes.", 1.0), ("no", 1.0), ("No", 0.0), ("", 0.0)):
        assert _harness.of_writing(task, item, text)[0]["exact_match"] == expected
    task, item = made(
        output_type="generate_until",
        doc_to_choice=None,
        doc_to_target="{{'Yes.'}}",
        metric_list=[{"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True}],
    )
    assert _harness.of_writing(task, item, "yes")[0]["exact_match"] == 1.0
    task, item = made(output_type="generate_until", metric_list=[{"metric": "exact_match", "ignore_accents": True}])
    with pytest.raises(ValueError, match="exact_match has no option ignore_accents"):
        _harness.of_writing(task, item, "yes")


# The task -------------------------------------------------------------------------------------------------------------


def test_a_group_is_one_task_with_groups(place, tiny):
    task = HarnessTask(str(place), "all", items=2)
    examples = task.examples("test")
    assert len(examples) == 2 * len(TASKS)
    assert len({one.id for one in examples}) == len(examples)
    assert {one.fields["group"] for one in examples} == set(TASKS)
    names = {measure.name for measure in task.measures}
    for example in examples:
        seen = task.score(tiny, example)
        assert set(seen.values) - {"words", "bytes"} <= names
        assert all(math.isfinite(value) for value in seen.values.values())
    assert task.weighted_by == {"word_perplexity": "words", "byte_perplexity": "bytes", "bits_per_byte": "bytes"}
    assert set(task.results(tiny)) == set(TASKS)


def test_options(place, tiny):
    path = str(place / "plain.yaml")
    assert len(HarnessTask(path, items=3).examples("test")) == 3
    assert HarnessTask(path).examples("validation") == []
    assert HarnessTask(path, shots=1).examples("test")[0].text.count("Q: ") == 2
    assert HarnessTask(path, shots=2).examples("test") != HarnessTask(path, shots=2, seed=1).examples("test")
    assert [one.cluster for one in HarnessTask(path, cluster="right").examples("test")[:3]] == ["0", "1", "0"]
    with pytest.raises(ValueError, match="has no field 'rigth'"):
        HarnessTask(path, cluster="rigth").examples("test")
    with pytest.raises(ValueError, match="the splits are 'validation' and 'test'"):
        HarnessTask(path).examples("train")
    short = HarnessTask(str(place / "rolled.yaml"), items=1, length=16)
    (text,) = [one.text for one in short.examples("test")]
    (seen,) = [short.score(tiny, one).values for one in short.examples("test")]
    total = sum(one.total for one in score_pairs(tiny, rolling(tiny, text, 16)))
    assert seen["byte_perplexity"] == pytest.approx(math.exp(-total / len(text)))
    data = str(place / "train.jsonl")
    assert HarnessTask(path, data=data).examples("test")[0].text != HarnessTask(path).examples("test")[0].text
    each = [HarnessTask(path, batch_size=size).results(tiny) for size in (1, 16)]
    assert each[0] == each[1]
    for changed, said in (
        ({"ties": "half"}, "ties must be one of shared, first, wrong"),
        ({"items": 0}, "items must be at least 1"),
        ({"shots": -1}, "shots must be at least 0"),
        ({"length": 0}, "length must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"task": "x"}, "give its path too"),
    ):
        with pytest.raises(ValueError, match=said):
            HarnessTask(**changed)


def test_without_a_file_it_asks_questions_of_our_own(tiny):
    task = HarnessTask()
    assert len(task.examples("test")) == 40
    assert len(task.examples("validation")) == 20
    uniform = System(Uniform(), ByteTokenizer(), "uniform")
    shared = dataclasses.replace(task, ties="shared")
    assert 0 < sum(shared.score(uniform, one).values["acc"] for one in shared.examples("test")) < 40
    task.score(tiny, task.examples("test")[0])
    assert task.results(tiny)["kinds_of_words"]["acc"] == pytest.approx(
        sum(task.score(tiny, one).values["acc"] for one in task.examples("test")) / 40
    )


def test_what_does_not_fit_is_cut_and_counted(place):
    model = Llama(width=16, heads=2, context=48).build(ByteTokenizer.vocab_size).eval()
    task = HarnessTask(str(place / "plain.yaml"), shots=1)
    seen = [task.score(System(model, ByteTokenizer(), "short"), one).values for one in task.examples("test")]
    assert all(values["truncated"] == 1.0 for values in seen)


# The harness itself ---------------------------------------------------------------------------------------------------


def test_the_harness_asks_the_same_and_comes_to_the_same(place, tmp_path, monkeypatch):
    """Its evaluator over the same files, with our scores in place of a model of its own: prompts, metrics, aggregates
    and the lines of its sample files."""
    lm_eval = pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    tiny = load("tiny", dtype="float64")  # in which a batch makes no difference

    class Ours(LM):
        def loglikelihood(self, requests):
            return [(one.total, one.greedy) for one in score(tiny, [Request(*each.args) for each in requests])]

        def loglikelihood_rolling(self, requests):
            return [sum(one.total for one in score_pairs(tiny, rolling(tiny, each.args[0]))) for each in requests]

        def generate_until(self, requests):
            prompts = [Prompt(c, tuple(k["until"]), k["max_gen_toks"]) for c, k in (each.args for each in requests)]
            return [one.text for one in write(tiny, prompts)]

    manager = TaskManager(include_path=str(place), include_defaults=False)
    with torch.random.fork_rng():  # it seeds everything
        theirs = lm_eval.simple_evaluate(
            Ours(), tasks=list(TASKS), task_manager=manager, log_samples=True, bootstrap_iters=0
        )
    task = HarnessTask(str(place), "all")
    ours = task.results(tiny)
    for name in TASKS:
        for metric, value in theirs["results"][name].items():
            if "," in metric and "stderr" not in metric:
                known = ours[name].get(metric, ours[name].get(metric.removesuffix(",none")))
                assert known == pytest.approx(value, rel=1e-8), (name, metric)
    tracker = EvaluationTracker(output_path=str(tmp_path / "out"))
    samples = [task.score(tiny, one).shown for one in task.examples("test")]
    for name in TASKS:
        tracker.date_id = "now"
        tracker.general_config_tracker.model_name_sanitized = "m"
        tracker.save_results_samples(name, theirs["samples"][name])
        lines = (tmp_path / "out" / "m" / f"samples_{name}_now.jsonl").read_text().splitlines()
        mine = [line for shown in samples if shown["task"] == name for line in shown["samples"]]
        mine = {(line["filter"], line["doc_id"]): json.loads(json.dumps(line)) for line in mine}
        assert len(lines) == len(mine)
        for line in map(json.loads, lines):
            own = mine[line["filter"], line["doc_id"]]
            assert list(own) == list(line)
            if "brier_score" in line:  # theirs has an array of probabilities as it prints
                line["brier_score"] = own["brier_score"]
            assert rounded(own) == rounded(line)


def rounded(value):
    """With numbers, and texts that are numbers, to eight places."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    try:
        return round(float(value), 8)
    except ValueError:
        return value


def test_scores_of_all_texts_together_have_intervals_and_differences(tmp_path):
    """In a report: BLEU and the like of all documents, resampled by document; ROUGE as a mean."""
    pytest.importorskip("rouge_score")
    place = tmp_path / "files"
    place.mkdir()
    folder(place)
    more = TASKS["translated"].replace("metric_list: [", "metric_list: [{metric: rouge1}, {metric: rougeLsum}, ")
    (place / "translated.yaml").write_text("task: translated\n" + BASE.format(folder=place) + more)
    task = HarnessTask(str(place), "translated")
    battery = Battery((task,), ("t",))
    (entry,) = Comparison("evaluation", ["tiny"], task=battery, seeds=1).run(tmp_path / "run").data["contenders"]
    tiny = load("tiny")
    (mine,) = task.results(tiny).values()
    for metric in ("bleu", "chrf", "chrf++", "ter"):
        found = entry["measures"][f"t.{metric}"]
        assert found["mean"] == pytest.approx(mine[metric])
        assert found["low"] <= found["mean"] <= found["high"]
        assert found["n"] == found["clusters"] == 6
    assert entry["measures"]["t.chrf"]["high"] > entry["measures"]["t.chrf"]["low"]
    seen = [task.score(tiny, example).values["rouge1"] for example in task.examples("test")]
    assert entry["measures"]["t.rouge1"]["mean"] == pytest.approx(sum(seen) / 6)
    assert mine["rouge1"] == pytest.approx(sum(seen) / 6)


def test_texts_are_measured_against_all_references():
    pytest.importorskip("rouge_score")
    names = ["bleu", "ter", "rouge1"]
    task, item = made(
        output_type="generate_until", doc_to_choice=None, doc_to_target="{{['a b c d e', 'f g']}}",
        metric_list=[{"metric": name} for name in names],
    )  # fmt: skip
    values, raw, vectors = _harness.of_writing(task, item, "a b c d e")
    assert values == {"rouge1": 1.0}
    assert vectors.keys() == {"bleu", "ter"}
    assert raw["bleu"] == (["a b c d e", "f g"], "a b c d e")
    assert _harness.together("bleu", [raw["bleu"]]) == pytest.approx(100.0)
    assert _harness.together("ter", [raw["ter"]]) == 0.0
    task, item = made(output_type="generate_until", metric_list=[{"metric": "bleu", "lowercase": True}])
    with pytest.raises(ValueError, match="bleu has no option lowercase"):
        _harness.of_writing(task, item, "x")
    with pytest.raises(ValueError, match="bleu is put together by bleu, not 'mean'"):
        made(output_type="generate_until", metric_list=[{"metric": "bleu", "aggregation": "mean"}])


def test_scores_of_all_texts_are_of_one_filter(tmp_path):
    folder(tmp_path)
    filters = TASKS["written"].partition("filter_list")[2]
    (tmp_path / "two.yaml").write_text(
        "task: two\n" + BASE.format(folder=tmp_path) + TASKS["translated"] + "filter_list" + filters
    )
    with pytest.raises(ValueError, match=r"bleu is of all texts behind one filter|chrf\+\+ is of all texts behind one"):
        HarnessTask(str(tmp_path / "two.yaml")).measures  # noqa: B018
