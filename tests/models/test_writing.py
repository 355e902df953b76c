"""Texts written to stop strings: as token by token, in any batch and order, for every kind of model."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from tests.families import FAMILIES, wrapped
from tests.models.made import folder
from trivium.architectures.llama import Llama
from trivium.architectures.transnormer import TransNormer
from trivium.core.errors import NotFinite, NotOffered, RunBusy
from trivium.core.meter import Meter
from trivium.core.protocols import LanguageModel, LMOutput
from trivium.models._rows import beginnings
from trivium.models.answers import AnswerCache
from trivium.models.sources import load
from trivium.models.system import System
from trivium.models.writing import Prompt, Written, write
from trivium.tokenization.byte import ByteTokenizer

BYTES = ByteTokenizer()
TEXTS = ["one two", "a", "", "one two three four five", "zz", "one"]


def native(recipe=None, seed=0, **known):
    recipe = recipe or Llama(width=16, heads=2, context=96)
    model = recipe.build(BYTES.vocab_size, seed=seed).double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return System(model.eval(), BYTES, "native", **known)


def slowly(system, prompt):
    """Greedy, each token in a pass over everything before it."""
    ids = system.prompt(prompt.context)[0].tolist()
    most = system.model.max_positions
    given = ids if most is None else ids[-(most - prompt.limit) :]
    made, logprobs = [], []
    while len(made) < prompt.limit:
        logp = system.model(torch.tensor([given + made])).logits[0, -1].detach().log_softmax(-1)
        token = int(logp[: BYTES.vocab_size].argmax())
        made.append(token)
        logprobs.append(float(logp[token]))
        if token in system.stop.tokens or any(stop in BYTES.decode(made) for stop in prompt.until):
            break
    return made, logprobs


class Script(LanguageModel):
    """Says the script, one character for each token before it; behind the script the end token."""

    width, depth, max_positions = 4, 1, 300
    offers = frozenset({"causal", "state"})

    def __init__(self, script: str, vocab_size: int = 259) -> None:
        super().__init__()
        self.script, self.vocab_size = [*script.encode(), BYTES.eos], vocab_size
        self.table = nn.Parameter(torch.zeros(vocab_size, 4))

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        """The state is how many tokens have come; the first answers the whole prompt."""
        before = state.done if state is not None else torch.full((len(ids),), -1)
        done = before + 1
        logits = torch.zeros(len(ids), 1, self.vocab_size)
        for row, at in enumerate(done.tolist()):
            logits[row, 0, self.script[min(at, len(self.script) - 1)]] = 9.0
        after = SimpleNamespace(done=done, select=lambda rows: SimpleNamespace(done=done[rows]))
        return LMOutput(logits, torch.zeros(len(ids), 1, 4), after)

    def forward(self, ids=None, **given):
        given = {"mask": None, "state": None, "keep_state": False, "logits_to_keep": 0} | given
        return self.run(ids, embeds=None, positions=None, segments=None, **given)

    def embed(self, ids: Tensor) -> Tensor:
        return self.table[ids]

    def sites(self):
        return ()

    capture = edit = None


def says(script, **more):
    return System(Script(script, **more), BYTES, "script")


# Where a text ends ----------------------------------------------------------------------------------------------------


def test_it_ends_before_the_first_stop_string_and_keeps_its_tokens():
    (found,) = write(says("red\n\nblue"), [Prompt("Q")])
    assert (found.text, found.finished, BYTES.decode(list(found.ids))) == ("red", True, "red\n\n")
    assert len(found.logprobs) == 5
    (found,) = write(says("red, blue. green"), [Prompt("Q", until=(". ", ", b"))])
    assert (found.text, found.ids[-1]) == ("red", ord("b"))


def test_the_first_of_two_stop_strings_that_one_token_completes():
    class Pairs(ByteTokenizer):
        """Each token is two characters, so that a stop string lies across the border of two of them."""

        def decode(self, ids):
            return "".join({1: "ab", 2: "c;", 3: ";d"}.get(id, "") for id in ids)

        def bytes_of(self, id):
            return self.decode([id]).encode()

    model = Script("")
    model.script = [1, 2, 3, 1]
    (found,) = write(System(model, Pairs(), "pairs"), [Prompt("Q", until=(";;", "c;"))])
    assert (found.text, found.ids) == ("ab", (1, 2))
    (found,) = write(System(model, Pairs(), "pairs"), [Prompt("Q", until=(";;",))])
    assert (found.text, found.ids) == ("abc", (1, 2, 3))
    (found,) = write(System(model, Pairs(), "pairs"), [Prompt("Q", until=("b", "a"))])
    assert (found.text, found.ids) == ("", (1,))


def test_it_ends_at_the_model_s_own_end_which_does_not_show():
    (found,) = write(says("red"), [Prompt("Q")])
    assert (found.text, found.finished, found.ids) == ("red", True, (*b"red", BYTES.eos))
    other = System(says("red!blue").model, BYTES, "script", ends=(ord("!"),))
    assert write(other, [Prompt("Q")])[0].text == "red"


def test_it_ends_at_the_limit():
    (found,) = write(says("a long story"), [Prompt("Q", limit=4)])
    assert (found.text, found.finished, len(found.ids)) == ("a lo", False, 4)


def test_a_character_may_lie_across_tokens():
    (found,) = write(says("é€!"), [Prompt("Q", until=("€",))])
    assert (found.text, len(found.ids)) == ("é", 5)


def test_an_id_that_stands_for_nothing_is_not_written():
    system = says("ab", vocab_size=300)
    system.model.script = [299, 98]
    (found,) = write(system, [Prompt("Q", limit=2)])
    assert found.ids == (0, 98)


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [Llama(width=16, heads=2, context=96), TransNormer(width=16, heads=2)])
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_equals_token_by_token_in_any_batch_and_order(recipe, batch_size):
    system = native(recipe)
    prompts = [Prompt(text, until=("e", "\x07"), limit=6 + 3 * n) for n, text in enumerate(TEXTS)]
    order = [4, 2, 5, 0, 3, 1, 0]
    found = write(system, [prompts[n] for n in order], batch_size=batch_size)
    for n, one in zip(order, found, strict=True):
        ids, logprobs = slowly(system, prompts[n])
        assert list(one.ids) == ids
        assert list(one.logprobs) == pytest.approx(logprobs, abs=1e-9)
    assert len({len(one.ids) for one in found}) > 2  # rows end at different times


@pytest.mark.parametrize("family", FAMILIES)
def test_every_wrapped_family(family):
    model = wrapped(family, torch.float64)

    class Numbers(ByteTokenizer):
        vocab_size, opening, bos, eos = model.vocab_size, (1,), 1, 2

        def encode(self, text):
            return [5 + ord(letter) % 40 for letter in text]

        def decode(self, ids):
            return " ".join(map(str, ids))

    system = System(model, Numbers(), family)
    prompts = [Prompt(text, until=("none",), limit=5) for text in ("abcdef", "xy", "q")]
    for prompt, one in zip(prompts, write(system, prompts), strict=True):
        given, made = system.prompt(prompt.context)[0].tolist(), []
        while len(made) < 5 and 2 not in made:
            made.append(int(model(torch.tensor([given + made])).logits[0, -1].argmax()))
        assert list(one.ids) == made


def test_what_many_prompts_begin_with_is_passed_once():
    system = native(Llama(width=16, heads=2, context=512))
    header = "An instruction that stands before all of the questions, and then an example. " * 2
    prompts = [Prompt(header + text, limit=3) for text in TEXTS] + [Prompt("quite another", limit=3)]
    with Meter() as meter:
        together = write(system, prompts)
    assert meter.spent.positions < len(header) + 200  # and not seven times as many
    for prompt, one in zip(prompts, together, strict=True):
        (alone,) = write(system, [prompt])
        assert alone.ids == one.ids
        assert alone.logprobs == pytest.approx(one.logprobs, abs=1e-9)


def test_rows_that_begin_alike_are_found():
    head = tuple(range(200))
    assert beginnings([(*head, 1), (9,), (*head, 2, 3), head]) == [(199, [0, 2, 3]), (0, [1])]
    assert beginnings([head[:40], head[:40]]) == [(0, [0, 1])]  # not worth a pass
    assert beginnings([]) == []


def test_prompts_that_are_alike_are_written_once():
    system = native()
    with Meter() as meter:
        first, second = write(system, [Prompt("ab", limit=3), Prompt("ab", limit=3)])
    assert first == second
    assert meter.spent.evaluations == 3


def test_a_context_that_does_not_fit_is_cut_on_the_left_and_told():
    system = native()
    long = Prompt("z" * 60 + "y" * 60, until=("\x00",), limit=10)
    (found,) = write(system, [long])
    assert found.cut == 121 - 86
    assert list(found.ids) == slowly(system, long)[0]
    assert write(system, [Prompt("short", limit=10)])[0].cut == 0


# Drawing --------------------------------------------------------------------------------------------------------------


def test_what_is_drawn_depends_on_prompt_and_seed_alone():
    system = native()
    prompts = [Prompt(text, until=(), limit=8, temperature=0.9, seed=seed) for text in TEXTS[:3] for seed in (0, 1)]
    state = torch.get_rng_state()
    together = write(system, prompts)
    assert torch.equal(torch.get_rng_state(), state)
    for n in (5, 0, 3):
        assert write(system, [prompts[n]])[0].ids == together[n].ids
    assert together[0].ids != together[1].ids


def test_a_low_temperature_is_greedy_and_draws_follow_the_model():
    system = native()
    cold, greedy = write(system, [Prompt("ab", limit=6, temperature=1e-6), Prompt("ab", limit=6)])
    assert cold.ids == greedy.ids
    for temperature in (1.0, 0.5):
        drawn = write(
            system, [Prompt("ab", limit=1, temperature=temperature, seed=n) for n in range(600)], batch_size=600
        )
        logp = system.model(system.prompt("ab")).logits[0, -1].detach()
        share = (logp / temperature).softmax(-1)
        likeliest = int(share.argmax())
        seen = sum(one.ids == (likeliest,) for one in drawn) / 600
        assert seen == pytest.approx(float(share[likeliest]), abs=3 * math.sqrt(0.25 / 600))
        assert drawn[0].logprobs[0] == pytest.approx(float(logp.log_softmax(-1)[drawn[0].ids[0]]), abs=1e-9)


# The cache ------------------------------------------------------------------------------------------------------------


def test_what_was_written_is_not_written_again(tmp_path):
    system = native(fingerprint="0123456789abcdef0123")
    prompts = [Prompt("ab", limit=3), Prompt("ab", limit=4), Prompt("ab", limit=3, temperature=1.0, seed=5)]
    cache = AnswerCache(tmp_path, system)
    first = write(system, prompts, cache=cache)
    with pytest.raises(RunBusy, match="is in use"):
        AnswerCache(tmp_path, system)
    cache.close()
    again = AnswerCache(tmp_path, system)
    assert len(again) == 3
    with Meter() as meter:
        assert write(system, prompts, cache=again) == first
    assert meter.spent.calls == 0
    write(system, [Prompt("ab", limit=3, temperature=1.0, seed=6)], cache=again)
    assert len(again) == 4
    again.close()


# Refused --------------------------------------------------------------------------------------------------------------


def test_a_model_that_gives_nan_is_found_out():
    system = native()
    with torch.no_grad():
        system.model.head.weight[:] = float("nan")
    with pytest.raises(NotFinite, match=r"native gives logits that are not finite 0 tokens behind ...'ab'"):
        write(system, [Prompt("ab", limit=5)])


def test_bad_settings_are_refused():
    with pytest.raises(TypeError, match="until is a tuple of strings"):
        Prompt("a", until="\n")
    with pytest.raises(ValueError, match="a stop string is empty"):
        Prompt("a", until=("",))
    with pytest.raises(ValueError, match="limit must be at least 1"):
        Prompt("a", limit=0)
    with pytest.raises(ValueError, match="temperature must be 0"):
        Prompt("a", temperature=-1.0)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        write(native(), [Prompt("a")], batch_size=0)
    with pytest.raises(ValueError, match="96 new tokens leave no room for a context among the 96 positions"):
        write(native(), [Prompt("a", limit=96)])
    system = native()
    system.model.offers = frozenset({"causal"})
    with pytest.raises(NotOffered, match="writing needs 'state'"):
        write(system, [Prompt("a", limit=5)])


def test_what_writes_by_itself_is_asked():
    class Echo:
        def written(self, prompts, *, batch_size, cache, bar):
            return [Written(prompt.context, (), (), True) for prompt in prompts]

    assert write(Echo(), [Prompt("a")])[0].text == "a"


def test_a_model_of_its_own_tokenizer(tmp_path):
    """Byte-level merges from a folder: stop strings are found in text."""
    system = load(folder(tmp_path / "model"))
    (free,) = write(system, [Prompt("the cat", until=(), limit=12)])
    middle = free.text[3:5]
    (found,) = write(system, [Prompt("the cat", until=(middle,), limit=12)])
    assert found.text == free.text[: free.text.index(middle)]
    assert found.ids == free.ids[: len(found.ids)]
