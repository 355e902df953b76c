"""What the claims on drawn trees share: target and draft, and tokens per target pass while sampling."""

from claims.drafting.draft_model import noisy
from trivium.compare.claim import ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.protocols import Drafter, LanguageModel
from trivium.core.seeds import generator
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.models.sources import load

SEEDS, ROWS, NEW = range(6), 16, 48


def pair() -> tuple[LanguageModel, LanguageModel]:
    """The target and a draft that agrees with it now and then."""
    target = load("tiny").model
    return target, noisy(target)


def tokens_per_pass(drafter: Drafter, verifier: str, bar: Bar) -> list[float]:
    """One figure per seed, over a batch of stories."""
    system, found = load("tiny"), []
    prompt = system.prompt("One day").repeat(ROWS, 1)
    fast = Speculative(drafter, verifier=verifier, of=Sampling())
    for seed in SEEDS:
        made = fast(system.model, prompt, limit=NEW, generator=generator(seed, "claim"))
        found.append(made.trace.mean_accepted_length)
        bar.advance()
    return found


def compare(ours: list[float], theirs: list[float], note: str) -> ClaimResult:
    """Paired by seed, the second tree's tokens per pass taken from the first's."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    return judge(differences, note=note, distinct=sum(ours) / len(ours), independent=sum(theirs) / len(theirs))
