"""Scores of continuations: the harness's conventions and numbers, in any batch, order and form."""

import gzip
import json
import math
from pathlib import Path

import pytest
import torch

from tests.compare.fakes import Uniform
from tests.families import FAMILIES, wrapped
from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotFinite
from trivium.core.meter import Meter
from trivium.models.scoring import Pair, Request, ScoreCache, encoded, prefix, rolling, score, score_pairs
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

VECTORS = Path(__file__).parents[3] / "shared" / "vectors" / "lm_eval"
BYTES = ByteTokenizer()
REQUESTS = [
    Request("one two three", " four"),
    Request("one two three", " five six"),
    Request("one two three", "!"),
    Request("a", " b"),
    Request("", "begun"),
    Request("", "ended well"),
    Request("a longer context, which has only one continuation", " and that is long as well"),
    Request("one two three", " four"),
]


def native(recipe=None, seed=0):
    recipe = recipe or Llama(width=16, heads=2, context=96)
    model = recipe.build(BYTES.vocab_size, seed=seed).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return System(model.eval(), BYTES, "native")


def slowly(system, pair):
    """One token after another, each in a pass of its own."""
    given, found = list(pair.context), []
    for token in pair.continuation:
        logits = system.model(torch.tensor([given])).logits[0, -1].detach().double()
        found.append(float(logits.log_softmax(-1)[token]))
        given.append(token)
    return found


class Words:
    """Tokens of one to three letters, the longest that fits; 0 begins a text."""

    pieces = ("", "a", "b", "ab", "abc", " ", " a", "c", "\n", " b")
    vocab_size, bos, eos, pad = len(pieces), 0, None, None

    def encode(self, text):
        ids = []
        while text:
            best = max(
                (n for n, piece in enumerate(self.pieces) if piece and text.startswith(piece)),
                key=lambda n: len(self.pieces[n]),
            )
            ids.append(best)
            text = text[len(self.pieces[best]) :]
        return ids

    def decode(self, ids):
        return "".join(self.pieces[id] for id in ids)

    def bytes_of(self, id):
        return self.pieces[id].encode()


def words():
    model = Llama(width=16, heads=2).build(Words.vocab_size)
    return System(model, Words(), "words")


# Conventions --------------------------------------------------------------------------------------------------------


def test_context_and_continuation_are_cut_together():
    """Of "ba" and "b a" the whole is "b", "ab", " a": the continuation begins inside a token."""
    assert encoded(words(), Request("a", " b")) == Pair((1,), (9,), False)
    assert encoded(words(), Request("ba", "b a")) == Pair((2, 1), (6,), True)


def test_a_continuation_that_melts_into_its_context_is_refused():
    with pytest.raises(ValueError, match="the continuation 'b' adds no token to its context"):
        encoded(words(), Request("a", "b"))


def test_spaces_at_the_end_of_a_context_move():
    assert encoded(words(), Request("a ", "b")) == encoded(words(), Request("a", " b"))
    assert encoded(words(), Request("a\n", "c")) == Pair((1,), (8, 7), False)


def test_an_empty_context_is_the_token_that_texts_begin_with():
    assert encoded(words(), Request("", "ab")) == Pair((0,), (3,), False)
    assert encoded(words(), Request(" ", "a")) == Pair((0,), (6,), False)
    assert prefix(native()) == BYTES.bos


def test_bad_requests_are_named():
    with pytest.raises(ValueError, match="a continuation is empty"):
        score(native(), [Request("a", "")])
    with pytest.raises(ValueError, match="a continuation is empty"):
        score(native(), [Request("", "")])
    with pytest.raises(ValueError, match="a continuation of 97 tokens is longer than native takes, 96"):
        score(native(), [Request("a", "x" * 97)])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        score(native(), REQUESTS, batch_size=0)


def test_windows_of_a_long_text():
    """The golden case of the harness, and every token once."""
    system = words()
    text = "abc" * 10
    ids = system.tokenizer.encode(text)
    assert rolling(system, text, 4) == [
        Pair((0,), tuple(ids[:4])),
        Pair((ids[3],), tuple(ids[4:8])),
        Pair(tuple(ids[5:8]), tuple(ids[8:])),
    ]
    assert rolling(system, "ab", 4) == [Pair((0,), (3,))]
    assert rolling(system, "", 4) == []
    with pytest.raises(ValueError, match="a window of 0 tokens does not fit words"):
        rolling(system, text, 0)


# Numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [Llama(width=16, heads=2, context=96), TransNormer(width=16, heads=2)])
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_equals_token_by_token_in_any_batch_and_order(recipe, batch_size):
    system = native(recipe)
    expected = [slowly(system, encoded(system, request)) for request in REQUESTS]
    order = [5, 2, 7, 0, 6, 1, 4, 3]
    shuffled = score(system, [REQUESTS[n] for n in order], batch_size=batch_size)
    for n, found in zip(order, shuffled, strict=True):
        assert list(found.logprobs) == pytest.approx(expected[n], abs=1e-9)
        assert found.total == pytest.approx(sum(expected[n]), abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_wrapped_family(family):
    model = wrapped(family, torch.float64)
    system = System(model, Numbers(model.vocab_size), family)
    pairs = [
        Pair((3, 4, 5, 6), (1, 2)),
        Pair((3, 4, 5, 6), (7,)),
        Pair((2, 9), (1, 8, 3)),
        Pair((3, 4, 5, 6), (1, 3, 3)),
    ]
    close = 1e-5 if family == "mamba" else 1e-8  # whose scan is in float32
    for pair, found in zip(pairs, score_pairs(system, pairs), strict=True):
        assert list(found.logprobs) == pytest.approx(slowly(system, pair), abs=close)


class Numbers:
    bos, eos, pad = 0, None, None

    def __init__(self, vocab_size):
        self.vocab_size = vocab_size

    def decode(self, ids):
        return " ".join(map(str, ids))


def test_it_is_greedy_where_every_token_is_the_likeliest():
    system = native()
    ids = [300 % 256, 65]
    for _ in range(3):
        ids.append(int(system.model(torch.tensor([ids])).logits[0, -1].argmax()))
    worst = int(system.model(torch.tensor([ids])).logits[0, -1].argmin())
    yes, no = score_pairs(system, [Pair(tuple(ids[:2]), tuple(ids[2:])), Pair(tuple(ids[:2]), (*ids[2:], worst))])
    assert yes.greedy
    assert not no.greedy
    assert no.likeliest == (True, True, True, False)


def test_over_all_tokens_it_adds_up_to_one():
    found = score_pairs(native(), [Pair((65, 66), (token,)) for token in range(BYTES.vocab_size)])
    assert sum(math.exp(one.total) for one in found) == pytest.approx(1.0, abs=1e-9)


def test_a_uniform_model_knows_nothing():
    system = System(Uniform(), BYTES, "uniform")
    (found,) = score(system, [Request("ab", "cde")])
    assert found.total == pytest.approx(-3 * torch.tensor(259.0).log().item(), rel=1e-6)


def test_chained_continuations_add_up():
    """Where tokens split there: LL(c, a + b) = LL(c, a) + LL(c + a, b)."""
    whole, first, second = score(native(), [Request("c", "ab"), Request("c", "a"), Request("ca", "b")])
    assert whole.total == pytest.approx(first.total + second.total, abs=1e-9)


def test_a_context_that_does_not_fit_is_cut_on_the_left():
    system = native()
    long = Request("z" * 40 + "y" * 60, "abcde")
    (found,) = score(system, [long])
    pair = encoded(system, long)
    assert list(found.logprobs) == pytest.approx(slowly(system, Pair(pair.context[-92:], pair.continuation)), abs=1e-9)


def test_a_model_that_gives_nan_is_found_out():
    system = native()
    with torch.no_grad():
        system.model.head.weight[:] = float("nan")
    with pytest.raises(NotFinite, match="native gives no finite likelihood to"):
        score(system, REQUESTS)


def test_each_context_is_read_once():
    system = native()
    with Meter() as meter:
        score(system, REQUESTS)
    lengths = {request.context: len(encoded(system, request).context) for request in REQUESTS}
    rows = [
        lengths["one two three"],
        lengths[""],  # contexts with several continuations
        2 + len("a") - 1 + len(" b") - 1,
        lengths[REQUESTS[6].context] + len(REQUESTS[6].continuation) - 1,
    ]
    assert meter.spent.calls == 3  # contexts, what goes on from them, and what stands alone
    assert meter.spent.positions < 3 * sum(rows)


# The cache ----------------------------------------------------------------------------------------------------------


def kept(system):
    return System(system.model, system.tokenizer, system.name, fingerprint="0123456789abcdef0123")


def test_what_was_scored_is_not_scored_again(tmp_path):
    system = kept(native())
    cache = ScoreCache(tmp_path, system)
    first = score(system, REQUESTS, cache=cache)
    cache.close()
    again = ScoreCache(tmp_path, system)
    assert len(again) == 7
    with Meter() as meter:
        assert score(system, REQUESTS, cache=again) == first
    assert meter.spent.calls == 0


def test_a_killed_run_goes_on(tmp_path):
    system = kept(native())
    cache = ScoreCache(tmp_path, system)
    expected = score(system, REQUESTS, cache=cache)
    cache.close()
    data = cache.path.read_bytes()
    cache.path.write_bytes(data[: len(data) - 20])
    again = ScoreCache(tmp_path, system)
    assert len(again) == 6
    assert [one.logprobs for one in score(system, REQUESTS, cache=again)] == [
        pytest.approx(one.logprobs, abs=1e-9) for one in expected
    ]
    again.close()
    assert len(ScoreCache(tmp_path, system)) == 7


def test_the_cache_belongs_to_one_model(tmp_path):
    with pytest.raises(ValueError, match="native was made in memory"):
        ScoreCache(tmp_path, native())
    one = ScoreCache(tmp_path, kept(native()))
    other = ScoreCache(tmp_path, kept(System(native().model.float(), BYTES, "native")))
    assert one.path != other.path


# The harness's own numbers -------------------------------------------------------------------------------------------


def of_harness(name, count):
    path = VECTORS / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for _, line in zip(range(count), file, strict=False)]


SETS = ("arc_easy", "blimp_adjunct_island", "blimp_determiner_noun_agreement_1", "commonsense_qa", "hellaswag")
SETS += ("openbookqa", "piqa", "sciq", "arc_easy_2shot", "arc_easy_chat")


def smol():
    """In the weights that the harness was given: stored in bfloat16, used in float32."""
    system = load("smollm2-135m", dtype="bfloat16")
    system.model.float()
    return system


def agree(system, items):
    """Tokens equal the harness's, and so do likelihoods to 1e-4; 5e-4 behind the lone first token, where the kernel of
    a batch is another."""
    requests = [Request(one["context"], one["continuation"]) for item in items for one in item["requests"]]
    told = [one for item in items for one in item["requests"]]
    numbers = [value for item in items for value in item.get("ll_bs1", item.get("ll_bs8"))]
    greedy = [value for item in items for value in item.get("is_greedy_bs1", item.get("is_greedy_bs8"))]
    for one, value, best, found in zip(told, numbers, greedy, score(system, requests), strict=True):
        assert list(found.ids) == one["continuation_ids"]
        assert found.merged == one["boundary_merge"]
        assert found.total == pytest.approx(value, abs=5e-4 if one["n_context_tokens"] == 1 else 1e-4)
        assert found.greedy == best


def test_a_few_of_the_harness_s_numbers():
    agree(smol(), of_harness("sh_arc_easy", 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_harness_s_numbers_item_by_item(name):
    agree(smol(), of_harness(f"sh_{name}", 50))
