"""More of the long documents, and as much of each source as before."""

from collections.abc import Sequence

import torch

Documents = Sequence[Sequence[int]]


def long_more(sources: Sequence[Documents], length: int, share: float, generator: torch.Generator) -> list[list[int]]:
    """Documents of all sources, of whose tokens at least ``share`` are in documents of at least ``length`` tokens.

    Each source keeps the tokens that it had, to one document, so that the mixture stays what it was: long documents are
    repeated as often as need be, and of the short ones as many as there is room for are drawn. A source that has no
    long document stays as it is. Raises ValueError where none has any.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is a share of the tokens, so 0 to 1; got {share}")
    if not any(len(document) >= length for source in sources for document in source):
        longest = max((len(document) for source in sources for document in source), default=0)
        raise ValueError(f"no document has {length} tokens, the longest has {longest}; give longer texts")
    return [list(document) for source in sources for document in _drawn(source, length, share, generator)]


def _drawn(source: Documents, length: int, share: float, generator: torch.Generator) -> list[Sequence[int]]:
    long = [document for document in source if len(document) >= length]
    short = [document for document in source if len(document) < length]
    tokens, held = sum(map(len, source)), sum(map(len, long))
    if not long or held >= share * tokens:
        return list(source)
    drawn: list[Sequence[int]] = []
    taken = 0
    while taken < share * tokens:
        for at in torch.randperm(len(long), generator=generator).tolist():
            if taken >= share * tokens:
                break
            drawn.append(long[at])
            taken += len(long[at])
    for at in torch.randperm(len(short), generator=generator).tolist():
        if taken >= tokens:
            break
        drawn.append(short[at])
        taken += len(short[at])
    return drawn
