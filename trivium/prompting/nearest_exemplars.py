"""Nearest exemplars: each question is asked behind the labelled items that are most like it.

Source
    Liu et al. 2022, "What Makes Good In-Context Examples for GPT-3?", arXiv:2101.06804, section 3 (KATE).
Equation
    E(x) = the k exemplars of largest cosine(v(e), v(x)), the nearest last;   v = vector of the item without its label
Shapes
    a worded task and a system -> the task with exemplars of each question's own
Cost
    One embedding per exemplar, once, and one per question.
Caveats
    The vectors are the system's own states, whose means tell texts apart less well than those of a sentence encoder;
    name one to do as the paper does. Of equally near ones that which stands first in the pool is nearer.
"""

from dataclasses import dataclass, replace

import torch

from trivium.core.method import method
from trivium.core.nouns import Example
from trivium.core.prompt import Question
from trivium.core.protocols import WordedTask
from trivium.models.system import System
from trivium.prompting._exemplars import check_pool, embedder
from trivium.prompting._steps import Changed, require_worded


@method(title="Nearest exemplars", source="arXiv:2101.06804", year=2022, needs=["causal", "state"])
@dataclass(frozen=True)
class NearestExemplars:
    """Exemplars that are retrieved."""

    shots: int = 3
    """Exemplars before every question."""
    encoder: str = ""
    """What makes vectors of texts, such as minilm-l6; by default the system's own states."""
    nearest_last: bool = True
    """The most similar one stands right before the question; else first of all."""

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise ValueError(f"shots must be at least 1, got {self.shots}")

    def __call__(self, task: WordedTask, system: System, *, generator: torch.Generator) -> Changed:
        require_worded("nearest_exemplars", task)
        check_pool(len(task.pool), self.shots)
        vectors, form = embedder(system, self.encoder), task.wording.form
        known = vectors([form.ask(one.fields) for one in task.pool])

        def ask(example: Example) -> Question:
            fields = task.read(example).fields
            near = (known @ vectors([form.ask(fields)])[0]).argsort(descending=True, stable=True)[: self.shots].tolist()
            shown = tuple(task.pool[place] for place in (near[::-1] if self.nearest_last else near))
            return replace(task.wording, exemplars=shown).ask(fields, task.labels)

        return Changed(task, asks=ask)
