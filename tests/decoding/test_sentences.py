"""Sentence-level decoding: a small real model keeps the contract, broken ones do not; prompts and bad input."""

import logging
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.decoding.sentence_contract import CHECKS, Always, prompts_of, told
from trivium.architectures.llama import Llama
from trivium.core.errors import NotFinite
from trivium.core.seeds import generator
from trivium.decoding._loop import Streams
from trivium.decoding._pipeline import Pipeline
from trivium.decoding._sentences import SentenceModel, decode, encode, split
from trivium.tokenization.byte import ByteTokenizer

VOCAB, WIDTH, BOS, EOS, ROOM = 17, 16, 0, 1, 8


class Encoder(nn.Module):
    """Embeddings and positions, one transformer layer, a sum over real tokens, a norm."""

    width = WIDTH

    def __init__(self, pooled=True, masked=True):
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCAB, WIDTH), nn.Embedding(ROOM, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, dropout=0.0, batch_first=True)
        self.norm = nn.LayerNorm(WIDTH)
        self.pooled, self.masked = pooled, masked

    def forward(self, ids, mask):
        hidden = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        hidden = self.layer(hidden, src_key_padding_mask=~mask if self.masked else None)
        return self.norm((hidden * mask[..., None]).sum(1) if self.pooled else hidden.sum(1))


class Body(nn.Module):
    """The blocks of a language model, fed with vectors: positions are those of sentences."""

    width, max_sentences = WIDTH, 12

    def __init__(self, seed):
        super().__init__()
        self.model = Llama(width=WIDTH, depth=2, heads=2, hidden=24, context=12).build(VOCAB, seed=seed)

    def forward(self, vectors, *, mask=None, memory=None):
        out = self.model(embeds=vectors, mask=mask, state=memory, keep_state=True)
        return out.hidden, out.state


class Decoder(nn.Module):
    """A language model that sees the vector at each token: attention to a single vector is a linear map of it."""

    width, vocab_size, bos, eos = WIDTH, VOCAB, BOS, EOS

    def __init__(self, seed):
        super().__init__()
        self.model = Llama(width=WIDTH, depth=1, heads=2, hidden=24, context=ROOM).build(VOCAB, seed=seed)
        self.cross = nn.Linear(WIDTH, WIDTH)

    def forward(self, vectors, ids, *, memory=None):
        embeds = self.model.embed(ids) + self.cross(vectors)[:, None]
        out = self.model(embeds=embeds, state=memory, keep_state=True)
        return out.logits, out.state


class Stop(nn.Linear):
    width = WIDTH


def made(seed=4, dtype=torch.float64, scale=4.0, **other):
    """A random model, with weights large enough that what each part does shows; ``other`` parts in place of its own."""
    usual = {"encoder": Encoder, "body": lambda: Body(seed), "decoder": lambda: Decoder(seed + 1)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {name: build() for name, build in (usual | {"stop": lambda: Stop(WIDTH, 2)} | other).items()}
        with torch.no_grad():
            for weight in (weight for part in parts.values() for weight in part.parameters()):
                if weight.ndim == 2:
                    weight.normal_(0.0, scale / max(weight.shape) ** 0.5)
    return SentenceModel(**{name: part.to(dtype).eval() for name, part in parts.items()})


@pytest.mark.parametrize("name", CHECKS)
def test_a_real_model_keeps_the_law(name):
    CHECKS[name](made())


def test_rows_and_sentences_of_this_model_end_at_different_times():
    """Else the laws about rows that end one by one would say little."""
    written = told(made())
    assert len({len(sentence) for row in written.sentences for sentence in row}) > 2
    assert set(written.stopped) == {True, False}
    assert len(set(written.passes)) > 1


# broken parts -------------------------------------------------------------------------------------------------------


class LooksAhead(Body):
    """Every output is moved by the last vector, as without a mask."""

    def forward(self, vectors, *, mask=None, memory=None):
        hidden, memory = super().forward(vectors, mask=mask, memory=memory)
        return hidden + vectors[:, -1:], memory


class Forgets(Body):
    def forward(self, vectors, *, mask=None, memory=None):
        return super().forward(vectors, mask=mask)


class SeesPadding(Body):
    def forward(self, vectors, *, mask=None, memory=None):
        return super().forward(vectors, memory=memory)


class ForgetsTokens(Decoder):
    def forward(self, vectors, ids, *, memory=None):
        return super().forward(vectors, ids)


class Deaf(Decoder):
    """Says the same whatever the vector."""

    def forward(self, vectors, ids, *, memory=None):
        return super().forward(torch.zeros_like(vectors), ids, memory=memory)


class Shared:
    """A memory that all who go on from it write to."""

    def __init__(self):
        self.state = None

    def select(self, rows):
        self.state = self.state.select(rows)
        return self


class InPlace(Body):
    def forward(self, vectors, *, mask=None, memory=None):
        memory = memory or Shared()
        hidden, memory.state = super().forward(vectors, mask=mask, memory=memory.state)
        return hidden, memory


class Unordered(Encoder):
    def forward(self, ids, mask):
        return self.norm((self.tokens(ids) * mask[..., None]).sum(1))


@pytest.mark.parametrize(
    ("part", "broken", "law"),
    [
        ("body", lambda: LooksAhead(0), "the_body_is_causal"),
        ("body", lambda: Forgets(0), "the_body_goes_on_from_memory_as_if_it_read_all"),
        ("body", lambda: Forgets(0), "the_loop_equals_one_that_remembers_nothing"),
        ("body", lambda: SeesPadding(0), "the_bodys_rows_do_not_depend_on_padding_or_neighbours"),
        ("body", lambda: InPlace(0), "memories_are_values"),
        ("decoder", lambda: ForgetsTokens(1), "the_decoder_goes_on_from_memory_as_if_it_read_all"),
        ("decoder", lambda: Deaf(1), "the_decoder_is_causal_and_reads_its_vector"),
        ("encoder", lambda: Encoder(pooled=False), "a_vector_does_not_depend_on_padding"),
        ("encoder", lambda: Encoder(masked=False), "a_vector_does_not_depend_on_padding"),
        ("encoder", Unordered, "a_vector_depends_on_tokens_and_their_order"),
    ],
)
def test_broken_parts_are_found_out(part, broken, law):
    with pytest.raises(AssertionError):
        CHECKS[law](made(**{part: broken}))


# learning, sampling, prompts ----------------------------------------------------------------------------------------


def test_an_autoencoder_that_learnt_a_few_sentences_says_them_again():
    model, given = made(dtype=torch.float32), [(2, 3, 4, 5), (6, 2), (7, 8, 9, 10, 11), (3,)]
    encoder, decoder = model.encoder, model.decoder
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 5e-3)
    ids = torch.full((4, 6), EOS)
    for row, sentence in enumerate(given):
        ids[row, : len(sentence)] = torch.tensor(sentence)
    seen = torch.arange(6) <= torch.tensor([[len(sentence)] for sentence in given])
    for _ in range(120):
        logits, _ = decoder(encode(model, given), torch.cat([torch.full((4, 1), BOS), ids[:, :-1]], 1))
        loss = nn.functional.cross_entropy(logits[seen], ids[seen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        said = decode(model, encode(model, given), 6, Pipeline(temperature=0), Streams(generator(0), 4), range(4))
    assert said == given


def test_sentences_are_encoded_with_their_end_and_without_their_beginning():
    seen = []
    model = made()

    class Spy:
        width = WIDTH

        def __call__(self, ids, mask):
            seen.extend(row[real].tolist() for row, real in zip(ids, mask, strict=True))
            return model.encoder(ids, mask)

    written = told(replace(model, encoder=Spy(), stop=Always(WIDTH, False)), most=3)
    prompts = [list(sentence) for prompt in prompts_of(model) for sentence in prompt]
    new = [list(row[number]) for number in (0, 1) for row in written.sentences]
    assert seen == [[*sentence, EOS] for sentence in prompts + new]


def test_sampling_draws_from_the_decoders_law():
    """The first token of the first sentence, against its probabilities."""
    model = replace(made(), stop=Always(WIDTH, False))
    prompt = prompts_of(model)[0]
    with torch.no_grad():
        output = model.body(encode(model, prompt)[None])[0][:, -1]
        law = model.decoder(output, torch.tensor([[BOS]]))[0][0, -1].softmax(-1)
    words = {"longest": 5, "most": 1, "pipeline": Pipeline(temperature=1.0), "generator": generator(3)}
    written = told(model, [prompt] * 4000, **words)
    counts = torch.zeros(VOCAB, dtype=torch.float64)
    for (sentence,) in written.sentences:
        counts[sentence[0] if sentence else EOS] += 1
    wanted = 4000 * law
    assert float(((counts - wanted) ** 2 / wanted).sum()) < 39.3  # chi-square of 16 degrees of freedom at 0.001


def test_prompts_are_split_by_punctuation_and_cut_where_long(caplog):
    tokenizer = ByteTokenizer()
    text = "One two. Three! A sentence that is far too long."
    with caplog.at_level(logging.WARNING):
        found = split(text, tokenizer, longest=12)
    assert [tokenizer.decode(part) for part in found] == [
        "One two.",
        " Three!",
        " A sentence ",
        "that is far ",
        "too long.",
    ]
    assert "a sentence of 33 tokens is cut into pieces of 12: 'A sentence that is" in caplog.text
    caplog.clear()
    assert len(split(text, tokenizer)) == 3
    assert not caplog.text
    with pytest.raises(ValueError, match="holds no sentence"):
        split("  \n", tokenizer)


# bad input ----------------------------------------------------------------------------------------------------------


def test_parts_of_different_widths_are_refused():
    class Narrow(Stop):
        width = 8

    with pytest.raises(ValueError, match="encoder 16, body 16, decoder 16, stop 8"):
        made(stop=lambda: Narrow(8, 2))


@pytest.mark.parametrize(
    ("prompts", "words", "said"),
    [
        ([], {}, "no prompt"),
        ([[(2,)], []], {}, "prompt of row 1 is empty"),
        ([[(2,), ()]], {}, "sentence 1 of row 0 is empty"),
        ([[(2,) * 6]], {}, "has 6 tokens, more than 5; make prompts with split"),
        ([[(2, VOCAB)]], {}, f"outside the vocabulary of {VOCAB}"),
        ([[(-1,)]], {}, "outside the vocabulary"),
        ([[(2,)] * 9], {}, "9 sentences and 4 new ones are more than the 12 positions"),
        ([[(2,)]], {"longest": 0}, "longest must be at least 1"),
        ([[(2,)]], {"most": 0}, "most must be at least 1"),
        ([[(2,)]], {"pipeline": Pipeline(repetition_penalty=2.0)}, "penalties and constraints"),
    ],
)
def test_bad_input_is_refused(prompts, words, said):
    with pytest.raises(ValueError, match=said):
        told(made(), prompts, **words)


def test_logits_that_are_not_finite_are_named():
    model = replace(made(), stop=Always(WIDTH, False))
    with torch.no_grad():
        model.decoder.model.head.weight[3] = math.nan
    with pytest.raises(NotFinite, match="of row 0 are not finite"):
        told(model)
