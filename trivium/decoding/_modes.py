"""The exact mode of each length, by depth-first branch and bound: for tests, and for models as small as their limit."""

import torch
from torch import Tensor

from trivium.core.nouns import Stop
from trivium.core.protocols import LanguageModel, State
from trivium.decoding._beams import Hypothesis
from trivium.decoding._loop import Prompts, checked_normaliser, prefill


@torch.inference_mode()
def modes_by_length(
    model: LanguageModel, prompt: Tensor, *, limit: int, stop: Stop, least: int = 0
) -> dict[int, Hypothesis]:
    """Of each length (stop token not counted) from ``least`` to ``limit``, the likeliest text that ends with a stop
    token; a length of which no text has a probability is left out. ``prompt`` (1, time).

    A beginning is given up once it is no likelier than the best text found of every length that it could still get:
    log-probabilities only fall. One state per depth is alive, so keys and values of each depth are stored once.
    """
    if prompt.ndim != 2 or len(prompt) != 1 or not prompt.shape[1]:
        raise ValueError(f"prompt must be (1, time) with at least one token, got {tuple(prompt.shape)}")
    if not stop.tokens or not 0 <= least <= limit:
        raise ValueError(f"needs a stop token and 0 <= least <= limit, got {stop.tokens} and {least} to {limit}")
    best: dict[int, Hypothesis] = {}
    start = prompt.shape[1]

    def logp_of(logits: Tensor, length: int) -> Tensor:
        last = logits[:, -1]
        return (last - checked_normaliser(last, [0], [start + length])[:, None])[0].double()

    def hopeless(total: float, length: int) -> bool:
        lengths = range(max(length, least), limit + 1)
        return total == float("-inf") or all(at in best and total <= best[at].total for at in lengths)

    def visit(one: Hypothesis, logp: Tensor, state: State) -> None:
        length = len(one.tokens)
        if length >= least:
            ended = max((one.grown(token, float(logp[token])) for token in stop.tokens), key=lambda text: text.total)
            if ended.total > (best[length].total if length in best else float("-inf")):
                best[length] = ended
        if length == limit:
            return
        for token in logp.argsort(descending=True, stable=True).tolist():
            grown = one.grown(token, float(logp[token]))
            if hopeless(grown.total, length + 1):
                return  # those that follow are no likelier
            if token not in stop.tokens:
                out = model(torch.tensor([[token]], device=model.device), state=state, keep_state=True)
                assert out.state is not None
                visit(grown, logp_of(out.logits, length + 1), out.state)
                del out  # so that the next one's keys go where these were

    out = prefill(model, Prompts(prompt, None, (start,)))
    assert out.state is not None
    visit(Hypothesis(), logp_of(out.logits, 0), out.state)
    return best
