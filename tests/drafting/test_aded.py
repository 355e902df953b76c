"""ADED: its table, how it adapts, what the search visits, and that none of it touches the output."""

import math
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.decoding.models import Table, tiny
from tests.drafting import laws
from tests.families import VOCAB
from trivium.core.tree import TokenTree
from trivium.decoding._certificate import certify
from trivium.decoding._verify import Careless
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._trigrams import TrigramTable
from trivium.drafting.aded import Aded, Node, chosen, drawn, search

SENTENCE = [3, 4, 5, 6, 7, 8]
PROMPTS = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6], [0, 0, 0, 3, 4, 5, 3, 4, 9]])
MASK = torch.tensor([[True] * 9, [False] * 3 + [True] * 6])


def start(settings, seed=0, model=None):
    return settings.start(model or tiny(), generator=torch.Generator().manual_seed(seed), logits=None)


def propose(settings, context, room=99, **words):
    return start(settings, **words).propose([torch.tensor(context)], [room])[0]


# The table ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 3), max_size=30), max_size=4))
def test_the_table_against_counting_by_hand(texts):
    counts: dict[tuple[int, int], dict[int, int]] = {}
    for text in texts:
        for a, b, v in zip(text, text[1:], text[2:], strict=False):
            after = counts.setdefault((a, b), {})
            after[v] = after.get(v, 0) + 1
    table = TrigramTable.build(texts, 4)
    assert len(table) == len(counts)
    for a in range(4):
        for b in range(4):
            after = counts.get((a, b), {})
            wanted = {v: n / sum(after.values()) for v, n in sorted(after.items(), key=lambda e: (-e[1], e[0]))}
            assert table.after(a, b) == pytest.approx(wanted)
            assert list(table.after(a, b)) == list(wanted)  # heaviest first
            assert not wanted or sum(table.after(a, b).values()) == pytest.approx(1)


def test_only_the_heaviest_followers_stay_and_keep_their_share():
    text = [token for v in range(20) for token in [1, 2, v] * (v + 1)]
    after = TrigramTable.build([text], 20).after(1, 2)
    assert list(after) == list(range(19, 7, -1))
    assert after[19] == pytest.approx(20 / 210)


def test_a_table_counted_in_pieces_is_the_same(monkeypatch):
    texts = torch.randint(9, (40, 30), generator=torch.Generator().manual_seed(0))
    whole = TrigramTable.build(texts, 9)
    monkeypatch.setattr("trivium.drafting._trigrams.CHUNK", 50)
    parts = TrigramTable.build(texts, 9)
    for name in ("pairs", "starts", "followers", "weights"):
        assert torch.equal(getattr(whole, name), getattr(parts, name))


def test_saving_and_reading(tmp_path):
    table, path = TrigramTable.build([SENTENCE * 3], VOCAB), tmp_path / "table.safetensors"
    table.save(path)
    again = TrigramTable.load(path)
    assert again.vocab_size == VOCAB
    assert [again.after(a, b) for a in range(9) for b in range(9)] == [
        table.after(a, b) for a in range(9) for b in range(9)
    ]
    assert propose(Aded(table=str(path)), [3, 4]).tokens.tolist() == propose(Aded(table=table), [3, 4]).tokens.tolist()
    assert Aded(table=str(path)).loaded().table.vocab_size == VOCAB
    with pytest.raises(ValueError, match=f"made for a vocabulary of {VOCAB} and the target has one of 5"):
        start(Aded(table=str(path)), model=Table(torch.zeros(5, 5)))
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot be read as a tri-gram table"):
        TrigramTable.load(path)
    with pytest.raises(FileNotFoundError, match="no tri-gram table"):
        TrigramTable.load(tmp_path / "none")


def test_a_corpus_of_another_tokenizer_is_refused():
    with pytest.raises(ValueError, match="token 9 of text 1 is outside the vocabulary of 9"):
        TrigramTable.build([[1, 2, 3], [1, 9]], 9)
    with pytest.raises(ValueError, match="vocab_size"):
        TrigramTable.build([], 0)


def test_a_restricted_table_is_the_table_of_the_few():
    table = TrigramTable.build([[7, 5, 3, 7, 5, 9, 7, 5, 3]], 10)
    small = table.restricted(torch.tensor([5, 3, 7]))
    assert small.vocab_size == 3
    assert small.after(2, 0) == pytest.approx({1: 2 / 3})
    assert small.after(0, 1) == pytest.approx({2: 1.0})
    assert small.after(0, 0) == {}


# Adapting -------------------------------------------------------------------------------------------------------------


def test_weights_grow_by_the_increment_within_the_window_and_up_to_the_cap():
    session = start(Aded(increment=0.5, cap=1.2, window=4))
    context = torch.tensor([1, 2, 3, 9, 8, 7, 1, 2])
    session.propose([context], [9])  # the window is 8 7 1 2
    after = lambda *pair: session._after(session.rows[0], pair)  # noqa: E731
    assert after(8, 7) == pytest.approx({1: 1.2})  # 1 from the prompt, capped
    assert after(1, 2) == pytest.approx({3: 1.0})  # outside the window: as counted
    context = torch.cat([context, torch.tensor([4])])
    for weight in (0.5, 1.0, 1.2):  # 1 2 4 is new, and in the window each time
        session.propose([context], [9])
        assert after(1, 2) == pytest.approx({3: 1.0, 4: weight})
    assert max(weight for found in session.rows[0].after.values() for weight in found.values()) <= 1.2


def test_without_increment_the_table_stays():
    session = start(Aded(increment=0.0, table=TrigramTable.build([[1, 2, 3, 1, 2, 4]], VOCAB)))
    session.propose([torch.tensor([1, 2, 5, 1, 2])], [9])
    assert session._after(session.rows[0], (1, 2)) == {3: 0.5, 4: 0.5}


def test_rows_and_generations_do_not_share_what_they_adapted():
    table = TrigramTable.build([SENTENCE], VOCAB)
    session = start(Aded(table=table))
    session.propose([torch.tensor([3, 4, 9, 3, 4]), torch.tensor([3, 4])], [9, 9])
    assert 9 in session._after(session.rows[0], (3, 4))
    assert 9 not in session._after(session.rows[1], (3, 4))
    assert table.after(3, 4) == {5: 1.0}


def read(session, tree, logits):
    session.read([0], [tree], torch.as_tensor(logits, dtype=torch.float64)[None])


def test_by_distribution_every_verified_node_sets_the_followers_of_its_pair():
    """Pairs (1, 2), (2, 3) and (2, 4), of which one node at most was taken; by hand."""
    session = start(Aded(update="distribution"), model=Table(torch.zeros(5, 5)))
    tree = TokenTree.from_paths(2, [[3], [4]])
    session.propose([torch.tensor([1, 2, 0, 1, 2])], [9])
    law = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.0], [1.0, 0, 0, 0, 0], [0.2, 0.2, 0.2, 0.3, 0.1]]).double()
    read(session, tree, law.log())
    after = lambda *pair: session._after(session.rows[0], pair)  # noqa: E731
    assert after(1, 2) == pytest.approx({3: 0.4, 2: 0.3, 1: 0.2, 0: 0.1, 4: 0.0})  # (1, 2) -> 0 had been counted
    assert list(after(1, 2))[:2] == [3, 2]
    assert after(2, 3)[0] == 1.0
    assert after(2, 4) == pytest.approx({3: 0.3, 0: 0.2, 1: 0.2, 2: 0.2, 4: 0.1})
    assert after(2, 0) == {1: 1.0}  # not verified: as counted in the prompt
    session.propose([torch.tensor([1, 2, 0, 1, 2, 0])], [9])
    assert after(2, 0) == {1: 1.0}, "committed tokens add nothing"
    assert after(1, 2)[0] == pytest.approx(0.1), "committed tokens add nothing"


def test_by_distribution_the_first_of_equal_pairs_counts_and_the_cap_holds():
    session = start(Aded(update="distribution", cap=0.6), model=Table(torch.zeros(3, 3)))
    session.propose([torch.tensor([1, 1])], [9])
    tree = TokenTree.chain(1, [1, 1])
    read(session, tree, torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.3, 0.3, 0.4]]).log())
    assert session._after(session.rows[0], (1, 1)) == pytest.approx({2: 0.6, 1: 0.2, 0: 0.1})


def test_by_distribution_rows_keep_what_they_read_and_padding_is_not_read():
    table = TrigramTable.build([SENTENCE], VOCAB)
    session = start(Aded(update="distribution", table=table))
    session.propose([torch.tensor([3, 4]), torch.tensor([4]), torch.tensor([5, 3, 4])], [9, 9, 0])
    trees = [TokenTree.chain(4, [5]), TokenTree.chain(4), TokenTree.chain(4)]
    logits = torch.zeros(3, 2, VOCAB).scatter(2, torch.tensor([[[9], [8]], [[7], [6]], [[1], [2]]]), 30.0)
    session.read([0, 1, 2], trees, logits)
    first = [max(row.after[3, 4], key=row.after[3, 4].__getitem__) for row in session.rows if (3, 4) in row.after]
    assert first == [9, 1]
    assert max(session.rows[0].after[4, 5], key=session.rows[0].after[4, 5].__getitem__) == 8
    assert not any((4, 5) in row.after for row in session.rows[1:])
    assert table.after(3, 4) == {5: 1.0}


def test_by_distribution_only_then_is_anything_read():
    session = start(Aded())
    session.propose([torch.tensor([3, 4])], [9])
    before = dict(session.rows[0].after)
    session.read([0], [TokenTree.chain(4)], torch.zeros(1, 1, VOCAB))
    assert session.rows[0].after == before


def test_by_distribution_what_the_target_said_is_drafted_when_the_pair_comes_again():
    """After 0 1 come 2 and, at the next time, 3: the second guess was heard beside the first, and never committed."""
    table = torch.full((4, 4), -9.0).scatter(1, torch.tensor([[1], [2], [0], [0]]), 5.0)
    table[1, 3] = 4.0
    session = start(Aded(update="distribution", depth=1), model=Table(table))
    session.propose([torch.tensor([0, 1])], [9])
    read(session, TokenTree.chain(1), table[[1]])
    tree = session.propose([torch.tensor([0, 1, 2, 0, 1])], [9])[0]
    assert set(tree.tokens[list(tree.children[0])].tolist()) >= {2, 3}
    assert 3 not in propose(Aded(depth=1), [0, 1, 2, 0, 1], model=Table(table)).tokens.tolist()


# The search -----------------------------------------------------------------------------------------------------------


def test_a_known_sentence_is_drafted_to_depth_and_one_more():
    tree = propose(Aded(depth=3), [*SENTENCE, *SENTENCE, 3, 4])
    assert tree.tokens.tolist() == [4, 5, 6, 7, 8]
    assert tree.draws == "deterministic"
    assert propose(Aded(depth=3), [*SENTENCE, *SENTENCE, 3, 4], room=2).tokens.tolist() == [4, 5, 6]


@pytest.mark.parametrize("context", [[1], [1, 2], [1, 2, 3]])
def test_a_pair_that_was_never_seen_drafts_nothing(context):
    assert len(propose(Aded(), context)) == 1


def test_the_choice_follows_the_equation():
    root = Node(0, 0.0)
    children = [Node(1, 0.7), Node(2, 0.2), Node(3, 0.1)]
    settings = Aded(exploration=2.0, growth=5.0)
    assert [chosen(settings, root, children).token for _ in range(3)] == [1, 2, 3]  # unvisited ones first
    root.visits = 12
    for child, (visits, reward) in zip(children, [(6, 9.0), (4, 7.0), (2, 2.5)], strict=True):
        child.visits, child.reward = visits, reward
    spread = (2 + math.log(18 / 5)) * math.sqrt(12)
    score = {
        child.token: child.reward / child.visits + spread * child.weight / (1 + child.visits) for child in children
    }
    assert chosen(settings, root, children).token == max(score, key=score.__getitem__)
    children[0].weight = 0.0
    assert chosen(settings, root, children).token == 2


def test_followers_are_drawn_in_proportion_to_their_weight():
    after = [(5, 1.5), (6, 1.0), (7, 0.5)]
    assert [drawn(after, point)[0] for point in (0.0, 0.49, 0.51, 0.83, 0.84, 0.9999999)] == [5, 5, 6, 6, 7, 7]


def test_visits_and_rewards_add_up():
    """Every iteration passes the root; a node's visits are its children's and the one that ended in it."""
    table = {(a, b): [(v, 1 / (2 + (a + v) % 3)) for v in range(4)] for a in range(4) for b in range(4)}
    numbers = [Random(0).random() for _ in range(600)]
    paths = search(Aded(iterations=200, paths=1000, depth=3), (0, 1), 3, table.__getitem__, numbers)
    assert len(set(paths)) == len(paths)
    assert {len(path) for path in paths} == {1, 2, 3}
    assert all(path[:-1] in paths[: paths.index(path)] for path in paths if len(path) > 1), "parents come first"
    few = search(Aded(iterations=200, paths=5, depth=3), (0, 1), 3, table.__getitem__, numbers)
    assert few == paths[:5]


def test_heavier_continuations_are_visited_more():
    table = {(0, 1): [(2, 2.0), (3, 0.1)], (1, 2): [(0, 0.5)], (1, 3): [(0, 0.5)], (2, 0): [], (3, 0): []}
    assert search(Aded(), (0, 1), 2, table.__getitem__, [0.5] * 300) == [(2,), (2, 0), (3,), (3, 0)]


def test_the_reward_is_of_the_new_token():
    """Equal weights at the root; only what comes after tells them apart."""
    table = {(0, 1): [(2, 0.5), (3, 0.5)], (1, 2): [(5, 0.1)], (1, 3): [(5, 2.9)], (2, 5): [], (3, 5): []}
    settings = Aded(exploration=0.0, growth=1e9)
    assert search(settings, (0, 1), 2, table.__getitem__, [0.5] * 300)[0] == (3,)


def test_the_least_visited_drafts_are_trimmed_first():
    text = [token for v, times in ((3, 9), (4, 3), (5, 1)) for token in [1, 2, v, v + 10] * times] + [1, 2]
    full = propose(Aded(depth=1), text)
    assert [full.tokens[path[1:]].tolist() for path in full.paths()] == [[3, 13], [4, 14], [5, 15]]
    few = propose(Aded(depth=1, max_draft=3), text)
    assert few.tokens.tolist() == [2, 3, 13, 4]
    assert len(propose(Aded(depth=1, paths=1), text).paths()) == 1


def test_a_seed_decides():
    text = torch.randint(5, (300,), generator=torch.Generator().manual_seed(0)).tolist()
    settings = Aded(iterations=20, exploration=0.01)
    made = [propose(settings, text, seed=seed).tokens.tolist() for seed in (1, 1, 2, 3, 4)]
    assert made[0] == made[1]
    assert any(made[0] != other for other in made[2:])


def test_a_walk_looks_each_pair_up_once_and_never_goes_deeper_than_it_looks():
    asked = []

    def followers(pair):
        asked.append(pair)
        return [(token, 1 / 12) for token in range(12)]

    settings = Aded()
    search(settings, (0, 1), 3, followers, [0.5] * 3 * settings.iterations)
    assert settings.iterations < len(asked) <= 3 * settings.iterations  # dictionary look-ups, a few for each walk


# The output -----------------------------------------------------------------------------------------------------------


TABLES = {
    "none": None,
    "empty": TrigramTable.build([], VOCAB),
    "noise": TrigramTable.build(torch.randint(VOCAB, (50, 40), generator=torch.Generator().manual_seed(1)), VOCAB),
}


@pytest.mark.parametrize("update", ["committed", "distribution"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("plain", [Greedy(), Sampling(0.7)], ids=str)
def test_any_table_leaves_the_very_tokens_of_plain_decoding(plain, table, update):
    made = [
        decoder(tiny(), PROMPTS, mask=MASK, limit=24, generator=torch.Generator().manual_seed(2))
        for decoder in (plain, Speculative(Aded(table=TABLES[table], update=update), of=plain))
    ]
    assert torch.equal(made[0].ids, made[1].ids)


def test_by_distribution_the_law_is_the_targets():
    texts = Sampling()(laws.TARGET, laws.PROMPT.repeat(8, 1), limit=40, generator=torch.Generator().manual_seed(2)).ids
    drafter = Aded(update="distribution", iterations=8, paths=3, table=TrigramTable.build(texts, laws.V))
    assert laws.joint(drafter, 2000, verifier="match") > 1e-3
    assert laws.joint(drafter, 1000, verifier=Careless()) < 1e-3, "the test would have seen a bias"


def test_a_table_that_knows_nothing_decodes_plainly():
    model = Table(torch.full((6, 6), -5.0).scatter(1, torch.tensor([[1], [2], [3], [4], [5], [0]]), 5.0))
    made = Speculative(Aded())(model, torch.tensor([[0]]), limit=5, generator=torch.Generator())
    assert made.trace.total("drafted") == 0
    assert made.row(0).tolist() == [1, 2, 3, 4, 5]


def test_on_a_text_that_repeats_itself_more_is_accepted_as_it_goes_on():
    """The claim in small: nothing is known at first, and the circle of six tokens is soon drafted whole."""
    model = Table(torch.full((6, 6), -5.0).scatter(1, torch.tensor([[1], [2], [3], [4], [5], [0]]), 5.0))
    made = Speculative(Aded())(model, torch.tensor([[0]]), limit=60, generator=torch.Generator())
    taken = [entry["committed"] for entry in made.trace.iterations]
    assert taken[:4] == [1, 1, 1, 1]
    assert taken[-4:-1] == [5, 5, 5]
    still = Speculative(Aded(increment=0.0))(model, torch.tensor([[0]]), limit=60, generator=torch.Generator())
    assert still.trace.mean_accepted_length == 1.0


def test_by_distribution_more_is_accepted_where_committed_tokens_repeat_little():
    """Of each pair's followers, the target's own likeliest are drafted from the second time on, not those drawn."""
    of = Sampling(0.5)
    made = {
        update: Speculative(Aded(update=update, iterations=40, paths=8), of=of)(
            laws.table(3, 6), torch.zeros(4, 2, dtype=torch.int64), limit=80, generator=torch.Generator().manual_seed(0)
        )
        for update in ("committed", "distribution")
    }
    assert torch.equal(made["committed"].ids, made["distribution"].ids)
    passes = {update: len(one.trace.iterations) for update, one in made.items()}
    assert passes["distribution"] < passes["committed"]


@pytest.mark.slow
def test_the_certificate_with_a_table_of_the_whole_vocabulary():
    """Most pairs are in the table, so that drafts are verified and a bias would show; without one hardly any is, and
    the certificate says that it could not have seen a bias."""
    texts = torch.randint(VOCAB, (400, 400), generator=torch.Generator().manual_seed(1))
    prompts = [torch.tensor([1, 5, 6, 7, 5, 6, 7, 5, 6])]
    words = {"limit": 12, "seeds_tried": (0,), "draws": 8000}
    dense = Speculative(Aded(table=TrigramTable.build(texts, VOCAB)))
    assert certify(dense, tiny(), prompts, **words).verdict == "exact"
    found = certify(Speculative(Aded()), tiny(), prompts, **words)
    assert not any(test.rejected for test in found.law)
    assert found.verdict == "inconclusive (control not rejected)"


@pytest.mark.parametrize(
    "wrong",
    [
        {"update": "both"},
        {"iterations": 0},
        {"depth": 0},
        {"paths": 0},
        {"max_draft": 0},
        {"window": 2},
        {"increment": -0.1},
        {"exploration": float("nan")},
        {"growth": 0.0},
        {"cap": 0.0},
    ],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Aded(**wrong)
