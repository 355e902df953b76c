"""The trained classifier: what it learns from, what it says, and whose it is."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from tests.families import wrapped
from trivium import cli
from trivium.cli import decoder as command
from trivium.compare.contender import build
from trivium.core.errors import BrokenModel, NotFinite, RunMismatch
from trivium.core.nouns import Stop
from trivium.data.lessons import Lesson
from trivium.decoding._attributes import Length, NonDegenerate, Step
from trivium.decoding._classifier import EDGES, Learned, bucketed, share
from trivium.decoding._loop import Prompts
from trivium.decoding.conditional_beam_search import ConditionalBeamSearch
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer
from trivium.training.classifiers import calibration, teach_classifier
from trivium.training.drafters import Texts
from trivium.training.settings import TrainingSettings

STOP = Stop(tokens=(2,))
PROMPT = torch.tensor([[3, 4, 5]])


def lesson(rows, prompts):
    """Rows of text after prompts of these lengths, with states that say nothing."""
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    at = torch.arange(longest)
    mask = at < torch.tensor([[len(row)] for row in rows])
    written = mask & (at >= torch.tensor([[start] for start in prompts]))
    generator = torch.Generator().manual_seed(0)
    return Lesson(ids, mask, None, written, torch.randn(len(rows), longest, 32, generator=generator))


def test_labels_are_those_of_the_whole_text_and_stop_tokens_are_no_prefix():
    model = wrapped("gpt2", torch.float32)
    learned = Learned(of=NonDegenerate(n=1, share=0.0))
    rows = lesson([[9, 5, 6, 5, 2], [9, 9, 5, 6, 7]], [1, 2])
    logits, labels = learned._guesses(learned.build(model), model, rows, STOP, None)
    assert labels[:, 0].tolist() == [0, 0, 0, 1, 1, 1]  # 5 6 5 repeats; 5 6 7, after 9 9, does not
    assert logits.shape == (6, 1)
    _, came = learned.judged(learned.build(model), model, rows, STOP)
    assert came.tolist() == [False] * 3 + [True] * 3


def test_lengths_are_counted_to_the_end_and_a_cut_text_says_a_least_one():
    model = wrapped("gpt2", torch.float32)
    learned = Learned(of=Length())
    _, labels = learned._guesses(
        learned.build(model), model, lesson([[9, 5, 6, 7, 2], [9, 5, 6, 7, 8]], [1, 1]), STOP, None
    )
    assert labels[:3].argmax(1).tolist() == [2, 1, 0]
    assert labels[:3].sum(1).tolist() == [1, 1, 1]
    assert [row.nonzero()[:, 0].tolist() for row in labels[3:]] == [
        list(range(least, len(EDGES))) for least in (3, 2, 1, 0)
    ]
    assert bucketed(torch.tensor([4, 500]), torch.tensor([True, True])).argmax(1).tolist() == [3, len(EDGES) - 1]


def test_buckets_are_shared_out_among_the_lengths_in_them():
    assert share(Length(5, 5), 2).tolist() == [0, 0, 0, 0.5] + [0] * (len(EDGES) - 4)  # 3 left, of 3 and 4
    assert share(Length(5, 6), 2).tolist()[3] == 1
    assert share(Length(0), 7).tolist() == [1] * len(EDGES)
    assert share(Length(4, 4), 5).sum() == 0
    total = sum(share(Length(n, n), 0) for n in range(EDGES[-1]))
    assert total[:-1].tolist() == pytest.approx([1] * (len(EDGES) - 1))


def test_the_loss_of_a_cut_text_is_minus_the_log_of_all_that_is_left_open():
    model = wrapped("gpt2", torch.float32)
    learned, rows = Learned(of=Length()), lesson([[9, 5, 6]], [1])
    head = learned.build(model)
    found = learned.loss(head, model, rows, torch.Generator(), STOP)
    logits, _ = learned._guesses(head, model, rows, STOP, None)
    p = logits.detach().softmax(-1)
    assert float(found.value.detach()) == pytest.approx(float(-(p[0, 1:].sum().log() + p[1].sum().log()) / 2), rel=1e-5)


def test_of_cut_texts_only_what_is_known_of_all_is_measured():
    model, learned = wrapped("gpt2", torch.float32), Learned(of=Length())
    head = learned.build(model)
    given, came = learned.judged(head, model, lesson([[9, 5, 6, 2], [9, 5, 6, 7, 8]], [1, 1]), STOP)
    # Cut at 4 tokens: with 3 to go, lengths left of 0, 1, 2 are known; with 2, 0 and 1; with 1, 0; with none, nothing.
    assert came.tolist() == [False, True, False, True, False] + [False] * 6
    assert len(given) == 11
    given, _ = learned.judged(head, model, lesson([[9, 5, 6, 2], [9, 5, 6, 7, 2]], [1, 1]), STOP)
    assert len(given) == 5 * len(EDGES)  # none was cut


def test_calibration_is_that_of_a_hand_worked_case():
    found = calibration([(torch.tensor([0.05, 0.05, 0.85, 0.85]), torch.tensor([False, False, True, False]))])
    assert found["bins"] == [[2, 0.05, 0.0], [2, 0.85, 0.5]]
    assert found["error"] == pytest.approx((0.05 + 0.35) / 2)
    assert found["frequency"] == 0.25
    perfect = calibration([(torch.tensor([0.0, 1.0]), torch.tensor([False, True]))])
    assert perfect["error"] == 0
    assert perfect["log_loss"] < 1e-5
    with pytest.raises(ValueError, match="held-out"):
        calibration([(torch.zeros(0), torch.zeros(0))])


def test_the_head_says_what_it_would_of_each_candidate_alone():
    model, learned = wrapped("llama"), Learned()
    judge = learned.judge(model, Prompts(PROMPT, None, (3,)), 8, STOP)
    hidden, tokens = (
        torch.randn(2, 32, generator=torch.Generator(), dtype=torch.float64),
        torch.tensor([[5, 6, 7], [8, 9, 5]]),
    )
    with torch.no_grad():
        chances = judge.chances(Step([0, 0], [(5,), (6,)], tokens, hidden, 6))
        for beam in range(2):
            for at in range(3):
                alone = judge.head(hidden[beam], model.embed(tokens[beam, at][None, None])[0, 0]).sigmoid()
                assert float(chances[beam, at]) == pytest.approx(float(alone))


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A model whose texts are short, and classifiers of both sorts."""
    tokenizer = ByteTokenizer()
    model = wrapped("llama", torch.float32, vocab_size=tokenizer.vocab_size, max_position_embeddings=1024)
    system = System(model, tokenizer, "made", "f" * 64)
    home, texts = tmp_path_factory.mktemp("taught"), Texts(count=32, length=24, temperature=1.0)
    training = TrainingSettings(steps=12, learning_rate=3e-3, weight_decay=0.0, checkpoint_every=4)
    found = {}
    for name, of in (("length", Length()), ("degenerate", NonDegenerate(n=1, share=0.1))):
        found[name] = teach_classifier(
            Learned(of=of), system, home / name, texts=texts, training=training, lessons=home / "lessons"
        )
    return system, home, found, (texts, training)


def test_teaching_writes_a_card_and_is_not_done_twice(taught):
    system, home, found, (texts, training) = taught
    card = json.loads((home / "degenerate" / "card.json").read_text())
    assert card["attribute"] == {"name": "non_degenerate", "n": 1, "share": 0.1}
    assert card["calibration"] == found["degenerate"]["calibration"]
    assert card["base"]["name"] == "made"
    assert card["calibration"]["count"] > 0
    again = teach_classifier(
        Learned(of=NonDegenerate(n=1, share=0.1)),
        system,
        home / "degenerate",
        texts=texts,
        training=training,
        lessons=home / "lessons",
    )
    assert again["loss"] == found["degenerate"]["loss"]
    with pytest.raises(RunMismatch, match="it differs in of"):
        teach_classifier(Learned(of=NonDegenerate()), system, home / "degenerate", texts=texts, training=training)


def test_what_was_taught_is_used_by_name_and_holds_its_attribute(taught):
    system, home, _, _ = taught
    stop = Stop(tokens=(7,))
    for text, good in (
        (f'learned(folder="{home / "length"}", of=length(at_least=4, at_most=4))', lambda own: len(own) == 4),
        (f'learned(folder="{home / "degenerate"}")', NonDegenerate(n=1, share=0.1).holds),
    ):
        search = build("decoding", f"conditional_beam_search(width=3, attribute={text})")
        made = search(system.model, PROMPT, limit=8, generator=torch.Generator(), stop=stop)
        own = tuple(token for token in made.row(0).tolist() if token != 7)
        assert own
        assert good(own)


def test_another_model_and_another_attribute_are_refused(taught):
    system, home, _, _ = taught
    run = lambda learned, model: ConditionalBeamSearch(attribute=learned)(  # noqa: E731
        model, PROMPT, limit=4, generator=torch.Generator(), stop=STOP
    )
    folder = str(home / "degenerate")
    with pytest.raises(ValueError, match="trained for made with weights"):
        run(Learned(folder), wrapped("llama", torch.float32, seed=3, vocab_size=system.model.vocab_size))
    with pytest.raises(ValueError, match="width 32"):
        run(Learned(folder), wrapped("gpt2", torch.float32))
    with pytest.raises(ValueError, match="was trained for NonDegenerate"):
        run(Learned(folder, of=NonDegenerate()), system.model)
    with pytest.raises(ValueError, match="say which: of=length"):
        run(Learned(str(home / "length")), system.model)
    with pytest.raises(BrokenModel, match="is missing"):
        run(Learned(str(home / "nowhere")), system.model)
    with pytest.raises(ValueError, match="hidden"):
        Learned(hidden=0)


def test_damaged_weights_are_named(taught, tmp_path):
    system, home, _, _ = taught
    folder = shutil.copytree(home / "degenerate", tmp_path / "copy", ignore=shutil.ignore_patterns("work"))
    weights = folder / "classifier.safetensors"
    learned = Learned(str(folder))
    head = learned.opened(system.model)
    with torch.no_grad():
        head.out.bias.fill_(float("nan"))
    replace(learned, folder=None, of=NonDegenerate(1, 0.1)).save(head, folder, system.model, base="made")
    with pytest.raises(NotFinite, match=r"out\.bias"):
        learned.opened(system.model)
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(BrokenModel, match="truncated"):
        learned.opened(system.model)


def test_the_command_prints_how_to_use_what_it_made(taught, tmp_path, monkeypatch, capsys):
    system, home, _, _ = taught
    monkeypatch.setattr(command, "load", lambda name: system)
    words = ["--folder", str(tmp_path / "judge"), "--count", "32", "--length", "24", "--steps", "2"]
    words += ["--lessons", str(home / "lessons")]
    call = ["decoder", "train", "conditional_beam_search(attribute=learned(of=length))", *words]
    assert cli.run(call) == cli.OK
    said = capsys.readouterr().out.replace("\n", "")
    assert "calibration error" in said
    assert "use it: conditional_beam_search(attribute=learned(folder=" in said
    assert cli.run([*call, "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["steps"] == 2


@pytest.mark.parametrize(
    ("decoder", "said"),
    [
        ("greedy", "nothing to train"),
        ("conditional_beam_search", "nothing to train"),
        ('conditional_beam_search(attribute=learned(folder="there"))', "leave folder='there' away"),
    ],
)
def test_what_cannot_be_taught_is_refused_before_a_model_is_loaded(decoder, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load", lambda name: pytest.fail("a model was loaded"))
    assert cli.run(["decoder", "train", decoder, "--folder", str(tmp_path / "judge")]) == cli.BAD_INPUT
    assert said in capsys.readouterr().err
