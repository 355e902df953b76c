"""A tiny system of bytes and a task of two questions."""

from functools import cache

from tests.families import wrapped
from trivium.core.nouns import Example, Measure, Observation
from trivium.core.prompt import Parts, PromptPlan, Question
from trivium.models.planned import answer_logprobs
from trivium.models.system import System
from trivium.tokenization.byte import ByteTokenizer

LONG = {"gpt2": {"n_positions": 256}, "mamba": {}}


def system(family="llama") -> System:
    """Shared between tests, which do not change it."""
    return _system(family)


@cache
def _system(family: str) -> System:
    settings = LONG.get(family, {"max_position_embeddings": 256})
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
