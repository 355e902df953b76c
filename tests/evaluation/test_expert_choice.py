import json
from functools import cache

import pytest
import torch

from tests.compare.fakes import system
from trivium.compare.comparison import Comparison
from trivium.core.meter import Meter
from trivium.core.seeds import generator
from trivium.evaluation.expert_choice import ExpertChoice
from trivium.routing.best_single import BestSingle
from trivium.routing.random_expert import RandomExpert
from trivium.routing.tryage import Tryage

WORDS = {
    "words": "the cat sat on a mat and then it ate all of the soup with some",
    "digits": "0 1 1 2 3 5 8 13 21 34 55 89 144 233 377 610",
}


@cache
def uniform():
    return system()


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A task of two sorts of text, with counted bytes of each."""
    folder, draws, sources = tmp_path_factory.mktemp("texts"), generator(0), []
    for name, line in WORDS.items():
        words = line.split()
        rows = [[words[at] for at in torch.randint(16, (30,), generator=draws).tolist()] for _ in range(800)]
        sources.append(str(folder / f"{name}.jsonl"))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": " ".join(row)}) + "\n" for row in rows))

    def made(**settings):
        experts = tuple(f"ngrams:{source}" for source in sources)
        return ExpertChoice(
            **{"sources": tuple(sources), "experts": experts, "items": 6, "lessons": 10, "length": 40} | settings
        )

    return made


class Chosen:
    def __init__(self, expert):
        self.expert = expert

    def __call__(self, prompts):
        return torch.tensor([self.expert] * len(prompts))


def test_values_are_those_of_the_losses(task):
    one = task()
    losses = one.library(uniform()).losses([example.text for example in one.examples("test")])
    for expert in range(3):
        for example, mine in zip(one.examples("test"), losses, strict=True):
            seen = one.score(uniform(), example, Chosen(expert)).values
            assert seen["loss"] == pytest.approx(float(mine[expert]))
            assert seen["regret"] == pytest.approx(float(mine[expert] - mine.min()))
            assert seen["right"] == float(mine.argmin() == expert)
    assert seen["cost"] == one.library(uniform()).experts.costs["size"][2]
    assert (losses.argmin(1) == torch.tensor([1] * 6 + [2] * 6)).all()  # each corpus's own counts
    assert task(cost="size", length=20, batch_size=3).examples("test")[0].text in one.examples("test")[0].text


def test_what_is_taught_is_asked_nowhere(task):
    one = task()
    prompts, losses, experts = one.taught(uniform())
    assert losses.shape == (20, 3)
    assert experts.names == ("uniform", *task().experts)
    asked = [example.text for split in ("validation", "test") for example in one.examples(split)]
    assert len(asked) == 24
    assert not set(prompts) & set(asked)
    with pytest.raises(ValueError, match="the splits are"):
        one.examples("lessons")


def test_observing_is_charged_to_no_router(task):
    with Meter() as meter:
        task().taught(uniform())
    assert meter.spent.calls == 0


def test_a_comparison_of_routers(task, tmp_path):
    Comparison(vary="routing", contenders=[Tryage(), RandomExpert()], system=uniform(), task=task(), seeds=1).run(
        tmp_path / "run"
    )
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert {record["contender"] for record in records} == {"tryage", "random_expert", "best_single"}
    assert not any(record["error"] for record in records)
    assert {record["spent"]["calls"] for record in records} == {0}
    with pytest.raises(ValueError, match="needs a task with a library of models"):
        Comparison(vary="routing", contenders=[Tryage()], system=uniform(), task="multiple_choice", seeds=1).run(
            tmp_path / "other"
        )


def test_tryage_is_right_more_often_than_one_for_all(task):
    one = task()
    right = {}
    for name, method in (("tryage", Tryage()), ("single", BestSingle())):
        router = method.fit(*one.taught(uniform()), generator=generator(0))
        right[name] = sum(one.score(uniform(), e, router).values["right"] for e in one.examples("test"))
    assert right["tryage"] > right["single"]


def test_bad_settings(task):
    for changed, said in (
        ({"experts": ()}, "experts must be different models"),
        ({"sources": ("a", "a")}, "sources must be different"),
        ({"items": 0}, "items must be at least 1"),
        ({"lessons": 1}, "lessons must be at least 2"),
        ({"length": 3}, "length must be at least 16"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            task(**changed)
    named = system(name=task().experts[0])
    with pytest.raises(ValueError, match="is the model of the comparison and an expert too"):
        task().taught(named)
