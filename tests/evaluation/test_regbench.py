import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.compare.contender import build, describe
from trivium.core.protocols import LMOutput
from trivium.data.automata import Automaton
from trivium.data.regbench import LETTERS, SEPARATOR, RegularLanguages, legal, letter, ngram_law, true_law
from trivium.evaluation.regbench import RegBench, marks
from trivium.evaluation.stats import intervals
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

LANGUAGES = RegularLanguages(words=(4, 8), train=5, held_out=12)
TASK = RegBench(LANGUAGES, documents=8)


class Plain(ByteTokenizer):
    """Nothing before a text."""

    opening = ()


class Knows(Uniform):
    """Gives each next symbol of one of these documents the probability that a law gives it, and separators most."""

    def __init__(self, laws, opening=1):
        super().__init__()
        self.laws, self.opening = laws, opening

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        said = bytes(ids[0, self.opening :].tolist()).decode()
        document = next(text for text in self.laws if text.startswith(said))
        logits = torch.full((*ids.shape, 259), -30.0)
        logits[..., ord(SEPARATOR)] = 5.0
        law = torch.from_numpy(self.laws[document]).float().clamp(min=1e-30).log()
        start = 1 - self.opening
        logits[0][:, [ord(symbol) for symbol in LETTERS]] = law[start : start + ids.shape[1]]
        return LMOutput(logits, self.table[ids])


def knowing(law, opening=1):
    laws = {example.text: law(example) for example in TASK.examples("test")}
    return System(Knows(laws, opening), ByteTokenizer() if opening else Plain(), "knows")


def source(example):
    return true_law(example.text, example.fields["automaton"])


@pytest.mark.parametrize("opening", [0, 1])
def test_the_source_itself_makes_no_mistake(opening):
    for example in TASK.examples("test"):
        seen = TASK.score(knowing(source, opening), example).values
        assert seen["accuracy"] == 1.0
        assert seen["total_variation"] == pytest.approx(0, abs=1e-6)
        letters = sum(symbol != SEPARATOR for symbol in example.text)
        assert seen["places"] == letters - (1 - opening)
        allowed = torch.from_numpy(legal(example.text, example.fields["automaton"]))
        places = allowed.any(1)
        right, distance = marks(torch.from_numpy(source(example))[places], allowed[places])
        assert right.all()
        assert (distance == 0).all()


@pytest.mark.parametrize("opening", [0, 1])
def test_any_law_is_scored_place_by_place(opening):
    def law(example):
        return ngram_law(example.text, 2)

    for example in TASK.examples("test")[:4]:
        seen = TASK.score(knowing(law, opening), example).values
        true, said = source(example), law(example)
        right, distance, count = 0, 0.0, 0
        for place, symbol in enumerate(example.text):
            if symbol == SEPARATOR or place < 1 - opening:
                continue
            count += 1
            right += bool(true[place, said[place].argmax()] > 0)
            distance += abs(true[place] - said[place]).sum() / 2
        assert seen["accuracy"] == pytest.approx(right / count)
        assert seen["total_variation"] == pytest.approx(distance / count, abs=1e-6)


def test_who_knows_nothing_is_as_far_as_the_letters_that_are_not_legal():
    example = TASK.examples("test")[0]
    allowed = legal(example.text, example.fields["automaton"])
    count = allowed.sum(1)[allowed.any(1)]
    seen = TASK.score(system(), example).values
    assert seen["total_variation"] == pytest.approx((1 - count / 18).mean())


def test_marks_by_hand():
    """Legal are a and b. Said is 1/2, 1/4, 1/4: 0 off at a, 1/4 at b, 1/4 at c, halved."""
    allowed = torch.zeros(2, 18, dtype=torch.bool)
    allowed[:, :2] = True
    law = torch.zeros(2, 18, dtype=torch.float64)
    law[0, :3] = torch.tensor([0.5, 0.25, 0.25])
    law[1, 2] = 1.0
    right, distance = marks(law, allowed)
    assert right.tolist() == [True, False]
    assert distance.tolist() == [0.25, 1.0]
    with pytest.raises(ValueError, match="leave separators out"):
        marks(law, torch.zeros_like(allowed))


def test_documents_are_read_up_to_the_length_and_to_what_the_model_takes():
    example = TASK.examples("test")[0]
    cut = sum(symbol != SEPARATOR for symbol in example.text[:20])
    assert RegBench(LANGUAGES, length=20).score(knowing(source), example).values["places"] == cut
    short = knowing(source)
    short.model.max_positions = 20
    assert TASK.score(short, example).values["places"] == cut
    assert (
        RegBench(LANGUAGES, length=20).score(knowing(source, 0), example).values["places"]
        == cut + (example.text[20] != SEPARATOR) - 1
    )


def test_documents_weigh_by_their_places():
    seen = [TASK.score(system(), example).values for example in TASK.examples("test")]
    sizes = [values[TASK.weighted_by["accuracy"]] for values in seen]
    found = intervals.summary([values["accuracy"] for values in seen], range(len(seen)), sizes)
    assert found.mean == pytest.approx(sum(v["accuracy"] * v["places"] for v in seen) / sum(sizes))


def test_examples_are_of_the_split_and_carry_their_automaton():
    examples = TASK.examples("validation")
    assert len(examples) == 8
    assert [example.text for example in examples] == list(LANGUAGES.corpus()["validation"][:8])
    for example in examples:
        assert isinstance(example.fields["automaton"], Automaton)
        assert legal(example.text, example.fields["automaton"]).any(1).sum() > 8
    assert len(RegBench(LANGUAGES, documents=None).examples("test")) == 12
    with pytest.raises(ValueError, match="no split 'dev'; it has test, validation, train"):
        TASK.examples("dev")


def test_a_tokenizer_with_other_tokens_is_refused():
    class Doubled(ByteTokenizer):
        def encode(self, text):
            return [byte for byte in super().encode(text) for _ in range(2)]

    with pytest.raises(ValueError, match="writes 'a' as 2 tokens"):
        TASK.score(System(Uniform(), Doubled(), "doubled"), TASK.examples("test")[0])


def test_it_can_be_written_on_a_command_line():
    words = "regbench(languages=regular_languages(states=(4, 6), train=20), documents=3)"
    task = build("evaluation", words)
    assert task == RegBench(RegularLanguages(states=(4, 6), train=20), documents=3)
    assert build("evaluation", describe(task)) == task


@pytest.mark.parametrize("fields", [{"documents": 0}, {"length": 1}])
def test_bad_settings_are_refused(fields):
    with pytest.raises(ValueError, match="must be at least"):
        RegBench(**fields)


def test_letters_are_the_columns_of_a_law():
    assert [letter(symbol) for symbol in LETTERS] == list(range(18))
