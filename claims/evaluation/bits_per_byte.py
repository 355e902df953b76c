"""Bits per byte do not depend on how a text is cut into tokens; loss per token does."""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from trivium.compare.claim import Claim, ClaimResult
from trivium.core.progress import Bar
from trivium.core.protocols import LanguageModel, LMOutput
from trivium.core.seeds import generator
from trivium.data.corpus import Corpus
from trivium.data.stories import stories
from trivium.evaluation.bits_per_byte import BitsPerByte
from trivium.models.system import System

DOCUMENTS = 20


class Table(LanguageModel):
    """The next token depends on the last one: (vocab, vocab) log-probabilities."""

    width, depth, offers = 1, 1, frozenset({"causal"})

    def __init__(self, logp: Tensor) -> None:
        super().__init__()
        self.vocab_size = len(logp)
        self.logp = nn.Parameter(logp, requires_grad=False)

    def run(self, ids, *, embeds, mask, positions, segments, state, keep_state, logits_to_keep):
        assert ids is not None
        return LMOutput(self.logp[ids], self.logp.new_zeros(*ids.shape, 1))

    def embed(self, ids: Tensor) -> Tensor:
        return ids[..., None].double()

    def sites(self) -> tuple[str, ...]:
        return ()

    def capture(self, *names: str, **how):
        return nullcontext({})

    def edit(self, edits):
        return nullcontext()


class Letters:
    """One token a letter of the alphabet; the last id opens a text."""

    def __init__(self, alphabet: str, each: int) -> None:
        self.alphabet, self.each = alphabet, each
        self.vocab_size = len(alphabet) ** each + 1
        self.bos: int | None = self.vocab_size - 1
        self.eos: int | None = None
        self.pad: int | None = None
        self.opening = (self.bos,)

    def encode(self, text: str) -> list[int]:
        n, ids = len(self.alphabet), []
        for at in range(0, len(text), self.each):
            code = 0
            for letter in text[at : at + self.each]:
                code = code * n + self.alphabet.index(letter)
            ids.append(code)
        return ids

    def decode(self, ids) -> str:
        raise NotImplementedError("only encoding is needed here")

    def bytes_of(self, id: int) -> bytes:
        return b"" if id == self.bos else b"x" * self.each


def pairs(single: Tensor) -> Tensor:
    """The same law over pairs: log p(ab | ..y) = log p(a | y) + log p(b | a). (n+1, n+1) -> (n*n+1, n*n+1)"""
    n = len(single) - 1
    joint = single[:, :n, None] + single[None, :n, :n]  # (last letter or opening, a, b)
    table = torch.full((n * n + 1, n * n + 1), -math.inf, dtype=single.dtype)
    table[:-1, :-1] = joint[:n].reshape(n, n * n).repeat(n, 1)
    table[-1, :-1] = joint[n].reshape(-1)
    return table


def run(bar: Bar) -> ClaimResult:
    """One law of text, written over letters and over pairs of letters, and a loop by hand."""
    bar.total = DOCUMENTS
    texts = ["".join(c for c in t.lower() if c in " abcdefghijklmnopqrstuvwxyz.") for t in stories(400)["test"]]
    texts = [text[: len(text) // 2 * 2] for text in texts[:DOCUMENTS]]
    alphabet = "".join(sorted(set("".join(texts))))
    n = len(alphabet)
    logits = torch.randn(n + 1, n + 1, generator=generator(0, "law"), dtype=torch.float64)
    logits[:, n] = -math.inf  # nothing is followed by the opening
    single = logits.log_softmax(-1)
    systems = {
        "letters": System(Table(single), Letters(alphabet, 1), "letters"),
        "pairs": System(Table(pairs(single)), Letters(alphabet, 2), "pairs"),
    }
    task = BitsPerByte(Corpus("letters", {"test": texts}), documents=None, length=4096, batch_size=1)
    seen: dict[str, list[float]] = {"letters": [], "pairs": [], "by hand": []}
    for example in task.examples("test"):
        for name, system in systems.items():
            seen[name].append(task.score(system, example).values["bits_per_byte"])
        bits, last = 0.0, n
        for letter in example.text:
            bits -= float(single[last, alphabet.index(letter)]) / math.log(2)
            last = alphabet.index(letter)
        seen["by hand"].append(bits / len(example.text))
        bar.advance(1)
    gap = max(abs(a - b) for other in ("pairs", "by hand") for a, b in zip(seen["letters"], seen[other], strict=True))
    means = {name: sum(values) / len(values) for name, values in seen.items()}
    per_token = {"letters": means["letters"] * math.log(2), "pairs": 2 * means["pairs"] * math.log(2)}
    return ClaimResult(
        "supported" if gap < 1e-9 else "contradicted",
        {"largest_gap": gap, "bits_per_byte": means, "nats_per_token": per_token, "documents": len(texts)},
        "an identity rather than a trend: it holds or it does not",
    )


claim = Claim(
    statement="Bits per byte compare models of different vocabularies: one law of text has one figure, however the "
    "text is cut into tokens, while its loss per token changes with the cut.",
    paper="Gao et al. 2020 (arXiv:2101.00027): bits per byte are used since they do not depend on the tokenizer "
    "(from memory).",
    rule="Supported where the figure over letters, over pairs of letters and by a loop in Python agree to 1e-9 on "
    "every document; contradicted otherwise.",
    run=run,
)
