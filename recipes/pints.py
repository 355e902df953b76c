"""Days, not months: less text, chosen for how well it explains, and a plain decoder trained on it twice.

    trivium train --recipe recipes/pints.py --folder runs/pints

Here: paragraphs of the Python documentation that read as prose, 0.9 million parameters; under 15 minutes on two cores.
Full scale (Tan and Wang 2024, arXiv:2408.03506): 57 billion tokens of expository prose, a Llama of 1.5 billion
parameters, 512 rows of 2048 tokens a batch, 96,180 updates, 4e-4 to 4e-5 by cosine with 2000 updates of warm-up, weight
decay 0.1; nine days on one machine. Sources were scored by hand there; here three rules choose among paragraphs.
"""

import re

from trivium.architectures.llama import Llama
from trivium.data.corpus import Corpus
from trivium.data.named import named
from trivium.training.settings import TrainingSettings


def explains(paragraph: str) -> bool:
    """Whether it reads as prose: at least three sentences, of 8 to 40 words, and hardly a sign but letters."""
    sentences = [part.split() for part in re.split(r"(?<=[.!?])\s+", paragraph.strip()) if part]
    letters = sum(sign.isalpha() or sign in " ,.\n'" for sign in paragraph) / max(len(paragraph), 1)
    lengths = [len(words) for words in sentences]
    return len(lengths) >= 3 and 8 <= sum(lengths) / len(lengths) <= 40 and letters > 0.93


def prose(text: str) -> str:
    """The paragraphs of a document that explain something."""
    return "\n\n".join(part.strip() for part in re.split(r"\n\s*\n", text) if explains(part))


docs = named("python_docs")
documents = [chosen for split in docs.splits for text in docs[split] if (chosen := prose(text))]
corpus = Corpus.split("expository prose", documents, validation=0.1, test=0.1)
architecture = Llama(width=128, depth=4, heads=4, context=256)
objective = "causal"
length, batch_size = 256, 16
settings = TrainingSettings(steps=400, learning_rate=2e-3, final_fraction=0.1, warmup=0.02, weight_decay=0.1)
sample = "This function returns"
