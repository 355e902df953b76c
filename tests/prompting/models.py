"""A tiny system of bytes and a task of two questions."""

from functools import cache

from tests.families import wrapped
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.prompt import Parts, PromptPlan, Question
from trivium.core.wording import Exemplar, Template, Wording
from trivium.data.formats import Field, Grammar
from trivium.models.planned import answer_logprobs
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

LONG = {"gpt2": {"n_positions": 768}, "mamba": {}}


def system(family="llama") -> System:
    """Shared between tests, which do not change it."""
    return _system(family)


@cache
def _system(family: str) -> System:
    settings = LONG.get(family, {"max_position_embeddings": 768})
    return System(wrapped(family, vocab_size=259, **settings), ByteTokenizer(), family)


class Questions:
    """Which option? The score is the answer's place."""

    measures = (Measure("answer", "Answer", None),)

    def examples(self, split):
        options = {"test": ("sky", "a rose", "grass"), "validation": ("one", "three", "ten")}[split]
        return [Example(f"{split}-{n}", "red?", fields={"options": options[n:] + options[:n]}) for n in range(2)]

    def ask(self, example):
        options = example.fields["options"]
        parts = Parts(*(f" {option};" for option in options))
        return Question(("Pick:", parts, f" {example.text}"), tuple(f" {option}" for option in options))

    def lay(self, system, question):
        return PromptPlan.flat(system.blocks(question.segments))

    def weigh(self, system, question, plan):
        answers = [system.blocks([answer])[-1] for answer in question.answers]
        return [sum(each) for each in answer_logprobs(system.model, plan, answers)]

    def score(self, system, example, output):
        question = output.ask(example)
        weights = output.weigh(system, question, output.lay(system, question))
        return Observation({"answer": float(weights.index(max(weights)))}, {"weights": list(weights)})


SEEN = (("blood", "red"), ("sea", "blue"), ("leaf", "green"))


class Worded(Questions):
    """What colour? Three labels, four templates, and two exemplars as a set."""

    labels = ("red", "blue", "green")
    templates = tuple(Template(text) for text in ("Colour of {text}:", "{text} is", "Is {text}", "Say: {text}\n"))
    pool = tuple(Exemplar({"text": text}, label) for text, label in SEEN)
    wording = Wording(templates[0], pool[:2])

    def examples(self, split):
        texts = {"test": ("sky", "rose"), "validation": ("moss", "fire")}[split]
        return [Example(f"{split}-{n}", text, fields={"label": self.labels[n]}) for n, text in enumerate(texts)]

    def formats(self, count, generator):
        return Grammar((Field("text", "Thing"),), "Colour").formats(count, generator)

    def read(self, example):
        return Exemplar({"text": example.text}, example.fields["label"])

    def ask(self, example):
        return self.wording.ask(self.read(example).fields, self.labels)

    def weigh_all(self, system, questions):
        return [self.weigh(system, question, self.lay(system, question)) for question in questions]


LETTERS = tuple(zip("abcdefgh" * 3, "kl" * 12, strict=True))


class Sorts(Worded):
    """Of which sort is it? Short words and a pool that is large enough for groups; with one item to choose on, which
    the model gets right, so that a search ends soon."""

    labels = ("x", "y", "z")
    pool = tuple(Exemplar({"text": f"{a}{b}"}, "xyz"[n % 3]) for n, (a, b) in enumerate(LETTERS))
    templates = (Template("{text}>", before="", between=";"), Template("({text})", before="", between=" "))
    wording = Wording(templates[0], pool[:2], "Sort:")

    def examples(self, split):
        texts = {"test": ("mm", "nn"), "validation": ("pp",)}[split]
        return [Example(f"{split}-{n}", text, fields={"label": "z"}) for n, text in enumerate(texts)]
