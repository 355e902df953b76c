"""Pull-backs by hand, against what the model really adds, and against the numbers of the authors' code."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.families import build, wrapped
from tests.models import neo
from tests.models.attention_only import attention_only
from trivium.core.errors import NotOffered
from trivium.models import weights
from trivium.models.huggingface import wrap
from trivium.models.observables import (
    FeedForward,
    Head,
    along,
    check_path,
    coupling,
    feed_forward,
    means,
    observable,
    of_words,
    through,
    through_head,
    through_norm,
    through_unembedding,
)
from trivium.models.weights import Norm
from trivium.tokenization.byte import ByteTokenizer

IDS = torch.tensor([7, 3, 11, 3, 2, 12, 5, 1])


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_observables_are_sums_of_tokens():
    n = observable(5, [1, 1, 3], [0])
    assert n.tolist() == [-1.0, 2.0, 0.0, 1.0, 0.0]
    tokenizer = ByteTokenizer()
    assert torch.equal(of_words(tokenizer, 259, ["x"], ["y"]), observable(259, [ord("x")], [ord("y")]))
    assert torch.equal(of_words(tokenizer, 259, ["xy"], first_piece=True), observable(259, [ord("x")]))
    with pytest.raises(ValueError, match=r"'xy' has 2 tokens; .*first_piece=True"):
        of_words(tokenizer, 259, ["xy"])
    for token in (5, -1):
        with pytest.raises(ValueError, match=f"token {token} is outside the vocabulary of 5"):
            observable(5, [token])
    for tokens in (([1], [1]), ([], [])):
        with pytest.raises(ValueError, match="the observable is zero"):
            observable(5, *tokens)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "gpt_neox", "opt", "qwen"])
def test_what_the_head_reads_is_pulled_back_through_it(family):
    model, n = wrapped(family), rand(64)
    with torch.no_grad():
        out = model(IDS[None])
    y = through_unembedding(model, n)
    bias = getattr(model.parts.head, "bias", None)
    expected = out.logits[0].double() @ n - (0.0 if bias is None else bias.double() @ n)
    # some families have their logits in single precision
    torch.testing.assert_close(out.hidden[0].double() @ y.double(), expected, atol=1e-5, rtol=1e-5)


def test_soft_capped_logits_are_refused_or_replaced_by_their_slope(caplog):
    model = wrap(build("gemma", final_logit_softcapping=3.0))
    n = rand(64)
    with pytest.raises(NotOffered, match=r"squashes its logits softly to 3\.0"):
        through_unembedding(model, n)
    with torch.no_grad():
        out = model(IDS[None])
    y = through_unembedding(model, n, out.logits[0, -1])
    assert "softcap of 3.0 is replaced by its slope" in caplog.text
    hidden = out.hidden[0, -1].double()
    step = 1e-5 * rand(32, seed=3)
    with torch.no_grad():
        made = [3 * torch.tanh(model.parts.head(hidden + s) / 3) @ n for s in (step, -step)]
    assert float((made[0] - made[1]) / 2) == pytest.approx(float(y @ step), rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "gpt_neox", "opt"])
def test_a_head_adds_what_its_pulled_back_direction_reads(family):
    """Every head of every layer: y . (what it adds) = sum over sources of pattern times y' . normalised stream."""
    model, y = wrapped(family), rand(32)
    for layer in range(model.depth):
        block = f"blocks.{layer}.attn."
        with torch.no_grad(), model.capture(*(block + name for name in ("norm", "weights", "z"))) as seen:
            model(IDS[None])
        bias = weights.value_bias(model, layer)
        for head in range(4):
            direct = seen[block + "z"][0, :, head] @ weights.output_matrix(model, layer, head).T @ y
            read = through_head(model, Head(layer, head), y)
            found = seen[block + "weights"][0, head].double() @ (seen[block + "norm"][0] @ read)
            if bias is not None:
                found = found + bias[head] @ weights.output_matrix(model, layer, head).T @ y
            torch.testing.assert_close(found, direct, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("centred", [False, True])
def test_a_norm_keeps_the_direction_and_at_the_same_scale_the_score(centred):
    norm = Norm(rand(12, seed=1) + 1, rand(12, seed=2) if centred else None, 1e-5, centred)
    x, y = rand(12, seed=3), rand(12, seed=4)
    own = through_norm(norm, y, norm.scale(x))
    constant = 0.0 if norm.bias is None else float(norm.bias @ y)
    assert float(own @ x) + constant == pytest.approx(float(norm(x) @ y))
    other = through_norm(norm, y, 7.0)
    assert float(cosine_similarity(own, other, dim=0)) == pytest.approx(1.0)
    assert float(other.norm() / own.norm()) == pytest.approx(float(norm.scale(x)) / 7)
    # far from the mean vector, the theirs differs where the norm is centred and only there
    theirs = through_norm(norm, y, 7.0, reference=True)
    assert torch.equal(theirs, other) == (not centred)


def test_a_norm_is_passed_by_hand():
    plain = Norm(torch.tensor([1.0, 2.0]), None, 0.0, False)
    assert through_norm(plain, torch.tensor([3.0, 1.0]), 2.0).tolist() == [1.5, 1.0]
    centred = Norm(torch.tensor([1.0, 2.0]), None, 0.0, True)
    assert through_norm(centred, torch.tensor([3.0, 1.0]), 2.0).tolist() == [0.25, -0.25]
    assert through_norm(centred, torch.tensor([3.0, 1.0]), 2.0, reference=True).tolist() == [1.5, 1.0]


def test_a_function_is_passed_at_the_point_or_at_the_boundary():
    """x^2 - 1 at 3 has slope 6; it is 0 at 1, where its slope is 2. Two coordinates, of which one is looked at."""
    square = lambda x: x.square() - 1  # noqa: E731
    y, point = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([3.0, 5.0], dtype=torch.float64)
    assert through(square, y, point).tolist() == [6.0, 0.0]
    torch.testing.assert_close(through(square, y, point, "boundary"), torch.tensor([2.0, 0.0]).double())
    with pytest.raises(ValueError, match="at must be activation, mean or boundary, got 'there'"):
        through(square, y, point, "there")


def test_without_a_boundary_there_is_a_warning(caplog):
    got = through(lambda x: x.square() + 1, torch.ones(1).double(), torch.tensor([3.0]).double(), "boundary")
    assert got.isfinite().all()
    assert "no boundary found" in caplog.text


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma", "opt", "gpt_neox"])
def test_a_feed_forward_alone_is_that_of_the_pass(name):
    model = wrapped(name)
    with torch.no_grad(), model.capture("blocks.1.mlp.norm", "blocks.1.mlp.out") as seen:
        model(IDS[None])
    run = feed_forward(model, 1)
    with torch.no_grad():
        torch.testing.assert_close(run(seen["blocks.1.mlp.norm"][0]), seen["blocks.1.mlp.out"][0], atol=1e-6, rtol=1e-6)
    y, point = rand(32), seen["blocks.1.mlp.norm"][0, 3].double()
    slope, step = through(run, y, point), 1e-3 * rand(32, seed=5)  # norms in single precision round smaller ones
    with torch.no_grad():
        up, down = (float(run((point + s)[None])[0] @ y) for s in (step, -step))
    assert (up - down) / 2 == pytest.approx(float(slope @ step), rel=1e-3)


def test_coupling_is_one_with_itself_and_not_symmetric():
    one, other = rand(9), rand(9, seed=1)
    assert float(coupling(one, one)) == pytest.approx(1.0)
    assert float(coupling(one, -2.5 * one)) == pytest.approx(-2.5)
    back = coupling(one, other) * one.square().sum()
    torch.testing.assert_close(back, coupling(other, one) * other.square().sum())
    assert float(coupling(torch.tensor([2.0, 0.0]), torch.tensor([3.0, 4.0]))) == 1.5
    assert coupling(rand(3, 9), rand(9, seed=1)).shape == (3,)
    with pytest.raises(ValueError, match="length zero"):
        coupling(torch.zeros(3), torch.ones(3))


def test_coupling_is_the_score_to_expect_of_isotropic_states():
    one, other = rand(6), rand(6, seed=1)
    x = rand(200_000, 6, seed=2)
    scores, targets = x @ one, x @ other
    assert float(scores @ targets / scores.square().sum()) == pytest.approx(float(coupling(one, other)), abs=0.01)


def test_pull_backs_are_linear_in_the_observable():
    model = attention_only(2)
    n, m = rand(23), rand(23, seed=1)
    met = means(model, [IDS])
    path = [Head(1, 3), Head(0, 0)]
    one, other, both = (along(model, path, through_unembedding(model, v), met) for v in (n, m, 2 * n - m))
    torch.testing.assert_close(both, 2 * one - other)


def test_a_path_is_its_steps_one_after_the_other():
    model = wrapped("llama")
    met = means(model, [IDS, IDS.flip(0)])
    y = rand(32)
    one = through_head(model, Head(2, 1), y)
    one = through_norm(weights.norm(model, "blocks.2.attn.norm"), one, met.scales["blocks.2.attn.norm"])
    two = through(feed_forward(model, 0), one, met.points["blocks.0.mlp.norm"])
    two = through_norm(weights.norm(model, "blocks.0.mlp.norm"), two, met.scales["blocks.0.mlp.norm"])
    torch.testing.assert_close(along(model, [Head(2, 1)], y, met), one)
    torch.testing.assert_close(along(model, [Head(2, 1), FeedForward(0)], y, met), two)
    with pytest.raises(ValueError, match=r"0\.mlp is passed at the mean of what it read; give means"):
        along(model, [FeedForward(0)], y, None)


def test_means_are_over_all_tokens_or_one():
    model = wrapped("llama")
    with torch.no_grad(), model.capture("blocks.1.mid", "blocks.1.mlp.norm") as seen:
        model(IDS[None])
    x = seen["blocks.1.mid"][0]
    site = "blocks.1.mlp.norm"
    found, one = means(model, [IDS]), means(model, [IDS], position=2)
    assert found.lengths[site] == pytest.approx(float(x.norm(dim=-1).mean()))
    assert one.lengths[site] == pytest.approx(float(x[2].norm()))
    assert found.scales[site] == pytest.approx(float((x.square().mean(-1) + 1e-6).sqrt().mean()))
    torch.testing.assert_close(found.points[site], seen[site][0].mean(0))
    twice = means(model, [IDS, IDS])
    assert twice.scales[site] == pytest.approx(found.scales[site])
    with pytest.raises(ValueError, match="give at least one"):
        means(model, [])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ([], "at least one node"),
        ([Head(0, 0), Head(1, 0)], r"0\.0 does not read what 1\.0 adds"),
        ([Head(1, 0), Head(1, 1)], "goes down"),
        ([Head(1, 0), FeedForward(1)], "goes down"),
        ([FeedForward(1), FeedForward(1)], "goes down"),
        ([Head(9, 0)], "in none of the 3 layers"),
        ([FeedForward(-1)], "in none of the 3 layers"),
        ([Head(0, 4)], "none of the 4 heads"),
    ],
)
def test_a_path_that_does_not_go_down_is_refused(path, message):
    with pytest.raises(ValueError, match=message):
        check_path(wrapped("llama"), path)


def test_beside_each_other_a_feed_forward_does_not_read_its_attention():
    check_path(wrapped("llama"), [FeedForward(1), Head(1, 0), FeedForward(0)])
    with pytest.raises(ValueError, match="both read the same stream"):
        check_path(wrapped("gpt_neox"), [FeedForward(1), Head(1, 0)])


def test_observables_of_the_wrong_length_or_of_nothing_are_refused():
    model = attention_only(1)
    with pytest.raises(ValueError, match="has 23 numbers, one per token; got"):
        through_unembedding(model, torch.ones(22))
    with pytest.raises(ValueError, match="the observable is zero"):
        through_unembedding(model, torch.zeros(23))


needs_vectors = pytest.mark.skipif(not neo.VECTORS.is_file(), reason="the conformance vectors are not beside us")


@needs_vectors
def test_the_authors_numbers():
    """Their three-layer model: directions of all heads, norms at the mean and at one token, tangents, and paths."""
    held = neo.arrays()
    model, prompts = neo.model(held), list(held["input_ids"])

    def close(got, name):
        torch.testing.assert_close(got.float(), held[name], atol=1e-4, rtol=1e-4)

    with torch.no_grad():
        close(model(held["input_ids"]).logits, "logits")
    y = through_unembedding(model, held["observable"].double())
    close(y, "pulled_back_unembedding")
    everywhere, fourth, fifth, last = (means(model, prompts[:1], position) for position in (None, 3, 4, 8))
    for layer in range(neo.DEPTH):
        for head in range(neo.HEADS):
            close(through_head(model, Head(layer, head), y), f"get_attn_normal/layer{layer}_head{head}")
        for theirs, ours in (("ln_1", "attn"), ("ln_2", "mlp")):
            site = f"blocks.{layer}.{ours}.norm"
            for token, met in (("None", everywhere), ("4", fifth)):
                scale = met.lengths[site] / neo.WIDTH**0.5
                got = through_norm(weights.norm(model, site), y, scale, reference=True)
                close(got, f"norm_pullback/layer{layer}_{theirs}_token{token}")
        point = held[f"mlp_in/layer{layer}"][8].double()
        close(through(feed_forward(model, layer), y, point), f"tangent/mlp{layer}_at_last_token")
    # their paths have the head of layer 2 read token 8, and what lies below it token 3
    lengths = {site: (last if "blocks.2" in site else fourth).lengths[site] for site in last.lengths}
    for met, use in ((replace(last, lengths=lengths), True), (None, False)):
        for names, path in (("attn2.1", [Head(2, 1)]), ("attn2.1<-attn0.2", [Head(2, 1), Head(0, 2)])):
            close(along(model, path, y, met, reference=True), f"path/{names}/use_ln={use}")
        whole = sum(along(model, [Head(2, 1), Head(1, head)], y, met, reference=True) for head in range(4))
        close(whole, f"path/attn2.1<-attn1.all/use_ln={use}")
    one, other = (through_head(model, Head(2, head), y) for head in (0, 1))
    figures = [coupling(one, other), coupling(other, one), cosine_similarity(one, other, dim=0)]
    close(torch.stack(figures), "coupling_cosine_layer2_heads_0_1")


@needs_vectors
def test_the_authors_terms_by_head_and_token():
    from trivium.models.stream import Stream

    held = neo.arrays()
    model = neo.model(held)
    stream = Stream(model, held["input_ids"][0], lambda logits: logits @ held["observable"].double())
    y = through_unembedding(model, held["observable"].double())
    for layer in range(neo.DEPTH):
        got = stream.terms(y, 8).heads[layer]
        torch.testing.assert_close(
            got.float(), held[f"head_token_contribution/layer{layer}_dest8"], atol=1e-4, rtol=1e-4
        )
