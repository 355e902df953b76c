"""SkipDecode: nothing is skipped, or exactly what the schedule says; no key is missing, and none is read that is."""

import math
from itertools import pairwise

import pytest
import torch

from tests.families import VOCAB, wrapped
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.decoding.contrastive_search import ContrastiveSearch
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.skip_decode import SkipDecode
from trivium.models.state import Buffers

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9], [0, 0, 8, 8, 8, 8, 8, 8, 8]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6, [False] * 2 + [True] * 7])
FALLING = SkipDecode(most=5, least=2, length=10)


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma", "native"])
def model(request):
    """Six layers; of gemma's, every second one sees a window of 6 tokens."""
    if request.param == "native":
        made = Llama(width=32, depth=6, heads=4, hidden=48, context=128).build(VOCAB, seed=1).double().eval()
        with torch.no_grad():
            for weight in made.parameters():
                weight.mul_(4.0 if weight.ndim > 1 else 1.0)
        return made
    if request.param == "gemma":
        return wrapped("gemma", num_hidden_layers=6, layer_types=["sliding_attention", "full_attention"] * 3)
    return wrapped(request.param, **{"n_layer" if request.param == "gpt2" else "num_hidden_layers": 6})


def run(decoder, model, *, limit=16, seed=0, **words):
    given = {"prompt": PROMPT, "mask": MASK} | words
    return decoder(model, given.pop("prompt"), limit=limit, generator=torch.Generator().manual_seed(seed), **given)


@pytest.mark.parametrize("of", [Greedy(), Sampling(0.8)], ids=["greedy", "sampling"])
def test_with_all_layers_it_is_plain_decoding(model, of):
    plain, made = run(of, model), run(SkipDecode(most=6, least=6, of=of), model)
    assert torch.equal(plain.ids, made.ids)
    assert torch.equal(plain.logprobs, made.logprobs)


def test_each_token_is_that_of_the_uncached_law(model):
    """The oracle: every position recomputed with its own layers, in a ragged batch; and it is not the plain text."""
    made = run(FALLING, model)
    assert (made.logprobs - run(Greedy(), model).logprobs).abs()[:, 2:].min() > 1e-6
    for row in range(3):
        prompt = PROMPT[row][MASK[row]]
        logp = FALLING.law(model, torch.cat([prompt, made.row(row)])[None], len(prompt))[0].log_softmax(-1)
        own = logp[len(prompt) - 1 : -1]
        assert torch.equal(own.argmax(-1), made.row(row))
        torch.testing.assert_close(own.amax(-1), made.logprobs[row], atol=1e-9, rtol=0)


def test_the_oracle_is_the_slow_loop_with_a_mask_per_layer():
    """Another oracle for the oracle, on the native model: attention by hand over the positions that ran a layer."""
    model = Llama(width=16, depth=4, heads=2, hidden=24, context=64).build(VOCAB, seed=2).double().eval()
    ids, prompt = torch.randint(VOCAB, (1, 9), generator=torch.Generator().manual_seed(1)), 3
    decoder = SkipDecode(most=4, least=2, length=5)
    fast = decoder.law(model, ids, prompt)
    for last in range(prompt, 9):
        hidden = model.embed(ids[:, : last + 1])
        for layer in range(4):
            ran = torch.tensor([at < prompt or layer not in decoder.skipped(at - prompt, 4) for at in range(last + 1)])
            part = model.layers(layer, layer + 1, hidden[:, ran], positions=ran.nonzero()[:, 0][None])
            hidden = hidden.clone()
            hidden[:, ran] = part
        torch.testing.assert_close(model.read_out(hidden[:, -1:])[:, 0], fast[:, last], atol=1e-9, rtol=0)


def test_rows_alone_are_rows_together(model):
    made = run(FALLING, model)
    for row in range(3):
        alone = run(FALLING, model, prompt=PROMPT[row][MASK[row]][None], mask=None)
        assert made.row(row).tolist() == alone.row(0).tolist()


def test_the_schedule_falls_and_its_sets_are_nested():
    assert [SkipDecode(most=6, least=2, length=5).depth(t, 6) for t in range(7)] == [6, 5, 4, 3, 2, 2, 2]
    assert [SkipDecode(length=4).depth(t, 30) for t in range(5)] == [30, 23, 17, 10, 10]
    assert SkipDecode(most=6, least=2, length=1).depth(0, 6) == 2
    assert list(SkipDecode(most=6, least=3, warm=2, length=1).skipped(0, 6)) == [2, 3, 4]
    for most in range(2, 13):
        for least in range(2, most + 1):
            for length in (1, 2, 7, 40):
                decoder = SkipDecode(most, least, 1, length)
                sets = [set(decoder.skipped(t, 12)) for t in range(50)]
                assert all(a <= b for a, b in pairwise(sets))
                assert all(0 not in skipped for skipped in sets)
                assert len(sets[-1]) == 12 - least
                assert len(sets[0]) == 12 - (most if length > 1 else least)


def test_no_unwritten_column_is_ever_read(model, monkeypatch):
    allocate = Buffers.allocate

    def poisoned(self, layer, key, value):
        allocate(self, layer, key, value)
        self.keys[layer].fill_(math.nan)
        self.values[layer].fill_(math.nan)

    monkeypatch.setattr(Buffers, "allocate", poisoned)
    made = run(FALLING, model)
    assert made.logprobs.isfinite().all()


def test_layers_are_run_as_often_as_the_schedule_says(model):
    counts = [0] * 6
    places = [f"blocks.{layer}.attn.out" for layer in range(6)]

    def counted(layer):
        def see(x):
            counts[layer] += 1
            return x

        return see

    with model.edit({place: counted(layer) for layer, place in enumerate(places)}):
        made = run(FALLING, model, prompt=PROMPT[:1], mask=None)
    expected = [6, *(FALLING.depth(t, 6) for t in range(15))]
    assert sum(counts) == sum(expected)
    assert [entry["layers"] for entry in made.trace.iterations] == [
        depth * entry["target_positions"] for depth, entry in zip(expected, made.trace.iterations, strict=True)
    ]
    assert counts[0] == counts[5] == 16


def test_what_skipping_saves_is_seen_by_the_meter(model):
    spent = []
    for decoder in (Greedy(), SkipDecode(most=3, least=3), Greedy()):
        with Meter() as meter:
            run(decoder, model, prompt=PROMPT[:1], mask=None)
        spent.append(meter.spent.flops)
    assert spent[0] == spent[2]
    assert 0.5 < spent[1] / spent[0] < 0.85  # 15 of 16 passes at half the layers; a prompt of 9, and the head, whole


def test_a_state_with_missing_keys_is_not_gone_on_from(model):
    ids = PROMPT[:1]
    with torch.no_grad():
        whole = model(ids, keep_state=True).state
        with model.skipping([2, 3]):
            skipped = model(ids[:, :2], state=whole, keep_state=True).state
            model(ids[:, :1], state=skipped)
        for _ in range(2):
            with pytest.raises(ValueError, match="layer 2 was skipped"):
                model(ids[:, :1], state=skipped)
        with model.skipping([2]), pytest.raises(ValueError, match="layer 3 was skipped"):
            model(ids[:, :1], state=skipped.select(torch.tensor([0, 0])).select(torch.tensor([1])))
        again = model(ids[:, :1], state=skipped.truncate(9)).logits
        torch.testing.assert_close(again, model(ids[:, :1], state=whole).logits, atol=1e-9, rtol=0)
        assert not model.skipped
        with pytest.raises(KeyError), model.skipping([1]):
            raise KeyError
        torch.testing.assert_close(model(ids).logits[:, -1], model(ids, logits_to_keep=1).logits[:, 0])
        with pytest.raises(ValueError, match=r"layers \[6\] are not all among the 6"), model.skipping([6]):
            pass


def test_bad_settings():
    for words, message in [
        ({"warm": 0}, "warm must be at least 1"),
        ({"length": 0}, "length must be at least 1"),
        ({"least": 1}, "least must be more than the 1 warm"),
        ({"most": 2, "warm": 2}, "most must be more than the 2 warm"),
        ({"least": 5, "most": 4}, "least must be at most the 4 layers of most"),
    ]:
        with pytest.raises(ValueError, match=message):
            SkipDecode(**words)
    with pytest.raises(TypeError, match="contrastive_search"):
        SkipDecode(of=ContrastiveSearch())
    with Meter() as meter:
        for words in ({"most": 4}, {"least": 4}):
            with pytest.raises(ValueError, match="at most the 3 layers of this model"):
                run(SkipDecode(**words), wrapped("llama"))
        with pytest.raises(NotOffered, match="skip_decode"):
            run(SkipDecode(), wrapped("mamba"))
    assert meter.spent.new_tokens == 0
