"""Speculative decoding: nothing about the output may change, whatever the drafter does."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.decoding.models import Table, noisy, tiny
from tests.families import VOCAB, wrapped
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.core.tree import TokenTree
from trivium.decoding._trees import pack
from trivium.decoding.contrastive_search import ContrastiveSearch
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.decoding.top_p import TopP
from trivium.drafting.draft_model import DraftModel
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.drafting.rsd_constant import RsdConstant

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 1, 2, 9], [0, 0, 8, 8, 8, 8, 8, 8, 8]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6, [False] * 2 + [True] * 7])


def run(decoder, model, *, prompt=PROMPT, mask=MASK, limit=24, seed=0, **words):
    return decoder(model, prompt, mask=mask, limit=limit, generator=torch.Generator().manual_seed(seed), **words)


@dataclass(frozen=True)
class Adversary:
    """Drafts from the plain greedy text of each row: right, wrong on purpose, at random, or not at all."""

    what: str
    texts: tuple = ()
    length: int = 5
    draws: str = "deterministic"
    branches: bool = False

    def start(self, model, *, generator, logits):
        return self

    def propose(self, contexts, room):
        noise = torch.Generator().manual_seed(len(contexts[0]))
        trees = []
        for context, most in zip(contexts, room, strict=True):
            size = min(self.length, most)
            text = next((t for t in self.texts if t[: len(context)] == context.tolist()), [0] * 99)
            right = text[len(context) : len(context) + size]
            drafts = {
                "right": right,
                "wrong": [(token + 1) % VOCAB for token in right],
                "random": torch.randint(VOCAB, (max(size, 0),), generator=noise).tolist(),
                "empty": [],
            }[self.what]
            trees.append(TokenTree.chain(int(context[-1]), drafts))
        return trees


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])  # rotary, learned positions, attention windows
@pytest.mark.parametrize("what", ["right", "wrong", "random", "empty"])
def test_greedy_output_survives_any_drafter(family, what):
    model = tiny(family)
    plain = run(Greedy(), model)
    rows = [PROMPT[row][MASK[row]].tolist() + plain.row(row).tolist() for row in range(3)]
    made = run(Speculative(Adversary(what, tuple(rows))), model)
    assert torch.equal(made.ids, plain.ids)
    torch.testing.assert_close(made.logprobs, plain.logprobs, atol=1e-9, rtol=0)
    rate = made.trace.acceptance_rate
    assert {"right": rate == 1, "wrong": rate == 0, "random": rate is not None and rate < 0.3, "empty": rate is None}[
        what
    ]
    assert made.trace.total("rows") + 3 <= 3 * 24
    assert int(made.accepted.sum()) == made.trace.total("accepted")
    if what == "right":
        assert made.trace.mean_accepted_length > 5


DRAFTERS = {
    "copy": PromptLookup(ngram=1),
    "copies": PromptLookup(ngram=1, nodes=12),
    "chain": DraftModel(noisy(), min_confidence=0.0),
    "adaptive": DraftModel(noisy(), adaptive=True),
    "tree": DraftModel(noisy(), branching=(3, 2), min_confidence=0.0),
    "top": DraftModel(noisy(), branching=(3, 2), draws="deterministic", min_confidence=0.0),
    "itself": DraftModel(None, min_confidence=0.0),
}


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("plain", [Greedy(), Sampling(0.7), Sampling(0.9, repetition_penalty=1.3, top_p=0.9)], ids=str)
def test_matching_gives_the_very_tokens_of_plain_decoding(drafter, plain):
    """One number per committed token, so equal seeds give equal text, not only equal law."""
    expected = run(plain, tiny()).ids
    assert torch.equal(run(Speculative(DRAFTERS[drafter], of=plain), tiny()).ids, expected)
    assert torch.equal(run(Speculative(DRAFTERS[drafter], of=plain, positions=8), tiny()).ids, expected)


@pytest.mark.parametrize("branching", [(), (2, 2)])
def test_rejection_at_temperature_zero_is_greedy_and_a_perfect_draft_is_taken_whole(branching):
    plain = run(Greedy(), tiny())
    fast = Speculative(DraftModel(noisy(), branching=branching, min_confidence=0.0), verifier="rejection")
    assert torch.equal(run(fast, tiny()).ids, plain.ids)
    same = Speculative(DraftModel(None, min_confidence=0.0), verifier="rejection", of=Sampling())
    assert run(same, tiny()).trace.acceptance_rate == 1.0


@settings(deadline=None, max_examples=15)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.integers(1, 7),
    st.none() | st.integers(2, 9),
    st.integers(1, 30),
    st.integers(0, 2**31),
)
def test_any_prompt_length_and_seed(prompt, length, nodes, limit, seed):
    table = 2 * torch.randn(4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    words = {"prompt": torch.tensor([prompt]), "mask": None, "limit": limit, "seed": seed}
    for plain in (Greedy(), Sampling()):
        fast = Speculative(PromptLookup(length=length, ngram=1, nodes=nodes), of=plain)
        assert torch.equal(run(fast, Table(table), **words).ids, run(plain, Table(table), **words).ids)


@pytest.mark.parametrize("kind", ["tokens", "texts"])
def test_stopping_does_not_depend_on_block_boundaries(kind):
    plain = run(Greedy(), tiny())
    texts = [PROMPT[row][MASK[row]].tolist() + plain.row(row).tolist() for row in range(3)]
    at = [3, 7, 11]
    stops = tuple(int(plain.ids[row, column]) for row, column in enumerate(at))
    spell = lambda ids: "".join(f"<{id}>" for id in ids)  # noqa: E731
    stop = Stop(tokens=stops) if kind == "tokens" else Stop(texts=tuple(f"<{token}>" for token in stops), decode=spell)
    one = run(Greedy(), tiny(), stop=stop)
    for length in (1, 2, 3, 5, 8):
        with Meter() as meter:
            two = run(Speculative(Adversary("right", tuple(texts), length)), tiny(), stop=stop)
        assert torch.equal(one.ids, two.ids)
        assert torch.equal(one.lengths, two.lengths)
        assert meter.spent.new_tokens == int(one.lengths.sum())


def test_the_tree_layout_equals_its_chains_run_plainly():
    """The oracle: every node's logits are those of its root-to-leaf text, in a ragged batch, for each position kind."""
    tree = TokenTree.from_paths(6, [[1, 2, 3], [1, 4], [5], [1, 2, 7]])
    small = TokenTree.from_paths(9, [[8], [2, 1]])
    for family in ("llama", "gpt2", "gemma"):
        model = tiny(family)
        with torch.no_grad():
            state = model(PROMPT[:2, :-1], mask=MASK[:2, :-1], keep_state=True).state
            out = model(**pack([tree, small], state, model.device), state=state)
            for row, drawn in enumerate((tree, small)):
                for path in drawn.paths():
                    text = torch.cat([PROMPT[row, :-1][MASK[row, :-1]], drawn.tokens[path]])[None]
                    own = model(text).logits[0, -len(path) :]
                    torch.testing.assert_close(out.logits[row, path], own, atol=1e-9, rtol=0)


def test_the_draft_length_changes_the_passes_and_not_the_text():
    plain = run(Greedy(), tiny())
    passes = set()
    for length in (1, 2, 4, 8):
        made = run(Speculative(DraftModel(None, length=length, min_confidence=0.0)), tiny())
        assert torch.equal(made.ids, plain.ids)
        passes.add(len(made.trace.iterations))
    assert len(passes) > 2


def test_tokens_per_pass_follow_the_formula_where_acceptance_is_constant():
    """p and q do not depend on the text, so that every position accepts with A = sum min(p, q)."""
    p, q = torch.tensor([0.6, 0.3, 0.1]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    target, draft = Table(p.log().repeat(3, 1)), Table(q.log().repeat(3, 1))
    g, rate = 3, float(torch.minimum(p, q).sum())
    fast = Speculative(DraftModel(draft, length=g, min_confidence=0.0), verifier="rejection", of=Sampling())
    made = run(fast, target, prompt=torch.zeros(40, 1, dtype=torch.int64), mask=None, limit=60)
    full = [entry for entry in made.trace.iterations if entry["drafted"] == g * entry["rows"]]
    tau = sum(entry["committed"] for entry in full) / sum(entry["rows"] for entry in full)
    # About 1000 passes with a spread below 1.2 tokens: four standard errors are 0.15.
    assert tau == pytest.approx((1 - rate ** (g + 1)) / (1 - rate), abs=0.15)


def test_depth_is_capped_by_what_remains():
    made = run(Speculative(DraftModel(None, length=50, min_confidence=0.0)), tiny(), limit=10)
    assert made.trace.iterations[0]["target_positions"] == 3 * 9
    assert len(made.trace.iterations) == 1


def test_a_drafter_that_ignores_its_room_is_cut_back():
    class Long(Adversary):
        def propose(self, contexts, room):
            return super().propose(contexts, [30] * len(room))

    plain = run(Greedy(), tiny(), limit=10)
    made = run(Speculative(Long("random", length=30)), tiny(), limit=10)
    assert torch.equal(made.ids, plain.ids)
    assert made.trace.iterations[0]["drafted"] == 3 * 30
    assert made.trace.iterations[0]["target_positions"] == 3 * 9


def test_rows_share_the_positions_of_a_pass_and_the_last_one_drafts_most():
    plain = run(Greedy(), tiny())
    texts = [PROMPT[row][MASK[row]].tolist() + plain.row(row).tolist() for row in range(3)]
    ends = Stop(texts=(f"<{int(plain.ids[0, 12])}>",), decode=lambda ids: "".join(f"<{id}>" for id in ids))
    drafter = Adversary("right", tuple(texts), length=8)
    made = run(Speculative(drafter, positions=9), tiny(), stop=ends)
    assert torch.equal(made.ids, run(Greedy(), tiny(), stop=ends).ids)
    used = [(entry["rows"], entry["target_positions"]) for entry in made.trace.iterations]
    assert used == [(3, 9), (3, 9), (2, 8), (2, 8), (1, 9)]
    alone = run(Speculative(drafter, positions=1), tiny())
    assert torch.equal(alone.ids, plain.ids)
    assert alone.trace.total("verified") == 0
    with pytest.raises(ValueError, match="positions must be at least 1 in a pass, got 0"):
        Speculative(positions=0)
    with pytest.raises(ValueError, match=r"positions=4 cuts trees.*take a drafter of fixed or independent drafts"):
        Speculative(RsdConstant(noisy()), verifier="recursive", of=Sampling(), positions=4)


def test_unsuited_or_wrong_settings_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"biased for deterministic drafts.*use verifier 'match'"):
        Speculative(PromptLookup(), verifier="rejection")
    with pytest.raises(ValueError, match="biased for without replacement drafts"):
        Speculative(replace(Adversary("empty"), draws="without_replacement"), verifier="rejection")
    with pytest.raises(ValueError, match="would make the output greedy"):
        Speculative(verifier="greedy", of=Sampling())
    with pytest.raises(ValueError, match="verifier must be one of"):
        Speculative(verifier="best")
    with pytest.raises(TypeError, match="contrastive_search"):
        Speculative(of=ContrastiveSearch())
    assert Speculative().lossless
    assert not Speculative().control().lossless


def limited(*without):
    """A model that offers less than it could."""
    model = Table(torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    model.offers = model.offers - set(without)
    return model


def test_a_model_without_trees_still_does_chains_and_one_without_truncate_is_refused():
    words = {"prompt": torch.tensor([[1, 2, 1, 2, 1], [3, 3, 3, 3, 3]]), "mask": None}
    chains = limited("tree", "gather")
    assert torch.equal(run(Speculative(PromptLookup(ngram=1)), chains, **words).ids, run(Greedy(), chains, **words).ids)
    for model, drafter in (
        (chains, PromptLookup(nodes=8)),
        (limited("tree", "gather", "truncate"), PromptLookup()),
    ):
        with Meter() as meter, pytest.raises(NotOffered):
            run(Speculative(drafter), model, **words)
        assert meter.spent.calls == 0


def test_a_draft_of_another_vocabulary_is_refused():
    other = Table(torch.zeros(7, 7).double())
    with pytest.raises(ValueError, match="vocabulary of 7 and the target one of 64"):
        run(Speculative(DraftModel(other)), tiny())

    class Foreign(Adversary):
        def propose(self, contexts, room):
            return [TokenTree.chain(int(context[-1]), [VOCAB]) for context in contexts]

    with pytest.raises(ValueError, match=f"proposed token {VOCAB}"):
        run(Speculative(Foreign("empty")), tiny())


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_float32_differs_at_near_ties_only(family):
    model = wrapped(family, torch.float32)
    plain, made = run(Greedy(), model), run(Speculative(PromptLookup(ngram=1)), model)
    for row in range(3):
        one, two = plain.row(row).tolist(), made.row(row).tolist()
        at = next((index for index, pair in enumerate(zip(one, two, strict=True)) if pair[0] != pair[1]), None)
        if at is not None:
            text = torch.cat([PROMPT[row][MASK[row]], plain.ids[row, :at]])[None]
            with torch.no_grad():
                top = model(text).logits[0, -1].topk(2).values
            assert float(top[0] - top[1]) < 1e-4


def test_top_p_is_kept_to_by_every_verifier():
    for verifier in ("match", "rejection"):
        fast = Speculative(DraftModel(noisy(), min_confidence=0.0), verifier=verifier, of=TopP(0.3))
        made = run(fast, tiny(), prompt=PROMPT[:1], mask=None)
        with torch.no_grad():
            probs = tiny()(torch.cat([PROMPT[:1], made.ids], 1)).logits[0, 8:-1].softmax(-1)
        own = probs.gather(1, made.ids[0, :, None])
        assert ((probs * (probs > own)).sum(1) < 0.3 + 1e-9).all()


def test_the_trace_says_how_deep_drafts_were_taken():
    model = tiny("llama")
    plain = run(Greedy(), model)
    rows = [PROMPT[row][MASK[row]].tolist() + plain.row(row).tolist() for row in range(3)]
    trace = run(Speculative(Adversary("right", tuple(rows), length=3)), model).trace
    assert trace.by_depth("verified") == trace.by_depth("accepted")
    assert trace.total("rejected") == 0
    assert trace.by_depth("verified")[0] >= trace.by_depth("verified")[2] > 0
    trace = run(Speculative(Adversary("wrong", tuple(rows), length=3)), model).trace
    assert trace.by_depth("accepted") == [0, 0, 0]
    assert trace.by_depth("rejected") == [trace.by_depth("verified")[0], 0, 0]
    assert trace.total("rejected") == trace.by_depth("verified")[0] > 0


@pytest.mark.parametrize("drafter", [DraftModel(length=3, branching=(2, 2), draws="deterministic"), PromptLookup()])
def test_the_counts_by_depth_sum_to_those_of_every_pass(drafter):
    model = tiny("llama")
    if isinstance(drafter, DraftModel):
        drafter = replace(drafter, model=noisy("llama", 0.05), min_confidence=0.0)
    trace = run(Speculative(drafter), model).trace
    assert trace.total("verified") > trace.total("accepted") > 0
    for entry, depths in zip(trace.iterations, trace.depths, strict=True):
        assert {name: sum(numbers) for name, numbers in depths.items()} == {name: entry[name] for name in depths}
        taken = [a + r for a, r in zip(depths["accepted"], depths["rejected"], strict=True)]
        assert all(tested <= verified for tested, verified in zip(taken, depths["verified"], strict=True))
        assert entry["draft_passes"] <= entry["draft_positions"]
    if isinstance(drafter, DraftModel):
        assert trace.iterations[0]["draft_passes"] == 3  # one takes in the prompt, two more go deeper
        assert trace.depths[0]["verified"] == [2 * 3, 4 * 3, 4 * 3]
    else:
        assert trace.total("draft_passes") == 0


def test_a_block_that_ends_the_text_rejects_nothing():
    model = tiny("llama")
    plain = run(Greedy(), model, prompt=PROMPT[:1], mask=None)
    row = PROMPT[0].tolist() + plain.row(0).tolist()
    end = plain.row(0).tolist()[3]
    at = plain.row(0).tolist().index(end)
    made = run(
        Speculative(Adversary("right", (row,), length=9)), model, prompt=PROMPT[:1], mask=None, stop=Stop((end,))
    )
    assert made.row(0).tolist() == plain.row(0).tolist()[: at + 1]
    assert made.trace.total("rejected") == 0
    assert made.trace.total("accepted") == at
