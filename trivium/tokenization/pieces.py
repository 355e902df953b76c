"""What the tokens of a vocabulary stand for, in one spelling for all sorts of vocabularies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trivium.core.protocols import Tokenizer

ROLES = ("bos", "eos", "pad", "unk", "cls", "sep", "mask")


@dataclass(frozen=True)
class Piece:
    """One token: the bytes it stands for, where a word begins with the space before it.

    ``special``: its spelling (or role, where it has none), if it is no text; ``fallback``: it spells one byte of a
    character that has no token. A piece without bytes that is not special is an id that no text has.
    """

    bytes: bytes
    special: str = ""
    fallback: bool = False

    @property
    def real(self) -> bool:
        """Whether any text, or a role, has this id."""
        return bool(self.bytes) or bool(self.special)


def pieces(tokenizer: Tokenizer) -> tuple[Piece, ...]:
    """Of every id, in order. Byte-level escapes, U+2581 and ## are undone."""
    inner: Any = getattr(tokenizer, "inner", None)
    count, special = tokenizer.vocab_size, {id: role for role, id in reversed(roles(tokenizer).items())}
    names: Sequence[str | None] = [None] * count
    added: dict[int, Any] = {}
    if hasattr(inner, "convert_ids_to_tokens"):
        names, added = inner.convert_ids_to_tokens(list(range(count))), inner.added_tokens_decoder
    special |= {id: token.content for id, token in added.items() if token.special and id < count}
    return tuple(
        Piece(b"", special[id])
        if id in special
        else Piece(tokenizer.bytes_of(id), fallback=id not in added and _is_fallback(names[id]))
        for id in range(count)
    )


def roles(tokenizer: Tokenizer) -> dict[str, int]:
    """The special tokens by what they are for: those of ``ROLES`` that the tokenizer has."""
    inner: Any = getattr(tokenizer, "inner", None)
    found = {role: getattr(tokenizer, role, None) for role in ROLES}
    if inner is not None:
        found |= {role: getattr(inner, f"{role}_token_id", found[role]) for role in ROLES}
    return {role: int(id) for role, id in found.items() if id is not None}


def _is_fallback(name: str | None) -> bool:
    if name is None or len(name) != 6 or not (name.startswith("<0x") and name.endswith(">")):
        return False
    try:
        int(name[3:5], 16)
    except ValueError:
        return False
    return True
