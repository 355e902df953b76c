"""The texts of a diverse beam share less than those of a beam of the same width."""

from claims.decoding._text import mean, questions, system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.decoding.beam_search import BeamSearch
from trivium.decoding.diverse_beam_search import DiverseBeamSearch

WIDTH, NEW, N = 4, 32, 4


def distinct(texts: list[tuple[int, ...]]) -> float:
    """Distinct 4-grams over all 4-grams of the texts of one prompt."""
    grams = [text[at : at + N] for text in texts for at in range(len(text) - N + 1)]
    return len(set(grams)) / len(grams)


def run(bar: Bar) -> ClaimResult:
    asked = questions("chat", "code")
    shares: dict[str, list[float]] = {"plain": [], "diverse": []}
    for prompt in asked:
        for name, decoder in (("plain", BeamSearch(WIDTH)), ("diverse", DiverseBeamSearch(WIDTH, WIDTH))):
            found = decoder.n_best(system().model, prompt, limit=NEW)[0]
            shares[name].append(distinct([one.tokens for one in found]))
        bar.advance(1)
    differences = [a - b for a, b in zip(shares["diverse"], shares["plain"], strict=True)]
    note = "one difference per prompt: share of distinct 4-grams among all 4-grams of the four texts"
    return judge(differences, note=note, **{name: mean(values) for name, values in shares.items()})


claim = Claim(
    statement="Four groups of one beam give more varied texts than one beam of four.",
    paper="Vijayakumar et al. 2018, more distinct n-grams than beam search in image captioning, translation and "
    "question generation (direction only).",
    rule="Share of distinct 4-grams among the four texts of a prompt, diverse (strength 0.5) minus plain: supported "
    "where the 95 % interval over prompts is above 0.",
    run=run,
)
