"""Letters without a meaning of their own: what context makes up for, what a cipher does, and whether it is broken."""

import math
import re
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from claims.architectures._learning import trained
from trivium.architectures.lexinvariant import LexInvariant
from trivium.architectures.llama import Llama
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.data.stories import stories
from trivium.models.skeleton import Skeleton

SEEDS = 3
STEPS = 600
LENGTH = 256
ROWS = 8
RATE = 3e-3
LETTERS = " abcdefghijklmnopqrstuvwxyz"
EARLY, LATE = (8, 16), (224, 256)
"""How many characters stand before the predicted one."""
WINDOWS = 64
DRAWS = 8
"""Lexicons, and ciphers, over which losses are averaged."""
CLOSE = 0.05
"""Nats by which a cipher may change the mean over the draws and still count as no change."""
PROBE_STEPS = 300

ARMS = {
    "standard": Llama(width=128, depth=4, heads=4, context=LENGTH),
    "lexinvariant": LexInvariant(width=128, depth=4, heads=4, context=LENGTH),
}


def run(bar: Bar) -> ClaimResult:
    """Both arms on one stream of 27 characters; losses by position, as written and under ciphers; then the probe."""
    bar.total = (len(ARMS) + 1) * SEEDS
    written: dict[str, list[list[float]]] = {name: [] for name in ARMS}
    ciphered: dict[str, list[float]] = {name: [] for name in ARMS}
    recovered: list[dict[str, float]] = []
    for seed in range(SEEDS):
        for name, recipe in ARMS.items():
            bar.note(f"{name}, seed {seed}")
            model = trained(
                recipe,
                seed=seed,
                length=LENGTH,
                rows=ROWS,
                steps=STEPS,
                rate=RATE,
                bar=bar,
                documents=[stream("train")],
                vocab_size=len(LETTERS),
            )
            written[name].append(losses(model, seed, plain).tolist())
            ciphered[name].append(float(losses(model, seed, enciphered)[1:].mean()))
            if name == "lexinvariant":
                bar.note(f"reading the cipher, seed {seed}")
                recovered.append(symbols_recovered(model, seed))
                bar.advance()

    def at(name: str, span: tuple[int, int]) -> list[float]:
        return [sum(row[slice(*span)]) / (span[1] - span[0]) for row in written[name]]

    def gaps(span: tuple[int, int]) -> list[float]:
        pairs = zip(at("lexinvariant", span), at("standard", span), strict=True)
        return [lexinvariant - standard for lexinvariant, standard in pairs]

    def change(name: str) -> list[float]:
        return [b - sum(a[1:]) / (LENGTH - 1) for a, b in zip(written[name], ciphered[name], strict=True)]

    early, late = gaps(EARLY), gaps(LATE)
    parts = {
        "half the early gap minus the late gap": judge([a / 2 - b for a, b in zip(early, late, strict=True)]),
        "standard under ciphers minus ln 27": judge([loss - math.log(len(LETTERS)) for loss in ciphered["standard"]]),
        "lexinvariant unchanged": judge([CLOSE - abs(difference) for difference in change("lexinvariant")]),
    }
    words = {part.verdict for part in parts.values()}
    if words == {"supported"}:
        verdict = "supported"
    elif "contradicted" in words:
        verdict = "contradicted"
    else:
        verdict = "not visible at this scale"
    return ClaimResult(
        verdict,
        {
            "nats_at": {
                name: {f"{span[0]}-{span[1]}": at(name, span) for span in (EARLY, (64, 96), LATE)} for name in ARMS
            },
            "gap_early": early,
            "gap_late": late,
            "nats_under_ciphers": ciphered,
            "change_under_ciphers": {name: change(name) for name in ARMS},
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in parts.items()},
            "symbols_recovered_shown": recovered,
            "parameters": {
                name: sum(p.numel() for p in recipe.build(len(LETTERS)).parameters()) for name, recipe in ARMS.items()
            },
            "tokens": STEPS * LENGTH * ROWS,
        },
        "Stories of our own in 27 characters, 0.8 million parameters, one untuned learning rate for both arms; the "
        f"lexinvariant arm read in {DRAWS} lexicons, ciphers in others than the plain text.",
    )


@lru_cache(maxsize=2)
def stream(split: str) -> list[int]:
    """All stories of a split end to end in small letters, with one space for whatever else stands between words."""
    words = re.findall("[a-z]+", " ".join(stories(3000, seed=0)[split]).lower())
    return [LETTERS.index(letter) for letter in " ".join(words)]


def windows(split: str, count: int, draw: torch.Generator) -> Tensor:
    """(count, LENGTH) stretches of a stream."""
    ids = torch.tensor(stream(split))
    starts = torch.randint(len(ids) - LENGTH + 1, (count,), generator=draw)
    return torch.stack([ids[start : start + LENGTH] for start in starts.tolist()])


def plain(ids: Tensor, draw: torch.Generator) -> Tensor:
    """As they are."""
    return ids


def enciphered(ids: Tensor, draw: torch.Generator) -> Tensor:
    """Each row under a random substitution of all characters."""
    keys = torch.stack([torch.randperm(len(LETTERS), generator=draw) for _ in ids])
    return keys.gather(1, ids)


@torch.no_grad()
def losses(model: Skeleton, seed: int, writing: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
    """(LENGTH,) nats after so many characters, 0 for none; mean over windows, and over lexicons and ciphers."""
    draw = generator(seed, writing.__name__)
    found = []
    for part in windows("test", WINDOWS, generator(0, "windows")).split(16):
        for _ in range(DRAWS):
            ids = writing(part, draw)
            logits = read(model, ids, draw)[:, :-1].flatten(0, 1)
            nats = F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
            found.append(F.pad(nats.view(len(ids), -1), (1, 0)))
    return torch.cat(found).mean(0)


def read(model: Skeleton, ids: Tensor, draw: torch.Generator) -> Tensor:
    """Logits of rows, each in a lexicon of its own where the model has such."""
    words = getattr(model.embedding, "numbered", None)
    if words is None:
        return model(ids).logits
    with words(torch.randint(2**62, (len(ids),), generator=draw)):
        return model(ids).logits


def symbols_recovered(model: Skeleton, seed: int) -> dict[str, float]:
    """A linear probe on the outputs of all layers says which character a symbol stands for. Share of right answers over
    the second halves of held-out windows: one by one, and by what the symbol's occurrences say together."""
    names = [f"blocks.{layer}.out" for layer in range(model.depth)]
    draw = generator(seed, "probe")
    probe = nn.Linear(model.depth * model.width, len(LETTERS), device="meta").to_empty(device="cpu")
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimiser = torch.optim.Adam(probe.parameters(), lr=1e-2)

    def says(ids: Tensor) -> Tensor:
        with torch.no_grad(), model.capture(*names) as seen:
            read(model, ids, draw)
        layers = [F.layer_norm(seen[name], (model.width,)) for name in names]
        return probe(torch.cat(layers, -1)).log_softmax(-1)

    for _ in range(PROBE_STEPS):
        ids = windows("train", ROWS, draw)
        loss = F.nll_loss(says(ids)[:, LENGTH // 2 :].flatten(0, 1), ids[:, LENGTH // 2 :].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    alone = together = total = 0
    with torch.no_grad():
        for ids in windows("test", WINDOWS, generator(0, "windows")).split(16):
            said, half = says(ids)[:, LENGTH // 2 :], ids[:, LENGTH // 2 :]
            same = F.one_hot(half, len(LETTERS)).float()
            votes = same @ (same.mT @ said)  # each place: what all places of its symbol say
            alone += int((said.argmax(-1) == half).sum())
            together += int((votes.argmax(-1) == half).sum())
            total += half.numel()
    return {"one by one": alone / total, "together": together / total}


claim = Claim(
    statement=(
        "A model in which no letter means anything by itself comes at least half of the way back to a standard one "
        "within 256 characters, and reads a substitution cipher as it reads plain text, which a standard one cannot."
    ),
    paper=(
        "Huang et al. 2023: perplexity comparable to that of standard models given enough context; at character level "
        "the gap falls from a factor of 9 to below 1 within 512 tokens; ciphers are read off by probing with 99.6 %."
    ),
    rule=(
        "Three parts over 3 seeds, each by its 95 % t-interval. The gap is lexinvariant minus standard, in nats: half "
        "of it after 8 to 16 characters minus that after 224 to 256, above 0. The loss of the standard model under "
        "random ciphers minus ln 27, above 0. 0.05 minus the absolute change of the lexinvariant loss under ciphers, "
        "above 0. All three: supported; any interval below 0: contradicted; otherwise not visible. The probe is shown."
    ),
    run=run,
)
