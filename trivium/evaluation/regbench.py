"""RegBench: regular languages learned as one reads, scored against the law of their source.

Source
    Akyürek, Wang, Kim and Andreas 2024, "In-Context Language Learning: Architectures and Algorithms",
    arXiv:2401.12973, section 3, from notes about the paper and the authors' code.
Equation
    accuracy = share of places t with  argmax_v p(v | x_<t)  legal in the document's automaton
    total variation = mean over t of  1/2 sum_v |p(v | x_<t) - q(v | x_<t)|,   q even over the legal letters
    places are those of letters; p is the model's law, restricted to letters
Shapes
    System and one document -> an Observation with its accuracy and total variation, and its places as weight
Cost
    One forward pass over each document.
Caveats
    The authors' distance is twice ours: the L1 norm, not halved. They leave separators out of the training loss, so
    that their models never predict one; here models may be trained on whole texts, hence the restriction of p to the 18
    letters before it is set against q, which is that of a word that goes on. Documents are read up to ``length``
    tokens, one token a letter. A report's figure weighs documents by their places. The laws of ``data.regbench`` are
    scored by the same function: the source itself has accuracy 1 and total variation 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data.regbench import LETTERS, SEPARATOR, RegularLanguages, legal
from trivium.models.system import System

LANGUAGES = RegularLanguages()


def marks(law: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Laws (places, letters) and what is legal there (places, letters) bool -> per place, whether the likeliest letter
    is legal (places,), and the total variation to the even law over the legal ones (places,)."""
    if not allowed.any(1).all():
        raise ValueError("at some place no letter is legal; leave separators out")
    right = allowed.gather(1, law.argmax(1, keepdim=True))[:, 0]
    true = allowed.to(law.dtype) / allowed.sum(1, keepdim=True)
    return right, (law - true).abs().sum(1) / 2


@method(title="RegBench", source="arXiv:2401.12973", year=2024, needs=["causal"])
@dataclass(frozen=True)
class RegBench:
    """Documents of languages that occur nowhere else, and how well a model knows what may come next."""

    languages: RegularLanguages = LANGUAGES
    """Which family; that of the corpus ``regbench`` as it comes."""
    documents: int | None = 100
    """How many of a split to take; None takes them all."""
    length: int = 512
    """Tokens of a document that are read at most, fewer where the model takes fewer."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("accuracy", "Legal next symbols", True),
        Measure("total_variation", "Total variation to the source", False),
    )
    weighted_by: ClassVar[dict[str, str]] = {"accuracy": "places", "total_variation": "places"}
    """Measure -> the value by which documents weigh in."""

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("length", 2)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    def examples(self, split: str) -> list[Example]:
        """The first documents of the split, each with its automaton."""
        if split not in self.languages.automata:
            raise ValueError(f"RegBench has no split {split!r}; it has {', '.join(self.languages.automata)}")
        automata = self.languages.automata[split][: self.documents]
        return [
            Example(f"{split}-{at:05d}", self.languages.document(split, at), fields={"automaton": automaton})
            for at, automaton in enumerate(automata)
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts; an output of the open arrow is of no matter."""
        ids, letters = self._ids(system, example.text)
        allowed = torch.from_numpy(legal(example.text, example.fields["automaton"]))[: len(ids)]
        places = allowed.any(1)
        opening = list(getattr(system.tokenizer, "opening", ()))
        if not opening:  # nothing predicts the first letter
            places[0] = False
        given = torch.tensor([[*opening, *ids]], device=system.model.device)
        with torch.inference_mode():
            logits = system.model(given[:, :-1]).logits[0].double().cpu()
        law = torch.cat((logits.new_zeros(1 - min(len(opening), 1), logits.shape[1]), logits))[-len(ids) :]
        right, distance = marks(law[:, letters].softmax(1)[places], allowed[places])
        count = int(places.sum())
        return Observation(
            {
                "accuracy": float(right.double().mean()),
                "total_variation": float(distance.mean()),
                "places": float(count),
            }
        )

    def _ids(self, system: System, text: str) -> tuple[list[int], Tensor]:
        """The document's tokens, one a symbol, cut to what is read; and the tokens of the letters in their order."""
        symbols = {}
        for symbol in (*LETTERS, SEPARATOR):
            ids: Any = system.blocks([symbol])[-1]
            if len(ids) != 1:
                raise ValueError(
                    f"{system.name} writes {symbol!r} as {len(ids)} tokens, and RegBench reads one token a symbol; "
                    "take a system with a byte tokenizer"
                )
            symbols[symbol] = ids[0]
        most = system.model.max_positions
        opening = len(getattr(system.tokenizer, "opening", ()))
        length = self.length if most is None else min(self.length, most)
        # The last token of what is read is predicted only.
        return [symbols[symbol] for symbol in text[: length + 1 - opening]], torch.tensor(
            [symbols[symbol] for symbol in LETTERS]
        )
