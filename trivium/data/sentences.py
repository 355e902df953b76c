"""Sentences by punctuation alone, the same for every language that ends them with . ! or ?"""

import re

_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s)""")


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with the white space before it, so that they join to the text; white space behind
    the last one belongs to it. A mark that no white space follows ends nothing."""
    found, start = [], 0
    for end in _END.finditer(text):
        if text[end.end() :].strip():
            found.append(text[start : end.end()])
            start = end.end()
    return [*found, text[start:]] if text.strip() else []


ENDS = (".", "!", "?", "…", '."', '!"', '?"', ".”", "!”", "?”")
"""What the text of a token that ends a sentence ends with."""


def ends_sentence(piece: bytes) -> bool:
    """Whether a token of these bytes ends a sentence."""
    return piece.decode("utf-8", "replace").rstrip().endswith(ENDS)
