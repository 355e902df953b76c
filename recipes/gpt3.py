"""A decoder in the style of GPT-3: dense and banded attention in turns, and a schedule in shares of the run.

    trivium train --recipe recipes/gpt3.py --folder runs/gpt3

Here: 1.3 million parameters, 2.5 million bytes of stories and documentation; under 15 minutes on two cores.
Full scale (Brown et al. 2020, arXiv:2005.14165, table 2.1): 125 million to 175 billion parameters, e.g. 12 layers of
width 768 with 12 heads at 6e-4; context 2048, half a million tokens a batch (3.2 million for the largest), 300 billion
tokens in all, warm-up over 375 million of them, cosine to a tenth of the peak.
"""

from trivium.architectures.gpt import GPT
from trivium.data.corpus import SPLITS, Corpus
from trivium.data.named import named
from trivium.training.settings import TrainingSettings

parts = [named("stories"), named("python_docs")]
documents = {split: [text for part in parts for text in part[split]] for split in SPLITS}
corpus = Corpus("stories and documentation", documents)
architecture = GPT(width=160, depth=4, heads=4, window=128, context=256)
objective = "causal"
length, batch_size = 256, 16
settings = TrainingSettings(
    steps=600, learning_rate=1e-3, warmup=0.05, final_fraction=0.1, weight_decay=0.1, betas=(0.9, 0.95), clip=1.0
)
sample = "The first argument"
