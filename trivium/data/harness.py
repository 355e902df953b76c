"""Tasks of lm-evaluation-harness, from their declarations: what is asked of a model, word for word as the harness asks.

What is read of a declaration, and how: ``doc_to_text``, ``doc_to_target`` and ``doc_to_choice`` are names of fields,
numbers, lists, or Jinja templates, which run in a sandbox. A prompt is the description, the examples, each followed by
the delimiter, and the text. Examples are drawn with one generator per task, item after item. Where the split that they
come from is declared as the split that is tested (or neither is declared), one more is drawn and the item itself left
out; else exactly as many are drawn, so that an item can be its own example, as in the harness.

What the harness lets pass is an error here: a field that a document lacks, a right answer that is no choice, an empty
choice, more examples than there are.
"""

import ast
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from trivium.core.errors import did_you_mean
from trivium.data import harness_files
from trivium.data import harness_measuring as measuring
from trivium.data.harness_files import Config, Document
from trivium.data.harness_measuring import Filtering, Output
from trivium.data.harness_templates import filled

KNOWN = {
    "task", "task_alias", "tag", "group", "dataset_path", "dataset_name", "dataset_kwargs", "training_split",
    "validation_split", "test_split", "fewshot_split", "doc_to_text", "doc_to_target", "doc_to_choice", "description",
    "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot", "metric_list", "output_type",
    "generation_kwargs", "repeats", "filter_list", "should_decontaminate", "doc_to_decontamination_query",
    "gen_prefix", "metadata", *harness_files.CODE,
}  # fmt: skip
FORMAT = ("doc_to_text", "doc_to_choice", "doc_to_target", "gen_prefix", "fewshot_delimiter", "target_delimiter")
EXAMPLES = {"sampler", "split", "samples", "fewshot_indices", *FORMAT}


@dataclass(frozen=True)
class Item:
    """One document as it is put to a model.

    ``requests``: (context, continuation) pairs; one (text,) of a rolling task; one (context,) of what is written after.
    ``gold``: which choice is right, or several; the target text where there are no choices. ``choices``: what the
    harness measures lengths of. ``free``: how many requests at the end have no context, for mutual information.
    """

    number: int
    document: Document
    target: Any
    requests: tuple[tuple[str, ...], ...]
    gold: Any
    choices: tuple[str, ...] = ()
    free: int = 0


@dataclass(frozen=True)
class Declared:
    """A task as a file declares it, with its documents by split. ``shots`` and ``seed``: how many examples stand before
    a question, and the seed that they are drawn with."""

    config: Config
    splits: Mapping[str, Sequence[Document]]
    shots: int = 0
    seed: int = 1234
    metrics: tuple[str, ...] = field(init=False)
    filters: tuple[Filtering, ...] = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        unknown = [key for key in config if key not in KNOWN]
        if unknown:
            raise ValueError(f"task {self.name}: {unknown[0]!r} is no key of a task{did_you_mean(unknown[0], KNOWN)}")
        for key, what in harness_files.CODE.items():
            if config.get(key):
                raise ValueError(f"task {self.name}: {key} asks for {what}, which a task file cannot have here")
        if self.output not in get_args(Output):
            raise ValueError(f"task {self.name}: output_type {self.output!r} is none of {', '.join(get_args(Output))}")
        if self.shots < 0:
            raise ValueError(f"task {self.name}: the number of examples is 0 or more, got {self.shots}")
        if int(config.get("repeats") or 1) > 1:
            raise ValueError(
                f"task {self.name}: repeats {config['repeats']} asks for several answers to vote on; write 1"
            )
        if config.get("doc_to_target") is None:
            raise ValueError(f"task {self.name} has no doc_to_target: what is the right answer of a document?")
        if self.output == "multiple_choice" and config.get("doc_to_choice") is None:
            raise ValueError(f"task {self.name} is multiple_choice and has no doc_to_choice; list the choices")
        if self.output == "loglikelihood_rolling" and self.shots:
            raise ValueError(f"task {self.name} is about whole texts, before which no examples stand; set shots to 0")
        strange = set(self._examples) - EXAMPLES
        if strange:
            raise ValueError(f"task {self.name}: fewshot_config has {', '.join(sorted(strange))}, which is not known")
        if self._examples.get("sampler", "default") not in ("default", "first_n"):
            raise ValueError(
                f"task {self.name}: examples are drawn by 'default' or 'first_n', not by {self._examples['sampler']!r}"
            )
        object.__setattr__(self, "metrics", measuring.metrics(config, self.output))
        object.__setattr__(self, "filters", measuring.filters(config, self.output))
        if self.output == "generate_until":
            measuring.writing(config)  # says what is wrong with it

    @property
    def name(self) -> str:
        return str(self.config.get("task"))

    @property
    def output(self) -> Any:
        return self.config.get("output_type", "generate_until")

    @property
    def _examples(self) -> Mapping[str, Any]:
        return self.config.get("fewshot_config") or {}

    # What a field of the declaration makes of a document --------------------------------------------------------------

    @property
    def tested(self) -> str:
        """The split whose documents are asked."""
        split = self.config.get("test_split") or self.config.get("validation_split")
        if not split:
            raise ValueError(f"task {self.name} declares neither test_split nor validation_split: what is asked?")
        return str(split)

    def documents(self, split: str) -> Sequence[Document]:
        if split not in self.splits:
            raise ValueError(f"task {self.name} has no split {split!r}{did_you_mean(split, self.splits)}")
        return self.splits[split]

    def rendered(self, said: str, document: Document, key: str, where: str) -> Any:
        """The field of that name, or the template filled in."""
        if said in document:
            return document[said]
        if said in self._fields:
            raise ValueError(f"task {self.name}, {where} lacks the field {said!r}; it has {', '.join(document)}")
        return filled(said, document, f"task {self.name}, {where}: {key}")

    def _said(self, key: str, example: bool) -> Any:
        return self._examples.get(key, self.config.get(key)) if example else self.config.get(key)

    def text(self, document: Document, where: str, *, example: bool = False) -> Any:
        said = self._said("doc_to_text", example)
        if said is None or isinstance(said, int):
            return "" if said is None else said
        found = self.rendered(said, document, "doc_to_text", where)
        number = isinstance(found, str) and found.isdigit() and said not in document and self._choosing
        return int(found) if number else found

    @property
    def _choosing(self) -> bool:
        return self.config.get("doc_to_choice") is not None

    def target(self, document: Document, where: str, *, example: bool = False) -> Any:
        said = self._said("doc_to_target", example)
        if not isinstance(said, str):
            return said
        found = self.rendered(said, document, "doc_to_target", where)
        if said in document or not isinstance(found, str):
            return found
        if found.isdigit() and self._choosing:
            return int(found)
        if len(found) >= 2 and found[0] == "[" and found[-1] == "]":
            try:
                return ast.literal_eval(found)
            except (SyntaxError, ValueError):
                return found
        return found

    def choices(self, document: Document, where: str, *, example: bool = False) -> list[str] | None:
        said = self._said("doc_to_choice", example)
        found: Any = said
        if isinstance(said, str):
            found = self.rendered(said, document, "doc_to_choice", where)
            if said not in document:
                try:
                    found = ast.literal_eval(found)
                except (SyntaxError, ValueError):
                    raise ValueError(
                        f"task {self.name}, {where}: doc_to_choice makes {found[:60]!r}, which is no list"
                    ) from None
        elif isinstance(said, Mapping):
            found = list(said.values())
        if found is None:
            return None
        if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found) or not found:
            raise ValueError(f"task {self.name}, {where}: choices are a list of texts, got {found!r}")
        if not all(found):
            raise ValueError(f"task {self.name}, {where}: choice {list(found).index('')} is empty; leave it out")
        return list(found)

    # Prompts ----------------------------------------------------------------------------------------------------------

    def _pool(self) -> tuple[Sequence[Document], bool]:
        """Where examples come from, and whether the item itself is to be left out of them."""
        split = self._examples.get("split", self.config.get("fewshot_split"))
        itself = split == self.config.get("test_split")
        if split is None and self._examples.get("samples") is not None:
            return self._examples["samples"], itself
        if split is None:
            names = ("training_split", "validation_split", "test_split")
            split = next(self.config[name] for name in names if self.config.get(name))
        pool = self.documents(split)
        indices = self._examples.get("fewshot_indices")
        return ([pool[at] for at in indices] if indices else pool), itself

    def _drawn(self, document: Document, generator: random.Random) -> Sequence[Document]:
        """The examples before one document, moving the generator on."""
        pool, itself = self._pool()
        count = self.shots
        others = [one for one in pool if one != document] if itself else pool
        needed = count + itself if self._examples.get("sampler") != "first_n" else count
        if count > len(others) or needed > len(pool):
            raise ValueError(
                f"task {self.name}: {count} examples are asked for and there are {len(others)} to draw from; "
                "lower shots"
            )
        if self._examples.get("sampler") == "first_n":
            return others[:count]
        drawn = generator.sample(list(pool), needed)
        if itself:
            drawn = [one for one in drawn if one != document][:count]
        return drawn if len(drawn) == count else generator.sample(list(others), count)  # copies of it were drawn

    def _turn(self, text: str, answer: Any, choices: Sequence[str] | None, opening: str | None, example: bool) -> str:
        """A question, with its answer where it is an example; ``opening`` stands at the beginning of the answer."""
        between = self._said("target_delimiter", example)
        between = " " if between is None else between
        behind = self._said("fewshot_delimiter", example)
        behind = "\n\n" if behind is None else behind
        if answer is None or answer == "":
            if not opening:
                return text
            apart = bool(text) and not (text[-1].isspace() or opening[0].isspace())
            return text + (between if apart else "") + opening
        said = answer
        if choices and isinstance(answer, int):
            said = choices[answer]
        elif isinstance(answer, list):
            said = answer[0]
        if not isinstance(said, str):
            raise ValueError(
                f"task {self.name}: the answer of an example is {said!r}, which is no text; write it as a template"
            )
        if opening:
            said = opening + ("" if opening[-1].isspace() or said[0].isspace() else " ") + said
            between = between if text and not (text[-1].isspace() or opening[0].isspace()) else ""
        return text + between + said + behind

    def _before(self, document: Document, where: str, generator: random.Random) -> str:
        """Description and examples."""
        said = self.config.get("description") or ""
        parts = [str(self.rendered(said, document, "description", where)) if said else ""]
        for one in self._drawn(document, generator) if self.shots else ():
            text, choices = self.text(one, "an example", example=True), self.choices(one, "an example", example=True)
            answer = self.target(one, "an example", example=True)
            if isinstance(text, int) and choices:  # the choices are the texts
                self._among(text, choices, "an example")
                text, choices = choices[text], None
            elif choices and isinstance(answer, int):
                self._among(answer, choices, "an example")
            if not isinstance(text, str):
                raise ValueError(f"task {self.name}: doc_to_text makes {text!r} of an example, which is no text")
            opening = self._said("gen_prefix", True)
            opening = self.rendered(opening, one, "gen_prefix", "an example") if opening else None
            parts.append(self._turn(text, answer, choices, opening, True))
        return "".join(parts)

    def _among(self, gold: Any, choices: Sequence[str], where: str) -> None:
        for one in gold if isinstance(gold, list) else [gold]:
            if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < len(choices):
                raise ValueError(
                    f"task {self.name}, {where}: the right answer is {one!r}, which is none of {len(choices)} choices, "
                    "counted from 0"
                )

    def items(self, split: str, count: int | None = None) -> list[Item]:
        """The first documents of a split as they are put to a model. Raises ValueError naming the document that the
        declaration does not suit."""
        generator = random.Random(self.seed)
        return [
            self._item(number, document, generator) for number, document in enumerate(self.documents(split)[:count])
        ]

    def _item(self, number: int, document: Document, generator: random.Random) -> Item:
        where = f"document {number}"
        target = self.target(document, where)
        if self.output == "loglikelihood_rolling":
            if not isinstance(target, str) or not target:
                raise ValueError(f"task {self.name}, {where}: doc_to_target makes {target!r}, which is no text to read")
            return Item(number, document, target, ((target,),), target)
        before = self._before(document, where, generator)
        text, choices = self.text(document, where), self.choices(document, where)
        opening = self.config.get("gen_prefix")
        opening = self.rendered(opening, document, "gen_prefix", where) if opening else None
        if isinstance(text, int) and choices is not None:
            return self._varying(number, document, before, text, choices, target)
        if not isinstance(text, str):
            raise ValueError(f"task {self.name}, {where}: doc_to_text makes {text!r}, which is no text")
        context = before + self._turn(text, None, None, opening, False)
        if self.output == "loglikelihood":
            if not isinstance(target, str) or not target:
                raise ValueError(f"task {self.name}, {where}: doc_to_target makes {target!r}, which is no text")
            return Item(number, document, target, ((context, target),), target)
        if self.output == "generate_until":
            gold = target
            if choices is not None:
                self._among(target, choices, where)
                gold = choices[target]
            return Item(number, document, target, ((context,),), gold)
        assert choices is not None
        gold = choices.index(target) if isinstance(target, str) and target in choices else target
        self._among(gold, choices, where)
        behind = [f"{self._delimiter}{choice}" for choice in choices]
        return self._asked(number, document, target, [(context, one) for one in behind], gold, choices)

    def _varying(
        self, number: int, document: Document, before: str, gold: int, choices: list[str], target: Any
    ) -> Item:
        """The choices are contexts, which one text follows."""
        self._among(gold, choices, f"document {number}")
        if not isinstance(target, str) or not target:
            raise ValueError(f"task {self.name}, document {number}: doc_to_target makes {target!r}, which is no text")
        pairs = [(before + choice, f"{self._delimiter}{target}") for choice in choices]
        return self._asked(number, document, target, pairs, gold, choices)

    def _asked(
        self, number: int, document: Document, target: Any, pairs: list[tuple[str, str]], gold: Any, choices: list[str]
    ) -> Item:
        free = []
        if "acc_mutual_info" in self.metrics:
            free = [("", f"{self._delimiter}{choice}") for choice in choices]
        return Item(number, document, target, (*pairs, *free), gold, tuple(choices), len(free))

    @property
    def _delimiter(self) -> str:
        said = self.config.get("target_delimiter")
        return " " if said is None else said

    @cached_property
    def _fields(self) -> frozenset[str]:
        """The fields that any document of the tested split has."""
        return frozenset().union(*self.documents(self.tested))


def declared(
    path: str | Path, task: str = "", *, data: str = "", shots: int | None = None, seed: int = 1234
) -> list[Declared]:
    """The tasks that a name stands for in a file or folder. ``shots`` in place of the file's own number of examples."""
    found = []
    for config, folder in harness_files.find(path, task):
        config = {key: value for key, value in config.items() if key not in ("group", "tag", "task_list")}
        count = config.get("num_fewshot") or 0 if shots is None else shots
        documents = harness_files.documents(config, folder, data)
        found.append(Declared(config, documents, int(count), seed))
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} occurs twice among the tasks of {task or path}; ask for one of them")
    return found
