"""Readout: how much of what is known of texts a probe reads off a model's states of them.

Source
    Alain and Bengio 2016, arXiv:1610.01644, and Hewitt and Liang 2019, arXiv:1909.03368, from memory; the task itself
    is ours: every probe is fitted to the same activations and is asked about the same texts.
Equation
    score = numerator / denominator of the probe's own tally on one text: right of one, an F1, or a share of edges
    of values  - |y - y_hat|^2
Shapes
    a fitted probe, and one example -> an Observation
Cost
    One pass over every text, at one place of the model, charged to no probe.
Caveats
    Probes of different sorts have scores of their own, which do not compare: a task has labels of one sort, and a probe
    that reads another is not applicable. For values the score of one text is minus its squared error, since a share of
    a variance is none of one text. The layer is given, by default the middle one; `trivium probe` looks at several, and
    shows controls. Texts of one source are a cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.protocols import Probe
from trivium.data.probed import Probed, probed
from trivium.evaluation._together import together
from trivium.models.features import features, stream
from trivium.models.system import System


@method(title="Readout", source="arXiv:1610.01644", year=2016, needs=["sites"])
@dataclass(frozen=True)
class Readout:
    """Texts of a set, each with what a probe is to read."""

    data: str = "intents"
    """A set: intents, python, or the path of a .conllu treebank or of .jsonl lines with text and label."""
    layer: int | None = None
    """Blocks that the stream has gone through where it is read, 0 for the embeddings; None takes the middle."""
    lessons: int = 200
    """Texts that probes are fitted to at most."""
    items: int = 60
    """Texts of each split at most."""
    batch_size: int = 8
    """Texts per pass."""

    measures: ClassVar[Sequence[Measure]] = (Measure("score", "Read right", True),)

    def __post_init__(self) -> None:
        for name, least in (("lessons", 2), ("items", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.layer is not None and self.layer < 0:
            raise ValueError(f"layer is counted from 0, the embeddings; got {self.layer}")

    def examples(self, split: str) -> list[Example]:
        if split not in ("validation", "test"):
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")
        chosen = self._set(split)
        rows = zip(chosen.ids, chosen.texts, chosen.sources, strict=True)
        return [
            Example(f"{split}/{id}", text, cluster=source, fields={"split": split, "number": number})
            for number, (id, text, source) in enumerate(rows)
        ]

    def taught(self, system: System) -> tuple[Tensor, Tensor, Tensor | None]:
        """What probes are fitted to: activations, labels, and groups where rows of a text belong together."""
        states, text = self._states(system, "train")
        chosen = self._set("train")
        return states, chosen.labels, text if chosen.structured else None

    def suited(self, contender: Any) -> Any:
        """The probe, told what the labels are called if it asks for that."""
        chosen = self._set("train")
        if chosen.sort == "constituents" and not getattr(contender, "labels", True):
            return replace(contender, labels=chosen.names)
        return contender

    def refuses(self, contender: Any) -> tuple[str, ...]:
        """What labels the contender wants that these are not."""
        reads = getattr(contender, "reads", ())
        return () if self._set("train").sort in reads else (f"labels of {' or '.join(reads) or 'another sort'}",)

    def score(self, system: System, example: Example, output: Probe) -> Observation:
        split, number = example.fields["split"], example.fields["number"]
        states, text = self._states(system, split)
        chosen, mine = self._set(split), text == number
        groups = torch.zeros(int(mine.sum()), dtype=torch.int64) if chosen.structured else None
        labels = chosen.labels[mine]
        if chosen.sort == "values":
            wrong = (labels.double().reshape(len(labels), -1) - output.predict(states[mine])).square().sum()
            return Observation({"score": -float(wrong)}, {"text": f"{float(output.predict(states[mine])[0, 0]):.4g}"})
        top, bottom = output.tally(states[mine], labels, groups).sum(0).tolist()
        if not bottom:
            return Observation({}, {"skipped": "nothing in it counts"})
        shown = f"{top:g} of {bottom:g}"
        if chosen.sort == "classes":
            said, true = (int(each[0]) for each in (output.predict(states[mine]), labels))
            shown = f"{chosen.names[said]}; labelled: {chosen.names[true] if true >= 0 else 'none of the classes'}"
        return Observation({"score": top / bottom}, {"text": shown})

    def _set(self, split: str) -> Probed:
        if split not in self._sets:
            names = () if split == "train" else self._set("train").names
            self._sets[split] = probed(self.data, self.lessons if split == "train" else self.items, split, names)
        return self._sets[split]

    @together
    def _states(self, system: System, split: str) -> tuple[Tensor, Tensor]:
        """Activations of every row, and which text each is of."""
        chosen, depth = self._set(split), system.model.depth
        layer = depth // 2 if self.layer is None else self.layer
        if layer > depth:
            raise ValueError(f"{system.name} has {depth} layers, so layer {layer} is none; 0 is the embeddings")
        site = stream(layer)
        with meter.aside():
            found = features(system, chosen.texts, site, chosen.spans or "last", batch_size=self.batch_size)
        return found[site], found.text

    @cached_property
    def _sets(self) -> dict[str, Probed]:
        return {}
