"""`trivium route`: which model takes which prompt, by what the texts of each sort have taught."""

import json

import pytest
import torch

from tests.compare.fakes import system
from trivium import cli
from trivium.cli import route
from trivium.core.seeds import generator
from trivium.models.library import Library
from trivium.models.ngrams import byte_ngrams


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Options for two sorts of text, and a library that was counted on them."""
    sorts, sources, systems = {"letters": "abcd", "digits": "01234567"}, [], [system()]
    draws = generator(0)
    for name, signs in sorts.items():
        drawn = torch.randint(len(signs), (400, 20), generator=draws).tolist()
        rows = [" ".join(signs[at] * 3 for at in row) for row in drawn]
        sources.append(str(tmp_path / f"{name}.jsonl"))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
        systems.append(byte_ngrams(rows, name))
    monkeypatch.setattr(route, "library", lambda names, dtype, device: Library(tuple(systems)))
    return ["--sources", *sources, "--lessons", "5", "--length", "30"]


def test_prompts_go_to_the_model_of_their_sort(words, capsys):
    asked = ["route", "aaa ccc bbb", "000 111 222", "000 111 222 [Flag: size 100]", "--json"]
    assert cli.run([*asked, *words]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    chosen = [one["expert"] for one in found["routed"]]
    assert chosen == ["letters", "digits", "letters"]  # of fewer counts than either of the others
    assert found["held_out"]["right"] == 1.0
    assert found["held_out"]["regret"] == 0.0 < found["held_out"]["regret_of_the_best_single"]
    costs = [one["cost"] for one in found["front"]]
    assert costs == sorted(costs, reverse=True)


def test_it_prints_and_refuses(words, capsys):
    assert cli.run(["route", "aaa ccc", "--router", "best_single", *words]) == cli.OK
    assert "takes" in capsys.readouterr().out
    assert cli.run(["route", "aaa ccc", *words]) == cli.OK
    assert "what a weight on size buys" in capsys.readouterr().out.replace("\n", " ")
    assert cli.run(["route", "x [Flag: best]", *words]) == cli.BAD_INPUT
    assert "cannot be read" in capsys.readouterr().err
    assert cli.run(["route", *words]) == cli.BAD_INPUT
    assert "give at least one prompt" in capsys.readouterr().err
