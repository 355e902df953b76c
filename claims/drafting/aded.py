"""A tri-gram table that adapts to the text is accepted further than the same table left fixed."""

from claims.decoding._text import batch, mean, questions, system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.data.python_docs import python_docs
from trivium.decoding.speculative import Speculative
from trivium.drafting._trigrams import TrigramTable
from trivium.drafting.aded import Aded

PATHS, DOCUMENTS, NEW = 6, 100, 48
"""Few paths, since on a processor core a further position costs nearly as much as the first."""


def run(bar: Bar) -> ClaimResult:
    tokenizer = system().tokenizer
    texts = (tokenizer.encode(document) for document in python_docs()["train"][:DOCUMENTS])
    table = TrigramTable.build(texts, system().model.vocab_size)
    bar.advance()
    asked = questions(split="validation")
    lengths = {}
    for name, increment in (("adapting", Aded().increment), ("fixed", 0.0)):
        made = batch(Speculative(Aded(table, paths=PATHS, increment=increment)), asked, new=NEW)
        assert made.accepted is not None
        drafted = made.accepted.sum(1).tolist()  # each pass adds one token that was not drafted
        lengths[name] = [NEW / (NEW - taken) for taken in drafted]
        bar.advance(len(asked))
    differences = [a - b for a, b in zip(lengths["adapting"], lengths["fixed"], strict=True)]
    note = "tokens per target pass, the extra token included, one difference per prompt"
    return judge(
        differences, note=note, pairs=len(table), adapting=mean(lengths["adapting"]), fixed=mean(lengths["fixed"])
    )


claim = Claim(
    statement="Adapting the tri-grams to the committed text raises the number of tokens accepted per target pass.",
    paper="Liu et al. 2024: average acceptance about 20 % above the fixed retrieval baseline, up to 2.5 times faster.",
    rule="Tokens per target pass in 48 greedy tokens, adapting minus fixed, both from one table of Python's "
    "documentation: supported where the 95 % interval over the validation prompts is above 0.",
    run=run,
)
