"""Keyphrases: a model lists the phrases that say what a text is about, and the list is scored against the authors'.

Source
    Wu, Ahmad, Chang 2022, "Pre-trained Language Models for Keyphrase Generation: A Thorough Empirical Study",
    arXiv:2212.10233, with the rules of their code (DeepKPG) for F1 and stems. alpha-nDCG: Clarke et al. 2008, "Novelty
    and Diversity in Information Retrieval Evaluation".
Equation
    of the first k phrases, h of which are among the g gold ones:   P = h / k   R = h / g   F1 = 2 P R / (P + R)
    k = 5, 10;   M: all;   O: g;   G: max(g, all).   The older rule divides P by min(k, all).
    MAP, nDCG, alpha-nDCG: see data.ranked
Shapes
    System and one document -> an Observation with the scores of present and of absent phrases
Cost
    One list written per document; nothing for the baselines.
Caveats
    Words are lower-cased and stemmed alike in text, gold and list; two phrases match where all stems do, so that a
    synonym is wrong. Gold and list are each split by whether a phrase stands in the text, and a present phrase competes
    with present ones only. A document without gold phrases of a sort is left out there, as most papers do; measures
    that end in "with empty" count it as 0, as some do. Means are over documents (macro). Duplicates and phrases without
    a word are dropped before all but alpha-nDCG, and counted. A list is cut at its separators: a phrase that holds a
    comma falls apart. The built-in documents are short and their phrases are ours: no number is the paper's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.seeds import numpy_generator
from trivium.data import keyphrases, ranked, splits
from trivium.data.keyphrases import Document, Listed, Stems
from trivium.evaluation._together import absent, together
from trivium.models.writing import Prompt, write

By = Literal["model", "tfidf", "random"]
CUTS: Mapping[str, int | ranked.Cut] = {"5": 5, "10": 10, "m": "M", "o": "O", "g": "G"}


def _measures(sort: str) -> tuple[Measure, ...]:
    of = f"{sort}: "
    return (
        *(Measure(f"{sort}_f1_{name}", f"{of}F1@{cut}") for name, cut in CUTS.items()),
        *(Measure(f"{sort}_f1_{name}_older", f"{of}F1@{name.upper()}, older rule") for name in ("5", "10", "o")),
        Measure(f"{sort}_precision", f"{of}precision"),
        Measure(f"{sort}_recall", f"{of}recall"),
        Measure(f"{sort}_map", f"{of}average precision"),
        Measure(f"{sort}_ndcg", f"{of}nDCG"),
        Measure(f"{sort}_alpha_ndcg", f"{of}alpha-nDCG"),
        *(Measure(f"{sort}_f1_{name}_all", f"{of}F1@{CUTS[name]}, with empty") for name in ("5", "m")),
    )


@method(title="Keyphrases", source="arXiv:2212.10233", year=2022, needs=["causal", "state"])
@dataclass(frozen=True)
class Keyphrases:
    """Documents, the phrases that their authors gave them, and those that are found."""

    path: str = ""
    """A file of documents as JSON lines; by default short reports of our own."""
    items: int | None = None
    """Documents from the file's beginning; half as many behind them are for validation. None takes all."""
    by: By = "model"
    """Who makes the lists: the model, TF-IDF over the documents of the split, or a lot."""
    shots: int = 0
    """Documents with their phrases that the model is shown first, from the other split."""
    most: int = 10
    """Phrases that a baseline lists."""
    alpha: float = 0.5
    """What a phrase is worth less, in alpha-nDCG, for each time it was said before."""
    limit: int = 64
    """Tokens to write at most."""
    batch_size: int = 8
    """Documents per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        *_measures("present"),
        *_measures("absent"),
        Measure("phrases", "Different phrases listed", None),
        Measure("duplicates", "Duplicates listed", False),
        Measure("invalid", "Phrases without a word", False),
        Measure("no_gold", "Documents without gold phrases", None, binary=True),
    )

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise ValueError(f"by must be one of {', '.join(get_args(By))}; got {self.by!r}")
        for name, least in (("items", 1), ("shots", 0), ("most", 1), ("limit", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha is the worth that a repetition loses, so 0 to 1; got {self.alpha}")

    def documents(self, split: str) -> Sequence[Document]:
        splits.check(split)
        if not self.path:
            return keyphrases.made(split)[: self.items]
        return splits.part(self._read, self.items, split)

    @cached_property
    def _read(self) -> tuple[Document, ...]:
        return keyphrases.read(self.path)

    def examples(self, split: str) -> list[Example]:
        return [
            Example(one.id, one.text, cluster=one.id, fields={"split": split, "number": number})
            for number, one in enumerate(self.documents(split))
        ]

    def prompt(self, document: Document, split: str) -> str:
        """The text of a document, after others with their phrases."""
        others = self.documents("validation" if split == "test" else "test")
        if len(others) < self.shots:
            raise ValueError(
                f"there are {len(others)} documents to show, so not {self.shots}; lower shots or set items"
            )
        order = numpy_generator(0, "shots", document.id).permutation(len(others))[: self.shots]
        shown = [f"Text: {others[at].text}\nKeyphrases: {', '.join(others[at].phrases)}" for at in order]
        return "\n\n".join([*shown, f"Text: {document.text}\nKeyphrases:"])

    def score(self, system: Any, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @together
    def _scored(self, system: Any, split: str) -> list[Observation]:
        documents = self.documents(split)
        if self.by == "model":
            prompts = [Prompt(self.prompt(one, split), until=("\n\n", "Text:"), limit=self.limit) for one in documents]
            lists = [keyphrases.read_list(made.text) for made in write(system, prompts, batch_size=self.batch_size)]
        elif self.by == "tfidf":
            lists = [found[: self.most] for found in keyphrases.tfidf(documents)]
        else:
            lists = [keyphrases.random_runs(one, self.most, numpy_generator(0, "random", one.id)) for one in documents]
        observed = []
        for one, said in zip(documents, lists, strict=True):
            values = scored(one, said, self.alpha)
            why = absent(self.measures, values, "there is no gold phrase of that sort")
            text = f"{', '.join(said)}; gold: {', '.join(one.phrases)}"
            observed.append(Observation(values, {"text": text, "absent": why}))
        return observed


def scored(document: Document, said: Sequence[str], alpha: float = 0.5) -> dict[str, float]:
    """The values of a list of phrases. Of a sort of which there is no gold phrase, only those "with empty"."""
    text, gold, found = keyphrases.stems(document.text), keyphrases.listed(document.phrases), keyphrases.listed(said)
    values = {
        "phrases": float(len(found.kept)),
        "duplicates": float(found.duplicates),
        "invalid": float(found.invalid),
        "no_gold": float(not gold.kept),
    }
    if not gold.kept:
        return values
    sides = zip(("present", "absent"), keyphrases.parted(gold.kept, text), _parts(found, text), strict=True)
    for sort, wanted, (kept, everything) in sides:
        values |= {f"{sort}_{name}": value for name, value in _values(wanted, kept, everything, alpha).items()}
    return values


def _parts(found: Listed, text: Stems) -> list[tuple[list[Stems], list[Stems]]]:
    """Of the present and of the absent phrases: without and with duplicates."""
    return list(zip(keyphrases.parted(found.kept, text), keyphrases.parted(found.everything, text), strict=True))


def _values(gold: list[Stems], kept: list[Stems], everything: list[Stems], alpha: float) -> dict[str, float]:
    right, count = [phrase in gold for phrase in kept], len(gold)
    f1 = {name: ranked.at(right, count, cut)[2] for name, cut in CUTS.items()}
    empty = {"f1_5_all": f1["5"], "f1_m_all": f1["m"]}
    if not gold:
        return empty
    precision, recall, _ = ranked.at(right, count, "M")
    return {
        **{f"f1_{name}": value for name, value in f1.items()},
        **{f"f1_{name}_older": ranked.at(right, count, CUTS[name], fixed=False)[2] for name in ("5", "10", "o")},
        "precision": precision,
        "recall": recall,
        "map": ranked.average_precision(right, count),
        "ndcg": ranked.ndcg(right, count),
        "alpha_ndcg": ranked.alpha_ndcg(everything, gold, alpha),
        **empty,
    }
