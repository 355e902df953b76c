"""`--device` reaches the model that is loaded, in every command that offers it."""

import pytest

from trivium import cli

COMMANDS = {
    "generate": ["generate", "hello"],
    "certify": ["certify", "speculative"],
    "attribute": ["attribute", "hello"],
    "compare": ["compare", "decoding", "--contenders", "greedy", "--folder", "run"],
    "demo": ["demo", "--folder", "run"],
    "draft train": ["draft", "train", "medusa", "--folder", "heads"],
    "draft make": ["draft", "make", "--folder", "draft"],
    "grow depth": ["grow", "depth", "--folder", "deeper"],
    "grow context": ["grow", "context", "--context", "4096", "--folder", "longer"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_gpu_that_is_not_here_is_named_before_any_work(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused([*command, "--model", "tiny"], tmp_path, capsys)


def test_training_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    refused(["train", "--steps", "1", "--folder", "run"], tmp_path, capsys)


def refused(command, tmp_path, capsys):
    assert cli.run([*command, "--device", "cuda:99"]) == cli.BAD_INPUT
    assert "cuda:99 is not here" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.json*"))
