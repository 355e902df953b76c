"""What stands for a token in ReAGent: draws from a masked model, words of the same part of speech."""

from types import SimpleNamespace

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from tests.vocabulary.systems import OLD, byte_level, native, pretrained, sentences, wordpiece
from trivium.attribution._explanation import ask
from trivium.attribution._prediction import Prediction
from trivium.attribution._replacers import ROWS, classes, lexicon, masked, tagged
from trivium.attribution.reagent import PAPER, ReAGent
from trivium.compare.contender import build, describe
from trivium.core.nouns import Target
from trivium.models.huggingface import wrap
from trivium.models.pseudo_likelihood import hidden_logprobs
from trivium.models.sources import store
from trivium.models.system import System

TEXT = "the red cat saw a small bird near the hill today"


@pytest.fixture(scope="module")
def explained():
    return native()


def bert(tokenizer, positions=64):
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=positions,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForMaskedLM(config).eval()
        with torch.no_grad():
            model.get_input_embeddings().weight.normal_(std=0.5)
            model.cls.predictions.bias.normal_()
    return System(wrap(model), tokenizer, "bert")


@pytest.fixture(scope="module")
def masking():
    return bert(wordpiece(sentences(OLD), 120))


@pytest.fixture(scope="module")
def folder(masking, tmp_path_factory):
    path = tmp_path_factory.mktemp("masked")
    store(masking, path)
    return str(path)


def prediction(system, explainer=None):
    return Prediction(explainer or ReAGent(), system.model, system.prompt(TEXT)[0], Target(5))


def drawn(replacer, count):
    draw = torch.Generator().manual_seed(0)
    return torch.cat([replacer(draw) for _ in range(count)])


def test_draws_follow_the_masked_model(explained, masking, folder):
    """By hand: the word hidden in the masked model's own tokens, and its words that both know, renormalised."""
    asked = prediction(explained)
    ids = asked.ids.tolist()
    with torch.no_grad():
        got = drawn(masked(asked, folder, explained.tokenizer), 2000)
    place = 2
    spelt = [explained.tokenizer.bytes_of(id) for id in range(explained.tokenizer.vocab_size)]
    assert spelt[ids[place]] == b" cat"
    words = TEXT.split()
    theirs = [masking.tokenizer.encode(word) for word in words]
    assert all(len(one) == 1 for one in theirs)
    row = [one[0] for one in theirs]
    row[place] = masking.tokenizer.inner.mask_token_id
    with torch.no_grad():
        p = masking.model(torch.tensor([row])).logits[0, place].softmax(-1)
    both = {
        spelt.index(piece): p[id].item()
        for id in range(masking.tokenizer.vocab_size)
        if (piece := masking.tokenizer.bytes_of(id)) in spelt and piece
    }
    total = sum(both.values())
    assert len(both) > 10
    found = got[:, place].bincount(minlength=len(spelt)) / len(got)
    for id, chance in both.items():
        assert found[id].item() == pytest.approx(chance / total, abs=0.04)
    assert set(got[:, place].tolist()) <= both.keys()
    assert (found.argmax() == max(both, key=lambda id: both[id])).item()


def test_one_token_stays_one_token_and_passes_are_counted(explained, folder):
    asked = prediction(explained)
    with torch.no_grad():
        replacer = masked(asked, folder, explained.tokenizer)
    assert len(asked.ids) > ROWS
    assert asked.forwards == len(asked.ids)
    got = replacer(torch.Generator().manual_seed(0))
    assert got.shape == (2, len(asked.ids))
    assert (got[0] != got[1]).any()
    assert torch.equal(got, replacer(torch.Generator().manual_seed(0)))


def test_a_hidden_token_is_read_the_same_alone_and_beside_shorter_rows(masking):
    mask = masking.tokenizer.inner.mask_token_id
    rows = [[mask, 7, 8, 9, 10], [7, mask], [9, 8, mask]]
    together = hidden_logprobs(masking, rows, [0, 1, 2])
    alone = torch.cat([hidden_logprobs(masking, [row], [place]) for row, place in zip(rows, [0, 1, 2], strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_where_both_read_the_same_tokens_nothing_is_spelt(masking):
    """A word hidden by the token itself, the others as they are, though the decoded text would not say so."""
    from trivium.attribution._replacers import _hidden

    ids = [masking.tokenizer.inner.unk_token_id, 9, 10]
    rows, places = _hidden(masking, ids, masking.tokenizer)
    mask = masking.tokenizer.inner.mask_token_id
    assert rows == [[mask, 9, 10], [ids[0], mask, 10], [ids[0], 9, mask]]
    assert places == [0, 1, 2]


def test_what_opens_and_closes_a_text_stands_around_it(masking):
    from trivium.attribution._replacers import _hidden

    inner = masking.tokenizer.inner
    opening = SimpleNamespace(
        opening=(inner.cls_token_id,), inner=inner, vocab_size=masking.tokenizer.vocab_size, encode=lambda text: [9]
    )
    rows, places = _hidden(System(masking.model, opening, "bert"), [3, 4], byte_level(sentences(OLD), 320))
    assert places == [2, 2]
    assert rows[0][0] == inner.cls_token_id
    assert rows[0][-1] == inner.sep_token_id


def test_explaining_with_a_masked_model_end_to_end(folder):
    system = pretrained()
    asked = ask(system, TEXT, target=" cat")
    explainer = build("attribution", f"reagent(masked='{folder}', steps=3)")
    why = asked.explain(explainer)
    assert why.scores.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert why.settings["masked"] == folder
    assert describe(explainer).startswith("reagent(")
    other = asked.explain(build("attribution", "reagent(steps=3)"))
    assert (why.scores - other.scores).abs().max() > 1e-4


def test_what_a_masked_model_must_have(explained, folder, tmp_path):
    asked = prediction(explained)
    store(bert(wordpiece(sentences(OLD), 120), positions=8), tmp_path / "short")
    with pytest.raises(ValueError, match="which has 8 positions"):
        masked(asked, str(tmp_path / "short"), explained.tokenizer)
    store(pretrained(), tmp_path / "causal")
    with pytest.raises(ValueError, match="causal is no masked model, or has no mask token"):
        masked(asked, str(tmp_path / "causal"), explained.tokenizer)
    strange = wordpiece(["жжж яяя"] * 9, 12)
    store(bert(strange), tmp_path / "strange")
    with pytest.raises(ValueError, match="no token in common"):
        masked(asked, str(tmp_path / "strange"), explained.tokenizer)
    with pytest.raises(ValueError, match="must know the tokenizer"):
        ReAGent(masked=folder)(explained.model, asked.ids, Target(5), generator=torch.Generator())
    with pytest.raises(ValueError, match="only one of masked, tags"):
        ReAGent(masked=folder, tags="words.tsv")
    with pytest.raises(ValueError, match="only one of tags, replacer"):
        ReAGent(tags="words.tsv", replacer="self")


# By part of speech ----------------------------------------------------------------------------------------------------

NOUNS, VERBS = ("cat", "mat", "bird", "hill", "home"), ("sat", "saw", "fly")


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text("".join(f"{word}\t{tag}\n" for tag, some in (("NOUN", NOUNS), ("VERB", VERBS)) for word in some))
    return str(path)


def spelt(system, ids):
    return {system.tokenizer.bytes_of(int(id)).decode().strip() for id in ids}


def test_a_noun_is_replaced_by_any_noun_alike(explained, words):
    got = drawn(tagged(prediction(explained), words, explained.tokenizer), 1000)
    assert spelt(explained, got[:, 2]) == set(NOUNS)
    assert spelt(explained, got[:, 3]) == set(VERBS)
    counts = got[:, 2].bincount()
    counts = counts[counts > 0]
    assert counts.min() > 0.6 * counts.float().mean()
    assert counts.max() < 1.4 * counts.float().mean()


def test_tokens_without_a_tag_are_exchanged_among_each_other(explained, words):
    got = drawn(tagged(prediction(explained), words, explained.tokenizer), 300)
    assert not spelt(explained, got[:, 1]) & {*NOUNS, *VERBS}  # "red" is not in the list
    begins = [explained.tokenizer.bytes_of(int(id))[:1] == b" " for id in got[:, 1]]
    assert all(begins)


def test_what_is_no_text_is_never_drawn_and_stays(explained, words):
    members, start, count, of = classes(words, 0, explained.tokenizer)
    special = explained.tokenizer.eos
    assert special not in members.tolist()
    assert of[special] == -1
    ids = torch.tensor([special, *prediction(explained).ids.tolist()])
    asked = Prediction(ReAGent(), explained.model, ids, Target(5))
    got = drawn(tagged(asked, words, explained.tokenizer), 20)
    assert (got[:, 0] == special).all()
    assert (start + count).max() == len(members) == explained.tokenizer.vocab_size - 2


def test_the_commonest_tag_of_a_word_in_a_treebank(tmp_path):
    def row(number, form, tag):
        return "\t".join([str(number), form, "_", tag, "_", "_", "0", "root", "_", "_"])

    path = tmp_path / "bank.conllu"
    lines = [
        "# sent_id = 1",
        row(1, "Run", "NOUN"),
        row(2, "run", "VERB"),
        row(3, "run", "VERB"),
        row("4-5", "don't", "_"),
        row(4, "do", "AUX"),
        row(5, "n't", "PART"),
        row("5.1", "ghost", "VERB"),
        "",
    ]
    path.write_text("\n".join(lines) + "\n")
    tags = lexicon(str(path))
    assert tags == {"run": "VERB", "Run": "NOUN", "do": "AUX", "n't": "PART"}


def test_files_that_hold_no_tags(explained, tmp_path):
    asked = prediction(explained)
    bad = tmp_path / "bad.tsv"
    bad.write_text("cat\tNOUN\ncat NOUN\n")
    with pytest.raises(ValueError, match=r"bad.tsv, line 2: expected the ten columns of CoNLL-U.*got 'cat NOUN'"):
        tagged(asked, str(bad), explained.tokenizer)
    bad.write_text("\n# nothing\n")
    with pytest.raises(ValueError, match="holds no tagged word"):
        tagged(asked, str(bad), explained.tokenizer)
    bad.write_text("Straße\tNOUN\n")
    with pytest.raises(ValueError, match="none of the words"):
        tagged(asked, str(bad), explained.tokenizer)


def test_explaining_by_part_of_speech_end_to_end(explained, words):
    asked = ask(explained, TEXT, target=" cat")
    one = asked.explain(ReAGent(tags=words, steps=3))
    again = asked.explain(ReAGent(tags=words, steps=3))
    assert torch.equal(one.scores, again.scores)
    assert one.scores.sum().item() == pytest.approx(1.0, abs=1e-5)


def test_the_paper_and_the_default_need_neither():
    assert (PAPER.masked, PAPER.tags, PAPER.replacer) == (None, None, "uniform")
    tokenizer = object()
    assert ReAGent().fitted(tokenizer).tokenizer is None
    assert ReAGent(tags="words.tsv").fitted(tokenizer).tokenizer is tokenizer
