"""What the rules of Gopher and FineWeb count in a text, as Dolma's code and datatrove's read them."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from statistics import median

import numpy as np
from numpy.typing import NDArray

STOP_WORDS = frozenset(["the", "be", "to", "of", "and", "that", "have", "with"])
MOST_COMMON, REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)
"""Lengths in words of the runs whose most common one counts, and of those whose copies count."""
SHORT_LINE = 30


def share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def gopher_dolma(text: str, lines: Sequence[str]) -> dict[str, float]:
    words = text.split()
    lengths = [len(word) for word in words]
    whole = sum(lengths)
    counts = Counter(lines)
    copies = [(line, count) for line, count in counts.items() if count > 1]
    return {
        "character_count": float(len(text)),
        "word_count": float(len(words)),
        "median_word_length": float(median(lengths)) if lengths else 0.0,
        "symbol_to_word_ratio": share(sum("#" in word or "…" in word for word in words), len(words)),
        "fraction_of_words_with_alpha_character": share(sum(map(_has_letter, words)), len(words)),
        "required_word_count": float(sum(word in STOP_WORDS for word in words)),
        "fraction_of_lines_starting_with_bullet_point": share(sum(x.startswith(("*", "-")) for x in lines), len(lines)),
        "fraction_of_lines_ending_with_ellipsis": share(sum(x.endswith("…") for x in lines), len(lines)),
        "fraction_of_duplicate_lines": share(sum(count for _, count in copies), len(lines)),
        "fraction_of_characters_in_duplicate_lines": sum(len(x) * count for x, count in copies) / max(whole, 1),
        **_runs_dolma(words, np.asarray(lengths, np.int64)),
    }


def _runs_dolma(words: Sequence[str], lengths: NDArray[np.int64]) -> dict[str, float]:
    """Shares of the runs of 2 to 10 words. Runs get whole numbers, exactly: a longer one is a pair of known numbers."""
    number: dict[str, int] = {}
    word = np.array([number.setdefault(one, len(number)) for one in words], np.int64)
    upto = np.concatenate([[0], np.cumsum(lengths)])  # characters before each word
    whole, run, found, again = int(upto[-1]), word, {}, True
    for n in range(2, max(REPEATED) + 1):
        if len(words) < n:
            break
        characters = upto[n:] - upto[:-n]
        met, most, copies = 0, 1, 0  # of no run twice: the first is the most common one
        if again:
            _, first, run, count = np.unique(
                run[:-1] * len(number) + word[n - 1 :], return_index=True, return_inverse=True, return_counts=True
            )
            most = int(count.max())
            met = first[count == most].min()  # ties go to the run met first
            copies = characters[count[run] > 1].sum()
            again = most > 1  # what is not there twice is no part of anything that is
        if n in MOST_COMMON:
            found[f"fraction_of_characters_in_most_common_{n}grams"] = float(most * characters[met] / whole)
        else:
            found[f"fraction_of_characters_in_duplicate_{n}grams"] = float(copies / characters.sum())
    return found


@lru_cache(1 << 16)
def _has_letter(word: str) -> bool:
    return word.isalpha() or any(map(str.isalpha, word))


@lru_cache(1 << 16)
def _is_symbol(word: str) -> bool:
    """Whether all of it is punctuation, a symbol or a control character; the bullet is none to datatrove."""
    return all(unicodedata.category(one)[0] in "PSC" and one != "•" for one in word)


def gopher_datatrove(text: str, words: Sequence[str]) -> dict[str, float]:
    plain = [len(word) for word in words if not _is_symbol(word)]
    lines, rows, paragraphs = text.splitlines(), re.split(r"\n+", text), re.split(r"\n{2,}", text.strip())
    row_copies, paragraph_copies = later_copies(rows), later_copies(paragraphs)
    ellipses = text.count("...") + text.count("…")
    found = {
        "n_words": float(len(words)),
        "n_non_symbol_words": float(len(plain)),
        "mean_non_symbol_word_length": sum(plain) / len(plain) if plain else 0.0,
        "hash_ratio": share(text.count("#"), len(words)),
        "ellipsis_ratio": share(ellipses, len(words)),
        "bullet_line_ratio": share(sum(x.lstrip().startswith(("•", "-")) for x in lines), len(lines)),
        "ellipsis_line_ratio": share(sum(x.rstrip().endswith(("...", "…")) for x in lines), len(lines)),
        "alpha_word_ratio": share(sum(map(_has_letter, words)), len(words)),
        "distinct_stop_words": float(len(STOP_WORDS.intersection(words))),
        "dup_para_frac": len(paragraph_copies) / len(paragraphs),
        "dup_para_char_frac": share(sum(map(len, paragraph_copies)), len(text)),
        "dup_line_frac": len(row_copies) / len(rows),
        "dup_line_char_frac": share(sum(map(len, row_copies)), len(text)),
    }
    for n in MOST_COMMON:
        runs = [" ".join(words[at : at + n]) for at in range(len(words) - n + 1)]
        if runs:
            run, count = Counter(runs).most_common(1)[0]
            found[f"top_{n}_gram"] = share(len(run) * count, len(text))
    for n in REPEATED:
        found[f"duplicated_{n}_n_grams"] = share(_repeated(words, n), len(text))
    return found


def later_copies(things: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [one for one in things if one in seen or seen.add(one)]


def _repeated(words: Sequence[str], n: int) -> int:
    """Characters in runs of n words that stood before; after a copy, n words on, so that no two copies overlap."""
    runs = list(map("".join, zip(*(words[first:] for first in range(n)), strict=False)))
    seen: set[str] = set()
    at = characters = 0
    while at < len(runs) and (at or len(set(runs)) < len(runs)):  # as a rule none is there twice
        run = runs[at]
        if run in seen:
            characters += len(run)
            at += n
        else:
            seen.add(run)
            at += 1
    return characters


def fineweb(text: str, words: Sequence[str], blank: bool) -> dict[str, float]:
    lines = text.split("\n") if text else []
    full = [line for line in lines if line.strip()]
    lines = lines if blank else full
    characters = len(text.replace("\n", ""))
    return {
        "line_count": float(len(lines)),
        "line_punct_ratio": share(sum(x.endswith((".", "'", '"', "!", "?")) for x in lines), len(lines)),
        "short_line_ratio": share(sum(len(x) <= SHORT_LINE for x in lines), len(lines)),
        "char_dup_ratio": share(sum(map(len, later_copies(full))), characters),
        "list_ratio": share(text.count("\n"), len(words)),
    }
