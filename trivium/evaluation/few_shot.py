"""Few-shot: how well a model does a task with so many examples of it before the question, and nothing learned.

Source
    Brown et al. 2020, "Language Models are Few-Shot Learners", arXiv:2005.14165, section 2.4, and 3.9 for the tasks
    that are made. Rules of choosing, of beams and of contamination are from memory of the paper.
Equation
    prompt_K = instruction + example_1 + ... + example_K + question;   the K examples are the first of the K + 1
    answer = argmax_i LL(choice_i | prompt_K) / tokens_i, or LL(choice_i | prompt_K) - LL(choice_i | answer_context)
    written: argmax_y log p(y | prompt_K) / ((5 + |y|) / 6)^alpha, by beam search, against the right answer
    gain = accuracy at the most examples - accuracy at the fewest
Shapes
    System and one question -> an Observation with one accuracy per number of examples
Cost
    One pass over each prompt with its choices, as many prompts as there are numbers of examples; where the answer is
    written, as many rows as the beam is wide, and a pass per token.
Caveats
    Examples are drawn anew for each question, as the paper does, or once for all ("one"), as other harnesses do: the
    two vary differently, so compare like with like, and repeat either with several seeds. Examples of a file's
    questions come from ``train`` or, without it, from questions of the same file that are not asked. A prompt that does
    not fit is an error, or loses its earliest examples, counted as "dropped"; the instruction is never cut. Written
    answers count where they are the right one, letter for letter but for spaces and a full stop: F1 and BLEU are not
    offered. The beams are those of ``trivium.models.beams``, since the length penalty of the decoding kind's own beam
    search is a plain power. An item of fewer words than the run counts as seen where all its words stand together in
    the training text. LAMBADA's cloze form is not offered, for want of the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, get_args

import torch

from trivium.core import seeds
from trivium.core.method import method
from trivium.core.nouns import Example, Measure, Observation
from trivium.data import contamination, harness_samples, puzzles, questions, splits
from trivium.data.choices import Choice
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.data.puzzles import Name, Puzzle, Puzzles
from trivium.data.questions import Form
from trivium.evaluation._together import together
from trivium.evaluation.multiple_choice import credit
from trivium.models import beams
from trivium.models.scoring import Request, Scored, score
from trivium.models.system import System


@method(title="Few-shot", source="arXiv:2005.14165", year=2020, needs=["causal"])
@dataclass(frozen=True)
class FewShot:
    """Questions with zero, one and several examples before them."""

    task: Name = "labels"
    """What is made where no file is given."""
    digits: int = 2
    """Of the numbers in sums."""
    meaningful: bool = False
    """Labels say what they stand for, as in two-way classification; else they mean nothing and must be learned."""
    path: str = ""
    """A file of questions with choices, in place of what is made."""
    form: Form = "arc"
    """What its lines look like."""
    train: str = ""
    """A file of the same form to take examples from; by default questions of the file that are not asked."""
    items: int = 40
    """Questions asked."""
    shots: tuple[int, ...] = (0, 1, 2, 4, 8)
    """Numbers of examples, from few to many."""
    draw: Literal["each", "one"] = "each"
    """Examples are drawn anew for each question, or once for all."""
    seed: int = 0
    """Of the examples."""
    choose_by: Literal["per_token", "sum", "p_ratio"] = "per_token"
    """The likeliest choice per token, the likeliest, or the one that the question makes likelier than answer_context
    alone does."""
    answer_context: str = "Answer:"
    """Behind which a choice stands without its question, for p_ratio."""
    delimiter: str = "\n\n"
    """Between examples."""
    overflow: Literal["error", "drop"] = "error"
    """A prompt that does not fit is an error, or loses its earliest examples."""
    beam: int = 4
    """Hypotheses of a written answer; 1 is greedy."""
    alpha: float = 0.6
    """Length penalty of a written answer."""
    limit: int = 16
    """Tokens of a written answer at most."""
    training: Corpus | str = ""
    """A corpus that the model was trained on, its name or path: to tell questions that it may have seen."""
    batch_size: int = 16
    """Contexts per pass."""

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "task": get_args(Name),
        "form": get_args(Form),
        "draw": ("each", "one"),
        "choose_by": ("per_token", "sum", "p_ratio"),
        "overflow": ("error", "drop"),
    }

    def __post_init__(self) -> None:
        for name, known in self.CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        for name in ("digits", "items", "beam", "limit", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.shots or self.shots[0] < 0 or list(self.shots) != sorted(set(self.shots)):
            raise ValueError(f"shots are numbers of examples from few to many, each once; got {self.shots}")
        if not 0.0 <= self.alpha < float("inf"):
            raise ValueError(f"alpha must be 0 or more, got {self.alpha}")
        if self.train and not self.path:
            raise ValueError(f"train {self.train!r} belongs to a file of questions; give its path too")

    @cached_property
    def measures(self) -> Sequence[Measure]:
        """What the examples bring first, then the curve, then what must be known to read it."""
        fewest, most = self.shots[0], self.shots[-1]
        gain = Measure("gain", f"Accuracy at {most} examples minus {fewest}", True)
        found = [gain] if most > fewest else []
        found += [Measure(f"accuracy_{k}", f"Accuracy, {k} examples", True) for k in self.shots]
        found.append(Measure("chance", "Accuracy by chance", None))
        if self.training:
            found.append(Measure("clean", f"Accuracy, {most} examples, items not seen in training", True))
            found.append(Measure("dirty", "Items seen in training", None, binary=True))
        found.append(Measure("dropped", "Examples dropped for want of room", None))
        return tuple(found)

    # What is asked ----------------------------------------------------------------------------------------------------

    def puzzles(self, split: str) -> Puzzles:
        """The questions of a split, and the examples that may stand before them."""
        splits.check(split)
        if split not in self._made:
            self._made[split] = self._from_file(split) if self.path else self._own(split)
            pool = min(len(self._made[split].pool(one)) for one in self._made[split].asked)
            if self.shots[-1] > pool:
                raise ValueError(f"{self.shots[-1]} examples are asked for and there are {pool} to draw from")
        return self._made[split]

    @cached_property
    def _made(self) -> dict[str, Puzzles]:
        return {}

    def _own(self, split: str) -> Puzzles:
        count = self.items if split == "test" else splits.half(self.items)
        return puzzles.made(self.task, split, count, digits=self.digits, meaningful=self.meaningful)

    def _from_file(self, split: str) -> Puzzles:
        """The first questions are the test, half as many behind them for validation, and all others examples."""
        known = [_puzzle(one) for one in questions.read(self.path, self.form)]
        asked = splits.part(known, self.items, split)
        others = known[self.items + splits.half(self.items) :]
        if self.train:
            others = [_puzzle(one) for one in questions.read(self.train, self.form)]
        if not asked:
            raise ValueError(f"{self.path} has {len(known)} questions, none of which is left for {split}; lower items")
        return Puzzles("", tuple(asked), {"": tuple(others)})

    def drawn(self, puzzle: Puzzle, split: str) -> list[Puzzle]:
        """As many examples as are ever needed; fewer are the first of them."""
        pool = self.puzzles(split).pool(puzzle)
        names = (puzzle.id,) if self.draw == "each" else (puzzle.group,)
        order = torch.randperm(len(pool), generator=seeds.generator(self.seed, "shots", split, *names))
        return [pool[at] for at in order[: self.shots[-1]].tolist()]

    def prompt(self, puzzle: Puzzle, examples: Sequence[Puzzle], instruction: str = "") -> str:
        shown = [f"{one.question} {one.answer}" for one in examples]
        return instruction + self.delimiter.join([*shown, puzzle.question])

    def examples(self, split: str) -> list[Example]:
        asked = self.puzzles(split)
        return [
            Example(
                one.id,
                self.prompt(one, self.drawn(one, split), asked.instruction),
                cluster=one.group or one.id,
                fields={"split": split, "number": number},
            )
            for number, one in enumerate(asked.asked)
        ]

    # What comes of it -------------------------------------------------------------------------------------------------

    def score(self, system: System, example: Example, output: object = None) -> Observation:
        """Only the system counts. The first question of a split lets all of them be scored together."""
        return self._scored(system, example.fields["split"])[example.fields["number"]]

    @together
    def _scored(self, system: System, split: str) -> list[Observation]:
        asked = self.puzzles(split)
        shown = {one.id: self.drawn(one, split) for one in asked.asked}
        plans = [
            (one, self._fitted(system, one, shown[one.id][:k], asked.instruction))
            for one in asked.asked
            for k in self.shots
        ]
        contexts = [self.prompt(one, examples, asked.instruction) for one, examples in plans]
        choosing = bool(asked.asked[0].options)
        results = iter((self._chosen if choosing else self._written)(system, [one for one, _ in plans], contexts))
        seen = self._seen(asked)
        observed = []
        for number, one in enumerate(asked.asked):
            found = [next(results) for _ in self.shots]
            rights = [right for right, _, _, _ in found]
            values = {f"accuracy_{k}": right for k, right in zip(self.shots, rights, strict=True)}
            if len(self.shots) > 1:
                values["gain"] = rights[-1] - rights[0]
            values["chance"] = 1 / len(one.options) if choosing else 0.0
            mine = plans[number * len(self.shots) : (number + 1) * len(self.shots)]
            values["dropped"] = float(sum(k - len(kept) for k, (_, kept) in zip(self.shots, mine, strict=True)))
            if self.training:
                values["dirty"] = float(seen[number])
                if not seen[number]:
                    values["clean"] = rights[-1]
            _, said, arguments, answers = found[-1]
            document = {"question": one.question, "choices": list(one.options), "answer": one.answer}
            sample = harness_samples.sample(
                number, document, one.answer, arguments, answers, answers, {"acc": rights[-1]}
            )
            texts = {"text": f"{said}; right: {one.answer}", "task": self.form if self.path else self.task}
            which = {"examples": [example.id for example in shown[one.id]], "draw": self.draw, "seed": self.seed}
            observed.append(Observation(values, {**texts, **which, "samples": [sample]}))
        return observed

    def _fitted(self, system: System, puzzle: Puzzle, examples: Sequence[Puzzle], instruction: str) -> Sequence[Puzzle]:
        """The examples for which there is room, the earliest left out. A server's room is not known."""
        most = system.model.max_positions if isinstance(system, System) else None
        if most is None:
            return examples
        longest = max((len(system.tokenizer.encode(f" {option}")) for option in puzzle.options), default=self.limit)
        kept, needed = examples, 0
        while True:
            needed = system.prompt(self.prompt(puzzle, kept, instruction)).shape[1] + longest
            if needed <= most:
                return kept
            if self.overflow == "error" or not kept:
                break
            kept = kept[1:]
        raise ValueError(
            f"the prompt of {puzzle.id} with {len(kept)} examples needs {needed} tokens of the {most} that "
            f"{system.name} takes; ask for fewer shots{'' if self.overflow == 'drop' else ', or set overflow=drop'}"
        )

    Result = tuple[float, str, list[tuple[str, ...]], list[object]]

    def _chosen(self, system: System, asked: Sequence[Puzzle], contexts: Sequence[str]) -> list[Result]:
        """What each prompt's choice counts, what it was, and the requests with their answers."""
        requests = [
            Request(context, f" {option}")
            for one, context in zip(asked, contexts, strict=True)
            for option in one.options
        ]
        alone = (
            [Request(self.answer_context, one.continuation) for one in requests] if self.choose_by == "p_ratio" else []
        )
        found = score(system, [*requests, *alone], batch_size=self.batch_size)
        results, start = [], 0
        for one in asked:
            stop = start + len(one.options)
            mine, free = found[start:stop], found[len(requests) + start : len(requests) + stop] if alone else []
            numbers = self._numbers(mine, free)
            said = one.options[max(range(len(numbers)), key=numbers.__getitem__)]
            arguments = [(request.context, request.continuation) for request in requests[start:stop]]
            answers = [(each.total, each.greedy) for each in mine]
            results.append((credit(numbers, one.options.index(one.answer)), said, arguments, answers))
            start = stop
        return results

    def _numbers(self, found: Sequence[Scored], alone: Sequence[Scored]) -> list[float]:
        """How good each choice is."""
        if self.choose_by == "per_token":
            return [each.total / len(each.ids) for each in found]
        if self.choose_by == "sum":
            return [each.total for each in found]
        return [each.total - free.total for each, free in zip(found, alone, strict=True)]

    def _written(self, system: System, asked: Sequence[Puzzle], contexts: Sequence[str]) -> list[Result]:
        """The same of answers that the model writes, up to the next line."""
        found = beams.search(
            system, contexts, width=self.beam, alpha=self.alpha, limit=self.limit, batch_size=self.batch_size
        )
        settings = {"beam": self.beam, "alpha": self.alpha, "until": ["\n"], "max_gen_toks": self.limit}
        results = []
        for one, context, best in zip(asked, contexts, found, strict=True):
            text = best[0].text
            right = float(text.strip().rstrip(".") == one.answer)
            results.append((right, text, [(context, settings)], [text]))
        return results

    def _seen(self, asked: Puzzles) -> list[bool]:
        """Which questions stand in the training text, with their answers."""
        if not self.training:
            return []
        corpus = named(self.training) if isinstance(self.training, str) else self.training
        texts = [f"{one.question} {one.answer}" for one in asked.asked]
        return contamination.dirty(texts, corpus["train"])


def _puzzle(one: Choice) -> Puzzle:
    return Puzzle(one.id, one.question, one.options[one.answer], one.options, one.group)
