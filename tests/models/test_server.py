"""A model behind a server: its numbers are the local ones, and what a server does wrong is seen through or said."""

import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import torch

from tests.models.made import folder
from tests.models.served import serving
from trivium.core.errors import BadAnswer, NotFinite, NotOffered, UnknownName, Unreachable
from trivium.core.progress import Bar
from trivium.evaluation.multiple_choice import MultipleChoice
from trivium.models.answers import AnswerCache
from trivium.models.embedding import embed
from trivium.models.scoring import Pair, Perplexity, Request, counts, roll, score, score_pairs
from trivium.models.server import UNKNOWN, Server, _spell
from trivium.models.sources import load
from trivium.models.writing import Prompt, write

REQUESTS = [
    Request("the cat", " sat on the mat"),
    Request("the cat ", "sat"),
    Request("the dog sat", " on"),
    Request("the dog sat", " on"),
    Request("naïve", " café, déjà vu"),
    Request("x = 12 +", " 345"),
    Request("", "the cat"),
    Request("the c", "at sat"),  # "cat" lies across the border
    Request("für", " 木 and so on"),
]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    system = load(folder(tmp_path_factory.mktemp("served") / "model"))
    system.model.double()
    with torch.no_grad():  # far from uniform, so that an error shows
        for parameter in system.model.parameters():
            parameter.mul_(3)
    return system


@pytest.fixture
def endpoint(local):
    with serving(local) as found:
        yield found


def client(endpoint, **fields):
    return Server(endpoint.url, "small", **({"prefix": "<s>", "retries": 3, "wait": 0.01} | fields))


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", ["", "<s>"])
def test_scores_are_the_local_ones(local, opening):
    """Whether the server itself puts a token before every text or not."""
    asked = [request for request in REQUESTS if request.context or not opening]
    here = [Request(f"{opening}{request.context}", request.continuation) for request in asked]
    with serving(local, opening) as endpoint:
        found = score(client(endpoint), asked)
    for ours, one in zip(score(local, here), found, strict=True):
        assert (one.merged, one.ids) == (ours.merged, (UNKNOWN,) * len(ours.ids))
        if not one.merged:
            assert one.logprobs == pytest.approx(ours.logprobs, abs=1e-9)
            assert one.greedy == ours.greedy
    assert counts(found)["merged"] == 1


def test_a_merged_request_is_read_as_the_whole_text_is_cut(local, endpoint):
    (found,) = score(client(endpoint), [Request("the c", "at sat")])
    the, cat, sat = local.tokenizer.encode("the cat sat")
    (whole,) = score_pairs(local, [Pair((the, cat), (sat,))])
    assert found.logprobs == pytest.approx(whole.logprobs, abs=1e-9)
    assert found.merged


def test_without_usage_the_last_token_is_left_out(local, endpoint):
    endpoint.faults.append(lambda said: {name: part for name, part in said.items() if name != "usage"})
    (found,) = score(client(endpoint), REQUESTS[:1])
    assert found.logprobs == pytest.approx(score(local, REQUESTS[:1])[0].logprobs, abs=1e-9)


def test_perplexity_is_the_local_one(local, endpoint):
    texts = ["the cat sat on the mat", "naïve café"]
    ours, theirs = Perplexity.of(roll(local, texts)), Perplexity.of(roll(client(endpoint), texts))
    assert theirs.byte == pytest.approx(ours.byte, rel=1e-5)
    assert theirs.word == pytest.approx(ours.word, rel=1e-5)


@pytest.mark.parametrize("chats", [False, True])
def test_texts_are_the_local_ones(local, endpoint, chats):
    prompts = [
        Prompt("the cat", ("t", "e", "\n", "7", "zz", "."), 6),
        Prompt("the dog sat", ("!",), 4),
        Prompt("x", (), 3),
    ]
    for ours, one in zip(write(local, prompts), write(client(endpoint, chats=chats), prompts), strict=True):
        assert (one.text, one.finished) == (ours.text, ours.finished)
        assert one.logprobs == pytest.approx(ours.logprobs, abs=1e-9)
    sent = [asked for _, asked, _ in endpoint.asked]
    assert max(len(asked.get("stop", [])) for asked in sent) == 4  # the interface takes no more
    assert {path for path, _, _ in endpoint.asked} == {"chat/completions" if chats else "completions"}


def test_a_stop_string_that_was_not_sent_ends_a_text_here(local, endpoint):
    (free,) = write(local, [Prompt("the cat", (), 6)])
    stops = ("@1", "@2", "@3", "@4", free.text[2:4])
    (found,) = write(client(endpoint), [Prompt("the cat", stops, 6)])
    assert (found.text, found.finished) == (free.text[: free.text.index(stops[-1])], True)


def test_vectors_are_the_local_ones(local, endpoint):
    texts = ["the cat", "the dog sat", "naïve"]
    torch.testing.assert_close(
        embed(client(endpoint), texts, batch_size=2), embed(local, texts).float(), atol=1e-6, rtol=0
    )
    with pytest.raises(NotOffered, match="pools as it does and shows no layers"):
        embed(client(endpoint), texts, pooling="last")


def test_what_is_drawn_is_drawn_with_the_prompt_s_seed(endpoint):
    write(client(endpoint), [Prompt("the", limit=2, temperature=0.7, seed=3), Prompt("the", limit=2)])
    by_temperature = {asked["temperature"]: asked for _, asked, _ in endpoint.asked}
    assert by_temperature[0.7]["seed"] == 3
    assert "seed" not in by_temperature[0.0]


# Requests -------------------------------------------------------------------------------------------------------------


def test_requests_that_are_alike_are_made_once_and_so_many_at_a_time(endpoint):
    endpoint.slow = 0.05
    requests = [Request("the cat", f" {n}") for n in range(8)]
    bar = Bar(8)
    score(client(endpoint, concurrency=4), requests + requests, bar=bar)
    assert len(endpoint.asked) == 8
    assert bar.done == 8
    assert 1 < endpoint.most <= 4
    endpoint.most = 0
    score(client(endpoint), requests, batch_size=1)
    assert endpoint.most == 1


def test_a_killed_run_goes_on(endpoint, tmp_path):
    requests = [Request("the cat", f" {n}") for n in range(6)]
    expected = score(client(endpoint), requests)
    asked = len(endpoint.asked)
    cache = AnswerCache(tmp_path, client(endpoint))
    endpoint.faults.extend([None, None, None, (400, {}, b"no")])
    with pytest.raises(ValueError, match="refuses what it was asked for"):
        score(client(endpoint, concurrency=1), requests, cache=cache)
    assert len(cache) == 3
    cache.close()
    again = AnswerCache(tmp_path, client(endpoint))
    before = len(endpoint.asked)
    assert score(client(endpoint), requests, cache=again) == expected
    assert len(endpoint.asked) - before == 3
    prompts = [Prompt("the", limit=2)]
    first = write(client(endpoint), prompts, cache=again)
    before = len(endpoint.asked)
    assert write(client(endpoint), prompts, cache=again) == first
    assert len(endpoint.asked) == before > asked
    again.close()


@pytest.mark.parametrize(
    "fault",
    [
        (429, {}, b"busy"),
        (503, {"Retry-After": "soon"}, b""),
        (500, {}, b"<html>oops</html>"),
        b'{"choices": [{"tex',
        b"[]",
        b'{"choices": []}',
        b'{"choices": null}',
        lambda said: {name: part for name, part in said.items() if name != "choices"},
        lambda said: {"choices": [{"text": "x", "logprobs": {"tokens": ["a", "b"], "token_logprobs": [None]}}]},
    ],
)
def test_what_fails_once_is_asked_again(local, endpoint, fault):
    endpoint.faults.append(fault)
    (found,) = score(client(endpoint), REQUESTS[:1])
    assert found.total == pytest.approx(score(local, REQUESTS[:1])[0].total, abs=1e-9)
    assert len(endpoint.asked) == 2


def test_waits_grow_and_end(endpoint):
    endpoint.faults.extend([(500, {}, b"broken")] * 9)
    with pytest.raises(Unreachable, match=r"failed 4 times, the last time with: 500: broken"):
        score(client(endpoint, wait=0.08), REQUESTS[:1])
    assert len(endpoint.asked) == 4
    first, second, third = (b - a for a, b in zip(endpoint.at, endpoint.at[1:], strict=False))
    assert first >= 0.04
    assert second >= 0.08
    assert third >= 0.16


@pytest.mark.parametrize("after", ["0.3", "date"])
def test_a_server_s_own_wish_to_wait_is_kept(endpoint, after):
    said = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if after == "date" else after
    endpoint.faults.append((429, {"Retry-After": said}, b"slower, please"))
    score(client(endpoint), REQUESTS[:1])
    assert endpoint.at[1] - endpoint.at[0] >= (0.3 if after == "0.3" else 0.8)


def test_a_wish_that_is_too_long_ends_the_run(endpoint):
    endpoint.faults.append((429, {"Retry-After": "86400"}, b"come back tomorrow"))
    with pytest.raises(Unreachable, match=r"asks to be left alone for 86400 seconds \(429: come"):
        score(client(endpoint), REQUESTS[:1])


def test_nobody_waits_once_the_run_has_failed(endpoint):
    endpoint.faults.extend([(429, {"Retry-After": "300"}, b"slower"), (400, {}, b"no")])
    started = time.monotonic()
    with pytest.raises(ValueError, match="refuses what it was asked for"):
        score(client(endpoint, concurrency=2), [Request("the cat", f" {n}") for n in range(8)])
    assert time.monotonic() - started < 30


def test_an_answer_that_takes_too_long_is_given_up(endpoint):
    endpoint.faults.append(0.6)
    started = time.monotonic()
    score(client(endpoint, timeout=0.3), REQUESTS[:1])
    assert len(endpoint.asked) == 2
    assert time.monotonic() - started < 5


def test_nobody_there(local):
    with serving(local) as endpoint:
        url = endpoint.url
    with pytest.raises(Unreachable, match="failed 2 times, the last time with: ConnectError"):
        score(Server(url, "small", retries=1, wait=0.01), REQUESTS[:1])


def test_answers_that_stay_malformed_are_no_answers(endpoint):
    endpoint.faults.extend([b'{"choices": []}'] * 4)
    with pytest.raises(BadAnswer, match="failed 4 times, the last time with: there is no choice in it"):
        write(client(endpoint), [Prompt("the")])
    endpoint.faults.extend([b"not JSON"] * 4)
    with pytest.raises(BadAnswer, match="its answer is no JSON"):
        write(client(endpoint), [Prompt("the")])


@pytest.mark.parametrize("name", ["model", "system_fingerprint"])
def test_another_model_within_the_run_ends_it(endpoint, tmp_path, name):
    server = client(endpoint)
    cache = AnswerCache(tmp_path, server)
    score(server, REQUESTS[:2], cache=cache)
    was = "small" if name == "model" else "fp_1"
    endpoint.faults.append(lambda said: said | {name: "other"})
    with pytest.raises(BadAnswer, match=f"its {name} was '{was}' and is 'other'. Answers of the two are no result"):
        score(server, REQUESTS[4:5], cache=cache)
    assert len(endpoint.asked) == 3  # which asking again would not help
    cache.close()
    again = AnswerCache(tmp_path, server)  # nor killing the run and going on
    late = client(endpoint)
    endpoint.faults.append(lambda said: said | {name: "other"})
    with pytest.raises(BadAnswer, match="changed within the run"):
        score(late, [*REQUESTS[:2], REQUESTS[4]], cache=again)
    again.close()


# Keys -----------------------------------------------------------------------------------------------------------------

SECRET = "sk-do-not-tell-0123456789"


def test_the_key_comes_from_the_environment_and_stays_out_of_everything(endpoint, tmp_path, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    endpoint.faults.append((401, {}, b"no key"))
    with pytest.raises(Unreachable, match="environment variable SOME_KEY, which is empty"):
        score(client(endpoint, key="SOME_KEY"), REQUESTS[:1])
    monkeypatch.setenv("SOME_KEY", SECRET)
    server = client(endpoint, key="SOME_KEY")
    cache = AnswerCache(tmp_path, server)
    score(server, REQUESTS[:1], cache=cache)
    assert endpoint.asked[-1][2]["Authorization"] == f"Bearer {SECRET}"
    endpoint.faults.append((403, {}, f"the key {SECRET} is wrong".encode()))
    with pytest.raises(Unreachable, match=r"the key \.\.\. is wrong") as refused:
        score(server, REQUESTS[1:2], cache=cache)
    cache.close()
    told = [repr(server), str(server), server.name, server.source, server.fingerprint, str(refused.value)]
    told += [repr(vars(server)), cache.path.read_text(encoding="utf-8"), cache.path.name]
    assert not any(SECRET in text for text in told)


def test_an_address_with_a_secret_is_refused_without_repeating_it():
    for url in (f"http://user:{SECRET}@host/v1", f"http://host/v1?api_key={SECRET}"):
        with pytest.raises(ValueError, match="a key belongs into the environment variable") as refused:
            Server(url, "small")
        assert SECRET not in str(refused.value)
    with pytest.raises(UnknownName, match="a server has no setting 'api_key'") as unknown:
        Server.at(f"http://host/v1?model=a&api_key={SECRET}")
    assert SECRET not in str(unknown.value)


# What a server does not give ------------------------------------------------------------------------------------------


def without(*names):
    def change(said):
        for name in names:
            said["choices"][0]["logprobs"].pop(name, None)
        return said

    return change


@pytest.mark.parametrize(
    "fault",
    [
        (400, {}, b'{"error": "logprobs are not supported"}'),
        lambda said: said | {"choices": [{"text": "x", "logprobs": None}]},
        lambda said: (
            said
            | {
                "choices": [
                    {"text": "x", "logprobs": {"tokens": [" on"], "token_logprobs": [-1.0], "text_offset": [0]}}
                ]
            }
        ),
    ],
)
def test_no_scores_without_log_probabilities_of_the_prompt(endpoint, fault):
    endpoint.faults.append(fault)
    with pytest.raises(NotOffered, match=r"log-probabilities") as refused:
        score(client(endpoint), REQUESTS[:1])
    assert len(endpoint.asked) == 1
    assert "such as vLLM" in str(refused.value)


def test_texts_may_come_without_log_probabilities(local, endpoint):
    endpoint.faults.append((400, {}, b"unknown field: logprobs"))
    with pytest.raises(NotOffered, match="Texts come without them if the server is given logprobs=False"):
        write(client(endpoint), [Prompt("the cat", limit=3)])
    for chats in (False, True):
        endpoint.faults.append(lambda said: {"choices": [part | {"logprobs": None} for part in said["choices"]]})
        (found,) = write(client(endpoint, logprobs=False, chats=chats), [Prompt("the cat", limit=3)])
        assert (found.text, found.logprobs) == (write(local, [Prompt("the cat", limit=3)])[0].text, ())
        assert "logprobs" not in endpoint.asked[-1][1]


def test_which_token_is_likeliest_may_not_be_told(endpoint):
    endpoint.faults.append(without("top_logprobs"))
    (found,) = score(client(endpoint), REQUESTS[:1])
    assert found.likeliest == ()
    assert found.total < 0
    with pytest.raises(NotOffered, match="did not tell which tokens are the likeliest"):
        _ = found.greedy


@pytest.mark.parametrize(
    "change",
    [
        lambda tokens: ["#" * len(token) for token in tokens],
        lambda tokens: [f"token_id:{at}" for at in range(len(tokens))],
        lambda tokens: ["", "", *tokens[2:]],  # cut on the left
        lambda tokens: [token.upper() for token in tokens],
    ],
)
def test_tokens_that_do_not_spell_the_prompt_are_no_tokens_of_it(endpoint, change):
    def changed(said):
        given = said["choices"][0]["logprobs"]
        given["tokens"] = change(given["tokens"])
        return said

    endpoint.faults.append(changed)
    with pytest.raises(NotOffered, match=r"its tokens, .* do not spell 'the cat sat on the mat'"):
        score(client(endpoint), REQUESTS[:1])


def test_characters_in_pieces_are_laid_to_the_text():
    assert _spell(["a", "\ufffd", "\ufffd", "b"], "aéb")
    assert _spell(["a", "\ufffd\ufffd", "\ufffd"], "aéé")
    assert _spell(["\ufffd"], "\ufffd")
    assert not _spell(["a", "\ufffd", "b"], "ab")
    assert not _spell(["a", "\ufffd", "\ufffd", "b"], "aéééb")
    assert not _spell(["a", "\ufffd"], "aéé")
    assert not _spell(["a"], "ab")
    assert not _spell(["a", "b"], "a")


def test_a_border_that_cannot_be_seen_is_found_by_counting(local, endpoint):
    """Pieces of characters in the context do not matter; in the continuation the context is asked for by itself."""
    for request, asked in ((Request("木木 the cat", " sat"), 1), (Request("the cat", " 木"), 2)):
        before = len(endpoint.asked)
        (found,), (ours,) = score(client(endpoint), [request]), score(local, [request])
        assert found.logprobs == pytest.approx(ours.logprobs, abs=1e-9)
        assert not found.merged
        assert len(endpoint.asked) - before == asked


def test_an_empty_context_needs_a_prefix(endpoint):
    with pytest.raises(NotOffered, match="was not told what stands for an empty context"):
        score(client(endpoint, prefix=""), [Request("", "the cat")])
    with pytest.raises(NotOffered, match="give the server a prefix"):
        write(client(endpoint, prefix=""), [Prompt("")])
    with pytest.raises(ValueError, match="a continuation is empty"):
        score(client(endpoint), [Request("a", "")])


def test_numbers_that_are_none(endpoint):
    def nan(said):
        said["choices"][0]["logprobs"]["token_logprobs"][-2] = math.nan
        return said

    endpoint.faults.append(nan)
    with pytest.raises(NotFinite, match="gives no finite likelihood to ' sat on the mat'"):
        score(client(endpoint), REQUESTS[:1])
    endpoint.faults.append(lambda said: said | {"data": [{"index": 0, "embedding": [math.nan, 1.0]}]})
    with pytest.raises(NotFinite, match="gives a vector that is not finite"):
        embed(client(endpoint), ["a"])


def test_an_endpoint_that_is_not_there(endpoint):
    endpoint.faults.append((404, {}, b"no such path"))
    with pytest.raises(NotOffered, match=r"has no embeddings, or not this model \(404: no such path"):
        embed(client(endpoint), ["a"])
    endpoint.faults.append((307, {"Location": "http://elsewhere/v1"}, b""))
    with pytest.raises(Unreachable, match="has moved to http://elsewhere/v1; give that address"):
        write(client(endpoint), [Prompt("a")])


def test_what_only_a_system_has_is_refused_by_name(endpoint):
    server = client(endpoint)
    for name in ("model", "tokenizer", "plan"):
        with pytest.raises(NotOffered, match=f"gives scores, texts and vectors but not its '{name}'"):
            getattr(server, name)
        assert not hasattr(server, name)
    with pytest.raises(AttributeError):
        _ = server.nonsense
    assert server.serial < 0
    assert server.serial != client(endpoint).serial


def test_an_evaluation_method_runs_on_a_server_as_on_the_model(local, endpoint):
    task = MultipleChoice(batch_size=4)
    examples = task.examples("validation")[:2]
    server = client(endpoint)
    for example in examples:
        ours, theirs = task.score(local, example), task.score(server, example)
        assert theirs.values == pytest.approx(ours.values, abs=1e-6)


# One line -------------------------------------------------------------------------------------------------------------


def test_load_takes_a_server_in_one_line(endpoint):
    found = load(f"server:{endpoint.url}?model=small&prefix=%3Cs%3E&chats=true&concurrency=2&timeout=9.5&key=SOME_KEY")
    assert found == Server(endpoint.url, "small", chats=True, prefix="<s>", key="SOME_KEY", concurrency=2, timeout=9.5)
    assert load(found.source) == found
    assert load(f"server:{endpoint.url}").serves == "small"
    endpoint.names = ["a", "b"]
    with pytest.raises(UnknownName, match=r"has the models a, b; add \?model=NAME"):
        load(f"server:{endpoint.url}")
    with pytest.raises(NotOffered, match="runs as it was started; leave dtype, compile and device out"):
        load(f"server:{endpoint.url}?model=small", dtype="bfloat16")
    with pytest.raises(ValueError, match="chats and logprobs are true or false, got 'yes'"):
        load(f"server:{endpoint.url}?model=small&chats=yes")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "localhost:8000"}, "is no address"),
        ({"serves": ""}, "say which model"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"timeout": 0.0}, "timeout must be positive"),
    ],
)
def test_bad_settings_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Server(**({"url": "http://host/v1", "serves": "small"} | fields))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        score(Server("http://host/v1", "small"), REQUESTS[:1], batch_size=0)
