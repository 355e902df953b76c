import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compare.fakes import Writes, system
from trivium.compare import contender
from trivium.core.nouns import Example, Generation, Trace
from trivium.evaluation.continuation import Continuation, repetition, spans
from trivium.tokenization.byte import ByteTokenizer

EXAMPLE = Example("one", "hello", fields={"kind": "chat"})

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Of the machine, which may be busy."""


def generation(ids: list[int], logprobs: list[float], trace: Trace = Trace(), accepted=None) -> Generation:
    marks = None if accepted is None else torch.tensor([accepted])
    return Generation(torch.tensor([ids]), torch.tensor([logprobs]), torch.tensor([len(ids)]), trace, marks)


def test_repetition_by_hand():
    assert repetition([1, 2, 3, 4, 5], 4) == 0.0
    assert repetition([1, 1, 1, 1, 1, 1], 4) == pytest.approx(1 - 1 / 3)
    assert repetition([1, 2, 1, 2, 1, 2], 2) == pytest.approx(1 - 2 / 5)
    assert repetition([1, 2, 3], 4) is None


@patient
@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 5))
def test_repetition_equals_the_slow_loop(ids, n):
    seen, again, count = [], 0, 0
    for at in range(len(ids) - n + 1):
        gram = ids[at : at + n]
        again += gram in seen
        seen.append(gram)
        count += 1
    assert repetition(ids, n) == (pytest.approx(again / count) if count else None)


def test_values_are_what_the_decoder_reports():
    trace = Trace([{"committed": 4, "rows": 1, "accepted": 3, "verified": 6}, {"committed": 2, "rows": 1}])
    ids = [65, 66, 65, 66, 65, 66]
    seen = Continuation().score(system(), EXAMPLE, generation(ids, [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], trace))
    assert seen.values == {
        "repetition": pytest.approx(1 / 3),
        "tokens_per_pass": 3.0,
        "logprob": -3.5,
        "distinct_2": pytest.approx(2 / 5),
        "acceptance": 0.5,
    }
    assert seen.shown == {"text": "ABABAB", "spans": [{"text": "ABABAB", "kind": "plain"}]}


def test_columns_after_the_end_of_a_row_do_not_count():
    made = Generation(torch.tensor([[65, 66, 0, 0]]), torch.tensor([[-1.0, -3.0, 0.0, 0.0]]), torch.tensor([2]))
    seen = Continuation().score(system(), EXAMPLE, made)
    assert seen.values["logprob"] == -2.0
    assert seen.shown["text"] == "AB"
    assert "repetition" not in seen.values  # two tokens have no 4-gram


def test_nothing_generated_is_an_error():
    with pytest.raises(ValueError, match="nothing was generated for 'one'"):
        Continuation().score(system(), EXAMPLE, generation([], []))


def test_accepted_drafts_are_marked():
    seen = Continuation().score(system(), EXAMPLE, generation(list(b"abcdef"), [0.0] * 6, accepted=[0, 1, 1, 0, 0, 1]))
    assert [(s["text"], s["kind"]) for s in seen.shown["spans"]] == [
        ("a", "plain"),
        ("bc", "accepted"),
        ("de", "plain"),
        ("f", "accepted"),
    ]


@patient
@given(st.text(max_size=12), st.data())
def test_spans_are_the_text_in_pieces(text, data):
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(text)  # characters of several bytes are cut anywhere
    accepted = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    pieces = spans(tokenizer, ids, accepted)
    assert "".join(piece["text"] for piece in pieces) == text
    assert all(a["kind"] != b["kind"] for a, b in itertools.pairwise(pieces))
    assert all(piece["text"] for piece in pieces)


def test_prompts_given_or_built_in():
    given_ = Continuation([EXAMPLE], validation=[Example("two", "x")])
    assert [e.id for e in given_.examples("test")] == ["one"]
    assert [e.id for e in given_.examples("validation")] == ["two"]
    built_in = Continuation()
    assert {e.fields["kind"] for e in built_in.examples("test")} == {"copy", "chat", "code"}
    assert len(built_in.examples("test")) >= 12
    assert not {e.text for e in built_in.examples("test")} & {e.text for e in built_in.examples("validation")}
    with pytest.raises(ValueError, match="got 'train'"):
        built_in.examples("train")


def test_only_chat_prompts_are_put_in_the_template():
    class Templated:
        def chat(self, text):
            return f"<user>{text}"

    assert Continuation().prompt(Templated(), EXAMPLE) == "hello"
    assert Continuation().prompt(Templated(), Example("one", "hello", fields={"chat": True})) == "<user>hello"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"limit": 0}, ValueError, "at least 1 new token, got 0"),
        ({"prompts": ["hello"]}, TypeError, r"Example\(id, text\), got str"),
        ({"prompts": [Example("a", "")]}, ValueError, "'a' is empty"),
    ],
)
def test_bad_settings_are_refused(fields, error, message):
    with pytest.raises(error, match=message):
        Continuation(**fields)


def test_prompts_survive_being_written_as_text():
    task = Continuation((EXAMPLE, Example("two", "a 'quoted' \"text\"\n")), limit=5)
    assert contender.build("evaluation", contender.describe(task)) == task


def test_stop_early_is_the_off_switch_of_equal_lengths():
    from trivium.compare.holes import decode
    from trivium.core.budget import Budget

    class Ends(Writes):
        def __call__(self, model, prompt, *, limit, generator, mask=None, stop=None):
            seen.append(tuple(stop.tokens))
            return super().__call__(model, prompt, limit=limit, generator=generator)

    seen: list[tuple[int, ...]] = []
    for stop_early in (False, True):
        task = Continuation(stop_early=stop_early)
        decode(Ends(), system(), task, EXAMPLE, Budget("new_tokens", 2), torch.Generator())
    assert seen == [(), (257,)]
