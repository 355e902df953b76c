"""Edits do what they say where they say it, on adapters and native models; a knockout hides its sources and no more."""

from functools import cache

import pytest
import torch

from tests.architectures.test_contract import lively
from tests.families import ATTENTION_FAMILIES
from tests.models.test_huggingface import CLOSE, model, tokens
from trivium.core.errors import NotOffered
from trivium.models.edits import ablate, compose, marked, patch
from trivium.models.knockout import knockout

IDS = tokens(2, 7)
NATIVE = ("llama", "gpt", "mixture_of_experts")
MODELS = (*ATTENTION_FAMILIES, *(f"native {name}" for name in NATIVE))


@cache
def made(name):
    return lively(name.removeprefix("native ")) if name.startswith("native ") else model(name)


def ids_of(one, batch=2, time=7, seed=0):
    return torch.randint(1, min(one.vocab_size, 41), (batch, time), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def seen(one, ids, *names, edits=None, **more):
    """What a pass shows at these sites, after the edits."""
    with one.edit(edits or {}), one.capture(*names) as found:
        logits = one(ids, **more).logits
    return logits, found


class TestPatch:
    @pytest.mark.parametrize("name", MODELS)
    def test_a_whole_stream_from_another_text_is_that_text(self, name):
        one = made(name)
        ids, other = ids_of(one), ids_of(one, seed=9)
        wanted, there = seen(one, other, "blocks.1.out")
        logits, _ = seen(one, ids, edits={"blocks.1.out": patch(there["blocks.1.out"])})
        torch.testing.assert_close(logits, wanted, **CLOSE)

    @pytest.mark.parametrize("name", MODELS)
    @pytest.mark.parametrize("site", ["attn.z", "attn.v", "attn.weights"])
    def test_positions_and_heads_are_patched_and_nothing_else(self, name, site):
        one, site = made(name), f"blocks.1.{site}"
        ids = ids_of(one)
        _, before = seen(one, ids, site)
        source = torch.full_like(before[site], 0.25)
        _, after = seen(one, ids, site, edits={site: patch(source, positions=[1, -1], heads=[1])})
        time, heads = (2, 1) if site.endswith("weights") else (1, 2)
        expected = before[site].clone().movedim((time, heads), (1, 2))
        expected[:, [1, 6], 1] = 0.25
        assert torch.equal(after[site].movedim((time, heads), (1, 2)), expected)

    def test_one_row_spreads_over_the_batch(self):
        one, site = made("llama"), "blocks.0.mid"
        _, there = seen(one, tokens(1, 7, seed=3), site)
        _, after = seen(one, IDS, "blocks.0.out", edits={site: patch(there[site])})
        _, wanted = seen(one, tokens(1, 7, seed=3), "blocks.0.out")
        torch.testing.assert_close(after["blocks.0.out"], wanted["blocks.0.out"].expand(2, -1, -1), **CLOSE)

    def test_rows_have_their_own_positions(self):
        one, site = made("llama"), "blocks.1.in"
        marks = torch.tensor([[True] + [False] * 6, [False] * 6 + [True]])
        for positions in (marks, torch.tensor([[0], [6]]), torch.tensor([[-7], [-1]])):
            _, after = seen(one, IDS, site, edits={site: patch(torch.zeros(()), positions)})
            assert torch.equal((after[site] == 0).all(-1), marks)

    def test_along_a_state_positions_are_those_of_the_pass(self):
        one, site = made("llama"), "blocks.2.in"
        state = one(IDS[:, :4], keep_state=True).state
        _, after = seen(one, IDS[:, 4:], site, edits={site: patch(torch.zeros(()), 1)}, state=state)
        assert (after[site] == 0).all(-1).tolist() == [[False, True, False]] * 2


class TestAblate:
    @pytest.mark.parametrize("name", MODELS)
    def test_zero_takes_a_heads_part_of_the_stream_away(self, name):
        """A head is worth its slice of the output projection."""
        one, (z, out) = made(name), ("blocks.0.attn.z", "blocks.0.attn.out")
        if name == "gemma":
            out = "blocks.0.attn.norm"  # a norm follows the projection there: only that the edit was local is seen
        ids = ids_of(one)
        _, before = seen(one, ids, z, out)
        _, after = seen(one, ids, z, out, edits={z: ablate(heads=[2])})
        assert not after[z][:, :, 2].any()
        assert torch.equal(after[z][:, :, [0, 1, 3]], before[z][:, :, [0, 1, 3]])
        if name != "gemma":
            module = one.site_table()[z].module
            weight = module.weight.T if hasattr(module, "nf") else module.weight
            lost = before[z][:, :, 2] @ weight.unflatten(1, before[z].shape[2:])[:, 2].T
            torch.testing.assert_close(before[out].view_as(lost) - after[out].view_as(lost), lost, **CLOSE)

    def test_the_mean_is_over_rows_and_marked_positions(self):
        one, site = made("llama"), "blocks.1.mlp.out"
        _, there = seen(one, tokens(3, 5, seed=4), site)
        source = there[site]
        _, after = seen(one, IDS, site, edits={site: ablate("mean", source=source)})
        torch.testing.assert_close(after[site], source.mean((0, 1)).expand(2, 7, -1), **CLOSE)
        mask = torch.zeros(3, 5, dtype=torch.bool)
        mask[0, 1] = mask[2, 4] = True
        _, after = seen(one, IDS, site, edits={site: ablate("mean", source=source, mask=mask)})
        torch.testing.assert_close(after[site][1, 3], (source[0, 1] + source[2, 4]) / 2, **CLOSE)
        _, own = seen(one, IDS, site)
        _, after = seen(one, IDS, site, edits={site: ablate("mean", positions=[2])})
        torch.testing.assert_close(after[site][:, 2], own[site].mean((0, 1)).expand(2, -1), **CLOSE)
        assert torch.equal(after[site][:, 3], own[site][:, 3])

    def test_the_mean_at_weights_keeps_their_axes(self):
        one, site = made("llama"), "blocks.1.attn.weights"
        _, own = seen(one, IDS, site)
        _, after = seen(one, IDS, site, edits={site: ablate("mean", heads=[1])})
        torch.testing.assert_close(after[site][0, 1, 4], own[site][:, 1].mean((0, 1)), **CLOSE)
        assert torch.equal(after[site][:, 0], own[site][:, 0])

    @pytest.mark.parametrize("rows", [2, 5])
    def test_a_resample_gives_every_row_another_one(self, rows):
        one, site, ids = made("llama"), "blocks.1.out", tokens(rows, 4)
        _, own = seen(one, ids, site)
        edit = ablate("resample", generator=torch.Generator().manual_seed(0))
        _, after = seen(one, ids, site, edits={site: edit})
        chosen = [next(i for i in range(rows) if torch.equal(after[site][row], own[site][i])) for row in range(rows)]
        assert sorted(chosen) == list(range(rows))
        assert all(place != row for row, place in enumerate(chosen))

    def test_a_resample_from_other_texts_depends_on_the_seed_alone(self):
        one, site = made("llama"), "blocks.1.out"
        _, there = seen(one, tokens(9, 7, seed=4), site)

        def drawn(seed):
            edit = ablate("resample", source=there[site], generator=torch.Generator().manual_seed(seed))
            return seen(one, IDS, site, edits={site: edit})[1][site]

        assert torch.equal(drawn(1), drawn(1))
        assert any(not torch.equal(drawn(1), drawn(seed)) for seed in range(2, 6))
        assert all(any(torch.equal(row, given) for given in there[site]) for row in drawn(1))


def test_edits_of_one_site_compose_in_the_order_given():
    one, site = made("llama"), "blocks.1.attn.z"
    _, own = seen(one, IDS, site)
    both = compose(ablate(heads=[0]), lambda x: x + 1)
    _, after = seen(one, IDS, site, edits={site: both})
    assert torch.equal(after[site][:, :, 0], torch.ones_like(own[site][:, :, 0]))
    other = compose(lambda x: x + 1, ablate(heads=[0]))
    _, after = seen(one, IDS, site, edits={site: other})
    assert not after[site][:, :, 0].any()
    assert torch.equal(after[site][:, :, 1], own[site][:, :, 1] + 1)


def test_marks():
    assert marked(2, 2, 4).tolist() == [[False, False, True, False]] * 2
    assert marked([-1, 0], 1, 3).tolist() == [[True, False, True]]
    assert marked(torch.tensor([True, False]), 2, 2).tolist() == [[True, False]] * 2


def all_layers(one):
    return list(range(one.depth))


class TestKnockout:
    @pytest.mark.parametrize("name", MODELS)
    def test_blocked_weights_are_zero_and_the_rest_sums_to_one(self, name):
        one = made(name)
        ids, site = ids_of(one), "blocks.1.attn.weights"
        _, before = seen(one, ids, site)
        with knockout(one, [1, 2], [4, 6], [1]):
            _, after = seen(one, ids, site)
        weights = after[site]
        assert not weights[:, :, [4, 6]][..., [1, 2]].any()
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        others = [0, 1, 2, 3, 5]
        assert torch.equal(weights[:, :, others], before[site][:, :, others])
        left = before[site][:, :, [4, 6]].clone()
        left[..., [1, 2]] = 0  # the softmax gives the rest what the sources would have got, in proportion
        torch.testing.assert_close(weights[:, :, [4, 6]], left / left.sum(-1, keepdim=True), **CLOSE)

    @pytest.mark.parametrize("name", MODELS)
    def test_without_renormalizing_the_rest_stays(self, name):
        one = made(name)
        ids, site = ids_of(one), "blocks.1.attn.weights"
        _, before = seen(one, ids, site)
        with knockout(one, [1, 2], [4], [1], renormalize=False):
            _, after = seen(one, ids, site)
        expected = before[site].clone()
        expected[:, :, 4, [1, 2]] = 0
        assert torch.equal(after[site], expected)

    @pytest.mark.parametrize("name", MODELS)
    def test_sources_cut_everywhere_are_not_known_behind(self, name):
        """From later tokens, in all layers: then it does not matter which token the source is."""
        one = made(name)
        ids = ids_of(one)
        other = ids.clone()
        other[:, 2] = ids[:, 2] % 39 + 1
        with knockout(one, [2], [3, 4, 5, 6], all_layers(one)):
            a, b = one(ids).logits, one(other).logits
        torch.testing.assert_close(a[:, 3:], b[:, 3:], **CLOSE)
        assert (a[:, 2] - b[:, 2]).abs().max() > 1e-3
        assert (one(ids).logits - one(other).logits)[:, 3:].abs().max() > 1e-3

    @pytest.mark.parametrize("name", MODELS)
    def test_nothing_before_the_first_target_changes(self, name):
        one = made(name)
        ids = ids_of(one)
        plain = one(ids).logits
        with knockout(one, [0, 1], [4, 5], all_layers(one)):
            cut = one(ids).logits
        torch.testing.assert_close(cut[:, :4], plain[:, :4], **CLOSE)
        assert (cut[:, 4:] - plain[:, 4:]).abs().amax(-1).min() > 1e-4

    @pytest.mark.parametrize("name", MODELS)
    def test_a_pair_that_is_not_causal_changes_nothing(self, name):
        one = made(name)
        ids = ids_of(one)
        with knockout(one, [5, 6], [2], all_layers(one)):
            cut = one(ids).logits
        torch.testing.assert_close(cut, one(ids).logits, **CLOSE)

    @pytest.mark.parametrize("name", MODELS)
    def test_only_the_named_heads_are_cut(self, name):
        one = made(name)
        ids, site = ids_of(one), "blocks.1.attn.weights"
        for renormalize in (True, False):
            _, before = seen(one, ids, site)
            with knockout(one, [1], [5], [1], [0, 3], renormalize=renormalize):
                _, after = seen(one, ids, site)
            assert not after[site][:, [0, 3], 5, 1].any()
            assert torch.equal(after[site][:, [1, 2]], before[site][:, [1, 2]])
        with knockout(one, [1], [5], [0, 1], {0: [1], 1: [2]}):
            _, after = seen(one, ids, "blocks.0.attn.weights", site)
        assert [h for h in range(4) if not after["blocks.0.attn.weights"][:, h, 5, 1].any()] == [1]
        assert [h for h in range(4) if not after[site][:, h, 5, 1].any()] == [2]

    @pytest.mark.parametrize("name", MODELS)
    def test_one_pass_or_a_state_gives_the_same(self, name):
        one = made(name)
        ids = ids_of(one)
        with knockout(one, [1, 2], [4, 6], all_layers(one)):
            whole = one(ids).logits
            state, parts = None, []
            for piece in (ids[:, :3], ids[:, 3:5], ids[:, 5:6], ids[:, 6:]):
                out = one(piece, state=state, keep_state=True)
                parts.append(out.logits)
                state = out.state
        torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)

    @pytest.mark.parametrize("name", MODELS)
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_a_padded_row_gives_what_it_gives_alone(self, name, side):
        one = made(name)
        ids = ids_of(one)
        short = ids[1:, :5]
        pad = torch.full((1, 2), 3)
        both = torch.cat([ids[:1], torch.cat([pad, short] if side == "left" else [short, pad], 1)])
        shift = 2 if side == "left" else 0
        mask, sources, targets = (torch.zeros(2, 7, dtype=torch.bool) for _ in range(3))
        mask[0], mask[1, shift : shift + 5] = True, True
        sources[0, [1, 2]] = sources[1, shift + 1] = True
        targets[0, [4, 6]] = targets[1, [shift + 3, shift + 4]] = True
        with knockout(one, sources, targets, all_layers(one)):
            together = one(both, mask=mask).logits
        with knockout(one, [1, 2], [4, 6], all_layers(one)):
            first = one(ids[:1]).logits
        with knockout(one, [1], [3, 4], all_layers(one)):
            second = one(short).logits
        torch.testing.assert_close(together[:1], first, **CLOSE)
        torch.testing.assert_close(together[1:, shift : shift + 5], second, **CLOSE)

    def test_every_row_has_its_own_layers(self):
        one = made("llama")
        ids = IDS[:1].expand(3, -1)
        layers = torch.tensor([[True, False, False], [False, True, True], [False, False, False]])
        with knockout(one, [1, 2], [6], layers):
            together = one(ids).logits
        for row, some in enumerate(([0], [1, 2])):
            with knockout(one, [1, 2], [6], some):
                torch.testing.assert_close(together[row : row + 1], one(ids[:1]).logits, **CLOSE)
        torch.testing.assert_close(together[2:], one(ids[:1]).logits, **CLOSE)

    def test_generated_tokens_are_targets_too_where_asked_for(self):
        one, more = made("llama"), tokens(2, 1, seed=5)
        state = one(IDS, keep_state=True).state
        plain = one(more, state=state).logits
        with knockout(one, [1, 2], [6], all_layers(one), generated=True):
            cut = one(more, state=state).logits
        with knockout(one, [1, 2], [6, 7], all_layers(one)):
            torch.testing.assert_close(one(more, state=state).logits, cut, **CLOSE)
        assert (plain - cut).abs().max() > 1e-3
        never = "never met a target"
        with pytest.raises(RuntimeError, match=never), knockout(one, [1, 2], [6], all_layers(one)):
            one(more, state=state)

    def test_one_attention_layer_is_the_text_without_the_source(self):
        """Positions kept: the same as dropping the source's keys by a mask of the caller's own."""
        one = lively("llama", depth=1)
        ids = ids_of(one)
        mask = torch.ones(7, 7, dtype=torch.bool).tril()
        mask[6, 2] = False
        with knockout(one, [2], [6], [0]):
            cut = one(ids).logits
        torch.testing.assert_close(cut, one(ids, mask=mask.expand(2, 1, -1, -1)).logits, **CLOSE)

    def test_the_model_is_put_back(self):
        one = made("llama")
        plain = one(IDS).logits
        with pytest.raises(ZeroDivisionError), knockout(one, [1], [5], [0]):
            raise ZeroDivisionError
        assert torch.equal(one(IDS).logits, plain)
        assert one.config._attn_implementation == "sdpa"

    def test_two_knockouts_add_up(self):
        one, site = made("llama"), "blocks.1.attn.weights"
        with knockout(one, [1], [5], [1]), knockout(one, [2], [5], [1]):
            _, after = seen(one, IDS, site)
        with knockout(one, [1, 2], [5], [1]):
            _, wanted = seen(one, IDS, site)
        torch.testing.assert_close(after[site], wanted[site], **CLOSE)


class TestMisuse:
    @pytest.mark.parametrize("name", MODELS)
    def test_nothing_left_to_attend_to(self, name):
        one = made(name)
        with pytest.raises(ValueError, match="position 4 would be left with nothing"):
            knockout(one, [0, 1, 2, 3, 4], [4], [0]).__enter__()
        with (  # padding hides the rest: only the pass can tell
            pytest.raises(ValueError, match=r"position 4 of row 1 is left with nothing to attend to in layer 0"),
            knockout(one, [2, 3, 4], [4], [0]),
        ):
            one(ids_of(one), mask=torch.tensor([[True] * 7, [False] * 2 + [True] * 5]))
        with (
            pytest.raises(ValueError, match="position 4 of row 0 is left with nothing"),
            knockout(one, [0, 1, 2, 3, 4], [4], [0], [1]),
        ):
            one(ids_of(one))

    def test_a_window_may_leave_nothing(self):
        one = made("gemma")  # whose first layer sees six tokens
        ids = tokens(1, 9)
        with pytest.raises(ValueError, match="position 8 of row 0 is left"), knockout(one, range(3, 9), [8], [0]):
            one(ids)
        with knockout(one, range(3, 9), [8], [1]):
            one(ids)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (([], [3], [0]), "positions are empty"),
            (([1], torch.zeros(7, dtype=torch.bool), [0]), "positions are empty"),
            (([1], [3], []), "at least one layer"),
            (([1], [3], [3]), "there is no layer 3; the model has 3"),
            (([1], [3], [-1]), "there is no layer -1"),
            (([-1], [3], [0]), "counted from the beginning"),
            (([1], [3], [0], [4]), "there is no head 4 in layer 0, which has 4"),
            (([1], [3], [0], [-1]), "there is no head -1"),
            (([1], [3], [0], []), "at least one head"),
            (([1], [3], [0, 1], {0: [1]}), "layer 1 differs"),
            (([1], [3], torch.zeros(2, 3, dtype=torch.bool)), "with at least one"),
            (([1], [3], torch.ones(2, 4, dtype=torch.bool)), r"\(batch, 3\)"),
        ],
    )
    def test_knockouts_that_are_none(self, given, message):
        with pytest.raises(ValueError, match=message):
            knockout(made("llama"), *given).__enter__()

    def test_rows_that_do_not_fit(self):
        three = torch.tensor([[1], [2], [1]])
        wrong = "sources are given for 3 rows, and the pass has 2"
        with pytest.raises(ValueError, match=wrong), knockout(made("llama"), three, [5], [0]):
            made("llama")(IDS)
        layers = torch.ones(3, 3, dtype=torch.bool)
        with pytest.raises(ValueError, match="layers are given for 3 rows"), knockout(made("llama"), [1], [5], layers):
            made("llama")(IDS)

    def test_a_model_without_attention(self):
        with pytest.raises(NotOffered, match="knockout needs 'attention'"):
            knockout(model("mamba"), [0], [3], [0]).__enter__()
        with pytest.raises(NotOffered, match="knockout needs 'attention'"):
            knockout(lively("h3"), [0], [3], [0]).__enter__()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: ablate("nothing"), "kind must be one of zero, mean, resample"),
            (lambda: ablate("zero", source=torch.ones(1)), "zeros need no source"),
            (lambda: ablate("zero", mask=torch.ones(1, 1)), "has no use for one"),
            (lambda: ablate("resample"), "needs a generator"),
            (lambda: ablate("mean", generator=torch.Generator()), "nothing else does"),
            (lambda: ablate(positions=[]), "positions are empty"),
            (lambda: ablate(heads=[]), "at least one"),
            (lambda: ablate(heads=[-1]), "numbers from 0"),
            (compose, "at least one edit"),
        ],
    )
    def test_edits_that_are_none(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_edits_that_do_not_fit(self):
        one = made("llama")
        for edit, site, message in (
            (patch(torch.zeros(3, 7, 32)), "blocks.0.out", r"the patch is \(3, 7, 32\) and the site \(2, 7, 32\)"),
            (patch(torch.zeros(()), positions=[7]), "blocks.0.out", "position 7 is outside a pass of 7 columns"),
            (ablate(positions=torch.ones(2, 5, dtype=torch.bool)), "blocks.0.out", "positions mark 5 columns"),
            (ablate(heads=[4]), "blocks.0.attn.z", "there is no head 4"),
            (ablate(heads=[2]), "blocks.0.attn.k", "there is no head 2"),  # two groups of keys
            (ablate("mean", mask=torch.zeros(2, 7, dtype=torch.bool)), "blocks.0.out", "with 0 marks"),
        ):
            with pytest.raises(ValueError, match=message), one.edit({site: edit}):
                one(IDS)
        with pytest.raises(ValueError, match=r"'blocks\.0\.out' has no heads"):
            one.edit({"blocks.0.out": ablate(heads=[0])}).__enter__()
        alone = ablate("resample", generator=torch.Generator())
        with pytest.raises(ValueError, match="no other row to draw from"), one.edit({"blocks.0.out": alone}):
            one(IDS[:1])
        with pytest.raises(TypeError, match="a patch takes a tensor"):
            patch([1.0])
