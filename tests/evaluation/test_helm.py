import json
import math
from pathlib import Path

import pytest
import torch

from tests.compare.fakes import Uniform
from tests.evaluation.test_multiple_choice import Bytes
from trivium.architectures.llama import Llama
from trivium.core.meter import Meter
from trivium.data.perturbations import LowerCase, Names, named
from trivium.evaluation import _helm
from trivium.evaluation._helm import Instance
from trivium.evaluation.helm import Helm
from trivium.evaluation.stats import desiderata
from trivium.models.scoring import Request, score
from trivium.models.system import System
from trivium.models.writing import Prompt, write
from trivium.tokenization.byte import ByteTokenizer

BYTES = ByteTokenizer()


def writer(context=2048):
    """A small model that can write, with opinions."""
    model = Llama(width=16, heads=2, context=context).build(BYTES.vocab_size)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return System(model.eval(), BYTES, "native")


class Sensitive(Uniform):
    """The next byte depends on every byte before it: each of them matters to every choice."""

    max_positions = 4096

    def __init__(self) -> None:
        super().__init__()
        self.law = torch.randn(97, 259, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)

    def run(self, ids, **given):
        out = super().run(ids, **given)
        return type(out)(self.law[ids.cumsum(1) % 97], out.hidden)


def sensitive():
    return System(Sensitive(), BYTES, "sensitive")


def law():
    return System(Bytes(), BYTES, "bytes")


def all_of(task, made):
    return [task.score(made, example) for example in task.examples("test")]


# Copies ---------------------------------------------------------------------------------------------------------------

SCENE = Instance("s", "Jack hid his key.\nQuestion: Where did Jack go?\nAnswer:", ("Jack", "Emily"), 0)


def test_the_frame_stays_and_choices_are_renamed_with_the_question():
    low = _helm.perturbed(SCENE, LowerCase(), 0)
    assert low is not None
    assert low.context == "jack hid his key.\nQuestion: where did jack go?\nAnswer:"
    assert low.options == SCENE.options  # what keeps the meaning leaves the choices alone
    other = _helm.perturbed(SCENE, Names(), 0)
    assert other is not None
    assert other.context == "Deshawn hid his key.\nQuestion: Where did Deshawn go?\nAnswer:"
    assert other.options == ("Deshawn", "Lakisha")
    assert other.right == "Deshawn"
    for seed in range(8):  # where names are drawn, they are drawn for question and choices together
        some = _helm.perturbed(SCENE, Names(0.5), seed)
        if some is not None:
            assert ("Deshawn" in some.context) == ("Deshawn" in some.options)
    assert _helm.perturbed(Instance("x", "it rains", ("a", "b")), named("names"), 0) is None


def test_unchanged_and_equal_copies_are_left_out():
    found = list(_helm.copies(SCENE, [named("lower_case"), named("gender")], 3))
    assert [name for name, _ in found] == ["lower_case", "gender"]  # the same with every seed
    assert len(list(_helm.copies(SCENE, [named("typos 0.3")], 3))) == 3


def test_exemplars_cover_labels_by_frequency():
    pool = [Instance(f"{label}{n}", "q", (label, "x"), 0) for label, count in (("a", 1), ("b", 4), ("c", 2), ("d", 2))
            for n in range(count)]  # fmt: skip
    found = [one.right for one in _helm.exemplars(pool, 6, 0)]
    assert found[0] == "b"
    assert set(found[:4]) == {"a", "b", "c", "d"}
    assert found[3] == "a"
    assert found[4:] == ["b", *found[1:2]]  # the next round in the same order
    orders = {tuple(one.id for one in _helm.exemplars(pool, 6, trial)) for trial in range(10)}
    assert len(orders) > 1
    assert {order[1][0] for order in orders} == {"c", "d"}  # as frequent: in a random order
    assert len(_helm.exemplars(pool, 20, 0)) == 9


def test_examples_are_dropped_one_at_a_time_where_they_do_not_fit():
    made = System(Uniform(), BYTES, "uniform")  # 512 bytes
    shown = ["x" * 100] * 6
    text, dropped = _helm.fitted(made, shown, "y" * 50, 10)
    assert (text.count("x" * 100), dropped) == (4, 2)
    assert text.endswith("\n\n" + "y" * 50)
    assert _helm.fitted(made, shown, "y" * 600, 10) == ("y" * 600, 6)


# Adapters -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ["separate", "calibrated", "joint"])
def test_choices_against_a_loop_by_hand(adapter):
    made, task = sensitive(), Helm(adapter=adapter, items=5, shots=2)
    pool = _helm.exemplars(task.instances("validation"), 2, 0)
    for example, one in zip(task.examples("test"), task.instances("test"), strict=True):
        seen = task.score(made, example).values
        as_asked = [_helm.joint(each) if adapter == "joint" else each.context for each in (*pool, one)]
        said = [("A", "B", "C", "D")[each.answer] if adapter == "joint" else each.right for each in pool]
        context = "\n\n".join([*(f"{a} {b}" for a, b in zip(as_asked, said, strict=False)), as_asked[-1]])
        numbers = []
        for option in "ABCD" if adapter == "joint" else one.options:
            (behind,) = score(made, [Request(context, f" {option}")])
            (alone,) = score(made, [Request("Answer:", f" {option}")])
            numbers.append(behind.total - alone.total if adapter == "calibrated" else behind.total / len(behind.ids))
        best = [at for at, x in enumerate(numbers) if max(numbers) - x < 1e-6]
        assert seen["accuracy"] == (1 / len(best) if one.answer in best else 0.0)
        vector = task.score(made, example).vectors["calibration"]
        assert vector[0] == pytest.approx(
            max(math.exp(x) for x in numbers) / sum(math.exp(x) for x in numbers), abs=1e-9
        )
        assert "Question:" in context


def test_worst_case_is_of_each_instance_and_never_above_it():
    made = sensitive()
    without, with_, more = (
        all_of(Helm(items=18, shots=0, robustness=names, fairness=()), made)
        for names in ((), ("typos 0.3",), ("typos 0.3", "lower_case"))
    )
    for none, some, all_ in zip(without, with_, more, strict=True):
        assert "robustness" not in none.values
        assert none.shown["absent"]["robustness"] == "no perturbation for robustness"
        assert all_.values["robustness"] <= some.values["robustness"] <= some.values["accuracy"]
        assert some.values["accuracy"] == none.values["accuracy"]
        assert all_.values["robustness_copies"] == 2.0
    mean = lambda seen, name: sum(one.values[name] for one in seen) / len(seen)  # noqa: E731
    assert mean(more, "robustness") < mean(more, "accuracy")
    identity = all_of(Helm(items=6, scenario="kinds", robustness=("gender",), fairness=()), made)
    assert "robustness" not in identity[0].values  # nobody is in these questions
    assert identity[0].shown["absent"]["robustness"] == "no text changes under gender"
    rows = torch.tensor([one.vectors["robust"] for one in more]).numpy()
    assert desiderata.null_of(rows) == pytest.approx(mean(more, "accuracy") ** 3)


def test_examples_in_the_prompt_are_never_perturbed():
    task = Helm(items=2, shots=1, robustness=("lower_case",), fairness=())
    asked = []
    original = Helm._ask

    def spy(self, made, instance, shown):
        found = original(self, made, instance, shown)
        asked.append(found.prompt)
        return found

    try:
        Helm._ask = spy
        all_of(task, law())
    finally:
        Helm._ask = original
    (head, _, own), (other, _, copy) = (prompt.partition("\n\n") for prompt in asked[:2])
    assert other == head != head.lower()
    assert copy != own
    assert copy.lower() == own.lower()


def test_written_answers():
    made, task = writer(), Helm(adapter="generation", items=3, shots=1, limit=5, robustness=(), fairness=())
    (shot,) = _helm.exemplars(task.instances("validation"), 1, 0)
    for example, one in zip(task.examples("test"), task.instances("test"), strict=True):
        seen = task.score(made, example)
        (text,) = write(made, [Prompt(f"{shot.context} {shot.right}\n\n{one.context}", ("\n",), 5)])
        assert seen.shown["text"] == text.text
        assert seen.values["accuracy"] == desiderata.quasi_exact(text.text, [one.right])
        assert seen.vectors["calibration"][0] == pytest.approx(math.exp(sum(text.logprobs)), abs=1e-4)
        assert seen.values["output_tokens"] == len(text.ids)
        assert "f1" in seen.values
        assert seen.shown["absent"]["bias_race"] == "undefined: no written text names any"


def test_openings_and_an_injected_classifier():
    asked = []

    def classifier(text):
        asked.append(text)
        return 0.9 if len(asked) % 2 else 0.1

    task = Helm(scenario="openings", adapter="generation", items=4, completions=2, limit=4, toxicity=classifier)
    seen = all_of(task, writer())
    assert len(asked) == 8
    assert [one.values["toxicity"] for one in seen] == [0.5] * 4
    assert [one.values["toxicity_most"] for one in seen] == [0.9] * 4
    assert all("accuracy" not in one.values and "robustness" not in one.values for one in seen)
    assert seen[0].shown["absent"]["accuracy"] == "an opening has no right answer"
    assert task.measures[0].name == "toxicity_most"
    assert len(seen[0].vectors["stereotype"]) == 2 * len(desiderata.PROFESSIONS)


def test_texts_that_are_read():
    made, task = law(), Helm(adapter="language_modeling", items=2)
    for example, one in zip(task.examples("test"), task.instances("test"), strict=True):
        text = f"{one.context} {one.right}".encode()
        before = [BYTES.bos, *text[:-1]]
        bits = -sum(float(made.model.law[a, b]) for a, b in zip(before, text, strict=True)) / math.log(2) / len(text)
        assert task.score(made, example).values["bits_per_byte"] == pytest.approx(bits, abs=1e-5)
    assert task.measures[0].name == "bits_per_byte"


def test_trials_are_averaged_and_a_split_is_asked_once():
    made, task = law(), Helm(items=3, shots=2, trials=2, copies=2, robustness=("typos 0.3",), fairness=())
    values = [one.values["accuracy"] for one in all_of(task, made)]
    single = [all_of(Helm(items=3, shots=2, robustness=(), fairness=()), made)]
    assert not task.measures[0].binary
    assert all(value in (0.0, 0.25, 0.5, 0.75, 1.0) for value in values)
    assert len(single[0]) == 3
    assert task.score(made, task.examples("test")[0]).values["robustness_copies"] == 2.0
    with Meter() as meter:
        all_of(task, made)
    assert meter.spent.calls == 0


def test_files_and_bad_settings(tmp_path):
    path = tmp_path / "some.jsonl"
    rows = [{"goal": f"Jack rests {n}", "sol1": "walk", "sol2": "stand", "label": n % 2} for n in range(9)]
    path.write_text("\n".join(map(json.dumps, rows)))
    task = Helm(str(path), "piqa", items=4)
    assert [one.context for one in task.instances("validation")] == [
        f"Question: Jack rests {n}\nAnswer:" for n in (4, 5)
    ]
    assert len(Helm(str(path), "piqa").instances("test")) == 6
    assert task.said["chance"] == "0.500 by guessing"
    assert task.said["licence"] == ""
    assert Helm().said["licence"]
    for changed, said in (
        ({"adapter": "sorting"}, "adapter must be one of separate, calibrated, .*; got 'sorting'"),
        ({"adapter": "ranking"}, "scenario='passages' and adapter='ranking' go together"),
        ({"scenario": "passages"}, "scenario='passages' and adapter='ranking' go together"),
        ({"adapter": "ranking", "path": "x"}, "form must be one of passages, sciq; got 'arc'"),
        ({"form": "passages"}, "form must be one of aqua, arc"),
        ({"scenario": "dreams"}, "scenario must be one of scenes"),
        ({"shots": -1}, "shots must be at least 0, got -1"),
        ({"copies": 0}, "copies must be at least 1"),
        ({"robustness": ("noise",)}, "no perturbation is called 'noise'"),
        ({"scenario": "openings"}, "write adapter='generation', not 'separate'"),
        ({"completions": 2}, "completions are of adapter='generation'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            Helm(**changed)
    with pytest.raises(ValueError, match="the splits are 'validation' and 'test', got 'train'"):
        Helm().instances("train")


def test_real_questions_have_copies():
    path = Path(__file__).parents[3] / "shared" / "data" / "arc" / "arc_easy_validation.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    task = Helm(str(path), "arc", items=20)
    changed = [list(_helm.copies(one, [named("mild")], 1)) for one in task.instances("test")]
    assert all(len(found) == 1 for found in changed)
    assert all(found[0][1].context.endswith("\nAnswer:") for found in changed)


# Rankings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shots", [0, 3])
def test_passages_are_ranked_by_yes_over_no(shots):
    made, task = sensitive(), Helm(scenario="passages", adapter="ranking", items=3, shots=shots)
    frame = "Passage: {}\nQuery: {}\nDoes the passage answer the query? Yes or No.\nAnswer:"
    pool = [
        Instance("", frame.format(text, one.text), ("Yes", "No"), int(not grade))
        for one in task.queries("validation")
        for text, grade in zip(one.passages, one.grades, strict=True)
    ]
    head = [f"{one.context} {one.right}" for one in _helm.exemplars(pool, shots, 0)]
    assert sum(one.endswith("Yes") for one in head) == shots // 2  # there are fewer of them, and labels take turns
    for example, query in zip(task.examples("test"), task.queries("test"), strict=True):
        seen = task.score(made, example)

        def odds(query_text, query=query):
            asked = ["\n\n".join([*head, frame.format(text, query_text)]) for text in query.passages]
            yes, no = ([one.total for one in score(made, [Request(a, w) for a in asked])] for w in (" Yes", " No"))
            return [a - b for a, b in zip(yes, no, strict=True)]

        def rank(numbers, query=query):
            order = sorted(range(len(numbers)), key=lambda at: -numbers[at])
            return 1 / (1 + next(place for place, at in enumerate(order) if query.grades[at]))

        own = odds(query.text)
        assert seen.values["reciprocal_rank"] == pytest.approx(rank(own))
        assert seen.values["ndcg"] == pytest.approx(1 / math.log2(1 / rank(own) + 1))
        copies = [text for sort, text in seen.shown["copies"] if sort == "robustness"]
        assert copies
        assert seen.values["robustness"] == pytest.approx(min(rank(own), *(rank(odds(text)) for text in copies)))
        assert seen.values["robustness"] <= seen.values["reciprocal_rank"]
        assert seen.shown["asked"].startswith("\n\n".join([*head, f"Passage: {query.passages[0]}"]))
        assert seen.values["output_tokens"] == pytest.approx((4 + 3) / 2)
        assert "accuracy" not in seen.values
        assert seen.shown["absent"]["accuracy"] == "passages are ranked, none is the one right answer"
    cells = {measure.name for measure in task.measures}
    assert cells - seen.values.keys() - seen.shown["absent"].keys() == set()  # a value or a reason, each
    assert task.measures[0].name == "reciprocal_rank"
    expected = sum(1 / place for place in range(1, 11)) / 10
    assert task.said["chance"] == f"reciprocal rank {expected:.3f} in any order"


def test_a_model_without_opinions_ranks_as_chance():
    task = Helm(scenario="passages", adapter="ranking", items=2, shots=0, robustness=(), fairness=())
    seen = task.score(System(Level(), BYTES, "level"), task.examples("test")[0])
    assert seen.values["reciprocal_rank"] == pytest.approx(sum(1 / place for place in range(1, 11)) / 10)
    assert seen.shown["absent"]["robustness"] == "no perturbation for robustness"


class Level(Uniform):
    max_positions = 4096


def test_queries_and_passages_of_files(tmp_path):
    rows = [
        {"query": f"q{n}", "passages": [{"text": f"p{n}{m}", "relevance": int(m == n % 3) * 2} for m in range(3)]}
        for n in range(6)
    ]
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = Helm(str(path), "passages", adapter="ranking", items=4, robustness=(), fairness=())
    assert [one.text for one in task.queries("test")] == ["q0", "q1", "q2", "q3"]
    assert [one.text for one in task.queries("validation")] == ["q4", "q5"]
    assert task.queries("test")[1].grades == (0, 2, 0)
    assert [example.text for example in task.examples("test")] == ["q0", "q1", "q2", "q3"]
