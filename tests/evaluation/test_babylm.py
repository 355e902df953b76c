import json
from pathlib import Path

import pytest
import torch

from tests.compare.fakes import Uniform, system
from trivium.architectures.gpt_bert import GptBert
from trivium.compare.contender import build, describe
from trivium.core.errors import NotOffered
from trivium.core.meter import Meter
from trivium.core.nouns import Observation
from trivium.data.minimal_pairs import made
from trivium.evaluation.babylm import BabyLM, table
from trivium.evaluation.stats.intervals import summary
from trivium.models.pseudo_likelihood import pseudo_logprobs, words_of
from trivium.models.scoring import Request, encoded
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

BLIMP = Path(__file__).parents[3] / "shared" / "data" / "blimp"
TASK = BabyLM(items=3)


class Bigrams(Uniform):
    """The next byte depends on the last one by a fixed random table."""

    def __init__(self, offers=("causal",)):
        super().__init__(offers)
        self.law = torch.randn(259, 259, generator=torch.Generator().manual_seed(0)).double().log_softmax(-1)

    def run(self, ids, **given):
        out = super().run(ids, **given)
        return type(out)(self.law[ids], out.hidden)


BIGRAMS = System(Bigrams(), ByteTokenizer(), "bigrams")


def cost(text, before=256):
    text = text.encode()
    return sum(float(BIGRAMS.model.law[a, b]) for a, b in zip([before, *text[:-1]], text, strict=True))


def seen(task, made=BIGRAMS, split="test"):
    examples = task.examples(split)
    return examples, [task.score(made, example) for example in examples]


def write(path, pairs, **more):
    rows = [{"sentence_good": good, "sentence_bad": bad, **more} for good, bad in pairs]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))


def test_a_bigram_model_chooses_as_computed_by_hand():
    """Every trial of the default, sentence by sentence; statements behind the last letter of their context."""
    examples, found = seen(TASK)
    items = {item.id: item for item in made("test")}
    assert len(examples) == 3 * 24
    assert len({example.cluster for example in examples[:24]}) == 24, "the first few are of all paradigms"
    for example, observed in zip(examples, found, strict=True):
        sums, means, tied = [], [], 0
        for trial in items[example.id].trials:
            costs = [cost(f" {text}", ord(context[-1]) if context else 256) for context, text in trial]
            sums.append(0.5 if abs(costs[0] - costs[1]) < 1e-6 else float(costs[0] > costs[1]))
            tied += sums[-1] == 0.5
            good, bad = (cost / (1 + len(text)) for cost, (_, text) in zip(costs, trial, strict=True))
            means.append(0.5 if abs(good - bad) < 1e-6 else float(good > bad))
        assert observed.values["accuracy"] == sum(sums) / len(sums)
        assert observed.values["per_token"] == sum(means) / len(means)
        assert observed.values["all_trials"] == float(min(sums) == 1)
        assert observed.values["tied"] == tied / len(sums)
    assert 0.2 < table(examples, found).macro < 0.8


def test_the_prefix_and_the_space(tmp_path):
    write(tmp_path / "some.jsonl", [("az.", "bz.")])
    path = str(tmp_path / "some.jsonl")
    for space, before in ((True, " "), (False, "")):
        _, (observed,) = seen(BabyLM(path, space=space))
        assert observed.values["accuracy"] == float(cost(f"{before}az.") > cost(f"{before}bz."))
        assert observed.shown["text"].endswith(f"{cost(f'{before}az.') - cost(f'{before}bz.'):+.2f}")


@pytest.mark.parametrize("form", ["one_prefix", "two_prefix"])
def test_prefix_forms(form):
    examples, found = seen(BabyLM(items=2, form=form))
    items = {item.id: item for item in made("test", form)}
    assert len(examples) == {"one_prefix": 22, "two_prefix": 6}[form]
    for example, observed in zip(examples, found, strict=True):
        ((good, bad),) = items[example.id].trials
        expected = cost(f" {good[1]}", ord(good[0][-1])) - cost(f" {bad[1]}", ord(bad[0][-1]))
        assert observed.values["accuracy"] == (0.5 if abs(expected) < 1e-6 else float(expected > 0))


def test_exchanging_good_and_bad_gives_the_rest(tmp_path):
    pairs = [item.trials[0] for item in made("test") if item.paradigm == "agreement"]
    write(tmp_path / "given.jsonl", [(good, bad) for (_, good), (_, bad) in pairs])
    write(tmp_path / "turned.jsonl", [(bad, good) for (_, good), (_, bad) in pairs])
    given, turned = (table(*seen(BabyLM(str(tmp_path / f"{name}.jsonl")))).macro for name in ("given", "turned"))
    assert 0 < given < 1
    assert given == pytest.approx(1 - turned)


def test_ties_are_counted_and_no_opinion_is_worth_half():
    same = [(e, o) for e, o in zip(*seen(TASK, system()), strict=True) if o.values["same_length"] == 1]
    assert len(same) > 20
    for ties, worth in (("shared", 0.5), ("first", 1.0), ("wrong", 0.0)):
        _, found = seen(BabyLM(items=3, ties=ties), system())
        equal = [o.values for o in found if o.values["same_length"] == 1]
        assert {v["accuracy"] for v in equal} == {worth}
        assert {v["tied"] for v in equal} == {1.0}
        assert all(v["tied"] < 1 for v in (o.values for o in found) if v["same_length"] < 1)


def test_the_whole_is_a_mean_of_means(tmp_path):
    """Two sets, of one and of two paradigms, of unequal sizes: each set counts half, each paradigm alike within."""
    write(tmp_path / "a" / "one.jsonl", [("x", "y")] * 1, UID="one", linguistics_term="p")
    write(tmp_path / "b" / "two.jsonl", [("x", f"y{n}") for n in range(3)], UID="two", linguistics_term="q")
    write(tmp_path / "b" / "three.jsonl", [("x", f"z{n}") for n in range(2)], UID="three", linguistics_term="q")
    task = BabyLM(str(tmp_path), items=None)
    examples = task.examples("test")
    numbers = {"one": [1.0], "two": [1.0, 0.0, 0.0], "three": [0.5, 0.0]}
    values = [numbers[e.fields["place"][2]].pop() for e in examples]
    found = table(examples, [Observation({"accuracy": v}) for v in values])
    assert found.paradigms == {"a/one": 1.0, "b/two": pytest.approx(1 / 3), "b/three": 0.25}
    assert found.phenomena == {"a/p": 1.0, "b/q": pytest.approx(7 / 24)}
    assert found.suites == {"a": 1.0, "b": pytest.approx(7 / 24)}
    assert found.macro == pytest.approx((1 + 7 / 24) / 2)
    weights = [e.fields["weight"] for e in examples]
    assert sum(weights) == pytest.approx(1)
    whole = summary(values, [e.cluster for e in examples], weights)
    assert whole.mean == pytest.approx(found.macro)
    assert whole.clusters == 3
    with pytest.raises(ValueError, match="there is no item"):
        table([], [])


def test_splits_and_vocabulary(tmp_path):
    write(tmp_path / "some.jsonl", [(f"The cup {n}.", f"The cups {n}.") for n in range(12)])
    path = str(tmp_path / "some.jsonl")
    test, validation = (BabyLM(path, items=4).examples(split) for split in ("test", "validation"))
    assert [e.id[-1] for e in test + validation] == list("123456")
    assert len(BabyLM(path, items=None).examples("test")) == 12
    assert BabyLM(path, items=None).examples("validation") == []
    (tmp_path / "text.txt").write_text("the cup\nand THE cups: 7, 11, 3")
    kept = BabyLM(path, items=2, words=str(tmp_path / "text.txt"))
    assert [kept.examples(s)[0].text for s in ("test", "validation")] == [
        "The cup 3. / The cups 3.",
        "The cup 11. / The cups 11.",
    ]
    assert len(BabyLM().examples("validation")) == 240
    with pytest.raises(ValueError, match="no item is made of these"):
        BabyLM(words=str(tmp_path / "text.txt")).examples("test")
    with pytest.raises(ValueError, match="the splits are"):
        TASK.examples("train")


@pytest.mark.parametrize("masked", ["token", "word"])
def test_masked_models(masked):
    made_ = System(GptBert(width=16, heads=2, depth=1).build(259), ByteTokenizer(), "encoder")
    task = BabyLM(items=1, form="two_prefix", masked=masked, mask_id=250)
    examples, found = seen(task, made_)
    for item, observed in zip(task.chosen("test"), found, strict=True):
        requests = [Request(context, f" {text}") for context, text in item.trials[0]]
        pairs = [encoded(made_, request) for request in requests]
        words = [words_of(made_, r.continuation, p.continuation) for r, p in zip(requests, pairs, strict=True)]
        sums = [sum(x) for x in pseudo_logprobs(made_, pairs, words=words if masked == "word" else None, mask_id=250)]
        assert observed.values["accuracy"] == float(sums[0] > sums[1])
        assert observed.shown["text"].endswith(f"{sums[0] - sums[1]:+.2f}")
    assert examples[0].fields["group"] == "negative polarity"


def test_a_split_is_scored_together_and_once():
    task = BabyLM(items=1)
    first, *others = task.examples("test")
    made_ = System(Bigrams(), ByteTokenizer(), "bigrams")
    with Meter() as meter:
        task.score(made_, first)
        once = meter.spent.calls
        for example in others:
            task.score(made_, example)
        assert meter.spent.calls == once > 0
        task.score(System(Bigrams(), ByteTokenizer(), "other"), others[0])
        assert meter.spent.calls == 2 * once


def test_it_can_be_written_on_a_command_line():
    words = "babylm(items=3, masked='word', words='text.txt')"
    assert build("evaluation", words) == BabyLM(items=3, masked="word", words="text.txt")
    assert build("evaluation", describe(build("evaluation", words))) == build("evaluation", words)


def test_who_cannot_is_told():
    encoder = System(Bigrams(("bidirectional",)), ByteTokenizer(), "encoder")
    with pytest.raises(NotOffered, match="encoder does not read from the left; set masked to 'token' or 'word'"):
        seen(TASK, encoder)
    with pytest.raises(NotOffered, match="bigrams is not bidirectional"):
        seen(BabyLM(items=1, masked="word"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"form": "half"}, "form must be one of full, one_prefix, two_prefix; got 'half'"),
        ({"alike": "drop"}, "alike must be one of refuse, skip; got 'drop'"),
        ({"masked": "yes"}, "masked must be one of no, token, word; got 'yes'"),
        ({"ties": "half"}, "ties must be one of shared, first, wrong; got 'half'"),
        ({"items": 0}, "items must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        BabyLM(**fields)


@pytest.mark.skipif(not BLIMP.is_dir(), reason="the shared data is not here")
def test_blimp_s_own_pairs():
    assert len(BabyLM(str(BLIMP / "principle_A_case_2.jsonl.gz"), items=None, alike="skip").examples("test")) == 995
    examples, found = seen(BabyLM(str(BLIMP / "adjunct_island.jsonl.gz"), items=5, batch_size=3))
    assert (
        examples[0].text
        == "Who should Derek hug after shocking Richard? / Who should Derek hug Richard after shocking?"
    )
    assert {e.fields["group"] for e in examples} == {"island_effects"}
    assert {o.values["same_length"] for o in found} == {1.0}


@pytest.mark.slow
def test_the_harness_s_accuracies():
    import gzip

    vectors = BLIMP.parents[1] / "vectors" / "lm_eval"
    files = sorted(vectors.glob("sh_blimp*.jsonl.gz"))
    if not files:
        pytest.skip(f"{vectors} has no scores of BLiMP here")
    smol = load("smollm2-135m", dtype="bfloat16")
    smol.model.float()
    for file in files[:2]:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            told = [json.loads(line) for line in lines][:20]
        _, found = seen(BabyLM(str(BLIMP / Path(told[0]["source"]).name), items=20, ties="first"), smol)
        assert [o.values["accuracy"] for o in found] == [one["metrics_bs8"]["acc"] for one in told]
