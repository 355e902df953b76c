"""kNN-LM taken apart: figures by hand from the store, one factor at a time, and controls."""

import math
from dataclasses import replace

import pytest
import torch

from tests.families import wrapped
from trivium.data.corpus import Corpus
from trivium.evaluation.knn_lm import Figures, KnnLM
from trivium.models.datastore import entries
from trivium.models.system import System
from trivium.nn.inverted_file import InvertedFile, recall
from trivium.nn.nearest import search
from trivium.tokenization.byte import ByteTokenizer

LINES = [f"the {one} went to the {two} and saw the {three}. it was a day in {one}" for one, two, three in
         [("fox", "well", "sun"), ("owl", "barn", "moon"), ("hare", "hill", "rain"), ("mole", "lake", "snow"),
          ("bear", "mill", "wind"), ("crow", "gate", "fog")]]  # fmt: skip
CORPUS = Corpus("lines", {"train": LINES[:3], "validation": LINES[3:4], "test": [*LINES[4:], "x"]})
MORE = Corpus("more", CORPUS.splits | {"train": [f"{line} or {other}" for line in LINES[:3] for other in LINES[:3]]})
TASK = KnnLM(CORPUS, neighbours=5, documents=3, characters=60, temperatures=(0.1, 1.0), batch_size=2)
MANY = replace(TASK, corpus=MORE, code=8)


@pytest.fixture(scope="module")
def system():
    return System(wrapped("llama", vocab_size=259), ByteTokenizer(), "made")


def tables(system, task, texts):
    """By sorting all distances: the model's and the neighbours' log-probabilities of every token."""
    store, asked = entries(system, CORPUS["train"]), entries(system, texts, likelihoods=True)
    scores = -(asked.keys.double()[:, None] - store.keys.double()).square().sum(-1)
    best, index = scores.sort(dim=1, descending=True)
    best, values = best[:, : task.neighbours], store.values[index[:, : task.neighbours]]
    return asked, best, values


def test_figures_are_those_of_sorting_everything(system):
    tuning, near, _ = tables(system, TASK, CORPUS["validation"])
    scale = float((-near).mean())
    best = None
    for temperature in TASK.temperatures:
        _, near, values = tables(system, TASK, CORPUS["validation"])
        p = ((near / scale / temperature).softmax(1) * (values == tuning.values[:, None])).sum(1)
        for at in range(200):
            share = at / 199
            loss = -float(((1 - share) * tuning.logp.exp() + share * p).log().mean())
            if best is None or loss < best[0] - 1e-12:
                best = loss, temperature, share
    texts = [text[:60] for text in CORPUS["test"]]
    test, near, values = tables(system, TASK, texts)
    p = ((near / scale / best[1]).softmax(1) * (values == test.values[:, None])).sum(1)
    lm = test.logp.exp()
    mixed = (1 - best[2]) * lm + best[2] * p
    got = TASK.figures(system, TASK.read(system))
    assert (got.temperature, got.share) == (best[1], pytest.approx(best[2]))
    assert got.share > 0.3  # a random model knows less than its store
    assert got.lm == pytest.approx(-float(test.logp.sum()))
    assert got.mixed == pytest.approx(-float(mixed.log().sum()), rel=1e-5)
    assert got.best == pytest.approx(-float(torch.maximum(lm, p).log().sum()), rel=1e-5)
    assert got.helped == pytest.approx(float((p > lm).double().mean()))
    assert (got.tokens, got.words) == (121, sum(len(text.split()) for text in texts))
    assert got.best <= min(got.lm, got.mixed)
    observed = [TASK.score(system, example).values for example in TASK.examples("test")]
    for name, whole in (("lm", got.lm), ("loss", got.mixed), ("oracle", got.best), ("helped", 121 * got.helped)):
        assert sum(each[name] * each["tokens"] for each in observed) == pytest.approx(whole, rel=1e-6)
    assert observed[0]["gain"] == pytest.approx(observed[0]["lm"] - observed[0]["loss"])
    assert [each["tokens"] for each in observed] == [60, 60, 1]
    assert [(each["lm"], each["loss"]) for each in observed] == [pytest.approx(each) for each in got.by_text]


def test_one_factor_at_a_time(system):
    found = TASK.vary(
        system,
        {
            "representation": ["ffn", "final"],
            "similarity": ["l2", "dot"],
            "temperature": [0.1, 1.0],
            "share": [0.1, 1.0],
            "whiten": [True],
            "shuffled": [True],
        },
    )
    plain = TASK.figures(system, TASK.read(system))
    for same in (found["representation"]["ffn"], found["similarity"]["l2"], found["share"]["1.0"]):
        assert same.mixed == pytest.approx(plain.mixed)
    assert found["temperature"][str(plain.temperature)].mixed == pytest.approx(plain.mixed)
    alone = KnnLM(CORPUS, neighbours=5, documents=3, characters=60, temperatures=(0.1, 1.0), representation="final")
    assert alone.figures(system, alone.read(system)).mixed == pytest.approx(found["representation"]["final"].mixed)
    different = [found["representation"]["final"], found["similarity"]["dot"], found["whiten"]["True"]]
    assert len({round(one.mixed, 3) for one in (*different, plain)}) == 4
    assert found["share"]["0.1"].mixed > plain.mixed
    control = found["shuffled"]["True"]
    assert control.helped < plain.helped
    assert plain.gain_over(control) > 0.1
    assert plain.gain_over(plain) == 0
    with pytest.raises(ValueError, match="a factor is one of"):
        TASK.vary(system, {"neighbours": [3]})


def test_search_that_is_exact_but_for_the_codes(system):
    """All lists probed and all entries asked for: only the stored scores differ from those of the exact search."""
    pytest.importorskip("faiss")
    read = MANY.read(system)
    whole = replace(MANY, neighbours=len(read["store"]), lists=4, probes=4)
    exact = whole.figures(system, read)
    recomputed = replace(whole, search="recomputed").figures(system, read)
    stored = replace(whole, search="stored").figures(system, read)
    assert recomputed.mixed == pytest.approx(exact.mixed, rel=1e-5)
    assert (recomputed.temperature, recomputed.share) == (exact.temperature, exact.share)
    assert abs(stored.mixed - exact.mixed) > 1e-3 * exact.mixed
    assert {exact.recall, recomputed.recall, stored.recall} == {1.0}
    assert {exact.entries, stored.entries} == {len(read["store"])}


def test_approximate_search_finds_less_and_tells_how_much(system):
    pytest.importorskip("faiss")
    read = MANY.read(system)
    few = replace(MANY, search="stored", lists=30, probes=1, neighbours=40)
    got = few.figures(system, read)
    store, test = read["store"], read["test"]
    scores, index = InvertedFile.build(store.keys, lists=30, code=8).search(test.keys, 40, 1)
    said = store.values[index].masked_fill(scores == -math.inf, -1) == test.values[:, None]
    p = (scores.double() / got.tau).softmax(1).nan_to_num(0).mul(said).sum(1)
    best, own = search(test.keys, store.keys, 40)[1], test.logp.exp()
    assert got.recall == recall(scores, index, best)
    assert got.recall < 0.9
    answered = (scores > -math.inf).any(1)
    mixed = torch.where(answered, (1 - got.share) * own + got.share * p, own)
    assert got.mixed == pytest.approx(-float(mixed.log().sum()), rel=1e-6)
    assert got.unanswered == int((~answered).sum())


def test_tokens_without_a_neighbour_are_the_models_own(system, monkeypatch):
    pytest.importorskip("faiss")
    read = MANY.read(system)
    found = InvertedFile.search

    def blind(self, queries, k, probes=32):
        scores, index = found(self, queries, k, probes)
        return scores.index_fill(0, torch.arange(0, len(scores), 2), -math.inf), index

    monkeypatch.setattr(InvertedFile, "search", blind)
    for search_by in ("stored", "recomputed"):
        task = replace(MANY, search=search_by, tau="auto")
        got, tuned = task.figures(system, read), task._tuned(read["store"], read["tuning"], read["test"])
        assert got.unanswered == (got.tokens + 1) // 2
        assert got.share > 0
        assert torch.equal(tuned.mixed[::2], read["test"].logp[::2])
        assert (tuned.mixed[1::2] != read["test"].logp[1::2]).all()
        assert math.isfinite(got.mixed)


def test_tau_by_the_nearest_neighbours_or_by_hand(system):
    read = MANY.read(system)
    scores = search(read["tuning"].keys, read["store"].keys, 5)[0]
    auto = replace(MANY, tau="auto").figures(system, read)
    assert auto.tau == pytest.approx(float((-scores[:, 0]).median()))
    assert auto.temperature == pytest.approx(auto.tau / float(-scores.mean()), rel=1e-6)
    by_hand = replace(MANY, tau=auto.tau).figures(system, read)
    assert by_hand.mixed == auto.mixed
    levels = MANY.vary(system, {"tau": ["auto", 7.5]})["tau"]
    assert levels["auto"].mixed == pytest.approx(auto.mixed)
    assert levels["7.5"].tau == 7.5
    read["tuning"] = replace(read["store"], logp=torch.zeros(len(read["store"])))
    with pytest.raises(ValueError, match="tau cannot be the median distance"):
        replace(MANY, tau="auto").figures(system, read)


def test_centres_in_place_of_entries(system):
    read = MANY.read(system)
    plain = MANY.figures(system, read)
    everything = replace(MANY, clusters=1.0, neighbours=plain.entries).figures(system, read)
    assert everything.mixed == pytest.approx(replace(MANY, neighbours=plain.entries).figures(system, read).mixed)
    fewer = replace(MANY, clusters=0.1).figures(system, read)
    counts = read["store"].values.unique(return_counts=True)[1]
    assert fewer.entries == int((counts * 0.1 - 1e-9).ceil().sum())
    assert fewer.mixed != plain.mixed
    assert fewer.mixed < fewer.lm
    found = MANY.vary(system, {"clusters": [0.1, None]})["clusters"]
    assert found["0.1"].mixed == pytest.approx(fewer.mixed)
    assert found["None"].mixed == pytest.approx(plain.mixed)


def test_centres_that_learn_their_words_say_more_with_all_of_them(system):
    read = MANY.read(system)
    for changed in ({}, {"similarity": "dot"}):
        fixed = replace(MANY, clusters=0.1, neighbours=20, **changed)
        learned = replace(fixed, learned=8)
        plain, trained = fixed.figures(system, read), learned.figures(system, read)
        assert trained.entries == plain.entries
        assert trained.mixed < plain.mixed
        assert learned.figures(system, read) == trained
    control = replace(learned, shuffled=True).figures(system, read)
    assert control.mixed > trained.mixed + 0.1 * trained.tokens
    found = replace(MANY, clusters=0.1, neighbours=20).vary(system, {"learned": [0, 8]})["learned"]
    assert found["8"].mixed < found["0"].mixed


def test_another_model_in_place_of_neighbours(system):
    other = System(wrapped("llama", seed=1, vocab_size=259), ByteTokenizer(), "other")
    got = TASK.beside(system, other)
    tuning, test = ([entries(one, texts, likelihoods=True).logp for one in (system, other)]
                    for texts in (CORPUS["validation"], [text[:60] for text in CORPUS["test"]]))  # fmt: skip
    losses = [-float(((1 - at / 199) * tuning[0].exp() + at / 199 * tuning[1].exp()).log().mean()) for at in range(200)]
    share = losses.index(min(losses)) / 199
    assert 0 < share < 1
    assert got.share == pytest.approx(share)
    assert got.mixed == pytest.approx(-float(((1 - share) * test[0].exp() + share * test[1].exp()).log().sum()))
    assert got.best == pytest.approx(-float(torch.maximum(*test).sum()))
    assert got.lm == pytest.approx(TASK.figures(system, TASK.read(system)).lm)
    assert TASK.beside(system, system).gain_over(got) != 0
    words = System(wrapped("llama", seed=1, vocab_size=259), Backwards(), "backwards")
    with pytest.raises(ValueError, match="made and backwards read other tokens"):
        TASK.beside(system, words)


class Backwards(ByteTokenizer):
    def encode(self, text):
        return super().encode(text)[::-1]


def test_a_store_on_disk_and_narrow_keys(system, tmp_path):
    plain = TASK.figures(system, TASK.read(system))
    kept = replace(TASK, folder=str(tmp_path))
    for _ in range(2):  # made, and found again
        assert kept.figures(system, kept.read(system)) == plain
    narrow = replace(TASK, folder=str(tmp_path / "narrow"), dtype="float16")
    read = narrow.read(system)
    assert read["store"].keys.dtype == torch.float16
    assert replace(TASK, dtype="float16").figures(system, narrow.read(system)) == narrow.figures(system, read)
    for changed in ({}, {"whiten": True}, {"clusters": 0.5}):
        wide, half = (
            replace(task, **changed).figures(system, read) for task, read in ((TASK, TASK.read(system)), (narrow, read))
        )
        assert half.mixed == pytest.approx(wide.mixed, rel=0.02)
        assert half.mixed != wide.mixed
    found = kept.vary(system, {"representation": ["ffn", "final"]})["representation"]
    assert found["ffn"].mixed == pytest.approx(plain.mixed)
    assert sorted(path.name for path in tmp_path.glob("*")) == ["both", "ffn", "narrow"]
    with pytest.raises(ValueError, match="made with texts and windows whose digest is"):
        replace(kept, store=20).read(system)


def test_perplexities_per_token_and_per_word_and_what_does_not_compare():
    one = Figures(lm=20.0, mixed=10.0, best=5.0, helped=0.5, share=0.2, temperature=1.0, tokens=10, words=4)
    assert one.perplexity() == pytest.approx(math.e)
    assert one.perplexity("lm") == pytest.approx(math.exp(2))
    assert one.perplexity("best", per_word=True) == pytest.approx(math.exp(5 / 4))
    other = Figures(lm=20.0, mixed=12.0, best=5.0, helped=0.5, share=0.2, temperature=1.0, tokens=10, words=4)
    assert one.gain_over(other) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="10 tokens of 4 words and 11 of 4 are not the same text"):
        one.gain_over(Figures(20.0, 12.0, 5.0, 0.5, 0.2, 1.0, 11, 4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"store": 0}, {"tuning": 0}, {"documents": 0}, {"characters": 0}, {"neighbours": 0}, {"grid": 1}, {"length": 1},
        {"batch_size": 0}, {"share": 0.0}, {"share": 1.5}, {"temperatures": ()}, {"temperatures": (0.0,)},
        {"representation": "no"}, {"similarity": "no"}, {"search": "no"}, {"dtype": "no"}, {"lists": 0},
        {"probes": 0}, {"code": 0}, {"tau": "no"}, {"tau": 0.0}, {"tau": math.inf}, {"clusters": 0.0},
        {"clusters": 1.1}, {"learned": -1}, {"learned": 2}, {"tau": "auto", "similarity": "dot"},
    ],
)  # fmt: skip
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        KnnLM(**wrong)


def test_more_neighbours_than_entries_are_refused(system):
    with pytest.raises(ValueError, match="entries there are to find, got 5000"):
        KnnLM(CORPUS, neighbours=5000).figures(system, TASK.read(system))
