"""The faithfulness task: what it asks, what it measures, and that it tells a good attribution from a bad one."""

import re
from dataclasses import replace

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Attribution, Example, Target
from trivium.core.protocols import LanguageModel, LMOutput
from trivium.evaluation.faithfulness import Faithfulness, decisive_positions
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

TASK = Faithfulness()


class Words:
    """A tokenizer of words that keep the space before them, as byte-level BPE has them."""

    bos = eos = pad = None

    def __init__(self, opening=()):
        texts = [e.text + e.fields["answer"] for split in ("validation", "test") for e in TASK.examples(split)]
        found = sorted({piece for text in texts for piece in re.findall(r" ?\w+|[^\w]", text)})
        self.pieces = ["<s>", *found]
        self.vocab_size = len(self.pieces)
        self.opening = opening

    def encode(self, text):
        return [self.pieces.index(piece) for piece in re.findall(r" ?\w+|[^\w]", text)]

    def decode(self, ids):
        return "".join(self.pieces[id] for id in ids)

    def bytes_of(self, id):
        return b"" if id == 0 else self.pieces[id].encode()


class Picks(LanguageModel):
    """The prediction rests on the tokens of given positions alone."""

    width, depth, offers = 8, 1, frozenset({"causal", "embeds"})

    def __init__(self, vocab_size, places):
        super().__init__()
        self.vocab_size, self.places = vocab_size, sorted(places)
        g = torch.Generator().manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(vocab_size, 8, generator=g))
        self.head = torch.nn.Parameter(torch.randn(8, vocab_size, generator=g))

    def embed(self, ids):
        return self.table[ids]

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        x = self.embed(ids) if embeds is None else embeds
        logits = (x[:, self.places].sum(1, keepdim=True) @ self.head).expand(-1, x.shape[1], -1)[:, -logits_to_keep:]
        return LMOutput(logits, logits)

    def sites(self):
        return ()

    def capture(self, *names):
        raise NotImplementedError

    def edit(self, edits):
        raise NotImplementedError


def system(opening=(), places=(2,)):
    words = Words(opening)
    return System(Picks(words.vocab_size, places), words, "picks")


def pointing(task, built, example, place):
    ids, target = task.question(built, example)
    scores = torch.zeros(len(ids))
    scores[place] = 1.0
    return Attribution(scores, ids, target, "pointing")


def test_there_are_twenty_prompts_to_test_on_and_others_to_tune_on():
    test, validation = TASK.examples("test"), TASK.examples("validation")
    assert (len(test), len(validation)) == (20, 8)
    ids = [example.id for example in (*test, *validation)]
    assert len(set(ids)) == 28
    assert len({example.text for example in (*test, *validation)}) == 28
    for example in (*test, *validation):
        assert example.fields["decisive"] in example.text
        assert example.fields["answer"].startswith(" ")
        assert not example.text.endswith(" ")
        assert example.fields["group"]
    with pytest.raises(ValueError, match="'validation' and 'test', got 'train'"):
        TASK.examples("train")


def test_the_question_is_the_first_token_of_the_answer():
    built = system()
    for example in TASK.examples("test"):
        ids, target = TASK.question(built, example)
        assert built.tokenizer.decode(ids.tolist()) == example.text
        assert built.tokenizer.decode([target.token]) == example.fields["answer"]


def test_a_tokenizer_that_splits_off_the_space_is_asked_for_the_word():
    built = System(wrapped("llama", vocab_size=259), ByteTokenizer(), "bytes")
    example = TASK.examples("test")[0]
    ids, target = TASK.question(built, example)
    assert ids[0] == ByteTokenizer.bos
    assert built.tokenizer.decode(ids[1:].tolist()) == example.text + " "
    assert target.token == ord(example.fields["answer"][1])


def test_decisive_positions_are_the_tokens_that_spell_the_word():
    built = System(wrapped("llama", vocab_size=259), ByteTokenizer(), "bytes")
    ids = built.prompt("In Thailand, Thailand")[0]
    assert decisive_positions(built, ids, "Thailand") == set(range(4, 12))  # the bos, then "In "
    words = system()
    example = TASK.examples("test")[0]
    ids, _ = TASK.question(words, example)
    (place,) = decisive_positions(words, ids, example.fields["decisive"])
    assert words.tokenizer.decode([int(ids[place])]).strip() == example.fields["decisive"]
    with pytest.raises(ValueError, match="'Peru' does not occur"):
        decisive_positions(words, ids, "Peru")


def test_pointing_at_what_decides_scores_best_and_beats_its_control():
    built, example = system(places=(2,)), TASK.examples("test")[0]
    right = TASK.score(built, example, pointing(TASK, built, example, 2)).values
    wrong = TASK.score(built, example, pointing(TASK, built, example, 5)).values
    for name in ("soft_nc", "soft_ns", "hard_nc_zero", "hard_ns_zero"):
        assert right[name] == pytest.approx(1, abs=1e-5), name
        assert right[name] > right[f"{name}_random"], name
    assert right["hard_nc_replace"] > 0.5
    # a wrong position alone takes nothing away; the hard measures remove several tokens, the right one perhaps too
    assert wrong["soft_nc"] == pytest.approx(0, abs=1e-5)
    assert wrong["soft_ns"] == pytest.approx(0, abs=1e-5)
    assert wrong["hard_nc_zero"] < right["hard_nc_zero"]
    assert wrong["hard_ns_zero"] < right["hard_ns_zero"]


def test_every_measure_is_declared_and_has_an_error():
    built, example = system(), TASK.examples("test")[0]
    got = TASK.score(built, example, pointing(TASK, built, example, 2))
    assert set(got.values) == {measure.name for measure in TASK.measures if not measure.pooled}
    assert TASK.measures[0].name == "soft_nc_gain"
    for measure in (measure for measure in TASK.measures if measure.pooled):
        name = measure.name.removesuffix("_log_ratio")
        assert got.vectors[measure.pooled] == (got.values[name], got.values[f"{name}_random"])
    assert set(got.shown["standard_errors"]) == set(got.values) - {"decisive_top3"}


def test_the_decisive_word_counts_where_it_is_among_the_three_best():
    built, example = system(), TASK.examples("test")[0]
    ids, target = TASK.question(built, example)
    (place,) = decisive_positions(built, ids, example.fields["decisive"])
    others = [i for i in range(len(ids)) if i != place]
    for rank, expected in ((2, 1.0), (3, 0.0)):
        scores = torch.zeros(len(ids))
        for order, position in enumerate([*others[:rank], place]):
            scores[position] = 10.0 - order
        got = TASK.score(built, example, Attribution(scores, ids, target))
        assert got.values["decisive_top3"] == expected


def test_the_same_attribution_gives_the_same_numbers_and_nothing_moves():
    built, example = system(), TASK.examples("test")[3]
    built.model.train()
    one, two = (TASK.score(built, example, pointing(TASK, built, example, 4)) for _ in range(2))
    assert one.values == two.values
    assert built.model.training
    assert all(parameter.grad is None for parameter in built.model.parameters())


def test_what_the_tokenizer_puts_before_every_text_is_never_removed():
    built, example = system(opening=(0,), places=(0, 3)), TASK.examples("test")[0]
    seen, run = [], built.model.run
    built.model.run = lambda ids, *, embeds, **more: seen.append(embeds) or run(ids, embeds=embeds, **more)
    TASK.score(built, example, pointing(TASK, built, example, 3))
    rows = torch.cat(seen)
    assert torch.equal(rows[:, 0], built.model.table[0].expand(len(rows), -1))


@pytest.mark.parametrize(
    "change",
    [
        {"draws": 3}, {"hard_draws": 3}, {"weights": "positive"}, {"rescale": "max"}, {"distance": "reference"},
        {"control": "uniform"},
    ],
)  # fmt: skip
def test_every_setting_changes_the_numbers(change):
    built, example = system(places=(2, 4)), TASK.examples("test")[0]
    ids, target = TASK.question(built, example)
    scores = torch.linspace(-1, 1, len(ids))
    before = TASK.score(built, example, Attribution(scores, ids, target)).values
    after = replace(TASK, **change).score(built, example, Attribution(scores, ids, target)).values
    assert before != after


def test_the_batch_size_changes_passes_only():
    built, example = system(), TASK.examples("test")[0]
    with Meter() as few:
        whole = TASK.score(built, example, pointing(TASK, built, example, 2)).values
    with Meter() as many:
        parts = replace(TASK, batch_size=4).score(built, example, pointing(TASK, built, example, 2)).values
    assert parts == pytest.approx(whole, abs=1e-6)
    assert many.spent.calls > few.spent.calls
    assert many.spent.positions == few.spent.positions


def test_another_prompts_attribution_is_refused():
    built, (one, other) = system(), TASK.examples("test")[:2]
    with pytest.raises(ValueError, match=f"other ids than those of {other.id!r}"):
        TASK.score(built, other, pointing(TASK, built, one, 2))


def test_a_model_without_embeddings_cannot_be_judged():
    built, example = system(), TASK.examples("test")[0]
    built.model.offers = frozenset({"causal"})
    with pytest.raises(NotOffered, match="faithfulness needs 'embeds'"):
        TASK.score(built, example, Attribution(torch.ones(1), torch.ones(1, dtype=torch.int64), Target(0)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"draws": 1}, "draws must be at least 2"),
        ({"hard_draws": 0}, "hard_draws must be at least 2"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"weights": "square"}, "weights must be one of magnitude, positive, softmax; got 'square'"),
        ({"rescale": "min"}, "rescale must be one of"),
        ({"distance": "kl"}, "distance must be one of"),
        ({"control": "none"}, "control must be one of"),
    ],
)
def test_bad_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Faithfulness(**wrong)


def test_prompts_of_ones_own():
    built = system()
    text = TASK.examples("test")[0].text
    word = text.split()[0]
    mine = [Example("a", text), Example("b", text, fields={"answer": TASK.examples("test")[0].fields["answer"]})]
    task = Faithfulness(prompts=mine)
    assert list(task.examples("test")) == mine
    assert list(task.examples("validation")) == []
    with Meter() as meter:
        ids, predicted = task.question(built, mine[0])
    assert meter.spent.evaluations == 0
    assert predicted.token == int(built.model(ids[None]).logits[0, -1].argmax())
    assert task.question(built, mine[1])[1] == TASK.question(built, TASK.examples("test")[0])[1]
    got = task.score(built, mine[0], pointing(task, built, mine[0], 2))
    assert "decisive_top3" not in got.values
    marked = Example("c", text, fields={"decisive": word})
    got = Faithfulness(prompts=[marked]).score(built, marked, pointing(task, built, marked, 0))
    assert got.values["decisive_top3"] == 1.0
    with pytest.raises(ValueError, match="prompt 'd' is empty"):
        Faithfulness(prompts=[Example("d", " ")])
    with pytest.raises(ValueError, match="the decisive word 'Peru' does not stand in prompt 'e'"):
        Faithfulness(prompts=[Example("e", text, fields={"decisive": "Peru"})])
