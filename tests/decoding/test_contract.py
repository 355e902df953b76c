"""What every decoder keeps, whatever its name: the file of a method appears, and this runs on it."""

import pytest
import torch

from tests.decoding.models import tiny
from tests.families import CONTEXT, FAMILIES, VOCAB
from trivium.core.capabilities import lacking
from trivium.core.errors import NotFinite, NotOffered
from trivium.core.meter import Meter
from trivium.core.method import card_of, find, names
from trivium.core.nouns import Stop
from trivium.core.protocols import LMOutput

NAMES = names("decoding")
PROMPT = torch.tensor([[1, 5, 6, 7, 5, 6, 7, 5, 6]])
LIMIT = 8


def decode(name, model, prompt=PROMPT, seed=0, **arguments):
    decoder = find("decoding", name)()
    arguments = {"limit": LIMIT, "generator": torch.Generator().manual_seed(seed)} | arguments
    return decoder(model, prompt, **arguments)


def draws(name):
    """Whether the decoder uses the generator at all."""
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    find("decoding", name)()(tiny(), PROMPT, limit=2, generator=generator)
    return not torch.equal(before, generator.get_state())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_defaults_work_and_reported_logprobs_are_the_models_own(name, family):
    model = tiny(family)
    if lacking(model, card_of(find("decoding", name)).needs):
        with Meter() as meter, pytest.raises(NotOffered, match=name):
            decode(name, model)
        assert meter.spent.calls == 0
        return
    made = decode(name, model)
    assert made.ids.shape == made.logprobs.shape == (1, LIMIT)
    assert made.ids.dtype == torch.int64
    assert made.lengths.tolist() == [LIMIT]
    assert ((made.ids >= 0) & (made.ids < VOCAB)).all()
    with torch.no_grad():
        law = getattr(find("decoding", name)(), "law", None)  # where the decoder makes another model of the given one
        text = torch.cat([PROMPT, made.ids], 1)
        logp = (model(text).logits if law is None else law(model, text, PROMPT.shape[1])).log_softmax(-1)
    own = logp[:, PROMPT.shape[1] - 1 : -1].gather(2, made.ids[..., None])[..., 0]
    exact = own.dtype == torch.float64  # then only the order of sums differs; some families end in float32
    torch.testing.assert_close(made.logprobs.to(own.dtype), own, atol=1e-9 if exact else 1e-4, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_and_the_global_generator_is_left_alone(name):
    torch_state = torch.random.get_rng_state()
    one, two = decode(name, tiny(), limit=16), decode(name, tiny(), limit=16)
    assert torch.equal(one.ids, two.ids)
    assert torch.equal(torch_state, torch.random.get_rng_state())
    others = [decode(name, tiny(), seed=seed, limit=16).ids for seed in range(1, 4)]
    assert draws(name) == any(not torch.equal(one.ids, other) for other in others)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "mamba"])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_a_padded_batch_gives_what_it_gives_alone(name, family, side):
    model = tiny(family)
    if lacking(model, card_of(find("decoding", name)).needs):
        pytest.skip("not offered")
    rows = [[1, 5, 6, 7, 5, 6, 7, 5, 6], [3, 4, 3], [9, 8, 9, 8, 9, 8]]
    width = max(map(len, rows))
    filled = [[0] * (width - len(row)) + row if side == "left" else row + [0] * (width - len(row)) for row in rows]
    real = [[False] * (width - len(row)) + [True] * len(row) for row in rows]
    real = real if side == "left" else [row[::-1] for row in real]
    together = decode(name, model, torch.tensor(filled), mask=torch.tensor(real))
    for index, row in enumerate(rows):
        if index and draws(name):
            continue  # its stream of random numbers belongs to its place in the batch
        alone = decode(name, model, torch.tensor([row]))
        assert together.row(index).tolist() == alone.row(0).tolist()
        torch.testing.assert_close(
            together.logprobs[index], alone.logprobs[0], atol=1e-9 if family != "mamba" else 1e-4, rtol=0
        )


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_depend_on_when_their_neighbours_end(name):
    prompt = torch.tensor([[1, 5, 6, 7], [3, 4, 3, 9], [8, 7, 8, 2], [11, 12, 13, 14]])
    free = decode(name, tiny(), prompt, limit=12)
    stop = Stop(tokens=(int(free.ids[0, 2]), int(free.ids[2, 4])))
    stopped = decode(name, tiny(), prompt, limit=12, stop=stop)
    assert len(set(stopped.lengths.tolist())) > 1
    if not torch.equal(decode(name, tiny(), prompt, limit=4).ids, free.ids[:, :4]):
        return  # a search over whole texts: which of them wins may change with where they may end
    for row in range(4):
        text = free.row(row).tolist()
        end = next((at + 1 for at, token in enumerate(text) if token in stop.tokens), len(text))
        assert stopped.row(row).tolist() == text[:end]
        assert (stopped.ids[row, end:] == 0).all()
        assert (stopped.logprobs[row, end:] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_changed(name):
    prompt, mask = PROMPT.repeat(2, 1), torch.ones(2, PROMPT.shape[1], dtype=torch.bool)
    mask[1, :4] = False
    kept = prompt.clone(), mask.clone(), {key: value.clone() for key, value in tiny().state_dict().items()}
    decode(name, tiny(), prompt, mask=mask)
    assert torch.equal(prompt, kept[0])
    assert torch.equal(mask, kept[1])
    assert all(torch.equal(value, kept[2][key]) for key, value in tiny().state_dict().items())


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_the_limit_is_kept_and_metered(name, limit):
    with Meter() as meter:
        made = decode(name, tiny(), PROMPT.repeat(2, 1), limit=limit)
    assert made.lengths.tolist() == [limit, limit]
    assert meter.spent.new_tokens == 2 * limit
    assert meter.spent.calls >= 1


@pytest.mark.parametrize("name", NAMES)
def test_stop_texts_end_a_row_where_they_are_complete(name):
    spell = lambda ids: "".join(f"<{id}>" for id in ids)  # noqa: E731
    free = decode(name, tiny())
    text = f"{free.ids[0, 2]}><{free.ids[0, 3]}"  # begins in one token and ends in the next
    stopped = decode(name, tiny(), stop=Stop(texts=(text,), decode=spell))
    shorter = [decode(name, tiny(), limit=limit).ids for limit in range(1, LIMIT)]
    if all(torch.equal(one, free.ids[:, : one.shape[1]]) for one in shorter):  # else a search over whole texts, which
        assert text in spell(stopped.row(0).tolist())  # may choose another where this one ends early
    assert text not in spell(stopped.row(0).tolist()[:-1])
    with pytest.raises(ValueError, match=r"stop\.decode"):
        decode(name, tiny(), stop=Stop(texts=("x",)))
    with pytest.raises(ValueError, match="empty"):
        decode(name, tiny(), stop=Stop(texts=("",), decode=spell))


class Poisoned:
    """Wraps what gives a model's logits so that they turn bad after so many passes."""

    def __init__(self, run, value, passes):
        self.run, self.value, self.passes = run, value, passes

    def __call__(self, *arguments, **words):
        out = self.run(*arguments, **words)
        self.passes -= 1
        if self.passes >= 0:
            return out
        logits = (out if isinstance(out, torch.Tensor) else out.logits).clone()
        logits[..., 3] = self.value
        return logits if isinstance(out, torch.Tensor) else LMOutput(logits, out.hidden, out.state)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("passes", [0, 2])
@pytest.mark.parametrize("name", NAMES)
def test_logits_that_are_not_finite_are_named(name, value, passes, monkeypatch):
    model = tiny("gpt2")
    for source in ("run", "read_out"):
        monkeypatch.setattr(model, source, Poisoned(getattr(model, source), value, passes))
    with pytest.raises(NotFinite, match=r"after \d+ tokens of row 0"):
        decode(name, model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": torch.zeros(1, 0, dtype=torch.int64)}, "empty"),
        ({"prompt": PROMPT, "mask": torch.zeros_like(PROMPT, dtype=torch.bool)}, "empty"),
        ({"prompt": torch.tensor([[1, VOCAB]])}, f"token {VOCAB} is outside"),
        ({"prompt": torch.tensor([[1, -1]])}, "token -1 is outside"),
        ({"prompt": PROMPT.float()}, "int64"),
        ({"prompt": PROMPT[0]}, "batch, time"),
        ({"prompt": PROMPT, "mask": torch.ones(1, 2, dtype=torch.bool)}, "mask"),
        ({"prompt": PROMPT, "limit": 0}, "limit must be at least 1"),
        ({"prompt": PROMPT, "limit": CONTEXT}, f"{CONTEXT} positions"),
        ({"prompt": PROMPT, "stop": Stop(tokens=(VOCAB,))}, f"stop token {VOCAB}"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_refused_before_any_work(name, arguments, message):
    with Meter() as meter, pytest.raises(ValueError, match=message):
        decode(name, tiny(), **arguments)
    assert meter.spent.calls == 0
