"""Insults put between sentences of stories are found, and sentences of stories are left alone."""

import random

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import derive
from trivium.curation.toxicity import Toxicity
from trivium.data.marks import Texts
from trivium.data.sentences import sentences
from trivium.data.stories import story

SEEDS, DOCUMENTS = 5, 200
_INSULTS = (
    "You miserable idiot!", "Only a moron says that.", "That filth is all you are, you scum.", "Shut up, you liar.",
    "Go to hell!", "They are disgusting, all of them.", "What a worthless coward he is!", "Nobody likes you, pig.",
)  # fmt: skip
"""None of them is of the templates that the toy is taught by, though their words are."""


def run(bar: Bar) -> ClaimResult:
    """F1 of marked sentences against insults that were put in, with the toy classifier, at the published bound."""
    bar.total = SEEDS
    scores = []
    for seed in range(SEEDS):
        draw = random.Random(derive(seed, "insults"))
        documents, insults = [], []
        for number in range(DOCUMENTS):
            parts = [part.strip() for part in sentences(story(seed + 50, number))]
            put = draw.choice(_INSULTS)
            parts.insert(draw.randint(0, len(parts)), put)
            documents.append("\n".join(parts))
            insults.append(put)
        marks = Toxicity().tag(Texts([str(n) for n in range(DOCUMENTS)], documents, ["s"] * DOCUMENTS))
        right = given = 0
        for text, put, row in zip(documents, insults, marks.spans["toxic"], strict=True):
            given += len(row)
            right += sum(text[a:b] == put for a, b, _ in row)
        scores.append(2 * right / (given + DOCUMENTS))
        bar.advance()
    return judge([score - 0.5 for score in scores], f1=sum(scores) / SEEDS)


claim = Claim(
    statement="A linear classifier finds insults by their words where it has seen the words, in other sentences.",
    paper="Dolma, section 5.1.4, deletes spans with a score of 0.4 or more; no recall is given.",
    rule=f"{SEEDS} seeds of {DOCUMENTS} documents with one insult each: 95 % t-interval of F1 above 0.5",
    run=run,
)
