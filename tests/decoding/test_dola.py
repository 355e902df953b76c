"""DoLa: against a slow loop on both kinds of model, the choice of the layer row by row, and its limits."""

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from tests.decoding.models import tiny
from tests.families import VOCAB
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.decoding.dola import DoLa, contrast, divergence
from trivium.decoding.greedy import Greedy
from trivium.decoding.mirostat import Mirostat
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative

PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7]])


def run(decoder, model=None, prompt=PROMPT, limit=16, seed=0, **words):
    return decoder(model or tiny(), prompt, limit=limit, generator=torch.Generator().manual_seed(seed), **words)


def native():
    model = Llama(width=32, depth=4, heads=2, tied=False).build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(6)  # fresh weights are so small that all layers agree
    return model


@pytest.mark.parametrize("which", ["hugging face", "native"])
def test_against_the_equations_in_a_slow_loop(which):
    """Whole passes, layers run one range at a time, divergences by scipy."""
    model = tiny("llama") if which == "hugging face" else native()
    norm, head = (model.inner.model.norm, model.inner.lm_head) if which == "hugging face" else (model.norm, model.head)
    layers, text, chosen = tuple(range(model.depth)), PROMPT[0].tolist(), set()
    with torch.no_grad():
        for _ in range(16):
            stream = model.embed(torch.tensor([text]))
            p = model(torch.tensor([text])).logits[0, -1].softmax(-1)
            best = (-1.0, -1, p)
            for layer in layers:
                q = head(norm(model.layers(0, layer, stream)))[0, -1].softmax(-1)
                best = max(best, (float(jensenshannon(p, q)) ** 2, -layer, q), key=lambda found: found[:2])
            chosen.add(best[1])
            score = (p / best[2]).log()
            score[p < 0.1 * p.max()] = -torch.inf
            text.append(int(score.argmax()))
    assert len(chosen) > 1
    made = run(DoLa(layers, of=Greedy()), model)
    assert made.row(0).tolist() == text[PROMPT.shape[1] :]
    assert not torch.equal(made.ids, run(Greedy(), model).ids)


def test_the_divergence_is_scipys_and_the_layer_is_chosen_row_by_row():
    generator = torch.Generator().manual_seed(0)
    final = torch.randn(2, 9, generator=generator, dtype=torch.float64).log_softmax(-1)
    early = torch.stack([final, final]) + torch.tensor([[[0.0], [1.0]], [[1.0], [0.0]]]) * torch.randn(
        2, 2, 9, generator=generator, dtype=torch.float64
    )
    early = early.log_softmax(-1)
    for layer in range(2):
        for row in range(2):
            expected = float(jensenshannon(final[row].exp(), early[layer, row].exp())) ** 2
            assert float(divergence(final, early)[layer, row]) == pytest.approx(expected, abs=1e-12)
    scores = contrast(final, early, 0.0)
    torch.testing.assert_close(scores[0], final[0] - early[1, 0])
    torch.testing.assert_close(scores[1], final[1] - early[0, 1])


def test_implausible_tokens_are_out_however_much_they_gain():
    final = torch.tensor([[0.6, 0.3, 0.05, 0.05]]).log()
    early = torch.tensor([[[0.5, 0.4999, 0.0001 / 2, 0.0001 / 2]]]).log()
    scores = contrast(final, early, 0.1)
    assert scores.isfinite().tolist() == [[True, True, False, False]]
    assert contrast(final, early, 0.0).argmax() == 2


def test_an_alpha_of_one_is_greedy_and_sampling_draws_from_the_contrast():
    assert torch.equal(run(DoLa(alpha=1.0, of=Greedy())).ids, run(Greedy()).ids)
    assert torch.equal(run(DoLa(alpha=1.0, of=Sampling())).ids, run(Greedy()).ids)
    drawn = DoLa(of=Sampling(2.0))
    assert not torch.equal(run(drawn).ids, run(drawn, seed=1).ids)
    assert not torch.equal(run(DoLa(of=Greedy())).ids, run(DoLa()).ids)  # the repetition penalty is in the default


def test_the_buckets():
    assert DoLa("high").candidates(32) == tuple(range(16, 32, 2))
    assert DoLa("low").candidates(32) == tuple(range(0, 16, 2))
    assert DoLa("high").candidates(60) == tuple(range(40, 60, 2))
    assert DoLa("low").candidates(60) == tuple(range(0, 20, 2))
    assert DoLa("high").candidates(1) == (0,)
    with pytest.raises(ValueError, match="no lower half"):
        DoLa("low").candidates(1)
    with pytest.raises(ValueError, match="layer 3 is not before the last"):
        run(DoLa((0, 3)))


def test_what_is_refused():
    with pytest.raises(NotOffered, match="layers"):
        run(DoLa(), tiny("mamba"))
    with pytest.raises(TypeError, match="dola"):
        Speculative(of=DoLa())
    with pytest.raises(TypeError, match="mirostat"):
        DoLa(of=Mirostat())


@pytest.mark.parametrize(
    "wrong",
    [{"alpha": -0.1}, {"alpha": 1.1}, {"layers": "middle"}, {"layers": ()}, {"layers": (1, 1)}, {"layers": (-1,)}],
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DoLa(**wrong)
