"""The likeliest text of a given length is less degenerate than the likeliest text of any length."""

from claims.decoding._text import mean, questions, repetition, system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.decoding._attributes import Length
from trivium.decoding.beam_search import BeamSearch
from trivium.decoding.conditional_beam_search import ConditionalBeamSearch

WIDTH, LENGTH, LIMIT, SHORTEST = 5, 32, 64, 4


def degenerate(text: list[int]) -> float:
    """1 for an empty text or next to it, else the share of repeated 4-grams."""
    return 1.0 if len(text) < SHORTEST else repetition(text)


def run(bar: Bar) -> ClaimResult:
    model, stop = system().model, system().stop
    decoders = {
        "unconditional": BeamSearch(WIDTH, length_penalty=0.0),
        "conditional": ConditionalBeamSearch(WIDTH, attribute=Length(LENGTH, LENGTH)),
    }
    rates: dict[str, list[float]] = {name: [] for name in decoders}
    lengths: dict[str, list[int]] = {name: [] for name in decoders}
    for prompt in questions("chat", "code"):
        for name, decoder in decoders.items():
            made = decoder(model, prompt, limit=LIMIT, generator=generator(0, "claim"), stop=stop)
            text = [token for token in made.row(0).tolist() if token not in stop.tokens]
            rates[name].append(degenerate(text))
            lengths[name].append(len(text))
        bar.advance(1)
    differences = [a - b for a, b in zip(rates["unconditional"], rates["conditional"], strict=True)]
    return judge(
        differences,
        note="one difference per prompt; the attribute is checked exactly, without a trained classifier",
        **{name: mean(values) for name, values in rates.items()},
        lengths=lengths,
    )


claim = Claim(
    statement="The likeliest text of 32 tokens is less degenerate than the likeliest text of any length.",
    paper="Yoshida, Goyal, Gimpel 2024: length-conditional modes are fluent where unconditional ones are empty or "
    "repetitive (qualitative; direction only).",
    rule="Degeneracy of a text: 1 under 4 tokens, else its share of repeated 4-grams. Beam search (width 5, no length "
    "normalisation) minus conditional beam search for exactly 32 tokens, end token apart: supported where the 95 % "
    "interval over prompts is above 0.",
    run=run,
)
