"""What the task reports of acceptance predicts the tokens of a pass: by depth, and as if it were independent."""

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.nouns import Example
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.stories import stories
from trivium.decoding.speculative import Speculative
from trivium.drafting.prompt_lookup import PromptLookup
from trivium.evaluation.speed import Speed
from trivium.models.sources import load

STORIES, OPENING, NEW = 12, 120, 192


def run(bar: Bar) -> ClaimResult:
    """Look up drafts of one fixed length in held-out stories that go on, and set tau beside the two references."""
    bar.total = STORIES
    system = load("tiny")
    documents = [text for text in stories(1000, seed=1)["test"] if len(text.encode()) >= OPENING][:STORIES]
    prompts = [Example(f"story-{n}", text[:OPENING]) for n, text in enumerate(documents)]
    task, decoder = Speed(prompts, rows=(1,), count=STORIES, warmups=1), Speculative(PromptLookup(length=8, trust=8))
    seen = []
    for example in task.examples("test"):
        made = task.run(decoder, system, example, NEW, generator(0, example.id))
        seen.append(task.score(system, example, made).values)
        bar.advance(1, example.id)
    tau, independent, by_depth = ([values[name] for values in seen] for name in ("tau", "independent", "by_depth"))
    above = [a - b for a, b in zip(tau, independent, strict=True)]
    means = {name: sum(values) / len(values) for name, values in
             (("tau", tau), ("independent", independent), ("by_depth", by_depth))}  # fmt: skip
    return judge(above, note=f"{len(documents)} held-out stories, {NEW} new bytes each, chains of up to 8", **means)


claim = Claim(
    statement="Acceptance is correlated: a pass brings more tokens than independent acceptance of the same mean would.",
    paper="Leviathan et al. 2023 (arXiv:2211.17192), equation 1: (1 - A^(g+1)) / (1 - A) tokens a pass, assuming that "
    "acceptance is independent and of one mean; no figure is given for how far text is from that.",
    rule="tau minus the value of the formula, paired by story; supported where the 95 % interval over stories is above "
    "0.",
    run=run,
)
