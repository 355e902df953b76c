"""Any drafter with any verifier that suits it, whatever its name: the file of a drafter appears, and this runs on it.

What comes out is plain decoding's text, token for token, in ragged batches and with all that a text may be subject to;
or the pair is refused, with the reason, before any work.
"""

import copy
import math
import time
from dataclasses import fields, replace
from functools import cache
from typing import Any

import pytest
import torch

from tests.decoding.models import noisy, tiny
from tests.drafting.trained import made_random
from tests.families import CONTEXT, FAMILIES, VOCAB, wrapped
from trivium.core.capabilities import lacking
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.meter import Meter
from trivium.core.method import card_of, find, names
from trivium.core.nouns import Stop
from trivium.core.protocols import LMOutput
from trivium.core.streaming import listening
from trivium.decoding._verify import VERIFIERS
from trivium.decoding.grammar import Grammar
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._trained import Trained

NAMES = names("drafting")
PROMPT = torch.tensor(
    [
        [1, 5, 6, 7, 5, 6, 7, 5, 6],
        [0, 0, 0, 3, 4, 5, 3, 4, 9],
        [0, 0, 8, 8, 8, 8, 8, 8, 8],
        [0, 0, 0, 0, 0, 0, 0, 0, 7],
    ]
)
MASK = torch.tensor([[False] * short + [True] * (9 - short) for short in (0, 3, 2, 8)])
ROWS = range(len(PROMPT))


def drafter(name: str, family: str = "llama") -> Any:
    """With its defaults; one that runs a draft model gets one that is wrong now and then."""
    made = find("drafting", name)()
    return replace(made, model=noisy(family)) if "model" in {field.name for field in fields(made)} else made


def run(decoder, model=None, *, prompt=PROMPT, mask=MASK, limit=14, seed=1, **words):
    model = tiny() if model is None else model
    return decoder(model, prompt, mask=mask, limit=limit, generator=torch.Generator().manual_seed(seed), **words)


@cache
def greedy() -> Any:
    return run(Greedy())


def brief(every, *these):
    """All cases, of which the others than these are slow ones: they show the same once more."""
    return [case if case in these else pytest.param(case, marks=pytest.mark.slow) for case in every]


def same(one, two):
    return torch.equal(one.lengths, two.lengths) and torch.equal(one.ids, two.ids)


# Every pair -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verifier", brief(VERIFIERS, "match", "rejection", "recursive", "typical"))
@pytest.mark.parametrize("name", NAMES)
def test_a_pair_gives_the_greedy_text_or_is_refused_with_the_reason(name, verifier):
    draft = drafter(name)
    if draft.draws not in VERIFIERS[verifier].draws:
        with pytest.raises(ValueError, match=rf"biased for {draft.draws.replace('_', ' ')} drafts: .*; use verifier"):
            Speculative(draft, verifier=verifier)
        return
    made, plain = run(Speculative(draft, verifier=verifier)), greedy()
    assert same(made, plain)
    torch.testing.assert_close(made.logprobs, plain.logprobs, atol=1e-9, rtol=0)
    assert made.trace.total("accepted") == int(made.accepted.sum())


@pytest.mark.parametrize("family", brief(FAMILIES, "gpt2", "gemma", "mamba"))
@pytest.mark.parametrize("name", NAMES)
def test_a_model_of_any_kind_is_decoded_or_refused_before_any_pass(name, family):
    """Attention windows and learned positions among them; a recurrent state cannot take a token back."""
    fast, model = Speculative(drafter(name, family)), tiny(family)
    needs = {*card_of(fast).needs, *card_of(fast.drafter).needs}
    if getattr(fast.drafter, "branches", False):
        needs |= {"tree", "gather"}
    if missing := lacking(model, needs):
        with Meter() as meter, pytest.raises(NotOffered, match="|".join(missing)):
            run(fast, model)
        assert meter.spent.calls == 0
    else:
        assert same(run(fast, model, limit=8), run(Greedy(), model, limit=8))


# What a text is subject to --------------------------------------------------------------------------------------------


class Letters:
    """Token 0 is silent, 1 begins a text, 2 ends it, and from 3 on each is a letter."""

    vocab_size, bos, eos, pad = VOCAB, 1, 2, None

    def bytes_of(self, id):
        return bytes([62 + id]) if id > 2 else b""

    def encode(self, text):
        return [byte - 62 for byte in text.encode()]

    def decode(self, ids):
        return b"".join(map(self.bytes_of, ids)).decode()


LETTERS = "".join(chr(62 + token) for token in (5, 6, 7, 8, 9))
PLAINS = {
    "greedy, penalised": Sampling(0.0, repetition_penalty=1.5),
    "penalised": Sampling(0.8, repetition_penalty=1.5, top_k=20),
    "counted": Sampling(0.8, frequency_penalty=0.6, presence_penalty=0.3),
    "no repeats": Sampling(0.0, no_repeat_ngram=2),
    "bad words": Sampling(0.0, bad_words=((5, 6), (7,), (8, 8, 8))),
    "late end": Sampling(1.0, min_length=5, top_p=0.9),
    "greedy, grammar": Grammar(f"[{LETTERS}]{{4,}}", tokenizer=Letters()),
    "grammar": Grammar(f"([{LETTERS}]{{2}}A|[{LETTERS}]{{3}})+", of=Sampling(0.9), tokenizer=Letters()),
    "all at once": Sampling(1.2, repetition_penalty=1.2, bad_words=((5, 6),), min_length=4, min_p=0.01),
}


def stops(plain):
    """A few of the likely tokens, so that rows end at different times and a least length matters."""
    free = run(plain)
    return tuple({int(free.ids[row, at]) for row, at in ((0, 2), (1, 6), (2, 9))})


@pytest.mark.parametrize("plain", brief(PLAINS, "bad words", "grammar", "all at once"))
@pytest.mark.parametrize("name", NAMES)
def test_every_step_of_the_pipeline_works_inside_trees(name, plain):
    if "grammar" in plain:
        pytest.importorskip("xgrammar")
    of = PLAINS[plain]
    stop = Stop(tokens=(2,) if "grammar" in plain else stops(of))
    one, two = run(of, stop=stop), run(Speculative(drafter(name), of=of), stop=stop)
    assert same(one, two)
    if plain == "late end":
        assert int(two.lengths.min()) >= 5


def spell(ids):
    return "".join(f"<{id}>" for id in ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_ends_where_it_would_end_alone(name):
    """At a token within an accepted block, or at a text that begins in one block and ends in the next."""
    plain = greedy()
    ends = [(0, 3), (1, 7), (2, 10)]
    tokens = tuple(int(plain.ids[row, at]) for row, at in ends)
    texts = tuple(f"{plain.ids[row, at - 1]}><{plain.ids[row, at]}" for row, at in ends)
    for stop in (Stop(tokens=tokens), Stop(texts=texts, decode=spell)):
        wanted = run(Greedy(), stop=stop)
        assert same(run(Speculative(drafter(name)), stop=stop), wanted)
        assert len(set(wanted.lengths.tolist())) > 2


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_limit_smaller_than_a_block_is_kept(name, limit):
    made = run(Speculative(drafter(name)), limit=limit)
    assert made.lengths.tolist() == [limit] * len(PROMPT)
    assert same(made, run(Greedy(), limit=limit))
    assert limit > 1 or not made.trace.iterations, "the prompt's pass is enough"


@pytest.mark.parametrize("family", brief(["llama", "gpt2"], "gpt2"))
@pytest.mark.parametrize("name", NAMES)
def test_the_last_position_of_the_model_can_be_reached(name, family):
    """A tree is cut to the room that a row has left, though its neighbours have more of it."""
    model = tiny(family)
    prompt = torch.randint(VOCAB, (3, CONTEXT - 6), generator=torch.Generator().manual_seed(1))
    prompt[:, 20:] = prompt[:, :1].expand(-1, CONTEXT - 26) + torch.arange(CONTEXT - 26) % 3  # something to copy
    prompt %= VOCAB
    mask = torch.ones_like(prompt, dtype=torch.bool)
    mask[1, :30] = mask[2, :3] = False
    words = {"prompt": prompt, "mask": mask, "limit": 6}
    assert same(run(Speculative(drafter(name, family)), model, **words), run(Greedy(), model, **words))
    with Meter() as meter, pytest.raises(ValueError, match=f"{CONTEXT} positions"):
        run(Speculative(drafter(name, family)), model, **(words | {"limit": 7}))
    assert meter.spent.calls == 0


# What is told on the way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_tokens_leave_when_they_are_committed_and_never_before(name):
    """Each pass is followed by one block a row, and what was told by then is the beginning of what is made."""
    blocks: list[tuple[int, list[int]]] = []
    stop = Stop(tokens=stops(Greedy()))
    with listening(lambda row, tokens: blocks.append((row, list(tokens)))):
        made = run(Speculative(drafter(name)), stop=stop)
    told = [[token for row, tokens in blocks if row == which for token in tokens] for which in ROWS]
    assert told == [made.row(row).tolist() for row in ROWS]
    passes = 1 + len(made.trace.iterations)
    assert all(sum(row == which for row, _ in blocks) <= passes for which in ROWS)
    assert len(blocks) == len(PROMPT) + made.trace.total("rows")


@pytest.mark.parametrize("name", NAMES)
def test_the_trace_tells_what_was_done(name):
    with Meter() as meter:
        started = time.perf_counter()
        made = run(Speculative(drafter(name)))
        took = time.perf_counter() - started
    trace = made.trace
    for entry in trace.iterations:
        assert 0 <= entry["accepted"] <= entry["verified"] <= entry["drafted"]
        assert entry["accepted"] <= entry["committed"] <= entry["accepted"] + entry["rows"]
        assert entry["target_positions"] >= entry["verified"] + entry["rows"]
        assert entry["target_passes"] == 1
        assert (entry["draft_passes"] == 0) == (entry["draft_positions"] == 0)
    assert trace.total("committed") + len(PROMPT) == int(made.lengths.sum())  # the prompt's pass gives the first tokens
    assert trace.total("accepted") == int(made.accepted.sum())
    calls = 1 + trace.total("target_passes") + trace.total("draft_passes")
    assert meter.spent.calls == calls
    assert set(trace.seconds) == {"prefill", "draft", "verify"}
    assert 0.5 * took < sum(trace.seconds.values()) <= took


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_the_target_that_are_not_finite_are_named(name, monkeypatch):
    model = copy.deepcopy(tiny())
    inner, passes = model.run, []

    def poisoned(*arguments, **words):
        out = inner(*arguments, **words)
        passes.append(1)
        return out if len(passes) < 3 else LMOutput(out.logits * float("nan"), out.hidden, out.state)

    monkeypatch.setattr(model, "run", poisoned)
    said = r"after \d+ tokens of row 0"
    if name == "skip_decode":
        said = "guesses of skip_decode are not finite"  # the target is the draft too, and guesses first
    if name == "m2r2":  # its verification is no whole pass
        stretch = model.go_on

        def upper(start, *arguments, **words):
            hidden, state = stretch(start, *arguments, **words)
            return (hidden if start == 0 else hidden * math.nan), state

        monkeypatch.setattr(model, "go_on", upper)
    with pytest.raises(NotFinite, match=said):
        run(Speculative(drafter(name)), model)


@pytest.mark.parametrize("name", NAMES)
def test_guesses_that_are_not_finite_are_named_not_verified_in_vain(name, monkeypatch):
    draft = drafter(name)
    if isinstance(draft, Trained):

        def broken(self, model):
            module = self.build(model).to(model.dtype)
            with torch.no_grad():
                for weight in module.parameters():
                    weight.fill_(float("nan"))
            return module

        monkeypatch.setattr(type(draft), "opened", broken)
    elif "model" in {field.name for field in fields(draft)}:
        model = copy.deepcopy(noisy())
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))
        draft = replace(draft, model=model)
    else:
        pytest.skip("guesses by counting")
    with pytest.raises(NotFinite, match="finite"):
        run(Speculative(draft))


TRAINED = [name for name in NAMES if isinstance(find("drafting", name)(), Trained)]
PAIRED = [name for name in NAMES if "model" in {field.name for field in fields(find("drafting", name))}]


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_folder_belongs_to_one_model(name, tmp_path):
    draft, other = made_random(drafter(name), tiny(), tmp_path), tiny(seed=1)
    assert same(run(Speculative(draft)), run(Greedy()))
    with Meter() as meter, pytest.raises(ValueError, match="was trained for made-up with weights"):
        run(Speculative(draft), other)
    assert meter.spent.calls == 0


@pytest.mark.parametrize("name", PAIRED)
def test_a_draft_model_shares_the_targets_vocabulary_and_has_room(name):
    for other, reason in (
        (wrapped("llama", vocab_size=VOCAB + 3), f"vocabulary of {VOCAB + 3} and the target one of {VOCAB}"),
        (wrapped("llama", max_position_embeddings=16), "the draft model has 16 positions, this generation may need"),
    ):
        with pytest.raises(ValueError, match=reason):
            run(Speculative(replace(drafter(name), model=other)), limit=20)


@pytest.mark.parametrize("token", [VOCAB, -1])
@pytest.mark.parametrize("name", NAMES)
def test_a_token_outside_the_vocabulary_is_refused(name, token, monkeypatch):
    draft = drafter(name)
    begin = type(draft).start

    def start(self, *arguments, **words):
        session = begin(self, *arguments, **words)
        propose = session.propose

        def foreign(contexts, room):
            trees = propose(contexts, room)
            return [
                type(tree)(
                    torch.cat([tree.tokens, torch.tensor([token])]),
                    torch.cat([tree.parents, torch.zeros(1, dtype=torch.int64)]),
                )
                for tree in trees
            ]

        session.propose = foreign
        return session

    monkeypatch.setattr(type(draft), "start", start)
    with pytest.raises(ValueError, match=f"proposed token {token}, outside the target's vocabulary of {VOCAB}"):
        run(Speculative(draft))
