"""Constrained decoding: masks against an enumerated language, texts against the rule, and draft trees that change
nothing."""

import json
import re
from functools import cache

import pytest
import torch

from tests.decoding.models import tiny
from tests.families import wrapped
from trivium.core.nouns import Stop
from trivium.decoding.grammar import Grammar, Language
from trivium.decoding.greedy import Greedy
from trivium.decoding.mirostat import Mirostat
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting.draft_model import DraftModel
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

BYTES = ByteTokenizer()
STOP = Stop(tokens=(257,))
NUMBERS = r"(-?[1-9][0-9]{0,3}(, )?)+;"


class Pieces:
    """A tokenizer whose tokens overlap: the same text can be cut in many ways."""

    pieces = (b"a", b"b", b"c", b"ab", b"bc", b"abc", b"ca", b"")
    vocab_size, bos, eos, pad = 8, None, 7, None

    def encode(self, text):
        return [self.pieces.index(bytes([byte])) for byte in text.encode()]

    def decode(self, ids):
        return b"".join(self.pieces[id] for id in ids).decode()

    def bytes_of(self, id):
        return self.pieces[id]


@cache
def model(seed=0):
    return wrapped("llama", seed=seed, vocab_size=259)


def run(decoder, *, prompt=((65, 66, 67),), mask=None, limit=20, seed=0, stop=STOP, at=None):
    generator = torch.Generator().manual_seed(seed)
    return decoder(at or model(), torch.tensor(prompt), mask=mask, limit=limit, generator=generator, stop=stop)


def numbers(of, **words):
    return Grammar(NUMBERS, of=of, tokenizer=BYTES, **words)


def test_the_mask_is_right_behind_every_beginning_of_an_enumerated_language():
    """Tokens of several bytes, all ways to cut a text; what may follow is found by trying."""
    texts = {"abc", "abca", "b", "bcab", "cc", "cabca"}
    language = Language("|".join(sorted(texts)), "regex", Pieces())  # type: ignore[arg-type]
    begins = lambda text: any(whole.startswith(text) for whole in texts)  # noqa: E731
    visited, todo = 0, [()]
    while todo:
        ids = todo.pop()
        text = Pieces().decode(ids)
        expected = [begins(text + piece.decode()) for piece in Pieces.pieces[:7]] + [text in texts]
        assert language.allowed(ids, 8).tolist() == expected, (ids, text)
        visited += 1
        todo += [(*ids, token) for token in range(7) if expected[token]]
    assert visited > 30
    assert language.allowed((5, 7), 8).tolist() == [False] * 7 + [True]  # behind an end only further ends


def test_the_pools_order_of_visits_does_not_matter():
    language = Language(NUMBERS, "regex", BYTES)
    texts = [b"12, 3", b"12, 34", b"-", b"", b"12,", b"9, -8, 7", b"9, -8;", b"1"] * 12
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
    for at in order:
        fresh = Language(NUMBERS, "regex", BYTES).allowed(list(texts[at]), 259)
        assert torch.equal(language.allowed(list(texts[at]), 259), fresh)


@pytest.mark.parametrize("seed", range(3))
def test_every_text_belongs_to_the_language_or_begins_one_of_it(seed):
    made = run(numbers(Sampling(1.5)), prompt=[[65, 66, 67]] * 3, seed=seed, limit=40)
    for row in range(3):
        ids = made.row(row).tolist()
        text = BYTES.decode(ids)
        if ids[-1] == 257:
            assert re.fullmatch(NUMBERS, text)
        else:
            assert len(ids) == 40
            assert 0 < Language(NUMBERS, "regex", BYTES).allowed(ids, 259).sum() < 20  # outside, all would be
    free = run(Sampling(1.5), seed=seed)
    assert not re.match(NUMBERS, BYTES.decode(free.row(0).tolist()))


def test_the_law_is_the_models_restricted_and_renormalised():
    grammar, history = numbers(Sampling(0.7)), torch.tensor([65, 66, 67, *b"12"])
    logits = torch.randn(1, 259, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = grammar.pipeline.probabilities(logits, [history], [2])
    expected = torch.zeros(259, dtype=torch.float64)
    may = list(b"0123456789-,;")  # a second number may follow without a comma
    expected[may] = (logits[0, may] / 0.7).softmax(-1)
    torch.testing.assert_close(law[0], expected)


PROMPTS = [[0, 0, 49, 50, 44, 32, 49, 50, 44, 32], [45, 49, 44, 32, 45, 49, 44, 32, 45, 49]]
MASK = torch.tensor([[False] * 2 + [True] * 8, [True] * 10])
DRAFTERS = {
    "copies": PromptLookup(ngram=1, nodes=12),
    "chain": DraftModel(wrapped("llama", seed=1, vocab_size=259), min_confidence=0.0),
    "tree": DraftModel(wrapped("llama", seed=1, vocab_size=259), branching=(3, 2), min_confidence=0.0),
    "itself": DraftModel(None, min_confidence=0.0),
}


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("of", [Greedy(), Sampling(0.9, repetition_penalty=1.3, top_p=0.95)], ids=str)
def test_inside_draft_trees_nothing_changes(drafter, of):
    """Ragged rows, trees and chains: the same tokens as plain constrained decoding, for the same seed."""
    plain = run(numbers(of), prompt=PROMPTS, mask=MASK)
    fast = run(Speculative(DRAFTERS[drafter], of=numbers(of)), prompt=PROMPTS, mask=MASK)
    assert torch.equal(plain.ids, fast.ids)
    assert torch.equal(plain.lengths, fast.lengths)


def test_rejection_stays_in_the_language():
    fast = Speculative(DRAFTERS["tree"], verifier="rejection", of=numbers(Sampling(1.3)))
    for seed in range(2):
        made = run(fast, prompt=PROMPTS, mask=MASK, seed=seed)
        for row in range(2):
            assert re.match(r"-?[1-9]", BYTES.decode(made.row(row).tolist()))
            assert Language(NUMBERS, "regex", BYTES).allowed(made.row(row).tolist(), 259).sum() < 20


def test_json_of_a_schema_parses_and_fits():
    schema = {
        "type": "object",
        "properties": {"name": {"enum": ["a", "b"]}, "size": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "size"],
        "additionalProperties": False,
    }
    grammar = Grammar(json.dumps(schema), "json_schema", Sampling(top_k=40), BYTES)
    ended = 0
    for seed in range(4):
        ids = run(grammar, seed=seed, limit=80).row(0).tolist()
        if ids[-1] != 257:
            continue  # spent on white space
        found, ended = json.loads(BYTES.decode(ids)), ended + 1
        assert set(found) == {"name", "size"}
        assert found["name"] in ("a", "b")
        assert 0 <= found["size"] <= 99
    assert ended > 1


def test_a_context_free_language_that_no_regular_expression_knows():
    grammar = Grammar('root ::= "(" root ")" | "[" root "]" | "x"', "ebnf", Sampling(), BYTES)
    ids = run(grammar, limit=100, seed=3).row(0).tolist()
    text = BYTES.decode(ids)
    left, _, right = text.partition("x")
    assert ids[-1] == 257
    assert len(left) > 0
    assert right == left[::-1].translate(str.maketrans("([", ")]"))


def test_without_a_rule_it_is_the_decoder_itself_and_a_system_fills_in_its_tokenizer():
    assert torch.equal(run(Grammar(of=Sampling())).ids, run(Sampling()).ids)
    system = System(model(), BYTES, "made")
    fitted = system.fit(Speculative(of=Grammar("[0-9]{8}")))
    assert fitted.of.tokenizer is BYTES
    assert re.fullmatch("[0-9]{8}", system.write("ab", Grammar("[0-9]{8}"), limit=12))
    assert system.fit(given := Grammar("a", tokenizer=Pieces())) is given  # type: ignore[arg-type]
    assert system.fit(greedy := Greedy()) is greedy


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        (Grammar("(ab", tokenizer=BYTES), "no regex.*not closed"),
        (Grammar("{nonsense", "json_schema", tokenizer=BYTES), "no json schema"),
        (Grammar("root ::= missing", "ebnf", tokenizer=BYTES), "no ebnf.*missing"),
        (Grammar("a"), "tokenizer="),
    ],
)
def test_rules_that_cannot_be_read_are_refused_before_any_work(grammar, message):
    with pytest.raises(ValueError, match=message):
        run(grammar)
    with pytest.raises(ValueError, match=message):
        run(Speculative(of=grammar))


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="language"):
        Grammar("a", "perl")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mirostat"):
        Grammar("a", of=Mirostat())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="constrained already"):
        Grammar("a", of=Grammar("b"))
    with pytest.raises(ValueError, match="259 ids but the model only 64"):
        run(Grammar("a", tokenizer=BYTES), prompt=[[1, 2]], stop=Stop(), at=tiny())
    endless = Pieces()
    endless.eos = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="no end token"):
        Language("a", "regex", endless).check(8)  # type: ignore[arg-type]
