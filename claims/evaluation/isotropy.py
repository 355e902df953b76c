"""A language model's representations point in many directions, unlike those of the smallest GPT-2."""

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.evaluation.isotropy import Isotropy
from trivium.models.sources import load

TEXTS, GPT2_MEDIUM = 24, 0.25


def run(bar: Bar) -> ClaimResult:
    task = Isotropy(documents=TEXTS, length=128)
    system = load("smollm2-135m")
    examples = task.examples("test")
    found = task.measure(system, [example.text for example in examples], profile=True)
    values = [task.score(system, example).values["isotropy_per_text"] for example in examples]
    bar.advance(len(values))
    return judge(
        values,
        more_than=GPT2_MEDIUM,
        note="one isotropy per text, against the authors' figure for GPT-2 medium",
        pooled=found.pooled,
        per_text=found.per_text,
        texts=found.texts,
        tokens=found.tokens,
        layers=dict(found.layers),
    )


claim = Claim(
    statement="The last-layer states of SmolLM2-135M are more isotropic than those of the two small GPT-2 models.",
    paper="Su and Collier 2023: gpt2 0.10 and gpt2-medium 0.25 are the exceptions; gpt2-large 0.70, GPT-Neo 125M 0.68, "
    "OPT 125M to 30B 0.66 to 0.75.",
    rule="Isotropy per text, over 24 stories of at most 128 tokens: supported where the 95 % interval of the mean is "
    "above 0.25, contradicted where it lies wholly below.",
    run=run,
)
