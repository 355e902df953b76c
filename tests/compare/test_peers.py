"""transformers' own greedy decoding as contenders: the same text as ours, and traces by hooks on the model."""

import pytest
import torch

from tests.compare.fakes import Uniform
from tests.families import wrapped
from trivium.compare import peers
from trivium.compare.peers import TransformersAssisted, TransformersGreedy, TransformersPromptLookup
from trivium.core import seeds
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.decoding.greedy import Greedy

MODEL = wrapped("llama", torch.float64)
PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6])
LIMIT = 16


def run(decoder, rows=1, **words):
    mask = MASK if rows == 2 else None
    return decoder(MODEL, PROMPT[:rows], limit=LIMIT, generator=seeds.generator(0), mask=mask, **words)


@pytest.fixture
def assisted(monkeypatch):
    monkeypatch.setattr(peers, "load", lambda name, **_: type("System", (), {"model": wrapped("llama", seed=0)}))
    peers._loaded.cache_clear()
    yield TransformersAssisted("draft")
    peers._loaded.cache_clear()


def test_greedy_batches_are_as_ours():
    made, ours = run(TransformersGreedy(), 2), run(Greedy(), 2)
    assert torch.equal(made.ids, ours.ids)
    assert made.lengths.tolist() == [LIMIT, LIMIT]
    trace = made.trace
    assert len(trace.iterations) == LIMIT
    assert trace.mean_accepted_length == 1
    assert [entry["width"] for entry in trace.iterations] == [9] + [1] * (LIMIT - 1)
    assert trace.total("target_positions") == 2 * (9 + LIMIT - 1)
    assert trace.iterations[0]["first"] == 2
    state = MODEL(torch.ones(2, 9 + LIMIT - 1, dtype=torch.int64), keep_state=True).state
    assert trace.iterations[-1]["cache_bytes"] == state.bytes()
    assert trace.seconds["prefill"] > 0


def test_prompt_lookup_is_lossless_and_seen_pass_by_pass():
    made = run(TransformersPromptLookup())
    assert torch.equal(made.ids, run(Greedy()).ids)
    trace = made.trace
    assert trace.total("committed") == LIMIT
    assert trace.iterations[0]["width"] > 9  # the prompt and what was looked up in it
    assert trace.total("draft_passes") == 0


def test_an_assistant_of_the_same_weights_saves_passes(assisted):
    made = run(assisted)
    assert torch.equal(made.ids, run(Greedy()).ids)
    assert len(made.trace.iterations) < LIMIT
    assert made.trace.mean_accepted_length > 1.5
    assert made.trace.total("draft_passes") > 0
    assert sum(weight.numel() for part in assisted.parts() for weight in part.parameters()) == sum(
        weight.numel() for weight in MODEL.parameters()
    )


def test_a_text_ends_where_it_is_told_to_and_only_there():
    ours = run(Greedy()).row(0).tolist()
    stop = Stop(tokens=(ours[4],))
    made = run(TransformersGreedy(), stop=stop)
    assert made.row(0).tolist() == run(Greedy(), stop=stop).row(0).tolist()
    MODEL.inner.generation_config.eos_token_id = ours[4]
    try:
        assert run(TransformersGreedy()).row(0).tolist() == ours  # as ours: the model's own end counts for nothing
    finally:
        MODEL.inner.generation_config.eos_token_id = None


def test_meters_see_its_passes():
    with Meter() as seen:
        run(TransformersGreedy())
    assert (seen.spent.calls, seen.spent.positions, seen.spent.new_tokens) == (LIMIT, 9 + LIMIT - 1, LIMIT)


def test_what_cannot_be_is_refused(assisted):
    for peer in (TransformersPromptLookup(), assisted):
        with pytest.raises(NotOffered, match="one row at a time, this batch has 2"):
            run(peer, 2)
    with pytest.raises(NotOffered, match="its own models only"):
        TransformersGreedy()(Uniform(), PROMPT[:1], limit=2, generator=seeds.generator(0))
    with pytest.raises(NotOffered, match="not at texts"):
        run(TransformersGreedy(), stop=Stop(texts=("x",), decode=str))
    assert TransformersGreedy().lacks(Uniform()) == ("a Hugging Face model",)
    assert TransformersGreedy().lacks(MODEL) == ()
