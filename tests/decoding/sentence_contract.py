"""What the parts of a sentence-level decoder keep, whatever they are made of.

``CHECKS`` maps a law to a function that takes a ``SentenceModel`` and raises AssertionError where it is broken. Weights
may be random, in float64; sentences of at most 5 tokens and texts of at most 12 sentences are asked for.
"""

from dataclasses import replace

import torch

from trivium.core.seeds import generator
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._sentences import Written, encode, write

CHECKS = {}


def law(check):
    CHECKS[check.__name__] = check
    return check


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-9, rtol=0)


def differs(one, other):
    assert (one - other).abs().max() > 1e-6


def draws(name="contract"):
    return generator(0, name)


def vectors_of(model, batch, count, name="vectors"):
    return torch.randn(batch, count, model.body.width, generator=draws(name), dtype=torch.float64)


def some_sentences(model, lengths, name="sentences"):
    """Sentences of these lengths, of tokens that are neither BOS nor EOS."""
    usual = [id for id in range(model.decoder.vocab_size) if id not in (model.decoder.bos, model.decoder.eos)]
    numbers = torch.randint(len(usual), (len(lengths), max(lengths)), generator=draws(name))
    return [tuple(usual[n] for n in row[:length].tolist()) for row, length in zip(numbers, lengths, strict=True)]


# the parts ----------------------------------------------------------------------------------------------------------


@law
def shapes(model):
    vectors = encode(model, some_sentences(model, [1, 3, 2]))
    assert vectors.shape == (3, model.encoder.width)
    outputs, _ = model.body(vectors[None])
    assert outputs.shape == (1, 3, model.body.width)
    assert model.stop(outputs[:, -1]).shape == (1, 2)
    logits, _ = model.decoder(outputs[:, -1], torch.tensor([[model.decoder.bos, 1]]))
    assert logits.shape == (1, 2, model.decoder.vocab_size)


@law
def a_vector_does_not_depend_on_padding(model):
    given = some_sentences(model, [2, 5, 3])
    together = encode(model, given)
    for row, sentence in enumerate(given):
        close(together[row], encode(model, [sentence])[0])
    ids = torch.tensor([[*given[0], model.decoder.eos, 1, 1], [*given[2], model.decoder.eos, 1]])
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 4 + [False]])
    close(model.encoder(ids, mask), model.encoder(ids.masked_fill(~mask, 3), mask))
    close(model.encoder(ids, mask), together[[0, 2]])


@law
def a_vector_depends_on_tokens_and_their_order(model):
    first, second = some_sentences(model, [3, 3])
    differs(*encode(model, [first, second]))
    assert first != first[::-1]
    differs(*encode(model, [first, first[::-1]]))


@law
def the_body_is_causal(model):
    vectors = vectors_of(model, 2, 5)
    before, _ = model.body(vectors)
    for at in range(5):
        changed = vectors.clone()
        changed[:, at] = vectors_of(model, 2, 1, "other")[:, 0]
        after, _ = model.body(changed)
        close(after[:, :at], before[:, :at])
        for later in range(at, 5):
            differs(after[:, later], before[:, later])


@law
def the_body_goes_on_from_memory_as_if_it_read_all(model):
    vectors = vectors_of(model, 2, 6)
    whole, _ = model.body(vectors)
    for cuts in ([1] * 6, [2, 4], [4, 1, 1]):
        memory, parts = None, []
        for part in vectors.split(cuts, 1):
            outputs, memory = model.body(part, memory=memory)
            parts.append(outputs)
        close(torch.cat(parts, 1), whole)


@law
def the_bodys_rows_do_not_depend_on_padding_or_neighbours(model):
    vectors = vectors_of(model, 2, 5)
    mask = torch.tensor([[True] * 5, [False] * 2 + [True] * 3])
    together, memory = model.body(vectors, mask=mask)
    next_one = vectors_of(model, 2, 1, "next")
    later, _ = model.body(next_one, memory=memory)
    for row, start in ((0, 0), (1, 2)):
        alone, own = model.body(vectors[row : row + 1, start:])
        close(together[row, start:], alone[0])
        close(later[row], model.body(next_one[row : row + 1], memory=own)[0][0])


@law
def memories_are_values(model):
    vectors, more = vectors_of(model, 3, 4), vectors_of(model, 3, 2, "more")
    _, memory = model.body(vectors)
    first, _ = model.body(more, memory=memory)
    model.body(more.flip(1), memory=memory)
    close(model.body(more, memory=memory)[0], first)
    rows = torch.tensor([2, 0])
    close(model.body(more[rows], memory=memory.select(rows))[0], first[rows])
    ids = torch.tensor([[model.decoder.bos]] * 3)
    _, memory = model.decoder(vectors[:, 0], ids)
    first, _ = model.decoder(vectors[:, 0], ids + 1, memory=memory)
    model.decoder(vectors[:, 0], ids + 2, memory=memory)
    close(model.decoder(vectors[:, 0], ids + 1, memory=memory)[0], first)
    close(model.decoder(vectors[rows, 0], ids[rows] + 1, memory=memory.select(rows))[0], first[rows])


@law
def the_decoder_goes_on_from_memory_as_if_it_read_all(model):
    ids = torch.tensor([[model.decoder.bos, *sentence] for sentence in some_sentences(model, [4, 4])])
    vectors = vectors_of(model, 2, 1)[:, 0]
    whole, _ = model.decoder(vectors, ids)
    memory, parts = None, []
    for part in ids.split([1, 2, 1, 1], 1):
        logits, memory = model.decoder(vectors, part, memory=memory)
        parts.append(logits)
    close(torch.cat(parts, 1), whole)


@law
def the_decoder_is_causal_and_reads_its_vector(model):
    ids = torch.tensor([[model.decoder.bos, *sentence] for sentence in some_sentences(model, [4, 4])])
    vectors = vectors_of(model, 2, 1)[:, 0]
    whole, _ = model.decoder(vectors, ids)
    changed = ids.clone()
    changed[:, 3] = (ids[:, 3] + 1) % model.decoder.vocab_size
    after, _ = model.decoder(vectors, changed)
    close(after[:, :3], whole[:, :3])
    differs(after[:, 3:], whole[:, 3:])
    other, _ = model.decoder(vectors.flip(0), ids)
    for at in range(5):
        differs(other[:, at], whole[:, at])


# the loop -----------------------------------------------------------------------------------------------------------


class Endless:
    """The decoder, but EOS is impossible."""

    def __init__(self, of):
        self.of, self.width, self.vocab_size, self.bos, self.eos = of, of.width, of.vocab_size, of.bos, of.eos

    def __call__(self, vectors, ids, *, memory=None):
        logits, memory = self.of(vectors, ids, memory=memory)
        return logits.index_fill(2, torch.tensor([self.eos]), -1e9), memory


class Always:
    """A stop head that says the same at every sentence but those numbered ``at``, counted over its calls."""

    def __init__(self, width, stop, at=()):
        self.width, self.stop, self.at, self.calls = width, stop, at, 0

    def __call__(self, outputs):
        stop = self.stop != (self.calls in self.at)
        self.calls += 1
        return torch.tensor([[1.0, 0.0] if stop else [0.0, 1.0]]).expand(len(outputs), 2)


def prompts_of(model, counts=(3, 1, 2)):
    return [some_sentences(model, [1 + (row + n) % 4 for n in range(count)], row) for row, count in enumerate(counts)]


def told(model, prompts=None, **words) -> Written:
    given = {"longest": 5, "most": 4, "generator": draws("write")} | words
    return write(model, prompts_of(model) if prompts is None else prompts, **given)


@law
def limits_are_kept_when_nothing_ends_by_itself(model):
    """With more rows than tokens in a sentence, and with fewer."""
    endless = replace(model, decoder=Endless(model.decoder), stop=Always(model.stop.width, False))
    for rows, longest, most in ((7, 3, 2), (2, 5, 4), (1, 1, 1)):
        written = told(endless, [some_sentences(model, [1])] * rows, longest=longest, most=most)
        assert [[len(sentence) for sentence in row] for row in written.sentences] == [[longest] * most] * rows
        assert written.stopped == [False] * rows
        assert written.passes == [most] * rows


@law
def the_stop_head_ends_a_text(model):
    for number in (0, 1, 3):
        stop = Always(model.stop.width, False, at=(number,))
        written = told(replace(model, stop=stop))
        assert [len(row) for row in written.sentences] == [number] * 3
        assert written.stopped == [True] * 3
        assert written.passes == [number + 1] * 3


@law
def the_body_steps_once_a_sentence(model):
    calls = []

    class Counted:
        width, max_sentences = model.body.width, model.body.max_sentences

        def __call__(self, vectors, **words):
            calls.append(vectors.shape[1])
            return model.body(vectors, **words)

    written = told(replace(model, body=Counted(), stop=Always(model.stop.width, False)), most=4)
    assert [len(row) for row in written.sentences] == [4] * 3
    assert calls == [3, 1, 1, 1]


@law
def a_row_of_a_batch_gives_what_it_gives_alone(model):
    together = told(model)
    for row, prompt in enumerate(prompts_of(model)):
        alone = told(model, [prompt])
        assert alone.sentences[0] == together.sentences[row]
        assert (alone.stopped[0], alone.passes[0]) == (together.stopped[row], together.passes[row])


@law
def the_loop_equals_one_that_remembers_nothing(model):
    for prompt in prompts_of(model):
        assert told(model, [prompt]).sentences[0] == without_memory(model, prompt, longest=5, most=4)


@law
def a_seed_decides(model):
    going, sampled = replace(model, stop=Always(model.stop.width, False)), Pipeline(temperature=1.0)
    drawn = [told(going, generator=generator(seed), pipeline=sampled).sentences for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert any(drawn[0] != other for other in drawn[2:])


def without_memory(model, prompt, longest, most):
    """The loop in its plainest form: everything is worked out anew, one token at a time."""
    text, new = list(prompt), []
    while len(new) < most:
        vectors = torch.stack([encode(model, [sentence])[0] for sentence in text])
        output = model.body(vectors[None])[0][:, -1]
        if int(model.stop(output).argmax(-1)) == 0:
            break
        ids = [model.decoder.bos]
        while len(ids) <= longest:
            token = int(model.decoder(output, torch.tensor([ids]))[0][0, -1].argmax())
            if token == model.decoder.eos:
                break
            ids.append(token)
        new.append(tuple(ids[1:]))
        text.append(new[-1])
    return new
