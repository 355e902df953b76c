"""What models that learnt new languages are scored on: held-out text of these, and of the one that they knew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trivium.core.method import Card
from trivium.core.nouns import Example, Measure, Observation
from trivium.models.likelihood import Likelihood, likelihoods
from trivium.models.system import System


@dataclass(frozen=True, eq=False)
class Adapted:
    """A contender after its training, by language; ``before``: what held-out texts needed at first, those of the old
    language under the model as it came, those of the new one under new rows that had learnt nothing."""

    systems: Mapping[str, System]
    before: Mapping[str, Mapping[str, Likelihood]]


@dataclass(frozen=True)
class HeldOut:
    """Texts of the new languages, and of the old one once for each, under the model that learnt it."""

    fixed: Any
    """The ``Adapting`` that they were trained by."""

    __card__: ClassVar[Card] = Card("Bits per byte of the new language", "arXiv:2101.00027, section 3.1", 2020)
    leading: ClassVar[Sequence[str]] = ("bits_per_byte", "forgot")

    @property
    def measures(self) -> Sequence[Measure]:
        each = [
            Measure(f"bits_per_byte_{name}", f"Bits per byte, {name}", False, "bits/byte")
            for name in (self.fixed.learnt if len(self.fixed.learnt) > 1 else ())
        ]
        return (
            Measure("bits_per_byte", "Bits per byte of the new language", False, "bits/byte"),
            Measure("forgot", "Bits per byte lost on the old language", False, "bits/byte"),
            Measure("at_once", "Bits per byte before the training", False, "bits/byte"),
            *each,
        )

    @property
    def weighted_by(self) -> dict[str, str]:
        """Texts weigh in by their bytes."""
        return {one.name: "old_bytes" if one.name == "forgot" else "bytes" for one in self.measures}

    def examples(self, split: str) -> list[Example]:
        """The first texts of the split."""
        found = []
        for language, corpus in self.fixed.learnt.items():
            for side, texts in (("new", corpus[split]), ("old", self.fixed.known[split])):
                for at, document in enumerate(texts[: self.fixed.documents]):
                    key = f"{side}-{split}-{at:05d}"
                    # the old texts come once for each language: one cluster, since they are the same ones
                    fields = {"group": language, "side": side, "key": key}
                    found.append(Example(f"{language}/{key}", document, cluster=f"{side}/{key}", fields=fields))
        return found

    def score(self, trained: Any, example: Example, output: object = None) -> Observation:
        """Only the trained models count."""
        language, key = example.fields["group"], example.fields["key"]
        system, first = trained.systems[language], trained.before[language][key]
        length = self.fixed.context(system)
        (now,) = likelihoods(system.model, [example.text], system.tokenizer, length)
        if example.fields["side"] == "old":
            return Observation({"forgot": now.bits_per_byte - first.bits_per_byte, "old_bytes": float(now.bytes)})
        bits = now.bits_per_byte
        values = {"bits_per_byte": bits, "at_once": first.bits_per_byte, "bytes": float(now.bytes)}
        return Observation(values | ({f"bits_per_byte_{language}": bits} if len(self.fixed.learnt) > 1 else {}))
