"""Two languages that differ in their words alone: stories, and the same with every word replaced by another.

Word vectors of the one are then those of the other, and a dictionary is complete. A model of the first is given a
vocabulary for both, by several methods, and trained on the second: per seed all begin with the same model, see the same
batches and make as many steps.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from trivium.architectures.llama import Llama
from trivium.compare.claim import ClaimResult, judge
from trivium.core.languages import Languages, WordVectors
from trivium.core.progress import Bar
from trivium.core.seeds import derive, generator
from trivium.data.corpus import Corpus
from trivium.data.stories import stories
from trivium.data.word_vectors import train_vectors
from trivium.decoding.greedy import Greedy
from trivium.models.system import System
from trivium.tokenization.training import TokenizerRecipe
from trivium.training.adapting import adapt
from trivium.training.settings import TrainingSettings
from trivium.vocabulary._frame import Initialiser
from trivium.vocabulary.random import Random

SEEDS, STEPS, FURTHER, ROWS, LENGTH = 5, 500, 200, 16, 64
DOCUMENTS, PIECES = 600, 700
PROMPTS, NEW = 24, 16
WORDS = re.compile(r"[A-Za-z]+")
SOUNDS = ("ba", "ko", "ri", "mu", "te", "sho", "lan", "vi", "dru", "pe", "zo", "gal", "ni", "fe", "hu", "jas")


@dataclass(frozen=True)
class Pair:
    """A model of the old language, a tokenizer for both, and what is at hand of both."""

    system: System
    tokenizer: Any
    languages: Languages
    old: Corpus
    new: Corpus


def translate(text: str, seed: int) -> str:
    """Every word replaced by one made of sounds, always the same one; capitals stay."""

    def other(match: re.Match[str]) -> str:
        word = foreign(match[0].lower(), seed)
        return word.capitalize() if match[0][0].isupper() else word

    return WORDS.sub(other, text)


def foreign(word: str, seed: int) -> str:
    number = derive(seed, "cipher", word)
    return "".join(SOUNDS[number // 16**at % 16] for at in range(4))


def prepare(seed: int) -> Pair:
    """The model is trained here, on the old language."""
    old = stories(DOCUMENTS, seed=seed)
    new = Corpus("cipher", {split: [translate(text, seed) for text in old[split]] for split in old.splits})
    first = TokenizerRecipe(vocab_size=PIECES).train(old["train"])
    both = TokenizerRecipe(vocab_size=2 * PIECES).train([*old["train"], *new["train"]])
    model = Llama(width=64, depth=2, heads=4, context=256).build(first.vocab_size, seed=seed)
    system = System(model, first, "old language")
    adapt(system, old, settings=TrainingSettings(steps=STEPS, learning_rate=3e-3, seed=seed), length=LENGTH)
    sentences = [WORDS.findall(text.lower()) for text in old["train"]]
    words = train_vectors(sentences, width=50, epochs=5, min_count=3, generator=generator(seed, "vectors"))
    names = [foreign(word, seed) for word in words.words]
    own = [at for at, name in enumerate(names) if name not in names[:at]]
    others = WordVectors(tuple(names[at] for at in own), words.vectors[own])
    pairs = tuple(zip((words.words[at] for at in own), others.words, strict=True))
    return Pair(system, both, Languages(new["train"], old["train"], others, words, pairs), old, new)


def turned(pair: Pair, seed: int) -> Languages:
    """The new word vectors in a space of their own, as vectors of two languages that were trained apart."""
    vectors = pair.languages.new_words
    assert vectors is not None
    noise = torch.randn(vectors.width, vectors.width, generator=generator(seed, "turn"))
    rotation = torch.linalg.qr(noise).Q.to(vectors.vectors.dtype)
    return replace(pair.languages, new_words=WordVectors(vectors.words, vectors.vectors @ rotation))


def both_words(pair: Pair) -> Languages:
    """Vectors of all words in one space."""
    old, new = pair.languages.old_words, pair.languages.new_words
    assert old is not None
    assert new is not None
    fresh = [at for at, word in enumerate(new.words) if word not in old.places]
    words = WordVectors((*old.words, *(new.words[at] for at in fresh)), torch.cat((old.vectors, new.vectors[fresh])))
    return replace(pair.languages, new_words=words, old_words=None)


def further(pair: Pair, method: Initialiser, seed: int, languages: Languages | None = None) -> dict[str, float]:
    """Bits per byte at once and after the training on the new language, and what the old one lost."""
    at_hand = pair.languages if languages is None else languages
    made = method(pair.system, pair.tokenizer, at_hand, generator=generator(seed, "rows"))
    settings = TrainingSettings(steps=FURTHER, learning_rate=1e-3, seed=seed)
    got = adapt(made, pair.new, pair.old, settings=settings, length=LENGTH, batch_size=ROWS)
    return {
        "at_once": got.before["new"],
        "after": got.after["new"],
        "forgot": got.forgot or 0.0,
        "parameters": float(sum(part.numel() for part in made.model.parameters())),
    }


def changed(pair: Pair, method: Initialiser, seed: int) -> float:
    """Share of the tokens of greedy texts in the old language that change by new rows alone.

    The tokenizer is one that keeps the old ids: the old ones first, then those that only the new one has.
    """
    extended = Appended(pair.system.tokenizer, pair.tokenizer)
    made = method(pair.system, extended, pair.languages, generator=generator(seed, "rows"))
    differ = count = 0
    for text in pair.old["test"][:PROMPTS]:
        ids = pair.system.prompt(text)[:, :24]
        one, two = (
            Greedy()(each.model, ids, limit=NEW, generator=generator(seed, "greedy")).ids
            for each in (pair.system, made)
        )
        differ += int((one != two).sum())
        count += one.numel()
    return differ / count


def greedy_kept(bar: Bar, name: str, method: Initialiser, more_than: float) -> ClaimResult:
    """Of how many greedy tokens random rows change beside rows of the method, in the hull of the old ones, which must
    change none. Per seed both are given to the same model."""
    bar.total = SEEDS
    found: dict[str, Any] = {"random": [], name: []}
    for seed in range(SEEDS):
        pair = prepare(seed)
        found["random"].append(changed(pair, Random(), seed))
        found[name].append(changed(pair, method, seed))
        bar.advance(note=f"seed {seed}")
    gains = [other - own for other, own in zip(found["random"], found[name], strict=True)]
    kept = f"{name} changes none" if not any(found[name]) else f"{name} CHANGES SOME, which no row of the hull may"
    return judge(gains, more_than=more_than, note=f"Share of the tokens of greedy texts that change; {kept}.", **found)


class Appended:
    """The old tokenizer's ids, and behind them ids for the tokens that only the other has. It cuts old text as the old
    one does, and other text as the new one."""

    def __init__(self, old: Any, new: Any) -> None:
        self.old, self.new = old, new
        known = {old.bytes_of(id): id for id in reversed(range(old.vocab_size))}
        self.fresh = [id for id in range(new.vocab_size) if new.bytes_of(id) and new.bytes_of(id) not in known]
        self.ids = {id: old.vocab_size + at for at, id in enumerate(self.fresh)}
        self.ids |= {id: known[data] for id in range(new.vocab_size) if (data := new.bytes_of(id)) in known and data}
        self.vocab_size = old.vocab_size + len(self.fresh)
        self.bos, self.eos, self.pad, self.opening = old.bos, old.eos, old.pad, ()

    def encode(self, text: str) -> list[int]:
        return [self.ids[id] for id in self.new.encode(text) if id in self.ids]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self.bytes_of, ids)).decode(errors="replace")

    def bytes_of(self, id: int) -> bytes:
        at = id - self.old.vocab_size
        return self.new.bytes_of(self.fresh[at]) if at >= 0 else self.old.bytes_of(id)


def arms(bar: Bar, methods: Mapping[str, Initialiser], languages: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Each method over the seeds: ``NAME`` is bits per byte after training, ``NAME_at_once`` before, and so on.
    ``languages``: name -> (pair, seed) -> what is at hand."""
    found: dict[str, Any] = {}
    bar.total = SEEDS * (len(methods) + 2)
    for seed in range(SEEDS):
        pair = prepare(seed)
        bar.advance(2, note=f"seed {seed}, the old language")
        for name, method in methods.items():
            hand = (languages or {}).get(name)
            figures = further(pair, method, seed, None if hand is None else hand(pair, seed))
            for what, value in figures.items():
                found.setdefault(name if what == "after" else f"{name}_{what}", []).append(value)
            bar.advance(note=f"seed {seed}, {name}")
    return found
