"""What the rules of C4 find in a text: faults of lines and signs of pages, as three toolkits read them."""

import re
from collections.abc import Callable, Collection
from itertools import accumulate, pairwise

from trivium.core.errors import UnknownName

Span = tuple[int, int, float]
"""First code point, the one after the last, and a score."""

LONG_WORD, LINE_WORDS = 1000, 3
CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
SENTENCE_END = re.compile(r"(?<![.?!])[.?!]++[\"')\]]*+(?=\s|$)")  # neither starts nor steps back inside a run of marks


def c4_dolma(text: str, anywhere: bool, bad_words: Collection[str] | None) -> dict[str, list[Span]]:
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    starts[-1] = len(text)  # no line break after the last line
    found: dict[str, list[Span]] = {"line_count": [(0, len(text), float(len(lines)))]}
    phrases = [bad for bad in bad_words or () if " " in bad]
    for line, (start, end) in zip(lines, pairwise(starts), strict=True):
        line = line.lower().strip()
        words = line.split()
        if not line.endswith((".", "?", "!", '"')):
            found.setdefault("lines_with_no_ending_punctuation", []).append((start, end, 1.0))
        if len(words) < LINE_WORDS:
            found.setdefault("lines_with_too_few_words", []).append((start, end, 1.0))
        bad = bad_words is not None and (any(w in bad_words for w in words) or any(p in line for p in phrases))
        signs = {
            "has_naughty_word": bad,
            "has_javascript": "javascript" in (line if anywhere else words),
            "has_lorem_ipsum": "lorem ipsum" in line,
            "has_curly_brace": "{" in line,
        }
        for name, there in signs.items():
            if there:
                found[name] = [(0, len(text), 1.0)]
    return found


LINE_FAULTS = (
    "long_word",
    "no_terminal_punctuation",
    "too_few_words",
    "lorem_ipsum",
    "javascript",
    "curly_brace",
    "policy",
)
"""Of datatrove's C4 rules, in their order; a line has the first that fits."""
PAGE_FAULTS = ("lorem_ipsum", "curly_brace")


def _fault(line: str) -> str | None:
    """What is wrong with a stripped line, citations still in it."""
    words = line.split()
    if any(len(word) > LONG_WORD for word in words):
        return "long_word"
    line = CITATION.sub("", line)
    if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
        return "no_terminal_punctuation"
    if len(words) < LINE_WORDS:
        return "too_few_words"
    low = line.lower()
    for name, there in (
        ("lorem_ipsum", "lorem ipsum" in low),
        ("javascript", "javascript" in low),
        ("curly_brace", "{" in line),
        ("policy", any(phrase in low for phrase in POLICY)),
    ):
        if there:
            return name
    return None


def _paper_fault(line: str) -> str | None:
    if not line.endswith((".", "?", "!", '"')):
        return "no_terminal_punctuation"
    if len(line.split()) < LINE_WORDS:
        return "too_few_words"
    return "javascript" if "javascript" in line.lower() else None


def sentences(text: str) -> int:
    """How many runs of ``.?!``, with what closes them, stand before a blank or the end, and the rest after them."""
    ends = [one.end() for one in SENTENCE_END.finditer(text)]
    return len(ends) + bool(text[ends[-1] if ends else 0 :].strip())


def _lines(text: str, fault: Callable[[str], str | None]) -> list[tuple[int, int, str, str | None]]:
    """Start, end without the break, stripped line and fault of each line."""
    found, start = [], 0
    for line in text.splitlines(keepends=True):
        bare = line.splitlines()[0]
        found.append((start, start + len(bare), bare.strip(), fault(bare.strip())))
        start += len(line)
    return found


def kept_lines(text: str, variant: str) -> str:
    """The text without the lines that C4's line rules drop; datatrove's reading also takes out citations."""
    fault = _reading(variant)
    kept = [line for _, _, line, wrong in _lines(text, fault) if wrong is None]
    if variant == "c4_datatrove":
        kept = [CITATION.sub("", line) for line in kept]
    return "\n".join(kept).strip()


def _reading(variant: str) -> Callable[[str], str | None]:
    if variant not in ("c4", "c4_datatrove"):
        raise UnknownName(f"no reading of C4's line rules named {variant!r}; there are c4, c4_datatrove")
    return _fault if variant == "c4_datatrove" else _paper_fault


def c4(
    text: str, variant: str, bad_words: Collection[str] | None, count: Callable[[str], int]
) -> tuple[dict[str, float], dict[str, list[Span]]]:
    fault = _reading(variant)
    lines, spans = _lines(text, fault), {}
    for start, end, _, wrong in lines:
        if wrong is not None:
            spans.setdefault(wrong, []).append((start, end, 1.0))
    kept = [CITATION.sub("", x) if variant == "c4_datatrove" else x for _, _, x, wrong in lines if wrong is None]
    numbers = {"line_count": float(len(lines)), "sentences": float(sum(map(count, kept)))}
    low = text.lower()
    if variant == "c4":
        numbers |= {"curly_brace": float("{" in text), "lorem_ipsum": float("lorem ipsum" in low)}
        if bad_words is not None:
            listed = "|".join(map(re.escape, sorted(bad_words)))
            numbers["bad_words"] = float(bool(listed and re.search(rf"(?<!\w)(?:{listed})(?!\w)", low)))
    else:
        numbers |= {name: float(len(spans.get(name, ()))) for name in PAGE_FAULTS}
    return numbers, spans
