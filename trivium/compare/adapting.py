"""What stays fixed while ways to begin new tokens are compared: a model of one language, and how it learns others.

    model of the old language  --(contender)-->  the same with another vocabulary  --(training)-->  the new language

Each contender is put between these for every new language, all of which share its budget equally. What is trained is
scored on held-out text: bits per byte of the new languages, and beside it what the old one lost, measured on the same
texts before and after.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from trivium.compare import contender as text
from trivium.compare.held_out import Adapted, HeldOut
from trivium.compare.training import CHECKPOINTS, EVALUATIONS, SETTINGS, TrainedSystem
from trivium.compare.tuning import untuned
from trivium.core import files
from trivium.core.budget import Budget, Spent
from trivium.core.languages import Languages, WordVectors
from trivium.core.method import find
from trivium.core.progress import Bar
from trivium.core.protocols import Tokenizer
from trivium.core.seeds import generator
from trivium.data.batches import Batches
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.data.packing import tokenised
from trivium.data.word_vectors import aligned_vectors
from trivium.models.likelihood import Likelihood, likelihoods
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.training import TokenizerRecipe
from trivium.training.adapting import Adaptation, adapt
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

WORDS = ("new_words", "old_words")
FIRST = TrainingSettings(steps=400, learning_rate=3e-3)
PIECES = TokenizerRecipe(vocab_size=1000)


@dataclass(frozen=True)
class Adapting:
    """One old language, some new ones, and all but the rows of new tokens.

    Seed s fixes the model of the old language where it is trained here, the draws of new rows and the order of the
    data; contenders differ in the rows that they begin with and nothing else.
    """

    old: Corpus | str = "stories"
    """The language that the model knows: a corpus, its name, or the path of text or of a CoNLL-U treebank."""
    new: tuple[Corpus | str, ...] = ("python_docs", "python_code")
    """The languages that it is to learn, each by itself."""
    origin: str = ""
    """A folder, a known name or a hub identifier; by default a small model is trained on the old language."""
    architecture: Any = field(
        default_factory=lambda: find("architectures", "llama")(),  # noqa: PLW0108
        metadata={"kind": "architectures"},
    )
    """Of the model that is trained here."""
    first: TrainingSettings = FIRST
    """How that one learns the old language; nobody is charged for it."""
    tokenizer: TokenizerRecipe = PIECES
    """Made on the old language for the model that is trained here, and on both for the vocabulary that it is given."""
    settings: TrainingSettings = SETTINGS
    """Of the training on a new language; seed and, with a budget, the number of steps are set by the comparison."""
    length: int = 128
    """Tokens in a row, and of context where models are scored."""
    batch_size: int = 16
    replay: float = 0.0
    """Share of the training tokens that is text of the old language."""
    documents: int = 48
    """Held-out texts of each language that are scored."""
    vectors: int = 50
    """Numbers of a word vector; these are trained on the texts for contenders that read such. 0 for none."""

    def __post_init__(self) -> None:
        if not self.new:
            raise ValueError("new names no language; give at least one corpus")
        for name in ("length", "batch_size", "documents"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.replay < 1:
            raise ValueError(f"replay is the share of old text, so 0 to below 1; got {self.replay}")
        if self.vectors < 0:
            raise ValueError(f"vectors is the width of word vectors, so at least 0; got {self.vectors}")
        if not self.origin and self.first.steps is None:
            raise ValueError("first.steps must say how long the old language is learnt")

    # Languages ------------------------------------------------------------------------------------------------------

    @cached_property
    def known(self) -> Corpus:
        """The old language."""
        return _corpus(self.old)

    @cached_property
    def learnt(self) -> Mapping[str, Corpus]:
        """The new languages by their names; two of one name are told apart by a number."""
        found: dict[str, Corpus] = {}
        for one in map(_corpus, self.new):
            name, at = one.name, 2
            while name in found:
                name, at = f"{one.name}-{at}", at + 1
            found[name] = one
        return found

    @cached_property
    def _tokenizers(self) -> dict[str, Tokenizer]:
        return {}

    def tokenizer_of(self, language: str = "") -> Tokenizer:
        """The one of the model that is trained here, or of a new language together with the old one."""
        if language not in self._tokenizers:
            texts = [*self.known["train"], *(self.learnt[language]["train"] if language else ())]
            self._tokenizers[language] = self.tokenizer.train(texts)
        return self._tokenizers[language]

    def lacks(self, contender: object) -> tuple[str, ...]:
        """What a contender reads of languages that is not at hand here."""
        reads = getattr(untuned(contender)[0], "reads", ())
        return tuple(name for name in reads if name in WORDS) if not self.vectors else ()

    def at_hand(self, language: str, reads: Sequence[str]) -> Languages:
        """Texts of both, and for a contender that reads them word vectors in one space: those of the new language are
        turned onto those of the old one by the words that both spell alike, which are the dictionary."""
        new, old = self.learnt[language]["train"], self.known["train"]
        if not self.vectors or not set(reads) & set(WORDS):
            return Languages(new, old)
        if language not in self._words:
            self._words[language] = aligned_vectors(new, old, self.vectors, generator=generator(0, "words"))
        turned, ours, pairs = self._words[language]
        return Languages(new, old, turned, ours, pairs)

    @cached_property
    def _words(self) -> dict[str, tuple[WordVectors, WordVectors, tuple[tuple[str, str], ...]]]:
        return {}

    # Work -----------------------------------------------------------------------------------------------------------

    def base(self, seed: int, folder: Path) -> System:
        """The model of the old language, always a fresh copy: opened, or trained once in the folder and read again."""
        if self.origin:
            return load(self.origin)
        tokenizer, settings = self.tokenizer_of(), replace(self.first, seed=seed)
        model = self.architecture.build(tokenizer.vocab_size, seed=seed)
        batches = Batches(tokenised(self.known["train"], tokenizer), self.length, self.batch_size, seed)
        with files.locked(folder, wait=True):  # contenders on a cluster want it at once
            result = train(model, find("objectives", "causal")(), batches, settings, folder=folder / "training")
        if result.diverged is not None:
            raise ArithmeticError(f"learning the old language diverged: {result.diverged}; lower first.learning_rate")
        return System(model.eval(), tokenizer, name="old language")

    def train(self, contender: Any, seed: int, budget: Budget, folder: Path, bar: Bar | None = None) -> TrainedSystem:
        """Give the model each new vocabulary and train it on its language, or go on where an earlier call in this
        folder was stopped. The budget is divided equally over the languages."""
        contender, changed = untuned(contender)
        settings = replace(self.settings, seed=seed, **changed)
        settings = replace(
            settings,
            checkpoint_every=settings.checkpoint_every or CHECKPOINTS,
            evaluate_every=settings.evaluate_every or EVALUATIONS,
        )
        share = replace(budget, amount=budget.amount / len(self.learnt))
        whole = 1.0 if bar is None else bar.total
        made: dict[str, tuple[System, Adaptation]] = {}
        figures: dict[str, float] = dict.fromkeys(("seconds_of_rows", "kept", "new", "uncovered", "movement"), 0.0)
        before: dict[str, dict[str, Likelihood]] = {}
        for language, corpus in self.learnt.items():
            system = self.base(seed, folder.parent / f"base-{seed}")
            start = time.perf_counter()
            hand = self.at_hand(language, getattr(contender, "reads", ()))
            draws = generator(seed, "rows", language)
            got = contender.transplant(system, self.tokenizer_of(language), hand, generator=draws)
            figures["seconds_of_rows"] += time.perf_counter() - start
            before[language] = self._likelihoods(system, self.known, "old") | self._likelihoods(
                got.system, corpus, "new"
            )
            adapted = adapt(
                got.system,
                corpus,
                self.known,
                settings=settings,
                length=self.context(got.system),
                batch_size=self.batch_size,
                replay=self.replay,
                folder=folder / language,
                budget=share,
                bar=_Share(whole / len(self.learnt), bar) if bar is not None else None,
            )
            for name, value in (("kept", got.report.copied), ("new", got.report.new)):
                figures[name] += value
            figures["uncovered"] += len(got.report.uncovered)
            figures["movement"] += adapted.movement / len(self.learnt)
            made[language] = got.system, adapted
        spent = sum((adapted.spent for _, adapted in made.values()), Spent())
        models = [system.model for system, _ in made.values()]
        parameters = [parameter for model in models for parameter in model.parameters()]
        figures["steps"] = float(sum(len(adapted.curve) for _, adapted in made.values()))
        return TrainedSystem(
            Adapted({language: system for language, (system, _) in made.items()}, before),
            replace(
                spent,
                parameters=sum(part.numel() for part in parameters) // len(models),
                bytes=sum(part.numel() * part.element_size() for part in parameters) // len(models),
            ),
            _curve([adapted.curve for _, adapted in made.values()]),
            figures,
        )

    def context(self, system: System) -> int:
        """Tokens that a model is trained and scored on at once."""
        most = system.model.max_positions
        return max(self.length if most is None else min(self.length, most), 2)

    def _likelihoods(self, system: System, corpus: Corpus, side: str) -> dict[str, Likelihood]:
        """Of the held-out texts, by split and number; of the two splits that a comparison may score."""
        found = {}
        for split in ("validation", "test"):
            texts = corpus.splits.get(split, ())[: self.documents]
            seen = likelihoods(system.model, texts, system.tokenizer, self.context(system))
            found |= {f"{side}-{split}-{at:05d}": one for at, one in enumerate(seen)}
        return found

    def task(self) -> HeldOut:
        """What trained models are scored on: held-out text of both sides."""
        return HeldOut(self)

    # In words -------------------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What identifies this, in the words of a report."""
        return {
            "name": f"{self.known.name} to {', '.join(self.learnt)}",
            "config": self.text() or f"adapting from {self.known.name}",
            "corpora_sha256": {name: one.sha256 for name, one in {"old": self.known, **self.learnt}.items()},
            "model": self.origin or text.describe(self.architecture),
            "first": None if self.origin else {name: v for name, v in asdict(self.first).items() if name != "keep"},
            "tokenizer": text.describe(self.tokenizer),
            "length": self.length,
            "batch_size": self.batch_size,
            "replay": self.replay,
            "vectors": self.vectors,
            "settings": {name: value for name, value in asdict(self.settings).items() if name != "keep"},
        }

    def text(self) -> str:
        """This as text that ``read`` understands; empty where it holds what text cannot describe."""
        return text.describe(self) if all(isinstance(one, str) for one in (self.old, *self.new)) else ""

    @classmethod
    def read(cls, words: str) -> "Adapting":
        """What such a text describes."""
        return text.construct(cls, text.parse(words))


class _Share(Bar):
    """A bar for one of several trainings that share a bar."""

    def __init__(self, share: float, whole: Bar) -> None:
        super().__init__(1.0)
        self.share, self.whole = share, whole

    def advance(self, amount: float = 1.0, note: str | None = None) -> None:
        self.done += amount
        self.whole.advance(amount * self.share, note)

    def note(self, text: str) -> None:
        self.whole.note(text)

    def say(self, text: str) -> None:
        self.whole.say(text)


def _corpus(one: Corpus | str) -> Corpus:
    return named(one) if isinstance(one, str) else one


def _curve(curves: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The evaluated points of all languages as one curve: costs added up, bits averaged, as far as all have come."""
    each = [[row for row in curve if "evaluation" in row] for curve in curves]
    points = []
    for rows in zip(*each, strict=False):
        mean = lambda values: sum(values) / len(values)  # noqa: E731
        points.append(
            {
                "step": sum(row["step"] + 1 for row in rows),
                "flops": sum(row["flops"] for row in rows),
                "tokens": sum(row["tokens"] for row in rows),
                "seconds": sum(row["seconds"] for row in rows),
                "loss": mean([row["loss"] for row in rows]),
                "bits_per_byte": mean([row["evaluation"]["new"] for row in rows]),
            }
        )
    return points
