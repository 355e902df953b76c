"""How a tokenizer treats a language: fertility and what goes with it.

    fertility             tokens / words                    tokens of the whole text, special ones not counted
    continued words       words cut into two tokens or more / words
    parity                tokens of a text / tokens of its translation
    Gini                  sum_ij |x_i - x_j| / (2 n^2 mean)  of the fertility over languages: 0 where all are alike

Words are those of Unicode's default word boundaries (UAX 29) that hold a letter or a digit. Writing without spaces
between words (Thai, Lao, Khmer, Burmese, Tibetan, Chinese, Japanese) has no words in this sense: what rests on them is
not told for such texts, tokens per character is. A word counts as cut as it would be with a space before it or without,
whichever takes fewer tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import regex

from trivium.core.protocols import Tokenizer
from trivium.tokenization.pieces import pieces, roles

_BOUNDARY = regex.compile(r"(?V1w)\b")
_COUNTS = regex.compile(r"[\p{L}\p{N}]")
_UNSPACED = regex.compile(r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{Han}\p{Hiragana}\p{Katakana}]")


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    return [part for part in _BOUNDARY.split(text) if part and _COUNTS.search(part)]


def spaced(text: str) -> bool:
    """Whether most letters of a text are of scripts that put spaces between words."""
    letters = sum(char.isalpha() for char in text)
    return 2 * len(_UNSPACED.findall(text)) <= letters


@dataclass(frozen=True)
class Measured:
    """Counts over texts; ``words`` and ``cut`` are 0 where the texts have no spaces between words."""

    tokens: int
    characters: int
    bytes: int
    words: int
    cut: int
    unknown: int
    fallback: int
    """Tokens that stand for bytes of a character rather than for characters."""

    @property
    def fertility(self) -> float | None:
        """Tokens per word; None where there are no words."""
        return self.tokens / self.words if self.words else None

    @property
    def continued(self) -> float | None:
        """Share of the words that are cut; None where there are no words."""
        return self.cut / self.words if self.words else None

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens

    @property
    def tokens_per_character(self) -> float:
        return self.tokens / self.characters

    @property
    def unknown_rate(self) -> float:
        return self.unknown / self.tokens

    @property
    def fallback_share(self) -> float:
        return self.fallback / self.tokens


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Measured:
    """Raises ValueError where there is no text, or it gives no token."""
    table = pieces(tokenizer)
    broken = [piece.fallback or _broken(piece.bytes) for piece in table]
    unknown = roles(tokenizer).get("unk", -1)
    count = dict.fromkeys(("tokens", "characters", "bytes", "words", "cut", "unknown", "fallback"), 0)
    known: dict[str, int] = {}
    for text in texts:
        ids = tokenizer.encode(text)
        count["unknown"] += ids.count(unknown)
        count["tokens"] += sum(not table[id].special or id == unknown for id in ids)
        count["fallback"] += sum(broken[id] for id in ids)
        count["characters"] += len(text)
        count["bytes"] += len(text.encode("utf-8", errors="surrogatepass"))
        if spaced(text):
            found = words(text)
            count["words"] += len(found)
            count["cut"] += sum(_parts(tokenizer, word, known) > 1 for word in found)
    if not count["tokens"]:
        raise ValueError("the texts hold no token to measure; give some text")
    return Measured(**count)


def _broken(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return True
    return False


def _parts(tokenizer: Tokenizer, word: str, known: dict[str, int]) -> int:
    """Tokens of a word, with a space before it or without."""
    if word not in known:
        known[word] = min(len(tokenizer.encode(word)), len(tokenizer.encode(" " + word)))
    return known[word]


def parity(tokenizer: Tokenizer, texts: Sequence[str], translations: Sequence[str]) -> float:
    """Tokens of the texts over tokens of their translations. Raises ValueError unless they come in pairs."""
    if not texts or len(texts) != len(translations):
        raise ValueError(f"parity is of parallel texts; got {len(texts)} and {len(translations)}")
    ours, theirs = (sum(len(tokenizer.encode(text)) for text in side) for side in (texts, translations))
    if not theirs:
        raise ValueError("the translations hold no token")
    return ours / theirs


def gini(values: Sequence[float]) -> float:
    """How unequal the values are: 0 for equal ones, towards 1 where one has all. Raises ValueError for none, or below
    0, or all 0."""
    if not values or min(values) < 0 or sum(values) == 0:
        raise ValueError(
            f"the Gini coefficient is of numbers that are at least 0 and not all 0; got {list(values)[:8]}"
        )
    ordered, count = sorted(values), len(values)
    weighted = sum((2 * at - count + 1) * value for at, value in enumerate(ordered))
    return weighted / (count * sum(ordered))


def frequent_cut_words(tokenizer: Tokenizer, texts: Iterable[str], count: int, *, least: int = 2) -> list[str]:
    """The words of the texts that the tokenizer cuts in two or more, the most frequent first: what Komodo adds to a
    vocabulary. Equally frequent ones go by the alphabet."""
    if count < 1:
        raise ValueError(f"count must be at least one word, got {count}")
    seen: dict[str, int] = {}
    for text in texts:
        for word in words(text):
            seen[word] = seen.get(word, 0) + 1
    known: dict[str, int] = {}
    often = sorted((word for word in seen if seen[word] >= least), key=lambda word: (-seen[word], word))
    found: list[str] = []
    for word in often:
        if len(found) == count:
            break
        if _parts(tokenizer, word, known) > 1:
            found.append(word)
    return found
