"""HELM's instances, copies of them, in-context examples and adapters: from an instance to what a model is asked."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trivium.core import seeds
from trivium.data.choices import Choice
from trivium.data.perturbations import Perturbation
from trivium.evaluation.stats import desiderata
from trivium.models.scoring import Request, Scored, roll
from trivium.models.system import System
from trivium.models.writing import Prompt, Written

FRAME = re.compile(r"(?:(?<=\n)|^)Question: |\nAnswer:$")
"""What stands around a question and is not the question's own."""
APART = "\x00"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Instance:
    """A context to be gone on with, the choices where there are some, and which is right."""

    id: str
    context: str
    options: tuple[str, ...] = ()
    answer: int = 0
    cluster: str = ""

    @staticmethod
    def of(one: Choice) -> "Instance":
        return Instance(one.id, one.question, one.options, one.answer, one.group or one.id)

    @property
    def right(self) -> str:
        return self.options[self.answer]


@dataclass
class Asked:
    """One version of an instance in one trial: what is asked, and what comes back."""

    instance: Instance
    prompt: str
    dropped: int
    requests: Sequence[Request] = ()
    prompts: Sequence[Prompt] = ()
    scored: Sequence[Scored] = ()
    written: Sequence[Written] = ()


def perturbed(instance: Instance, perturbation: Perturbation, seed: int) -> Instance | None:
    """The instance said otherwise; None where nothing changes. The frame around the question stays; choices change
    with it only where the perturbation may change the meaning, so that who was renamed is renamed there too."""
    with_options = perturbation.changes_meaning
    pieces, between, at = [], [], 0
    for match in FRAME.finditer(instance.context):
        pieces.append(instance.context[at : match.start()])
        between.append(match[0])
        at = match.end()
    pieces.append(instance.context[at:])
    parts = [*pieces, *(instance.options if with_options else ())]
    made = perturbation(APART.join(parts), seed)
    if not made.changed:
        return None
    found, start = [], 0
    for part in parts:
        a, b = made.span(start, start + len(part))
        found.append(made.text[a:b])
        start += len(part) + len(APART)
    context = "".join(piece + frame for piece, frame in zip(found[: len(pieces)], [*between, ""], strict=True))
    options = tuple(found[len(pieces) :]) if with_options else instance.options
    return Instance(instance.id, context, options, instance.answer, instance.cluster)


def exemplars(pool: Sequence[Instance], count: int, trial: int) -> list[Instance]:
    """In-context examples of a trial: labels in turns, the most frequent first and those as frequent in a random order,
    and of each label its instances in a random order."""
    generator = seeds.numpy_generator(trial, "exemplars")
    groups: dict[str, list[Instance]] = {}
    for at in generator.permutation(len(pool)).tolist():
        groups.setdefault(pool[at].right, []).append(pool[at])
    ranked = sorted(groups.values(), key=lambda group: -len(group))  # stable: those as frequent stay in random order
    turns = [group[turn] for turn in range(max(map(len, ranked), default=0)) for group in ranked if turn < len(group)]
    return turns[:count]


def joint(instance: Instance) -> str:
    """The context with its choices under letters before the answer."""
    if len(instance.options) > len(LETTERS):
        raise ValueError(f"{instance.id!r} has {len(instance.options)} choices, more than there are letters")
    listed = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, instance.options, strict=False))
    context, found, end = instance.context.rpartition("\nAnswer:")
    return f"{context}{listed}{found}{end}" if found else f"{instance.context}{listed}\nAnswer:"


def letters(instance: Instance) -> tuple[str, ...]:
    return tuple(LETTERS[: len(instance.options)])


def fitted(system: System, examples: Sequence[str], context: str, room: int) -> tuple[str, int]:
    """The prompt with as many of the examples as fit before ``room`` tokens more, the last ones dropped first; and how
    many were dropped."""
    most = system.model.max_positions
    for kept in range(len(examples), -1, -1):
        text = "\n\n".join([*examples[:kept], context])
        if most is None or kept == 0 or len(system.tokenizer.encode(text)) + room <= most:
            return text, len(examples) - kept
    raise AssertionError("unreachable")


def copies(instance: Instance, perturbations: Sequence[Perturbation], each: int) -> Iterator[tuple[str, Instance]]:
    """(name, changed copy) of an instance: under each perturbation with so many seeds, each text once."""
    seen = {(instance.context, instance.options)}
    for one in perturbations:
        for seed in range(each):
            made = perturbed(instance, one, seed)
            if made is not None and (made.context, made.options) not in seen:
                seen.add((made.context, made.options))
                yield one.name, made


def softmax(numbers: Sequence[float]) -> list[float]:
    x = np.asarray(numbers, float)
    x = np.exp(x - x.max())
    return (x / x.sum()).tolist()


def reasons(written: bool, unanswered: str) -> dict[str, str]:
    """Why a scenario may have no value of a measure: by whether texts are written, and why nothing is answered, if so.
    What it has a value of, it has no reason for."""
    bias = "undefined: no written text names any" if written else "only of written texts"
    answers = unanswered or "fewer than 10 instances with a right answer"
    found = {
        "bits_per_byte": "only where texts are read, adapter language_modeling",
        **dict.fromkeys(("reciprocal_rank", "ndcg"), "only of passages that are ranked"),
        "f1": unanswered or "only of written answers",
        **dict.fromkeys(("toxicity", "toxicity_most"), "only of written texts"),
        **dict.fromkeys(("bias_gender", "bias_race", "stereotype_gender"), bias),
        **dict.fromkeys(("ece_mass", "ece_width", "coverage_area"), answers),
    }
    if unanswered:
        found |= dict.fromkeys(("accuracy", "robustness", "fairness"), unanswered)
        found |= {f"{sort}_{more}": unanswered for sort in ("robustness", "fairness") for more in ("copies", "null")}
    return found


def mean(numbers: Sequence[float]) -> float:
    """The plain mean."""
    return sum(numbers) / len(numbers)


def efficiency(system: System, asked: Sequence[Asked]) -> dict[str, float]:
    """Tokens of prompts and answers and modelled seconds, per request, and examples that did not fit."""
    prompt = mean([float(len(system.prompt(one.prompt)[0])) for one in asked])
    output = mean([float(len(text.ids)) for one in asked for text in (one.written or one.scored)])
    weights = sum(parameter.numel() for parameter in system.model.parameters())
    return {
        "prompt_tokens": prompt,
        "output_tokens": output,
        "modelled_seconds": desiderata.modelled_seconds(prompt, output, weights),
        "dropped": mean([float(one.dropped) for one in asked]),
    }


def rolled(system: System, instances: Sequence[Instance], batch_size: int) -> list[tuple[dict[str, float], dict]]:
    """Each instance with its right answer as a text to be read: what is measured, and what is shown."""
    texts = [f"{one.context} {one.right}" for one in instances]
    weights = sum(parameter.numel() for parameter in system.model.parameters())
    most = system.model.max_positions
    observed = []
    found = roll(system, texts, 2048 if most is None else most, batch_size=batch_size)
    for text, one in zip(texts, found, strict=True):
        values = {
            "bits_per_byte": -one.total / (math.log(2) * one.bytes), "bytes": float(one.bytes),
            "prompt_tokens": float(len(one.ids)), "output_tokens": 0.0,
            "modelled_seconds": desiderata.modelled_seconds(len(one.ids), 0, weights), "dropped": 0.0,
        }  # fmt: skip
        decode = system.tokenizer.decode
        tokens = [[decode([id]), round(x, 3)] for id, x in zip(one.ids, one.logprobs, strict=True)]
        observed.append((values, {"tokens": tokens, "asked": text}))
    return observed
