"""Sixteen times the length of training: how the loss grows, and whether a key far back is still found."""

import torch
import torch.nn.functional as F
from torch import Tensor

from claims.architectures._learning import TOKENIZER, corpus, trained
from trivium.architectures.llama import Llama
from trivium.architectures.softplus_attention import SoftplusAttention
from trivium.compare.claim import Claim, ClaimResult, judge
from trivium.core.progress import Bar
from trivium.core.seeds import generator
from trivium.models.skeleton import Skeleton

SEEDS = 5
STEPS = 400
LENGTH = 64
ROWS = 32
RATE = 3e-3
LENGTHS = (64, 128, 256, 512, 1024)
WINDOWS = 48
"""Stretches of the longest length that are read, cut into pieces for the shorter ones: the same bytes at each, but for
the first of a piece."""
KEY_LENGTHS = (64, 128, 256, 512)
KEYS = 128
DIGITS = 4

ARMS = {
    "softmax": Llama(context=LENGTHS[-1]),
    "LSSA": SoftplusAttention(power=None, context=LENGTHS[-1]),
    "LSSAR 3": SoftplusAttention(power=3.0, context=LENGTHS[-1]),
    "LSSAR 15": SoftplusAttention(power=15.0, context=LENGTHS[-1]),
}


def run(bar: Bar) -> ClaimResult:
    """Four arms of equal parameters trained on 64 bytes, on stories and, anew, on hidden keys; read up to 1024."""
    bar.total = 2 * len(ARMS) * SEEDS
    bits: dict[str, list[list[float]]] = {name: [] for name in ARMS}
    found: dict[str, list[list[float]]] = {name: [] for name in ARMS}
    for seed in range(SEEDS):
        draw = generator(seed, "keys to train on")
        keys = [hidden_key(LENGTH, draw) for _ in range(STEPS * ROWS)]
        for name, recipe in ARMS.items():
            bar.note(f"{name}, seed {seed}")
            model = trained(recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=RATE, bar=bar)
            bits[name].append([bits_at(model, length) for length in LENGTHS])
            bar.note(f"{name} on keys, seed {seed}")
            model = trained(
                recipe, seed=seed, length=LENGTH, rows=ROWS, steps=STEPS, rate=RATE, bar=bar, documents=keys
            )
            found[name].append([keys_found(model, length) for length in KEY_LENGTHS])

    growth = {name: [row[-1] - row[0] for row in rows] for name, rows in bits.items()}
    parts = {
        f"{name} minus LSSAR 15": judge([a - b for a, b in zip(growth[name], growth["LSSAR 15"], strict=True)])
        for name in ARMS
        if name != "LSSAR 15"
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
            "bits_per_byte_at": {name: by_length(LENGTHS, rows) for name, rows in bits.items()},
            "growth": growth,
            "parts": {name: {"verdict": part.verdict, **part.figures} for name, part in parts.items()},
            "digits_found_at": {name: by_length(KEY_LENGTHS, rows) for name, rows in found.items()},
            "parameters": {
                name: sum(p.numel() for p in recipe.build(TOKENIZER.vocab_size).parameters())
                for name, recipe in ARMS.items()
            },
            "tokens": STEPS * LENGTH * ROWS,
        },
        "Byte-level stories of our own, end to end where one is shorter than the window; 0.12 million parameters, one "
        "untuned learning rate for all arms. Keys say something only where an arm finds them at the trained length.",
    )


def by_length(lengths: tuple[int, ...], rows: list[list[float]]) -> dict[str, list[float]]:
    """For each length, one figure per seed."""
    return {str(length): [row[index] for row in rows] for index, length in enumerate(lengths)}


@torch.no_grad()
def bits_at(model: Skeleton, length: int) -> float:
    """Bits per byte of the held-out stories, end to end, read in windows of this length."""
    stream = torch.tensor([id for document in corpus()[1] for id in document][: WINDOWS * LENGTHS[-1]])
    losses = []
    for part in stream.view(-1, length).split(max(1, 4096 // length)):
        logits = model(part).logits[:, :-1].flatten(0, 1).float()
        losses.append(F.cross_entropy(logits, part[:, 1:].flatten(), reduction="none"))
    return float(torch.cat(losses).mean() / torch.log(torch.tensor(2.0)))


def hidden_key(length: int, draw: torch.Generator) -> list[int]:
    """Small letters at random, somewhere in them '<' and digits, at the end '>' and the same digits."""
    digits = (torch.randint(10, (DIGITS,), generator=draw) + ord("0")).tolist()
    letters = (torch.randint(26, (length - 2 * DIGITS - 2,), generator=draw) + ord("a")).tolist()
    at = int(torch.randint(len(letters) + 1, (), generator=draw))
    return TOKENIZER.encode(bytes([*letters[:at], ord("<"), *digits, *letters[at:], ord(">"), *digits]).decode())


@torch.no_grad()
def keys_found(model: Skeleton, length: int) -> float:
    """Share of the digits at the end that the model would have said, given those before."""
    draw = generator(0, "keys", length)
    rows = torch.tensor([hidden_key(length, draw) for _ in range(KEYS)])
    said: list[Tensor] = [model(part).logits[:, -DIGITS - 1 : -1].argmax(-1) for part in rows.split(32)]
    return float((torch.cat(said) == rows[:, -DIGITS:]).float().mean())


claim = Claim(
    statement=(
        "Trained on 64 bytes and read at 1024, re-weighted softplus attention with a power of 15 loses less than with "
        "a power of 3, than without re-weighting, and than softmax."
    ),
    paper=(
        "Gao et al. 2025: trained at 1k, validation loss at 1k / 8k is 3.19 / 6.28 for softmax, 3.19 / 5.94 for LSSA, "
        "3.18 / 6.30 for LSSAR with p = 3 and 3.19 / 3.32 with p = 15; passkey at 4k 0 % against 20 % (124M)."
    ),
    rule=(
        "Growth is held-out bits per byte at 1024 bytes minus those at 64, of the same bytes. Three paired differences "
        "of growth over 5 seeds, each with a 95 % t-interval above 0: softmax, LSSA and LSSAR 3, each minus LSSAR 15. "
        "All three: supported; any interval below 0: contradicted; otherwise not visible. Keys do not decide."
    ),
    run=run,
)
