"""Mirostat: against a slow loop, the target it is given, and memories that rows do not share."""

import math

import pytest
import torch

from tests.decoding.models import Table, tiny
from trivium.decoding._loop import Streams
from trivium.decoding.mirostat import Feedback, Mirostat
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative

PROMPT = torch.tensor([[1, 5, 6, 7]])


def run(decoder, model=None, prompt=PROMPT, limit=24, seed=0, **words):
    return decoder(model or tiny(), prompt, limit=limit, generator=torch.Generator().manual_seed(seed), **words)


def test_against_the_equation_in_a_slow_loop():
    """Sorted tokens, one at a time, with the same uniform numbers."""
    target, rate, temperature = 2.0, 0.7, 1.3
    uniform = Streams(torch.Generator().manual_seed(5), 1)
    text, mu, cuts = PROMPT[0].tolist(), 2 * target, set()
    for _ in range(24):
        with torch.no_grad():
            p = (tiny()(torch.tensor([text])).logits[0, -1] / temperature).softmax(-1).tolist()
        ranked = sorted(range(len(p)), key=lambda v: -p[v])
        kept = {ranked[0]} | {v for v in ranked if -math.log2(p[v]) <= mu}
        cuts.add(len(kept))
        total, point = sum(p[v] for v in kept), uniform(0)
        heap = 0.0
        for v in sorted(kept):
            heap += p[v] / total
            if point < heap:
                break
        mu -= rate * (-math.log2(p[v] / total) - target)
        text.append(v)
    assert len(cuts) > 5  # the cut moved
    assert run(Mirostat(target, rate, temperature), seed=5).row(0).tolist() == text[4:]


@pytest.mark.parametrize("target", [1.0, 2.0, 3.0])
def test_the_mean_surprise_meets_the_target(target):
    """A table whose rows have about 4 bits; without feedback the mean is elsewhere."""
    table = 2 * torch.randn(48, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ids = run(Mirostat(target), Table(table), torch.zeros(4, 1, dtype=torch.int64), 150).ids
    before = torch.cat([torch.zeros(4, 1, dtype=torch.int64), ids[:, :-1]], 1)
    assert float(-table.log_softmax(-1)[before, ids].mean() / math.log(2)) > target  # under the uncut model
    surprise = {}
    for rate in (0.1, 0.0):  # what the cut law says of this text, with the cut that follows and one that stays
        feedback, bits = Feedback(Mirostat(target, rate), 4), []
        for column in range(150):
            logp = feedback.cut(table[before[:, column]], range(4))
            bits.append(-logp.gather(1, ids[:, column, None])[:, 0] / math.log(2))
            feedback.learn(range(4), ids[:, column])
        surprise[rate] = float(torch.stack(bits).mean())
    assert surprise[0.1] == pytest.approx(target, abs=0.15)
    assert abs(surprise[0.0] - target) > 0.15


def test_each_row_has_its_own_memory_also_when_another_ends():
    feedback = Feedback(Mirostat(1.0, 0.5), 3)
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0]] * 3)
    feedback.cut(logits, [0, 1, 2])
    feedback.learn([0, 1, 2], torch.tensor([0, 1, 0]))
    assert feedback.mu[0] == feedback.mu[2] > feedback.mu[1]
    before = feedback.mu[1].clone()
    feedback.cut(logits[:2], [0, 2])
    feedback.learn([0, 2], torch.tensor([0, 0]))
    assert feedback.mu[1] == before
    assert feedback.mu[0] == feedback.mu[2] != 2.0


def test_the_likeliest_token_stays_and_a_high_target_is_plain_sampling():
    feedback = Feedback(Mirostat(0.01), 1)
    assert feedback.cut(torch.zeros(1, 8), [0]).exp().tolist() == [[1.0] + [0.0] * 7]
    assert torch.equal(run(Mirostat(1000.0)).ids, run(Sampling()).ids)


def test_speculative_decoding_refuses_it():
    with pytest.raises(TypeError, match="mirostat"):
        Speculative(of=Mirostat())


@pytest.mark.parametrize("wrong", [{"surprise": 0.0}, {"rate": -0.1}, {"temperature": 0.0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Mirostat(**wrong)
