"""Suites: their contenders, what folders of drafters add, and a whole small run through the command."""

import dataclasses
import json
import math

import pytest

from trivium import cli
from trivium.cli.compare import Command
from trivium.compare import suites
from trivium.compare._report import sections
from trivium.compare._report.looks import looks
from trivium.compare.contender import build, describe
from trivium.compare.holes import hole, lossless
from trivium.compare.tuning import untuned
from trivium.core.errors import BrokenModel, UnknownName
from trivium.core.method import find, names


@pytest.fixture
def folders(tmp_path):
    """A folder of heads, and one of a draft model, as the commands for them leave them."""
    heads, draft = tmp_path / "heads", tmp_path / "draft"
    for folder in (heads, draft):
        folder.mkdir()
    (heads / "card.json").write_text(json.dumps({"method": "drafting/medusa", "module": {}}))
    (draft / "draft.json").write_text("{}")
    (draft / "card.json").write_text("{}")  # of no matter where there is a draft.json
    return heads, draft


def test_every_drafter_without_trained_parts_or_a_model_is_there_by_itself():
    found = suites.lossless((), "float32")
    plain = {"greedy", "transformers", "transformers, lookup"}
    assert plain < found.keys()
    for name in names("drafting"):
        own = {field.name for field in dataclasses.fields(find("drafting", name))}
        assert (name in found) == (not own & {"folder", "model"})
    assert {"prompt_lookup", "aded"} < found.keys()
    assert all(lossless("decoding", contender) for name, contender in found.items() if name not in plain)


def test_folders_say_themselves_what_they_are(folders):
    found = suites.lossless(folders, "bfloat16")
    heads, draft = map(str, folders)
    assert found["medusa"].drafter.folder == heads
    for name in ("draft_model", "rsd_constant", "rsd_stochastic"):
        assert found[name].drafter.model == draft
    assert "chimera" not in found
    assert (found["transformers, assisted"].draft, found["transformers, assisted"].dtype) == (draft, "bfloat16")
    assert len(set(map(describe, found.values()))) == len(found)


def test_two_folders_of_one_sort_are_told_apart(folders, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "draft.json").write_text("{}")
    found = suites.lossless((*folders, other), "float32")
    assert {"draft_model (draft)", "draft_model (other)", "transformers, assisted (other)"} < found.keys()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (None, "neither card.json nor draft.json"),
        ("no json", "does not name a method"),
        ("[]", "does not name a method"),
        ('{"method": "decoding/greedy"}', "no drafter of this version"),
        ('{"method": "drafting/telepathy"}', "no drafter of this version"),
    ],
)
def test_other_folders_are_refused(tmp_path, card, message):
    if card is not None:
        (tmp_path / "card.json").write_text(card)
    with pytest.raises(BrokenModel, match=message):
        suites.lossless((tmp_path,), "float32")


def test_suites_are_known_by_kind():
    assert suites.suite("decoding", "lossless").task == "speed(count=4, warmups=1)"
    with pytest.raises(UnknownName, match="did you mean 'lossless'"):
        suites.suite("decoding", "losless")
    with pytest.raises(UnknownName, match="no suite of attribution"):
        suites.suite("attribution", "lossless")


def test_the_suite_of_explainers_runs_them_as_their_paper_does():
    suite = suites.suite("attribution", "reagent-paper")
    found = suite.contenders((), "float32", "cpu")
    assert next(iter(found.values())) == find("attribution", "gradient_times_input")()
    assert describe(found["integrated_gradients"]) == (
        'integrated_gradients(steps=101, baseline="zero", rule="riemann", normalize="softmax")'
    )
    assert {describe(build("attribution", describe(each))) for each in found.values()} == set(
        map(describe, found.values())
    )
    assert build("evaluation", suite.task).distance == "reference"
    affordable = found["reagent"].within(int(suite.budget.split()[0]))
    assert affordable == found["reagent"]  # the paper's steps fit


def test_the_quality_suite_pairs_a_draft_model_with_what_needs_one(tmp_path):
    (tmp_path / "draft.json").write_text("{}")
    alone, found = suites.quality((), "float32"), suites.quality((tmp_path,), "float32")
    assert next(iter(alone)) == "greedy"
    assert found.keys() - alone.keys() == {f"bild ({tmp_path.name})", f"ead ({tmp_path.name})"}
    assert not lossless("decoding", found["typical acceptance"])


@pytest.mark.parametrize("name", suites.SUITES)
def test_what_a_suite_names_exists(name):
    suite = suites.SUITES[name]
    task = build("evaluation", suite.task or hole(suite.kind).task)
    known = {measure.name for measure in task.measures}
    if suite.shown is not None:
        assert {suite.shown.ratio, suite.shown.bound, suite.shown.levels, *suite.shown.columns} <= known
        assert suite.shown.against[0] in suite.contenders((), "float32")
        assert next(measure for measure in task.measures if measure.name == suite.shown.ratio).ratio


def test_the_decoders_all_write_from_left_to_right():
    made = suites.SUITES["decoders"].contenders((), "float32")
    assert next(iter(made)) == "llama"
    assert all("causal" in recipe.build(259).offers for recipe in made.values())
    assert {"gpt_bert", "flexibert", "byte2word"} & made.keys() == set()


@pytest.mark.parametrize(
    ("given", "rates", "share_and_rows"),
    [
        ({"suite": "decoders"}, (1e-3, 2.5e-3, 6.3e-3, 1.6e-2), (1.0, 4)),
        ({"contenders": ("gpt",), "rates": (2e-3, 5e-4)}, (1e-3, 2e-3, 5e-4), (1 / 3, 16)),
    ],
)
def test_each_contender_tries_the_same_learning_rates(given, rates, share_and_rows, tmp_path, monkeypatch):
    asked = []

    def run(comparison, folder, **_):
        asked.append(comparison)
        raise StopIteration

    monkeypatch.setattr("trivium.cli.compare.Comparison.run", run)
    with pytest.raises(StopIteration):
        Command("architectures", folder=tmp_path, **given).run()
    points = asked[0].plan.points
    assert {"llama", "gpt"} <= points.keys()
    assert (asked[0].plan.trial_share, asked[0].system.batch_size) == share_and_rows
    assert all([dict(untuned(p)[1]).get("learning_rate", 1e-3) for p in own] == list(rates) for own in points.values())


def test_rates_where_nothing_is_trained_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing is trained in a comparison of decoding; leave --rates away"):
        Command("decoding", contenders=("greedy",), rates=(1e-3,), folder=tmp_path).run()


def command(folder, *words):
    prompts = folder.parent / "prompts.jsonl"
    lines = [{"id": group, "text": group * 2, "group": group} for group in ("ab", "xyz")]
    prompts.write_text("\n".join(map(json.dumps, lines)))
    given = ["--model", "tiny", "--prompts", str(prompts), "--budget", "6 new_tokens", "--seeds", "2"]
    return cli.run(["compare", "decoding", "--suite", "lossless", *given, "--folder", str(folder), *words])


def test_a_run_by_the_command_is_resumed_and_shows_its_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trivium.compare.comparison.page", lambda data: "")  # drawing takes longer than the run
    home = tmp_path / "run"
    assert command(home) == 0
    report = json.loads((home / "report.json").read_text())
    measured = [row["name"] for row in report["contenders"] if row["measures"]]
    assert measured == ["greedy", "aded", "joined", "prompt_lookup", "skip_decode"]
    notes = {row["name"]: row["note"] for row in report["contenders"]}
    assert notes["transformers, lookup"] == "not applicable, needs a Hugging Face model"
    assert [table["group"] for table in report["by_group"]] == [
        f"{group}, batch {rows}" for group in ("ab", "xyz") for rows in (1, 4)
    ]
    for table in report["by_group"]:
        rows = {row["name"]: row for row in table["rows"]}
        assert rows["greedy"]["ratios"]["greedy"] == 1
        assert rows["greedy"]["efficiency"] == 1
        for row in rows.values():
            assert row["values"]["agreement"] == 1
            speeds = [c["by_group"][table["group"]]["speed"] for c in report["contenders"] if c["name"] == row["name"]]
            base = report["contenders"][0]["by_group"][table["group"]]["speed"]
            assert row["ratios"]["greedy"] == pytest.approx(speeds[0] / base)
            assert row["efficiency"] == pytest.approx(row["ratios"]["greedy"] / row["values"]["bound"])
    drawn = sections.speeds(report, looks(report))
    for word in ("Speed over greedy", "xyz, batch 4", "measured over bound", "Peak bytes of caches"):
        assert word in drawn.section
    assert sections.groups(report, looks(report)) is None
    records = (home / "records.jsonl").read_bytes().splitlines(keepends=True)
    assert len(records) == len(measured) * 2 * 4
    (home / "records.jsonl").write_bytes(b"".join(records[:-5]))
    assert command(home) == 0
    assert len((home / "records.jsonl").read_bytes().splitlines()) == len(records)
    assert (home / "records.jsonl").read_bytes().startswith(b"".join(records[:-5]))
    order = [json.loads(line) for line in records]
    count = len(measured)
    turns = [[r["contender"] for r in order[at : at + count]] for at in range(0, len(order), count)]
    assert all(len(set(turn)) == count for turn in turns)  # all contenders meet on each example and repeat
    assert len({turn[0] for turn in turns}) == count  # and each goes first at times


def test_drafts_without_a_suite_are_refused(capsys, tmp_path):
    assert cli.run(["compare", "decoding", "--drafts", str(tmp_path)]) == 2
    assert "--drafts belongs to a suite" in capsys.readouterr().err
    assert cli.run(["compare", "decoding", "--suite", "losless"]) == 2
    assert "did you mean 'lossless'" in capsys.readouterr().err


def explained(folder, *words, suffix="jsonl"):
    prompts = folder.parent / f"mine.{suffix}"
    lines = [{"id": "a", "text": "ab ab ab", "answer": " cd", "decisive": "ab"}, {"id": "b", "text": "xyz xyz"}]
    prompts.write_text("\n".join(map(json.dumps, lines)) if suffix == "jsonl" else "ab ab ab\nxyz xyz\n")
    given = ["--contenders", "occlusion", "--model", "tiny", "--prompts", str(prompts), "--seeds", "1"]
    return cli.run(["compare", "attribution", *given, "--folder", str(folder), *words])


@pytest.mark.parametrize("suffix", ["jsonl", "txt"])
def test_explainers_are_compared_on_prompts_of_ones_own(tmp_path, monkeypatch, suffix):
    """Gains over random scores lead; the log ratio of the paper, of all prompts together, stands beside them."""
    monkeypatch.setattr("trivium.compare.comparison.page", lambda data: "")
    assert explained(tmp_path / "run", suffix=suffix) == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [m["name"] for m in report["measures"]][:3] == ["soft_nc_gain", "soft_nc_log_ratio", "soft_ns_gain"]
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert len(records) == 2 * 2  # with the baseline
    assert all(record["error"] is None for record in records)
    assert {"decisive_top3" in record["values"] for record in records} == {suffix == "jsonl", False}
    for row in report["contenders"]:
        own = [record["values"] for record in records if record["contender"] == row["name"]]
        means = [sum(values[name] for values in own) / 2 for name in ("soft_nc", "soft_nc_random")]
        found = row["measures"]["soft_nc_log_ratio"]["mean"]
        assert found == pytest.approx(math.log(means[0] / means[1]), abs=1e-4)


def test_prompts_where_the_task_takes_none(tmp_path, capsys):
    path = tmp_path / "prompts.txt"
    path.write_text("a prompt\n")
    assert cli.run(["compare", "prompting", "--model", "tiny", "--prompts", str(path)]) != 0
    assert "'order_sensitivity', which takes no prompts" in " ".join(capsys.readouterr().err.split())
