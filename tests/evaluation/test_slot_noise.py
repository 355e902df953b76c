"""Slot filling under noise, by answerers that are right, wrong, or right about the words as they stand."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.oracles import Writer, of_bytes, scoring
from trivium.data import noise, slots
from trivium.evaluation import slot_noise
from trivium.evaluation.multiple_choice import credit
from trivium.evaluation.slot_noise import SlotNoise, read_slots

SNIPS = Path(__file__).parents[3] / "shared" / "data" / "snips"
NAMES = [name.replace("+", "_") for name in noise.NAMES]


def pooled(task, seen, name):
    """As a report makes it: a sum over the examples, by their weights."""
    weights = [one.values.get(f"spans_{name}", 0.0) for one in seen]
    return sum(w * one.values.get(name, 0.0) for w, one in zip(weights, seen, strict=True)) / sum(weights)


def gold(task, split="test"):
    """What to write behind each last utterance of a prompt: its slots as they stand."""
    return {
        noisy.text: "\n".join(f"{slot.label} = {slot.gold_surface}" for slot in noisy.slots) or "none"
        for one in task.utterances(split)
        for noisy in (task.noisy(one, name) for name in task.noises)
    }


def last(prompt):
    return prompt.context.rsplit("Utterance: ", 1)[1].rstrip("\n")


def test_writing_the_gold_values_is_1_and_nothing_is_0():
    task = SlotNoise(answer="write", items=None)
    known = gold(task)
    for answers, right in ((lambda p: known[last(p)], 1.0), (lambda p: "none", 0.0), (lambda p: "I think so", 0.0)):
        writer = Writer(answers)
        seen = [task.score(writer, one) for one in task.examples("test")]
        for name in NAMES:
            assert pooled(task, seen, name) == right, name
        assert {one.values["invalid"] for one in seen} == {float(answers(writer.asked[0]) == "I think so")}


def test_a_value_that_is_copied_with_its_typo_is_right_and_one_that_is_repaired_is_not():
    task = SlotNoise(answer="write", noises=("typos",), rate=1.0)
    clean = {
        task.noisy(one, "typos").text: "\n".join(f"{slot.label} = {slot.gold_clean}" for slot in one.slots)
        for one in task.utterances("test")
    }
    writer = Writer(lambda p: clean[last(p)])
    seen = [task.score(writer, one) for one in task.examples("test")]
    assert pooled(task, seen, "typos") < 0.2
    assert all(one.values["spans_typos"] >= 2 for one in seen)


def test_half_of_the_spans_by_hand():
    """One of each utterance's two or more slots is written: F1 = 2 n / (slots + n)."""
    task = SlotNoise(answer="write", noises=("clean",), items=None)
    first = {text: answer.split("\n")[0] for text, answer in gold(task).items()}
    writer = Writer(lambda p: first[last(p)])
    seen = [task.score(writer, one) for one in task.examples("test")]
    count, spans = len(seen), sum(len(one.slots) for one in task.utterances("test"))
    assert pooled(task, seen, "clean") == pytest.approx(2 * count / (spans + count))


def test_answers_are_read_strictly():
    labels = {"track", "music_item"}
    assert read_slots(" track = Blue \n\nmusic item = song\n", labels) == [("track", "Blue"), ("music_item", "song")]
    assert read_slots("none", labels) == []
    for wrong in ("", "track", "track =", "artist = Ada", "track = Blue\nand so on", "track: Blue", "none\ntrack = a"):
        assert read_slots(wrong, labels) is None


def test_ranking_by_one_who_knows_and_one_who_does_not(monkeypatch):
    task = SlotNoise(items=None)
    right = {slot.gold_clean: slot.label for one in task.utterances("test") for slot in one.slots}

    def knows(request):
        """By the value as it was meant: what is noisy is unknown to it."""
        value = re.findall(r'"([^"]*)" is the$', request.context)[0]
        return 0.0 if request.continuation == f" {right.get(value, '?').replace('_', ' ')}" else -1.0

    monkeypatch.setattr(slot_noise, "score", scoring(knows))
    system = of_bytes()
    seen = [task.score(system, one) for one in task.examples("test")]
    assert pooled(task, seen, "clean") == pooled(task, seen, "verbose") == 1.0
    assert 0.4 < pooled(task, seen, "typos") < 0.95  # where no word of a value is hit, it is known; else one in four
    assert pooled(task, seen, "spelling_typos_append") < pooled(task, seen, "typos")
    assert sum("simplification" in one.values for one in seen) < len(seen)  # it drops some values
    told = [task.score(system, one).shown["absent"] for one in task.examples("test")]
    for why, one in zip(told, seen, strict=True):
        assert ("simplification" in why) != ("simplification" in one.values)
    monkeypatch.setattr(slot_noise, "score", scoring(lambda request: -1.0))
    system = of_bytes()
    seen = [task.score(system, one) for one in task.examples("test")]
    assert {one.values["clean"] for one in seen} == {0.25}


def test_labels_are_scored_behind_the_prompt():
    task, system = SlotNoise(items=2, labels=3, demonstrations="none", noises=("clean", "typos")), of_bytes()
    for example, (one, number) in zip(task.examples("test"), task._items("test"), strict=True):
        seen, labels = task.score(system, example), task.choices(one, number)
        for name in ("clean", "typos"):
            heard = task.noisy(one, name)
            before = f'Utterance: {heard.text}\n"{heard.slots[number].gold_surface}" is the'
            sums = [system.model.cost(before, f" {label}") for label in labels]
            assert seen.values[name] == credit(sums, 0)
        assert len(set(labels)) == 3
        assert labels[0] == one.slots[number].label


def test_what_is_shown():
    task = SlotNoise(shots=2)
    one = task.utterances("test")[0]
    shown = task.shown(one, "test", "typos")
    assert [demo.group for demo in shown] == ["music", "music"]
    assert shown == task.shown(one, "test", "speech")
    assert not {demo.id for demo in shown} & {each.id for each in task.utterances("test")}
    text = task.prompt(one, shown, ["track", "artist"])
    first = shown[0]
    assert text.startswith(f'Utterance: {first.text}\n"{first.slots[0].gold_surface}" is the {first.slots[0].label}\n')
    assert text.endswith(f"\n\nUtterance: {one.text}\n")
    write = replace(task, answer="write").prompt(one, shown, ["track", "artist"])
    assert write.startswith(
        "Write the slots of each utterance, one a line, as in 'slot = value'. Slots: track, artist\n\n"
    )
    assert f"Utterance: {first.text}\n{first.slots[0].label} = {first.slots[0].gold_surface}\n" in write
    bare = replace(task, demonstrations="none").prompt(one, shown, ["track"])
    assert bare == f"Utterance: {one.text}\n"
    entities = replace(task, demonstrations="entity", shots=1)
    text = entities.prompt(one, entities.shown(one, "test", "clean"), ["artist", "track"])
    lines = text.split("\n\n")[0].split("\n")
    assert [line.rsplit(" is the ", 1)[1] for line in lines] == ["artist", "track"]
    assert "Utterance" not in text.split("\n\n")[0]


def test_what_is_shown_carries_the_noise_it_is_told_to():
    one = SlotNoise().utterances("test")[0]
    for pool, name, expected in (
        ("clean", "typos", {()}),
        ("same", "typos", {("typos",)}),
        ("same", "spelling+append", {("spelling", "append")}),
        ("character", "speech", {("typos",)}),
        ("word", "clean", {("spelling",), ("speech",)}),
        ("sentence", "clean", {("paraphrase",), ("simplification",), ("verbose",)}),
    ):
        assert {demo.applied for demo in SlotNoise(pool=pool).shown(one, "test", name)} == expected


def test_examples_and_clusters():
    task = SlotNoise(items=3)
    assert [one.id for one in task.examples("test")][:3] == ["music-00/0", "music-00/1", "weather-00/0"]
    assert [one.cluster for one in task.examples("test")][:3] == ["music-00", "music-00", "weather-00"]
    assert [one.id for one in replace(task, answer="write").examples("validation")] == [
        "music-08",
        "weather-08",
        "table-08",
    ]
    assert len(SlotNoise(items=None, answer="write").examples("test")) == 32
    assert SlotNoise(rate=0.0).noisy(one := slots.made("test")[3], "typos").tokens == one.tokens


def test_a_split_is_scored_together_and_once():
    task = SlotNoise(answer="write", items=2)
    writer = Writer(lambda prompt: "none")
    for example in task.examples("test"):
        task.score(writer, example)
    assert len(writer.asked) == 2 * len(noise.NAMES)
    assert {prompt.limit for prompt in writer.asked} == {64}
    task.score(other := Writer(lambda prompt: "none"), task.examples("test")[1])
    assert len(other.asked) == 2 * len(noise.NAMES)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"answer": "draw"}, "answer must be one of rank, write; got 'draw'"),
        ({"demonstrations": "some"}, "demonstrations must be one of instance, entity, none"),
        ({"pool": "noisy"}, "pool must be one of clean, same"),
        ({"items": 0}, "items must be at least 1"),
        ({"shots": 0}, "shots must be at least 1"),
        ({"labels": 1}, "labels must be at least 2"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"rate": 1.5}, "rate is a probability"),
        ({"noises": ("typo",)}, "noises must be some of clean, typos"),
        ({"noises": ()}, "noises must be some of"),
    ],
)
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        SlotNoise(**settings)
    with pytest.raises(ValueError, match="the splits are"):
        SlotNoise().examples("train")


def test_more_labels_than_there_are_cannot_be_ranked():
    with pytest.raises(ValueError, match=r"there are only \d+ labels, so 99 cannot be ranked; lower labels"):
        SlotNoise(labels=99, batch_size=4).score(of_bytes(), SlotNoise(items=1).examples("test")[0])


def test_snips(monkeypatch):
    if not SNIPS.exists():
        pytest.skip(f"{SNIPS} is not here")
    task = SlotNoise(str(SNIPS), items=10)
    assert len({one.group for one in task.utterances("test")}) == 5
    monkeypatch.setattr(slot_noise, "score", scoring(lambda request: -float(len(request.continuation))))
    system = of_bytes()
    seen = [task.score(system, one) for one in task.examples("test")]
    assert len(seen) == sum(len(one.slots) for one in task.utterances("test"))
