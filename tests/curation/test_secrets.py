"""Secrets: each kind where it stands, nothing that looks alike, one kind for a passage, and none left once masked."""

import base64
import math

import pytest

from trivium.curation.secrets import Secrets, bits_per_character
from trivium.data.curating import curated
from trivium.data.marks import Texts
from trivium.data.planted_code import planted_code

LETTERS = "Zk3Qw9Xv7Tn5Rb1Ym8Lp2Hd6Gf4Js0Ca+eU/iOxAqEtBuDyFoKgNmVhWcPzIlMrSaTjQwErTyUiOpLkJhGfDsA1234567890"
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"  # 40 characters


def words(count: int) -> str:
    """Letters and digits."""
    return LETTERS.replace("+", "").replace("/", "")[:count]


def lower(count: int) -> str:
    return words(99).lower()[:count]


def one(text: str) -> Texts:
    return Texts(["d"], [text], ["s"])


def found(text: str, method=None) -> dict[str, list[str]]:
    marks = (method or Secrets()).tag(one(text))
    return {kind: [text[a:b] for a, b, _ in rows[0]] for kind, rows in marks.spans.items() if rows[0]}


def web_token(first: str = '{"alg": "none"}', second: str = '{"user": 1}') -> str:
    parts = [base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in (first, second)]
    return ".".join([*parts, words(20)])


TOKENS = [
    "AKIA" + words(99).upper()[:16],
    "gho_" + words(36),
    "glpat-" + words(20),
    "xoxp-123-456-" + lower(10),
    "https://hooks.slack.com/services/T" + words(8) + "/B" + words(8) + "/" + words(20),
    "sk_live_" + words(24),
    "rk_live_" + words(24),
    "sk-" + words(20) + "T3BlbkFJ" + words(20),
    "sk-proj-" + words(20) + "T3BlbkFJ" + words(20),
    "pypi-AgEIcHlwaS5vcmc" + words(80),
    "SG." + words(22) + "." + words(43),
    "sq0csp-" + words(43),
    "SK" + lower(32),
    lower(32) + "-us12",
    "M" + words(23) + "." + words(6) + "." + words(27),
    "12345678:" + words(35),
    web_token(),
    web_token().rpartition(".")[0],
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token[:9])
def test_tokens(token):
    assert found(token) == {"token": [token]}
    assert found(f"🙂 x\n{token}\n🙂") == {"token": [token]}


@pytest.mark.parametrize(
    ("text", "token"),
    [
        (f"AccountKey={LETTERS[:86]}==;", LETTERS[:86] + "=="),
        (f"aws_secret_access_key = '{LETTERS[:40]}'", LETTERS[:40]),
        (f"//registry.example.org/:_authToken=npm_{words(36)}\n", f"npm_{words(36)}"),
    ],
)
def test_tokens_that_something_must_stand_before(text, token):
    assert found(text) == {"token": [token]}
    assert found(token) == {}


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + words(99).upper()[:15], "AKIA" + words(99).upper()[:17], "ghp_" + words(35), "x12345678:" + words(35),
        "sk_test_" + words(24), "AC" + lower(33), web_token("not json"), web_token(second="nor this"),
        web_token().partition(".")[0],
    ],
)  # fmt: skip
def test_what_is_no_token(text):
    assert found(text) == {}


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
def test_private_keys(kind):
    key = f"-----BEGIN {kind}-----\nVersion: 1\n\n{words(60)}\n{words(20)}=\n-----END {kind}-----"
    assert found(f"K = '{key}'\n{key}.") == {"private_key": [key, key]}


@pytest.mark.parametrize("gap", ["\n", "\r\n", "\\n", "\n    "])
def test_a_private_key_without_an_end(gap):
    key = f"-----BEGIN PRIVATE KEY-----{gap}{words(64)}{gap}{words(60)}=="
    assert found(f"{key}\n\nand so on") == {"private_key": [key]}


def test_a_public_key_is_no_secret():
    assert found(f"-----BEGIN PUBLIC KEY-----\n{words(64)}\n-----END PUBLIC KEY-----") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password = 'hunter2'", "hunter2"),
        ('"db_password": "pa!s",', "pa!s"),
        ("$config['secret'] = `ab`;", "ab"),
        ("my_API_KEY_two := 'x-y'", "x-y"),
        ("if pwd == 'letme':", "letme"),
        (":client_secret => 'a1'", "a1"),
        ("postgres://me:open-up@host/base", "open-up"),
    ],
)
def test_passwords(text, value):
    assert found(text) == {"password": [value]}


@pytest.mark.parametrize(
    "text",
    [
        "password = 'two words'", "password = '${PASSWORD}'", "password = '<yours>'", "secret = '{secret}'",
        "password = '1234'", "password = '$x'", "password = ask('user')", "token_count = 'many'", "pass = 'x'",
        "secret = '123e4567-e89b-12d3-a456-426614174000'", "http://host:80/a@b", "password = ''",
    ],
)  # fmt: skip
def test_what_is_no_password(text):
    assert found(text) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [(f"x = '{HASH}'", HASH), (f'shape("{HASH}")', HASH), (f"x = '{LETTERS[:44]}'", LETTERS[:44])],
)
def test_strings_of_high_entropy(text, value):
    assert found(text) == {"entropy": [value]}
    assert Secrets().tag(one(text)).spans["entropy"][0][0][2] == bits_per_character(value)
    assert found(text, Secrets(entropy=False)) == {}


@pytest.mark.parametrize(
    "text",
    [
        f"sha1 = '{HASH}'", f"md5('{HASH[:32]}')", f"user_id = '{HASH}'", f"id: '{HASH}'", f"x = {HASH}",
        f"x = '{HASH}\"",
        "x = '0123456789abcdef'", "x = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/'", "x = '00000000ffffffff1111'",
        "x = '8329471650283947165'", "x = 'abcdefghijklmnopqrstuvwxyzBDFHJLNPRTVXZ'", f"x = '{LETTERS[:22]}'",
        f"x = '{LETTERS * 11}'",
    ],
)  # fmt: skip
def test_strings_that_are_something_else(text):
    assert found(text) == {}


def test_a_hash_is_known_by_its_length_and_its_line():
    assert found(f"sha1 = '{HASH[:39]}'") == {"entropy": [HASH[:39]]}
    assert found(f"sha1\nx = '{HASH}'") == {"entropy": [HASH]}
    assert found("sha1" + " " * 300 + f"'{HASH}'") == {"entropy": [HASH]}


def test_bits_per_character():
    assert bits_per_character("aaaa") == 0
    assert bits_per_character("abcd") == 2
    assert bits_per_character("aab") == pytest.approx(math.log2(3) - 2 / 3)


def test_a_passage_is_of_one_kind():
    token = "ghp_" + words(36)
    assert found(f"password = '{token}'") == {"token": [token]}
    assert found(f"password = '{LETTERS[:44]}' + '{HASH}'") == {"password": [LETTERS[:44]], "entropy": [HASH]}
    hook = f"https://hooks.slack.com/services/T{token}/B1/x"
    assert found(hook) == {"token": [hook]}
    key = f"-----BEGIN PRIVATE KEY-----\n{token}\n-----END PRIVATE KEY-----"
    assert found(key) == {"private_key": [key]}


def test_what_is_masked_holds_no_secret_any_more():
    every = "\n".join([
        *TOKENS, f"AccountKey={LETTERS[:86]}==", "x: 'https://me:open@host'", "password = 'abc'", f"x = '{HASH}'",
        f"-----BEGIN PRIVATE KEY-----\n{words(64)}\n-----END PRIVATE KEY-----",
    ])  # fmt: skip
    kept = curated(Secrets(), one(every)).texts
    assert list(kept.texts) == ["\n".join([
        *["<KEY>"] * len(TOKENS), "AccountKey=<KEY>", "x: 'https://me:<PASSWORD>@host'", "password = '<PASSWORD>'",
        "x = '<KEY>'", "<KEY>",
    ])]  # fmt: skip
    assert found(kept.texts[0]) == {}


def test_counts():
    numbers = Secrets().tag(one(f"password = 'abc'\n{TOKENS[0]} {TOKENS[1]}")).numbers
    assert (numbers["passages"][0], numbers["per_word"][0]) == (3, 3 / 5)


def test_documents_with_many_are_dropped_where_that_is_asked_for():
    many = one("\n".join(TOKENS))
    assert curated(Secrets(), many).counts.kept == 1
    assert curated(Secrets(most=len(TOKENS)), many).counts.kept == 1
    assert curated(Secrets(most=len(TOKENS) - 1), many).counts.dropped == {"secrets.passages": 1}
    assert curated(Secrets(most=0), one("nothing")).counts.kept == 1


def test_all_planted_secrets_in_quotes_are_found_and_nothing_else():
    documents = list(planted_code(80, seed=2, shares={"secret": 0.5, "lookalike": 0.4}))
    marks = Secrets().tag(Texts.of(documents))
    assert sum(marks.numbers["passages"]) > 50
    for place, document in enumerate(documents):
        bare = {end for _, start, end in document.metadata.get("spans", []) if document.text[start - 1] == "="}
        wanted = sorted((k, a, b) for k, a, b in document.metadata.get("spans", []) if b not in bare)
        seen = sorted((kind, a, b) for kind, rows in marks.spans.items() for a, b, _ in rows[place])
        assert seen == wanted


@pytest.mark.parametrize(
    "part",
    ["secret", "-----BEGIN PRIVATE KEY-----", "eyJ", "eyJ.", "n", "'a1", "://a:", "xoxb-1-", "sk-", "aws",
     "'" + HASH + "' ", "password='ab';", web_token() + " ", "pypi-AgEIcHlwaS5vcmc"],
)  # fmt: skip
def test_bad_input_takes_no_long_time(part):
    Secrets().tag(one(part * (200_000 // len(part))))
    Secrets().tag(one("-----BEGIN PRIVATE KEY-----" + part * (100_000 // len(part))))


def test_deep_json_is_no_token():
    assert found(web_token('{"a":' * 20_000)) == {}


def test_bad_settings():
    with pytest.raises(ValueError, match=r"most must be at least 0, or None .*; got -1"):
        Secrets(most=-1)
