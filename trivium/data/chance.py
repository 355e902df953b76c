"""Chance that depends on what a document says alone, so that it is the same on every machine and in every order."""

import hashlib


def uniform(key: str, text: str) -> float:
    """In [0, 1), of the text as it is; of another key it is another, independent number."""
    data = f"{key}\0{text}".encode("utf-8", "surrogatepass")
    return (int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 11) / 2**53
