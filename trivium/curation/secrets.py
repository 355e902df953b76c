"""Keys, tokens and passwords in code and configuration, found by pattern and by entropy, masked and counted.

Source
    The patterns and bounds of detect-secrets 1.5.0, as Dolma (Soldaini et al. 2024, arXiv:2402.00159) takes them for
    code, and the exceptions and masks of StarCoder's data (Li et al. 2023, arXiv:2305.06161, bigcode-dataset).
Equation
    H(s) = -sum_c p_s(c) log2 p_s(c) over the characters of a quoted string;
    a secret is what a pattern finds, what is assigned to such a name as password, or H > 3 (hex) or 4.5 (base64)
Shapes
    texts (documents,) -> spans of each kind, how many there are of all and per word
Cost
    Some twenty regular expressions over each text, none of which looks far ahead; strings of more than 1000 characters
    are data and are not looked at.
Caveats
    Nothing is tried out: what only looks like a secret, an example in a manual, is masked too, and what no pattern
    knows is not found. StarCoder asks a model of letters whether a string is gibberish; here it must have a letter and
    a digit. Its rule that a file which speaks of hashes has no keys is left out: "shape" has "sha" in it, and short
    files would all be passed over. Detectors left out: Artifactory, Cloudant, IBM, SoftLayer, addresses of networks
    (see ``pii``). A private key is masked to its end, where the published detector finds its first line. A password
    stands in quotes here, or in an address, and has no space. One passage is of one kind: of those that overlap, the
    first in the order private key, token, password, entropy. StarCoder's masks are the default; that Dolma drops what
    has a secret, as ``most=0`` does, is from memory.
"""

import base64
import json
import math
import re
import string
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from trivium.core.method import method
from trivium.data.marks import Marks, Span, Texts
from trivium.data.rules import Cut, Drop, Rules

HEX, BASE64 = 3.0, 4.5
"""Bits per character above which a quoted string of such characters is a secret."""
LONGEST_KEY, LONGEST_STRING, BEFORE = 20_000, 1000, 200
"""Characters within which a private key ends, of a string that is looked at, and before it that tell what it is."""

_MASKS = {"private_key": "<KEY>", "token": "<KEY>", "password": "<PASSWORD>", "entropy": "<KEY>"}
_TOKENS = tuple(
    re.compile(pattern, re.ASCII | re.MULTILINE)
    for pattern in (
        r"(?<![A-Z0-9])(?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16}(?![A-Z0-9])",  # Amazon
        r"(?i:aws.{0,20}?(?:key|pwd|pw|password|pass|token).{0,20}?)['\"]([0-9a-zA-Z/+]{40})['\"]",
        r"AccountKey=([A-Za-z0-9+/=]{88})",  # Azure
        r"(?<![\w-])[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27}(?![\w-])",  # Discord
        r"gh[pousr]_[A-Za-z0-9_]{36}",  # GitHub
        r"gl(?:pat|dt|ft|soat|rt)-[\w-]{20,50}(?!\w)",  # GitLab
        r"(?<!\w)[0-9a-z]{32}-us\d{1,2}(?!\w)",  # Mailchimp
        r":_authToken=\s{0,9}(npm_[^\s'\"]{1,200}|[A-Fa-f0-9-]{36})",  # npm
        r"(?<![\w-])sk-[\w-]{0,100}[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",  # OpenAI
        r"pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZw)[\w-]{70,}",  # PyPI
        r"SG\.[\w-]{22}\.[\w-]{43}",  # SendGrid
        r"(?i:xox[abposr]-(?:\d+-)+[a-z0-9]+)",  # Slack
        r"https://hooks\.slack\.com/services/T\w+/B\w+/\w+",
        r"sq0csp-[\w\\-]{43}",  # Square
        r"[rs]k_live_[0-9a-zA-Z]{24}",  # Stripe
        r"^\d{8,10}:[\w-]{35}$",  # Telegram
        r"(?<![A-Za-z0-9])(?:AC|SK)[a-z0-9]{32}(?![A-Za-z0-9])",  # Twilio
    )
)
_WEB_TOKEN = re.compile(r"(?<![\w=-])eyJ[\w=-]+\.[\w=-]+(?:\.[\w+/=-]*)?", re.ASCII)
_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?)-----")
_KEY_LINES = re.compile(r"(?:(?:\\[nr]|\s)*+[A-Za-z0-9+/]{16,}+={0,2})*+")
_NAMED = re.compile(
    r"(?:(?:api|auth|service|account|db|database|priv|private|client)_?key|(?:db|database|key)_?pass|password|passwd|pwd"
    r"|secret|contrase(?:ñ|n)a)\w{0,50}[\]'\"]{0,2}[ \t]{0,20}(?:={1,3}|!={1,2}|:=?|=>)[ \t]{0,20}"
    r"(['\"`])(?P<value>[^\s'\"`]{1,200})\1",
    re.IGNORECASE,
)
_IN_ADDRESS = re.compile(r"://[^\s:/?#@\[\]!$&'()*+,;=]{1,100}:(?P<value>[^\s:/?#@\[\]!$&'()*+,;=]{1,200})@")
_QUOTED = re.compile(rf"(['\"])(?P<value>[A-Za-z0-9+/\\_=-]{{1,{LONGEST_STRING}}})\1")
_HEX_ONLY = re.compile(r"[0-9a-fA-F]+")
_UUID = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}", re.IGNORECASE)
_IDENTIFIER = re.compile(r"(?:^(?:id|myid|userid)|_id)s?[^a-z0-9]", re.IGNORECASE)
_OF_A_HASH = re.compile(r"(?<![a-z])sha[-_]?\d*(?![a-z])|md5|hash|byte", re.IGNORECASE)
_SEQUENCES = tuple(
    sequence.upper()
    for sequence in (
        string.ascii_uppercase * 2 + string.digits + "+/", string.digits + string.ascii_uppercase * 2 + "+/",
        (string.digits + string.ascii_uppercase) * 2, string.hexdigits.upper() * 2, string.ascii_uppercase + "=/",
    )
)  # fmt: skip


@method(title="Secrets by pattern and entropy", source="arXiv:2305.06161", year=2023)
@dataclass(frozen=True)
class Secrets:
    """What opens an account or a server."""

    most: int | None = None
    """Documents with more passages than this are dropped; in others, and by default in all, they are masked."""
    entropy: bool = True
    """Whether strings that no pattern knows are looked at, too."""

    def __post_init__(self) -> None:
        if self.most is not None and self.most < 0:
            raise ValueError(f"most must be at least 0, or None to mask however many there are; got {self.most}")

    @property
    def measures(self) -> frozenset[str]:
        return frozenset(("passages", "per_word"))

    @property
    def marks(self) -> frozenset[str]:
        return frozenset(_MASKS) - frozenset(() if self.entropy else ("entropy",))

    @property
    def rules(self) -> Rules:
        drops = () if self.most is None else (Drop("secrets.passages", f"secrets.passages > {self.most}"),)
        return Rules(drops, tuple(Cut(f"secrets.{kind}", by=_MASKS[kind]) for kind in _FIND if kind in self.marks))

    def tag(self, texts: Texts) -> Marks:
        """Spans of each kind, which do not overlap; the score of a string is its bits per character, of others 1."""
        spans: dict[str, list[list[Span]]] = {kind: [] for kind in _FIND if kind in self.marks}
        for text in texts.texts:
            taken: list[Span] = []
            for kind, rows in spans.items():
                rows.append(_apart(_FIND[kind](text), taken))
                taken = sorted([*taken, *rows[-1]])
        passages = [sum(map(len, row)) for row in zip(*spans.values(), strict=True)]
        words = [max(len(text.split()), 1) for text in texts.texts]
        numbers = {
            "passages": np.array(passages, float),
            "per_word": np.array(passages, float) / np.array(words, float),
        }
        return Marks(len(texts), numbers, spans)


def bits_per_character(text: str) -> float:
    """The entropy of its characters, each drawn as often as it stands there."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def _apart(found: Iterable[Span], taken: list[Span]) -> list[Span]:
    """Those that overlap neither each other nor what is taken, which is in order; the earliest first."""
    kept: list[Span] = []
    for start, end, score in sorted(found):
        place = bisect_left(taken, end, key=itemgetter(0))  # the last that begins before the end
        if (not kept or kept[-1][1] <= start) and (place == 0 or taken[place - 1][1] <= start):
            kept.append((start, end, score))
    return kept


def _private_keys(text: str) -> Iterator[Span]:
    """From BEGIN to END; without an END, the lines of base64 that follow."""
    for begin in _PRIVATE_KEY.finditer(text):
        last = f"-----END {begin[1]}-----"
        at = text.find(last, begin.end(), begin.end() + LONGEST_KEY)
        if at >= 0:
            yield begin.start(), at + len(last), 1.0
        else:
            lines = _KEY_LINES.match(text, begin.end(), begin.end() + LONGEST_KEY)
            yield begin.start(), lines.end() if lines else begin.end(), 1.0


def _tokens(text: str) -> Iterator[Span]:
    for pattern in _TOKENS:
        for found in pattern.finditer(text):
            yield (*found.span(found.lastindex or 0), 1.0)
    for found in _WEB_TOKEN.finditer(text):
        if _is_web_token(found[0]):
            yield (*found.span(), 1.0)


def _passwords(text: str) -> Iterator[Span]:
    for pattern in (_NAMED, _IN_ADDRESS):
        for found in pattern.finditer(text):
            value = found["value"]
            if any(map(str.isalpha, value)) and not _is_placeholder(value) and not _UUID.search(value):
                yield (*found.span("value"), 1.0)


def _strings(text: str) -> Iterator[Span]:
    for found in _QUOTED.finditer(text):
        value, bound = found["value"], HEX if _HEX_ONLY.fullmatch(found["value"]) else BASE64
        bits = bits_per_character(value)
        if bits > bound and not _is_known(value, _before(text, found.start())):
            yield (*found.span("value"), bits)


def _before(text: str, at: int) -> str:
    """Of the line, what stands before this place; no more than is needed."""
    first = max(at - BEFORE, 0)
    return text[text.rfind("\n", first, at) + 1 or first : at]


def _is_known(value: str, before: str) -> bool:
    """Whether this string after this start of a line is something else: an identifier, a sequence, a hash, words."""
    letters, digits = any(map(str.isalpha, value)), any(map(str.isdecimal, value))
    return (
        not (letters and digits)
        or any(value.upper() in sequence for sequence in _SEQUENCES)
        or _UUID.search(value) is not None
        or _IDENTIFIER.search(before) is not None
        or (len(value) in (32, 40, 64) and _OF_A_HASH.search(before) is not None)
    )


def _is_placeholder(value: str) -> bool:
    return value.startswith("$") or (value[0], value[-1]) in (("{", "}"), ("<", ">"))


def _is_web_token(token: str) -> bool:
    """Whether its first two parts are JSON in base64."""
    try:
        for part in token.split(".")[:2]:
            json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError):
        return False
    return True


_FIND: Mapping[str, Callable[[str], Iterator[Span]]] = {
    "private_key": _private_keys,
    "token": _tokens,
    "password": _passwords,
    "entropy": _strings,
}
