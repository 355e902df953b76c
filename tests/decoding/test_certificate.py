"""The losslessness certificate: it accepts what is exact, rejects what is not, and knows when it cannot tell."""

from dataclasses import dataclass, replace

import pytest
import torch

from tests.decoding.models import noisy, tiny
from tests.drafting.trained import made_random
from tests.families import wrapped
from trivium.core.errors import UnknownName
from trivium.core.meter import Meter
from trivium.core.tree import TokenTree
from trivium.decoding._certificate import PATTERN, certify, chi_square, exact_joint
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._restricted import Restricted
from trivium.decoding._verify import Acceptance, Careless
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.chimera import Chimera
from trivium.drafting.draft_model import DraftModel
from trivium.drafting.hidden_transfer import HiddenTransfer
from trivium.drafting.medusa import Medusa
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.drafting.rsd_constant import RsdConstant
from trivium.drafting.rsd_stochastic import RsdStochastic
from trivium.models.sources import load
from trivium.models.unembedding import unembedding

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


TRAINED = {
    "medusa": Medusa(nodes=8),
    "medusa, own heads": Medusa(heads=2, own_heads=True, nodes=8),
    "chimera": Chimera(nodes=8),
    "hidden transfer": HiddenTransfer(nodes=8),
}


@pytest.mark.parametrize(
    "name",
    [
        "hidden transfer",
        *(pytest.param(name, marks=pytest.mark.slow) for name in TRAINED if name != "hidden transfer"),
    ],
)
def test_drafters_with_trained_parts_are_certified(name, tmp_path):
    """Each drafts within the few tokens, with its own weights, of a folder for this very model."""
    drafter = made_random(TRAINED[name], tiny(), tmp_path)
    found = short(Speculative(drafter))
    assert found.verdict == "exact"
    assert found.law[0].mean_accepted_length > 1.1, "hardly anything was drafted, so hardly anything was tested"
    with pytest.raises(ValueError, match="was trained for made-up"):
        short(Speculative(drafter), tiny(seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_the_full_certificate_of_trained_parts(name, tmp_path):
    model = load("tiny").model
    for drafter in (TRAINED[name], made_random(TRAINED[name], model, tmp_path)):
        assert certify(Speculative(drafter), model, draws=20_000).exact


def test_trained_parts_guess_the_same_of_the_few_tokens(tmp_path):
    """The restricted module on the restricted head: its logits are some of the whole module's."""
    for name in ("medusa", "medusa, own heads"):
        drafter = made_random(TRAINED[name], tiny(), tmp_path / name)
        small = Restricted(tiny(), torch.tensor([1, 5, 6, 7]))
        with torch.no_grad():
            hidden = small(torch.tensor([[0, 1, 2]])).hidden[0]
            part = drafter.opened(small)(hidden, unembedding(small, "medusa"))
            whole = drafter.opened(tiny())(hidden, unembedding(tiny(), "medusa"))
        assert part.shape[-1] == 4
        torch.testing.assert_close(part, whole[..., small.kept], atol=1e-12, rtol=0)


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
        own = tiny()(torch.cat([prompt[None], small.kept[text]], 1)).logits[:, 4:, small.kept]
        torch.testing.assert_close(small(text).logits, own, atol=1e-9, rtol=0)
        state = small(text[:, :2], keep_state=True).state
        torch.testing.assert_close(small(text[:, 2:], state=state).logits, own[:, 2:], atol=1e-9, rtol=0)
        mask = torch.tensor([[[[True, False, True, False], [True, False, False, True]]]])
        alone = small(torch.tensor([[0, 1], [0, 2]])).logits[:, 1]
        torch.testing.assert_close(small(text[:, 2:], state=state, mask=mask).logits[0], alone, atol=1e-9, rtol=0)
        states = tiny()(torch.cat([prompt[None], small.kept[text]], 1)).hidden[:, 4:]
        torch.testing.assert_close(small(text).hidden, states, atol=1e-9, rtol=0)
        torch.testing.assert_close(small.embed(text), tiny().embed(small.kept[text]))


def test_a_pass_that_is_watched_or_changed_is_the_whole_models():
    """Rows of one text share a pass; a slot that was dropped, a tree, and what stands beside it are as if fed alone."""
    prompt, site = torch.tensor([1, 5, 6, 7]), "blocks.1.out"
    small = Restricted(tiny(), prompt)
    text = torch.tensor([[0, 3, 1], [0, 3, 1], [2, 2, 1]])
    with torch.no_grad():
        state = small(text, keep_state=True).state
        state = state.gather(torch.tensor([[True, False, True]] * 3))
        mask = torch.tensor([[[[True, True, True, True, False], [True, True, True, False, True]]]]).expand(
            3, -1, -1, -1
        )
        words = {"state": state, "mask": mask, "positions": torch.full((3, 2), 2)}
        new = torch.tensor([[1, 2], [1, 2], [1, 2]])
        with small.capture(site) as shown, small.edit({"blocks.0.out": lambda stream: stream * 1.5}):
            out = small(new, **words)
        plain = small(new, **words)
        for row in range(3):
            for column in range(2):
                own = torch.cat([prompt, small.kept[text[row, [0, 2]]], small.kept[new[row, column]][None]])[None]
                torch.testing.assert_close(
                    plain.logits[row, column], tiny()(own).logits[0, -1, small.kept], atol=1e-9, rtol=0
                )
                change = lambda stream: torch.cat([stream[:, :-1], stream[:, -1:] * 1.5], 1)  # noqa: E731
                with tiny().capture(site) as seen, tiny().edit({"blocks.0.out": change}):
                    wanted = tiny()(own)
                torch.testing.assert_close(out.logits[row, column], wanted.logits[0, -1, small.kept], atol=1e-9, rtol=0)
                torch.testing.assert_close(out.hidden[row, column], wanted.hidden[0, -1], atol=1e-9, rtol=0)
                torch.testing.assert_close(shown[site][row, column], seen[site][0, -1], atol=1e-9, rtol=0)
    with Meter() as meter, torch.no_grad(), small.edit({site: lambda stream: stream}):
        small(new, **words)
    assert meter.spent.evaluations == 3 + 2 * 2, "two different texts among the three rows, passed twice each"
    with pytest.raises(UnknownName), small.edit({"nowhere": lambda stream: stream}):
        small(new, **words)


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
