"""How likely a masked model finds a text: each token in turn is hidden and predicted from all the others.

    token:  sum over t of log p(x_t | x with t hidden)                       (Salazar et al. 2020, arXiv:1910.14659)
    word:   sum over t of log p(x_t | x with t and the rest of its word hidden)  (Kauf, Ivanova 2023, arXiv:2305.10588)

The second does not let the end of a word tell its beginning. A model that is bidirectional only predicts a token at its
own place; one that is causal, too, predicts it from the place before, as ``objectives.masked_next_token`` trains it.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.core import meter
from trivium.core.errors import NotFinite, NotOffered
from trivium.models._rows import LOGITS
from trivium.models.scoring import Pair
from trivium.models.surprisal import owners, token_spans
from trivium.models.system import System

WORD = re.compile(r"\w+|[^\w\s]+")


def words_of(system: System, text: str, ids: Sequence[int]) -> list[int]:
    """Which word of the text each of its tokens belongs to; a stretch of punctuation is a word."""
    places = [match.span() for match in WORD.finditer(text)]
    return owners(text, token_spans(system.tokenizer, text, ids), places) if places else [0] * len(ids)


def pseudo_logprobs(
    system: System,
    pairs: Sequence[Pair],
    *,
    words: Sequence[Sequence[int]] | None = None,
    mask_id: int | None = None,
    batch_size: int = 32,
) -> list[tuple[float, ...]]:
    """Natural log-probability of each token of each continuation. ``words``: the word of each of these tokens, where
    the rest of a word is to be hidden with it; ``mask_id``: what hides, by default the vocabulary's last token.

    Raises NotOffered for a model that is not bidirectional, NotFinite where it gives NaN.
    """
    model = system.model
    if "bidirectional" not in model.offers:
        raise NotOffered(f"{system.name} is not bidirectional, so that nothing can be hidden; score it from the left")
    if mask_id is not None and not 0 <= mask_id < model.vocab_size:
        raise ValueError(f"mask_id must be 0 to {model.vocab_size - 1}, a token of the model; got {mask_id}")
    hiding = model.vocab_size - 1 if mask_id is None else mask_id
    most = model.max_positions
    jobs: list[tuple[int, int, list[int]]] = []
    for number, pair in enumerate(pairs):
        whole, before = [*pair.context, *pair.continuation], len(pair.context)
        if most is not None and len(whole) > most:
            raise ValueError(f"{len(whole)} tokens are more than the {most} positions of {system.name}; cut the text")
        for at in range(len(pair.continuation)):
            given = list(whole)
            for other in range(at, len(pair.continuation)):
                if other == at or (words is not None and words[number][other] == words[number][at]):
                    given[before + other] = hiding
            jobs.append((number, at, given))
    jobs.sort(key=lambda job: -len(job[2]))
    found = [[0.0] * len(pair.continuation) for pair in pairs]
    was = model.training
    model.eval()
    try:
        start = 0
        while start < len(jobs):
            rows = max(1, min(batch_size, LOGITS // (len(jobs[start][2]) * model.vocab_size)))
            some = jobs[start : start + rows]
            start += rows
            places = [len(pairs[number].context) + at for number, at, _ in some]
            targets = [pairs[number].continuation[at] for number, at, _ in some]
            for (number, at, _), value in zip(some, _pass(system, [g for *_, g in some], places, targets), strict=True):
                found[number][at] = value
    finally:
        model.train(was)
    return [tuple(each) for each in found]


def hides(system: System) -> bool:
    """Whether the model can predict a token from those on both sides."""
    inner = getattr(system.model, "inner", None)
    return "bidirectional" in system.model.offers or type(inner).__name__.endswith("ForMaskedLM")


@torch.no_grad()
def hidden_logprobs(system: System, rows: Sequence[Sequence[int]], places: Sequence[int]) -> Tensor:
    """(rows, vocab): log-probabilities of what is hidden at one place of each row, in at least single precision. A
    masked model of Hugging Face, which the adapter cannot pad, is called as it is.

    Raises NotOffered for a model that has no prediction for each token, ValueError where it would have to be read off
    a place before the row.
    """
    model, width = system.model, max(map(len, rows))
    early = 1 if "causal" in model.offers else 0
    if min(places) < early:
        raise ValueError(
            f"{system.name} predicts from the place before, and nothing stands before a hidden first token"
        )
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    real = torch.arange(width, device=model.device) < lengths[:, None]
    if "bidirectional" in model.offers:
        logits = model(ids, mask=_both_ways(real) if early else None if bool(real.all()) else real).logits
    elif hides(system):
        amounts = {"calls": 1, "evaluations": len(rows), "positions": ids.numel()}
        with meter.measured(("hidden", model.serial, *ids.shape), **amounts):
            logits = model.inner(input_ids=ids, attention_mask=real.long()).logits  # type: ignore[attr-defined]
    else:
        raise NotOffered(f"{system.name} is no masked model, so that nothing can be hidden from it")
    if logits.shape[:2] != ids.shape:
        raise NotOffered(f"{system.name} has no prediction for each token, so that none can be scored by hiding it")
    here = logits[torch.arange(len(rows)), torch.tensor(places) - early]
    return here.to(torch.promote_types(here.dtype, torch.float32)).log_softmax(-1)


def _both_ways(real: Tensor) -> Tensor:
    """The mask (rows, 1, time, time) under which a causal model sees all tokens of its row."""
    mask = real[:, :, None] & real[:, None, :]
    mask.diagonal(dim1=1, dim2=2).fill_(True)  # so that no softmax of padding is empty
    return mask[:, None]


def _pass(system: System, rows: Sequence[list[int]], places: Sequence[int], targets: Sequence[int]) -> list[float]:
    """What the model says at one place of each row."""
    logp = hidden_logprobs(system, rows, places)
    values = logp.gather(1, torch.tensor(targets, device=logp.device)[:, None])[:, 0]
    if not values.isfinite().all():
        raise NotFinite(f"{system.name} gives no finite likelihood to a hidden token; its weights are damaged")
    return values.tolist()
