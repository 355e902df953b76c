from dataclasses import replace

import pytest
import torch

from tests.tokenization.made import byte_fallback, byte_level
from trivium.architectures.llama import Llama
from trivium.core.nouns import Generation
from trivium.core.prompt import Parts
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.models.system import System, same_vocabulary
from trivium.tokenization.byte import ByteTokenizer
from trivium.tokenization.huggingface import HuggingFaceTokenizer


def system(tokenizer=None, vocab: int | None = None, **fields) -> System:
    tokenizer = tokenizer or ByteTokenizer()
    model = Llama(width=16, depth=1, heads=2).build(vocab or tokenizer.vocab_size)
    return System(model, tokenizer, **{"name": "small", **fields})


class Says:
    """A decoder that writes what it is told and remembers what it was given."""

    def __init__(self, *ids: int) -> None:
        self.ids = torch.tensor([ids])

    def __call__(self, model, prompt, *, limit, generator, mask=None, stop=None):
        self.given = {"prompt": prompt.tolist(), "limit": limit, "stop": stop, "seed": generator.initial_seed()}
        length = self.ids.shape[1]
        return Generation(self.ids, torch.zeros(1, length), torch.tensor([length]))


def test_a_structured_prompt_is_cut_part_by_part():
    made = system().blocks(["A", Parts("b", "cd"), "e"])
    assert made == [[256], [65], [[98], [99, 100]], [101]]
    assert system().blocks([Parts("b")]) == [[256], [[98]]]
    plan = system().plan(["A", Parts("cd", "b"), "e"])
    assert plan.ids.tolist() == [256, 65, 98, 99, 100, 101]
    assert plan.positions.tolist() == [0, 1, 2, 2, 3, 4]
    assert system().plan(["A", Parts("cd", "b")], canonical=False).ids.tolist() == [256, 65, 99, 100, 98]
    assert system(HuggingFaceTokenizer(byte_level())).blocks(["A", Parts(" b", " c")])[0] != [256]


def test_writes_the_new_tokens_without_special_ones():
    decoder = Says(*b"caf", 0xC3, 0xA9, 257)
    assert system().write("A ", decoder, limit=9) == "café"
    assert decoder.given["prompt"] == [[256, 65, 32]]
    assert decoder.given["limit"] == 9
    assert tuple(decoder.given["stop"].tokens) == (257,)


def test_a_row_that_ended_early_is_cut_at_its_length():
    class EndsEarly(Says):
        def __call__(self, *args, **kwargs):
            return replace(super().__call__(*args, **kwargs), lengths=torch.tensor([2]))

    assert system().write("A", EndsEarly(*b"hi\0\0"), limit=9) == "hi"


def test_the_seed_decides():
    same = [system().write("A", Sampling(), limit=12, seed=seed) for seed in (1, 1, 2)]
    assert same[0] == same[1] != same[2]


def test_writes_with_a_real_decoder():
    ours = system()
    written = ours.write("A", Greedy(), limit=5)
    ids = [256, 65]
    for _ in range(5):
        with torch.no_grad():
            ids.append(int(ours.model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == 257:
            break
    assert written == ours.tokenizer.decode(ids[2:])


def test_ends_besides_eos_stop_too():
    assert tuple(system(ends=(5, 257)).stop.tokens) == (257, 5)


def test_the_opening_is_put_first_once():
    tokenizer = HuggingFaceTokenizer(byte_fallback())
    ours = system(tokenizer)
    assert ours.prompt("the").tolist() == [[1, *tokenizer.encode("the")]]
    assert ours.prompt("<s>the").tolist() == [[1, *tokenizer.encode("the")]]


def test_an_empty_prompt_is_refused_where_nothing_begins_a_text():
    with pytest.raises(ValueError, match="the prompt is empty"):
        system(HuggingFaceTokenizer(byte_level())).prompt("")
    assert system().prompt("").tolist() == [[256]]


def test_chat_is_the_template_where_there_is_one():
    template = "{% for m in messages %}<s>{{ m['content'] }}</s>{% endfor %}"
    assert system(HuggingFaceTokenizer(byte_level(chat_template=template))).chat("Hi") == "<s>Hi</s>"
    assert system().chat("Hi") == "Hi"


def test_a_tokenizer_larger_than_its_model_is_refused():
    with pytest.raises(ValueError, match="has 259 ids but the model only 200"):
        system(vocab=200)
    assert system(vocab=300).model.vocab_size == 300  # a padded output layer is usual


def test_the_same_vocabulary():
    same_vocabulary(system(), system())
    same_vocabulary(system(HuggingFaceTokenizer(byte_level())), system(HuggingFaceTokenizer(byte_level())))


def test_vocabularies_that_differ_say_where():
    bytes_, level = system(name="A"), HuggingFaceTokenizer(byte_level())
    with pytest.raises(ValueError, match="A and B do not share a vocabulary: they differ in 259 and 300 tokens"):
        same_vocabulary(bytes_, system(vocab=300, name="B"))
    with pytest.raises(ValueError, match=r"tokenizers of 259 and \d+ ids"):
        same_vocabulary(system(vocab=level.vocab_size), system(level))

    class Other(ByteTokenizer):
        def bytes_of(self, id):
            return b"!" if id == 65 else super().bytes_of(id)

    with pytest.raises(ValueError, match=r"token 65, which is b'A' and b'!'.*prompt_lookup"):
        same_vocabulary(bytes_, system(Other()))

    class Ends(ByteTokenizer):
        eos = 10

    with pytest.raises(ValueError, match="eos tokens 257 and 10"):
        same_vocabulary(bytes_, system(Ends()))
