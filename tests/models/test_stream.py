"""A pass taken apart adds up, on every family; a model that is not the sum of its parts is refused by name."""

import pytest
import torch

from tests.families import ATTENTION_FAMILIES, wrapped
from tests.models.attention_only import VOCAB, attention_only
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.method import find
from trivium.models.observables import FeedForward, Head, feed_forward
from trivium.models.stream import Stream

IDS = torch.tensor([7, 3, 11, 3, 2, 12, 5, 1])
LOOSE = 2e-5
"""Of scores of order 1, where norms run in single precision."""


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contrast(logits):
    return (logits[:, 4] - logits[:, 9]).double()


def made(name):
    if name.startswith("native "):
        return find("architectures", name.removeprefix("native "))().build(64).double().eval()
    return wrapped(name)


@pytest.mark.parametrize("name", [*ATTENTION_FAMILIES, "native pangu", "native mixture_of_experts"])
def test_terms_add_up_at_every_place_below_every_node(name):
    stream, y = Stream(made(name), IDS, contrast), rand(stream_width := 32 if name in ATTENTION_FAMILIES else 64)
    assert stream.direction.shape == (stream_width,)
    for place in (0, 4, 7):
        for node in (None, Head(1, 2), FeedForward(1), Head(0, 0)):
            x = stream.at(stream.depth - 1, "out") if node is None else stream.read(node)
            total = stream.terms(y, place, node).total
            torch.testing.assert_close(total, y @ x[place], atol=LOOSE, rtol=LOOSE)


@pytest.mark.parametrize("name", [*ATTENTION_FAMILIES, "native pangu"])
def test_what_goes_into_a_head_is_its_term(name):
    stream = Stream(made(name), IDS, contrast)
    y = rand(len(stream.direction))
    for place, source in ((7, 7), (7, 5), (3, 1)):
        for node in (Head(0, 1), Head(1, 3)):
            direction, bias = stream.into(y, place, node, source)
            term = stream.terms(y, place).heads[node.layer, node.head, source]
            found = direction @ stream.read(node)[source] + bias
            if (held := stream.parts[node.layer].value_bias) is not None:
                assert held.abs().max() > 0
            torch.testing.assert_close(found, term, atol=LOOSE, rtol=LOOSE)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma", "gpt_neox", "opt"])
@pytest.mark.parametrize("at", ["activation", "mean"])
def test_what_goes_into_a_feed_forward_is_its_slope(name, at):
    stream, model = Stream(wrapped(name), IDS, contrast), wrapped(name)
    y, place, step = rand(32), 5, 1e-3 * rand(32, seed=4)
    direction, _ = stream.into(y, place, FeedForward(1), place, at)
    x, norm = stream.read(FeedForward(1))[place], stream.norms["blocks.1.mlp.norm"]
    read = stream.seen["blocks.1.mlp.norm"]
    point = read[place] if at == "activation" else read.mean(0)
    run = feed_forward(model, 1)
    through = (step - step.mean() if norm.centred else step) / norm.scale(x) * norm.gain.double()
    with torch.no_grad():
        up, down = (float(run((point + s)[None])[0] @ y) for s in (through, -through))
    assert float(direction @ step) == pytest.approx((up - down) / 2, rel=5e-3)


def test_the_value_is_the_objective_and_the_rest_is_what_is_not_linear():
    model = wrapped("llama")
    with torch.no_grad():
        logits = model(IDS[None]).logits[:, -1]
    stream = Stream(model, IDS, contrast)
    assert float(stream.value) == pytest.approx(float(contrast(logits)))
    assert abs(float(stream.rest)) < 1e-6
    logprob = Stream(model, IDS, lambda logits: logits.log_softmax(-1)[:, 4])
    assert float(logprob.value) == pytest.approx(float(logits.log_softmax(-1)[0, 4]))
    assert abs(float(logprob.rest)) > 1e-3


@pytest.mark.parametrize("centred", [False, True])
def test_of_one_layer_heads_and_the_embedding_are_the_whole_logit_difference(centred):
    """To rounding in double precision; without biases nothing else is there."""
    model = attention_only(1, centred=False)
    stream = Stream(model, IDS, contrast)
    terms = stream.terms(stream.direction, 7)
    assert float(terms.heads.sum() + terms.start) == pytest.approx(float(stream.value), abs=1e-12)
    assert terms.heads.shape == (1, 4, 8)
    assert float(terms.constant) == float(terms.feed_forwards.sum()) == 0.0
    biased = attention_only(1, centred=centred, bias=True)
    stream = Stream(biased, IDS, contrast)
    terms = stream.terms(stream.direction, 7)
    assert float(terms.total + stream.rest) == pytest.approx(float(stream.value), abs=1e-12)
    assert float(terms.constant) != 0.0


def test_heads_and_their_output_bias_are_all_that_the_attention_adds():
    stream, y = Stream(wrapped("opt"), IDS, contrast), rand(32)
    found = stream.terms(y, 6)
    for layer in range(2):
        added = y @ stream.at(layer, "attn.out")[6]
        held = stream.parts[layer].value_bias.repeat_interleave(stream.parts[layer].share, 0)
        biases = sum(y @ stream.parts[layer].outputs[head] @ held[head] for head in range(4))
        assert float(found.heads[layer].sum() + biases + y @ stream.parts[layer].output_bias) == pytest.approx(
            float(added)
        )


def test_terms_against_another_prompt_are_differences():
    model, y = wrapped("gpt2"), rand(32)
    here, there = Stream(model, IDS, contrast), Stream(model, IDS.flip(0), contrast)
    found = here.terms(y, 7, None, there)
    pattern, part = here.at(1, "attn.weights")[2, 7], here.parts[1]
    for source in (0, 5):
        gone = (here.at(1, "attn.v") - there.at(1, "attn.v"))[source, 2]
        assert float(found.heads[1, 2, source]) == pytest.approx(float(pattern[source] * (y @ part.outputs[2] @ gone)))
    assert float(found.constant) == 0.0
    assert float(found.start) == pytest.approx(float(y @ (here.at(0, "in") - there.at(0, "in"))[7]))
    same = here.terms(y, 7, None, here)
    assert float(same.total) == 0.0
    with pytest.raises(ValueError, match="the other prompt has 7 tokens and this one 8"):
        here.terms(y, 7, None, Stream(model, IDS[1:], contrast))


def test_of_parallel_blocks_the_feed_forward_does_not_see_its_attention():
    stream, sequential = Stream(wrapped("gpt_neox"), IDS, contrast), Stream(wrapped("llama"), IDS, contrast)
    assert not stream.feeds(Head(1, 0), FeedForward(1))
    assert sequential.feeds(Head(1, 0), FeedForward(1))
    for one in (stream, sequential):
        assert not one.feeds(FeedForward(1), Head(1, 0))
        assert not one.feeds(FeedForward(1), FeedForward(1))
        assert one.feeds(FeedForward(0), Head(1, 0))
        assert one.feeds(Head(1, 0), None)
    assert (stream.terms(rand(32), 3, FeedForward(1)).heads[1] == 0).all()
    assert (sequential.terms(rand(32), 3, FeedForward(1)).heads[1] != 0).any()
    with pytest.raises(ValueError, match=r"1\.mlp reads the token that it writes to, 3, not 2"):
        stream.into(rand(32), 3, FeedForward(1), 2)


BREAKS = {
    "blocks.0.attn.norm": r"attn\.norm of layer 0 is no norm",
    "blocks.1.attn.v": r"attn\.v of layer 1 is no product",
    "blocks.1.attn.weights": "pattern of layer 1 does not sum to 1",
    "blocks.0.attn.z": r"attn\.z of layer 0 is not its values",
    "blocks.0.attn.out": r"attn\.out of layer 0 is not the sum of its heads",
    "blocks.1.mlp.norm": r"mlp\.norm of layer 1 is no norm",
    "blocks.1.out": r"the stream above layer 1 is not the sum",
    "final.norm": r"final\.norm is no norm",
}


@pytest.mark.parametrize("site", BREAKS)
def test_a_model_that_is_not_the_sum_of_its_parts_is_refused_by_name(site):
    model = wrapped("llama", num_hidden_layers=2)
    Stream(model, IDS, contrast)
    with model.edit({site: lambda x: 1.01 * x}), pytest.raises(NotOffered, match=BREAKS[site]):
        Stream(model, IDS, contrast)


def test_a_stream_that_is_changed_between_the_branches_is_refused():
    class Scaled(torch.nn.Module):
        def forward(self, x):
            return 1.01 * x

    model = attention_only(2)
    model.blocks[1].mid = Scaled()
    with pytest.raises(NotOffered, match=r"mid of layer 1 is not in \+ attn\.out \(off by 0\.0\d+ of the largest"):
        Stream(model, IDS, contrast)


def test_what_cannot_be_taken_apart_says_why():
    with pytest.raises(NotOffered, match=r"HuggingFaceModel cannot be taken apart at 'blocks\.0\.attn\.v'"):
        Stream(wrapped("mamba"), IDS, contrast)
    model = attention_only(1)
    with pytest.raises(NotOffered, match="does not depend on the stream"):
        Stream(model, IDS, lambda logits: logits.detach().sum(-1) + 0 * torch.ones(1, requires_grad=True))
    with pytest.raises(NotOffered, match="does not depend on the stream"):
        Stream(model, IDS, lambda logits: logits.detach().sum(-1))
    with torch.no_grad():
        model.head.weight[4] = float("nan")
    with pytest.raises(NotFinite, match="the objective is nan"):
        Stream(model, IDS, contrast)
    assert model.vocab_size == VOCAB
