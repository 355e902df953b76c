"""Superposed decoding: against a slow search without a cache, its limits, its cost, and its n-gram tables by hand."""

import itertools
import math
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch

from tests.decoding.models import Table, tiny
from tests.families import VOCAB, wrapped
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Stop
from trivium.decoding._ngrams import NGrams, vocabulary_hash
from trivium.decoding.greedy import Greedy
from trivium.decoding.superposed import Superposed, blend, build_tables
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7]])


class Ids:
    """A tokenizer of the tiny models' size."""

    vocab_size, bos, eos, pad = VOCAB, None, None, None

    def bytes_of(self, id):
        return bytes([id])


def documents(seed=0, number=300, length=20, ids=12):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(ids, (number, length), generator=generator).tolist()


DOCUMENTS = tuple(map(tuple, documents(ids=VOCAB, number=600)))


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tables"))
    build_tables(DOCUMENTS, Ids(), folder)  # type: ignore[arg-type]
    return folder


@cache
def counted(docs, n):
    """How often each n-gram occurs within documents, and each context before anything."""
    grams = Counter(doc[at : at + n] for doc in docs for at in range(len(doc) - n + 1))
    contexts = Counter()
    for gram, count in grams.items():
        contexts[gram[:-1]] += count
    return grams, contexts


def share(docs, context, token):
    grams, contexts = counted(docs, len(context) + 1)
    total = contexts[tuple(context)]
    return grams[(*context, token)] / total if total else None


def slow(model, prompt, k, c, temperature, mix, weights, penalty, docs, limit, stop=()):
    """No cache: every step passes the prompt's embeddings and all blends again; n-grams are counted on the spot."""
    embeds = model.embed(prompt)
    live, finished = [((), 0.0)], []
    for step in range(limit):
        p = (model(embeds=embeds).logits[0, -1] / temperature).softmax(-1)
        kept = p.topk(c)
        shared = {
            v: math.log(x / float(kept.values.sum())) for v, x in zip(*(x.tolist() for x in kept[::-1]), strict=True)
        }
        options = []
        for tokens, score in live:
            text, mixed = prompt[0].tolist() + list(tokens), {}
            for v in shared:
                parts = [
                    w * x
                    for n, w in enumerate(weights, 2)
                    if mix and len(text) >= n - 1 and (x := share(docs, text[len(text) - n + 1 :], v)) is not None
                ]
                mixed[v] = sum(parts)
            for v, logp in shared.items():
                if not mix:
                    options.append(((*tokens, v), score + logp))
                elif not any(mixed.values()):
                    options.append(((*tokens, v), score + (1 - mix) * logp - penalty))
                elif mixed[v]:
                    options.append(((*tokens, v), score + (1 - mix) * logp + mix * math.log(mixed[v])))
        options = sorted(options, key=lambda option: -option[1])[: 2 * k]
        finished = sorted([*finished, *(o for o in options if o[0][-1] in stop)], key=lambda o: -o[1])[:k]
        live = [option for option in options if option[0][-1] not in stop][:k]
        if not live or (len(finished) == k and finished[-1][1] > live[0][1]) or step == limit - 1:
            break
        g = torch.tensor([score for _, score in live], dtype=torch.float64).softmax(0)
        blended = sum(w * model.embed(torch.tensor([[tokens[-1]]])) for w, (tokens, _) in zip(g, live, strict=True))
        embeds = torch.cat([embeds, blended], 1)
    return sorted([*finished, *live], key=lambda o: -o[1])[:k]


@pytest.mark.parametrize("mix", [0.0, 0.54])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_against_a_slow_search(family, k, mix, tables):
    """At mix 0 this is a beam search over the shared distributions, so drafts come in the order of their products."""
    model, stop = tiny(family), (9, 21, 33)
    recipe = Superposed(k, 9, 0.8, mix, penalty=5.0, tables=tables)
    found = recipe.all_drafts(model, PROMPT, limit=8, stop=Stop(tokens=stop))[0].best(k)
    with torch.no_grad():
        wanted = slow(model, PROMPT, k, 9, 0.8, mix, recipe.weights, 5.0, DOCUMENTS, 8, stop)
    assert [draft.tokens for draft in found] == [tokens for tokens, _ in wanted]
    assert [draft.score for draft in found] == pytest.approx([score for _, score in wanted])
    assert len({draft.tokens for draft in found}) == len(found) == k
    assert found[0].perplexity == pytest.approx(math.exp(-wanted[0][1] / len(wanted[0][0])))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "opt"])
def test_one_draft_without_tables_is_greedy(family):
    run = lambda decoder: decoder(tiny(family), PROMPT, limit=16, generator=torch.Generator())  # noqa: E731
    plain, made = run(Greedy()), run(Superposed(1))
    assert torch.equal(made.ids, plain.ids)
    torch.testing.assert_close(made.logprobs, plain.logprobs, atol=1e-9, rtol=0)


def test_a_blend_of_one_is_its_embedding_and_equal_tokens_add_up():
    model = tiny()
    weights = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        blended = torch.cat([model.embed(PROMPT), blend(model, torch.tensor([[3, 4, 5]]), weights)], 1)
        plain = model(torch.cat([PROMPT, torch.tensor([[4]])], 1)).logits
        torch.testing.assert_close(model(embeds=blended).logits, plain, atol=1e-12, rtol=0)
        half = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64)
        same = blend(model, torch.tensor([[3, 4, 3]]), half)
        torch.testing.assert_close(same, blend(model, torch.tensor([[3, 4]]), torch.tensor([[0.5, 0.5]]).double()))


def test_passes_and_cache_do_not_grow_with_the_drafts(monkeypatch):
    model, slots = wrapped("llama"), []
    inner = model.run

    def watched(*arguments, **words):
        out = inner(*arguments, **words)
        slots.append(out.state.slots)
        return out

    monkeypatch.setattr(model, "run", watched)
    for k in (1, 2, 5):
        slots.clear()
        with Meter() as meter:
            found = Superposed(k).all_drafts(model, PROMPT, limit=8)[0]
        assert meter.spent.calls == 8
        assert slots == [7 + step for step in range(8)]  # the prompt, then one blend a step
        assert len(found.best(k)) == k
        assert len(found.effective) == 7
        assert all(1 <= count <= k + 1e-9 for count in found.effective)


def test_rows_of_different_lengths_give_what_they_give_alone(tables):
    recipe = Superposed(tables=tables, temperature=0.5)
    ids = torch.tensor([[0, 0, 0, 3, 4, 5, 1], PROMPT[0].tolist()])
    mask = torch.tensor([[False] * 3 + [True] * 4, [True] * 7])
    together = recipe.all_drafts(tiny(), ids, limit=8, mask=mask)
    for row, alone in enumerate((ids[:1, 3:], PROMPT)):
        one = recipe.all_drafts(tiny(), alone, limit=8)[0]
        assert [draft.tokens for draft in one.best(3)] == [draft.tokens for draft in together[row].best(3)]


# The tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 6])
def test_shares_are_counts_over_counts_within_documents(n):
    docs = tuple(map(tuple, [*documents(ids=4, number=30), [1], [2, 3]]))
    tables = NGrams.build(docs, Ids(), (n,))  # type: ignore[arg-type]
    tokens, known = np.arange(5), 0
    for context in itertools.islice(itertools.product(range(4), repeat=n - 1), 200):
        found = tables.orders[n].share(context, tokens)
        expected = [share(docs, context, token) for token in tokens.tolist()]
        if found is None:
            assert expected[0] is None
        else:
            known += 1
            assert found.tolist() == pytest.approx(expected)
            assert found.sum() == pytest.approx(1)
    assert known > 3


def test_no_gram_spans_two_documents_and_short_texts_use_short_orders():
    tables = NGrams.build([[1, 2, 3], [4, 5]], Ids(), (2, 3))  # type: ignore[arg-type]
    assert tables.orders[2].share([3], np.array([4])) is None
    mixed = lambda text: tables.mixed({2: 0.25, 3: 0.5}, text, np.array([2, 3])).tolist()  # noqa: E731
    assert mixed([1]) == [0.25, 0.0]
    assert mixed([1, 2]) == [0.0, 0.75]
    assert mixed([7, 2]) == [0.0, 0.25]
    assert mixed([]) == [0.0, 0.0]


def test_pruning_drops_rare_grams_and_keeps_the_counts_of_contexts():
    tables = NGrams.build([[1, 2], [1, 2], [1, 3]], Ids(), (2,), least=2)  # type: ignore[arg-type]
    assert tables.orders[2].share([1], np.array([2, 3])).tolist() == pytest.approx([2 / 3, 0.0])


def test_saved_tables_are_mapped_and_equal(tmp_path):
    tables = NGrams.build(documents(), Ids(), (2, 4))  # type: ignore[arg-type]
    tables.save(tmp_path)
    loaded = NGrams.load(tmp_path)
    assert (loaded.vocab_size, loaded.vocabulary) == (VOCAB, vocabulary_hash(Ids()))  # type: ignore[arg-type]
    for n in (2, 4):
        assert isinstance(loaded.orders[n].grams, np.memmap)
        for name in ("grams", "counts", "totals"):
            assert np.array_equal(getattr(loaded.orders[n], name), getattr(tables.orders[n], name))


def test_tables_of_another_vocabulary_are_refused(tmp_path):
    build_tables([[1, 2, 3, 4, 5, 6, 7]], ByteTokenizer(), str(tmp_path / "bytes"))
    with pytest.raises(ValueError, match="259 ids, the model has 64"):
        Superposed(tables=str(tmp_path / "bytes")).all_drafts(tiny(), PROMPT, limit=2)
    system = System(wrapped("llama", vocab_size=259), ByteTokenizer(), "bytes")
    fitting = Superposed(tables=str(tmp_path / "bytes"))
    assert system.fit(fitting) is fitting
    build_tables([[1, 2, 3, 4, 5, 6, 7]], Ids(), str(tmp_path / "ids"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another tokenizer"):
        system.fit(Superposed(tables=str(tmp_path / "ids")))
    with pytest.raises(FileNotFoundError, match="no n-gram tables"):
        Superposed(tables=str(tmp_path)).all_drafts(tiny(), PROMPT, limit=2)
    build_tables([[1, 2, 3]], Ids(), str(tmp_path / "short"), orders=(2,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no order 3"):
        Superposed(tables=str(tmp_path / "short")).all_drafts(tiny(), PROMPT, limit=2)


@pytest.mark.parametrize(
    ("docs", "words", "message"),
    [
        ([[1, VOCAB]], {}, "outside"),
        ([[1, -1, 2]], {}, "outside"),
        ([], {}, "no document has 2"),
        ([[1]], {}, "no document has 2"),
        ([[1, 2]], {"orders": (1,)}, "orders"),
        ([[1, 2]], {"orders": ()}, "orders"),
        ([[1, 2]], {"least": 0}, "least"),
    ],
)
def test_what_cannot_be_counted(docs, words, message):
    with pytest.raises(ValueError, match=message):
        NGrams.build(docs, Ids(), **{"orders": (2,)} | words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"drafts": 0}, "drafts"),
        ({"candidates": 2}, "candidates"),
        ({"temperature": 0.0}, "temperature"),
        ({"mix": -0.1}, "mix"),
        ({"mix": 1.1}, "mix"),
        ({"mix": 0.5}, "no n-gram tables"),
        ({"weights": ()}, "weights"),
        ({"weights": (0.0, 0.0)}, "weights"),
        ({"penalty": -1.0}, "penalty"),
    ],
)
def test_settings_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=message):
        Superposed(**wrong)


def test_what_the_model_must_offer():
    with pytest.raises(ValueError, match="only 4 tokens"):
        model = Table(torch.zeros(4, 4).double())
        model.offers |= {"embeds"}
        Superposed().all_drafts(model, torch.tensor([[1]]), limit=2)
    with pytest.raises(NotOffered, match="embeds"):
        Superposed().all_drafts(Table(torch.zeros(16, 16).double()), torch.tensor([[1]]), limit=2)
