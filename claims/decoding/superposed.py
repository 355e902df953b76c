"""Three drafts of one superposed run are as coherent as three nucleus samples, for a third of the passes."""

import tempfile

import torch

from claims.decoding._text import mean, system
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.meter import Meter
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.named import named
from trivium.decoding.superposed import Superposed, build_tables
from trivium.decoding.top_p import TopP

PROMPTS, BEGINNING, NEW, DRAFTS, COUNTED = 24, 15, 10, 3, 2000


def likelihood(prompt: torch.Tensor, texts: list[list[int]]) -> float:
    """Mean log-probability per new token under the model that was asked, text by text."""
    found = []
    for text in texts:
        ids = torch.cat([prompt, torch.tensor([text])], 1)
        with torch.inference_mode():
            logp = system().model(ids).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
        found.append(float(logp.gather(1, torch.tensor(text)[:, None]).mean()))
    return mean(found)


def run(bar: Bar) -> ClaimResult:
    encode, corpus = system().tokenizer.encode, named("stories")
    values: dict[str, list[float]] = {"superposed": [], "top_p": []}
    calls = {"superposed": 0, "top_p": 0}
    effective = []
    with tempfile.TemporaryDirectory() as folder:
        build_tables((encode(text) for text in corpus["train"][:COUNTED]), system().tokenizer, folder)
        decoder = system().fit(Superposed(DRAFTS, tables=folder))
        for number, text in enumerate(corpus["test"][:PROMPTS]):
            prompt = torch.tensor([encode(text)[:BEGINNING]])
            with Meter() as meter:
                found = decoder.all_drafts(system().model, prompt, limit=NEW)[0]
            calls["superposed"] += meter.spent.calls
            effective.append(mean(found.effective))
            values["superposed"].append(likelihood(prompt, [list(one.tokens) for one in found.best(DRAFTS)]))
            with Meter() as meter:
                drawn = [
                    TopP(0.9)(system().model, prompt, limit=NEW, generator=generator(number, "sample", str(index)))
                    for index in range(DRAFTS)
                ]
            calls["top_p"] += meter.spent.calls
            values["top_p"].append(likelihood(prompt, [one.row(0).tolist() for one in drawn]))
            bar.advance(1)
    differences = [a - b for a, b in zip(values["superposed"], values["top_p"], strict=True)]
    return judge(
        differences,
        note="one difference per prompt: mean log-probability per token of three drafts of ten tokens",
        log_probability={name: mean(one) for name, one in values.items()},
        passes=calls,
        effective_drafts=mean(effective),
    )


claim = Claim(
    statement="Three drafts from one superposed run (2- to 6-grams of 2000 stories) are likelier under the model than "
    "three nucleus samples, with a third of their passes.",
    paper="Shen et al. 2024: at least 2.44 times faster for three or more drafts, at coherence and factuality on a par "
    "with nucleus sampling and greedy decoding, for Llama-2-7B.",
    rule="Mean log-probability per token under the model alone, superposed minus top-p (0.9), over story beginnings: "
    "supported where the 95 % interval is above 0, contradicted where it lies wholly below.",
    run=run,
)
