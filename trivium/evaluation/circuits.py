"""Circuits of heads: do the scores of a method name the heads without which a model loses a task?

Source
    O'Neill and Bui 2024, "Sparse Autoencoders Enable Scalable and Reliable Circuit Identification in Language Models",
    arXiv:2405.12522, section 4, for tasks and measures; the truth by knockout, which their comparison takes from
    others, as Wang et al. 2022, "Interpretability in the Wild", arXiv:2211.00593, knock heads out by their mean.
Equation
    m(p) = log sum_answers exp z - log sum_wrong exp z at the last token;   gap = mean m(positives) - mean m(negatives)
    head h is of the circuit  iff  mean m(positives) - mean m(positives without h) > share gap
    AUC of the scores against that;   precision, recall and F1 of the heads whose softmax is at least the threshold
Shapes
    scores (layers, heads) or (layers * heads,) -> one number per measure
Cost
    The truth: a pass over all positives for each head of the model, from its layer on; made once per model and task.
Caveats
    Single knockouts miss heads that stand in for each other, and name heads that only keep a model in working order;
    the published circuits were found by hand on GPT-2 small and cannot be had for another model. Zeros are inputs that
    later layers have never seen; means over the negatives at the same position take out what the task adds. Without a
    threshold F1 is the best over all thresholds, as in the authors' code (whose first version took the harmonic mean of
    two rates for it; this is scikit-learn's); ``f1_permuted`` is that best of the same scores dealt out anew. A model
    that does not do the task has no truth, and that is an error.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, get_args

import torch
from torch import Tensor

from trivium.core import seeds
from trivium.core.capabilities import require_offers
from trivium.core.errors import UnknownName, did_you_mean
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.progress import Bar
from trivium.data.circuits import TASKS, Contrast
from trivium.models.heads import Ablation, Effects, Reduce, contrasted, effects
from trivium.models.system import System
from trivium.nn.detection import best_f1, precision_recall_f1, roc_auc

DEALS = 200
"""Times that scores are dealt out anew for the control."""


@dataclass(frozen=True)
class Truth:
    """``heads`` (layers, heads) bool: those of the circuit; ``gap``: what the prompts make of a difference; ``found``:
    what each head loses."""

    heads: Tensor
    gap: float
    found: Effects


@method(title="Circuits of heads", source="arXiv:2405.12522", year=2024, needs=["causal", "sites"])
@dataclass(frozen=True)
class Circuits:
    """Indirect objects, later years and docstrings, and the heads of a model that each takes."""

    tasks: tuple[str, ...] = ("ioi", "greater_than", "docstring")
    pairs: int = 20
    """Positives of a task, and as many negatives."""
    ablation: Ablation = "mean"
    """What stands in for a head: its mean over the negatives at the same position, or zeros."""
    share: float = 0.2
    """Part of the gap that a head of the circuit takes with it at least."""
    threshold: float | None = None
    """Softmax of the scores from which on a head is named; None takes the threshold of the best F1."""
    tokens: int = 1
    """Tokens of the names and words that prompts are made of."""
    batch_size: int = 32
    """Prompts per pass."""
    _truths: dict[tuple[int, str], Truth] = field(default_factory=dict, init=False, repr=False, compare=False)

    measures: ClassVar[Sequence[Measure]] = (
        Measure("auc", "Area under the curve"),
        Measure("f1", "F1"),
        Measure("precision", "Precision"),
        Measure("recall", "Recall"),
        Measure("f1_permuted", "F1 of permuted scores", None),
        Measure("circuit", "Heads of the circuit", None, "share"),
    )

    def __post_init__(self) -> None:
        for task in self.tasks:
            if task not in TASKS:
                raise UnknownName(f"no circuit task is called {task!r}{did_you_mean(task, TASKS)}")
        for name, least in (("pairs", 2), ("tokens", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.ablation not in get_args(Ablation):
            raise ValueError(f"ablation must be one of {', '.join(get_args(Ablation))}; got {self.ablation!r}")
        if not 0.0 < self.share < 1.0:
            raise ValueError(f"share is a part of the gap, between 0 and 1; got {self.share}")
        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is a softmax, 0 to 1; got {self.threshold}")

    def examples(self, split: str) -> Sequence[Example]:
        """One per task; prompts of the two splits are drawn from different seeds."""
        if split not in ("validation", "test"):
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")
        return [Example(f"{split}-{task}", task, fields={"task": task, "split": split}) for task in self.tasks]

    def contrasts(self, system: System, example: Example) -> list[Contrast]:
        """The pairs of an example under the system's tokenizer."""
        draws = seeds.generator(0, "circuits", example.fields["split"], example.fields["task"])
        return TASKS[example.fields["task"]](system.tokenizer, self.pairs, draws, tokens=self.tokens)

    def activations(
        self, system: System, example: Example, *, reduce: Reduce = "mean", bar: Bar | None = None
    ) -> tuple[Tensor, Tensor]:
        """What heads add to each prompt (prompts, layers * heads, width), and labels (prompts,), 1 for positives."""
        positives, negatives = self._rows(system, self.contrasts(system, example))
        return contrasted(system.model, positives, negatives, reduce=reduce, batch_size=self.batch_size, bar=bar)

    def truth(self, system: System, example: Example, bar: Bar | None = None) -> Truth:
        """By knocking out every head. Raises ValueError where the model does not do the task, or no head or every head
        is of the circuit."""
        key = (system.serial, example.id)
        if key not in self._truths:
            self._truths[key] = self._found(system, example, bar)
        return self._truths[key]

    def score(self, system: System, example: Example, output: Tensor) -> Observation:
        """How well scores of heads name the circuit."""
        require_offers("circuits of heads", system.model, ["causal", "sites"])
        truth = self.truth(system, example)
        wanted, scores = truth.heads.flatten(), output.detach().flatten().double().cpu()
        if scores.shape != wanted.shape:
            raise ValueError(
                f"the model has {tuple(truth.heads.shape)} layers and heads, so give a score for each of "
                f"{wanted.numel()}; got {tuple(output.shape)}"
            )
        if not scores.isfinite().all():
            raise ValueError(f"{int((~scores.isfinite()).sum())} of {scores.numel()} scores are not finite")
        draws = seeds.generator(0, "circuits", "deals")
        dealt = [scores[torch.randperm(len(scores), generator=draws)] for _ in range(DEALS)]
        f1, cut = self._named(scores, wanted)
        precision, recall, _ = precision_recall_f1(scores >= cut, wanted)
        values = {
            "auc": float(roc_auc(scores, wanted)),
            "f1": f1,
            "precision": float(precision),
            "recall": float(recall),
            "f1_permuted": sum(self._named(one, wanted)[0] for one in dealt) / DEALS,
            "circuit": float(wanted.double().mean()),
        }
        named = [tuple(place) for place in (truth.heads).nonzero().tolist()]
        return Observation(values, {"circuit": named, "gap": truth.gap, "threshold": cut})

    def _named(self, scores: Tensor, wanted: Tensor) -> tuple[float, float]:
        """F1, and the lowest score that is named."""
        if self.threshold is None:
            return best_f1(scores, wanted)
        over = scores[scores.softmax(0) >= self.threshold]
        cut = float(over.min()) if len(over) else float("inf")
        return float(precision_recall_f1(scores >= cut, wanted)[2]), cut

    def _found(self, system: System, example: Example, bar: Bar | None) -> Truth:
        pairs = self.contrasts(system, example)
        positives, negatives = self._rows(system, pairs)
        here, there = (self._judged(system, pairs, side) for side in ("text", "negative"))
        reference = negatives if self.ablation == "mean" else None
        found = effects(
            system.model,
            positives,
            here,
            kind=self.ablation,
            reference=reference,
            batch_size=self.batch_size,
            bar=bar,
        )
        gap = found.plain - self._plain(system, negatives, there)
        heads = found.circuit(self.share, gap)
        if not heads.any() or heads.all():
            raise ValueError(
                f"{'every' if heads.all() else 'no'} head of {system.name} takes more than {self.share:g} of the gap "
                f"of {gap:.3g} on {example.text!r}, so there is nothing to find; choose another share"
            )
        return Truth(heads, gap, found)

    @staticmethod
    def _rows(system: System, pairs: Sequence[Contrast]) -> tuple[list[Tensor], list[Tensor]]:
        return [system.prompt(pair.text)[0] for pair in pairs], [system.prompt(pair.negative)[0] for pair in pairs]

    def _plain(self, system: System, prompts: Sequence[Tensor], score: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The mean score with every head in place."""
        total = 0.0
        with torch.no_grad():
            for place, ids in enumerate(prompts):
                logits = system.model(ids[None], logits_to_keep=1).logits[:, -1]
                total += float(score(logits, torch.tensor([place])))
        return total / len(prompts)

    @staticmethod
    def _judged(system: System, pairs: Sequence[Contrast], side: str) -> Callable[[Tensor, Tensor], Tensor]:
        """How much likelier one of the answers comes next than one of the wrong ones."""
        tokens = [
            tuple([_next(system, getattr(pair, side), said) for said in sort] for sort in (pair.answers, pair.wrong))
            for pair in pairs
        ]

        def score(logits: Tensor, which: Tensor) -> Tensor:
            wide = logits.double()
            found = [
                row[tokens[place][0]].logsumexp(0) - row[tokens[place][1]].logsumexp(0)
                for row, place in zip(wide, which.tolist(), strict=True)
            ]
            return torch.stack(found)

        return score


def _next(system: System, text: str, said: str) -> int:
    """The first token of what is said behind a text. Raises ValueError where the tokenizer joins the two."""
    ids, whole = system.prompt(text)[0].tolist(), system.prompt(text + said)[0].tolist()
    if len(whole) <= len(ids) or whole[: len(ids)] != ids:
        raise ValueError(f"the tokenizer of {system.name} joins {said!r} with the end of {text!r}; take another task")
    return whole[len(ids)]
