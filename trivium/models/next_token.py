"""The token that an answer begins with, behind a prompt."""

import torch
from torch import Tensor

from trivium.models.system import System


def next_token(system: System, text: str, answer: str) -> tuple[Tensor, int]:
    """The prompt's ids (time,) and the first token of the answer that is more than a space, as in " Bangkok".

    A tokenizer that splits off the space before a word has it moved into the prompt. Raises ValueError for an answer
    without a token.
    """
    ids = system.prompt(text)[0]
    whole = system.prompt(text + answer)[0]
    if len(whole) <= len(ids) or not torch.equal(whole[: len(ids)], ids):
        rest = system.tokenizer.encode(answer)
    else:
        rest = whole[len(ids) :].tolist()
    while len(rest) > 1 and not system.tokenizer.bytes_of(rest[0]).strip():
        ids = torch.cat([ids, ids.new_tensor(rest[:1])])
        rest = rest[1:]
    if not rest:
        raise ValueError(f"the tokenizer of {system.name} has no token for {answer!r}")
    return ids, rest[0]
