"""On a GPU every decoder and drafter writes what it writes on the CPU. Skipped where there is none."""

import copy
from dataclasses import fields, replace
from functools import cache

import pytest
import torch

from tests.decoding.models import noisy, tiny
from tests.drafting.trained import MASK, PROMPT, made_random
from tests.families import VOCAB
from trivium.core.method import find, names
from trivium.core.protocols import LanguageModel
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._trained import Trained
from trivium.models.huggingface import wrap

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")

PENALISED = Sampling(0.9, repetition_penalty=1.3, top_p=0.9, bad_words=((5, 6),), no_repeat_ngram=3)


@cache
def there(family: str = "llama", draft: bool = False) -> LanguageModel:
    """The tests' model, on the GPU; shared, since tests do not change it."""
    return copy.deepcopy(noisy(family) if draft else tiny(family)).to("cuda")


def write(decoder, model, *, generator=None, **words):
    device = model.device
    generator = torch.Generator().manual_seed(1) if generator is None else generator
    return decoder(model, PROMPT.to(device), mask=MASK.to(device), limit=12, generator=generator, **words)


def agree(there, here):
    assert {there.ids.device.type, there.logprobs.device.type} == {"cuda"}
    assert there.lengths.tolist() == here.lengths.tolist()
    assert there.ids.tolist() == here.ids.tolist()
    # Llama's norms and rotations are in float32 whatever the model's dtype, and sums there have another order.
    torch.testing.assert_close(there.logprobs.cpu(), here.logprobs, atol=1e-4, rtol=0)


def drafter(name: str, *, cuda: bool):
    made = find("drafting", name)()
    if "model" not in {field.name for field in fields(made)}:
        return made
    return replace(made, model=there(draft=True) if cuda else noisy())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
@pytest.mark.parametrize("name", names("decoding"))
def test_a_decoder_writes_what_it_writes_on_the_processor(name, family):
    decoder = find("decoding", name)()
    agree(write(decoder, there(family)), write(decoder, tiny(family)))


@pytest.mark.parametrize("name", names("drafting"))
@pytest.mark.parametrize("plain", [Greedy(), PENALISED], ids=["greedy", "penalised"])
def test_a_drafter_gives_the_plain_text(name, plain):
    agree(write(Speculative(drafter(name, cuda=True), of=plain), there()), write(plain, tiny()))


@pytest.mark.parametrize("verifier", ["rejection", "recursive"])
@pytest.mark.parametrize("name", ["draft_model", "rsd_constant", "rsd_stochastic"])
def test_drafts_that_are_drawn_fall_alike(name, verifier):
    try:
        fast, slow = (Speculative(drafter(name, cuda=cuda), verifier=verifier, of=PENALISED) for cuda in (True, False))
    except ValueError:
        pytest.skip("a pair that is refused everywhere")
    agree(write(fast, there()), write(slow, tiny()))


@pytest.mark.parametrize("name", [name for name in names("drafting") if issubclass(find("drafting", name), Trained)])
def test_a_trained_folder_drafts(name, tmp_path):
    draft = made_random(find("drafting", name)(), tiny(), tmp_path)
    agree(write(Speculative(draft), there()), write(Greedy(), tiny()))


def test_a_generator_of_the_gpu_serves_too():
    made = write(PENALISED, there(), generator=torch.Generator("cuda").manual_seed(2))
    again = write(PENALISED, there(), generator=torch.Generator("cuda").manual_seed(2))
    assert torch.equal(made.ids, again.ids)
    assert ((made.ids >= 0) & (made.ids < VOCAB)).all()


@pytest.mark.slow
def test_the_compiled_step():
    fast = wrap(copy.deepcopy(tiny().inner).to("cuda"), compile=True)  # type: ignore[arg-type]
    agree(write(Greedy(), fast), write(Greedy(), tiny()))
