"""A tokenizer chosen by training: a small model for each candidate, equal but for its vocabulary, and bits per byte.

Source
    Shliazhko et al. 2022, "mGPT: Few-Shot Learners Go Multilingual", arXiv:2204.07580, the study of tokenization: five
    models of 163M parameters, chosen by perplexity over characters; figures from general knowledge, not checked.
Equation
    per language l:   bits(l) / bytes(l);     chosen: the candidate with the least mean over languages (and seeds)
    perplexity over characters:   2 ^ (bits / characters);   over tokens, which does not compare:  2 ^ (bits / tokens)
Shapes
    texts by language x candidates -> a row of figures per candidate and seed
Cost
    One training per candidate and seed.
Caveats
    "bytes": all models read about the same bytes, so that a tokenizer of many tokens makes more steps; "flops": all
    spend the same operations, so that it reads less. Equal tokens would favour coarse vocabularies and is not offered.
    Models have the same recipe; embeddings differ with the vocabulary. A row holds the same number of tokens for all,
    so that a fine vocabulary sees fewer bytes of context. Candidates are judged on the validation split; the test split
    is left for what is done with the chosen one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import torch

from trivium.core import files
from trivium.core.budget import Budget
from trivium.core.method import find
from trivium.core.progress import Bar
from trivium.core.protocols import Tokenizer
from trivium.data.batches import Batches
from trivium.data.corpus import Corpus
from trivium.data.packing import tokenised
from trivium.models.likelihood import Likelihood, likelihoods
from trivium.tokenization.measures import gini, measure, parity
from trivium.tokenization.training import TokenizerRecipe
from trivium.training.loop import train
from trivium.training.settings import TrainingSettings

Equal = Literal["bytes", "flops"]
FILE = "bakeoff.json"
SETTINGS = TrainingSettings(learning_rate=3e-3)


def mgpt(vocab_size: int = 2000) -> dict[str, TokenizerRecipe]:
    """The five candidates of mGPT, with vocabularies of one size (characters: as many as there are, at most)."""
    return {
        "default": TokenizerRecipe(vocab_size=vocab_size),
        "case": TokenizerRecipe(vocab_size=vocab_size, transform="case"),
        "arithmetic": TokenizerRecipe(vocab_size=vocab_size, transform="arithmetic"),
        "combined": TokenizerRecipe(vocab_size=vocab_size, transform="combined"),
        "char": TokenizerRecipe("char", vocab_size=vocab_size),
    }


@dataclass(frozen=True)
class Row:
    """What came of one candidate with one seed. Mappings are by language."""

    candidate: str
    seed: int
    vocab_size: int
    parameters: int
    """Learned numbers, those of embedding and head left out."""
    steps: int
    bytes_seen: int
    flops: float
    seconds: float
    bits_per_byte: Mapping[str, float]
    bits_per_character: Mapping[str, float]
    token_perplexity: Mapping[str, float]
    """Shown to be distrusted: it does not compare."""
    fertility: Mapping[str, float | None]
    """Tokens per word; None where words have no spaces between them."""
    bytes_per_token: Mapping[str, float]
    parity: Mapping[str, float] = field(default_factory=dict)
    """Tokens over those of the first language, on parallel texts."""

    @property
    def mean(self) -> float:
        """Bits per byte, each language weighing alike."""
        return fmean(self.bits_per_byte.values())

    @property
    def inequality(self) -> float:
        """Gini of the tokens per byte over languages."""
        return gini([1 / each for each in self.bytes_per_token.values()])


@dataclass(frozen=True)
class Outcome:
    """All rows, candidates in the order of the means of bits per byte, the best first."""

    rows: Sequence[Row]

    def means(self, of: Callable[[Row], float] = lambda row: row.mean) -> dict[str, float]:
        """Candidate -> mean over seeds, ascending."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            found.setdefault(row.candidate, []).append(of(row))
        return dict(sorted(((name, fmean(values)) for name, values in found.items()), key=lambda pair: pair[1]))

    @property
    def chosen(self) -> str:
        return next(iter(self.means()))


@dataclass(frozen=True)
class TokenizerBakeoff:
    """Candidates, the model that each is given, and what they may spend."""

    candidates: Mapping[str, TokenizerRecipe] = field(default_factory=mgpt)
    recipe: Any = field(default_factory=lambda: find("architectures", "llama")(), metadata={"kind": "architectures"})  # noqa: PLW0108
    """Of the small model."""
    equal: Equal = "bytes"
    """What all candidates get as much of."""
    amount: float = 2e6
    settings: TrainingSettings = SETTINGS
    """Of the training; the number of steps comes from the amount."""
    length: int = 128
    """Tokens in a row."""
    batch_size: int = 16
    documents: int = 48
    """Held-out texts of each language."""

    def __post_init__(self) -> None:
        if not self.candidates:
            raise ValueError("candidates name no tokenizer; give some, such as mgpt(2000)")
        if self.equal not in get_args(Equal):
            raise ValueError(f"equal must be one of {', '.join(get_args(Equal))}; got {self.equal!r}")
        if not self.amount > 0:
            raise ValueError(f"amount of {self.equal} must be positive, got {self.amount}")
        if self.settings.steps is not None:
            raise ValueError("settings.steps would make token counts equal; leave it None and give an amount")
        for name, least in (("length", 2), ("batch_size", 1), ("documents", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def run(
        self,
        corpora: Mapping[str, Corpus],
        *,
        seeds: int = 3,
        folder: str | Path | None = None,
        parallel: Mapping[str, Sequence[str]] = {},
        bar: Bar | None = None,
    ) -> Outcome:
        """Train and measure all. ``parallel``: per language the same texts, for parity with the first of them.

        With a folder a run that was stopped goes on where it was. Raises ValueError for no language, and for parallel
        texts of another language.
        """
        if not corpora:
            raise ValueError("a bake-off is judged by languages; give at least one corpus")
        if stray := set(parallel) - set(corpora):
            raise ValueError(f"parallel texts of {', '.join(sorted(stray))}, which no corpus is of")
        if seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {seeds}")
        rows = []
        if bar is not None:
            bar.total = len(self.candidates) * seeds
        for name, candidate in self.candidates.items():
            tokenizer = candidate.train(text for corpus in corpora.values() for text in corpus["train"])
            for seed in range(seeds):
                home = None if folder is None else Path(folder) / f"{name}-{seed}"
                rows.append(self._row(name, tokenizer, corpora, parallel, seed, home))
                if bar is not None:
                    bar.advance(note=f"{name}, seed {seed}")
        outcome = Outcome(tuple(rows))
        if folder is not None:
            said = {"chosen": outcome.chosen, "means": outcome.means(), "rows": [asdict(row) for row in rows]}
            files.write(Path(folder) / FILE, json.dumps(said, indent=1) + "\n")
        return outcome

    def _row(
        self,
        name: str,
        tokenizer: Tokenizer,
        corpora: Mapping[str, Corpus],
        parallel: Mapping[str, Sequence[str]],
        seed: int,
        home: Path | None,
    ) -> Row:
        documents = [ids for corpus in corpora.values() for ids in tokenised(corpus["train"], tokenizer)]
        batches = Batches(documents, self.length, self.batch_size, seed)
        model = self.recipe.build(tokenizer.vocab_size, seed=seed)
        ends = {id(part) for end in (model.embedding, model.head) for part in end.parameters()}
        size = sum(part.numel() for part in model.parameters() if id(part) not in ends)
        settings = TrainingSettings(**{**self.settings.__dict__, "seed": seed})
        budget = Budget("flops", self.amount) if self.equal == "flops" else None
        if budget is None:
            settings = TrainingSettings(**{**settings.__dict__, "steps": _steps(batches, tokenizer, self.amount)})
        result = train(model, find("objectives", "causal")(), batches, settings, folder=home, budget=budget)
        if result.diverged is not None:
            raise ArithmeticError(f"the training with {name} diverged: {result.diverged}; lower learning_rate")
        held = {language: corpus["validation"][: self.documents] for language, corpus in corpora.items()}
        most = self.length if model.max_positions is None else min(self.length, model.max_positions)
        found = {
            language: sum(likelihoods(model, texts, tokenizer, most), Likelihood()) for language, texts in held.items()
        }
        characters = {language: sum(map(len, texts)) for language, texts in held.items()}
        measured = {language: measure(tokenizer, texts) for language, texts in held.items()}
        first = next(iter(parallel.values()), ())
        return Row(
            candidate=name,
            seed=seed,
            vocab_size=tokenizer.vocab_size,
            parameters=size,
            steps=result.steps,
            bytes_seen=_seen(batches, tokenizer, result.steps),
            flops=result.spent.flops,
            seconds=result.spent.seconds,
            bits_per_byte={language: one.bits_per_byte for language, one in found.items()},
            bits_per_character={language: one.bits / characters[language] for language, one in found.items()},
            token_perplexity={language: 2 ** (one.bits / one.tokens) for language, one in found.items()},
            fertility={language: one.fertility for language, one in measured.items()},
            bytes_per_token={language: one.bytes_per_token for language, one in measured.items()},
            parity={language: parity(tokenizer, texts, first) for language, texts in parallel.items()},
        )


def _sizes(tokenizer: Tokenizer) -> torch.Tensor:
    """(vocab,) bytes of each token."""
    return torch.tensor([len(tokenizer.bytes_of(id)) for id in range(tokenizer.vocab_size)])


def _seen(batches: Batches, tokenizer: Tokenizer, steps: int) -> int:
    """Bytes of text in so many batches."""
    sizes = _sizes(tokenizer)
    return sum(int(sizes[batches.batch(step).ids].sum()) for step in range(steps))


def _steps(batches: Batches, tokenizer: Tokenizer, amount: float) -> int:
    """As many batches as come nearest to so many bytes, at least one."""
    sizes, seen, step, last = _sizes(tokenizer), 0, 0, 0
    if not int(sizes[batches.packed.ids].sum()):
        raise ValueError("the texts hold no bytes to learn from")
    while seen < amount:
        last = int(sizes[batches.batch(step).ids].sum())
        seen, step = seen + last, step + 1
    return step - 1 if step > 1 and seen - amount > last / 2 else step
