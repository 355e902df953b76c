"""Contrast prompts: pairs of as many tokens, places that are what they are called, answers that are right."""

import re

import pytest
import torch

from trivium.data import circuits
from trivium.data.circuits import TASKS, docstring, greater_than, ioi
from trivium.tokenization.byte import ByteTokenizer

every_task = pytest.mark.parametrize("task", TASKS)


class Pieces:
    """A tokenizer with a token per piece of a pattern, spaces joined to what follows."""

    bos = eos = pad = None

    def __init__(self, pattern=r" ?[A-Za-z]+| ?\d{2}|\d| ?[^A-Za-z\d ]+| "):
        self.pattern, self.table = re.compile(pattern), {}
        self.vocab_size = 10_000

    def encode(self, text):
        return [self.table.setdefault(piece, len(self.table)) for piece in self.pattern.findall(text)]

    def decode(self, ids):
        return "".join(list(self.table)[id] for id in ids)

    def bytes_of(self, id):
        return list(self.table)[id].encode()


DIGITS = r" ?[A-Za-z]+| |\d|[^A-Za-z\d ]+"


def drawn(task, count=40, seed=0, tokenizer=None, **more):
    return TASKS[task](tokenizer or Pieces(), count, torch.Generator().manual_seed(seed), **more)


@every_task
@pytest.mark.parametrize("pattern", [None, DIGITS])
def test_pairs_have_as_many_tokens_and_differ(task, pattern):
    tokenizer = Pieces() if pattern is None else Pieces(pattern)
    pairs = drawn(task, tokenizer=tokenizer)
    assert len({pair.text for pair in pairs}) == 40
    for pair in pairs:
        assert len(tokenizer.encode(pair.text)) == len(tokenizer.encode(pair.negative))
        assert pair.text != pair.negative
        assert not set(pair.answers) & set(pair.wrong)
        assert pair.answers
        assert pair.wrong
        assert pair.answer == pair.answers[0]


@every_task
def test_prompts_of_a_template_have_as_many_tokens(task):
    tokenizer = Pieces()
    sizes = {}
    for pair in drawn(task, 60, tokenizer=tokenizer):
        template = pair.group.split()[0] if task == "ioi" else ""
        sizes.setdefault(template, set()).add(len(tokenizer.encode(pair.text)))
    assert all(len(found) == 1 for found in sizes.values())


@every_task
def test_the_same_seed_gives_the_same_pairs(task):
    assert drawn(task, seed=3) == drawn(task, seed=3)
    assert drawn(task, seed=3) != drawn(task, seed=4)


def test_of_indirect_objects_the_places_and_the_answer():
    pairs = drawn("ioi")
    for pair in pairs:
        said = {name: pair.text[start:stop] for name, (start, stop) in pair.spans.items()}
        unsaid = {name: pair.negative[start:stop] for name, (start, stop) in pair.negative_spans.items()}
        assert said["again"] == said["subject"] == pair.wrong[0].strip()
        assert pair.answers == (f" {said['indirect']}",)
        assert pair.text.count(said["subject"]) == 2
        assert pair.text.count(said["indirect"]) == 1
        assert pair.spans["subject"][1] < pair.spans["again"][0]
        assert unsaid["again"] not in (said["subject"], said["indirect"])
        assert (unsaid["subject"], unsaid["indirect"]) == (said["subject"], said["indirect"])
        assert pair.text[pair.spans["end"][0] :] == said["end"] == unsaid["end"] == "to"
    first = [pair.spans["indirect"] < pair.spans["subject"] for pair in pairs]
    assert sum(first) == 20
    assert all(one == pair.group.endswith("ABB") for one, pair in zip(first, pairs, strict=True))


@pytest.mark.parametrize("pattern", [None, DIGITS])
def test_later_years_are_later_and_earlier_ones_are_not(pattern):
    for pair in drawn("greater_than", tokenizer=Pieces() if pattern is None else Pieces(pattern)):
        start = pair.text[slice(*pair.spans["start"])]
        size = 2 if pattern is None else 1
        assert {len(year) for year in (*pair.answers, *pair.wrong)} == {size}
        assert min(pair.answers) > start[:size] > max(pair.wrong)
        assert len(pair.answers) + len(pair.wrong) == 10**size - 1
        assert pair.negative[slice(*pair.negative_spans["start"])] == "01"
        end = pair.text[slice(*pair.spans["end"])]
        assert pair.text.endswith(f"year {end}")
        assert f"year {end}{start}" in pair.text


def test_the_next_argument_is_the_third_and_the_negative_names_none_of_them():
    for pair in drawn("docstring"):
        said = {name: pair.text[start:stop] for name, (start, stop) in pair.spans.items()}
        defined = re.search(r"\(self, (\w+), (\w+), (\w+), (\w+)\)", pair.text).groups()
        described = re.findall(r":param (\w+):", pair.text)
        assert list(defined[:2]) == described == re.findall(r":param (\w+):", pair.negative)
        assert pair.answer == f" {defined[2]}" == f" {said['argument']}"
        assert said["previous"] == said["described"] == defined[1]
        assert pair.spans["previous"][1] < pair.spans["argument"][0] < pair.spans["described"][0]
        assert {word.strip() for word in pair.wrong} == {defined[0], defined[1], defined[3]}
        others = re.search(r"\(self, (\w+), (\w+), (\w+), (\w+)\)", pair.negative).groups()
        assert len({*defined, *others}) == 8
        assert pair.text[pair.spans["end"][0] :] == "param"


def test_names_of_more_tokens_serve_a_tokenizer_of_bytes():
    tokenizer = ByteTokenizer()
    pairs = drawn("ioi", 10, tokenizer=tokenizer, tokens=5)
    assert all(len(pair.answer) == 5 for pair in pairs)
    assert all(len(tokenizer.encode(pair.text)) == len(tokenizer.encode(pair.negative)) for pair in pairs)
    with pytest.raises(ValueError, match=r"spells 0 with 1 tokens, and 3 are needed; .*set tokens=\d"):
        drawn("ioi", 10, tokenizer=tokenizer)


def test_years_that_a_tokenizer_joins_are_refused():
    with pytest.raises(ValueError, match="parts '1732' after '17'"):
        drawn("greater_than", tokenizer=Pieces(r" ?[A-Za-z]+| ?\d+|[^A-Za-z\d ]+"))


def test_a_year_that_is_one_token_is_not_drawn():
    tokenizer = Pieces(r" 1[12345678]8\d| ?[A-Za-z]+| ?\d{2}|\d|[^A-Za-z\d ]+")
    pairs = drawn("greater_than", 100, tokenizer=tokenizer)
    assert not any(pair.text[slice(*pair.spans["start"])][0] == "8" and " 19" not in pair.text for pair in pairs)


@every_task
def test_bad_counts_are_named(task):
    with pytest.raises(ValueError, match="at least one pair to draw, got 0"):
        drawn(task, 0)
    with pytest.raises(ValueError, match="at least one token, got tokens=0"):
        drawn(task, 1, tokens=0)


def test_more_pairs_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(circuits, "EVENTS", ("war",))
    monkeypatch.setattr(circuits, "CENTURIES", ("17",))
    assert len(greater_than(Pieces(), 60, torch.Generator())) == 60
    with pytest.raises(ValueError, match="no more than"):
        greater_than(Pieces(), 81, torch.Generator())


def test_every_word_of_a_list_is_there_once():
    for words in (circuits.NAMES, circuits.ARGUMENTS, circuits.EVENTS, circuits.PLAIN, circuits.FUNCTIONS):
        assert len(set(words)) == len(words)
    assert {ioi, greater_than, docstring} == set(TASKS.values())
