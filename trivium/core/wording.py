"""How items with fixed labels are put into words: the form of an item and its answer, exemplars, an instruction.

A form renders the fields of an item up to its answer, and an answer as it goes on behind them. ``Template`` is one that
is written by hand; the grammar of ``data.formats`` makes others. A wording is a form with what stands before the item.
What methods search for - a template, a format, an ordered tuple of exemplars, an instruction - is a wording.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Protocol

from trivium.core.prompt import Parts, Question


class Form(Protocol):
    """How the fields of an item, and its answer, become text. Exemplars are of the same form as what is asked."""

    @property
    def between(self) -> str:
        """What stands behind an exemplar."""
        ...

    def ask(self, fields: Mapping[str, str]) -> str:
        """The item up to its answer. Raises ValueError for a field that the item has not."""
        ...

    def reply(self, label: str) -> str:
        """The answer as it goes on behind the item, with its space if there is one."""
        ...


@dataclass(frozen=True)
class Template:
    """A text with the names of fields in braces, such as "Utterance: {text}\\nIntent:".

    ``words``: pairs of a label and what is written for it; a label that has none is written as it is. ``before`` stands
    before the answer. Raises ValueError for braces that hold no plain name.
    """

    text: str
    words: tuple[tuple[str, str], ...] = ()
    before: str = " "
    between: str = "\n\n"

    def __post_init__(self) -> None:
        for _, name, spec, conversion in Formatter().parse(self.text):
            if name is not None and (not name.isidentifier() or spec or conversion):
                raise ValueError(
                    f"{{{name}}} in the template {self.text!r} is no field; write its plain name in braces"
                )

    def ask(self, fields: Mapping[str, str]) -> str:
        try:
            return self.text.format_map(fields)
        except KeyError as error:
            raise ValueError(f"the template {self.text!r} asks for {error}, the item has {', '.join(fields)}") from None

    def reply(self, label: str) -> str:
        return self.before + dict(self.words).get(label, label)


@dataclass(frozen=True)
class Exemplar:
    """The fields of an item and its label: what stands before a question as an example of how it is answered."""

    fields: Mapping[str, str]
    label: str


@dataclass(frozen=True)
class Wording:
    """How every item of a task is asked: ``instruction``, then ``exemplars`` in their order, then the item itself.

    Exemplars stand as a set of parts, whose order plain prompting keeps and set-based prompting does not see. An
    instruction ends as it is to end, such as in a line break.
    """

    form: Form
    exemplars: tuple[Exemplar, ...] = ()
    instruction: str = ""

    def ask(self, fields: Mapping[str, str], labels: Sequence[str]) -> Question:
        """The question about an item, with one answer per label. Raises ValueError where two labels read the same."""
        answers = tuple(self.form.reply(label) for label in labels)
        for place, answer in enumerate(answers):
            if answer in answers[:place]:
                other = labels[answers.index(answer)]
                raise ValueError(
                    f"the labels {other!r} and {labels[place]!r} are both written {answer!r}, so that no answer tells "
                    "them apart; give them words of their own"
                )
        shown = [
            f"{self.form.ask(one.fields)}{self.form.reply(one.label)}{self.form.between}" for one in self.exemplars
        ]
        parts = [self.instruction, Parts(*shown) if shown else "", self.form.ask(fields)]
        return Question(tuple(part for part in parts if part), answers)
