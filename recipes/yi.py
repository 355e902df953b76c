"""Grow a model instead of starting over: a deeper one out of a trained one, then one for longer texts.

    trivium train --recipe recipes/yi.py --folder runs/yi
    trivium grow depth --model runs/yi/model --copies 2 --steps 150 --folder runs/yi-deeper
    trivium grow context --model runs/yi-deeper/model --context 1024 --base 1e6 --steps 60 \\
        --length 1024 --folder runs/yi-longer

Here: 4 layers, then 6, then four times the context; under 15 minutes on two cores for all three.
Full scale (01.AI 2024, arXiv:2403.04652): 32 layers to 48, of which the middle 16 stand twice, trained on some 800
billion tokens more at a low constant rate with growing batches; the rotary base from 10,000 to 5,000,000 and a few
billion tokens with long documents up-sampled, for 200,000 tokens of context; 3.1 trillion tokens before.
"""

from trivium.architectures.llama import Llama
from trivium.training.settings import TrainingSettings

architecture = Llama(width=128, depth=4, heads=4, context=256)
objective = "causal"
corpus = "python_docs"
length, batch_size = 256, 16
settings = TrainingSettings(steps=300, learning_rate=1e-3, weight_decay=0.1)
sample = "The function"
