"""Answers in each of many formats, by ranking or by writing, and a small picture of how often they are right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trivium.core.nouns import Example
from trivium.core.prompt import Question
from trivium.core.wording import Wording
from trivium.models.system import System
from trivium.models.writing import Prompt, write


class Cells:
    """Whether each item is answered right in each format; asked when it is first wanted."""

    def __init__(self, task: Any, system: System, items: Sequence[Example], forms: Sequence[Any]) -> None:
        self.task, self.system, self.items, self.forms = task, system, items, forms
        self.known: dict[tuple[int, int], float] = {}

    def __call__(self, arm: int, places: Sequence[int] | NDArray[np.int64]) -> list[float]:
        wanted = [int(place) for place in places if (arm, int(place)) not in self.known]
        if wanted:
            own: Wording = self.task.wording
            wording = Wording(self.forms[arm], own.exemplars, own.instruction)
            read = [self.task.read(self.items[place]) for place in wanted]
            questions = [wording.ask(one.fields, self.task.labels) for one in read]
            said = self._said(arm, wanted, questions)
            for place, one, at in zip(wanted, read, said, strict=True):
                self.known[arm, place] = float(at is not None and self.task.labels[at] == one.label)
        return [self.known[arm, int(place)] for place in places]

    def _said(self, arm: int, places: Sequence[int], questions: Sequence[Question]) -> list[int | None]:
        """Which answer is given to each question."""
        weighed = self.task.weigh_all(self.system, questions)
        return [list(weights).index(max(weights)) for weights in weighed]


class WrittenCells(Cells):
    """The same by what the model writes."""

    def __init__(self, task: Any, system: System, items: Sequence[Example], forms: Sequence[Any]) -> None:
        super().__init__(task, system, items, forms)
        self.lost: set[tuple[int, int]] = set()

    def unread(self, places: Sequence[int]) -> float:
        """Share of the texts about these items, in any format so far, that begin with no answer."""
        tried = [at for at in self.known if at[1] in set(places)]
        return sum(at in self.lost for at in tried) / max(1, len(tried))

    def _said(self, arm: int, places: Sequence[int], questions: Sequence[Question]) -> list[int | None]:
        encode = self.system.tokenizer.encode
        limit = max(len(encode(answer)) for answer in questions[0].answers) + 2  # spaces may be cut otherwise
        until = (self.forms[arm].between.strip(" ") or "\n\n",)
        prompts = [Prompt(question.text, until, limit) for question in questions]
        texts = write(self.system, prompts, batch_size=getattr(self.task, "batch_size", 16))
        said = [parsed(text.text, question.answers) for text, question in zip(texts, questions, strict=True)]
        self.lost |= {(arm, place) for place, at in zip(places, said, strict=True) if at is None}
        return said


def parsed(text: str, answers: Sequence[str]) -> int | None:
    """The longest of the answers that a text begins with, white space before it aside; None where it is none, or goes
    on within a word."""
    said, found = text.lstrip(), []
    for at, answer in enumerate(answers):
        bare = answer.strip()
        behind = said[len(bare) : len(bare) + 1]
        if said.startswith(bare) and not (behind.isalnum() and bare[-1:].isalnum()):
            found.append((len(bare), -at))
    return -max(found)[1] if found else None


def chart(rates: NDArray[np.float64], bins: int = 20) -> str:
    """How many formats reach which accuracy: a row per twentieth, from the best to the worst that occurs."""
    places = np.minimum((rates * bins + 1e-9).astype(int), bins - 1)
    counts = np.bincount(places, minlength=bins)
    rows = []
    for place in range(int(places.max()), int(places.min()) - 1, -1):
        count, low, high = int(counts[place]), place / bins, (place + 1) / bins
        bar = f'<span style="background: #8aa4c8; padding: 0 0 0 {12 * count}px"></span>' if count else ""
        told = f"{count} format{'' if count == 1 else 's'} right on {low:.0%} to {high:.0%} of the items"
        rows.append(f'<div role="img" aria-label="{told}"><small>{low:.2f} </small>{bar}<small> {count}</small></div>')
    return "<div>" + "".join(rows) + "</div>"
