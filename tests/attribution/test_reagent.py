"""ReAGent: finds the token that decides, by replacements alone."""

import logging
import math

import pytest
import torch

from tests.attribution.models import VOCAB, ByHand, Deaf, Smooth
from trivium.attribution._prediction import Prediction
from trivium.attribution._replacers import uniform
from trivium.attribution.reagent import PAPER, ReAGent
from trivium.core.nouns import Target
from trivium.core.protocols import LMOutput

IDS = torch.tensor([7, 3, 11, 5, 2, 9, 1, 8])
PLACE = 3


class Decided(ByHand):
    """The next token is likely what stands at one place, whatever else is there."""

    def __init__(self, sure=6.0):
        super().__init__(frozenset({"causal"}))
        self.sure = sure

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        logits = self.sure * torch.nn.functional.one_hot(ids[:, min(PLACE, ids.shape[1] - 1)], VOCAB).double()
        logits = logits[:, None].expand(-1, ids.shape[1], -1)[:, -logits_to_keep:]
        return LMOutput(logits, logits)


def explain(explainer, model, *, seed=0, target=None, **more):
    target = target or Target(int(IDS[PLACE]))
    return explainer(model, IDS, target, generator=torch.Generator().manual_seed(seed), **more)


def test_the_deciding_token_is_found():
    """A probe may stop by a lucky replacement before it knows; of eight together few do."""
    found = [explain(ReAGent(top=1, keep=1, probes=8), Decided(), seed=seed) for seed in range(100)]
    assert sum(int(one.scores.argmax()) == PLACE for one in found) >= 95


def test_scores_are_shares():
    got = explain(ReAGent(), Decided())
    assert got.scores.sum().item() == pytest.approx(1.0)
    assert (got.scores > 0).all()


def test_one_step_by_hand():
    """From z = u: up by the logit where replaced, down where not; then softmax, of the one probe."""
    draw = torch.Generator().manual_seed(int(torch.randint(1 << 62, (1,), generator=torch.Generator().manual_seed(5))))
    z = torch.rand(8, generator=draw, dtype=torch.float64)
    replaced = torch.rand(8, generator=draw) < 0.3
    first, _ = torch.randint(VOCAB, (2, 8), generator=draw)
    sure = math.exp(6) / (math.exp(6) + VOCAB - 1)
    same = not replaced[PLACE] or first[PLACE] == IDS[PLACE]
    after = sure if same else 1 / (math.exp(6) + VOCAB - 1)
    delta = sure - after
    update = math.log((1 + delta) / (1 - delta))
    expected = (z + torch.where(replaced, update, -update)).softmax(-1)
    got = explain(ReAGent(probes=1, steps=1), Decided(), seed=5)
    torch.testing.assert_close(got.scores, expected)


def test_a_certain_prediction_that_is_lost_gives_no_infinite_score():
    """The change of the probability is 1, whose logit has no bound."""
    assert explain(ReAGent(steps=20, top=1, keep=1), Decided(sure=2000.0)).scores.isfinite().all()


def test_what_changes_nothing_leaves_the_first_draw():
    """A model that does not listen: delta is 0, so scores are the softmax of where the probes began."""
    starts = torch.randint(1 << 62, (2,), generator=torch.Generator().manual_seed(0)).tolist()
    z = [torch.rand(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in starts]
    got = explain(ReAGent(probes=2, steps=4), Deaf(), target=Target(0))
    torch.testing.assert_close(got.scores, torch.stack(z).softmax(-1).mean(0))
    assert got.facts["converged"] == 0.0  # token 0 is the least likely
    stops = explain(ReAGent(probes=2, steps=4), Deaf(), target=Target(VOCAB - 1))
    assert (stops.facts["converged"], stops.facts["steps"]) == (1.0, 1.0)


def test_a_model_that_replaces_each_token_by_itself_learns_nothing():
    class Echo(Smooth):
        """Predicts, at each place, the token that follows there."""

        def predict(self, x):
            nearest = torch.cdist(x, self.table[None]).argmin(-1)
            following = torch.cat([nearest[:, 1:], nearest[:, -1:]], 1)
            return 9.0 * torch.nn.functional.one_hot(following, VOCAB).double()

    got = explain(ReAGent(replacer="self", probes=1), Echo(), target=Target(int(IDS[-1])))
    start = int(torch.randint(1 << 62, (1,), generator=torch.Generator().manual_seed(0)))
    z = torch.rand(8, generator=torch.Generator().manual_seed(start), dtype=torch.float64)
    torch.testing.assert_close(got.scores, z.softmax(-1))
    assert got.facts["steps"] == 1.0


def test_probes_are_independent():
    """What a probe finds is the same alone and beside others that stop at other times."""
    model, explainer = Decided(), ReAGent(top=1, keep=1)
    asked = Prediction(explainer, model, IDS, Target(int(IDS[PLACE])))

    def draws():
        return [torch.Generator().manual_seed(seed) for seed in range(5)]

    with torch.no_grad():
        before, _ = explainer._read(asked, IDS[None])
        together, stopped, _ = explainer._searched(asked, uniform(asked), draws(), before)
        alone = [explainer._searched(asked, uniform(asked), [draw], before) for draw in draws()]
    torch.testing.assert_close(together, torch.cat([z for z, _, _ in alone]))
    assert stopped.tolist() == [bool(one) for _, one, _ in alone]
    assert len({steps for _, _, steps in alone}) > 1


def test_a_probe_that_never_stops_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        facts = explain(ReAGent(steps=2, top=1, probes=2), Deaf(), target=Target(0)).facts
    assert facts["stopped"] == 0.0
    assert "no probe of reagent stopped in 2 steps" in caplog.text


def test_frozen_positions_are_never_replaced():
    """The deciding token is frozen, so nothing changes the prediction."""
    frozen = torch.zeros(8, dtype=torch.bool)
    frozen[PLACE] = True
    got = explain(ReAGent(probes=1), Decided(), frozen=frozen)
    assert got.scores[PLACE] == 0
    assert got.facts["steps"] == 1.0
    assert got.scores.sum().item() == pytest.approx(1.0)


def test_settings():
    assert PAPER.steps == 3000
    calls = {}
    for ratio in (0.1, 0.9):
        calls[ratio] = explain(ReAGent(ratio=ratio, steps=3), Smooth(), target=Target(4)).scores
    assert (calls[0.1] - calls[0.9]).abs().max() > 1e-3
    for bad, message in (
        ({"ratio": 0.0}, "ratio is a share"),
        ({"ratio": 1.0}, "ratio is a share"),
        ({"top": 0}, "top must be at least 1"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"probes": 0}, "probes must be at least 1"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"replacer": "mlm"}, "replacer must be 'uniform' or 'self', got 'mlm'"),
    ):
        with pytest.raises(ValueError, match=message):
            ReAGent(**bad)
