"""``trivium vocabulary``."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape
from tyro.conf import Positional, arg, subcommand

from trivium.cli._print import console, print_json, table
from trivium.compare.contender import build
from trivium.core import files
from trivium.core.languages import Languages
from trivium.core.protocols import Tokenizer
from trivium.core.seeds import generator
from trivium.data.named import named
from trivium.data.word_vectors import read_dictionary, read_vectors
from trivium.models.sources import load, resolve, store
from trivium.tokenization.expanding import expanded
from trivium.tokenization.files import restore
from trivium.tokenization.huggingface import HuggingFaceTokenizer
from trivium.tokenization.measures import frequent_cut_words, gini, measure
from trivium.tokenization.training import TokenizerRecipe

CARD = "vocabulary.json"


@dataclass(frozen=True)
class Train:
    """Train a tokenizer on texts and save it as transformers does.

    Example: trivium vocabulary train runs/tokenizer --corpus stories --vocab-size 1000
    """

    folder: Positional[Path]
    """Where the tokenizer goes."""
    corpus: tuple[str, ...] = ("stories",)
    """What to train on: stories, python_docs, python_code, text files or folders."""
    recipe: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    """How it is made."""

    def run(self) -> int:
        texts = [text for name in self.corpus for text in named(name)["train"]]
        made: Any = self.recipe.train(texts)
        made.save(self.folder)
        console().print(escape(f"{made.vocab_size} tokens in {self.folder}"), style="bold")
        return 0


@dataclass(frozen=True)
class Measure:
    """Set tokenizers beside each other on texts: how many tokens each language costs.

    Example: trivium vocabulary measure tiny smollm2-135m --corpus stories --corpus python_docs

    Words are Unicode's; special tokens are not counted.
    """

    tokenizers: Positional[tuple[str, ...]]
    """Folders of tokenizers, or models as other commands take them."""
    corpus: tuple[str, ...] = ("stories",)
    """A corpus per language: stories, python_docs, python_code, text files or folders."""
    documents: int = 200
    """Held-out documents of each."""
    json: Annotated[bool, arg(name="json")] = False
    """Print the outcome as JSON."""

    def run(self) -> int:
        texts = {name: named(name)["test"][: self.documents] for name in self.corpus}
        found = {name: {of: measure(_tokenizer(name), some) for of, some in texts.items()} for name in self.tokenizers}
        shares = {name: gini([one.tokens_per_character for one in each.values()]) for name, each in found.items()}
        if self.json:
            print_json({name: {of: asdict(one) for of, one in each.items()} for name, each in found.items()})
            return 0
        rows = table("tokenizer", "text", "tokens/word", "cut words", "bytes/token", "unknown", "byte pieces")
        for name, each in found.items():
            for of, one in each.items():
                rows.add_row(
                    name,
                    of,
                    _figure(one.fertility, "{:.2f}"),
                    _figure(one.continued, "{:.1%}"),
                    f"{one.bytes_per_token:.2f}",
                    f"{one.unknown_rate:.1%}",
                    f"{one.fallback_share:.1%}",
                )
        console().print(rows)
        if len(texts) > 1:
            for name, value in shares.items():
                console().print(escape(f"{name}: Gini of tokens per character over the texts {value:.3f}"))
        return 0


@dataclass(frozen=True)
class Expand:
    """Add the most frequent words that a tokenizer cuts, so that all other text is cut as before.

    Example: trivium vocabulary expand runs/tokenizer runs/expanded --corpus python_docs --count 100
    """

    tokenizer: Positional[str]
    """A folder, or a model as other commands take it."""
    folder: Positional[Path]
    """Where the new tokenizer goes."""
    corpus: tuple[str, ...] = ("stories",)
    """Texts that the words are taken from."""
    count: int = 500
    """Words at most."""

    def run(self) -> int:
        old = _tokenizer(self.tokenizer)
        if not isinstance(old, HuggingFaceTokenizer):
            raise ValueError(f"{self.tokenizer} has a tokenizer of bytes or with a transform, which takes no words")
        texts = [text for name in self.corpus for text in named(name)["train"]]
        words = [word for word in frequent_cut_words(old, texts, self.count) if word.isalpha()]
        made = expanded(old, words)
        made.save(self.folder)
        console().print(escape(f"{len(words)} words more, {made.vocab_size} tokens in {self.folder}"), style="bold")
        return 0


@dataclass(frozen=True)
class Transplant:
    """Give a model the vocabulary of another tokenizer, the rows of new tokens made by an initialiser.

    Example: trivium vocabulary transplant runs/moved --model tiny --tokenizer runs/tokenizer --method subword_mean

    trivium list vocabulary names the initialisers; some read texts, word vectors or a dictionary. Then train further:
    without that, new tokens are hardly used.
    """

    folder: Positional[Path]
    """Where the model and vocabulary.json, the report, go. A folder that holds a model already is left alone."""
    tokenizer: str = ""
    """The folder of the new tokenizer, or a model that has it."""
    model: str = "smollm2-135m"
    """The model: a folder, a known name or a hub identifier."""
    method: str = "subword_mean"
    """The initialiser, written like a call: focus(min_count=5)."""
    new: tuple[str, ...] = ()
    """Texts of the new language: files, folders or known names."""
    old: tuple[str, ...] = ()
    """Texts of the model's language."""
    new_vectors: Path | None = None
    """Word vectors of the new language (or of all), as word2vec writes them in text."""
    old_vectors: Path | None = None
    """Word vectors of the model's language."""
    dictionary: Path | None = None
    """Two columns: a word of the model's language, the same in the new one."""
    seed: int = 0

    def run(self) -> int:
        if not self.tokenizer:
            raise ValueError("say which vocabulary the model is to have: --tokenizer FOLDER")
        if self.folder.exists():
            raise ValueError(f"{self.folder} exists; choose another folder")
        method, system = build("vocabulary", self.method), load(self.model)
        texts = lambda names: [text for name in names for text in named(name)["train"]]  # noqa: E731
        at_hand = Languages(
            texts(self.new),
            texts(self.old),
            None if self.new_vectors is None else read_vectors(self.new_vectors),
            None if self.old_vectors is None else read_vectors(self.old_vectors),
            () if self.dictionary is None else read_dictionary(self.dictionary),
        )
        made = method.transplant(
            system, _tokenizer(self.tokenizer), at_hand, generator=generator(self.seed, "vocabulary")
        )
        part = self.folder.with_name(f".{self.folder.name}.part")  # whole under its name, or not at all
        store(made.system, part)
        card = {"model": self.model, "sha256": system.fingerprint, "config": self.method, **asdict(made.report)}
        files.write(part / CARD, _json(card))
        part.rename(self.folder)
        report, out = made.report, console()
        rows = table("tokens", "")
        for name, value in (
            ("in the new vocabulary", report.tokens),
            ("kept their rows", report.copied),
            ("given new rows", report.new),
            ("of these by a fallback", len(report.uncovered)),
            ("new rows of unusual length", report.outside),
            ("parameters before", report.parameters[0]),
            ("parameters after", report.parameters[1]),
        ):
            rows.add_row(name, str(value))
        out.print(rows)
        out.print(escape(f"model: {self.folder}"), style="bold")
        return 0


def _tokenizer(name: str) -> Tokenizer:
    """Of a folder, or of a model by name. A folder without a model will do."""
    folder = Path(name).expanduser()
    return restore(folder if folder.is_dir() else resolve(name))


def _figure(value: float | None, form: str) -> str:
    return "no words" if value is None else form.format(value)


def _json(card: dict[str, Any]) -> str:
    return json.dumps(card, indent=1) + "\n"


@dataclass(frozen=True)
class Command:
    """Train, measure and expand tokenizers, and move a model to another vocabulary.

    Example: trivium vocabulary train runs/tokenizer --corpus stories
    """

    do: (
        Annotated[Train, subcommand("train", prefix_name=False)]
        | Annotated[Measure, subcommand("measure", prefix_name=False)]
        | Annotated[Expand, subcommand("expand", prefix_name=False)]
        | Annotated[Transplant, subcommand("transplant", prefix_name=False)]
    )

    def run(self) -> int:
        return self.do.run()
