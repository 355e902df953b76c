import copy
import math

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from trivium.architectures.lexinvariant import LEARNED, DrawnEmbedding, LexInvariant
from trivium.architectures.llama import Llama
from trivium.core.errors import NotOffered
from trivium.models.export import TriviumForCausalLM, register
from trivium.models.saving import restore, save
from trivium.models.unembedding import unembedding
from trivium.training.optimizers import decayed

VOCAB, TIME = 41, 19
EXACT = {"atol": 1e-9, "rtol": 0}


def ids(batch=2, time=TIME, seed=0):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def lively(recipe):
    """Float64, with weights and a temperature that are large enough to show."""
    model = recipe.build(VOCAB, seed=1).double().eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.ndim > 1 or "temperature" in path:
                parameter.mul_(6)
    return model


def losses(model, tokens):
    """(batch, time - 1) nats."""
    logits = model(tokens).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(len(tokens), -1)


def relabelled(model, order):
    """The same model, in whose lexicons token order[v] has the vector that v had."""
    other, back = copy.deepcopy(model), order.argsort()
    gaussian, other.embedding.held = other.embedding.gaussian, None
    other.embedding.gaussian = lambda number: gaussian(number)[back]
    return other


def order(seed=3):
    return torch.randperm(VOCAB, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("numbers", [0, 5, torch.tensor([4, 7])])
def test_a_permuted_text_in_permuted_vectors_is_the_same_text(numbers):
    model, tokens = lively(LexInvariant()), ids()
    other = relabelled(model, order())
    with model.embedding.numbered(numbers), other.embedding.numbered(numbers):
        expected = losses(model, tokens)
        torch.testing.assert_close(losses(other, order()[tokens]), expected, atol=1e-12, rtol=0)
        assert (losses(model, order()[tokens]) - expected).abs().max() > 1e-2  # in one lexicon they are two


def test_over_the_draws_a_permuted_text_is_as_likely():
    tokens = ids(1, 12).expand(200, -1)
    model, plain = lively(LexInvariant()), lively(LexInvariant(share=0.0))
    with torch.no_grad():
        found = []
        for start, text in ((0, tokens), (200, order()[tokens])):
            with model.embedding.numbered(torch.arange(start, start + 200)):
                found.append(losses(model, text))
        a, b = found
        error = ((a.var(0) + b.var(0)) / 200).sqrt()  # of each position
        assert ((a.mean(0) - b.mean(0)).abs() < 3.5 * error).all()
        apart = (losses(plain, tokens[:1]) - losses(plain, order()[tokens[:1]])).abs()
        assert apart.max() > 10 * error.max()  # what learned vectors make of it


def test_tokens_that_have_not_come_up_can_change_places():
    model, tokens = lively(LexInvariant()), ids(1, 9)
    a, b = [token for token in range(VOCAB) if token not in tokens][:2]
    swap = torch.arange(VOCAB)
    swap[[a, b]] = swap[[b, a]]
    got, expected = relabelled(model, swap)(tokens).logits, model(tokens).logits
    torch.testing.assert_close(got[..., swap], expected, atol=1e-12, rtol=0)
    assert (got - expected).abs().max() > 1e-3


def test_vectors_and_logits_by_hand():
    model, tokens = lively(LexInvariant(width=8, heads=2)), ids()
    words, numbers = model.embedding, torch.tensor([4, 7])
    with words.numbered(numbers):
        out, embeds = model(tokens), model.embed(tokens)
    for row, number in enumerate(numbers.tolist()):
        table = words.gaussian(number).double()
        for t in range(TIME):
            torch.testing.assert_close(embeds[row, t], table[tokens[row, t]], atol=0, rtol=0)
            expected = torch.stack([words.temperature[0] * (out.hidden[row, t] @ vector) for vector in table])
            torch.testing.assert_close(out.logits[row, t], expected, atol=1e-12, rtol=0)


def test_vectors_are_standard_normal_and_each_lexicon_has_its_own():
    words = DrawnEmbedding(500, 64, 1.0, 0)
    tables = [words.gaussian(number) for number in (0, 1, 2)]
    for index, table in enumerate(tables):
        assert table.mean().abs() < 4 / math.sqrt(table.numel())
        assert table.std().item() == pytest.approx(1.0, rel=0.02)
        for other in tables[:index]:
            assert (table * other).mean().abs() < 4 / math.sqrt(table.numel())


def test_no_parameter_knows_the_vocabulary():
    model = LexInvariant().build(VOCAB)
    assert not any(VOCAB in parameter.shape for parameter in model.parameters())
    assert not any(VOCAB in buffer.shape for buffer in model.buffers())
    base = Llama().build(VOCAB)
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    assert count(model) == count(base) - VOCAB * 64 + 1
    with pytest.raises(NotOffered, match="whose head is a matrix"):
        unembedding(model, "a method")


@pytest.mark.parametrize("rest", [{}, {"kv_heads": 2, "layout": "half", "base": 500.0, "hidden": 24}])
def test_switched_off_it_is_the_baseline(rest):
    model, base = LexInvariant(share=0.0, **rest).build(VOCAB, seed=3), Llama(**rest).build(VOCAB, seed=3)
    assert [path for path, _ in model.named_parameters()] == [path for path, _ in base.named_parameters()]
    assert torch.equal(model(ids()).logits, base(ids()).logits)
    assert model.state_bytes(7) == base.state_bytes(7)


def test_nothing_but_the_words_differs_from_the_baseline():
    model, base = lively(LexInvariant(kv_heads=2, base=500.0)), lively(Llama(kv_heads=2, base=500.0))
    embeds = base.embed(ids())
    torch.testing.assert_close(model(embeds=embeds).hidden, base(embeds=embeds).hidden, atol=0, rtol=0)


def test_logits_start_small():
    model = LexInvariant().build(VOCAB)
    hidden = torch.randn(4, 200, 64, generator=torch.Generator().manual_seed(0))
    logits = model.head(hidden, torch.arange(4))
    assert logits.std().item() == pytest.approx(0.1, rel=0.05)


# Which lexicon a row is in


def test_in_training_every_row_of_every_pass_has_a_lexicon_of_its_own():
    model, twin = LexInvariant().build(VOCAB, seed=4), LexInvariant().build(VOCAB, seed=4)
    seen = torch.cat([model.embedding.numbers(3) for _ in range(5)])
    assert len(set(seen.tolist())) == 15
    assert torch.equal(torch.cat([twin.embedding.numbers(3) for _ in range(5)]), seen)
    assert not set(LexInvariant().build(VOCAB, seed=5).embedding.numbers(15).tolist()) & set(seen.tolist())
    same = ids(1).expand(2, -1)
    first, second = model(same).logits, model(same).logits
    assert (first[0] - first[1]).abs().max() > 1e-3
    assert (first - second).abs().max() > 1e-3


def test_a_resumed_run_draws_on():
    model, resumed = LexInvariant().build(VOCAB, seed=4), LexInvariant().build(VOCAB, seed=4)
    for _ in range(3):
        model(ids())
    resumed.load_state_dict(model.state_dict())
    assert torch.equal(resumed(ids()).logits, model(ids()).logits)


def test_in_evaluation_rows_are_in_one_lexicon_unless_others_are_named():
    model = lively(LexInvariant())
    plain = model(ids()).logits
    assert torch.equal(model(ids()).logits, plain)
    with model.embedding.numbered(0):
        assert torch.equal(model(ids()).logits, plain)
    with model.embedding.numbered(torch.tensor([0, 3])):
        torch.testing.assert_close(model(ids()).logits[0], plain[0], **EXACT)
        assert (model(ids()).logits[1] - plain[1]).abs().max() > 1e-2
        with pytest.raises(ValueError, match="2 lexicons were named for a batch of 3 rows"):
            model(ids(3))
    assert torch.equal(model(ids()).logits, plain)
    for wrong in (-1, torch.tensor([[1]]), torch.tensor([0.5])):
        with pytest.raises(ValueError, match="whole numbers from 0 on"), model.embedding.numbered(wrong):
            pass


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize("sizes", [[1] * TIME, [7, 1, 5, 6], [TIME - 1, 1]])
def test_a_row_stays_in_its_lexicon_in_every_chunk_and_step(share, sizes):
    model, tokens = lively(LexInvariant(share=share)), ids(3)
    with model.embedding.numbered(torch.tensor([4, 7, 9])):
        whole = model(tokens).logits
        out = model(tokens[:, : sizes[0]], keep_state=True)
    logits, at = [out.logits], sizes[0]
    for size in sizes[1:]:  # no longer named: the state knows
        out = model(tokens[:, at : at + size], state=out.state, keep_state=True)
        logits.append(out.logits)
        at += size
    torch.testing.assert_close(torch.cat(logits, 1), whole, **EXACT)
    assert out.state.bytes() == 3 * model.state_bytes(TIME)


def test_rows_that_are_selected_cut_or_dropped_take_their_lexicon_along():
    model, tokens, numbers = lively(LexInvariant()), ids(3), torch.tensor([4, 7, 9])
    with model.embedding.numbered(numbers):
        state = model(tokens[:, :10], keep_state=True).state
    rows, new = torch.tensor([2, 0, 2]), ids(3, 4, seed=5)

    def whole(tokens, numbers):
        with model.embedding.numbered(numbers):
            return model(tokens).logits[:, -4:]

    got = model(new, state=state.select(rows)).logits
    torch.testing.assert_close(got, whole(torch.cat((tokens[rows, :10], new), 1), numbers[rows]), **EXACT)
    got = model(new, state=state.truncate(6)).logits
    torch.testing.assert_close(got, whole(torch.cat((tokens[:, :6], new), 1), numbers), **EXACT)
    keep = torch.tensor([[True] * 7 + [False] * 3] * 3)
    got = model(new, state=state.gather(keep).select(rows)).logits
    torch.testing.assert_close(got, whole(torch.cat((tokens[rows, :7], new), 1), numbers[rows]), **EXACT)
    got = model(new, state=state.holding([x[:, :, :10] for x in state.tensors()])).logits
    torch.testing.assert_close(got, whole(torch.cat((tokens[:, :10], new), 1), numbers), **EXACT)


def test_a_pass_in_stretches_of_layers_stays_in_its_lexicon():
    model, tokens, numbers = lively(LexInvariant()), ids(2), torch.tensor([4, 7])
    with model.embedding.numbered(numbers):
        whole = model(tokens).logits
        stream, state = model.go_on(0, 1, ids=tokens[:, :9])
        read = model.read_out(model.go_on(1, 2, hidden=stream, state=state)[0])
    torch.testing.assert_close(read, whole[:, :9], **EXACT)
    _, state = model.go_on(1, 2, hidden=stream, state=state)
    stream, lower = model.go_on(0, 1, ids=tokens[:, 9:14], state=state)
    assert torch.equal(lower.buffers.twin().lexicon[0], numbers)
    _, state = model.go_on(1, 2, hidden=stream, state=lower)
    torch.testing.assert_close(model(tokens[:, 14:], state=state).logits, whole[:, 14:], **EXACT)


def test_a_state_of_another_model_is_refused():
    state = lively(Llama())(ids(), keep_state=True).state
    with pytest.raises(TypeError, match="this KeyValueState does not"):
        lively(LexInvariant())(ids(), state=state)


# The regulariser


def test_a_lexicon_draws_its_share_and_learned_rows_have_the_length_of_drawn_ones():
    words = LexInvariant(share=0.4, width=16).build(500).double().embedding
    learned, drawn = (words.table(torch.tensor([number]))[0] for number in (LEARNED, 3))
    torch.testing.assert_close(learned.norm(dim=-1), torch.full((500,), 4.0, dtype=torch.float64))
    torch.testing.assert_close(F.cosine_similarity(learned, words.weight), torch.ones(500, dtype=torch.float64))
    anew = (drawn != learned).any(-1)
    assert torch.equal(anew, words.fresh(3))
    assert anew.float().mean().item() == pytest.approx(0.4, abs=0.08)
    assert torch.equal(drawn[anew], words.gaussian(3).double()[anew])
    assert not torch.equal(words.fresh(3), words.fresh(4))
    nearly = DrawnEmbedding(500, 16, 1 - 1e-7, 0)
    torch.nn.init.normal_(nearly.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.ones_(nearly.temperature)
    assert torch.equal(nearly.table(torch.tensor([3]))[0], words.gaussian(3))


def test_the_regulariser_is_off_in_evaluation_and_on_in_training():
    model = lively(LexInvariant(share=0.4))
    plain = model(ids()).logits
    with model.embedding.numbered(LEARNED):
        assert torch.equal(model(ids()).logits, plain)
    with model.embedding.numbered(2):
        assert (model(ids()).logits - plain).abs().max() > 1e-2
    model.train()
    assert (model(ids()).logits - plain).abs().max() > 1e-2


def test_rows_that_were_drawn_learn_nothing_and_the_others_do():
    model = lively(LexInvariant(share=0.4))
    with model.embedding.numbered(3):
        losses(model, ids()).sum().backward()
    fresh, gradient = model.embedding.fresh(3), model.embedding.weight.grad
    assert not gradient[fresh].any()
    assert gradient[~fresh].abs().amax(1).min() > 0
    spared = {id(parameter) for parameter in decayed(model)[1]}
    assert {id(model.embedding.weight), id(model.embedding.temperature)} <= spared


# Around it


def test_what_was_drawn_without_gradients_serves_training_and_follows_the_dtype():
    model = LexInvariant().build(VOCAB).eval()
    with torch.inference_mode():
        model(ids())
    model(ids()).logits.square().sum().backward()
    assert model.embedding.temperature.grad.abs() > 0
    torch.testing.assert_close(model.double()(ids()).logits.float(), model.float()(ids()).logits, atol=1e-5, rtol=1e-5)
    assert model.bfloat16()(ids()).logits.dtype == torch.bfloat16


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_saved_and_exported_it_stays_what_it_is(share, tmp_path):
    model = LexInvariant(share=share).build(VOCAB, seed=3)
    for _ in range(2):
        model(ids())
    save(model.eval(), tmp_path)
    again = restore(tmp_path)
    assert torch.equal(again(ids()).logits, model(ids()).logits)
    register()
    with torch.random.fork_rng():
        loaded, told = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert int(loaded.model.embedding.passes) == int(again.embedding.passes) == 2  # the count goes on
    assert torch.equal(loaded(ids()).logits, model(ids()).logits)
    wrapped = TriviumForCausalLM.wrap(again)
    tokens = ids()
    for _ in range(6):
        tokens = torch.cat((tokens, model(tokens).logits[:, -1:].argmax(-1)), 1)
    with torch.random.fork_rng():
        made = wrapped.generate(ids(), pad_token_id=0, max_new_tokens=6, do_sample=False)
    assert torch.equal(made, tokens)
    assert torch.equal(wrapped.get_input_embeddings()(ids()), model.embed(ids()))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"share": 1.5}, "share is a part of the vocabulary"), ({"share": -0.1}, "so 0 to 1"), ({"heads": 5}, "even")],
)
def test_impossible_settings_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        LexInvariant(**wrong)
