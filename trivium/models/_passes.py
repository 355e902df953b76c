"""The passes that score continuations of contexts, in the form that costs a model least."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from trivium.core.protocols import LanguageModel
from trivium.models._rows import LOGITS, Beginning, beginnings, padded
from trivium.models._tries import Ids, Trie, stretches

Result = tuple[Ids, Ids, Sequence[float], Sequence[bool]]
"""Context and continuation; of each token of the latter its log-probability, and whether it is the likeliest."""
Groups = Mapping[Ids, Sequence[Ids]]
"""Continuations by their contexts."""

LONG = 768
"""Tokens of a context with several continuations from which on it is worth a pass of its own, without a mask."""
NODES = 1024
"""Nodes that a trie has at most, unless one row has more."""
PIECE = 32
"""Rows of logits that are summed up at a time, while they are in the processor's cache."""


def passes(model: LanguageModel, groups: Groups, batch_size: int) -> Iterator[Result]:
    """The results of all groups, batch by batch, of those that begin alike the longest first."""
    pairs = [(context, one) for context, found in groups.items() for one in found]
    if batch_size == 1 and model.dtype in (torch.float16, torch.bfloat16):
        # Who asks for one text at a time in half precision wants numbers that hang on that text alone.
        yield from _rows(model, Beginning(), pairs, batch_size)
    elif "tree" in model.offers:
        for beginning, part in _begun(model, groups, LONG):
            yield from _tries(model, beginning, part, batch_size)
    elif "state" in model.offers:
        # one token of context is not worth a pass of its own
        several = {context: found for context, found in groups.items() if len(found) > 1 and len(context) > 1}
        for beginning, part in _begun(
            model, {context: groups[context] for context in groups if context not in several}
        ):
            yield from _rows(
                model, beginning, [(context, one) for context in part for one in part[context]], batch_size
            )
        for beginning, part in _begun(model, several):
            found = sorted(part.items(), key=lambda entry: -len(entry[0]))
            for start in range(0, len(found), batch_size):
                yield from _continued(model, beginning, found[start : start + batch_size], batch_size)
    else:
        yield from _rows(model, Beginning(), pairs, batch_size)


def _begun(model: LanguageModel, groups: Groups, long: float = float("inf")) -> Iterator[tuple[Beginning, Groups]]:
    """Groups whose contexts begin alike, with what these share; a long context with several continuations alone."""
    contexts = list(groups)
    for length, places in beginnings(contexts):
        part = {contexts[place]: groups[contexts[place]] for place in places}
        for context in [one for one in part if not length and len(one) > long and len(part[one]) > 1]:
            yield Beginning.of(model, context, len(context) - 1), {context: part.pop(context)}
        if part:
            yield Beginning.of(model, contexts[places[0]], length), part


def _summed(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(..., vocab) -> the log of the sum of their exponentials, and the likeliest token; in float32 at least."""
    flat = logits.flatten(0, -2)
    wide = torch.promote_types(logits.dtype, torch.float32)
    pieces = [piece.to(wide) for piece in flat.split(PIECE)]
    sums = torch.cat([piece.logsumexp(-1) for piece in pieces])
    return sums.view(logits.shape[:-1]), torch.cat([piece.argmax(-1) for piece in pieces]).view(logits.shape[:-1])


def _read(logits: Tensor, targets: Sequence[int]) -> tuple[list[float], list[bool]]:
    """(tokens, vocab) -> what each target costs, and whether it is the likeliest."""
    sums, likeliest = _summed(logits)
    index = torch.tensor(targets, device=logits.device)
    picked = logits.gather(1, index[:, None])[:, 0].to(sums.dtype) - sums
    return picked.clamp(max=0.0).tolist(), (likeliest == index).tolist()


# Rows ---------------------------------------------------------------------------------------------------------------


def _rows(
    model: LanguageModel, beginning: Beginning, pairs: Sequence[tuple[Ids, Ids]], batch_size: int
) -> Iterator[Result]:
    """Context and continuation in one row, with logits for the continuations alone."""
    pairs = sorted(pairs, key=lambda pair: -len(pair[0]) - len(pair[1]))
    widest = max((len(continuation) for _, continuation in pairs), default=1)
    size = max(1, min(batch_size, LOGITS // (widest * model.vocab_size)))
    for start in range(0, len(pairs), size):
        part = pairs[start : start + size]
        rows = [(*context, *continuation[:-1]) for context, continuation in part]
        keep = max(len(continuation) for _, continuation in part)
        logits = beginning.follow(model, rows, keep_state=False, logits_to_keep=keep).logits
        for row, (context, continuation) in enumerate(part):
            yield (context, continuation, *_read(logits[row, -len(continuation) :], continuation))


def _continued(
    model: LanguageModel, beginning: Beginning, groups: Sequence[tuple[Ids, Sequence[Ids]]], batch_size: int
) -> Iterator[Result]:
    """Each context once; then all its continuations from its state, without their last tokens, which none follows."""
    longer = [(row, one) for row, (_, found) in enumerate(groups) for one in found if len(one) > 1]
    contexts = [context for context, _ in groups]
    out = beginning.follow(model, contexts, keep_state=bool(longer), logits_to_keep=1)
    first = [_read(out.logits[row, -1:], [one[0]]) for row, (_, found) in enumerate(groups) for one in found]
    begun = iter(first)
    firsts = {(row, one): next(begun) for row, (_, found) in enumerate(groups) for one in found}
    rests: dict[tuple[int, Ids], tuple[list[float], list[bool]]] = {}
    longer.sort(key=lambda entry: -len(entry[1]))
    start = 0
    while start < len(longer):
        width = len(longer[start][1]) - 1
        rows = max(1, min(4 * batch_size, LOGITS // (width * model.vocab_size)))
        part = longer[start : start + rows]
        start += rows
        more, real = padded([one[:-1] for _, one in part], model.device, left=False)
        assert out.state is not None
        state = out.state.select(torch.tensor([row for row, _ in part]))
        logits = model(more, mask=real, state=state).logits
        for place, (row, one) in enumerate(part):
            rests[row, one] = _read(logits[place, : len(one) - 1], one[1:])
    for row, (context, found) in enumerate(groups):
        for one in found:
            (logprob, best), rest = firsts[row, one], rests.get((row, one), ([], []))
            yield context, one, logprob + rest[0], best + rest[1]


# Tries --------------------------------------------------------------------------------------------------------------


def _tries(model: LanguageModel, beginning: Beginning, groups: Groups, batch_size: int) -> Iterator[Result]:
    """What rows share is passed once; a pass holds about as many tokens as ``batch_size`` of the longest rows."""
    asked: dict[Ids, list[tuple[Ids, Ids]]] = {}
    for context, found in groups.items():
        for one in found:
            asked.setdefault((*context, *one[:-1])[beginning.length :], []).append((context, one))
    rows = sorted(asked)
    firsts = [min(len(context) for context, _ in asked[row]) - beginning.length - 1 for row in rows]
    predicted = [len(row) - first for row, first in zip(rows, firsts, strict=True)]
    longest = max(map(len, rows))
    room, most = longest * batch_size, max(LOGITS // model.vocab_size, 1)
    parts = stretches(rows, predicted, max(longest, min(room, NODES)), most)
    alone = [pair for _, part in parts if len(part) == 1 for pair in asked[rows[part[0]]]]
    yield from _rows(model, beginning, alone, batch_size)
    several = sorted(((size, part) for size, part in parts if len(part) > 1), key=lambda entry: -entry[0])
    while several:
        count = min(max(room // several[0][0], 1), len(several)) if _side_by_side(model) else 1
        some = [
            (Trie.of([rows[at] for at in part], [firsts[at] for at in part]), [asked[rows[at]] for at in part])
            for _, part in several[:count]
        ]
        while len(some) > 1 and len(some) * max(trie.kept for trie, _ in some) > most:
            some.pop()
        several = several[len(some) :]
        yield from _together(model, beginning, some)


def _side_by_side(model: LanguageModel) -> bool:
    """Whether tries gain from going in one pass. A processor is busy with one, and would pad the others for nothing."""
    return model.device.type != "cpu"


Asked = tuple[Trie, Sequence[Sequence[tuple[Ids, Ids]]]]
"""A trie, and the contexts and continuations that end with each of its rows."""


def _together(model: LanguageModel, beginning: Beginning, some: Sequence[Asked]) -> Iterator[Result]:
    """Tries in one pass, with what is asked of each of their rows."""
    tries = [trie for trie, _ in some]
    width, keep = max(map(len, tries)), max(trie.kept for trie in tries)
    left = [width - len(trie) for trie in tries]
    ids = torch.stack([pad(trie.tokens, (more, 0)) for trie, more in zip(tries, left, strict=True)])
    positions = torch.stack([pad(trie.depths, (more, 0)) for trie, more in zip(tries, left, strict=True)])
    visible = torch.stack([pad(trie.visible, (more, 0, more, 0)) for trie, more in zip(tries, left, strict=True)])
    visible = visible | torch.eye(width, dtype=torch.bool)  # padding sees itself, since what sees nothing is NaN
    visible = torch.cat([visible.new_ones(len(tries), width, beginning.length), visible], 2)
    logits = model(
        ids.to(model.device),
        mask=visible[:, None].to(model.device),
        positions=(positions + beginning.length).to(model.device),
        state=beginning.repeated(len(tries)),
        logits_to_keep=keep,
    ).logits
    sums, likeliest = _summed(logits)
    found = [
        (row, [node - len(trie) + keep for node in places[-len(one) :]], context, one)
        for row, (trie, asked) in enumerate(some)
        for places, pairs in zip(trie.places, asked, strict=True)
        for context, one in pairs
    ]
    at = [(row, node, target) for row, nodes, _, one in found for node, target in zip(nodes, one, strict=True)]
    rows, nodes, targets = torch.tensor(at, device=model.device).unbind(1)
    picked = (logits[rows, nodes, targets].to(sums.dtype) - sums[rows, nodes]).clamp(max=0.0).tolist()
    best = (likeliest[rows, nodes] == targets).tolist()
    begin = 0
    for _, _, context, one in found:
        yield context, one, picked[begin : begin + len(one)], best[begin : begin + len(one)]
        begin += len(one)
