"""Task files of the harness: what is read of them, what is asked, and what is refused."""

import dataclasses
import gzip
import json
import random
from pathlib import Path

import pytest

from trivium.data import harness, harness_measuring, harness_samples, questions
from trivium.data.harness import Declared

SHARED = Path(__file__).parents[3] / "shared"
DOCUMENTS = [
    {"question": f"q{n}", "options": ["one", "two", "three"], "right": n % 3, "said": f"a{n}", "text": f"t {n}"}
    for n in range(8)
]
CHOICE = {
    "task": "some",
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "Q: {{question}}\nA:",
    "doc_to_choice": "options",
    "doc_to_target": "right",
}


def made(shots=0, documents=DOCUMENTS, seed=1234, splits=None, **changed):
    config = {key: value for key, value in {**CHOICE, **changed}.items() if value is not ...}
    return Declared(config, splits or {"test": documents, "train": documents[::-1]}, shots, seed)


def contexts(task, count=None):
    return [item.requests[0][0] for item in task.items("test", count)]


def folder(place, files):
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


DATA = "\n".join(map(json.dumps, DOCUMENTS))
PLAIN = """
task: plain
dataset_path: json
dataset_kwargs:
  data_files:
    test: rows.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{question}}"
doc_to_choice: options
doc_to_target: right
"""


# What is asked --------------------------------------------------------------------------------------------------------


def test_fields_templates_lists_and_numbers():
    item = made().items("test")[1]
    assert item.requests == (("Q: q1\nA:", " one"), ("Q: q1\nA:", " two"), ("Q: q1\nA:", " three"))
    assert (item.gold, item.target, item.choices) == (1, 1, ("one", "two", "three"))
    assert made(doc_to_choice="{{options[:2] + [said]}}").items("test")[1].choices == ("one", "two", "a1")
    assert made(doc_to_choice=["x", "y", "z"]).items("test")[1].choices == ("x", "y", "z")
    assert made(doc_to_choice={"a": "x", "b": "y", "c": "z"}).items("test")[1].choices == ("x", "y", "z")
    assert made(doc_to_target="{{(right + 1) % 3}}").items("test")[1].gold == 2
    assert made(doc_to_target="{{options[right]}}").items("test")[1].gold == 1
    assert made(doc_to_target=2).items("test")[0].gold == 2
    assert made(doc_to_target="{{[0, 2]}}").items("test")[0].gold == [0, 2]
    assert made(target_delimiter="").items("test")[0].requests[0] == ("Q: q0\nA:", "one")
    assert made(doc_to_text="{{question|regex_replace('q', 'Q')}}\n").items("test")[3].requests[0][0] == "Q3\n"


def test_choices_that_are_contexts():
    documents = [{"options": ["Ann had", "Bob had"], "right": 1, "rest": "fun."}]
    item = made(documents=documents, doc_to_text="{{right}}", doc_to_target="rest").items("test")[0]
    assert item.requests == (("Ann had", " fun."), ("Bob had", " fun."))
    assert (item.gold, item.target) == (1, "fun.")
    with_one = made(1, documents * 2, doc_to_text="{{right}}", doc_to_target="rest", fewshot_split="train")
    assert with_one.items("test")[0].requests[0] == ("Bob had fun.\n\nAnn had", " fun.")


def test_mutual_information_asks_for_the_choices_alone():
    item = made(metric_list=[{"metric": "acc_mutual_info"}]).items("test")[0]
    assert item.requests[3:] == (("", " one"), ("", " two"), ("", " three"))
    assert item.free == 3


def test_other_sorts_of_tasks():
    whole = {"doc_to_choice": ..., "doc_to_target": "{{said}}"}
    assert made(output_type="loglikelihood", **whole).items("test")[1].requests == (("Q: q1\nA:", "a1"),)
    assert made(output_type="loglikelihood_rolling", **whole).items("test")[1].requests == (("a1",),)
    task = made(output_type="generate_until", **whole)
    assert task.items("test")[1].requests == (("Q: q1\nA:",),)
    assert harness_measuring.kwargs(task.config) == {
        "temperature": 0.0,
        "do_sample": False,
        "max_gen_toks": 256,
        "until": ["\n\n"],
    }
    told = {"until": "\n", "max_gen_toks": 7, "do_sample": False}
    task = made(output_type="generate_until", generation_kwargs=told, **whole)
    assert (
        harness_measuring.writing(task.config).until,
        harness_measuring.writing(task.config).limit,
        harness_measuring.writing(task.config).temperature,
    ) == (("\n",), 7, 0.0)
    hot = {"do_sample": True, "temperature": 0.5}
    task = made(output_type="generate_until", generation_kwargs=hot, **whole)
    assert harness_measuring.writing(task.config).temperature == 0.5
    cold = {"do_sample": False, "temperature": 0.5, "top_p": 0.9}
    task = made(output_type="generate_until", generation_kwargs=cold, **whole)
    assert harness_measuring.writing(task.config).temperature == 0.0
    with pytest.raises(ValueError, match="generation_kwargs has top_p"):
        made(output_type="generate_until", generation_kwargs={**cold, "do_sample": True}, **whole)
    lettered = made(output_type="generate_until").items("test")[2]
    assert lettered.gold == "three"


def test_description_examples_and_beginnings_of_answers():
    task = made(1, description="Answer.\n", fewshot_split="train", fewshot_delimiter="\n--\n", gen_prefix="It is")
    first = random.Random(1234).sample(DOCUMENTS[::-1], 1)[0]
    right = first["options"][first["right"]]
    assert contexts(task, 1) == [f"Answer.\nQ: {first['question']}\nA: It is {right}\n--\nQ: q0\nA: It is"]
    named = made(documents=[{**DOCUMENTS[0], "opening": "Say so. "}], description="opening")
    assert contexts(named) == ["Say so. Q: q0\nA:"]


def test_examples_are_drawn_as_the_harness_draws_them():
    """One generator for the task, items in order; one more, and the item left out, only where the splits are one."""
    shown = lambda one: f"Q: {one['question']}\nA: {one['options'][one['right']]}\n\n"  # noqa: E731
    draw = random.Random(1234)
    expected = []
    for document in DOCUMENTS:
        drawn = [one for one in draw.sample(DOCUMENTS, 3) if one != document][:2]
        expected.append("".join(map(shown, drawn)) + f"Q: {document['question']}\nA:")
    assert contexts(made(2, fewshot_split="test")) == expected
    assert contexts(made(2, test_split=..., validation_split="test")) == expected  # neither is declared
    draw = random.Random(1234)
    expected = ["".join(map(shown, draw.sample(DOCUMENTS, 2))) + f"Q: {one['question']}\nA:" for one in DOCUMENTS]
    assert contexts(made(2)) == expected  # an item may be its own example
    assert contexts(made(2, seed=7)) != expected
    assert contexts(made(2, training_split="train")) != expected
    first = made(2, fewshot_split="train", fewshot_config={"sampler": "first_n"})
    assert contexts(first, 1) == [shown(DOCUMENTS[7]) + shown(DOCUMENTS[6]) + "Q: q0\nA:"]
    own = made(1, fewshot_config={"samples": [DOCUMENTS[5]], "doc_to_text": "Ex {{question}}"})
    assert contexts(own, 1) == ["Ex q5 three\n\nQ: q0\nA:"]


def test_copies_of_the_item_are_never_its_examples():
    documents = [DOCUMENTS[0]] * 3 + DOCUMENTS[1:]
    for context in contexts(made(3, documents, fewshot_split="test"), 3):
        assert context.count("Q: q0\n") == 1
        assert context.count("Q: ") == 4


def test_a_run_of_the_harness_asked_just_this(tmp_path):
    """Two examples each, drawn among the first 50 questions; as it wrote them down."""
    told = SHARED / "vectors" / "lm_eval" / "sh_arc_easy_2shot.jsonl.gz"
    if not told.exists():
        pytest.skip(f"{told} is not here")
    with gzip.open(told, "rt", encoding="utf-8") as file:
        expected = [json.loads(line) for line in file]
    lines = (SHARED / "data" / "arc" / "arc_easy_validation.jsonl").read_text().splitlines()[:50]
    text = PLAIN.replace("test_split", "validation_split").replace(
        "Q: {{question}}", "Question: {{question}}\\nAnswer:"
    )
    text = text.replace("choice: options", 'choice: "{{choices.text}}"')
    text = text.replace("target: right", 'target: "{{choices.label.index(answerKey)}}"')
    folder(tmp_path, {"rows.jsonl": "\n".join(lines), "arc.yaml": text})
    (task,) = harness.declared(tmp_path / "arc.yaml", shots=2)
    for item, one in zip(task.items("test", 20), expected, strict=True):
        assert item.requests == tuple((each["context"], each["continuation"]) for each in one["requests"])
        assert item.gold == one["gold"]


@pytest.mark.parametrize(
    ("place", "name", "path", "form"),
    [
        ("arc", "arc_easy", "arc/arc_easy_validation.jsonl", "arc"),
        ("blimp", "blimp_adjunct_island", "blimp/adjunct_island.jsonl.gz", "blimp"),
        ("commonsense_qa", "commonsense_qa", "commonsense_qa/validation.jsonl", "commonsense_qa"),
        ("openbookqa", "openbookqa", "openbookqa/validation.jsonl", "openbookqa"),
        ("piqa", "piqa", "piqa/validation.jsonl", "piqa"),
        ("sciq", "sciq", "sciq/validation.jsonl", "sciq"),
    ],
)
def test_the_harness_s_own_files(place, name, path, form):
    """Where it is installed: what its own declarations ask is what our forms of these sets ask."""
    tasks = Path(pytest.importorskip("lm_eval").__file__).parent / "tasks" / place
    data = SHARED / "data" / path
    if not data.exists():
        pytest.skip(f"{data} is not here")
    (task,) = harness.declared(tasks, name, data=str(data), shots=0)
    for item, question in zip(task.items(task.tested, 100), questions.read(data, form), strict=False):
        assert item.requests == tuple((question.question, f" {option}") for option in question.options)
        assert item.gold == question.answer


# Files ----------------------------------------------------------------------------------------------------------------


def test_includes_groups_and_tags(tmp_path):
    folder(
        tmp_path,
        {
            "rows.jsonl": DATA,
            "_base": PLAIN,
            "one.yaml": "include: _base\ntask: one\ntag: both\nnum_fewshot: 1\nfewshot_split: test\n",
            "deep/two.yaml": "include: ../_base\ntask: two\ntag: [both]\ndoc_to_text: said\n"
            "dataset_kwargs: {data_files: {test: ../rows.jsonl}}\n",
            "all.yaml": "group: all\ndescription: 'Say. '\ntask:\n- one\n- group: inner\n  task:\n"
            "  - task: two\n    doc_to_choice: [x, y, z]\n",
            "twice.yaml": "group: twice\ntask: [one, one]\n",
        },
    )
    one, two = harness.declared(tmp_path, "all")
    assert (one.name, one.shots, two.name, two.shots) == ("one", 1, "two", 0)
    assert two.items("test", 1)[0].requests[0] == ("Say. a0", " x")
    assert one.items("test", 1)[0].requests[0][0].startswith("Say. Q: ")
    assert [task.name for task in harness.declared(tmp_path, "both")] == ["two", "one"]
    assert harness.declared(tmp_path / "one.yaml", shots=3)[0].shots == 3
    assert [task.name for task in harness.declared(tmp_path / "all.yaml")] == ["one", "two"]
    with pytest.raises(ValueError, match="'one' occurs twice among the tasks of twice"):
        harness.declared(tmp_path, "twice")
    with pytest.raises(ValueError, match="no task, group or tag is called 'on'; did you mean 'one'"):
        harness.declared(tmp_path, "on")
    with pytest.raises(ValueError, match="holds several tasks; name one with task; there are all, one, twice, two"):
        harness.declared(tmp_path)


def test_circles_are_found(tmp_path):
    folder(tmp_path, {"a.yaml": "include: b.yaml\ntask: a\n", "b.yaml": "include: a.yaml\n"})
    with pytest.raises(ValueError, match="break the circle"):
        harness.declared(tmp_path / "a.yaml")
    folder(tmp_path, {"g.yaml": "group: g\ntask: [h]\n", "h.yaml": "group: h\ntask: [g]\n"})
    with pytest.raises(ValueError, match="the group g is a member of itself"):
        harness.declared(tmp_path, "g")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("doc_to_text: !function utils.ask", r"line 3: doc_to_text is code \(!function utils.ask\).*Jinja template"),
        ("process_docs: !function utils.clean", r"line 3: process_docs is code .*give the new file as data"),
        ("process_docs: clean", r"line 3: process_docs asks for a function over the documents"),
        ("metric_list:\n- metric: !function utils.f1", r"line 4: metric is code .*one of the metrics"),
        ("filter_list:\n- filter: [{function: !function u.F}]", r"line 4: function is code .*name one of regex"),
        ("class: !function task.Task", r"line 3: class is code"),
        ("doc_to_image: picture", r"line 3: doc_to_image asks for pictures"),
        ("unsafe_code: true", r"line 3: unsafe_code asks for leave to run what the model writes"),
        ("use_prompt: promptsource:x", r"line 3: use_prompt asks for a template of another package"),
        ("doc_to_target: !!python/name:os.system", r"line 3: doc_to_target is code \(tag:yaml.org,2002:python"),
        ("doc_to_target: !!python/object/apply:os.system [touch x]", r"line 3: doc_to_target is code"),
    ],
)
def test_code_is_refused_by_its_line(tmp_path, line, said):
    place = folder(tmp_path, {"a.yaml": f"task: a\nunsafe_code: false\n{line}\n", "utils.py": "raise SystemExit"})
    with pytest.raises(ValueError, match=said):
        harness.declared(place / "a.yaml")


def test_templates_reach_nothing_and_grow_no_further():
    for template, said in (
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ options.append('x') }}", "unsafe"),
        ("{{ 'x' * 1000000000 }}", "too large"),
        ("{{ 9 ** 999999 }}", "too large"),
        ("{{ range(100000000)|list }}", "Range too big"),
        ("{{ question + 1 }}", "fails"),
        ("{% include '/etc/passwd' %}", "fails"),
        ("{{ question", "fails"),
    ):
        with pytest.raises(ValueError, match=f"task some, document 0: doc_to_text .*{said}"):
            made(doc_to_text=template).items("test")


def test_data_that_is_elsewhere(tmp_path):
    hub = PLAIN.replace("dataset_path: json", "dataset_path: allenai/ai2_arc").replace(
        "data_files:\n    test: rows", "x: y"
    )
    folder(
        tmp_path, {"a.yaml": hub.split("dataset_kwargs")[0] + "test_split: test\n" + hub.split("test_split: test\n")[1]}
    )
    with pytest.raises(
        ValueError, match=r"takes its data from the hub, 'allenai/ai2_arc'; download it and give `data`"
    ):
        harness.declared(tmp_path / "a.yaml")
    rows = tmp_path / "data" / "test-00000-of-00001.jsonl.gz"
    rows.parent.mkdir()
    rows.write_bytes(gzip.compress(DATA.encode()))
    for data in (rows, rows.parent):
        (task,) = harness.declared(tmp_path / "a.yaml", data=str(data))
        assert task.documents("test") == DOCUMENTS
    more = (tmp_path / "a.yaml").read_text() + "training_split: train\n"
    (task,) = harness.declared(folder(tmp_path, {"more.yaml": more}) / "more.yaml", data=str(rows.parent))
    assert len(task.items("test")) == len(DOCUMENTS)  # the other split is not needed
    with pytest.raises(ValueError, match="has no split 'train'; there are test"):
        dataclasses.replace(task, shots=1).items("test")
    with pytest.raises(FileNotFoundError, match=r"data .*nowhere is not there"):
        harness.declared(tmp_path / "a.yaml", data=str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"has no file of the task's splits, such as test.jsonl"):
        harness.declared(tmp_path / "a.yaml", data=str(tmp_path))
    folder(tmp_path, {"b.yaml": PLAIN.replace("rows.jsonl", "https://example.org/rows.jsonl")})
    with pytest.raises(ValueError, match=r"takes its data from https://.*; download it"):
        harness.declared(tmp_path / "b.yaml")
    folder(tmp_path, {"c.yaml": PLAIN.replace("  data_files", "  trust_remote_code: true\n  data_files")})
    with pytest.raises(ValueError, match="wants code of its data set to be run"):
        harness.declared(tmp_path / "c.yaml")


def test_json_and_parquet(tmp_path):
    folder(tmp_path, {"a.yaml": PLAIN, "rows.jsonl": json.dumps(DOCUMENTS)})
    assert harness.declared(tmp_path / "a.yaml")[0].documents("test") == DOCUMENTS
    folder(tmp_path, {"rows.jsonl": DATA + "\n{broken"})
    with pytest.raises(ValueError, match=r"rows.jsonl, line 9 is no JSON"):
        harness.declared(tmp_path / "a.yaml")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(DOCUMENTS)
    parquet.write_table(table, tmp_path / "rows.parquet")
    folder(tmp_path, {"a.yaml": PLAIN.replace("path: json", "path: parquet").replace("rows.jsonl", "rows.parquet")})
    assert harness.declared(tmp_path / "a.yaml")[0].documents("test") == DOCUMENTS


# What is wrong --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"doc_to_text": "{{questoin}}"},
            r"document 0: doc_to_text refers to what is not there .*questoin.*question, op",
        ),
        ({"doc_to_target": 3}, r"document 0: the right answer is 3, which is none of 3 choices"),
        ({"doc_to_target": "{{0 - 1}}"}, r"the right answer is '-1', which is none of 3"),
        ({"doc_to_target": "said"}, r"the right answer is 'a0', which is none of 3"),
        ({"doc_to_choice": ["one", "", "three"]}, r"document 0: choice 1 is empty"),
        ({"doc_to_choice": [1, 2]}, r"choices are a list of texts"),
        ({"doc_to_choice": "{{question}}"}, r"doc_to_choice makes 'q0', which is no list"),
    ],
)
def test_documents_that_do_not_suit(changed, said):
    with pytest.raises(ValueError, match=said):
        made(**changed).items("test")


def test_a_field_that_only_some_documents_have():
    documents = [DOCUMENTS[0], {k: v for k, v in DOCUMENTS[1].items() if k != "options"}]
    with pytest.raises(ValueError, match="task some, document 1 lacks the field 'options'; it has question, right"):
        made(documents=documents).items("test")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"output_type": "multiple"}, "output_type 'multiple' is none of"),
        ({"doc_to_txt": "x"}, "'doc_to_txt' is no key of a task; did you mean 'doc_to_text'"),
        ({"doc_to_target": ...}, "has no doc_to_target"),
        ({"doc_to_choice": ...}, "has no doc_to_choice"),
        ({"metric_list": [{"metric": "acc_nrm"}]}, "the metric 'acc_nrm' .* did you mean 'acc_norm'"),
        ({"metric_list": [{"metric": "exact_match", "hf_evaluate": True}]}, "is not known"),
        ({"metric_list": [{"metric": "acc", "aggregation": "median"}]}, "acc is put together by mean, not 'median'"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "lowercase"}]}]}, "multiple_choice writes nothing"),
        ({"filter_list": [{"name": "x", "filter": [{"function": "map"}]}]}, "no filter is called 'map'"),
        ({"repeats": 4}, "repeats 4 asks for several answers"),
        ({"fewshot_config": {"sampler": "balanced"}}, "'default' or 'first_n', not by 'balanced'"),
        ({"fewshot_config": {"shuffle": 1}}, "fewshot_config has shuffle"),
        ({"output_type": "generate_until", "generation_kwargs": {"num_beams": 4}}, "generation_kwargs has num_beams"),
        ({"process_docs": "x"}, "process_docs asks for a function over the documents"),
    ],
)
def test_declarations_that_cannot_be_followed(changed, said):
    with pytest.raises(ValueError, match=said):
        made(**changed)


def test_more_examples_than_there_are():
    with pytest.raises(ValueError, match="8 examples are asked for and there are 7 to draw from"):
        made(8, fewshot_split="test").items("test")
    with pytest.raises(ValueError, match="9 examples are asked for and there are 8"):
        made(9).items("test")
    with pytest.raises(ValueError, match="no examples stand"):
        made(1, output_type="loglikelihood_rolling")
    with pytest.raises(ValueError, match="has no split 'tset'; did you mean 'test'"):
        made(test_split="tset").items("tset")


# Samples --------------------------------------------------------------------------------------------------------------


def test_a_sample_line_by_line(tmp_path):
    line = harness_samples.sample(3, {"q": "é"}, 1, (("c", " a"),), [(-1.5, True)], [(-1.5, True)], {"acc": 1.0})
    assert line["arguments"] == {"gen_args_0": {"arg_0": "c", "arg_1": " a"}}
    assert line["resps"] == [[["-1.5", "True"]]]
    assert line["filtered_resps"] == [["-1.5", "True"]]
    assert (line["target"], line["metrics"], line["acc"]) == ("1", ["acc"], 1.0)
    # sha256 of '{\n  "q": "é"\n}', of "c" and of "1"
    assert line["doc_hash"].startswith("42d4b8282535d97d")
    assert line["prompt_hash"].startswith("2e7d2c03a950")
    assert line["target_hash"].startswith("6b86b273ff34")
    (path,) = harness_samples.write({"some": [{**line, "doc_id": 4}, line]}, tmp_path, "now")
    assert path.name == "samples_some_now.jsonl"
    assert [json.loads(one)["doc_id"] for one in path.read_text().splitlines()] == [3, 4]
