"""Contrastive search: the rule against a slow loop, both routes, the limits, and padding that must not matter."""

import pytest
import torch

from tests.decoding.models import tiny
from trivium.core.errors import NotOffered
from trivium.decoding.contrastive_search import ContrastiveSearch, Memory
from trivium.decoding.greedy import Greedy

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7]])


def search(decoder, model=None, prompt=PROMPT, limit=20, **words):
    return decoder(model or tiny(), prompt, limit=limit, generator=torch.Generator(), **words)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_against_the_equation_in_a_slow_loop(family):
    """Whole passes, no cache, one candidate after another."""
    model, k, alpha = tiny(family), 5, 0.6
    text = PROMPT[0].tolist()
    with torch.no_grad():
        for _ in range(12):
            out = model(torch.tensor([text]))
            p = out.logits[0, -1].softmax(-1)
            states = torch.nn.functional.normalize(out.hidden[0], dim=-1)
            best, chosen = -9.0, None
            for v in p.topk(k).indices.tolist():
                h = torch.nn.functional.normalize(model(torch.tensor([[*text, v]])).hidden[0, -1], dim=-1)
                score = (1 - alpha) * float(p[v]) - alpha * float((states @ h).max())
                if score > best:
                    best, chosen = score, v
            text.append(chosen)
    assert search(ContrastiveSearch(k, alpha), model, limit=12).row(0).tolist() == text[PROMPT.shape[1] :]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_one_after_another_equals_all_at_once(family):
    prompt = torch.tensor([[1, 5, 6, 7, 5, 6, 7], [0, 0, 0, 3, 4, 5, 9]])
    mask = torch.tensor([[True] * 7, [False] * 3 + [True] * 4])
    tree, sequential = (
        search(ContrastiveSearch(route=route), tiny(family), prompt, mask=mask) for route in ("tree", "sequential")
    )
    assert torch.equal(tree.ids, sequential.ids)
    torch.testing.assert_close(tree.logprobs, sequential.logprobs, atol=1e-9, rtol=0)


def test_without_penalty_or_choice_it_is_greedy():
    plain = search(Greedy()).ids
    assert torch.equal(search(ContrastiveSearch(alpha=0.0)).ids, plain)
    assert torch.equal(search(ContrastiveSearch(k=1)).ids, plain)
    assert not torch.equal(search(ContrastiveSearch()).ids, plain)


def test_the_memory_ignores_padding_scale_and_zero_states():
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]])
    probe = torch.tensor([[[5.0, 0.0], [0.0, 0.0]]])
    assert Memory(hidden, None, 1).similarity(probe).tolist() == [[1.0, 0.0]]
    masked = Memory(hidden, torch.tensor([[False, True, True]]), 1)
    assert masked.similarity(probe).tolist() == [[0.0, 0.0]]


def test_the_sequential_route_runs_where_the_tree_is_not_offered():
    model = tiny("mamba")
    with pytest.raises(NotOffered, match="tree"):
        search(ContrastiveSearch(), model)
    assert search(ContrastiveSearch(route="sequential"), model, limit=4).lengths.tolist() == [4]


@pytest.mark.parametrize("wrong", [{"k": 0}, {"alpha": -0.1}, {"alpha": 1.1}, {"route": "both"}])
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ContrastiveSearch(**wrong)
    with pytest.raises(ValueError, match="only 64 tokens"):
        search(ContrastiveSearch(k=65))
