"""Verifiers by chi-square on a tree of two levels over four tokens, each scheme beside a wrong one.

The test runs on the verifiers alone: laws are a table, trees are drawn here. Fixed seeds, rejection below 1e-3.
"""

import itertools

import pytest
import torch

from trivium.compare.contender import build, describe
from trivium.core.errors import UnknownName
from trivium.core.tree import TokenTree
from trivium.decoding._certificate import chi_square
from trivium.decoding._verify import ANY, Careless, Match, Recursive, Rejection, Typical, check_suited
from trivium.decoding.speculative import Speculative

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


class Same:
    """One law at every node."""

    def __init__(self, p):
        self.p = p

    def probabilities(self, node):
        return self.p

    def draw(self, node, uniform):
        return min(int(torch.searchsorted(self.p.cumsum(-1), uniform())), len(self.p) - 1)


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


def distinct(generator, branching=(2, 2), order=lambda tokens: tokens):
    """Children by level drawn one after another, each from what its elders left."""
    tokens, parents, level = [0], [-1], [(0, ROOT)]
    for children in branching:
        below = []
        for node, row in level:
            for token in order(torch.multinomial(DRAFT[row], children, generator=generator).tolist()):
                below.append((len(tokens), token))
                tokens.append(token)
                parents.append(node)
        level = below
    rows = DRAFT[[ROOT, *tokens[1:]]]
    return TokenTree(torch.tensor(tokens), torch.tensor(parents), "without_replacement", rows)


def in_token_order(generator):
    """Siblings without replacement, but sorted: no longer in drawing order."""
    return distinct(generator, order=sorted)


def some(generator):
    """One to three children, their number drawn without regard to their tokens."""
    return distinct(generator, torch.randint(1, 4, (2,), generator=generator).tolist())


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
    "without replacement, match": (distinct, Match(), True),
    "chain, recursive": (lambda g: distinct(g, (1, 1)), Recursive(), True),
    "without replacement, recursive": (distinct, Recursive(), True),
    "all tokens but one, recursive": (lambda g: distinct(g, (V - 1, 1)), Recursive(), True),
    "a random number of siblings, recursive": (some, Recursive(), True),
    "top-k, recursive matches it": (top, Recursive(), True),
    "top-k verified by p/q": (top, Rejection(), False),
    "without replacement by the with-replacement rule": (distinct, Rejection(), False),
    "siblings in token order, recursive": (in_token_order, Recursive(), False),
    "typical acceptance": (independent, Typical(), False),
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


SLOW = {"chain, recursive", "all tokens but one, recursive", "a random number of siblings, recursive"}
"""Further cases of what the others show."""


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme not in SLOW])
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
    with pytest.raises(ValueError, match="these could be drawn again; use verifier 'match' or 'rejection'"):
        check_suited("recursive", Recursive(), "independent")
    check_suited("recursive", Recursive(), "without_replacement")


def test_the_recursive_rule_by_hand():
    """p = (.1, .6, .3, 0), q = (.5, .3, .2, 0), siblings 0 and 1: p2 = (0, .75, .25, 0), q2 = (0, .6, .4, 0), and after
    both are rejected, which a number just below 1 cannot do to token 1, p3 is all on token 1."""
    p, q = torch.tensor([0.1, 0.6, 0.3, 0.0]).double(), torch.tensor([0.5, 0.3, 0.2, 0.0]).double()
    tree = TokenTree(torch.tensor([0, 0, 2]), torch.tensor([-1, 0, 0]), "without_replacement", q.repeat(3, 1))

    run = lambda *numbers: Recursive()(tree, Same(p), iter(numbers).__next__)  # noqa: E731
    assert run(0.19, 0.0).path == (1,)  # u q = .095 < p = .1
    assert run(0.21, 0.62, 0.0).path == (2,)  # u q2 = .248 < p2 = .25
    assert run(0.21, 0.63, 0.99).token == 1  # .252: rejected; max(p2 - q2, 0) leaves token 1 alone
    assert run(0.21, 0.63, 0.99).path == ()


def test_a_sibling_that_comes_twice_was_not_drawn_without_replacement():
    y = int((DRAFT[ROOT] - TARGET[ROOT]).argmax())  # refused at u = 1
    tree = TokenTree(torch.tensor([0, y, y]), torch.tensor([-1, 0, 0]), "without_replacement", DRAFT[[ROOT, y, y]])
    with pytest.raises(ValueError, match=f"token {y} has probability 0"):
        Recursive()(tree, Laws(tree), lambda: 1.0)


def test_duplicates_drawn_independently_are_separate_attempts():
    """Twice the same child: after the first is refused, the second is held against what is left of p."""
    p, q = torch.tensor([0.6, 0.4]).double(), torch.tensor([0.2, 0.8]).double()
    tree = TokenTree(torch.tensor([0, 1, 1]), torch.tensor([-1, 0, 0]), "independent", q.repeat(3, 1))

    asked = itertools.count()
    numbers = lambda: (next(asked), 0.9)[1]  # noqa: E731
    found = Rejection()(tree, Same(p), numbers)
    assert (found.path, found.token) == ((), 0)
    assert next(asked) == 3  # an attempt for each of the two, and the extra token


def typical(tree, eps, delta):
    return Typical(eps, delta)(tree, Laws(tree), lambda: 0.5).path


def test_typical_acceptance_goes_by_the_threshold():
    """Every way through the tree, one by one, against the rule written out."""
    tree = top(torch.Generator())
    for eps, delta in ((0.09, 0.3), (0.3, 0.9), (0.5, 2.0), (0.0, 7.0), (7.0, 0.0)):
        ways: dict[tuple[int, ...], float] = {(): 0.0}
        for way in (tree.path(node) for node in range(1, len(tree))):
            steps = [
                (TARGET[[ROOT, *tree.tokens[1:].tolist()][a]], int(tree.tokens[b])) for a, b in itertools.pairwise(way)
            ]
            if all(p[t] > min(eps, delta * torch.exp((p * p.log()).sum())) for p, t in steps):
                ways[tuple(way[1:])] = float(sum(p[t].log() for p, t in steps))
        longest = max(map(len, ways))
        assert typical(tree, eps, delta) == max((w for w in ways if len(w) == longest), key=ways.__getitem__)


def test_typical_acceptance_at_its_limits():
    tree = top(torch.Generator())
    assert len(typical(tree, 0.0, 5.0)) == 2  # everything possible is taken
    assert typical(tree, 9.0, 9.0) == ()  # nothing is


@pytest.mark.parametrize(
    ("text", "verifier"),
    [
        ("speculative(verifier=typical)", "typical"),
        ("speculative(verifier=recursive, drafter=rsd_constant)", "recursive"),
        ("speculative(verifier=typical(eps=0.2))", Typical(eps=0.2)),
        ("speculative(verifier=typical(eps=0.2, delta=0.5))", Typical(0.2, 0.5)),
    ],
)
def test_verifiers_and_their_options_can_be_written(text, verifier):
    made = build("decoding", text)
    assert made.verifier == verifier
    assert build("decoding", describe(made)) == made
    assert made.lossless == (verifier == "recursive")


def test_typical_acceptance_cannot_be_labelled_lossless():
    with pytest.raises(UnknownName, match="no field 'lossless'"):
        build("decoding", "speculative(verifier=typical(lossless=True))")
    assert not Speculative(verifier=Typical(eps=1.0)).lossless
    with pytest.raises(ValueError, match="eps must be at least 0"):
        Typical(eps=-0.1)
    with pytest.raises(ValueError, match="delta must be at least 0"):
        Typical(delta=float("inf"))
