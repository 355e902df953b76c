"""DoLa ranks what is true above what merely sounds likely: cloze facts, each with a wrong answer of the same kind."""

import torch

from claims.decoding._text import system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.decoding.dola import DoLa, contrast

FACTS = (
    ("The capital of France is the city of", " Paris", " Lyon"),
    ("The capital of Germany is the city of", " Berlin", " Hamburg"),
    ("The capital of Italy is the city of", " Rome", " Milan"),
    ("The capital of Spain is the city of", " Madrid", " Barcelona"),
    ("The capital of Australia is the city of", " Canberra", " Sydney"),
    ("The capital of Canada is the city of", " Ottawa", " Toronto"),
    ("The capital of Turkey is the city of", " Ankara", " Istanbul"),
    ("The capital of Switzerland is the city of", " Bern", " Geneva"),
    ("The capital of Japan is the city of", " Tokyo", " Kyoto"),
    ("The capital of India is the city of New", " Delhi", " York"),
    ("The planet nearest to the sun is", " Mercury", " Venus"),
    ("The largest planet of the solar system is", " Jupiter", " Saturn"),
    ("The red planet is", " Mars", " Venus"),
    ("Water is made of hydrogen and", " oxygen", " nitrogen"),
    ("Most of the air we breathe is", " nitrogen", " oxygen"),
    ("The metal that is liquid at room temperature is", " mercury", " iron"),
    ("Romeo and Juliet was written by William", " Shakespeare", " Blake"),
    ("The theory of evolution by natural selection was proposed by Charles", " Darwin", " Dickens"),
    ("The theory of relativity was proposed by Albert", " Einstein", " Camus"),
    ("The largest ocean on Earth is the", " Pacific", " Atlantic"),
    ("The longest river of South America is the", " Amazon", " Nile"),
    ("The language spoken in Brazil is", " Portuguese", " Spanish"),
    ("The language spoken in Austria is", " German", " Austrian"),
    ("The language spoken in Mexico is", " Spanish", " Mexican"),
    ("A spider has a number of legs that is", " eight", " six"),
    ("An insect has a number of legs that is", " six", " eight"),
    ("The opposite of hot is", " cold", " warm"),
    ("The first president of the United States was George", " Washington", " Bush"),
    ("The gas that plants take in from the air is carbon", " dioxide", " monoxide"),
    ("The organ that pumps blood through the body is the", " heart", " brain"),
)


def run(bar: Bar) -> ClaimResult:
    model, encode = system().model, system().tokenizer.encode
    gains, right = [], {"plain": 0, "dola": 0}
    sites = [f"blocks.{layer}.in" for layer in DoLa().candidates(model.depth)]
    for text, true, false in FACTS:
        answers = [encode(true)[0], encode(false)[0]]
        with torch.inference_mode(), model.capture(*sites) as seen:
            final = model(torch.tensor([encode(text)]), logits_to_keep=1).logits[:, -1].log_softmax(-1)
            early = torch.stack([model.read_out(seen[site][:, -1:])[:, 0].log_softmax(-1) for site in sites])
        scores = contrast(final, early, 0.0)[0]
        plain, contrasted = (float(one[answers[0]] - one[answers[1]]) for one in (final[0], scores))
        gains.append(contrasted - plain)
        right["plain"] += plain > 0
        right["dola"] += contrasted > 0
        bar.advance(1)
    return judge(gains, note="one difference per fact; first tokens of the answers", facts=len(FACTS), right=right)


claim = Claim(
    statement="Contrasting the last layer with the one that differs most raises the true answer against a wrong one of "
    "the same kind.",
    paper="Chuang et al. 2024, abstract: 12 to 17 points on TruthfulQA with LLaMA 7B to 65B; the direction is tested "
    "here, on a model of 135 million parameters.",
    rule="Log-score of the true minus the false answer, contrasted (high layers, no plausibility cut) minus plain, "
    "over facts: supported where the 95 % interval is above 0, contradicted where it lies wholly below.",
    run=run,
)
