"""A sweep is one knockout per prompt, flow and window; windows stand where the paper has them; bad input is refused."""

import math

import pytest
import torch

from tests.families import wrapped
from trivium.core.errors import NotFinite, NotOffered, UnknownName
from trivium.data.spans import find_span
from trivium.evaluation import information_flow
from trivium.evaluation._flow import Asked, Flow, NotAnswered, Window, ask, pairs_of, sliding, tiled
from trivium.evaluation.information_flow import InformationFlow, sweep
from trivium.models.knockout import knockout
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

MODEL = wrapped("llama")
LENGTHS = (7, 9, 7, 8)
SPANS = {"subject": [1, 2], "other": [3]}


def asked(model=MODEL, lengths=LENGTHS, right=True):
    """Prompts whose answer is what the model says anyway, or is not."""
    made = []
    for number, time in enumerate(lengths):
        ids = torch.randint(1, 60, (time,), generator=torch.Generator().manual_seed(number))
        with torch.no_grad():
            answer = int(model(ids[None]).logits[0, -1].argmax()) ^ (not right)
        spans = {name: torch.isin(torch.arange(time), torch.tensor(at)) for name, at in SPANS.items()}
        spans["last"] = torch.arange(time) == time - 1
        made.append(Asked(ids, answer, spans, f"prompt {number}"))
    return made


def logp(one, block=None):
    with torch.no_grad():
        return MODEL(one.given[None]).logits[0, -1].log_softmax(-1)[one.answer]


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("heads", [None, (0, 3)])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_sweep_is_one_knockout_after_another(renormalize, heads, batch_size):
    given, flows = asked(), [("subject", "last"), ("other", "subject"), ("other", "last")]
    flows[1] = ("subject", "other")
    found = sweep(MODEL, given, flows, window=2, renormalize=renormalize, heads=heads, batch_size=batch_size)
    assert found.kept.tolist() == found.answered.tolist() == [True] * 4
    for flow, (source, target) in zip(found.flows, flows, strict=True):
        assert (flow.source, flow.target) == (source, target)
        for row, one in enumerate(given):
            torch.testing.assert_close(flow.plain[row], logp(one).double(), atol=1e-6, rtol=0)
            places = [torch.nonzero(one.span(name))[:, 0].tolist() for name in (source, target)]
            for at, window in enumerate(flow.windows):
                with knockout(MODEL, *places, range(window.start, window.stop), heads, renormalize=renormalize):
                    wanted = logp(one)
                torch.testing.assert_close(flow.cut[row, at], wanted.double(), atol=1e-6, rtol=0)
    assert (found.flows[0].difference.abs() > 1e-3).any()


def test_heads_may_differ_by_layer():
    given = asked()[:1]
    found = sweep(MODEL, given, ["subject->last"], window=3, heads={1: [2]}).flows[0]
    with knockout(MODEL, [1, 2], [6], [1], [2]):
        torch.testing.assert_close(found.cut[0, 1], logp(given[0]).double(), atol=1e-6, rtol=0)
    first = sweep(MODEL, given, ["subject->last"], window=1, heads={1: [2]}).flows[0]
    assert first.difference[0, [0, 2]].abs().max() < 1e-9  # layers that are not named are left alone


def test_embeddings_serve_as_well_as_ids():
    """As they must for images, which are positions without ids."""
    given = asked()
    with torch.no_grad():
        images = [Asked(MODEL.embed(one.given), one.answer, one.spans, one.name) for one in given]
    ids, embeds = (sweep(MODEL, some, ["subject->last"], window=2).flows[0] for some in (given, images))
    torch.testing.assert_close(ids.cut, embeds.cut, atol=1e-9, rtol=0)


def test_the_last_position_may_be_kept_from_itself():
    found = sweep(MODEL, asked(), ["last->last"], window=3).flows[0]
    assert (found.difference.abs() > 1e-4).any()


def test_only_right_answers_count():
    mixed = [*asked()[:2], *asked(right=False)[2:]]
    found = sweep(MODEL, mixed, ["subject->last"], window=2)
    assert found.answered.tolist() == [True, True, False, False]
    assert found.flows[0].cut.shape == (2, 3)
    every = sweep(MODEL, mixed, ["subject->last"], window=2, answered=False)
    assert every.flows[0].cut.shape == (4, 3)
    least = float(every.plain.exp()[:2].max())
    assert sweep(MODEL, mixed, ["subject->last"], window=2, least=least - 1e-9).flows[0].cut.shape == (1, 3)
    with pytest.raises(NotAnswered, match="of 4 prompts 0 are answered right"):
        sweep(MODEL, asked(right=False), ["subject->last"])


def test_change_and_difference_by_hand():
    plain, cut = torch.tensor([0.5, 0.8]).double().log(), torch.tensor([[0.25, 0.5], [0.8, 0.2]]).double().log()
    flow = Flow("a", "b", (Window(0, 0, 1), Window(1, 1, 2, True)), plain, cut)
    torch.testing.assert_close(flow.change, torch.tensor([[-50.0, 0.0], [0.0, -75.0]]).double())
    assert float(flow.difference[0, 0]) == pytest.approx(-math.log(2))
    first, second = flow.rows()
    assert (first["change"], second["change"]) == pytest.approx((-25.0, -37.5))
    assert first["change_error"] == pytest.approx(25.0)  # (50 / sqrt 2) / sqrt 2
    assert (first["first"], first["last"], first["clipped"], second["clipped"]) == (0, 0, False, True)
    alone = Flow("a", "b", flow.windows, plain[:1], cut[:1]).rows()
    assert alone[0]["change_error"] is None


@pytest.mark.parametrize(
    ("depth", "width", "expected"),
    [
        (5, 1, [(0, 1, False), (1, 2, False), (2, 3, False), (3, 4, False), (4, 5, False)]),
        (5, 2, [(0, 1, True), (0, 2, False), (1, 3, False), (2, 4, False), (3, 5, False)]),
        (5, 3, [(0, 2, True), (0, 3, False), (1, 4, False), (2, 5, False), (3, 5, True)]),
        (2, 9, [(0, 2, True), (0, 2, True)]),
    ],
)
def test_sliding_windows(depth, width, expected):
    assert [(one.start, one.stop, one.clipped) for one in sliding(depth, width)] == expected
    assert [one.centre for one in sliding(depth, width)] == list(range(depth))


def test_the_papers_window_is_nine_layers_about_the_centre():
    thirty = sliding(30, InformationFlow().window)
    assert (thirty[15].start, thirty[15].stop) == (11, 20)
    assert [one.centre for one in thirty if one.clipped] == [0, 1, 2, 3, 26, 27, 28, 29]


def test_tiled_windows():
    assert [(one.start, one.stop, one.clipped) for one in tiled(30, 6)] == [(s, s + 6, False) for s in range(0, 30, 6)]
    assert [(one.start, one.stop, one.clipped) for one in tiled(5, 3)] == [(0, 3, False), (3, 5, True)]


class TestAsk:
    SYSTEM = System(wrapped("llama", vocab_size=259), ByteTokenizer(), "bytes")
    TEXT = "Mary and John: John gave it to"

    def test_spans_are_found_by_their_text(self):
        one = ask(
            self.SYSTEM, self.TEXT, " Mary", {"indirect": "Mary", "subject": find_span(self.TEXT, "John", which=1)}
        )
        assert one.answer == ord("M")  # the space is a token of its own here, and has gone into the prompt
        assert one.given[-1] == ord(" ")
        assert one.spans["indirect"].nonzero()[:, 0].tolist() == [1, 2, 3, 4]  # behind the opening token
        assert one.spans["subject"].nonzero()[:, 0].tolist() == [10, 11, 12, 13]
        assert one.spans["last"].nonzero()[:, 0].tolist() == [len(one.given) - 1]
        rest = one.spans["rest"]
        assert not rest[0]
        assert int(rest.sum()) == len(one.given) - 1 - 1 - 8
        again = ask(self.SYSTEM, self.TEXT, " Mary", {"again": (15, 19)})
        assert again.spans["again"].nonzero()[:, 0].tolist() == [16, 17, 18, 19]

    @pytest.mark.parametrize(
        ("spans", "message"),
        [
            ({"a": "Peter"}, "'Peter' does not occur"),
            ({"a": "John"}, "'John' occurs 2 times, at characters 9, 15"),
            ({"a": ""}, "an empty piece"),
            ({"a": "Mary", "b": "Mar"}, "'a' and 'b' share a token"),
            ({"last": "Mary"}, "'last' is there already"),
            ({"a": (3, 300)}, "are no piece of a text"),
        ],
    )
    def test_spans_that_are_none(self, spans, message):
        with pytest.raises(ValueError, match=message):
            ask(self.SYSTEM, self.TEXT, " Mary", spans)

    def test_answers_that_are_none(self):
        with pytest.raises(ValueError, match="has no token for ''"):
            ask(self.SYSTEM, self.TEXT, "", {"a": "Mary"})


class TestMisuse:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"window": 0}, "a window holds at least one layer, got 0"),
            ({"window": [Window(2, 2, 4)]}, "layers 2 to 4 are no window of a model of 3"),
            ({"window": []}, "at least one window"),
            ({"batch_size": 0}, "batch_size must be at least 1"),
            ({"least": 1.0}, "least is a probability"),
            ({"heads": [4]}, "there is no head 4"),
            ({"flows": []}, "at least one flow"),
            ({"flows": ["subject"]}, "written source->target"),
            ({"flows": ["subject->last", ("subject", "last")]}, "each flow once"),
            ({"asked": []}, "at least one prompt"),
        ],
    )
    def test_sweeps_that_are_none(self, options, message):
        given = {"asked": asked(), "flows": ["subject->last"]} | options
        with pytest.raises(ValueError, match=message):
            sweep(MODEL, given.pop("asked"), given.pop("flows"), **given)

    def test_spans_that_do_not_fit(self):
        (one,) = asked()[:1]
        with pytest.raises(UnknownName, match="no span 'subjct'; did you mean 'subject'"):
            sweep(MODEL, [one], ["subjct->last"])
        spans = dict(one.spans) | {"wide": torch.arange(7) > 4, "all": torch.ones(7, dtype=torch.bool)}
        wide = Asked(one.given, one.answer, spans)
        with pytest.raises(ValueError, match="'wide' and 'last' of '' overlap"):
            sweep(MODEL, [wide], ["wide->last"])
        with pytest.raises(ValueError, match="position 0 of 'all' would be left with nothing"):
            sweep(MODEL, [wide], ["all->all"])
        with pytest.raises(ValueError, match="the span 'a' of '' is empty"):
            Asked(one.given, 1, {"a": torch.zeros(7, dtype=torch.bool)})
        with pytest.raises(ValueError, match="must be bool of 7 positions"):
            Asked(one.given, 1, {"a": torch.ones(6, dtype=torch.bool)})
        with pytest.raises(ValueError, match="is empty"):
            Asked(one.given[:0], 1, {})
        with pytest.raises(ValueError, match="the answer 64 of '' is outside the vocabulary of 64"):
            sweep(MODEL, [Asked(one.given, 64, one.spans)], ["subject->last"])
        mixed = [one, Asked(MODEL.embed(one.given).detach(), one.answer, one.spans)]
        with pytest.raises(ValueError, match="all prompts as ids, or all as embeddings"):
            sweep(MODEL, mixed, ["subject->last"])

    def test_models_without_attention(self):
        with pytest.raises(NotOffered, match="information flow needs 'attention'"):
            sweep(wrapped("mamba"), asked(), ["subject->last"])

    def test_a_broken_model(self, monkeypatch):
        given = asked()
        monkeypatch.setattr(MODEL.parts.logits, "forward", lambda x: x * float("nan"))
        with pytest.raises(NotFinite, match="with nothing cut"):
            sweep(MODEL, given, ["subject->last"])

    @pytest.mark.parametrize(
        "options", [{"window": 0}, {"items": 0}, {"batch_size": 0}, {"least": -0.1}, {"source": ""}]
    )
    def test_settings(self, options):
        with pytest.raises(ValueError, match=r"at least 1|probability|source->target"):
            InformationFlow(**options)


class TestTask:
    SYSTEM = TestAsk.SYSTEM

    def test_the_splits_share_no_prompt_and_come_again(self):
        task = InformationFlow(items=6)
        test, validation = task.examples("test"), task.examples("validation")
        assert len({one.text for one in (*test, *validation)}) == 12
        assert task.examples("test") == InformationFlow(items=6).examples("test")
        with pytest.raises(ValueError, match="'validation' and 'test'"):
            task.examples("train")
        for one in test:
            start, stop = one.fields["spans"]["indirect"]
            assert " " + one.text[start:stop] == one.fields["answer"]

    def test_a_prompt_that_is_not_answered_has_no_flow(self):
        task = InformationFlow(items=3, window=1)
        got = task.score(self.SYSTEM, task.examples("test")[0])
        assert got.values == {"answered": 0.0}
        assert set(got.shown) == {"change", "difference", "depth"}
        assert "not the likeliest" in got.shown["change"]

    def test_one_that_is_has_all_measures(self, monkeypatch):
        task = InformationFlow(items=3, window=1)
        example = task.examples("test")[0]
        ids = task.ask(self.SYSTEM, example).given
        with torch.no_grad():
            said = int(self.SYSTEM.model(ids[None]).logits[0, -1].argmax())
        plain = information_flow.ask
        monkeypatch.setattr(information_flow, "ask", lambda *a: Asked(*(vars(plain(*a)) | {"answer": said}).values()))
        got = task.score(self.SYSTEM, example)
        assert set(got.values) == {measure.name for measure in task.measures}
        changes = got.shown["changes"]
        assert got.values["change"] == min(changes)
        assert got.values["difference"] == pytest.approx(math.log1p(min(changes) / 100))
        assert got.values["depth"] == changes.index(min(changes)) / 2


def test_flows_are_written_with_an_arrow():
    assert pairs_of(["image -> last", ("a", "b")]) == [("image", "last"), ("a", "b")]


@pytest.mark.slow
def test_the_indirect_object_reaches_the_last_position_in_upper_layers():
    """One prompt on a real model: layers 18 to 23 carry the answer, the lower half does not."""
    system = load("smollm2-135m")
    text = "When Mary and John went to the store, John gave a drink to"
    one = ask(system, text, " Mary", {"indirect": "Mary"})
    found = sweep(system.model, [one], ["indirect->last"], window=tiled(system.model.depth, 6)).flows[0]
    assert float(found.plain.exp()) == pytest.approx(0.923, abs=0.01)
    change = found.change[0].tolist()
    assert max(abs(value) for value in change[:3]) < 1
    assert change[3] == pytest.approx(-51, abs=3)
    assert change[4] > 0
