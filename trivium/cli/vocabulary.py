"""``trivium vocabulary``."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape
from tyro.conf import Positional, arg, subcommand

from trivium.cli._print import console, print_json, table
from trivium.compare.contender import build
from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.languages import Languages
from trivium.core.progress import progress
from trivium.core.protocols import Tokenizer
from trivium.core.seeds import generator
from trivium.data.named import named
from trivium.data.word_vectors import read_dictionary, read_vectors
from trivium.models.sources import load, resolve
from trivium.tokenization.expanding import expanded
from trivium.tokenization.files import restore
from trivium.tokenization.huggingface import HuggingFaceTokenizer
from trivium.tokenization.measures import frequent_cut_words, gini, measure
from trivium.tokenization.training import TokenizerRecipe
from trivium.training.bakeoff import FILE as BAKEOFF
from trivium.training.bakeoff import Equal, Row, TokenizerBakeoff, mgpt
from trivium.training.settings import TrainingSettings
from trivium.vocabulary._streamed import stored, streamed


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
    stream: bool = False
    """Hold only embedding and head in memory and copy the rest from file to file: for models larger than memory."""
    seed: int = 0

    def run(self) -> int:
        if not self.tokenizer:
            raise ValueError("say which vocabulary the model is to have: --tokenizer FOLDER")
        if self.folder.exists():
            raise ValueError(f"{self.folder} exists; choose another folder")
        method, draws = build("vocabulary", self.method), generator(self.seed, "vocabulary")
        texts = lambda names: [text for name in names for text in named(name)["train"]]  # noqa: E731
        at_hand = Languages(
            texts(self.new),
            texts(self.old),
            None if self.new_vectors is None else read_vectors(self.new_vectors),
            None if self.old_vectors is None else read_vectors(self.old_vectors),
            () if self.dictionary is None else read_dictionary(self.dictionary),
        )
        target = _tokenizer(self.tokenizer)
        if self.stream:
            report = streamed(method, resolve(self.model), self.folder, target, at_hand, generator=draws)
        else:
            system = load(self.model)
            made = method.transplant(system, target, at_hand, generator=draws)
            facts = {"model": self.model, "sha256": system.fingerprint, "config": self.method}
            stored(made, self.folder, facts)
            report = made.report
        out = console()
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


@dataclass(frozen=True)
class Bakeoff:
    """Choose how to cut text by training: a small model for each way, equal but for its vocabulary.

    Example: trivium vocabulary bakeoff runs/bakeoff --corpus fr.conllu no.conllu es.conllu --amount 2e6

    The ways are those of mGPT: default (BPE over bytes), case (capitals as markers), arithmetic (digits one by one),
    combined, and char. The one with the fewest bits per byte, as a mean over languages and seeds, is chosen. Run the
    same command again to go on with a run that was interrupted.
    """

    folder: Positional[Path]
    """Where trainings and bakeoff.json go."""
    corpus: tuple[str, ...] = ("stories", "python_docs")
    """A corpus per language: stories, python_docs, python_code, text files, treebanks or folders."""
    candidates: tuple[str, ...] = ("default", "case", "arithmetic", "combined", "char")
    """Which ways are tried."""
    vocab_size: int = 2000
    """Tokens of each candidate."""
    equal: Equal = "bytes"
    """What all get as much of: bytes of text read, or floating-point operations (flops)."""
    amount: float = 2e6
    """How much of it."""
    seeds: int = 3
    parallel: tuple[Path, ...] = ()
    """Per corpus, in order, a file of the same sentences, one a line, for parity with the first."""
    architecture: str = "llama"
    """The small model, written like a call."""
    learning_rate: float = 3e-3
    length: int = 128
    """Tokens in a row."""
    batch_size: int = 16
    documents: int = 48
    """Held-out texts of each language."""

    def run(self) -> int:
        ways = mgpt(self.vocab_size)
        for name in self.candidates:
            if name not in ways:
                raise UnknownName(f"no candidate is called {name!r}{did_you_mean(name, ways)}")
        corpora = {Path(name).stem: named(name) for name in self.corpus}
        if len(corpora) < len(self.corpus):
            raise ValueError(f"two corpora have one name: {', '.join(self.corpus)}; rename a file")
        if self.parallel and len(self.parallel) != len(corpora):
            raise ValueError(f"{len(corpora)} corpora need as many parallel files, got {len(self.parallel)}")
        lines = [path.read_text(encoding="utf-8").splitlines() for path in self.parallel]
        contest = TokenizerBakeoff(
            {name: ways[name] for name in self.candidates},
            build("architectures", self.architecture),
            self.equal,
            self.amount,
            TrainingSettings(learning_rate=self.learning_rate, checkpoint_every=50),
            self.length,
            self.batch_size,
            self.documents,
        )
        with progress("tokenizers", 1.0) as bar:
            parallel = dict(zip(corpora, lines, strict=False))
            found = contest.run(corpora, seeds=self.seeds, folder=self.folder, parallel=parallel, bar=bar)
        rows = table("candidate", "bits/byte", "least to most", "token perplexity", "bytes/token", "Gini", "steps")
        shown: dict[str, list[Row]] = {}
        for row in found.rows:
            shown.setdefault(row.candidate, []).append(row)
        for name, mean in found.means().items():
            each, first = [row.mean for row in shown[name]], shown[name][0]
            over = lambda values: sum(values) / len(values)  # noqa: E731
            rows.add_row(
                name,
                f"{mean:.3f}",
                f"{min(each):.3f} to {max(each):.3f}",
                f"{over(list(first.token_perplexity.values())):.1f}",
                f"{over(list(first.bytes_per_token.values())):.2f}",
                f"{first.inequality:.3f}",
                str(first.steps),
            )
        console().print(rows)
        console().print(escape(f"chosen: {found.chosen} ({self.folder / BAKEOFF})"), style="bold")
        return 0


def _tokenizer(name: str) -> Tokenizer:
    """Of a folder, or of a model by name. A folder without a model will do."""
    folder = Path(name).expanduser()
    return restore(folder if folder.is_dir() else resolve(name))


def _figure(value: float | None, form: str) -> str:
    return "no words" if value is None else form.format(value)


@dataclass(frozen=True)
class Command:
    """Train, measure, choose and expand tokenizers, and move a model to another vocabulary.

    Example: trivium vocabulary train runs/tokenizer --corpus stories
    """

    do: (
        Annotated[Train, subcommand("train", prefix_name=False)]
        | Annotated[Measure, subcommand("measure", prefix_name=False)]
        | Annotated[Expand, subcommand("expand", prefix_name=False)]
        | Annotated[Transplant, subcommand("transplant", prefix_name=False)]
        | Annotated[Bakeoff, subcommand("bakeoff", prefix_name=False)]
    )

    def run(self) -> int:
        return self.do.run()
