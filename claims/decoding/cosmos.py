"""The best way that a search finds, against what is drawn at once, before a judge that took no part."""

from typing import Any

import torch

from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.sentences import sentences
from trivium.data.stories import stories
from trivium.decoding._worth import Reader, kappa
from trivium.decoding.cosmos import Cosmos
from trivium.decoding.sampling import Sampling
from trivium.models.sources import load

PROMPTS, NEW = 48, 160


def run(bar: Bar) -> ClaimResult:
    """The small model writes and is its own reference; the judge is a pretrained one of another vocabulary."""
    bar.total = PROMPTS
    system, judging = load("tiny"), load("smollm2-135m")
    corpus = stories(4000, seed=7)
    searching = system.fit(Cosmos(simulations=30)).fit(system.model, list(corpus["train"])[:200])

    def judged(opening: str, text: str) -> float:
        """Nats per byte of a text behind its opening."""
        ids = torch.cat([judging.prompt(opening)[0], torch.tensor(judging.tokenizer.encode(text))])
        start = len(ids) - len(judging.tokenizer.encode(text))
        with torch.no_grad():
            logp = judging.model(ids[None]).logits[0, start - 1 : -1].log_softmax(-1)
        return -float(logp.gather(1, ids[start:, None]).sum()) / len(text.encode())

    def worth(prompt: torch.Tensor, ids: list[int]) -> float:
        """The curve's value, mean over the sentences."""
        parts = [system.tokenizer.encode(part) for part in sentences(system.tokenizer.decode(ids))]
        with torch.no_grad():
            reader = Reader(system.model, prompt[0], 0)
            (said,) = reader.read(reader.after([]), [[token for part in parts for token in part]]).logprobs
        each = said.split([len(part) for part in parts])
        return sum(kappa(-float(part.mean()), searching.centre, searching.spread) for part in each) / len(parts)

    found: dict[str, Any] = {name: {"value": [], "judge": []} for name in ("search", "sample")}
    for number, story in enumerate(list(corpus["test"])[:PROMPTS]):
        opening = "".join(sentences(story)[:2])
        prompt = system.prompt(opening)
        for name, decoder in (("search", searching), ("sample", Sampling(temperature=1.0))):
            draws = generator(number, "claim")
            ids = decoder(system.model, prompt, limit=NEW, generator=draws).row(0).tolist()
            found[name]["value"].append(worth(prompt, ids))
            found[name]["judge"].append(judged(opening, system.tokenizer.decode(ids)))
        bar.advance(note=f"story {number + 1}")
    wins = [float(own < other) - 0.5 for own, other in zip(*(found[n]["judge"] for n in found), strict=True)]
    means = {f"{name}_{what}": sum(each) / len(each) for name, of in found.items() for what, each in of.items()}
    more = [own - other for own, other in zip(*(found[n]["value"] for n in found), strict=True)]
    note = "difference is the judge's share of wins minus one half; the judge's figures are nats per byte"
    return judge(wins, note=note, **means, share_of_higher_value=sum(d > 0 for d in more) / len(more))


claim = Claim(
    statement="What the search takes for the best way to tell a story is preferred, by a model that took no part, to "
    "what the same model writes in a single pass.",
    paper="Materzok 2025, abstract: 67 to 77 % of participants preferred expansions of high value to those of low "
    "value, with Llama 3.2 3B. The direction is tested here, with a judging model and a writer of bytes.",
    rule="Curve fitted to stories, 30 simulations a round; 48 openings, 160 bytes each. Share of openings at which "
    "SmolLM2-135M finds the searched text likelier per byte than a sampled one, minus one half: supported where the "
    "95 % interval is above 0, contradicted where it is below, otherwise not visible.",
    run=run,
)
