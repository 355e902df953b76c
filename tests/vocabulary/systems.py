"""Tiny systems and tokenizers for the tests of vocabularies: two languages that are ciphers of each other."""

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from tests.families import build
from trivium.architectures.llama import Llama
from trivium.core.languages import Languages, WordVectors
from trivium.core.seeds import generator
from trivium.models.huggingface import wrap
from trivium.models.system import System
from trivium.tokenization.huggingface import HuggingFaceTokenizer

OLD = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "red",
    "mat",
    "and",
    "saw",
    "one",
    "small",
    "bird",
    "fly",
    "over",
    "the",
    "green",
    "hill",
    "near",
    "its",
    "old",
    "home",
    "today",
]
NEW = [
    "lo",
    "gatu",
    "posi",
    "em",
    "na",
    "rubra",
    "tapeta",
    "ei",
    "vidis",
    "unu",
    "malgranda",
    "birdu",
    "flugi",
    "trans",
    "lo",
    "verda",
    "monte",
    "apud",
    "sia",
    "hejmu",
    "hodie",
]


def sentences(words, count=60, seed=0, length=9):
    draws = generator(seed, "sentences", words[0])
    return [
        " ".join(words[int(at)] for at in torch.randint(len(words), (length,), generator=draws)) for _ in range(count)
    ]


def vectors(width=6, seed=0, rotate=False):
    """Vectors of both languages: a word and its translation have the same one, but for a rotation of the new ones."""
    old = torch.randn(len(OLD), width, generator=generator(seed, "vectors"), dtype=torch.float64)
    turn = torch.eye(width, dtype=torch.float64)
    if rotate:
        turn = torch.linalg.qr(torch.randn(width, width, generator=generator(seed, "turn"), dtype=torch.float64)).Q
    names = {}
    for at, word in enumerate(NEW[: len(OLD)]):
        names.setdefault(word, at)
    first = {}
    for at, word in enumerate(OLD):
        first.setdefault(word, at)
    olds = WordVectors(tuple(first), old[list(first.values())])
    news = WordVectors(tuple(names), (old @ turn)[list(names.values())])
    pairs = tuple(zip(OLD, NEW, strict=False))
    return olds, news, pairs


def byte_level(texts, size, specials=("<eos>", "<pad>")):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    return HuggingFaceTokenizer(
        PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=specials[0], pad_token=specials[1])
    )


def wordpiece(texts, size):
    inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=False)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    inner.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    )
    words = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=inner, **words))


def old_tokenizer():
    return byte_level(sentences(OLD), 320)


def new_tokenizer():
    return byte_level(sentences(NEW), 330, ("<end>", "<blank>"))


def languages():
    olds, news, pairs = vectors(rotate=False)
    return Languages(sentences(NEW), sentences(OLD), news, olds, pairs)


def native(tied=True, padding=8, seed=1):
    tokenizer = old_tokenizer()
    model = Llama(width=16, depth=2, heads=2, hidden=24, context=64, tied=tied).build(
        tokenizer.vocab_size + padding, seed=seed
    )
    with torch.no_grad():  # rows of unequal length, and padding that would show in any mean
        model.embedding.weight.mul_(1 + torch.rand(model.vocab_size, 1, generator=generator(seed, "lengths")))
        model.embedding.weight[tokenizer.vocab_size :] = 1e4
    return System(model, tokenizer, "native")


def pretrained(family="llama", tied=True, padding=8):
    tokenizer = old_tokenizer()
    model = build(family, torch.float32, vocab_size=tokenizer.vocab_size + padding, tie_word_embeddings=tied)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.vocab_size :] = 1e4
    return System(wrap(model), tokenizer, family)


def masked(tied=True):
    """A masked model, whose head has a bias."""
    tokenizer = wordpiece(sentences(OLD), 60)
    config = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        tie_word_embeddings=tied,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertForMaskedLM(config).eval()
        with torch.no_grad():
            model.cls.predictions.bias.normal_()
    return System(wrap(model), tokenizer, "bert")


def systems():
    """Every sort of model, with a tokenizer to be moved to."""
    return {
        "native": (native, new_tokenizer),
        "native untied": (lambda: native(tied=False), new_tokenizer),
        "llama": (pretrained, new_tokenizer),
        "llama untied": (lambda: pretrained(tied=False), new_tokenizer),
        "gemma": (lambda: pretrained("gemma"), new_tokenizer),
        "gpt2": (lambda: pretrained("gpt2"), new_tokenizer),
        "bert": (masked, lambda: wordpiece(sentences(NEW), 70)),
    }


class Plain:
    """A tokenizer of given tokens, by longest match: id = place. A token None is the end token."""

    def __init__(self, tokens, eos=None):
        self.tokens = [b"" if token is None else token.encode() for token in tokens]
        self.vocab_size, self.bos, self.eos, self.pad, self.opening = len(tokens), None, eos, None, ()

    def encode(self, text):
        data, ids = text.encode(), []
        while data:
            fits = [id for id, token in enumerate(self.tokens) if token and data.startswith(token)]
            id = max(fits, key=lambda id: len(self.tokens[id]), default=None)
            ids += [] if id is None else [id]  # what cannot be spelt is passed over
            data = data[1 if id is None else len(self.tokens[id]) :]
        return ids

    def decode(self, ids):
        return b"".join(self.tokens[id] for id in ids).decode(errors="replace")

    def bytes_of(self, id):
        return self.tokens[id]


class Permuted:
    """A tokenizer whose ids are other ones: id = order[old id]."""

    def __init__(self, inner, order):
        self.order, self.back = order, {new: old for old, new in enumerate(order)}
        self.other, self.vocab_size, self.opening = inner, inner.vocab_size, ()
        for role in ("bos", "eos", "pad"):
            old = getattr(inner, role)
            setattr(self, role, None if old is None else order[old])
        for role in ("unk", "cls", "sep", "mask"):
            old = getattr(getattr(inner, "inner", None), f"{role}_token_id", None)
            setattr(self, role, None if old is None else order[old])

    def encode(self, text):
        return [self.order[id] for id in self.other.encode(text)]

    def decode(self, ids):
        return self.other.decode([self.back[id] for id in ids])

    def bytes_of(self, id):
        return self.other.bytes_of(self.back[id])


def small(tokens, eos=None, tied=True, width=8, seed=0):
    """A native model over given tokens."""
    tokenizer = Plain(tokens, eos)
    model = Llama(width=width, depth=1, heads=2, hidden=8, context=32, tied=tied).build(len(tokens), seed=seed)
    with torch.no_grad():
        for parameter in {model.embedding.weight, model.head.weight}:
            parameter.mul_(50)
    return System(model, tokenizer, "small")
