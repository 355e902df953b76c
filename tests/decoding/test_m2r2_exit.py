"""M2R2's dynamic exit: plain decoding where nothing exits, else the law that it says, at the cost that it tells."""

import pytest
import torch

from tests.drafting.trained import MASK, PROMPT, made_random, run
from tests.families import VOCAB, wrapped
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.method import card_of
from trivium.decoding.contrastive_search import ContrastiveSearch
from trivium.decoding.greedy import Greedy
from trivium.decoding.m2r2_exit import M2R2Exit
from trivium.decoding.sampling import Sampling
from trivium.drafting.m2r2 import M2R2
from trivium.drafting.medusa import Medusa

LAYERS = 5


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma", "native"])
def model(request):
    """Five layers; of gemma's, every second one sees a window of 6 tokens."""
    if request.param == "native":
        made = Llama(width=32, depth=LAYERS, heads=4, hidden=48, context=128).build(VOCAB, seed=1).double().eval()
        with torch.no_grad():
            for weight in made.parameters():
                weight.mul_(4.0 if weight.ndim > 1 else 1.0)
        return made
    if request.param == "gemma":
        kinds = ["sliding_attention", "full_attention"] * 2 + ["full_attention"]
        return wrapped("gemma", num_hidden_layers=LAYERS, layer_types=kinds)
    return wrapped(request.param, **{"n_layer" if request.param == "gpt2" else "num_hidden_layers": LAYERS})


@pytest.fixture
def stream(model, tmp_path):
    """Adapters that add something, below layer 2."""
    return made_random(M2R2(layers=2, rank=4), model, tmp_path)


def middling(stream, model):
    """A threshold that half of the tokens of a text pass, and that none of them meets exactly."""
    tops = run(M2R2Exit(stream, threshold=2.0), model).ids
    with torch.no_grad():
        text = torch.cat([PROMPT[:1], tops[:1]], 1)
        module = stream.opened(model)
        _, fast = module.streams(model, text, None, torch.arange(text.shape[1])[None])
        return float(model.read_out(fast).softmax(-1).amax(-1)[0, 9:].sort().values[9:11].mean())


@pytest.mark.parametrize("of", [Greedy(), Sampling(0.8, repetition_penalty=1.2)], ids=["greedy", "sampling"])
def test_where_nothing_exits_it_is_plain_decoding(model, stream, of):
    plain, made = run(of, model), run(M2R2Exit(stream, threshold=1.5, of=of), model)
    assert torch.equal(plain.ids, made.ids)
    torch.testing.assert_close(plain.logprobs, made.logprobs, atol=1e-9, rtol=0)
    assert made.trace.total("exits") == 0


def test_each_token_is_that_of_the_uncached_law(model, stream):
    """In a ragged batch whose rows exit at different times, and alone."""
    decoder = M2R2Exit(stream, threshold=middling(stream, model))
    made = run(decoder, model)
    exits = [entry["exits"] for entry in made.trace.iterations]
    assert exits[0] == 0
    assert {1, 2} & set(exits), "no batch was mixed, so nothing was tested"
    for row in range(3):
        prompt = PROMPT[row][MASK[row]]
        alone = run(decoder, model, prompt=prompt[None], mask=None)
        assert made.row(row).tolist() == alone.row(0).tolist()
        assert 0 < alone.trace.total("exits") < 19 or row > 0
        logp = decoder.law(model, torch.cat([prompt, made.row(row)])[None], len(prompt))[0].log_softmax(-1)
        own = logp[len(prompt) - 1 : -1]
        assert torch.equal(own.argmax(-1), made.row(row))
        torch.testing.assert_close(own.amax(-1), made.logprobs[row], atol=1e-9, rtol=0)
    assert (made.logprobs - run(Greedy(), model).logprobs).abs().max() > 1e-6


def test_keys_above_an_exit_are_those_of_the_exit_state(model, stream):
    """By hand: where all tokens exit, layer after layer makes keys of the same state; the next one reads them."""
    k = 2
    made = run(M2R2Exit(stream, threshold=1e-9), model, prompt=PROMPT[:1], mask=None, limit=4)
    assert [entry["exits"] for entry in made.trace.iterations] == [0, 1, 1, 1]
    module, text = stream.opened(model), torch.cat([PROMPT[:1], made.ids], 1)
    with torch.no_grad():
        at = torch.arange(text.shape[1])[None]
        _, fast = module.streams(model, text, None, at)
        logp = model.read_out(fast).log_softmax(-1)
        torch.testing.assert_close(logp[0, 9:12].amax(-1), made.logprobs[0, 1:], atol=1e-9, rtol=0)
        state = model(PROMPT[:1], keep_state=True).state
        for place in (9, 10):
            _, state = module.pair(model, text[:, place], torch.tensor([True]), state)
            _, state = model.go_on(k, LAYERS, hidden=fast[:, place : place + 1], state=state, storing=True)
        got = model(text[:, 11:12], state=state).logits[0, 0]
        with model.capture("blocks.0.in") as seen:
            model(text[:, :12])
        hidden = seen["blocks.0.in"]
        for layer in range(LAYERS):
            hidden = model.layers(layer, layer + 1, hidden)
            if layer >= k - 1:
                hidden = hidden.clone()
                hidden[:, 9:11] = fast[:, 9:11]
        torch.testing.assert_close(model.read_out(hidden)[0, -1], got, atol=1e-9, rtol=0)


def test_layers_run_as_often_as_the_trace_says_and_exits_save_work(model, stream):
    ran, words = [0] * LAYERS, {"prompt": PROMPT[:1], "mask": None, "limit": 16}

    def counted(layer):
        def see(x):
            ran[layer] += x.shape[0] * x.shape[1]
            return x

        return see

    threshold = middling(stream, model)
    with model.edit({f"blocks.{layer}.mlp.out": counted(layer) for layer in range(LAYERS)}):
        made = run(M2R2Exit(stream, threshold=threshold), model, **words)
    fed = made.trace.iterations[1:]
    gone_on = sum(1 - entry["exits"] for entry in fed)
    assert 0 < gone_on < 15
    assert ran == [9 + 2 * 15] * 2 + [9 + gone_on] * 3
    assert sum(entry["layers"] for entry in fed) == 2 * 2 * 15 + gone_on * 3
    assert sum(entry["stored"] for entry in fed) == (15 - gone_on) * 3
    flops = []
    for gate in (1e-9, threshold, 1.5):
        with Meter() as meter:
            run(M2R2Exit(stream, threshold=gate), model, **words)
        flops.append(meter.spent.flops)
    assert flops == sorted(flops)
    assert flops[0] < 0.8 * flops[2]


def test_it_claims_no_losslessness_and_refuses_what_does_not_fit(model, stream):
    assert not card_of(M2R2Exit).lossless
    with pytest.raises(TypeError, match="'stream' must be an m2r2 drafter, got medusa"):
        M2R2Exit(Medusa())
    with pytest.raises(ValueError, match="threshold must be a positive probability"):
        M2R2Exit(threshold=0.0)
    with pytest.raises(TypeError, match="contrastive_search"):
        M2R2Exit(of=ContrastiveSearch())
    with pytest.raises(ValueError, match="below the top of the target's 5 layers"):
        run(M2R2Exit(M2R2(layers=5)), model)
    with pytest.raises(ValueError, match="trained for made-up"):
        run(M2R2Exit(stream), wrapped("llama", seed=3))
    with pytest.raises(NotOffered, match="m2r2_exit needs"):
        run(M2R2Exit(), wrapped("mamba"))
