"""Self-reference: does a model go on truly with a statement about the statement itself, and judge whether it is true?

Source
    Thrush, Moore, Monares, Potts and Kiela 2024, "I am a Strange Dataset: Metalinguistic Tests for Language Models",
    arXiv:2401.05300, from notes on the authors' code.
Equation
    l(s) = mean over the tokens of s, the first left out, of - log p;   s+, s- end truly and falsely
    generation = 1[l(s+) < l(s-)];   continuation rule: 1[log p(true | beginning) > log p(false | beginning)]
    T(s), F(s) = l(question about s, " True"), l(question about s, " False")
    validation = 1/2 1[T(s+) < F(s+)] + 1/2 1[F(s-) < T(s-)];   relative = 1[T(s+) / F(s+) < T(s-) / F(s-)]
Shapes
    System and one statement -> an Observation with one number per measure
Cost
    Four passes over a statement, alone and in its question, and one over the continuations; eight with a control.
Caveats
    The authors publish their statements encrypted and ask that a person decrypts them and trains on none: nothing here
    does, ``path`` takes a plain copy that a person has made. The default are statements of our own about words, letters
    and marks, whose truth a checker reads off; they are simpler than the authors' and compare with no published figure.
    Equal losses are wrong. A judge that always says the same has 1/2 in validation, which "said true" shows and the
    relative measure is free of. The questions' wording is ours. In a control the statement speaks of something else,
    with the same continuations: "instead" of the original, or "before" it with a blank line between, as our notes have
    it. Differences to the original are over statements that have a control. With reasoning, what is written behind the
    last "Answer:" counts, or all where that is missing, and must hold exactly one of the words true and false.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import self_reference, splits
from trivium.data.self_reference import Statement
from trivium.evaluation._together import together
from trivium.models.scoring import Request, Scored, score
from trivium.models.system import System
from trivium.models.writing import Prompt, write

Control = Literal["none", "instead", "before"]

QUESTION = 'Is the following statement true or false?\nStatement: "{statement}"\nAnswer:'
REASON = (
    'Is the following statement true or false?\nStatement: "{statement}"\n'
    "Think step by step, then write Answer: and True or False.\n"
)
SHARED = ("generation", "continuation", "validation", "relative")


@dataclass(frozen=True)
class Judged:
    """What a model makes of one statement, in either of its two forms: numbers per measure."""

    generation: float
    continuation: float
    validation: float
    relative: float
    said_true: float
    unread: float = 0.0


@method(title="Self-reference", source="arXiv:2401.05300", year=2024, needs=["causal"])
@dataclass(frozen=True)
class SelfReference:
    """Statements about themselves, to complete and to judge."""

    path: str = ""
    """A plain copy of statements, JSON lines or CSV; by default some of our own."""
    items: int | None = 60
    """Statements; half as many are for validation. None takes all of a file."""
    control: Control = "none"
    """The same said of something else: not, instead of the original, or before it."""
    shots: int = 0
    """Judged statements that a question shows first, from the other split, as many true as false."""
    judge_by: Literal["likelihood", "reasoning"] = "likelihood"
    """Statements are judged by the likelier word, or by what the model writes once it has thought."""
    limit: int = 200
    """Tokens to write at most."""
    batch_size: int = 16
    """Texts per pass."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("generation", "True ending likelier, mean per token", True, binary=True),
        Measure("continuation", "True ending likelier behind the beginning", True, binary=True),
        Measure("validation", "Statements judged rightly", True),
        Measure("relative", "True statement judged truer than false one", True),
        Measure("said_true", "Statements judged true", None),
        Measure("unread", "Judgements that could not be read", False),
        *(Measure(f"{name}_gain", f"{name.capitalize()}, control minus original", None) for name in SHARED),
    )

    def __post_init__(self) -> None:
        if self.control not in get_args(Control):
            raise ValueError(f"control must be one of {', '.join(get_args(Control))}; got {self.control!r}")
        if self.judge_by not in ("likelihood", "reasoning"):
            raise ValueError(f"judge_by must be 'likelihood' or 'reasoning', got {self.judge_by!r}")
        for name, least in (("items", 1), ("shots", 0), ("limit", 1), ("batch_size", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        if self.shots % 2:
            raise ValueError(f"shots must be even, as many true as false ones; got {self.shots}")
        if self.items is None and not self.path:
            raise ValueError("items must be a number where no path is given: our own statements have no end")

    def statements(self, split: str) -> Sequence[Statement]:
        """Of a split; those with a control where one is asked for."""
        splits.check(split)
        if not self.path:
            count = self.items or 1
            found = self_reference.made(split, count if split == "test" else splits.half(count))
        else:
            found = splits.part(self._read, self.items, split)
        return found if self.control == "none" else [one for one in found if one.control]

    @cached_property
    def _read(self) -> tuple[Statement, ...]:
        return self_reference.read(self.path)

    def examples(self, split: str) -> list[Example]:
        return [
            Example(
                one.id,
                f"{one.beginning} [{one.true.strip()} / {one.false.strip()}]",
                fields={"split": split, "at": at, "group": one.kind},
            )
            for at, one in enumerate(self.statements(split))
        ]

    def texts(self, one: Statement, control: Control) -> tuple[tuple[str, str], tuple[str, str]]:
        """(what stands before the continuation, the continuation) of the true and of the false statement."""
        said = []
        for ending in (one.true, one.false):
            begin = one.control if control == "instead" else one.beginning
            said.append((f"{one.control}{ending}\n\n{begin}" if control == "before" else begin, ending))
        return said[0], said[1]

    def question(self, statement: str, split: str, name: str) -> str:
        """What is asked about a statement, behind others that are judged."""
        asked = (REASON if self.judge_by == "reasoning" else QUESTION).format(statement=statement)
        if not self.shots:
            return asked
        others = self.statements("validation" if split == "test" else "test")
        if len(others) < self.shots:
            raise ValueError(
                f"there are {len(others)} statements to show, so not {self.shots}; lower shots or set items"
            )
        order = seeds.numpy_generator(0, "shots", name).permutation(len(others))[: self.shots]
        shown = []
        for turn, at in enumerate(order):
            true = turn % 2 == 0
            text = others[at].beginning + (others[at].true if true else others[at].false)
            shown.append(f"{QUESTION.format(statement=text)} {true}")
        return "\n\n".join([*shown, asked])

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first example of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["at"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        chosen = self.statements(split)
        found = self._judged(system, chosen, split, self.control)
        original = self._judged(system, chosen, split, "none") if self.control != "none" else [None] * len(chosen)
        observed = []
        for mine, other in zip(found, original, strict=True):
            values = {name: getattr(mine, name) for name in (*SHARED, "said_true", "unread")}
            if other is not None:
                values |= {f"{name}_gain": getattr(mine, name) - getattr(other, name) for name in SHARED}
            ended = "truly" if mine.generation else "falsely"
            observed.append(
                Observation(values, {"text": f"ends {ended}; {mine.validation:g} of its two forms judged rightly"})
            )
        return observed

    def _judged(self, system: System, chosen: Sequence[Statement], split: str, control: Control) -> list[Judged]:
        said = [text for one in chosen for text in self.texts(one, control)]
        names = [one.id for one in chosen for _ in range(2)]
        asked = [self.question("".join(text), split, name) for text, name in zip(said, names, strict=True)]
        requests = [Request("", "".join(text)) for text in said] + [Request(*text) for text in said]
        if self.judge_by == "likelihood":
            requests += [Request("", text) for text in asked]
            requests += [Request(text, f" {word}") for text in asked for word in (True, False)]
        found = score(system, requests, batch_size=self.batch_size)
        size = len(said)
        whole, behind = [_mean(system, one) for one in found[:size]], [one.total for one in found[size : 2 * size]]
        if self.judge_by == "likelihood":
            alone, words = found[2 * size : 3 * size], found[3 * size :]
            losses = [
                (_mean(system, before, words[2 * at]), _mean(system, before, words[2 * at + 1]))
                for at, before in enumerate(alone)
            ]
            return [
                Judged(
                    float(whole[at] < whole[at + 1]), float(behind[at] > behind[at + 1]), *judged(*losses[at : at + 2])
                )
                for at in range(0, size, 2)
            ]
        written = write(
            system, [Prompt(text, until=("\n\n",), limit=self.limit) for text in asked], batch_size=self.batch_size
        )
        verdicts = [verdict(one.text) for one in written]
        return [
            Judged(
                float(whole[at] < whole[at + 1]),
                float(behind[at] > behind[at + 1]),
                *said_to_be(*verdicts[at : at + 2]),
            )
            for at in range(0, size, 2)
        ]


def _mean(system: Any, *parts: Scored) -> float:
    """Loss per token of a text, its first token left out where nothing stands before it."""
    opened = isinstance(system, System) and bool(getattr(system.tokenizer, "opening", ()))
    costs = [-value for part in parts for value in part.logprobs]
    costs = costs if opened or len(costs) == 1 else costs[1:]
    return sum(costs) / len(costs)


def judged(true: tuple[float, float], false: tuple[float, float]) -> tuple[float, float, float]:
    """Validation, relative validation and the share judged true, from the losses with "True" and "False" of the true
    and of the false statement."""
    validation = 0.5 * (true[0] < true[1]) + 0.5 * (false[1] < false[0])
    relative = float(true[0] * false[1] < false[0] * true[1])  # ratios of losses, which may be 0
    return validation, relative, 0.5 * (true[0] < true[1]) + 0.5 * (false[0] < false[1])


def said_to_be(true: bool | None, false: bool | None) -> tuple[float, float, float, float]:
    """The same from what was said of the two statements, None where it could not be read, and how often that was so."""
    validation = 0.5 * (true is True) + 0.5 * (false is False)
    relative = float(true is True and false is False)
    return (
        validation,
        relative,
        0.5 * (true is True) + 0.5 * (false is True),
        0.5 * (true is None) + 0.5 * (false is None),
    )


def verdict(text: str) -> bool | None:
    """What a written judgement says; None unless it has exactly one of the words true and false."""
    said = re.split(r"answer\s*:", text, flags=re.IGNORECASE)[-1]
    words = {word.lower() for word in re.findall(r"\b(true|false)\b", said, flags=re.IGNORECASE)}
    return words == {"true"} if len(words) == 1 else None
