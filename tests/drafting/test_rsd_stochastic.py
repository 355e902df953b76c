"""RSD-S: the beam is a draw of whole texts without replacement, and truncating it leaves the output's law alone."""

import math
from itertools import pairwise

import pytest
import torch

from tests.decoding.models import noisy, tiny
from tests.drafting.laws import DRAFT, PROMPT, TARGET, ByToken, joint, law_of, pairs, sequences, start, table, trees
from trivium.decoding._pipeline import Pipeline
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._gumbel import conditioned, log1mexp, perturbed
from trivium.drafting._model import MOST
from trivium.drafting.rsd_stochastic import Beam, RsdStochastic


def level(tree, depth):
    """Texts of the nodes at a depth, in the tree's order."""
    nodes = (tree.depths == depth).nonzero()[:, 0].tolist()
    return [tuple(tree.tokens[tree.path(node)[1:]].tolist()) for node in nodes]


class Watched(Beam):
    """Keeps the growths, for their scores."""

    def grow(self, growth, *arguments):
        super().grow(growth, *arguments)
        self.__dict__.setdefault("grown", {})[id(growth)] = growth


def growths(width, depth, rows=20):
    session = Watched(
        RsdStochastic(DRAFT, width, depth), DRAFT, torch.Generator().manual_seed(0), lambda logits, histories: logits
    )
    session.propose([PROMPT] * rows, [9] * rows)
    return list(session.grown.values())


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_log1mexp_over_its_whole_range():
    near, far = [-1e-300, -1e-12, -0.1, -0.69, -0.70, -5.0], [-40.0, -700.0]
    wanted = [math.log(-math.expm1(x)) for x in near] + [-math.exp(x) for x in far]
    torch.testing.assert_close(log1mexp(double(near + far)), double(wanted), rtol=1e-12, atol=0)
    assert log1mexp(double([0.0])).item() == -math.inf


def test_conditioning_keeps_the_order_and_moves_the_largest_to_where_it_is_told():
    values = perturbed(10 * torch.linspace(-1, 1, 30).double().repeat(50, 1), torch.Generator().manual_seed(0))
    most = values.amax(-1) + torch.linspace(-20, 200, 50).double()
    got = conditioned(values, most)
    assert torch.equal(got.amax(-1), most)
    assert torch.equal(got.argsort(-1), values.argsort(-1))
    largest = values.amax(-1, keepdim=True)
    plain = -((-most[:, None]).exp() - (-largest).exp() + (-values).exp()).log()
    safe = ((most[:, None] - largest).abs() < 10) & (values > largest - 10)  # where the equation as it stands is exact
    assert safe.sum() > 50
    torch.testing.assert_close(got[safe], plain[safe], atol=1e-9, rtol=0)
    assert conditioned(double([[0.0, -math.inf]]), double([0.0])).tolist() == [[0.0, -math.inf]]


def test_scores_of_a_tree():
    """phi is the log-probability of the text; the best child has its parent's G; siblings and levels descend."""
    law = {text: p for depth in (1, 2, 3) for text, p in sequences(DRAFT, depth).items()}
    for growth in growths(width=3, depth=3):
        tree = growth.tree("without_replacement")
        for node in range(1, len(tree)):
            text = tuple(tree.tokens[tree.path(node)[1:]].tolist())
            assert growth.scores[node][0] == pytest.approx(math.log(law[text]), abs=1e-9)
        for node, below in enumerate(tree.children):
            perturbed_scores = [growth.scores[child][1] for child in below]
            assert perturbed_scores == sorted(perturbed_scores, reverse=True)
            if below:
                assert perturbed_scores[0] == growth.scores.get(node, (0.0, 0.0))[1]
        for depth in (1, 2, 3):
            scores = [growth.scores[node][1] for node in (tree.depths == depth).nonzero()[:, 0].tolist()]
            assert len(scores) == 3
            assert all(a > b for a, b in pairwise(scores))


def test_the_two_best_texts_are_a_draw_of_texts_without_replacement():
    """Stochastic beam search's theorem: as if all texts of the length had been perturbed and sorted."""
    draft = table(2, 3)
    made = [level(tree, 2) for tree in trees(RsdStochastic(draft, width=2, depth=2), 1500, target=table(3, 3))]
    law = sequences(draft, 2)
    assert law_of([texts[0] for texts in made], law) > 1e-3
    assert law_of([tuple(texts) for texts in made], pairs(law)) > 1e-3
    assert law_of([tuple(texts[::-1]) for texts in made], pairs(law)) < 1e-3


def test_siblings_come_in_the_order_of_a_draw_without_replacement():
    made = trees(RsdStochastic(DRAFT, width=3, depth=2), 1500)
    firsts = [int(tree.tokens[1]) for tree in made]
    law = {token: p for (token,), p in sequences(DRAFT, 1).items()}
    assert law_of(firsts, law) > 1e-3, "inclusion: the first child of the root is a draw from q"
    assert law_of([tuple(tree.tokens[[1, 2]].tolist()) for tree in made], pairs(law)) > 1e-3


def test_a_beam_as_wide_as_there_are_texts_holds_them_all():
    tree = trees(RsdStochastic(DRAFT, width=64, depth=3), 1)[0]
    assert [len(set(level(tree, depth))) for depth in (1, 2, 3)] == [4, 16, 64]
    assert len(trees(RsdStochastic(DRAFT, width=3, depth=4), 1)[0]) == 13


def test_width_one_is_a_single_chain_of_the_draft():
    made = trees(RsdStochastic(DRAFT, width=1, depth=2), 1500)
    assert law_of([tuple(tree.tokens[1:].tolist()) for tree in made], sequences(DRAFT, 2)) > 1e-3
    assert not RsdStochastic(width=1).branches


@pytest.mark.parametrize("width", [2, 3])
def test_output_keeps_the_law_and_another_order_would_not(width):
    drafter = RsdStochastic(DRAFT, width=width, depth=2)
    assert joint(drafter, 1000) > 1e-3
    assert joint(ByToken(drafter), 1000) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("of", [Sampling(), Sampling(0.7, top_p=0.8)], ids=["plain", "top_p"])
def test_the_same_with_fifty_thousand_draws(of):
    assert joint(RsdStochastic(DRAFT, width=3, depth=2), 50_000, of=of) > 1e-3
    assert joint(ByToken(RsdStochastic(DRAFT, width=3, depth=2)), 10_000, of=of) < 1e-3


def test_a_pipeline_that_leaves_fewer_tokens_gives_a_narrower_beam():
    tree = trees(RsdStochastic(DRAFT, width=9, depth=3), 1, pipeline=Pipeline(top_k=2))[0]
    assert torch.bincount(tree.depths).tolist() == [1, 2, 4, 8]
    assert ((tree.probs > 0).sum(1) <= 2).all()


def test_at_temperature_zero_the_beam_is_plain_beam_search_and_matched():
    tree = trees(RsdStochastic(DRAFT, width=2, depth=2), 1, pipeline=Pipeline(temperature=0.0))[0]
    assert tree.draws == "deterministic"
    last = int(PROMPT[-1])
    best = DRAFT.table[last].topk(2).indices.tolist()
    assert level(tree, 1) == [(token,) for token in best]
    assert (best[0], int(DRAFT.table[best[0]].argmax())) in level(tree, 2)
    prompt = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [9, 9, 3, 4, 3, 4, 3, 4, 3]])
    plain = Greedy()(tiny(), prompt, limit=20, generator=torch.Generator())
    for verifier in ("recursive", "match"):
        fast = Speculative(RsdStochastic(noisy()), verifier=verifier)
        made = fast(tiny(), prompt, limit=20, generator=torch.Generator())
        assert torch.equal(made.ids, plain.ids)
        assert made.trace.total("accepted") > 0


def test_a_draft_equal_to_the_target_is_taken_to_its_full_depth():
    """The best child inherits its parent's G, so the first of all siblings survives to the end."""
    fast = Speculative(RsdStochastic(None, width=3, depth=3), verifier="recursive", of=Sampling())
    made = fast(TARGET, PROMPT.repeat(50, 1), limit=9, generator=torch.Generator().manual_seed(0))
    assert made.trace.acceptance_rate < 1
    assert made.trace.mean_accepted_length > 2


def test_after_a_rejection_it_drafts_as_from_the_start():
    settings = RsdStochastic(noisy(), width=3, depth=3)
    used, context = start(settings, tiny()), torch.tensor([1, 5, 6, 7])
    tree = used.propose([context], [9])[0]
    longer = torch.cat([context, tree.tokens[tree.paths()[0][1:3]], torch.tensor([9])])
    for node, below in enumerate((later := used.propose([longer], [9])[0]).children):
        if below:
            text = torch.cat([longer, later.tokens[later.path(node)[1:]]])
            with torch.no_grad():
                q = noisy()(text[None]).logits[0, -1].softmax(-1)
            torch.testing.assert_close(later.probs[node], q, atol=1e-9, rtol=0)


def test_wrong_settings():
    with pytest.raises(ValueError, match="width must keep at least 1 text, got 0"):
        RsdStochastic(width=0)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        RsdStochastic(depth=0)
    with pytest.raises(ValueError, match=f"2000 tokens, more than the {MOST}"):
        RsdStochastic(width=100, depth=20)
