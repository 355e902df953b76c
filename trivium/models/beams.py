"""The most probable text after a context, by beam search with a length penalty that grows slowly.

    score(y) = log p(y | x) / ((5 + |y|) / 6)^alpha

after Wu et al. 2016, arXiv:1609.08144, section 7, which GPT-3's evaluation uses; alpha 0 compares log-probabilities. A
hypothesis ends with the model's end token, with the token that completes a stop string, or at the limit, and takes its
place of the beam with it: a beam of one is greedy. All contexts of a batch are searched together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trivium.core import meter
from trivium.core.capabilities import require_offers
from trivium.models._rows import padded
from trivium.models.system import System


@dataclass(frozen=True)
class Beam:
    """A text before its first stop string, all its tokens, their log-probability, and whether it ended by itself."""

    text: str
    ids: tuple[int, ...]
    total: float
    finished: bool

    def score(self, alpha: float) -> float:
        return self.total / ((5 + len(self.ids)) / 6) ** alpha


def search(
    system: System,
    contexts: Sequence[str],
    *,
    width: int = 4,
    alpha: float = 0.6,
    limit: int = 32,
    until: Sequence[str] = ("\n",),
    batch_size: int = 16,
) -> list[list[Beam]]:
    """Per context the hypotheses that were kept, best first. Raises ValueError where a context leaves no room."""
    for name, value in (("width", width), ("limit", limit), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    require_offers("beam search", system.model, ("causal", "state"))
    found: list[list[Beam]] = []
    was = system.model.training
    system.model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(contexts), batch_size):
                found += _searched(system, contexts[start : start + batch_size], width, limit, tuple(until))
    finally:
        system.model.train(was)
    return [sorted(beams, key=lambda beam: -beam.score(alpha)) for beams in found]


def _searched(
    system: System, contexts: Sequence[str], width: int, limit: int, until: tuple[str, ...]
) -> list[list[Beam]]:
    model, ends = system.model, system.stop.tokens
    rows = [system.prompt(context)[0].tolist() for context in contexts]
    most = model.max_positions
    if most is not None and max(map(len, rows)) + limit > most:
        raise ValueError(
            f"a context of {max(map(len, rows))} tokens and {limit} new ones do not fit {system.name}, which takes "
            f"{most}; shorten the context or lower limit"
        )
    ids, mask = padded(rows, model.device, left=True)
    out = model(ids, mask=mask, keep_state=True, logits_to_keep=1)
    live: list[tuple[int, tuple[int, ...], float]] = [(row, (), 0.0) for row in range(len(rows))]
    done: list[list[Beam]] = [[] for _ in rows]
    while True:
        spelt = out.logits[:, -1].double()
        logp = (spelt - spelt.logsumexp(-1, keepdim=True))[:, : system.tokenizer.vocab_size]
        sums = logp + torch.tensor([total for *_, total in live], dtype=torch.float64, device=logp.device)[:, None]
        meter.spend(new_tokens=len({row for row, *_ in live}))
        kept, parents = [], []
        for row in dict.fromkeys(row for row, *_ in live):
            places = [at for at, (owner, *_) in enumerate(live) if owner == row]
            mine = sums[places].flatten()
            best = mine.topk(min(width - len(done[row]), len(mine)))
            for total, at in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                parent, token = places[at // logp.shape[1]], at % logp.shape[1]
                tokens = (*live[parent][1], token)
                text = system.tokenizer.decode([id for id in tokens if id not in ends])
                cuts = [text.find(stop) for stop in until if stop in text]
                over = bool(cuts) or token in ends
                if over or len(tokens) == limit:
                    done[row].append(Beam(text[: min(cuts, default=len(text))], tokens, total, over))
                else:
                    kept.append((row, tokens, total))
                    parents.append(parent)
        if not kept:
            return done
        live, state = kept, out.state
        assert state is not None
        state = state.select(torch.tensor(parents))
        last = torch.tensor([[tokens[-1]] for _, tokens, _ in live], device=model.device)
        out = model(last, state=state, keep_state=True)
