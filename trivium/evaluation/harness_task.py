"""Harness task: a task as lm-evaluation-harness declares it, asked and scored as the harness does.

Source
    Gao et al., lm-evaluation-harness, release 0.4.13: its task files, prompts, metrics and filters. Biderman et al.
    2024, "Lessons from the Trenches on Reproducible Evaluation of Language Models", arXiv:2405.14782, on why.
Equation
    context = description + sum over examples (text + delimiter + target + "\n\n") + text
    acc = 1[argmax_i LL(choice_i | context) = gold];   acc_norm, acc_bytes: LL_i / characters_i, LL_i / bytes_i;
    acc_mutual_info: LL_i - LL(choice_i | "");   perplexity of many texts = exp(- sum of LL / sum of words or bytes)
Shapes
    System and one document -> an Observation with one number per metric
Cost
    One pass over each context and its continuations; where something is written, one pass per new token.
Caveats
    Only what a file declares is read. Functions (``!function``), data scripts and other code are refused, each with its
    line, and data from the hub is to be downloaded and given as ``data``. Metrics are those of METRICS in
    ``trivium.data.harness_measuring``; F1 of two classes is no mean over items, so it stands in ``results`` and in the
    samples, not among the measures. BLEU, chrF and TER are of all documents together, resampled for their intervals;
    of several references a text is compared with all at once, where the harness makes 0 or 1 of them. ROUGE is told
    from 0 to 1, and its words are of ASCII. Of answers that tie the first wins, as in the harness, unless ``ties`` says
    otherwise; where choices are alike each counts its share in any case. The harness scores a right answer that is no
    choice as wrong; here it is an error. A chat template is not applied. A filter behind take_first works on the text,
    where the harness would go through its letters.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import choices, harness, harness_samples
from trivium.data import harness_measuring as measuring
from trivium.data.harness import Declared, Item
from trivium.evaluation import _harness
from trivium.evaluation.multiple_choice import Ties
from trivium.models.scoring import Request, rolling, score, score_pairs
from trivium.models.system import System
from trivium.models.writing import Prompt, write

log = logging.getLogger(__name__)

BUILT_IN = {
    "task": "kinds_of_words",
    "output_type": "multiple_choice",
    "validation_split": "validation",
    "test_split": "test",
    "fewshot_split": "validation",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "options",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}, {"metric": "acc_mutual_info"}],
}
"""What is asked where no file is given: questions of our own, declared as a file would."""


@method(title="Harness task", source="arXiv:2405.14782", year=2024, needs=["causal"])
@dataclass(frozen=True)
class HarnessTask:
    """A task file of lm-evaluation-harness, or several."""

    path: str = ""
    """A task's YAML file, or a folder of them; by default questions of our own."""
    task: str = ""
    """Name of a task, a group or a tag in the folder; a file of one task needs none."""
    data: str = ""
    """A file or folder of the task's documents, in place of what the file names."""
    items: int | None = None
    """Documents from the beginning of each task; None takes all."""
    shots: int | None = None
    """Examples before each question; None takes the file's own number."""
    seed: int = 1234
    """Of the examples; this is the harness's own."""
    ties: Ties = "first"
    """Of choices that tie the first is taken, as in the harness; or each counts its share; or the question is lost."""
    length: int | None = None
    """Tokens of a window of a long text; None takes as many as the model does."""
    cluster: str = ""
    """A field of the documents by which they are not independent."""
    batch_size: int = 16
    """Contexts per pass."""

    def __post_init__(self) -> None:
        if self.ties not in get_args(Ties):
            raise ValueError(f"ties must be one of {', '.join(get_args(Ties))}; got {self.ties!r}")
        for name, least in (("items", 1), ("shots", 0), ("length", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if (self.task or self.data) and not self.path:
            raise ValueError("task and data belong to a file of the harness; give its path too")

    @cached_property
    def declared(self) -> list[Declared]:
        """The tasks, in the order of the file."""
        if self.path:
            return harness.declared(self.path, self.task, data=self.data, shots=self.shots, seed=self.seed)
        splits = {
            split: [
                {"question": one.question, "options": list(one.options), "answer": one.answer, "kind": one.group}
                for one in choices.made(split)
            ]
            for split in ("validation", "test")
        }
        return [Declared(BUILT_IN, splits, self.shots or 0, self.seed)]

    @cached_property
    def measures(self) -> Sequence[Measure]:
        """The metrics that any of the tasks asks for, and what is counted beside them."""
        names = [name for task in self.declared for name in self._names(task)]
        names += [name for task in self.declared for name in _harness.COUNTED[task.output]]
        found = []
        for name in dict.fromkeys(names):
            metric, _, behind = name.partition(",")
            known = _harness.MEASURES[metric]
            title = f"{known.title}, {behind}" if behind else known.title
            if behind and known.pooled:
                raise ValueError(f"{metric} is of all texts behind one filter; leave one in the task's filter_list")
            found.append(replace(known, name=name, title=title))
        return tuple(found)

    @property
    def weighted_by(self) -> Mapping[str, str]:
        """Measure -> the value by which documents weigh in."""
        return {m.name: _harness.WEIGHTS[m.name] for m in self.measures if m.name in _harness.WEIGHTS}

    @staticmethod
    def _names(task: Declared) -> list[str]:
        """Its metrics as measures: by filter too, where there are several."""
        metrics = [metric for metric in task.metrics if metric != "f1"] or ["acc"]
        if len(task.filters) == 1:
            return metrics
        return [f"{metric},{one.name}" for one in task.filters for metric in metrics]

    def items_of(self, task: Declared, split: str) -> list[Item]:
        """The documents of a task as they are asked."""
        if split == "test":
            return task.items(task.tested, self.items)
        if split != "validation":
            raise ValueError(f"the splits are 'validation' and 'test', got {split!r}")
        other = task.config.get("validation_split")
        return task.items(other, self.items) if other and other != task.tested else []

    @cached_property
    def _asked(self) -> dict[str, list[tuple[Declared, Item]]]:
        return {}

    def asked(self, split: str) -> list[tuple[Declared, Item]]:
        """All documents of a split with their tasks, each built once."""
        if split not in self._asked:
            self._asked[split] = [(task, item) for task in self.declared for item in self.items_of(task, split)]
        return self._asked[split]

    def examples(self, split: str) -> list[Example]:
        several = len(self.declared) > 1
        found = []
        for number, (task, item) in enumerate(self.asked(split)):
            if self.cluster and self.cluster not in item.document:
                raise ValueError(
                    f"task {task.name}, document {item.number} has no field {self.cluster!r} to cluster by"
                )
            cluster = str(item.document[self.cluster]) if self.cluster else ""
            fields = {"split": split, "number": number, **({"group": task.name} if several else {})}
            found.append(Example(f"{task.name}-{item.number:05d}", item.requests[0][0], cluster, fields))
        return found

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first document of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @cached_property
    def _known(self) -> list[tuple[object, str, list[Observation]]]:
        return []

    def _scored(self, system: System, split: str) -> list[Observation]:
        who = system.model.serial if isinstance(system, System) else system
        for known, of, found in self._known:
            if of == split and known == who:
                return found
        asked = self.asked(split)
        observed: dict[int, Observation] = {}
        for output, scored in (
            ("multiple_choice", self._chosen),
            ("loglikelihood", self._chosen),
            ("loglikelihood_rolling", self._read),
            ("generate_until", self._written),
        ):
            places = [at for at, (task, _) in enumerate(asked) if task.output == output]
            if places:
                observed.update(zip(places, scored(system, [asked[at] for at in places]), strict=True))
        found = [observed[at] for at in range(len(asked))]
        self._known[:] = [(who, split, found)]
        return found

    def _chosen(self, system: System, asked: Sequence[tuple[Declared, Item]]) -> list[Observation]:
        """Continuations of contexts."""
        requests = [Request(*request) for _, item in asked for request in item.requests]
        scores = iter(score(system, requests, batch_size=self.batch_size))
        observed = []
        for task, item in asked:
            found = [next(scores) for _ in item.requests]
            if task.output == "multiple_choice":
                values, raw = _harness.of_choices(task, item, found, self.ties)
                best = max(range(len(item.choices)), key=lambda at: found[at].total)
                text = item.choices[best]
            else:
                values, raw = _harness.of_target(task, item, found[0])
                text = f"{found[0].total:.2f} nats for {item.gold!r}"
            answers = [(each.total, each.greedy) for each in found]
            observed.append(_observation(task, item, values, text, item.requests, answers, raw))
        alike = sum(one.values.get("identical", 0.0) for one in observed)
        if alike:
            log.warning("%d documents have choices that are alike; each of these counts its share", alike)
        return observed

    def _read(self, system: System, asked: Sequence[tuple[Declared, Item]]) -> list[Observation]:
        """Whole texts, window by window."""
        windows = [rolling(system, item.gold, self.length) for _, item in asked]
        scores = iter(score_pairs(system, [pair for each in windows for pair in each], batch_size=self.batch_size))
        observed = []
        for (task, item), pairs in zip(asked, windows, strict=True):
            read = [next(scores) for _ in pairs]
            total = sum(one.total for one in read)
            values, raw = _harness.of_text(task, item, total, any(one.altered for one in read))
            text = f"{total:.2f} nats"
            observed.append(_observation(task, item, values, text, item.requests, [total], raw))
        return observed

    def _written(self, system: System, asked: Sequence[tuple[Declared, Item]]) -> list[Observation]:
        """Answers that the model writes."""
        prompts = []
        for task, item in asked:
            how = measuring.writing(task.config)
            prompts.append(Prompt(item.requests[0][0], how.until, how.limit, how.temperature))
        observed = []
        for (task, item), said in zip(asked, write(system, prompts, batch_size=self.batch_size), strict=True):
            values: dict[str, float] = {
                "truncated": float(getattr(said, "cut", 0) > 0),
                "unfinished": float(not said.finished),
            }
            behind, vectors = {}, {}
            for one in task.filters:
                kept = _harness.filtered(one, said.text)
                seen, raw, vectors = _harness.of_writing(task, item, kept if isinstance(kept, str) else kept[0])
                values |= {f"{m},{one.name}" if len(task.filters) > 1 else m: x for m, x in seen.items()}
                behind[one.name] = ([kept], raw)
            arguments = ((item.requests[0][0], measuring.kwargs(task.config)),)
            observed.append(_observation(task, item, values, said.text, arguments, [said.text], {}, behind, vectors))
        return observed

    def results(self, system: System, split: str = "test") -> dict[str, dict[str, float]]:
        """Task -> metric -> its value over all documents, put together as the harness does; "metric,filter" where a
        task has several filters."""
        raw: dict[str, dict[str, list[Any]]] = {}
        for (task, _), seen in zip(self.asked(split), self._scored(system, split), strict=True):
            for sample in seen.shown["samples"]:
                for metric in task.metrics:
                    name = metric if len(task.filters) == 1 else f"{metric},{sample['filter']}"
                    raw.setdefault(task.name, {}).setdefault(name, []).append(sample[metric])
        return {
            task: {name: _harness.together(name.partition(",")[0], values) for name, values in found.items()}
            for task, found in raw.items()
        }


def _observation(
    task: Declared,
    item: Item,
    values: Mapping[str, float],
    text: str,
    arguments: Sequence[Sequence[Any]],
    answers: Sequence[Any],
    raw: Mapping[str, Any],
    behind: Mapping[str, tuple[Sequence[Any], Mapping[str, Any]]] | None = None,
    vectors: Mapping[str, Sequence[float]] | None = None,
) -> Observation:
    """With one sample per filter, in the harness's own form, for ``trivium samples``. ``behind``: filter -> the answers
    that it leaves, and the metrics of these."""
    behind = behind or {task.filters[0].name: (answers, raw)}
    samples = [
        harness_samples.sample(item.number, item.document, item.target, arguments, answers, kept, raw, name=name)
        for name, (kept, raw) in behind.items()
    ]
    right = item.choices[item.gold] if item.choices and isinstance(item.gold, int) else item.gold
    return Observation(
        values, {"text": f"{text}; right: {right}", "task": task.name, "samples": samples}, vectors or {}
    )
