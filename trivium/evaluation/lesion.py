"""Lesion: what a model loses of language when the units that respond to language are switched off.

Source
    The lesion test of AlKhamissi et al. 2024, "The LLM Language Network", arXiv:2411.02280, from its abstract, on the
    localiser of arXiv:2406.15109 by the same first author; random masks as the control there.
Equation
    lesion = log PPL(text | the k units of largest Welch t at 0) - log PPL(text);   random: the same, k units at random
    effect = lesion - mean over draws of random
Shapes
    System and one document -> an Observation with both losses in bits per byte
Cost
    One pass over each stimulus; 2 + draws passes over each document.
Caveats
    Losses are in bits per byte over whole documents (``models.likelihood``), so that models of any vocabulary compare.
    Setting a unit to 0 in the stream behind a block removes all that lower blocks wrote there, which is a strong
    lesion where a unit's mean is far from 0. Random units are drawn anywhere by default: most are then in other layers
    than the localised ones; ``control="layers"`` draws as many in each block as were localised there, and is the
    stricter test. A model may have few units that decide everything, which random masks then meet or miss: read all
    draws. Stimuli are of our own; documents should not be those that sentences were taken from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.capabilities import require_offers
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data.corpus import Corpus
from trivium.data.localiser import Contrast, localiser
from trivium.data.named import named
from trivium.evaluation._together import together
from trivium.models.likelihood import likelihoods
from trivium.models.system import System
from trivium.models.units import Reading, ablated, flat, random_units, responses
from trivium.nn.welch import largest, welch_t

Control = Literal["anywhere", "layers"]


@method(title="Lesion of language units", source="arXiv:2411.02280", year=2024, needs=["causal", "sites"])
@dataclass(frozen=True)
class Lesion:
    """Documents read with localised units at 0, and with as many random ones."""

    corpus: Corpus | str = "python_docs"
    """A corpus, its name, or the path of text to read."""
    documents: int = 8
    """Of each split."""
    characters: int = 1500
    """Of each document, from its beginning."""
    stimuli: int = 120
    """Sentences, and as many strings of pseudo-words."""
    share: float = 0.01
    """Of all units of the model, that are switched off."""
    draws: int = 5
    """Random masks."""
    control: Control = "anywhere"
    """Random units lie anywhere, or in the layers of the localised ones."""
    reading: Reading = "last"
    """A unit's activation for a text: at the last token, or the mean over all but the first."""
    batch_size: int = 16
    """Texts per pass."""
    seed: int = 0
    """Of stimuli and random masks."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("effect", "Loss by lesion, over that of random units", True, "bits/byte"),
        Measure("lesion", "Loss by lesion", None, "bits/byte"),
        Measure("random", "Loss by random units", None, "bits/byte"),
        Measure("bits_per_byte", "Whole", None, "bits/byte"),
    )
    weighted_by: ClassVar[dict[str, str]] = {name: "bytes" for name in ("effect", "lesion", "random", "bits_per_byte")}
    """Measure -> the value by which documents weigh in."""

    def __post_init__(self) -> None:
        for name, least in (("documents", 1), ("characters", 20), ("stimuli", 2), ("draws", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share is a part of all units, between 0 and 1; got {self.share}")
        for name, words in (("control", get_args(Control)), ("reading", get_args(Reading))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}; got {getattr(self, name)!r}")

    @cached_property
    def text(self) -> Corpus:
        """The corpus itself."""
        return named(self.corpus) if isinstance(self.corpus, str) else self.corpus

    @cached_property
    def contrast(self) -> Contrast:
        """The stimuli."""
        return localiser(self.stimuli, self.seed)

    def examples(self, split: str) -> list[Example]:
        """The beginnings of the first documents of the split."""
        return [
            Example(f"{split}-{number:05d}", text[: self.characters], fields={"split": split, "at": number})
            for number, text in enumerate(self.text[split][: self.documents])
        ]

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["at"]]

    def units(self, system: System, contrast: Contrast | None = None) -> Tensor:
        """(units,) bool: the localised ones, by these stimuli or the task's own."""
        require_offers("a lesion", system.model, ["sites", "causal"])
        shown = self.contrast if contrast is None else contrast
        states = flat(responses(system, shown.texts, reading=self.reading, batch_size=self.batch_size))
        t = welch_t(states[shown.labels], states[~shown.labels])
        return largest(t, max(1, round(self.share * len(t))))

    def masks(self, system: System, mask: Tensor) -> list[Tensor]:
        """Random masks as large as the given one."""
        blocks = system.model.depth if self.control == "layers" else None
        return [
            random_units(mask, seeds.generator(self.seed, "lesion", draw), blocks=blocks) for draw in range(self.draws)
        ]

    def losses(self, system: System, texts: Sequence[str], mask: Tensor | None = None) -> Tensor:
        """(texts, 2): bits and bytes of each, with these units at 0. Raises ValueError for a text without any."""
        most = system.model.max_positions
        length = 512 if most is None else min(512, most)

        def read() -> Tensor:
            found = likelihoods(system.model, texts, system.tokenizer, length, batch_size=self.batch_size)
            return torch.tensor([[one.bits, one.bytes] for one in found], dtype=torch.float64)

        if mask is None:
            made = read()
        else:
            with ablated(system.model, mask):
                made = read()
        if (made[:, 1] == 0).any():
            raise ValueError(f"text {int((made[:, 1] == 0).nonzero()[0])} has nothing to predict; leave it out")
        return made

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        texts = [example.text for example in self.examples(split)]
        mask = self.units(system)
        whole = self.losses(system, texts)
        lesion = self.losses(system, texts, mask)[:, 0] - whole[:, 0]
        random = torch.stack(
            [self.losses(system, texts, each)[:, 0] - whole[:, 0] for each in self.masks(system, mask)]
        )
        bits = torch.stack((lesion - random.mean(0), lesion, random.mean(0), whole[:, 0]), 1) / whole[:, 1:]
        per_block = mask.view(system.model.depth, -1).sum(1).tolist()
        shown = {"text": f"units switched off in each block: {per_block}"}
        return [
            Observation(
                dict(zip((measure.name for measure in self.measures), row, strict=True)) | {"bytes": size},
                shown | {"random draws": (draws / size).tolist()},
            )
            for row, size, draws in zip(bits.tolist(), whole[:, 1].tolist(), random.mT, strict=True)
        ]
