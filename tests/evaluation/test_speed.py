"""Speed: what is measured of a decoder, against traces and passes that can be counted by hand."""

from dataclasses import dataclass, replace

import pytest
import torch

from tests.families import VOCAB, wrapped
from trivium.core import meter, seeds
from trivium.core.nouns import Example, Generation, Stop, Trace
from trivium.data.prompts import KINDS, prompts
from trivium.decoding.greedy import Greedy
from trivium.decoding.speculative import Speculative
from trivium.drafting.draft_model import DraftModel
from trivium.drafting.medusa import Medusa
from trivium.evaluation import speed as module
from trivium.evaluation.speed import Run, Speed, batch_of, explained
from trivium.models.system import System

SHORT = tuple(
    Example(f"{kind}/{n}", "ab" * (n + 2), fields={"kind": kind}) for kind in ("copy", "chat") for n in range(3)
)
LIMIT = 12


class Letters:
    """A letter is a token."""

    vocab_size, bos, eos, pad = VOCAB, None, None, None

    def encode(self, text):
        return [3 + ord(letter) % 40 for letter in text]

    def decode(self, ids):
        return "".join(chr(97 + id % 26) for id in ids)

    def bytes_of(self, id):
        return self.decode([id]).encode()


def small(ends=()) -> System:
    return System(wrapped("llama"), Letters(), "small", ends=ends)


SYSTEM = small()


def measured(decoder, example=0, task=None, system=SYSTEM):
    task = task or Speed(SHORT, rows=(1, 3), warmups=1)
    example = task.examples("test")[example]
    run = task.run(decoder, system, example, LIMIT, seeds.generator(0))
    return task.score(system, example, run), run


def test_examples_are_batches_of_one_kind():
    task = Speed(SHORT, rows=(1, 2), count=2)
    assert [example.id for example in task.examples("test")] == [
        f"{kind}/{start}, batch {rows}" for kind in ("copy", "chat") for rows in (1, 2) for start in (0, 1)
    ]
    last = task.examples("test")[-1]
    assert last.fields["texts"] == ["ab" * 3, "ab" * 4]
    assert (last.cluster, last.fields["group"], last.fields["rows"]) == ("chat/1", "chat, batch 2", 2)
    wrapping = Speed(SHORT, rows=(4,), count=3).examples("test")[2]
    assert wrapping.fields["texts"] == ["ab" * n for n in (4, 2, 3, 4)]


def test_the_built_in_prompts_are_those_that_no_default_was_chosen_on():
    known = {prompt.id for prompt in prompts("validation")}
    examples = Speed().examples("test")
    assert len(examples) == len(KINDS) * 2 * 5
    assert {example.cluster for example in examples} == known
    assert not {e.id for e in examples} & {e.id for e in Speed().examples("validation")}


def test_a_ragged_batch_is_padded_on_the_left():
    ids, mask = batch_of(SYSTEM, Speed(SHORT, rows=(3,)).examples("test")[0])
    assert mask.sum(1).tolist() == [4, 6, 8]
    assert mask[0].tolist() == [False] * 4 + [True] * 4
    assert ids[0, 4:].tolist() == ids[2, 4:].tolist()
    alone, nothing = batch_of(SYSTEM, Speed(SHORT, rows=(1,)).examples("test")[0])
    assert nothing is None
    assert alone[0].tolist() == ids[0, 4:].tolist()


@pytest.mark.parametrize("example", [0, 3])
def test_plain_decoding_is_its_own_measure(example):
    seen, run = measured(Greedy(), example)
    rows = 1 if example == 0 else 3
    assert seen.values["agreement"] == seen.values["tau"] == seen.values["bound"] == 1
    assert seen.values["target_passes"] == 1  # one for the prompt, and one for each token but the first
    assert seen.values["width"] == 1
    assert seen.values["draft_passes"] == seen.values["parameters"] == 0
    decoding = run.seconds - run.made.trace.seconds["prefill"]
    assert seen.values["speed"] == pytest.approx((LIMIT - 1) * rows / decoding)
    assert seen.values["whole_speed"] == pytest.approx(LIMIT * rows / run.seconds)
    assert seen.values["prefill"] == pytest.approx(run.made.trace.seconds["prefill"])


def test_keys_and_values_are_counted_at_their_largest():
    seen, _ = measured(Greedy())
    cache = SYSTEM.model(torch.tensor([[3] * (4 + LIMIT - 1)]), keep_state=True).state
    assert seen.values["cache_bytes"] == cache.bytes()


def test_a_draft_model_is_seen_beside_its_target():
    draft = wrapped("llama", seed=0)  # the same weights: everything is accepted
    seen, run = measured(Speculative(DraftModel(draft, length=3, min_confidence=0.0)))
    assert seen.values["agreement"] == 1
    assert seen.values["tau"] == pytest.approx((LIMIT - 1) / 3)  # 11 tokens: 4 + 4 + 3
    assert seen.values["target_passes"] == pytest.approx(4 / LIMIT)
    assert seen.values["draft_passes"] == pytest.approx((3 + 3 + 2) / LIMIT)
    assert seen.values["target_positions"] == pytest.approx((4 + 4 + 4 + 3) / LIMIT)
    assert seen.values["width"] == pytest.approx((4 + 4 + 3) / 3)
    assert seen.values["parameters"] == sum(weight.numel() for weight in draft.parameters())
    assert [seen.values[f"acceptance_{depth}"] for depth in (1, 2, 3)] == [1, 1, 1]
    assert run.wide > 0
    assert run.one > 0
    assert seen.values["pass_cost"] == pytest.approx(run.wide / run.one)
    drafting = run.made.trace.seconds["draft"]
    assert seen.values["bound"] == pytest.approx(seen.values["tau"] / (run.wide / run.one + drafting / 3 / run.one))
    assert seen.values["draft_cost"] == pytest.approx(drafting / 8 / run.one)


def test_trained_parts_are_counted_without_the_targets_own():
    seen, _ = measured(Speculative(Medusa(heads=2, nodes=4)))
    heads = Medusa(heads=2, nodes=4).build(SYSTEM.model)
    assert seen.values["parameters"] == sum(weight.numel() for weight in heads.parameters()) > 0


def test_references_of_tau_by_hand():
    trace = Trace(seconds={"draft": 2.0})
    trace.note({"verified": [2, 2], "accepted": [2, 1], "rejected": [0, 1]}, rows=2, committed=5)
    trace.note({"verified": [2, 2], "accepted": [1, 0], "rejected": [1, 1]}, rows=2, committed=3)
    found = explained(trace, one=0.5, wide=0.6)
    rate = 4 / 7
    assert found["independent"] == pytest.approx((1 - rate**3) / (1 - rate))
    assert found["by_depth"] == pytest.approx(1 + 3 / 4 + 3 / 4 * 1 / 3)
    assert found["pass_cost"] == pytest.approx(1.2)
    assert found["bound"] == pytest.approx(2 / (1.2 + 1.0 / 0.5))
    longer = Trace(seconds={"draft": 2.0})
    for depths in (
        {"verified": [], "accepted": [], "rejected": []},
        {"verified": [1, 1], "accepted": [1, 1], "rejected": [0, 0]},
    ):
        longer.note(depths, rows=1, committed=1 + len(depths["verified"]))
    assert explained(longer, 0.5, 0.6)["independent"] == explained(longer, 0.5, 0.6)["by_depth"] == (1 + 3) / 2
    assert found["draft_cost"] is None  # nothing is known of passes of a draft


@dataclass(frozen=True)
class Wrong:
    """Plain decoding, but for one token."""

    at: int = 5

    def __call__(self, model, prompt, *, limit, generator, mask=None, stop=Stop()):
        made = Greedy()(model, prompt, limit=limit, generator=generator, mask=mask, stop=stop)
        ids = made.ids.clone()
        ids[0, self.at] = (ids[0, self.at] + 1) % model.vocab_size
        return replace(made, ids=ids)


def test_a_text_that_leaves_the_plain_one_is_found_where_it_does():
    seen, run = measured(Wrong(), 3)  # three rows, of which the first is wrong
    assert seen.values["agreement"] == pytest.approx(2 / 3)
    assert seen.values["first_difference"] == pytest.approx((5 + LIMIT + LIMIT) / 3)
    example = Speed(SHORT, rows=(1, 3)).examples("test")[3]
    ids, mask = batch_of(SYSTEM, example)
    text = torch.cat([ids[0, mask[0]], run.plain.ids[0, :5]])[None]
    first, second = SYSTEM.model(text).logits[0, -1].topk(2).values.tolist()
    assert seen.values["gap"] == pytest.approx(first - second, abs=1e-5)


def test_warm_ups_and_checks_are_charged_to_nobody_and_made_once(monkeypatch):
    calls = []

    @dataclass(frozen=True)
    class Told:
        def __call__(self, model, prompt, **words):
            calls.append(meter._meters.get())
            return Greedy()(model, prompt, **words)

    task, decoder = Speed(SHORT, rows=(1,), warmups=2), Told()
    example = task.examples("test")[2]
    for _ in range(3):
        with meter.Meter() as spent:
            task.run(decoder, SYSTEM, example, LIMIT, seeds.generator(0))
        assert spent.spent.new_tokens == LIMIT
        assert spent.spent.calls == LIMIT
    assert len(calls) == 2 + 3


def test_a_text_with_an_end_is_run_to_it_too():
    end = measured(Greedy())[1].plain.row(0).tolist()[4]
    seen, _ = measured(Greedy(), system=small((end,)))
    place = measured(Greedy())[1].plain.row(0).tolist().index(end)
    assert seen.values["natural_tokens"] == place + 1
    assert seen.values["tau"] == 1
    assert measured(Greedy())[0].values["natural_tokens"] == LIMIT


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rows": ()}, "sizes of batches"),
        ({"rows": (0,)}, "sizes of batches"),
        ({"rows": (2, 2)}, "different sizes"),
        ({"count": 0}, "count=0"),
        ({"limit": 1}, "limit at least 2"),
        ({"warmups": 0}, "warmups=0"),
        ({"prompts": (Example("x", ""),)}, "with some text"),
        ({"prompts": ("text",)}, "Example"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Speed(**given)


def test_one_token_is_no_rate():
    example = Speed(SHORT).examples("test")[0]
    with pytest.raises(ValueError, match="at least 2 new tokens, got 1"):
        Speed(SHORT).run(Greedy(), SYSTEM, example, 1, seeds.generator(0))
    made = Generation(torch.tensor([[3]]), torch.zeros(1, 1), torch.tensor([1]))
    with pytest.raises(ValueError, match="only the first pass"):
        Speed(SHORT).score(SYSTEM, example, Run(made, 1.0, module.Seen(), made))
    with pytest.raises(ValueError, match="the splits are"):
        Speed(SHORT).examples("train")
