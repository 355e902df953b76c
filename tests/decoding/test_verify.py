"""Verifiers by chi-square on a tree of two levels over four tokens, each scheme beside a wrong one.

The test runs on the verifiers alone: laws are a table, trees are drawn here. Fixed seeds, rejection below 1e-3.
"""

import pytest
import torch

from trivium.core.tree import TokenTree
from trivium.decoding._certificate import chi_square
from trivium.decoding._verify import ANY, Careless, Match, Rejection, check_suited

V = 4
TARGET = (1.3 * torch.randn(V + 1, V, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).softmax(-1)
DRAFT = (1.3 * torch.randn(V + 1, V, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).softmax(-1)
ROOT = V
"""The root's row of both tables; the other rows follow a token."""


class Laws:
    def __init__(self, tree):
        self.rows = [ROOT, *tree.tokens[1:].tolist()]

    def probabilities(self, node):
        return TARGET[self.rows[node]]

    def draw(self, node, uniform):
        return min(int(torch.searchsorted(HEIGHTS[self.rows[node]], uniform())), V - 1)


HEIGHTS = TARGET.cumsum(-1)


def independent(generator, branching=(2, 2)):
    """i.i.d. children by level."""
    tokens, parents, level = [0], [-1], [(0, ROOT)]
    for children in branching:
        below = []
        for node, row in level:
            for token in torch.multinomial(DRAFT[row], children, replacement=True, generator=generator).tolist():
                below.append((len(tokens), token))
                tokens.append(token)
                parents.append(node)
        level = below
    rows = DRAFT[[ROOT, *tokens[1:]]]
    return TokenTree(torch.tensor(tokens), torch.tensor(parents), "independent", rows)


def top(generator):
    """The draft's two likeliest tokens at each node, whatever is drawn."""
    paths = [[a, b] for a in DRAFT[ROOT].topk(2).indices.tolist() for b in DRAFT[a].topk(2).indices.tolist()]
    tree = TokenTree.from_paths(0, paths)
    return TokenTree(tree.tokens, tree.parents, "deterministic", DRAFT[[ROOT, *tree.tokens[1:].tolist()]])


def without_replacement(generator):
    """Two different children of the root, verified as if they had been drawn with replacement."""
    pair = torch.multinomial(DRAFT[ROOT], 2, replacement=False, generator=generator)
    tokens = torch.cat([torch.tensor([0]), pair])
    return TokenTree(tokens, torch.tensor([-1, 0, 0]), "without_replacement", DRAFT[[ROOT, *pair.tolist()]])


class NoResidual(Rejection):
    """Speculative sampling that forgets to subtract: after a rejection it draws from p itself."""

    def __call__(self, tree, laws, uniform):
        found = super().__call__(tree, laws, uniform)
        return type(found)(found.path, laws.draw([0, *found.path][-1], uniform))


SCHEMES = {
    "chain, rejection": (lambda g: independent(g, (1, 1)), Rejection(), True),
    "siblings, rejection": (independent, Rejection(), True),
    "siblings, match": (independent, Match(), True),
    "top-k, match": (top, Match(), True),
    "without replacement, match": (without_replacement, Match(), True),
    "top-k verified by p/q": (top, Rejection(), False),
    "without replacement by the with-replacement rule": (without_replacement, Rejection(), False),
    "no residual": (independent, NoResidual(), False),
    "careless": (top, Careless(), False),
}


def law_test(make, verifier, draws):
    generator = torch.Generator().manual_seed(11)
    numbers = iter(torch.rand(draws * 16, generator=generator, dtype=torch.float64).tolist())
    uniform = lambda: next(numbers)  # noqa: E731
    counts = torch.zeros(V * V, dtype=torch.float64)
    for _ in range(draws):
        tree = make(generator)
        found = verifier(tree, Laws(tree), uniform)
        text = [*tree.tokens[list(found.path)].tolist(), found.token]
        while len(text) < 2:  # the next pass, undrafted
            text.append(min(int(torch.searchsorted(HEIGHTS[text[-1]], uniform())), V - 1))
        counts[text[0] * V + text[1]] += 1
    return chi_square(counts, (TARGET[ROOT][:, None] * TARGET[:V]).reshape(-1))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_exact_schemes_pass_and_wrong_ones_fail(scheme):
    make, verifier, exact = SCHEMES[scheme]
    assert (law_test(make, verifier, 2500)[2] > 1e-3) == exact


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_with_fifty_thousand_draws(scheme):
    make, verifier, exact = SCHEMES[scheme]
    assert (law_test(make, verifier, 50_000)[2] > 1e-3) == exact


def test_a_token_that_cannot_have_been_drawn_is_an_error():
    tree = TokenTree.chain(0, [1], draws="independent", probs=torch.tensor([[1.0, 0, 0, 0]]).double())
    with pytest.raises(ValueError, match="token 1 has probability 0"):
        Rejection()(tree, Laws(tree), lambda: 0.5)
    with pytest.raises(ValueError, match="draft distribution"):
        Rejection()(TokenTree.chain(0, [1], draws="independent"), Laws(tree), lambda: 0.5)


def test_p_equal_to_q_up_to_rounding_does_not_divide_by_zero():
    tree = TokenTree.chain(0, [1], draws="independent", probs=TARGET[ROOT][None])
    found = Rejection()(tree, Laws(tree), iter([1.0, 0.0]).__next__)
    assert found.path == ()
    assert 0 <= found.token < V


def test_each_verifier_says_what_it_suits():
    check_suited("match", Match(), "deterministic")
    assert Match().draws == ANY
    for draws in ("deterministic", "without_replacement"):
        with pytest.raises(ValueError, match="biased"):
            check_suited("rejection", Rejection(), draws)
