"""What ReAGent puts in the place of tokens.

uniform  any token of the vocabulary
own      what the model itself says there, reading what stands before
masked   a draw from what a masked language model says there with the token hidden, reading all the others; only tokens
         that both vocabularies spell alike, so that one token stays one token
tagged   any token of the same part of speech, as a treebank or a list of words tells it
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from trivium.attribution._prediction import Prediction
from trivium.core.protocols import Tokenizer
from trivium.data.languages import utf8
from trivium.models.pseudo_likelihood import hidden_logprobs, hides
from trivium.models.sources import load
from trivium.models.system import System
from trivium.tokenization.pieces import roles

Replacer = Callable[[torch.Generator], Tensor]
"""-> (2, time) int64 on the CPU: what stands for each token in the two passes of a step."""

ROWS = 8
"""Inputs of a masked model in one pass."""


def uniform(prediction: Prediction) -> Replacer:
    """Any token of the vocabulary."""
    shape = (2, len(prediction.ids))
    return lambda draw: torch.randint(prediction.model.vocab_size, shape, generator=draw)


def own(prediction: Prediction) -> Replacer:
    """What the model says in place of each token, which it predicts one place before; the first stays. One pass."""
    said = prediction.model(prediction.ids[None]).logits[0, :-1].argmax(-1)
    prediction.forwards += 1
    both = torch.cat([prediction.ids[:1], said]).cpu().expand(2, -1)
    return lambda draw: both


# By a masked language model -------------------------------------------------------------------------------------------


def masked(prediction: Prediction, name: str, tokenizer: Tokenizer) -> Replacer:
    """Draws from what a masked model says of each token from all the others; as many rows as tokens are passed, once.

    Raises ValueError for a model without a mask token, of too few positions, or that shares no token with this one.
    """
    ids = prediction.given.tolist()
    system = _loaded(name, str(prediction.model.dtype).removeprefix("torch."), str(prediction.ids.device))
    rows, places = _hidden(system, ids, tokenizer)
    theirs, ours = _shared(system.tokenizer, tokenizer)
    parts = range(0, len(rows), ROWS)
    said = [hidden_logprobs(system, rows[at : at + ROWS], places[at : at + ROWS])[:, theirs] for at in parts]
    prediction.forwards += len(rows)
    below = torch.cat(said).double().softmax(-1).cumsum(-1).cpu()  # (time, shared)

    def drawn(draw: torch.Generator) -> Tensor:
        at = torch.rand(2, len(ids), generator=draw, dtype=torch.float64).T * below[:, -1:]
        return ours[torch.searchsorted(below, at.contiguous(), right=True).clamp(max=len(ours) - 1)].T

    return drawn


def _hidden(system: System, ids: list[int], tokenizer: Tokenizer) -> tuple[list[list[int]], list[int]]:
    """The prompt in the masked model's tokens, once with each token hidden, and where that is."""
    theirs = system.tokenizer
    role = roles(theirs)
    if "mask" not in role or not hides(system):
        raise ValueError(f"{system.name} is no masked model, or has no mask token; give one, such as roberta-base")
    opening: list[int] = list(getattr(theirs, "opening", ()))
    closing = [role["sep"]] if opening and "sep" in role else []
    rows, places = [], []
    for at, id in enumerate(ids):
        before, behind = (_read(part, tokenizer, theirs) for part in (ids[:at], ids[at + 1 :]))
        rows.append([*opening, *before, role["mask"], *behind, *closing])
        places.append(len(opening) + len(before))
        longest = system.model.max_positions
        if longest is not None and len(rows[-1]) > longest:
            raise ValueError(
                f"the prompt is {len(rows[-1])} tokens of {system.name}, which has {longest} positions; shorten it, or "
                f"give another masked model (it was to replace token {id} at {at})"
            )
    return rows, places


def _read(ids: list[int], ours: Tokenizer, theirs: Tokenizer) -> list[int]:
    """The same text in the other's tokens; nothing is read anew where the two are one."""
    return ids if ours is theirs else theirs.encode(ours.decode(ids))


@lru_cache(maxsize=4)
def _shared(theirs: Tokenizer, ours: Tokenizer) -> tuple[Tensor, Tensor]:
    """Ids of either (shared,) of the tokens that both have, by their bytes."""
    known: dict[bytes, int] = {}
    for id in range(ours.vocab_size):
        known.setdefault(ours.bytes_of(id), id)
    known.pop(b"", None)
    special = set(roles(theirs).values())
    pairs = [(id, known[spelt]) for id in range(theirs.vocab_size) if (spelt := theirs.bytes_of(id)) in known]
    pairs = [(id, own) for id, own in pairs if id not in special]
    if not pairs:
        raise ValueError("the masked model's tokenizer and the explained model's have no token in common")
    both = torch.tensor(pairs)
    return both[:, 0], both[:, 1]


@lru_cache(maxsize=2)
def _loaded(name: str, dtype: str, device: str) -> System:
    return load(name, dtype=dtype, device=device)


# By part of speech ----------------------------------------------------------------------------------------------------


def tagged(prediction: Prediction, path: str, tokenizer: Tokenizer) -> Replacer:
    """Any token of the same class, each alike; what is no text stays."""
    members, start, count, of = classes(path, Path(path).stat().st_mtime_ns, tokenizer)
    ids = prediction.given.cpu()
    here = of[ids]

    def drawn(draw: torch.Generator) -> Tensor:
        at = start[here] + (torch.rand(2, len(ids), generator=draw, dtype=torch.float64) * count[here]).long()
        return torch.where(here >= 0, members[at.clamp(max=len(members) - 1)], ids)

    return drawn


@lru_cache(maxsize=4)
def classes(path: str, changed: int, tokenizer: Tokenizer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens sorted by their class (tokens,), where each class begins and how many it has (classes,), and the class of
    each id (vocab,), -1 of what is no text. ``changed``: when the file was, so that it is read again after that."""
    tags = lexicon(path)
    found: dict[Hashable, list[int]] = defaultdict(list)
    for id in range(tokenizer.vocab_size):
        if spelt := tokenizer.bytes_of(id):
            found[_class(spelt, tags)].append(id)
    if not any(isinstance(key, str) and key in tags.values() for key in found):
        raise ValueError(f"none of the words of {path} is a token of this vocabulary; give one of the model's language")
    count = torch.tensor([len(ids) for ids in found.values()])
    of = torch.full((tokenizer.vocab_size,), -1)
    for number, ids in enumerate(found.values()):
        of[ids] = number
    return torch.tensor([id for ids in found.values() for id in ids]), count.cumsum(0) - count, count, of


def lexicon(path: str) -> dict[str, str]:
    """The commonest tag of each word: of a treebank in CoNLL-U, or of lines with a word, a tab and its tag.

    Raises ValueError, with the line, for what is neither.
    """
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for word, tag in _tagged_words(path):
        for form in {word, word.lower()}:
            seen[form][tag] += 1
    if not seen:
        raise ValueError(f"{path} holds no tagged word")
    return {form: min(tags, key=lambda tag: (-tags[tag], tag)) for form, tags in seen.items()}


def _tagged_words(path: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(utf8(Path(path).read_bytes(), path).splitlines(), 1):
        cells = line.split("\t")
        if not line.strip() or (line.startswith("#") and len(cells) == 1):
            continue
        if len(cells) == 10 and cells[0].isdecimal():
            yield cells[1], cells[3]
        elif len(cells) == 2 and all(cell.strip() for cell in cells):
            yield cells[0].strip(), cells[1].strip()
        elif len(cells) != 10:
            raise ValueError(
                f"{path}, line {number}: expected the ten columns of CoNLL-U, or a word, a tab and its tag; "
                f"got {line[:60]!r}"
            )


def _class(spelt: bytes, tags: dict[str, str]) -> Hashable:
    """The tag of a token; of one that the list lacks, what it looks like."""
    word = spelt.decode("utf-8", "replace").strip()
    tag = tags.get(word) or tags.get(word.lower())
    if tag is not None:
        return tag
    if not word:
        return "", "space"
    if word.isnumeric():
        return tags.get("1", ("", "number"))
    if not any(map(str.isalnum, word)):
        return tags.get(",", ("", "mark"))
    return "", "word" if spelt[:1].isspace() else "part of a word"
