"""Linguistically-diverse prompts: pairs of many languages with their English teach "any language to English".

Source
    Nguyen, Aljunied, Joty and Bing 2024, "Democratizing LLMs for Low-Resource Languages by Leveraging their English
    Dominant Abilities with Linguistically-Diverse Prompts", arXiv:2306.11372, section 3.
Equation
    1.  e_i = English of z_i, a sentence of the high-resource language Z_i   (translated once, or given)
    2.  X to English:  "[z_1] -> [e_1] .. [z_m] -> [e_m] [x] -> ["   with no language named, none of Z_i being X
    3.  English to X:  "[e_1] -> [x_1] .. [e] -> ["   from pairs that step 2 made of unlabelled x_j, filtered
Shapes
    a task and a system -> the task, behind pairs of diverse languages; texts -> texts in either direction
Cost
    Nothing to find where pairs are given, one text per pair where they are written; the pairs lengthen every prompt.
Caveats
    As a prompting method the pairs stand before the task's own questions, such as which of some glosses is likeliest;
    ``to_english`` and ``from_english`` are the paper's two directions. Its filters and template are not published in
    detail: here pairs are dropped whose lengths differ too much, that copy, or that are in the wrong language by a
    small profile of trigrams. The tested language is told from the questions unless it is named, and a wrong guess
    would leave it among the exemplars. References are never read. Shown by likelihood at 135 M parameters; a model of
    this size does not translate.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from trivium.core import files
from trivium.core.method import method
from trivium.core.nouns import Example
from trivium.core.prompt import Question
from trivium.core.protocols import PromptTask
from trivium.core.provenance import provenance
from trivium.data.diverse import ENGLISH, NAMES, TRANSLATED, check_language, language_of
from trivium.models.system import System
from trivium.models.writing import Prompt, write
from trivium.prompting._steps import Changed

log = logging.getLogger(__name__)

FILTERS = ("empty", "length", "copy", "language")


@dataclass(frozen=True)
class Pair:
    """A text and what it says in another language."""

    source: str
    target: str


@dataclass(frozen=True)
class Pairs:
    """What a stage made: pairs that passed, and how many each filter dropped."""

    kept: tuple[Pair, ...]
    dropped: dict[str, int] = field(default_factory=dict)


@method(title="Linguistically-diverse prompts", source="arXiv:2306.11372", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class Ldp:
    """One pair of each of several languages, in a neutral form."""

    languages: tuple[str, ...] = ("fr", "de", "ru", "zh", "el")
    """Of which the exemplars are; that of the questions is left out."""
    pairs: int = 4
    """Languages whose pair is shown; 1 is ordinary cross-lingual prompting."""
    language: str = ""
    """Of the questions; by default it is told from them."""
    english: Literal["given", "written"] = "given"
    """The English of the exemplars is our own, or what the system makes of them."""
    ratio: float = 2.5
    """A pair is dropped where one side has more than this many times the bytes of the other; scripts differ less in
    bytes than in characters."""
    limit: int = 64
    """New tokens of a translation."""
    cache: str = ""
    """A folder that keeps what each stage wrote, with its provenance; none by default."""

    def __post_init__(self) -> None:
        for code in (*self.languages, *([self.language] if self.language else [])):
            check_language(code)
        if "en" in self.languages or len(set(self.languages)) < len(self.languages):
            raise ValueError(f"languages must differ from each other and from English, got {list(self.languages)}")
        if self.english not in ("given", "written"):
            raise ValueError(f"english must be 'given' or 'written', got {self.english!r}")
        for name, least in (("pairs", 1), ("limit", 1), ("ratio", 1.0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def __call__(self, task: PromptTask, system: System, *, generator: torch.Generator) -> Changed:
        seen = [task.ask(example).text for example in task.examples("validation")]
        if not seen and not self.language:
            raise ValueError("the task has no validation items to tell their language from; name the language")
        language = self.language or language_of(" ".join(seen))
        before = shown(self.diverse(system, language, generator=generator))

        def ask(example: Example) -> Question:
            question = task.ask(example)
            return replace(question, segments=(before, *question.segments))

        return Changed(task, asks=ask)

    # Stages -----------------------------------------------------------------------------------------------------------

    def diverse(self, system: System, language: str, *, generator: torch.Generator) -> tuple[Pair, ...]:
        """Stage 1: a pair of each of some languages, none of them the one named. Raises ValueError where too few are
        left, or all pairs were dropped."""
        others = [code for code in self.languages if code != check_language(language)]
        if len(others) < self.pairs:
            raise ValueError(
                f"{self.pairs} pairs of languages other than {language} are wanted, there are {len(others)} of "
                f"{', '.join(others)}; name more languages or take fewer pairs"
            )
        chosen = others[: self.pairs]
        places = torch.randperm(len(ENGLISH), generator=generator).tolist()
        sources = [TRANSLATED[code][places[at % len(places)]] for at, code in enumerate(chosen)]
        if self.english == "given":
            english = [ENGLISH[places[at % len(places)]] for at in range(len(chosen))]
            return tuple(Pair(one, other) for one, other in zip(sources, english, strict=True))
        asked = [f"{NAMES[code]}: {text}\nEnglish:" for code, text in zip(chosen, sources, strict=True)]
        made = self._written(system, "1", asked, "\n")
        return self.filtered(sources, made, "en").kept

    def to_english(
        self, system: System, texts: Sequence[str], language: str, *, generator: torch.Generator
    ) -> list[str]:
        """Stage 2: the English of texts of a language, behind pairs of others."""
        _check_texts(texts)
        before = shown(self.diverse(system, language, generator=generator))
        return self._written(system, "2", [f"{before}[{text}] → [" for text in texts], "]")

    def from_english(
        self,
        system: System,
        texts: Sequence[str],
        unlabelled: Sequence[str],
        language: str,
        *,
        generator: torch.Generator,
        shots: int = 4,
    ) -> list[str]:
        """Stage 3: English texts in the language of unlabelled ones, whose own English, by stage 2, stands before them
        as exemplars. Raises ValueError where no pair passes the filters, with how many each dropped."""
        _check_texts(texts)
        pairs = self.back_translated(system, unlabelled, language, generator=generator).kept[:shots]
        return self._written(system, "3", [f"{shown(pairs)}[{text}] → [" for text in texts], "]")

    def back_translated(
        self, system: System, unlabelled: Sequence[str], language: str, *, generator: torch.Generator
    ) -> Pairs:
        """Pairs of English and the language, from its unlabelled texts."""
        english = self.to_english(system, unlabelled, language, generator=generator)
        found = self.filtered(unlabelled, english, "en")
        return replace(found, kept=tuple(Pair(one.target, one.source) for one in found.kept))

    def filtered(self, sources: Sequence[str], targets: Sequence[str], language: str) -> Pairs:
        """The pairs that pass; each of the others counts for the first filter that drops it. Raises ValueError, with
        these counts, where none passes."""
        kept: list[Pair] = []
        dropped: dict[str, int] = dict.fromkeys(FILTERS, 0)
        for source, target in zip(sources, targets, strict=True):
            a, b = source.strip(), target.strip()
            if not b:
                dropped["empty"] += 1
            elif max(sizes := (len(a.encode()), len(b.encode()))) > self.ratio * min(sizes):
                dropped["length"] += 1
            elif a.casefold() in b.casefold() or b.casefold() in a.casefold():
                dropped["copy"] += 1
            elif language_of(b) != language:
                dropped["language"] += 1
            else:
                kept.append(Pair(a, b))
        if not kept:
            counts = ", ".join(f"{count} by {name}" for name, count in dropped.items() if count)
            raise ValueError(f"all {len(sources)} pairs were dropped: {counts}; give more texts or a stronger model")
        return Pairs(tuple(kept), dropped)

    def _written(self, system: System, stage: str, contexts: Sequence[str], until: str) -> list[str]:
        """What the system writes, from the cache where it is there."""
        key = json.dumps([system.fingerprint or system.name, stage, until, self.limit, list(contexts)])
        path = Path(self.cache) / f"ldp-{stage}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        if self.cache and path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))["written"]
        prompts = [Prompt(context, until=(until, "\n"), limit=self.limit) for context in contexts]
        made = [one.text.strip() for one in write(system, prompts)]
        if self.cache:
            facts = provenance(system=system.name, fingerprint=system.fingerprint, stage=stage, limit=self.limit)
            files.write(path, json.dumps({"contexts": list(contexts), "written": made, "provenance": facts}, indent=1))
        return made


def shown(pairs: Sequence[Pair]) -> str:
    """Pairs as they stand in a prompt: no language is named."""
    return "".join(f"[{one.source}] → [{one.target}]\n" for one in pairs)


def _check_texts(texts: Sequence[str]) -> None:
    if not texts or not all(text.strip() for text in texts):
        raise ValueError("there is no text to translate, or one is empty; give at least one, and leave empty ones out")
