"""A very small model that writes whole stories: narrow and deep, on text of a child's words.

    trivium train --recipe recipes/tinystories.py --folder runs/tinystories
    trivium generate "Once upon a time" --model runs/tinystories/model

Here: 0.8 million parameters on generated stories, two passes over them; under 15 minutes on two cores.
Full scale (Eldan and Li 2023, arXiv:2305.07759): width 64 to 1024 and 1 to 12 layers, context 512, a vocabulary of the
10,000 most frequent tokens, on about two million stories that a large model wrote; 8 layers of width 256 (some 20
million parameters) already write consistent ones. Where `trivium shards` has written such a corpus, give --corpus.
"""

from trivium.architectures.gpt import GPT
from trivium.training.settings import TrainingSettings

architecture = GPT(width=96, depth=7, heads=6, window=128, context=256)
objective = "causal"
corpus = "stories"
length, batch_size = 256, 16
settings = TrainingSettings(steps=970, learning_rate=2e-3, weight_decay=0.1, schedule="wsd", evaluate_every=200)
sample = "Once upon a time there was a little"
