"""Templates of our own for the two forms of labelled items: twelve ways to put each, the plainest first.

They differ in what prompts differ in: descriptors, statement or question, whether the labels are named, and the words
that are written for them. None of them was chosen by a score.
"""

from collections.abc import Mapping

from trivium.core.wording import Template
from trivium.data.formats import Field, Grammar
from trivium.data.labelled import Form

RIGHT_WRONG = (("yes", "right"), ("no", "wrong"))
TRUE_FALSE = (("yes", "true"), ("no", "false"))
CORRECT_NOT = (("yes", "correct"), ("no", "incorrect"))

TEMPLATES: Mapping[Form, tuple[Template, ...]] = {
    "intents": (
        Template("Utterance: {text}\nIntent:"),
        Template("{text}\nThis is about the"),
        Template('"{text}" In one word, what is wanted? The'),
        Template("Request: {text}\nTopic:"),
        Template("A user said: {text}\nThe user's topic is:"),
        Template("Classify what is said by its topic.\n{text}\nTopic:"),
        Template("Input: {text}\nOutput:"),
        Template("Text: {text}\nQuestion: What is this about?\nAnswer:"),
        Template("Command: {text}\nCategory:"),
        Template("{text} ="),
        Template('The sentence "{text}" belongs in the category'),
        Template("Assistant, {text}\n(The assistant opens the app for"),
    ),
    "answers": (
        Template("Question: {question}\nProposed answer: {answer}\nIs the answer right?"),
        Template("{question} {answer}. This answer is", RIGHT_WRONG),
        Template("Q: {question}\nA: {answer}\nTrue or false?", TRUE_FALSE),
        Template("{question}\nSomebody says: {answer}.\nThat is", TRUE_FALSE),
        Template("Question: {question}\nAnswer: {answer}\nThe answer is", CORRECT_NOT),
        Template('Is "{answer}" an answer to "{question}"?'),
        Template("Teacher: {question}\nPupil: {answer}\nTeacher: That is", RIGHT_WRONG),
        Template("{question}\n{answer}\nCorrect?"),
        Template("Input: {question} / {answer}\nOutput:", TRUE_FALSE),
        Template('The answer to "{question}" is {answer}. Yes or no?'),
        Template("Check the answer.\nQuestion: {question}\nAnswer: {answer}\nVerdict:", CORRECT_NOT),
        Template("Quiz: {question}\nGuess: {answer}\nThe guess was", RIGHT_WRONG),
    ),
}

GRAMMARS: Mapping[Form, Grammar] = {
    "intents": Grammar((Field("text", "Utterance"),), "Intent"),
    "answers": Grammar((Field("question", "Question"), Field("answer", "Proposed answer")), "Right"),
}
"""What the formats of each form consist of."""
