"""COS(M+O)S: the search over steps, its values, and its trees. The search itself is tested in test_puct."""

import math
import shutil
from dataclasses import replace

import pytest
import torch

from tests.decoding.models import Table, noisy, tiny
from tests.families import VOCAB, wrapped
from trivium.core.errors import BrokenModel, NotFinite, NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.core.seeds import generator
from trivium.data.pairs import Pair, Pairs
from trivium.decoding import _worth
from trivium.decoding._worth import Reader, features, fitted_to, kappa, read_answers
from trivium.decoding.cosmos import Cosmos
from trivium.tokenization.byte import ByteTokenizer

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6]])
SMALL = Cosmos(siblings=3, depth=3, simulations=12, step=3, centre=3.0, spread=1.0)


def trees(settings=SMALL, model=None, prompt=PROMPT, limit=9, seed=0, **more):
    return settings.search(model or tiny(), prompt, limit=limit, generator=generator(seed), **more)


def decode(settings=SMALL, model=None, prompt=PROMPT, limit=9, seed=0, **more):
    return settings(model or tiny(), prompt, limit=limit, generator=generator(seed), **more)


def nodes(tree):
    return [node for node in tree.root.below() if node.parent is not None]


def text_of(node):
    return [token for above in node.path for token in above.step.tokens]


# the search over steps ----------------------------------------------------------------------------------------------


def test_the_best_trajectory_is_what_is_written():
    tree, made = trees()[0], decode()
    assert made.row(0).tolist() == list(tree.best.tokens)
    assert made.logprobs[0].tolist() == [logprob for step in tree.best.steps for logprob in step.logprobs]
    assert tree.best.tokens in [each.tokens for each in tree.trajectories]


@pytest.mark.parametrize("reference", [None, "other"])
def test_each_step_has_its_own_surprisal_and_value(reference):
    """Against plain passes over whole texts: log-probabilities are the writer's, surprisal is the reference's."""
    other = noisy() if reference else None
    tree = trees(replace(SMALL, reference=other))[0]
    for node in nodes(tree):
        text = torch.tensor([[*tree.text, *text_of(node)]])
        step = list(node.step.tokens)
        for model, wanted in ((tiny(), node.step.logprobs), (other or tiny(), None)):
            with torch.no_grad():
                logp = model(text).logits.log_softmax(-1)[0, -len(step) - 1 : -1]
            own = logp.gather(1, torch.tensor(step)[:, None])[:, 0]
            if wanted is not None:
                torch.testing.assert_close(torch.tensor(wanted, dtype=torch.float64), own, atol=1e-9, rtol=0)
        assert node.step.surprisal == pytest.approx(-float(own.mean()), abs=1e-9)
        assert node.value == pytest.approx(kappa(node.step.surprisal, 3.0, 1.0), abs=1e-9)


def test_visits_and_values_of_a_real_tree():
    tree = trees(replace(SMALL, simulations=30))[0]
    assert tree.root.visits == 30 == sum(child.visits for child in tree.root.children)
    for node in nodes(tree):
        assert 0 <= node.q <= 1
        if node.children:
            assert node.visits == 1 + sum(child.visits for child in node.children)
        assert len(node.step.tokens) <= 3
        assert len(text_of(node)) <= 9
        assert node.depth <= 3
    assert max(node.depth for node in nodes(tree)) == 3
    assert all(len(node.children) <= 3 for node in tree.root.below() if node.children)


def test_the_same_seed_gives_the_same_tree_and_another_seed_another():
    shape = lambda tree: [(text_of(n), n.value, n.visits, n.q) for n in nodes(tree)]  # noqa: E731
    assert shape(trees()[0]) == shape(trees()[0])
    assert shape(trees()[0]) != shape(trees(seed=1)[0])


def test_the_search_finds_better_trajectories_than_are_drawn_at_once():
    """Three steps of one draw each, against three steps of which each is chosen among three."""
    mean = lambda settings: sum(trees(settings, seed=seed)[0].best.value for seed in range(6)) / 6  # noqa: E731
    assert mean(replace(SMALL, simulations=30)) > mean(replace(SMALL, siblings=1)) + 0.1


def test_siblings_do_not_repeat_one_another():
    """Two tokens are likely, so that drawing six siblings must repeat; a node keeps those that differ."""
    table = torch.full((4, 4), -20.0, dtype=torch.float64)
    table[:, :2] = 0.0
    tree = trees(Cosmos(siblings=6, depth=2, simulations=9, step=1), Table(table), torch.tensor([[0]]), limit=2)[0]
    for node in tree.root.below():
        if node.children:
            assert sorted(child.step.tokens for child in node.children) == [(0,), (1,)]


def test_siblings_are_compared_by_their_text():
    """'A' and 'a' read alike but for case; white space alone is no step."""
    tokenizer = ByteTokenizer()
    ids = {name: tokenizer.encode(name)[0] for name in "Aa b"}
    table = torch.full((tokenizer.vocab_size,) * 2, -40.0, dtype=torch.float64)
    table[:, list(ids.values())] = 0.0
    settings = Cosmos(siblings=20, depth=1, simulations=3, step=1, tokenizer=tokenizer)
    tree = trees(settings, Table(table), torch.tensor([[ids["b"]]]), limit=1)[0]
    said = sorted(tokenizer.decode(child.step.tokens).lower() for child in tree.root.children)
    assert said == ["a", "b"]
    blank = torch.full_like(table, -40.0)
    blank[:, ids[" "]] = 0.0
    tree = trees(settings, Table(blank), torch.tensor([[ids["b"]]]), limit=1)[0]
    assert [child.step.tokens for child in tree.root.children] == [(ids[" "],)]  # where there is nothing else


def test_steps_end_with_sentences_once_the_tokenizer_is_known():
    tokenizer = ByteTokenizer()
    dot = tokenizer.encode(".")[0]
    table = torch.full((tokenizer.vocab_size,) * 2, -40.0, dtype=torch.float64)
    table[:, [dot, *tokenizer.encode("abcdefg")]] = 0.0
    settings = Cosmos(siblings=4, depth=4, simulations=20, step=30).fitted(tokenizer)
    tree = trees(settings, Table(table), torch.tensor([[dot]]), limit=60)[0]
    steps = [node.step.tokens for node in nodes(tree)]
    assert any(len(step) > 1 for step in steps)
    for step in steps:
        assert dot not in step[:-1]
        assert step[-1] == dot or len(step) == 30
    assert settings.fitted(ByteTokenizer()) is settings


def test_several_rounds_write_what_one_cannot():
    """Two steps of three tokens a round, and twenty tokens to write."""
    settings = replace(SMALL, depth=2)
    with Meter() as meter:
        made = decode(settings, limit=20)
    assert made.lengths.tolist() == [20]
    assert len(made.trace.iterations) == 4
    assert made.trace.total("committed") == meter.spent.new_tokens == 20
    assert made.trace.total("rows") == meter.spent.calls
    first = trees(settings, limit=20)[0]
    assert made.row(0)[:6].tolist() == list(first.best.tokens)


def test_a_text_ends_where_it_is_told_to_inside_a_step():
    free = trees(replace(SMALL, simulations=40), limit=9)[0]
    token = free.root.children[0].step.tokens[1]
    tree = trees(replace(SMALL, simulations=40), limit=9, stop=Stop(tokens=(token,)))[0]
    ended = [node for node in nodes(tree) if token in node.step.tokens]
    assert ended
    for node in ended:
        assert node.step.tokens.index(token) == len(node.step.tokens) - 1
        assert not node.children
    spell = lambda ids: "".join(f"<{id}>" for id in ids)  # noqa: E731
    first, second = free.root.children[0].step.tokens[:2]
    across = Stop(texts=(f"{first}><{second}",), decode=spell)
    tree = trees(replace(SMALL, step=1, depth=4, simulations=40), limit=9, stop=across)[0]
    for node in nodes(tree):
        assert across.texts[0] not in spell(text_of(node)[:-1])
        assert not (across.texts[0] in spell(text_of(node)) and node.children)


def test_a_sibling_is_the_same_whenever_the_others_end():
    settings = replace(SMALL, siblings=5, step=6, simulations=1)
    free = [child.step.tokens for child in trees(settings)[0].root.children]
    token = free[0][1]  # the first sibling ends after two tokens
    cut = [step[: step.index(token) + 1] if token in step else step for step in free]
    stopped = [child.step.tokens for child in trees(settings, stop=Stop(tokens=(token,)))[0].root.children]
    assert stopped == cut
    assert len(set(map(len, stopped))) > 1


def test_rows_of_a_ragged_batch_have_their_own_trees():
    prompt, mask = torch.tensor([[1, 5, 6, 7], [0, 0, 3, 4]]), torch.tensor([[True] * 4, [False] * 2 + [True] * 2])
    both = trees(prompt=prompt, mask=mask)
    assert [tree.text for tree in both] == [(1, 5, 6, 7), (3, 4)]
    alone = trees(prompt=prompt[:1])[0]
    assert [text_of(n) for n in nodes(alone)] == [text_of(n) for n in nodes(both[0])]
    made = decode(prompt=prompt, mask=mask)
    assert [made.row(row).tolist() for row in (0, 1)] == [list(tree.best.tokens) for tree in both]


def test_siblings_share_the_passes_of_their_expansion():
    """One pass for the prompt; per expansion at most one down, ``step`` - 1 to write, and one to read."""
    with Meter() as meter:
        tree = trees(replace(SMALL, simulations=8))[0]
    expansions = sum(1 for node in tree.root.below() if node.children)
    assert expansions <= 8
    assert meter.spent.calls <= 1 + expansions * (1 + 2 + 1)


def test_the_reference_alone_decides_the_value():
    """A policy that was trained on leaves the surprisals of given steps as they are; its own log-probabilities move."""
    one, two = (trees(replace(SMALL, reference=tiny("llama", 3)), model=model)[0] for model in (tiny(), noisy()))
    reader = Reader(tiny("llama", 3), PROMPT[0], 0)
    for tree in (one, two):
        for child in tree.root.children:
            (said,) = reader.read(reader.after([]), [child.step.tokens]).logprobs
            said = said.detach()
            assert child.step.surprisal == pytest.approx(-float(said.mean()), abs=1e-9)


def test_priors_by_likelihood_sum_to_one_and_follow_the_mean():
    tree = trees(replace(SMALL, prior="likelihood"))[0]
    children = tree.root.children
    means = torch.tensor([sum(c.step.logprobs) / len(c.step.logprobs) for c in children], dtype=torch.float64)
    torch.testing.assert_close(torch.tensor([c.prior for c in children], dtype=torch.float64), means.softmax(0))
    assert {c.prior for c in trees()[0].root.children} == {1 / len(trees()[0].root.children)}


def test_the_best_by_visits_is_another_choice():
    by = {name: trees(replace(SMALL, best=name, simulations=30))[0] for name in ("value", "visits")}
    counts = [child.visits for child in by["visits"].root.children]
    assert by["visits"].best.steps[0] == by["visits"].root.children[counts.index(max(counts))].step
    qs = [child.q for child in by["value"].root.children]
    assert by["value"].best.steps[0] == by["value"].root.children[qs.index(max(qs))].step


# reasoning ----------------------------------------------------------------------------------------------------------


def test_reasoning_is_written_and_dropped_from_the_state():
    tokenizer = ByteTokenizer()
    model = wrapped("llama", vocab_size=tokenizer.vocab_size, max_position_embeddings=256)
    settings = replace(SMALL, reasoning=4, tokenizer=tokenizer)
    prompt = torch.tensor([tokenizer.encode("Once upon")])
    tree = trees(settings, model, prompt)[0]
    assert all(1 <= len(node.step.reasoning) <= 4 for node in nodes(tree))
    assert len({node.step.reasoning for node in nodes(tree)}) > 3
    for node in nodes(tree):  # the state holds steps alone: their log-probabilities are those of the text without it
        text, step = torch.tensor([[*tree.text, *text_of(node)]]), node.step.tokens
        with torch.no_grad():
            logp = model(text).logits.log_softmax(-1)[0, -len(step) - 1 : -1]
        own = logp.gather(1, torch.tensor(step)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(node.step.logprobs, dtype=torch.float64), own, atol=1e-9, rtol=0)
    plain = trees(replace(settings, reasoning=0), model, prompt)[0]
    assert [n.step.tokens for n in nodes(plain)] != [n.step.tokens for n in nodes(tree)]
    assert not any(n.step.reasoning for n in nodes(plain))


def test_steps_are_drawn_behind_the_reasoning():
    """A model whose next token is its last one plus one: behind the cue ')' a step begins with what follows ')'."""
    tokenizer = ByteTokenizer()
    table = torch.full((tokenizer.vocab_size,) * 2, -40.0, dtype=torch.float64)
    table[torch.arange(256), torch.arange(1, 257) % 256] = 40.0
    settings = Cosmos(siblings=2, depth=1, simulations=2, step=1, reasoning=2, cues=("(", ")"), tokenizer=tokenizer)
    tree = trees(settings, Table(table), torch.tensor([tokenizer.encode("k")]), limit=1)[0]
    (child,) = tree.root.children
    assert tokenizer.decode(child.step.reasoning) == ")*"
    assert tokenizer.decode(child.step.tokens) == "*"


def test_reasoning_asks_for_a_tokenizer_cues_and_room():
    with pytest.raises(ValueError, match="give tokenizer"):
        trees(replace(SMALL, reasoning=3))
    with pytest.raises(ValueError, match="neither may be empty"):
        trees(replace(SMALL, reasoning=3, cues=("", "x"), tokenizer=ByteTokenizer()))
    settings = replace(SMALL, reasoning=100, tokenizer=ByteTokenizer())
    tiny()  # examined when it is made, which takes passes
    with Meter() as meter, pytest.raises(ValueError, match="positions of this model; lower reasoning"):
        trees(settings)
    assert meter.spent.calls == 0


# the curve ----------------------------------------------------------------------------------------------------------


def test_kappa_is_an_inverted_u():
    assert kappa(2.5, 2.5, 0.7) == 1
    for away in (0.1, 0.7, 2.0):
        assert kappa(2.5 + away, 2.5, 0.7) == pytest.approx(kappa(2.5 - away, 2.5, 0.7))
        assert kappa(2.5 + away, 2.5, 0.7) < 1
    assert kappa(2.5 + 0.7, 2.5, 0.7) == pytest.approx(math.exp(-0.5))
    assert kappa(0.0, 2.5, 0.7) < 0.01
    assert kappa(50.0, 2.5, 0.7) == pytest.approx(0.0, abs=1e-12)


def test_surprisal_is_a_mean_so_that_length_does_not_count():
    """Under a uniform law every step has the surprisal ln V, however long; a sum would grow."""
    table = torch.zeros(4, 4, dtype=torch.float64)
    for step in (1, 5):
        tree = trees(Cosmos(depth=1, simulations=2, step=step), Table(table), torch.tensor([[0]]), limit=5)[0]
        assert {round(node.step.surprisal, 9) for node in nodes(tree)} == {round(math.log(4), 9)}


def test_the_curve_is_fitted_by_quantiles():
    normal = torch.distributions.Normal(3.0, 0.5).icdf(torch.linspace(0.0005, 0.9995, 1000)).tolist()
    centre, spread = fitted_to([*normal, 500.0])  # one sentence of nonsense moves neither
    assert centre == pytest.approx(3.0, abs=0.01)
    assert spread == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        fitted_to([1.0])
    with pytest.raises(ValueError, match="one surprisal"):
        fitted_to([1.0] * 5)


def test_fitting_reads_sentences_behind_one_another():
    tokenizer = ByteTokenizer()
    model = wrapped("llama", vocab_size=tokenizer.vocab_size, max_position_embeddings=64)
    stories = ["One two. Three four! Five.", "No other sentence", "A b. " + "c" * 80 + ". D."]
    with pytest.raises(ValueError, match="give tokenizer"):
        SMALL.fit(model, stories)
    with torch.no_grad():
        ids = [tokenizer.bos, *tokenizer.encode(stories[0])]
        logp = model(torch.tensor([ids])).logits.log_softmax(-1)[0]
    own = [-float(logp[at - 1, ids[at]]) for at in range(1, len(ids))]
    parts = [sum(own[8:20]) / 12, sum(own[20:]) / 6]  # " Three four!" and " Five."; the long story has no room
    found = SMALL.fitted(tokenizer).fit(model, stories)
    assert (found.centre, found.spread) == pytest.approx(fitted_to(parts))
    assert replace(found, centre=SMALL.centre, spread=SMALL.spread) == SMALL.fitted(tokenizer)


# the trained head ---------------------------------------------------------------------------------------------------


PAIRS = [Pair((1, n % VOCAB), (5, 6, 5), (9, (n * 7) % VOCAB, 3, 8)) for n in range(2, 18)]


@pytest.fixture(scope="module")
def head_folder(tmp_path_factory):
    """A head taught that steps of 5 and 6 are better, for the tiny model."""
    folder, cosmos, model = tmp_path_factory.mktemp("head"), Cosmos(), tiny()
    head = cosmos.build(model)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(40):
        loss = cosmos.loss(head, model, Pairs.of(PAIRS), "pairwise").value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    cosmos.save(head, folder, model, base="tiny llama", facts={"note": 1})
    return folder


def test_a_trained_head_decides_the_values(head_folder):
    settings = replace(SMALL, value="model", folder=str(head_folder))
    tree = trees(settings)[0]
    head = _worth.open_head(head_folder, tiny())
    reader = Reader(tiny(), PROMPT[0], 0)
    steps = [child.step.tokens for child in tree.root.children]
    with torch.no_grad():
        wanted = head(reader.read(reader.after([]), steps)).sigmoid()
    torch.testing.assert_close(torch.tensor([child.value for child in tree.root.children]), wanted)
    assert all(0 <= node.value <= 1 for node in nodes(tree))
    assert len({node.value for node in nodes(tree)}) > 3


@pytest.mark.parametrize("by", ["pairwise", "binary"])
def test_a_head_learns_what_is_preferred(by):
    cosmos, model = Cosmos(), tiny()
    head = cosmos.build(model, seed=1)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    first = None
    for _ in range(40):
        loss = cosmos.loss(head, model, Pairs.of(PAIRS[:10]), by).value
        first = first or float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * first
    assert all(weight.grad is None for weight in model.parameters())
    with torch.no_grad():
        scores = head(read_answers(model, Pairs.of(PAIRS[10:])))
    assert (scores[0::2] > scores[1::2]).all()


def test_losses_by_hand():
    class Fixed(torch.nn.Module):
        def forward(self, reading):
            return torch.tensor([2.0, -1.0], requires_grad=True)

    pair = Pairs.of([Pair((1,), (5,), (6,))])
    sigmoid = lambda x: 1 / (1 + math.exp(-x))  # noqa: E731
    pairwise = Cosmos().loss(Fixed(), tiny(), pair, "pairwise").value
    assert pairwise.item() == pytest.approx(-math.log(sigmoid(3)), rel=1e-5)
    binary = Cosmos().loss(Fixed(), tiny(), pair, "binary").value
    assert binary.item() == pytest.approx(-(math.log(sigmoid(2)) + math.log(sigmoid(1))) / 2, rel=1e-5)
    with pytest.raises(ValueError, match="pairwise or binary"):
        Cosmos().loss(Fixed(), tiny(), pair, "both")


def test_the_head_sees_in_training_what_it_sees_in_the_search():
    pairs = [Pair((1, 5, 6), (5, 6, 5), (9, 3)), Pair((2,), (7,), (8, 9, 10, 11, 12))]
    together = read_answers(tiny(), Pairs.of(pairs))
    row = 0
    for pair in pairs:
        reader = Reader(tiny(), torch.tensor(pair.context), 0)
        reading = reader.read(reader.after([]), [pair.winner, pair.loser])
        for at in (0, 1):
            torch.testing.assert_close(reading.pooled[at], together.pooled[row], atol=1e-9, rtol=0)
            torch.testing.assert_close(reading.features[at], together.features[row], atol=1e-9, rtol=0)
            row += 1


def test_features_by_hand():
    found = features(torch.tensor([1.0, 3.0, 2.0, 2.0, 0.0, 4.0, 8.0, 0.0]))
    assert found.tolist() == pytest.approx([2.5, 8.0, math.sqrt(6.0), 2.0, 2.0, 2.0, 4.0])
    assert features(torch.tensor([2.0])).tolist() == [2.0, 2.0, 0.0, 2.0, 2.0, 2.0, 2.0]


def test_a_head_refuses_another_base(head_folder):
    settings = replace(SMALL, value="model", folder=str(head_folder))
    other = noisy()  # examined when it is made, which takes passes
    with Meter() as meter, pytest.raises(ValueError, match="was trained for tiny llama with weights"):
        trees(settings, model=other)
    assert meter.spent.calls == 0
    assert trees(replace(settings, reference=tiny()), model=noisy())[0].root.visits == 12


def test_a_damaged_head_is_named(head_folder, tmp_path):
    settings = replace(SMALL, value="model", folder=str(tmp_path / "there"))
    with pytest.raises(BrokenModel, match=r"is missing.*trivium stories value"):
        trees(settings)
    shutil.copytree(head_folder, tmp_path / "there")
    weights = tmp_path / "there" / "value.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-50])
    with pytest.raises(BrokenModel, match="damaged"):
        trees(settings)
    from safetensors.torch import load_file, save_file

    weights.write_bytes(whole)
    tensors = load_file(weights)
    for changed, error, said in [
        ({**tensors, "outer.bias": torch.tensor([math.nan])}, NotFinite, "NaN"),
        ({**tensors, "more": torch.zeros(1)}, BrokenModel, "unknown"),
        ({**tensors, "outer.bias": torch.zeros(2)}, BrokenModel, r"'outer.bias' is \(2,\)"),
    ]:
        save_file(changed, weights)
        with pytest.raises(error, match=said):
            trees(settings)
    (tmp_path / "there" / "card.json").write_text('{"format": 99}')
    with pytest.raises(BrokenModel, match="format 99, this version reads 1; train the value model again"):
        trees(settings)


@pytest.mark.parametrize(("value", "error"), [(math.nan, NotFinite), (1.5, ValueError)])
def test_values_that_are_none_end_the_search(value, error, monkeypatch):
    monkeypatch.setattr("trivium.decoding.cosmos.kappa", lambda *_: value)
    with pytest.raises(error, match="value model gave"):
        trees()


# what is learnt from a tree -----------------------------------------------------------------------------------------


def test_pairs_are_visited_siblings_with_a_gap():
    tree = trees(replace(SMALL, simulations=30))[0]
    found = tree.pairs(0.05)
    assert found
    q = {(*tree.text, *text_of(node)): node for node in nodes(tree)}
    for pair in found:
        winner, loser = q[(*pair.context, *pair.winner)], q[(*pair.context, *pair.loser)]
        assert winner.parent is loser.parent
        assert winner.visits
        assert loser.visits
        assert winner.q - loser.q > 0.05
    assert len(tree.pairs(0.0)) >= len(found) > len(tree.pairs(0.5))
    assert tree.pairs(1.0) == []


def test_a_tree_tells_how_it_is_hacked():
    """A model that says one thing only: nothing surprises it, and what it says repeats itself."""
    table = torch.full((4, 4), -40.0, dtype=torch.float64)
    table[:, 1] = 40.0
    tree = trees(Cosmos(depth=2, simulations=4, step=6), Table(table), torch.tensor([[0]]), limit=12)[0]
    assert tree.surprisal == pytest.approx(0.0, abs=1e-9)
    assert tree.repeated(3) == pytest.approx(9 / 10)  # ten 3-grams, one of which is new
    assert tree.repeated(3, words=lambda tokens: range(len(tokens))) == 0.0
    assert tree.repeated(13) == 0.0
    real = trees()[0]
    assert real.surprisal == pytest.approx(sum(n.step.surprisal for n in nodes(real)) / len(nodes(real)))


def test_trajectories_are_all_ways_to_a_leaf_the_best_first():
    tree = trees(replace(SMALL, simulations=20))[0]
    leaves = [node for node in nodes(tree) if not node.children]
    assert sorted(each.tokens for each in tree.trajectories) == sorted(tuple(text_of(node)) for node in leaves)
    values = [each.value for each in tree.trajectories]
    assert values == sorted(values, reverse=True)
    one = tree.trajectories[0]
    assert one.value == pytest.approx(sum(one.values) / len(one.steps))


# bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"siblings": 0}, "siblings must be at least 1"),
        ({"depth": 0}, "depth must be at least 1"),
        ({"simulations": 0}, "simulations must be at least 1"),
        ({"step": 0}, "step must be at least 1"),
        ({"reasoning": -1}, "reasoning must be at least 0"),
        ({"exploration": -1.0}, "exploration must be"),
        ({"exploration": math.nan}, "exploration must be"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"spread": 0.0}, "spread must be positive"),
        ({"spread": -1.0}, "spread must be positive"),
        ({"centre": math.inf}, "centre is a mean surprisal"),
        ({"value": "both"}, "value is curve or model, got 'both'"),
        ({"prior": "no"}, "prior is uniform or likelihood"),
        ({"best": "no"}, "best is value or visits"),
        ({"value": "model"}, "give both or neither"),
        ({"folder": "there"}, "give both or neither"),
    ],
)
def test_settings_that_are_none_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Cosmos(**settings)


def test_a_reference_that_does_not_fit_is_refused_before_any_work():
    other, short, without = (
        wrapped("llama", vocab_size=32),
        wrapped("llama", max_position_embeddings=8),
        wrapped("gpt2"),
    )
    without.offers = frozenset({"causal"})
    with Meter() as meter:
        for reference, error, said in [
            (other, ValueError, "vocabulary of 32"),
            (short, ValueError, "8 positions"),
            (without, NotOffered, "state"),
        ]:
            with pytest.raises(error, match=said):
                trees(replace(SMALL, reference=reference))
    assert meter.spent.calls == 0
