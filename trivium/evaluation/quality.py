"""Quality of continuations: go on from the opening of a real text, and set that beside how the text really goes on.

Source
    MAUVE: Pillutla et al. 2021, "MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence
    Frontiers", arXiv:2102.01454, with the smoothed counts of Pillutla et al. 2023, arXiv:2212.14578. Repetition,
    diversity and coherence: Su et al. 2022, "A Contrastive Framework for Neural Text Generation", arXiv:2202.06417,
    section 4. Surprise against that of human text: Holtzman et al. 2020, "The Curious Case of Neural Text
    Degeneration", arXiv:1904.09751, section 4.
Equation
    MAUVE: see nn.mauve;   rep-n = 1 - |unique n-grams| / |n-grams|;   diversity = product over n = 2, 3, 4 of 1 - rep-n
    coherence = cos(vector of the opening, vector of what was written)
    judged = - sum log2 p_judge(continuation | opening) / UTF-8 bytes of it;   excess = judged - that of the real text
    greedy share: of tokens with p(x_t | x_<t) = max_v p(v | x_<t);   greedy prefix: of tokens before the first other
Shapes
    Generation of one row with ids (1, new) -> an Observation with numbers and two vectors, of the output and the real
    text, from which the report makes MAUVE over all outputs
Cost
    Beside the generation, and not counted as the contender's: one pass of the model and one of the judge over the text,
    one pass of the encoder.
Caveats
    MAUVE is meant for thousands of texts and for GPT-2 large's states; here it is of tens of short ones in vectors of a
    small sentence encoder, and of a few dozen texts it is near 1 for most decoders, so that repetition leads. It
    compares contenders of one run and nothing else: no value is comparable with the paper's, and all are lower than
    with more texts. Bins are the larger of a tenth and the root of the number of texts, where the paper takes a tenth.
    Which of two decoders is better by one judge's bits is not said: human text lies between dull and random, so the
    excess has no direction and is best near 0. Coherence is highest for a copy of the opening.
    Texts run past the model's end token, so that all write equally much; the real text is cut to as many tokens of the
    model's. The judge reads opening and continuation as two tokenized pieces. Openings are plain text, put into no chat
    template. Python's documentation differs between versions of Python, and a model may have been trained on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from trivium.core.method import method
from trivium.core.nouns import Example, Generation, Measure, Observation
from trivium.data import splits
from trivium.data.corpus import Corpus
from trivium.data.passages import passages
from trivium.evaluation._ngrams import repetition
from trivium.models.encoders import Encoder, encoder
from trivium.models.sources import load
from trivium.models.system import System

JUDGES = ("gemma3-270m", "smollm2-135m")
"""Of which the first that is not the model itself judges, where none is named."""


@method(title="Quality of continuations", source="arXiv:2102.01454", year=2021, needs=["causal"])
@dataclass(frozen=True)
class Quality:
    """Openings of real texts to go on from, and measures of what was written beside how they really go on."""

    sources: Sequence[Corpus | str] = ("stories", "python_docs")
    """Corpora, their names or paths of text; 'prompts' stands for the built-in prompts, cut in two."""
    passages: int = 12
    """Passages of each source; MAUVE needs ten in all, and says more with hundreds."""
    opening: int = 200
    """Characters of a text to go on from."""
    rest: int = 320
    """Characters of the real text that follow at least; take six for each new token."""
    limit: int = 48
    """New tokens, where the budget is not in new tokens itself."""
    judge: str = ""
    """Another model that reads what was written; by default a known one that is not the model itself."""
    encoder: str = "minilm-l6"
    """What makes vectors of texts: a sentence encoder, or a language model, whose states are then averaged."""

    measures: ClassVar[Sequence[Measure]] = (
        Measure("repetition", "Repeated 4-grams", False),
        Measure("coherence", "Coherence with the opening", True, "cosine"),
        Measure("mauve", "MAUVE", True, pooled="mauve"),
        Measure("excess", "Bits per byte under the judge above the real text's", None, "bits/byte"),
        Measure("judged", "Bits per byte under the judge", None, "bits/byte"),
        Measure("logprob", "Mean log-probability under the model", None, "nats/token"),
        Measure("diversity", "Diversity of n-grams", None),
        Measure("repetition_2", "Repeated 2-grams", None),
        Measure("repetition_3", "Repeated 3-grams", None),
        Measure("greedy_share", "Tokens that greedy would take too", None),
        Measure("greedy_prefix", "Written before the first other token than greedy's", None),
    )

    def __post_init__(self) -> None:
        if isinstance(self.sources, str) or not self.sources:
            raise ValueError(f"sources must be a list of at least one corpus, got {self.sources!r}")
        for name, least in (("passages", 1), ("opening", 16), ("rest", 16), ("limit", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def examples(self, split: str) -> list[Example]:
        """The passages of every source; those of one document are a cluster."""
        splits.check(split)
        return [
            Example(
                f"{one.source}/{split}-{one.document:04d}-{one.number}",
                one.opening,
                cluster=f"{one.source}/{one.document}",
                fields={"group": one.source, "real": one.rest},
            )
            for source in self.sources
            for one in passages(source, split, self.passages, opening=self.opening, rest=self.rest)
        ]

    def prompt(self, system: System, example: Example) -> str:
        """The opening as it is. The judge and the encoder are opened here, before any work, should they be missing."""
        self.judge_of(system)
        _encoder(self.encoder)
        return example.text

    def judge_of(self, system: System) -> System:
        """The model that judges this system's texts. Raises ValueError where it is the system's own."""
        own = {system.name, system.source}
        name = self.judge or next(name for name in JUDGES if name not in own)
        found = _loaded(name)
        if found.fingerprint and found.fingerprint == system.fingerprint:
            raise ValueError(f"the judge {name} is the model that writes; name another, such as {JUDGES[0]}")
        return found

    def score(self, system: System, example: Example, output: Generation) -> Observation:
        ids = output.row(0).tolist()
        if not ids:
            raise ValueError(f"nothing was generated for {example.id!r}")
        text = system.tokenizer.decode(ids)
        real = system.tokenizer.decode(system.tokenizer.encode(example.fields["real"])[: len(ids)])
        own, reference, opening = _encoder(self.encoder)([text, real, example.text])
        again = {n: repetition(ids, n) for n in (2, 3, 4)}
        judge = self.judge_of(system)
        judged, human = (bits_per_byte(judge, example.text, words) for words in (text, real))
        taken = greedy_choices(system, example.text, ids)
        values: dict[str, float | None] = {
            "repetition": again[4],
            "repetition_2": again[2],
            "repetition_3": again[3],
            "diversity": None if again[4] is None else math.prod(1 - (x or 0.0) for x in again.values()),
            "logprob": float(output.logprobs[0, : len(ids)].double().mean()),
            "coherence": float(own @ opening),
            "judged": judged,
            "excess": None if judged is None or human is None else judged - human,
            "greedy_share": float(taken.double().mean()),
            "greedy_prefix": float(taken.long().cumprod(0).double().mean()),
        }
        return Observation(
            {name: value for name, value in values.items() if value is not None},
            {"text": text, "spans": [{"text": text, "kind": "plain"}]},
            {"own": own.tolist(), "reference": reference.tolist()},
        )


@lru_cache(maxsize=2)
def _loaded(name: str) -> System:
    return load(name)


@lru_cache(maxsize=2)
def _encoder(name: str) -> Encoder:
    return encoder(name)


@torch.no_grad()
def bits_per_byte(judge: System, opening: str, text: str) -> float | None:
    """What the judge needs for the text once it has read the opening; None for a text of no bytes."""
    size = len(text.encode("utf-8", "surrogatepass"))
    before, ids = judge.prompt(opening), judge.tokenizer.encode(text)
    if not size or not ids:
        return None
    fed = torch.cat([before, torch.tensor([ids], device=before.device)], 1)
    logp = _logp(judge, fed, len(ids))
    return -float(logp.gather(1, fed[0, -len(ids) :, None].cpu()).sum()) / math.log(2) / size


@torch.no_grad()
def greedy_choices(system: System, opening: str, ids: Sequence[int]) -> Tensor:
    """(new,) bool: which tokens are, where they stand, as likely as any. Up to the first that is not, greedy decoding
    would have written the same."""
    before = system.prompt(opening)
    fed = torch.cat([before, torch.tensor([list(ids)], device=before.device)], 1)
    logp = _logp(system, fed, len(ids))
    return logp.gather(1, torch.tensor(ids)[:, None])[:, 0] >= logp.amax(1)


def _logp(system: System, fed: Tensor, count: int) -> Tensor:
    """(count, vocab) in float64: of each of the last tokens, given those before it."""
    logits = system.model(fed, logits_to_keep=count + 1).logits[0, :-1]
    return logits.cpu().double().log_softmax(-1)
