"""A fixed number of words, as often as you like: the BabyLM challenge, with the architecture and objective that won it.

    trivium train --recipe recipes/babylm.py --folder runs/babylm

Here: 100,000 words, counted by white space as the challenge does, seen about five times by a GPT-BERT of 0.7 million
parameters, one row in two masked; under 15 minutes on two cores.
Full scale (Hu et al. 2024; Charpentier and Samuel 2024, arXiv:2410.24159): 10 or 100 million words, 12 layers of width
384 or 768, fifteen rows in sixteen masked, length 128 and later longer, 7812 updates of four million tokens.
"""

from trivium.architectures.gpt_bert import GptBert
from trivium.data.corpus import SPLITS, Corpus
from trivium.data.named import named
from trivium.objectives.masked_next_token import MaskedNextToken
from trivium.training.settings import TrainingSettings

WORDS = 100_000
MIX = {"stories": 0.7, "python_docs": 0.3}  # simple words first; the challenge's mix is of its own ten sources


def taken(texts: list[str], words: int) -> list[str]:
    """Whole documents as long as they fit in so many words, then the beginning of the next one up to a full stop."""
    found = []
    for text in texts:
        count = len(text.split())
        if count > words:
            part = " ".join(text.split()[:words])
            return [*found, part[: part.rfind(".") + 1]] if "." in part else found
        found.append(text)
        words -= count
    return found


sources = {name: named(name) for name in MIX}
splits = {split: [text for source in sources.values() for text in source[split]] for split in SPLITS[1:]}
train = [text for name, share in MIX.items() for text in taken(list(sources[name]["train"]), int(share * WORDS))]
corpus = Corpus(f"{WORDS} words", {"train": train, **splits})
architecture = GptBert(width=128, depth=4, heads=4)
objective = MaskedNextToken(mask_share=0.5)
length, batch_size = 128, 32
settings = TrainingSettings(steps=800, learning_rate=2e-3, warmup=0.016, weight_decay=0.1, betas=(0.9, 0.98), clip=2.0)
sample = "Once upon a time"
