"""What the truncation claims share: the entropy-rich steps of the model's own text, and what each rule keeps there."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from claims.decoding._text import batch, questions, system
from trivium.core.progress import Bar
from trivium.decoding.sampling import Sampling

Keep = Callable[[Tensor], Tensor]


def kept_where_unsure(rules: Mapping[str, Keep], bar: Bar, share: float = 0.25) -> dict[str, list[float]]:
    """Per prompt: the model's probability that a rule keeps, mean over the steps of highest entropy of a text that the
    model wrote by plain sampling."""
    asked = questions("chat", "code")
    made = batch(Sampling(), asked)
    found: dict[str, list[float]] = {name: [] for name in rules}
    for row, prompt in enumerate(asked):
        text = torch.cat([prompt, made.row(row)[None]], 1)
        with torch.inference_mode():
            logp = system().model(text).logits[0, prompt.shape[1] - 1 : -1].log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        unsure = logp[entropy.topk(int(share * len(logp))).indices]
        for name, keep in rules.items():
            found[name].append(float((unsure.exp() * keep(unsure)).sum(-1).mean()))
        bar.advance(1)
    return found
