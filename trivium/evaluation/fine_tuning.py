"""Fine-tuning evaluation: how well does a model tell the classes of a task once it was taught on the task's own items?

Source
    Wang et al. 2019, "GLUE", arXiv:1804.07461, and "SuperGLUE", arXiv:1905.00537; the settings of the BabyLM challenge,
    Hu et al. 2024, arXiv:2412.05149. Adapters: Hu et al. 2021, "LoRA", arXiv:2106.09685, as PEFT has them.
Equation
    logits = W state + b, taught by cross-entropy (see ``models.fine_tuning``);   answer = argmax
    rate and epoch = those of the best validation accuracy, then the least loss, for each seed by itself
    score of several tasks = the mean of theirs, whatever their sizes;   gain = accuracy - that of the commonest label
Shapes
    System and one item under one seed -> an Observation with one number per measure
Cost
    Per seed and rate up to ``epochs`` passes over the training items, forward and backward, and one over the validation
    items after each; then one pass over the items that are asked. "readout" passes every item once.
Caveats
    Public sets are not shipped and their test labels are not public: give labelled files of your own, three per task,
    so that no item both chooses and tells. A rate falls in a line to 0 over the epochs that are planned, weights are
    in float32 and gradients cut at norm 1; the challenge's pipeline leaves these to its trainer's defaults. Of a model
    that reads from the left the last token is read out, of others the mean over tokens, since not all have one to
    begin with. Longer texts lose tokens on the right, of two texts the longer one first, and are counted. Seeds redraw
    the readout, the order and dropout, not the items; an item's seeds are one cluster. Macro-F1 and Matthews'
    correlation are of one task; of several see ``results``. A run that was killed is taught again, to the same end.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import torch
from torch.nn.functional import cross_entropy

from trivium.core.errors import NotFinite, NotOffered
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import text_tasks
from trivium.data.labelled import Labelled
from trivium.data.text_tasks import Form, Splits
from trivium.evaluation._taught import Result, by_trigrams
from trivium.evaluation._together import absent, together
from trivium.models.fine_tuning import Place, Rows, Trained, Tuned, Tuning, fine_tune
from trivium.models.system import System

log = logging.getLogger(__name__)

Side = tuple[Rows, Sequence[int]]
USUAL: Mapping[Trained, tuple[float, int]] = {"whole": (5e-5, 10), "lora": (3e-4, 32), "readout": (1e-2, 100)}
"""The challenge's rate and epochs; those of a readout alone are our own."""


@method(title="Fine-tuning evaluation", source="arXiv:2412.05149", year=2024)
@dataclass(frozen=True)
class FineTuning:
    """Tasks of a text, or two, with a label, taught to a copy of the model."""

    path: str = ""
    """A folder with train.jsonl, validation.jsonl and test.jsonl, or with several tasks; of other forms their file or
    folder; by default requests of our own."""
    form: Form = "intents"
    """JSON lines of yours; SNIPS' intents; questions with right and wrong answers; sentences of a treebank."""
    fields: tuple[str, ...] = ()
    """What the one or two texts of a line are called, where they have other names than in GLUE."""
    trained: Trained = "whole"
    """All weights, low-rank adapters, or the readout alone."""
    rates: tuple[float, ...] = ()
    """Learning rates to choose among; by default the challenge's 5e-5, of adapters 3e-4."""
    epochs: int | None = None
    """At most; by default the challenge's 10, of adapters 32."""
    patience: int = 3
    """Epochs without anything better that end the training."""
    size: int = 64
    """Texts per step."""
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.1
    """Of adapters."""
    place: Place | Literal["auto"] = "auto"
    """Which state is read out."""
    both_ways: bool = False
    """Whether a model that can read both ways does so."""
    joint: str = "\n"
    """What stands between two texts."""
    longest: int = 256
    """Tokens of an item at most."""
    learnt: int | None = None
    """Training items at most."""
    items: int | None = None
    """Validation items and test items at most."""
    seeds: int = 3
    first_seed: int = 0

    measures: ClassVar[Sequence[Measure]] = (
        Measure("accuracy", "Accuracy", True, binary=True),
        Measure("gain", "Accuracy above the commonest label", None),
        Measure("macro_f1", "Macro-F1", True, pooled="macro_f1"),
        Measure("matthews", "Matthews' correlation", True, pooled="matthews"),
        Measure("surprise", "Surprise at the right label", False, "nats"),
        Measure("majority", "Accuracy of the commonest label", None, binary=True),
        Measure("trigrams", "Accuracy of byte trigrams by least squares", None, binary=True),
        Measure("epoch", "Epochs that were best", None),
        Measure("truncated", "Items cut to fit", None, binary=True),
        Measure("repeated", "Items that training has too", None, binary=True),
    )

    def __post_init__(self) -> None:
        for name, allowed in (("trained", Trained), ("form", Form)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(f"{name} must be one of {', '.join(get_args(allowed))}; got {getattr(self, name)!r}")
        if self.place not in ("auto", *get_args(Place)):
            raise ValueError(f"place must be auto, {', '.join(get_args(Place))}; got {self.place!r}")
        for name, least in (("longest", 2), ("learnt", 1), ("items", 1), ("seeds", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for tuning in self._tunings(0, "last"):  # says what is wrong with a rate, the epochs or the rank
            assert tuning.rate > 0

    @property
    def weighted_by(self) -> dict[str, str]:
        """Measure -> the value by which items weigh in, so that tasks weigh the same; nothing where there is one."""
        plain = [measure.name for measure in self.measures if not measure.pooled]
        return dict.fromkeys(plain, "weight") if len(self._tasks) > 1 else {}

    def _tunings(self, seed: int, place: Place) -> list[Tuning]:
        rate, epochs = USUAL[self.trained]
        return [
            Tuning(
                self.trained, each, epochs if self.epochs is None else self.epochs, self.patience, self.size, place,
                self.both_ways, self.rank, self.alpha, self.dropout, seed=self.first_seed + seed,
            )
            for each in self.rates or (rate,)
        ]  # fmt: skip

    @property
    def said(self) -> dict[str, str]:
        """What a report's checklist is told of these tasks."""
        own = not self.path
        rate, epochs = USUAL[self.trained]
        return {
            "licence": "that of this package: texts of our own" if own else "",
            "contamination": "made from tables of our own, so hardly in any corpus as they stand" if own else "",
            "language": "English" if own else "",
            "sort": "classification after fine-tuning",
            "examples": f"none; taught {self.trained}, rates {self.rates or (rate,)}, at most {self.epochs or epochs} "
            f"epochs, chosen on validation, {self.seeds} seeds",
            "formats": "one",
            "decoding": "none: a linear readout",
            "chat": "none",
            "chance": "the commonest label of training, in the table",
            "simple": "byte trigrams by least squares, in the table",
            "limits": "what a readout learns of states need not be what the model would say",
        }

    # Items ------------------------------------------------------------------------------------------------------------

    @cached_property
    def _tasks(self) -> dict[str, Splits]:
        found = text_tasks.tasks(self.path, self.form, self.fields)
        return {
            name: {split: some[: self.learnt if split == "train" else self.items] for split, some in splits.items()}
            for name, splits in found.items()
        }

    def labels(self, task: str) -> list[str]:
        """In the order of the readout."""
        return sorted({one.label for one in self._tasks[task]["train"]})

    def examples(self, split: str) -> list[Example]:
        """Every item under every seed. Those of "validation" chose the epoch, so that theirs are too good."""
        if split not in ("validation", "test"):
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}; those of train are learnt from")
        found = []
        for name, splits in self._tasks.items():
            for number, one in enumerate(splits[split]):
                item = f"{name}-{one.id}"
                fields = {
                    "split": split, "task": name, "number": number, "label": one.label,
                    "weight": 1 / (len(self._tasks) * len(splits[split]) * self.seeds),
                    **({"group": name} if len(self._tasks) > 1 else {}),
                }  # fmt: skip
                text = self.joint.join(one.fields.values())
                found += [
                    Example(f"{item}-{seed}" if self.seeds > 1 else item, text, item, {**fields, "seed": seed})
                    for seed in range(self.seeds)
                ]
        return found

    def _row(self, system: System, one: Labelled) -> tuple[list[int], bool]:
        """Ids of an item, and whether it was cut."""
        most = system.model.max_positions
        room = self.longest if most is None else min(self.longest, most)
        first, *more = one.fields.values()
        ids = system.prompt(first)[0].tolist()
        plain = getattr(system.tokenizer, "opening", ())
        other: list[int] = []
        if more:
            other = system.tokenizer.encode(self.joint + more[0])
            if plain and other[: len(plain)] == list(plain):
                other = other[len(plain) :]
        long = len(ids) + len(other) > room
        while len(ids) + len(other) > room:
            (ids if len(ids) > len(other) else other).pop()
        return ids + other, long

    # Scoring ----------------------------------------------------------------------------------------------------------

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split has the model taught, and all of them answered."""
        at = (example.fields["task"], example.fields["seed"], example.fields["number"])
        seen = self._scored(system, example.fields["split"])[at]
        return Observation({**seen.values, "weight": example.fields["weight"]}, seen.shown, seen.vectors)

    @together
    def _scored(self, system: System, split: str) -> dict[tuple[str, int, int], Observation]:
        if not isinstance(system, System):
            raise NotOffered(f"{system.name} shows no states, and so none to read classes off; load a model itself")
        place: Any = self.place
        if place == "auto":
            place = "last" if "causal" in system.model.offers and not self.both_ways else "mean"
        found = {}
        for name, splits in self._tasks.items():
            names = self.labels(name)
            rows = {key: [self._row(system, one) for one in some] for key, some in splits.items()}
            train, held = (
                ([ids for ids, _ in rows[key]], [names.index(one.label) for one in splits[key]])
                for key in ("train", "validation")
            )
            for seed in range(self.seeds):
                tuned = self._best(system, train, held, len(names), self._tunings(seed, place))
                logits = tuned.logits([ids for ids, _ in rows[split]], self.size)
                seen = self._seen(name, split, tuned, logits, [long for _, long in rows[split]])
                found |= {(name, seed, number): one for number, one in enumerate(seen)}
        return found

    @staticmethod
    def _best(system: System, train: Side, held: Side, labels: int, tunings: Sequence[Tuning]) -> Tuned:
        """By validation accuracy, then by loss, the first of equals. A rate at which training diverges is out, unless
        there is no other; never more than two models are held."""
        best: Tuned | None = None
        failed = ""
        for tuning in tunings:
            try:
                tuned = fine_tune(system, train, held, labels, tuning)
            except NotFinite as error:
                failed = str(error)
                log.warning("%s, rate %g: %s", system.name, tuning.rate, error)
                continue
            if best is None or (tuned.best[0], -tuned.best[1]) > (best.best[0], -best.best[1]):
                best = tuned
        if best is None:
            raise NotFinite(f"{system.name} cannot be taught at any rate: {failed}")
        return best

    def _seen(
        self, name: str, split: str, tuned: Tuned, logits: torch.Tensor, long: Sequence[bool]
    ) -> list[Observation]:
        names, splits = self.labels(name), self._tasks[name]
        commonest = Counter(one.label for one in splits["train"]).most_common()[0][0]
        known = {tuple(one.fields.values()) for one in splits["train"]}
        kept = f"rate {tuned.classifier.tuning.rate:g}, epoch {tuned.epoch}, validation accuracy {tuned.best[0]:.3f}"
        observed = []
        simple = self._simple(name, split)
        for one, numbers, cut, other in zip(splits[split], logits, long, simple, strict=True):
            right, said = names.index(one.label), int(numbers.argmax())
            correct, often = float(said == right), float(one.label == commonest)
            values = {
                "accuracy": correct, "gain": correct - often, "majority": often, "epoch": float(tuned.epoch),
                "surprise": float(cross_entropy(numbers[None], torch.tensor([right]))), "truncated": float(cut),
                "trigrams": float(other == right),
                "repeated": float(tuple(one.fields.values()) in known),
            }  # fmt: skip
            shown: dict[str, Any] = {
                "text": f"{names[said]}; right: {one.label}",
                "taught": kept,
                "answer": (said, right),
            }
            vectors = {}
            if len(self._tasks) == 1:
                vectors = {"own": (float(said), float(right)), "reference": (float(right), float(right))}
            else:
                of_one = [measure for measure in self.measures if measure.pooled]
                shown["absent"] = absent(of_one, {}, "of several tasks together; see each by itself")
            observed.append(Observation(values, shown, vectors))
        return observed

    def _simple(self, name: str, split: str) -> list[int]:
        known = self._by_trigrams
        if (name, split) not in known:
            splits = self._tasks[name]
            known[name, split] = by_trigrams(splits["train"], splits[split], self.labels(name))
        return known[name, split]

    @cached_property
    def _by_trigrams(self) -> dict[tuple[str, str], list[int]]:
        return {}

    # Tables -----------------------------------------------------------------------------------------------------------

    def results(self, system: System, split: str = "test") -> dict[str, Result]:
        """Task -> what came of it under all seeds; the mean of their scores is that of the whole."""
        scored = self._scored(system, split)
        return {
            name: Result.of(
                name, [[scored[name, seed, n] for n in range(len(splits[split]))] for seed in range(self.seeds)],
                len(self.labels(name)),
            )
            for name, splits in self._tasks.items()
        }  # fmt: skip
