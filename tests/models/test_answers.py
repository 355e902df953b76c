"""Answers on disk: made once, kept through a kill, never of another model or format."""

import json

import pytest

from tests.models.test_scoring import REQUESTS, native
from trivium.core.errors import RunBusy
from trivium.core.meter import Meter
from trivium.core.progress import Bar
from trivium.models.answers import AnswerCache, keeping
from trivium.models.scoring import Request, score
from trivium.models.system import System
from trivium.models.writing import Prompt, write
from trivium.tokenization.byte import ByteTokenizer


def kept(system):
    return System(system.model, system.tokenizer, system.name, fingerprint="0123456789abcdef0123")


def test_what_was_answered_is_not_asked_again(tmp_path):
    system, prompts = kept(native()), [Prompt("ab", limit=3)]
    cache = AnswerCache(tmp_path, system)
    first, texts = score(system, REQUESTS, cache=cache), write(system, prompts, cache=cache)
    cache.close()
    again = AnswerCache(tmp_path, system)
    assert len(again) == 7 + 1
    with Meter() as meter:
        assert score(system, REQUESTS, cache=again) == first
        assert write(system, prompts, cache=again) == texts
    assert meter.spent.calls == 0
    again.close()


def test_a_killed_run_goes_on(tmp_path):
    system = kept(native())
    cache = AnswerCache(tmp_path, system)
    expected = score(system, REQUESTS, cache=cache)
    cache.close()
    data = cache.path.read_bytes()
    cache.path.write_bytes(data[: len(data) - 20])
    again = AnswerCache(tmp_path, system)
    assert len(again) == 6
    assert [one.logprobs for one in score(system, REQUESTS, cache=again)] == [
        pytest.approx(one.logprobs, abs=1e-9) for one in expected
    ]
    again.close()
    whole = AnswerCache(tmp_path, system)
    assert len(whole) == 7
    whole.close()


def test_killed_within_the_first_line(tmp_path):
    system = kept(native())
    cache = AnswerCache(tmp_path, system)
    cache.close()
    cache.path.write_bytes(cache.path.read_bytes()[:9])
    again = AnswerCache(tmp_path, system)
    score(system, REQUESTS, cache=again)
    again.close()
    whole = AnswerCache(tmp_path, system)
    assert len(whole) == 7
    whole.close()


def test_a_line_that_says_nothing_costs_only_its_own_answer(tmp_path, caplog):
    system = kept(native())
    cache = AnswerCache(tmp_path, system)
    score(system, REQUESTS, cache=cache)
    cache.close()
    lines = cache.path.read_bytes().splitlines(keepends=True)
    lines[3] = b"\xff not JSON\n"
    lines[4] = b'["a list"]\n'
    cache.path.write_bytes(b"".join(lines))
    again = AnswerCache(tmp_path, system)
    assert len(again) == 5
    assert "2 lines that say nothing" in caplog.text
    again.close()


def test_answers_are_one_model_s_in_one_format(tmp_path):
    with pytest.raises(ValueError, match="native was made in memory"):
        AnswerCache(tmp_path, native())
    one = AnswerCache(tmp_path, kept(native()))
    other = AnswerCache(tmp_path, kept(System(native().model.float(), ByteTokenizer(), "native")))
    assert one.path != other.path
    with pytest.raises(RunBusy, match="is in use; wait for the run that holds it"):
        AnswerCache(tmp_path, kept(native()))
    one.close()
    head, rest = one.path.read_bytes().split(b"\n", 1)
    one.path.write_bytes(json.dumps(json.loads(head) | {"format": 0}).encode() + b"\n" + rest)
    before = one.path.read_bytes()
    with pytest.raises(ValueError, match="is of another format or model: it begins with"):
        AnswerCache(tmp_path, kept(native()))
    assert one.path.read_bytes() == before
    other.close()


def test_text_that_is_no_unicode_can_be_kept(tmp_path):
    system = kept(native())
    cache = AnswerCache(tmp_path, system)
    cache.put({"text": "\ud83d"}, "write", "\udfff")
    cache.close()
    again = AnswerCache(tmp_path, system)
    assert again.get("write", "\udfff") == {"text": "\ud83d"}
    assert again.get("write", "other") is None
    again.close()


def test_numbers_come_back_to_the_bit(tmp_path):
    system = kept(native())
    cache = AnswerCache(tmp_path, system)
    (first,) = score(system, [Request("ab", "cd")], cache=cache)
    cache.close()
    again = AnswerCache(tmp_path, system)
    assert score(system, [Request("ab", "cd")], cache=again) == [first]
    again.close()


def test_a_run_keeps_answers_for_whatever_asks(tmp_path):
    """Nothing is handed to those who ask; an own cache goes first, and another model's answers are left alone."""
    system, other = kept(native()), System(native(seed=1).model, ByteTokenizer(), "other", fingerprint="f" * 20)
    notes: list[str] = []

    class Told(Bar):
        def note(self, text: str) -> None:
            notes.append(text)

    cache, own = AnswerCache(tmp_path, system), AnswerCache(tmp_path / "own", system)
    with keeping(cache, Told(1)):
        first, texts = score(system, REQUESTS), write(system, [Prompt("ab", limit=3)])
        score(other, REQUESTS)
        score(system, [Request("x", " y")], cache=own)
        with Meter() as meter:
            assert (score(system, REQUESTS), write(system, [Prompt("ab", limit=3)])) == (first, texts)
    assert meter.spent.calls == 0
    assert (len(cache), len(own)) == (8, 1)
    assert notes[:2] == ["native: 6 scores left", "native: 5 scores left"]
    assert "native: 0 texts left" in notes
    score(system, [Request("z", " y")])
    assert len(cache) == 8
    cache.close()
    own.close()
