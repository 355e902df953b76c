"""The losslessness certificate: it accepts what is exact, rejects what is not, and knows when it cannot tell."""

from dataclasses import dataclass, replace

import pytest
import torch

from tests.decoding.models import noisy, tiny
from tests.families import wrapped
from trivium.core.tree import TokenTree
from trivium.decoding._certificate import PATTERN, Restricted, certify, chi_square, exact_joint
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._verify import Acceptance, Careless
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.draft_model import DraftModel
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.drafting.rsd_constant import RsdConstant
from trivium.drafting.rsd_stochastic import RsdStochastic

COPY = PromptLookup(ngram=1)


def short(method, model=None):
    prompts = [torch.tensor([1, 5, 6, 7, 5, 6, 7, 5, 6])]
    return certify(method, model or tiny(), prompts, limit=12, seeds_tried=(0,), draws=1000)


@pytest.mark.parametrize(
    "method",
    [
        Speculative(COPY),
        pytest.param(
            Speculative(DraftModel(noisy(), branching=(2, 2), min_confidence=0.0), verifier="rejection"),
            marks=pytest.mark.slow,
        ),
        pytest.param(Speculative(RsdConstant(noisy(), (2, 2)), verifier="recursive"), marks=pytest.mark.slow),
        pytest.param(Speculative(RsdStochastic(noisy(), 3, 2), verifier="recursive"), marks=pytest.mark.slow),
    ],
    ids=["copy", "siblings", "distinct siblings", "stochastic beam"],
)
def test_exact_methods_are_certified(method):
    """On a float32 model too, which is copied to float64 for the greedy runs."""
    found = short(method, wrapped("llama", torch.float32) if isinstance(method.drafter, PromptLookup) else tiny())
    assert found.verdict == "exact"
    assert found.exact
    assert found.law[0].mean_accepted_length > 1.05, "nothing was drafted, so nothing was tested"
    assert found.control[0].rejected
    assert found.lines()[-1] == "verdict: exact"


@pytest.mark.parametrize("verifier", [Careless(), "typical"], ids=["careless", "typical"])
def test_a_biased_verifier_is_not(verifier):
    found = short(Speculative(COPY, verifier=verifier, of=Sampling()))
    assert found.verdict == "not exact"


class TakesAnything(Careless):
    """Takes every first child."""

    def __call__(self, tree, laws, uniform):
        path = tree.paths()[0]
        return Acceptance(tuple(path[1:]), laws.draw(path[-1], uniform))


def test_a_greedy_divergence_is_placed_and_its_gap_told():
    found = short(Speculative(COPY, verifier=TakesAnything()))
    assert found.verdict == "not exact"
    broken = [run for run in found.greedy if run.divergence is not None]
    assert broken
    assert broken[0].gap > 1e-6
    assert any("top-2 logit gap" in line for line in found.lines())


@dataclass(frozen=True)
class Silent:
    """Drafts nothing, so that no verifier can go wrong."""

    draws: str = "deterministic"

    def start(self, model, *, generator, logits):
        return self

    def propose(self, contexts, room):
        return [TokenTree.chain(int(context[-1])) for context in contexts]


def test_without_drafts_the_certificate_says_it_cannot_tell():
    assert short(Speculative(Silent())).verdict == "inconclusive (control not rejected)"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_full_certificate(family):
    draft = DraftModel(noisy(family), min_confidence=0.0)
    for method in (Speculative(COPY), Speculative(draft, verifier="rejection", of=Sampling(top_k=3))):
        assert certify(method, tiny(family)).exact


def test_the_restricted_model_is_the_model_after_the_prompt():
    prompt = torch.tensor([1, 5, 6, 7])
    small = Restricted(tiny(), prompt)
    text = torch.tensor([[0, 3, 1, 2]])
    with torch.no_grad():
        own = tiny()(torch.cat([prompt[None], small.tokens[text]], 1)).logits[:, 4:, small.tokens]
        torch.testing.assert_close(small(text).logits, own, atol=1e-9, rtol=0)
        state = small(text[:, :2], keep_state=True).state
        torch.testing.assert_close(small(text[:, 2:], state=state).logits, own[:, 2:], atol=1e-9, rtol=0)
        mask = torch.tensor([[[[True, False, True, False], [True, False, False, True]]]])
        alone = small(torch.tensor([[0, 1], [0, 2]])).logits[:, 1]
        torch.testing.assert_close(small(text[:, 2:], state=state, mask=mask).logits[0], alone, atol=1e-9, rtol=0)


def test_the_exact_joint_sums_to_one_and_follows_the_pipeline():
    small = Restricted(tiny(), torch.tensor([1, 5, 6, 7]))
    assert float(exact_joint(small, Pipeline()).sum()) == pytest.approx(1)
    greedy = exact_joint(small, Pipeline(temperature=0.0), depth=2)
    made = Greedy()(small, torch.tensor([PATTERN]), limit=2, generator=torch.Generator())
    assert int(greedy.argmax()) == int(made.ids[0, 0]) * 4 + int(made.ids[0, 1])


def test_chi_square_by_hand():
    statistic, cells, p = chi_square(torch.tensor([30.0, 70.0]), torch.tensor([0.5, 0.5]))
    assert (statistic, cells) == (16.0, 2)
    assert p == pytest.approx(6.334e-5, rel=1e-3)
    assert chi_square(torch.tensor([1.0, 99.0]), torch.tensor([0.0, 1.0]))[2] == 0.0
    assert chi_square(torch.tensor([96.0, 2.0, 2.0]), torch.tensor([0.96, 0.02, 0.02]))[1] == 2  # rare cells are pooled


def test_what_cannot_be_certified_says_why():
    with pytest.raises(TypeError, match="which plain decoder"):
        certify(Greedy(), tiny())
    with pytest.raises(ValueError, match="1000 draws"):
        certify(Speculative(), tiny(), draws=10)
    assert replace(Speculative(), verifier="greedy").lossless
