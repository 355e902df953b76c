"""Faithfulness of scores for an answer of several tokens, against a loop that knows nothing of batches."""

import pytest
import torch

from tests.attribution.models import Smooth
from trivium.core.errors import NotOffered
from trivium.models.faithfulness import NAMES, faithfulness
from trivium.nn import faithfulness as measured

IDS = torch.tensor([7, 3, 11, 5])
SCORES = torch.tensor([0.5, -2.0, 0.0, 1.0])


def judge(model, scores=SCORES, **more):
    return faithfulness(model, IDS, scores, generator=torch.Generator().manual_seed(0), **more)


def test_places_of_the_answer_count_alike():
    """The squared distance is the mean of those at each token of the answer; by hand for all tokens zeroed but one."""
    model, answer = Smooth().eval(), (4, 9)
    got = judge(model, torch.tensor([0.0, 1.0, 0.0, 0.0]), answer=answer)["hard_ns_zero"]

    def said(kept):
        with torch.no_grad():
            x = model.embed(torch.tensor([7, 3, 11, 5, 4]))[None].clone()
            x[0, :4][~torch.tensor(kept)] = 0
            return model(embeds=x).logits[0, 3:].softmax(-1).sqrt()

    def distance(one, other):
        return ((one - other).square().sum(-1) / 2).mean().sqrt().item()

    whole = said([True] * 4)
    nothing = 1 - distance(whole, said([False] * 4))
    parts = {n: [place in top for place in range(4)] for n, top in ((1, {1}), (2, {1, 0}))}  # ties in their order
    shares = [max(0.0, 1 - distance(whole, said(parts[n])) - nothing) / (1 - nothing) for n in (1, 1, 1, 1, 2)]
    assert got.value == pytest.approx(sum(shares) / 5)


def test_one_token_is_the_next_tokens_distribution():
    model = Smooth().eval()
    assert judge(model) == judge(model, answer=(4,))
    assert judge(model) != judge(model, answer=(4, 9))
    assert list(judge(model)) == list(NAMES)


def test_the_answer_itself_is_never_removed():
    model, answer = Smooth(), (4, 9, 2)
    seen, run = [], model.run
    model.run = lambda ids, *, embeds, **more: seen.append(embeds) or run(ids, embeds=embeds, **more)
    judge(model, answer=answer)
    rows = torch.cat(seen)
    assert rows.shape[1] == 6
    assert torch.equal(rows[:, 4:], model.table[torch.tensor([4, 9])].expand(len(rows), -1, -1))


def test_frozen_positions_and_settings_reach_the_measures():
    model = Smooth().eval()
    frozen = torch.tensor([False, True, False, False])
    assert judge(model, frozen=frozen) != judge(model)
    with pytest.raises(ValueError, match="all 4 positions are frozen"):
        judge(model, frozen=torch.ones(4, dtype=torch.bool))
    assert judge(model, distance="reference") != judge(model)
    assert judge(model, rescale="max") != judge(model)
    assert isinstance(judge(model)["soft_nc"], measured.Faithfulness)


def test_a_model_that_takes_no_embeddings_is_refused():
    with pytest.raises(NotOffered, match="faithfulness needs 'embeds'"):
        judge(Smooth(offers=frozenset({"causal"})))
