"""What heads add, and what goes with them: against single passes and slow loops, on every family."""

import pytest
import torch

from tests.families import ATTENTION_FAMILIES, build, wrapped
from tests.models.attention_only import attention_only
from trivium.core.errors import NotOffered
from trivium.core.progress import Bar
from trivium.models import weights
from trivium.models.edits import ablate
from trivium.models.heads import Effects, contrasted, contributions, effects
from trivium.models.huggingface import wrap

PROMPTS = [
    torch.tensor(ids)
    for ids in ([7, 3, 11, 3, 2], [1, 9, 4, 2, 8], [5, 1, 3], [6, 6, 2, 1, 9], [4, 8, 2], [3, 3, 3, 1, 2])
]


def answer(logits, which):
    return logits.log_softmax(-1)[:, 4]


@pytest.mark.parametrize("family", ATTENTION_FAMILIES)
@pytest.mark.parametrize("reduce", ["mean", "last"])
def test_heads_add_up_to_what_the_attention_adds(family, reduce):
    model = wrapped(family)
    found = contributions(model, PROMPTS, reduce=reduce).unflatten(1, (model.depth, 4))
    for row, ids in enumerate(PROMPTS):
        sites = [f"blocks.{layer}.attn.out" for layer in range(model.depth)]
        with torch.no_grad(), model.capture(*sites) as seen:
            model(ids[None])
        for layer, site in enumerate(sites):
            added = seen[site][0].mean(0) if reduce == "mean" else seen[site][0, -1]
            bias = weights.output_bias(model, layer)
            total = found[row, layer].sum(0) + (0.0 if bias is None else bias)
            # norms of some families run in single precision
            torch.testing.assert_close(total, added, atol=1e-6, rtol=1e-6)


def test_a_head_adds_its_slice_of_the_output_without_the_bias():
    model = wrapped("opt")
    with torch.no_grad(), model.capture("blocks.1.attn.z") as seen:
        model(PROMPTS[0][None])
    slow = torch.stack([seen["blocks.1.attn.z"][0, t, 2] @ weights.output_matrix(model, 1, 2).T for t in range(5)])
    got = contributions(model, PROMPTS)
    torch.testing.assert_close(got[0, 1 * 4 + 2], slow.mean(0))
    torch.testing.assert_close(contributions(model, PROMPTS, reduce="last")[0, 6], slow[-1])


def test_batches_change_nothing_and_prompts_keep_their_places():
    model, bar = wrapped("llama"), Bar(0)
    whole = contributions(model, PROMPTS, bar=bar)
    assert bar.done == len(PROMPTS)
    torch.testing.assert_close(contributions(model, PROMPTS, batch_size=1), whole)
    for row, ids in enumerate(PROMPTS):
        torch.testing.assert_close(contributions(model, [ids])[0], whole[row])


def test_two_sorts_are_labelled_and_told_apart_by_length_only_on_request():
    model = attention_only(1)
    found, labels = contrasted(model, PROMPTS[:2], [PROMPTS[3], PROMPTS[5]])
    assert labels.tolist() == [1, 1, 0, 0]
    torch.testing.assert_close(found[2], contributions(model, [PROMPTS[3]])[0])
    with pytest.raises(ValueError, match=r"positives of \[5, 5\] tokens and negatives of \[3, 5\]"):
        contrasted(model, PROMPTS[:2], PROMPTS[2:4])
    assert contrasted(model, PROMPTS[:2], PROMPTS[2:4], strict=False)[0].shape == (4, 4, 16)


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt_neox", "attention only"])
@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_what_a_head_loses_is_what_a_whole_pass_without_it_loses(name, kind):
    model = attention_only(2) if name == "attention only" else wrapped(name)
    bar = Bar(0)
    found = effects(model, PROMPTS, answer, kind=kind, bar=bar, batch_size=2)
    assert bar.done == bar.total == len(PROMPTS) * model.depth * 4
    means = {}
    for length in (3, 5):
        alike = torch.stack([ids for ids in PROMPTS if len(ids) == length])
        with torch.no_grad(), model.capture("blocks.1.attn.z") as seen:
            model(alike)
        means[length] = seen["blocks.1.attn.z"].mean(0)
    plain, without = 0.0, 0.0
    for ids in PROMPTS:

        def gone(z, ids=ids):
            z = z.clone()
            z[:, :, 2] = 0 if kind == "zero" else means[len(ids)][:, 2]
            return z

        with torch.no_grad():
            plain += answer(model(ids[None]).logits[:, -1], None).item() / len(PROMPTS)
            with model.edit({"blocks.1.attn.z": gone}):
                without += answer(model(ids[None]).logits[:, -1], None).item() / len(PROMPTS)
    assert found.plain == pytest.approx(plain, abs=1e-6)
    assert float(found.lost[1, 2]) == pytest.approx(plain - without, abs=1e-6)
    assert found.lost.shape == (model.depth, 4)


def test_a_model_that_cannot_run_layers_is_run_as_a_whole():
    model = attention_only(2)
    expected = effects(model, PROMPTS, answer)
    model.offers = model.offers - {"layers"}
    torch.testing.assert_close(effects(model, PROMPTS, answer).lost, expected.lost)
    capped = wrap(build("gemma", final_logit_softcapping=3.0))
    assert not capped.split
    lost = effects(capped, PROMPTS[:1], answer).lost
    with torch.no_grad(), capped.edit({"blocks.2.attn.z": ablate("zero", heads=[1])}):
        without = answer(capped(PROMPTS[0][None]).logits[:, -1], None)
    with torch.no_grad():
        plain = answer(capped(PROMPTS[0][None]).logits[:, -1], None)
    assert float(lost[2, 1]) == pytest.approx(float(plain - without), abs=1e-6)


def test_the_score_is_told_which_prompts_its_rows_are():
    seen = []

    def score(logits, which):
        seen.append(which.tolist())
        return logits[:, 0]

    effects(attention_only(1), PROMPTS, score, batch_size=2)
    assert sorted(place for rows in seen[::5] for place in rows) == list(range(6))
    assert all(len({len(PROMPTS[place]) for place in rows}) == 1 for rows in seen)


def test_heads_that_share_a_pass_are_each_by_themselves():
    model = attention_only(2)
    for kind in ("zero", "mean"):
        apart = effects(model, PROMPTS, answer, kind=kind, batch_size=1)
        for batch_size in (7, 13, 64):
            together = effects(model, PROMPTS, answer, kind=kind, batch_size=batch_size)
            torch.testing.assert_close(together.lost, apart.lost)


def test_a_reference_gives_the_means():
    model = attention_only(2)
    own = effects(model, PROMPTS, answer, kind="mean")
    same = effects(model, PROMPTS, answer, kind="mean", reference=PROMPTS)
    other = effects(model, PROMPTS, answer, kind="mean", reference=[ids.flip(0) for ids in PROMPTS])
    assert torch.equal(own.lost, same.lost)
    assert (own.lost - other.lost).abs().max() > 1e-4
    with pytest.raises(ValueError, match="no reference prompt has 3 tokens"):
        effects(model, PROMPTS, answer, kind="mean", reference=PROMPTS[:2])


def test_the_circuit_is_what_loses_more_than_a_share():
    found = Effects(1.0, torch.tensor([[0.5, 0.21], [0.19, -1.0]]))
    assert found.circuit(0.2, 1.0).tolist() == [[True, True], [False, False]]
    assert found.circuit(0.2, 2.0).tolist() == [[True, False], [False, False]]
    with pytest.raises(ValueError, match=r"share is a part of the gap, between 0 and 1; got 1\.5"):
        found.circuit(1.5, 1.0)
    with pytest.raises(ValueError, match="gains -1 from the task"):
        found.circuit(0.2, -1.0)


def test_bad_input_is_named():
    model = attention_only(1)
    with pytest.raises(ValueError, match="at least one prompt"):
        contributions(model, [])
    with pytest.raises(ValueError, match=r"prompt 1 must be ids \(time,\), at least one"):
        contributions(model, [PROMPTS[0], PROMPTS[0][:0]])
    with pytest.raises(ValueError, match="reduce must be one of mean, last; got 'first'"):
        contributions(model, PROMPTS, reduce="first")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        effects(model, PROMPTS, answer, batch_size=0)
    with pytest.raises(ValueError, match="kind must be one of zero, mean; got 'half'"):
        effects(model, PROMPTS, answer, kind="half")
    with pytest.raises(ValueError, match="zeros need no reference"):
        effects(model, PROMPTS, answer, reference=PROMPTS)
    with pytest.raises(NotOffered, match="has no heads to read"):
        contributions(wrapped("mamba"), PROMPTS)
