"""Seconds as the unit: what an architecture reaches in a given time, which is what a researcher has to spend.

    trivium train --recipe recipes/languini.py --folder runs/languini
    trivium compare architectures --contenders "gpt(width=128)" "quasi_lstm(width=128)" --match seconds \\
        --budget "120 seconds" --seeds 3

The first trains a quasi-LSTM for six minutes; the second lets it meet GPT at equal seconds, with equal trials of the
learning rate. Here: 0.7 million parameters on the Python documentation and source.
Full scale (Stanic et al. 2023, arXiv:2309.11197): 6 to 96 hours of one RTX 3090, steps = tokens a second times seconds
over tokens a batch; 4 to 24 layers of width 512 to 2048, vocabulary 16,384, 128 rows of 512 tokens, 6e-4 to 6e-6 by
cosine, 85 billion bytes of books.
"""

from trivium.architectures.quasi_lstm import QuasiLSTM
from trivium.data.corpus import SPLITS, Corpus
from trivium.data.named import named
from trivium.training.settings import TrainingSettings

HOURS = 0.1
parts = [named("python_docs"), named("python_code")]
documents = {split: [text for part in parts for text in part[split]] for split in SPLITS}
corpus = Corpus("documentation and source", documents)
architecture = QuasiLSTM(width=128, depth=4, heads=4, block=16)
objective = "causal"
length, batch_size = 256, 16
budget = f"{HOURS * 3600:.0f} seconds"
settings = TrainingSettings(learning_rate=6e-4, final_fraction=0.01, warmup=0.02, clip=None)
sample = "def "
