"""Classification by ranking: which of a few labels does a model find likeliest behind an item, however it is asked?

Source
    The setting of Yang et al. 2024, "Improving Probability-based Prompt Selection Through Unified Evaluation and
    Analysis", arXiv:2305.14877, section 2, and of Zhao et al. 2021, "Calibrate Before Use", arXiv:2102.09690.
Equation
    w_y = mean (or sum, or first) over the tokens of label y of log p(token | wording of x);   p = softmax_y w
    answer = argmax_y w_y;   macro-F1 = mean over labels of 2 tp / (2 tp + fp + fn), over all items together
    label bias = 1/2 sum_y |share of answers y - share of items y|;   surprise = -log p_right
Shapes
    a task with its prompting, and one example -> an Observation with one number per measure
Cost
    One pass over the prompt and one over all labels; items are passed in batches where no step is changed.
Caveats
    A worded task (``core.protocols.WordedTask``): what prompting methods may change is the ``wording`` (a template or
    format, exemplars, an instruction), how it is laid, and how answers weigh. Candidates are the ``templates`` (twelve
    of our own), ``formats(count)`` (the grammar of FormatSpread) and, for exemplars, the ``pool`` of labelled items,
    which are asked in no split; ``ask`` never shows a label of the item itself. The mean over tokens is the default
    since sums favour short labels. Labels that tie count their share of accuracy; for F1 the first of them is the
    answer. By default items of our own, easier than real ones; SNIPS and SciQ are read from files of yours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import torch

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.prompt import PromptPlan, Question
from trivium.core.protocols import PromptTask
from trivium.core.wording import Exemplar, Form, Template, Wording
from trivium.data import labelled
from trivium.data.formats import Format, Grammar, Items
from trivium.data.labelled import Labelled
from trivium.data.templates import GRAMMARS, TEMPLATES
from trivium.models.planned import answer_logprobs
from trivium.models.scoring import Pair, score_pairs
from trivium.models.system import System

ScoreBy = Literal["mean", "sum", "first"]

ALIKE = 1e-6
"""Nats by which two weights may differ and still tie."""


@method(title="Classification", source="arXiv:2305.14877", year=2024, needs=["causal", "state"])
@dataclass(frozen=True)
class Classification:
    """Items with a fixed set of labels, put in words that can be changed."""

    path: str = ""
    """A folder of SNIPS' intents or a file of SciQ; by default items of our own."""
    form: labelled.Form = "intents"
    """Utterances and what is wanted, or questions with a proposed answer and whether it is right."""
    labels_kept: tuple[str, ...] = ()
    """Some of the labels of intents, for a task of two or three; none keeps all."""
    items: int = 60
    """Items to ask at most, of each split."""
    shares: tuple[float, ...] = ()
    """Of each label among the items asked, for a skewed set; by default equal."""
    template: int = 0
    """Which of the templates is the task's own wording."""
    shots: int = 0
    """Exemplars of the task's own wording, taken from the pool label by label."""
    listed: bool = False
    """List the labels as numbered choices and take the number as the answer, in formats and in the own wording."""
    score_by: ScoreBy = "mean"
    """A label's weight is the mean or the sum over its tokens, or that of its first token alone."""
    batch_size: int = 16
    """Prompts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("accuracy", "Accuracy", True),
        Measure("macro_f1", "Macro-F1", True, pooled="macro_f1"),
        Measure("label_bias", "Label bias", False, pooled="label_bias"),
        Measure("surprise", "Surprise at the right label", False, "nats"),
        Measure("tied", "Ties for the first place", None, binary=True),
        Measure("prompt_tokens", "Tokens of the prompt", None),
    )

    def __post_init__(self) -> None:
        if self.form not in get_args(labelled.Form):
            raise ValueError(f"form must be one of {', '.join(get_args(labelled.Form))}; got {self.form!r}")
        if self.score_by not in get_args(ScoreBy):
            raise ValueError(f"score_by must be one of {', '.join(get_args(ScoreBy))}; got {self.score_by!r}")
        for name, least in (("items", 1), ("batch_size", 1), ("shots", 0), ("template", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.template >= len(TEMPLATES[self.form]):
            raise ValueError(f"template must be one of the {len(TEMPLATES[self.form])}, from 0; got {self.template}")
        if len(set(self.labels_kept)) < len(self.labels_kept) or len(self.labels_kept) == 1:
            raise ValueError(f"labels_kept must be two different labels or more, got {self.labels_kept}")
        if self.shares and (any(share <= 0 for share in self.shares) or abs(sum(self.shares) - 1) > 1e-6):
            raise ValueError(f"shares must be positive and add up to 1, got {self.shares}")

    # Items ------------------------------------------------------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order in which the pool first shows them."""
        return self._labels

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(one.label for one in self._split("train")))
        if self.shares and len(self.shares) != len(found):
            raise ValueError(f"shares must be one per label of {', '.join(found)}; got {len(self.shares)}")
        return found

    def _split(self, split: str) -> tuple[Labelled, ...]:
        known: dict[str, tuple[Labelled, ...]] = self._read
        if split not in known:
            if not self.path:
                found = labelled.made(self.form, split)
            elif self.form == "intents":
                found = labelled.snips(self.path, split)
            else:
                found = labelled.sciq(self.path, split)
            kept = tuple(one for one in found if not self.labels_kept or one.label in self.labels_kept)
            missing = [label for label in self.labels_kept if all(one.label != label for one in kept)]
            if missing:
                there = ", ".join(dict.fromkeys(one.label for one in found))
                raise ValueError(f"no item has the label {missing[0]!r}; there are {there}")
            known[split] = kept
        return known[split]

    @cached_property
    def _read(self) -> dict[str, tuple[Labelled, ...]]:
        return {}

    def asked(self, split: str) -> Sequence[Labelled]:
        """The items of a split, in the shares that are wanted, label by label in turn as far as that goes."""
        found = self._split(split)
        if not self.shares:
            return found[: self.items]
        by_label = {label: [one for one in found if one.label == label] for label in self.labels}
        shares = dict(zip(self.labels, self.shares, strict=True))
        most = min(self.items, *(int((len(by_label[label]) + 1e-6) / shares[label]) for label in self.labels))
        wanted = {label: max(1, round(most * shares[label])) for label in self.labels}
        kept = {id(one) for label in self.labels for one in by_label[label][: wanted[label]]}
        return [one for one in found if id(one) in kept]

    def examples(self, split: str) -> list[Example]:
        """Of "validation" or "test"; the items of "train" are the pool."""
        if split not in ("validation", "test"):
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}; exemplars are in the pool")
        return [
            Example(
                one.id,
                self.wording.form.ask(one.fields),
                fields={"fields": one.fields, "label": one.label, "split": split, "number": number},
            )
            for number, one in enumerate(self.asked(split))
        ]

    # Words ------------------------------------------------------------------------------------------------------------

    @property
    def pool(self) -> tuple[Exemplar, ...]:
        return self._pool

    @cached_property
    def _pool(self) -> tuple[Exemplar, ...]:
        return tuple(Exemplar(one.fields, one.label) for one in self._split("train"))

    @property
    def templates(self) -> tuple[Template, ...]:
        return TEMPLATES[self.form]

    @cached_property
    def grammar(self) -> Grammar:
        """What the formats consist of."""
        plain = GRAMMARS[self.form]
        if not self.listed:
            return plain
        return replace(plain, nodes=(*plain.nodes, Items(self.labels, "Option", choices=True)))

    def formats(self, count: int, generator: torch.Generator) -> list[Format]:
        return self.grammar.formats(count, generator)

    @property
    def wording(self) -> Wording:
        return self._wording

    @cached_property
    def _wording(self) -> Wording:
        if self.shots > len(self.pool):
            raise ValueError(f"the pool has {len(self.pool)} items, too few for {self.shots} shots")
        form: Form = self.grammar.original if self.listed else self.templates[self.template]
        return Wording(form, self.pool[: self.shots])

    def read(self, example: Example) -> Exemplar:
        return Exemplar(example.fields["fields"], example.fields["label"])

    # The three steps that a prompting method may change ---------------------------------------------------------------

    def ask(self, example: Example) -> Question:
        return self.wording.ask(self.read(example).fields, self.labels)

    def lay(self, system: System, question: Question) -> PromptPlan:
        return PromptPlan.flat(system.blocks(question.segments)).to(system.model.device)

    def weigh(self, system: System, question: Question, plan: PromptPlan) -> list[float]:
        answers = self._answers(system, question)
        return [self._weight(each) for each in answer_logprobs(system.model, plan, answers)]

    def weigh_all(self, system: System, questions: Sequence[Question]) -> list[list[float]]:
        """Many questions in batches, with the numbers that ``weigh`` gives for each."""
        room, pairs = system.model.max_positions, []
        for question in questions:
            context = tuple(self.lay(system, question).ids.tolist())
            answers = self._answers(system, question)
            longest = max(map(len, answers))
            if room is not None and len(context) + longest > room:
                raise ValueError(
                    f"a prompt of {len(context)} tokens and an answer of {longest} are more than the {room} positions "
                    f"of {system.name}; take fewer or shorter exemplars"
                )
            pairs += [Pair(context, tuple(answer)) for answer in answers]
        found = iter(score_pairs(system, pairs, batch_size=self.batch_size))
        return [[self._weight(next(found).logprobs) for _ in question.answers] for question in questions]

    def _answers(self, system: System, question: Question) -> list[list[int]]:
        found: list[list[int]] = [system.blocks([answer])[-1] for answer in question.answers]  # type: ignore[misc]
        if self.score_by != "first":
            return found
        firsts = [ids[:1] for ids in found]
        for place, first in enumerate(firsts):
            if first in firsts[:place]:
                other = question.answers[firsts.index(first)]
                raise ValueError(
                    f"the answers {other!r} and {question.answers[place]!r} begin with the same token, so that the "
                    "first alone cannot tell them apart; take score_by='mean'"
                )
        return firsts

    def _weight(self, logprobs: Sequence[float]) -> float:
        return sum(logprobs) / (len(logprobs) if self.score_by == "mean" else 1)

    # Scoring ----------------------------------------------------------------------------------------------------------

    def score(self, system: System, example: Example, output: PromptTask | None = None) -> Observation:
        """Ask by the steps of ``output``, or by the task's own. Where these steps can ask many at once, the first
        example of a split lets all of them be asked together."""
        steps: Any = self if output is None else output
        if not hasattr(steps, "weigh_all"):
            question = steps.ask(example)
            plan = steps.lay(system, question)
            return self._seen(example, steps.weigh(system, question, plan), len(plan))
        split = example.fields["split"]
        if self._known.get("of") != (system.model.serial, id(steps), split):
            examples = self.examples(split)
            questions = [steps.ask(one) for one in examples]
            weights = steps.weigh_all(system, questions)
            lengths = [len(steps.lay(system, question)) for question in questions]
            self._known.update(of=(system.model.serial, id(steps), split), steps=steps)  # kept, so that its id is
            self._known["seen"] = [
                self._seen(one, weight, length) for one, weight, length in zip(examples, weights, lengths, strict=True)
            ]
        return self._known["seen"][example.fields["number"]]

    @cached_property
    def _known(self) -> dict[str, Any]:
        return {}

    def _seen(self, example: Example, weights: Sequence[float], tokens: int) -> Observation:
        right = self.labels.index(example.fields["label"])
        best = max(weights)
        first = list(weights).index(best)
        tied = [place for place, weight in enumerate(weights) if best - weight < ALIKE]
        total = best + math.log(sum(math.exp(weight - best) for weight in weights))
        return Observation(
            {
                "accuracy": 1 / len(tied) if right in tied else 0.0,
                "surprise": total - weights[right],
                "tied": float(len(tied) > 1),
                "prompt_tokens": float(tokens),
            },
            {"text": f"{self.labels[first]}; right: {self.labels[right]}", "weights": list(weights)},
            {"own": (float(first), float(right)), "reference": (float(right), float(right))},
        )
