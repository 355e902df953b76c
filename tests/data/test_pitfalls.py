"""What goes wrong in published curation code, each as a test that it does not here.

Dolma 1.2.1 (arXiv:2402.00159) as it was read: rules that silently never fire, survivors that depend on order and races,
offsets in bytes among characters, errors that cut files short, documents longer than a file, patterns that never match,
token ids that wrap around, a filter lost in a crash.
"""

import gzip
import json
import subprocess
import sys

import numpy as np
import pytest

from trivium.core.errors import RunMismatch, UnknownName
from trivium.core.method import find, names
from trivium.curation.exact_copies import ExactCopies
from trivium.curation.gopher import Gopher
from trivium.curation.paragraph_copies import ParagraphCopies
from trivium.curation.pii import PII
from trivium.curation.random_share import RandomShare
from trivium.data.bloom import Bloom
from trivium.data.curating import curated, measured, names_of
from trivium.data.marks import Marks, Texts
from trivium.data.plan import Plan, Run, Source
from trivium.data.raw.documents import BadRecords, Policy
from trivium.data.rules import Drop, Rules
from trivium.data.shards import Shards, write

STRANGE = "Grüße 🙂 𝔘𝔫𝔦\nΑθήνα e\u0301 漢字\nx@y.org 🙂 555-123-4567\n\nla la la la 🙂🙂🙂🙂\n🙂"


def texts(*said: str) -> Texts:
    return Texts([f"d{n}" for n in range(len(said))], said, ["s"] * len(said))


def page(*said: str) -> bytes:
    return b"".join(json.dumps({"id": f"d{n}", "text": text}).encode() + b"\n" for n, text in enumerate(said))


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_misspelt_name_is_an_error_and_no_rule_that_never_fires(number):
    """Published mixes ask for ..._most_common_2gram, where the tagger writes ..._2grams."""
    right = f"gopher.fraction_of_characters_in_most_common_{number}grams > 0.2"
    Rules((Drop("runs", right),)).check(*names_of({"gopher": Gopher()}))
    for wrong in (right.replace("grams", "gram"), f"gopher.word_count < 5 and {right.replace('grams', 'gram')}"):
        with pytest.raises(UnknownName, match=f"most_common_{number}grams"):
            curated(Gopher(), texts("a"), Rules((Drop("runs", wrong),)))
    with pytest.raises(ValueError, match="condition"):
        Drop("leaked", "$@.attributes.leaked > 0")


def test_how_often_each_rule_alone_would_drop_is_told_also_where_it_is_never():
    rules = Rules((Drop("a", "m.x > 1"), Drop("b", "m.x > 2"), Drop("c", "m.x > 9")))
    assert rules.decide(Marks(3, {"m.x": np.array([1.0, 2.0, 3.0])})).alone == {"a": 2, "b": 1, "c": 0}


@pytest.mark.parametrize("method", [ExactCopies(), ParagraphCopies(), RandomShare()], ids=lambda m: type(m).__name__)
def test_who_stays_depends_on_neither_order_nor_process(method):
    said = [f"line {n % 7}\nline {n % 3}\nown {n % 11}" for n in range(40)]
    given = texts(*said)
    back = Texts(given.ids[::-1], given.texts[::-1], given.sources)
    once, again = (curated(method, one).texts for one in (given, back))
    assert dict(zip(once.ids, once.texts, strict=True)) == dict(zip(again.ids, again.texts, strict=True))
    name = type(method).__name__
    module = type(method).__module__
    code = (
        f"from {module} import {name} as M\nfrom trivium.data.curating import curated\n"
        "from trivium.data.marks import Texts\n"
        f"print(list(curated(M(), Texts({list(given.ids)!r}, {said!r}, {list(given.sources)!r})).texts.ids))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == str(list(once.ids))


def test_offsets_count_code_points():
    """A text of signs of up to four bytes: no span ends beyond it, and what is marked in it is what is meant."""
    assert len(STRANGE) < len(STRANGE.encode())
    plain = STRANGE.encode("ascii", "replace").decode()
    for method in filter(lambda made: made.marks, (find("curation", name)() for name in names("curation"))):
        measured(method, [texts(STRANGE, STRANGE)])  # raises for a span outside
    strange, simple = (PII().tag(texts(text)).spans for text in (STRANGE, plain))
    assert strange == simple
    assert [STRANGE[a:b] for name in ("email", "phone") for a, b, _ in strange[name][0]] == ["x@y.org", "555-123-4567"]


def test_the_last_paragraph_goes_to_its_last_sign():
    kept = curated(ParagraphCopies(least_words=0), texts(STRANGE, f"new\n{STRANGE}")).texts
    assert list(kept.texts) == [STRANGE, "new\n"]


def test_a_torn_file_stops_the_run_or_is_told_of(tmp_path):
    """Dolma stops reading it and finishes the output all the same."""
    whole = gzip.compress(page(*(f"text {n} {n * 7919}" for n in range(3000))), mtime=0)
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    plan = Plan([Source(f"{tmp_path}/a.jsonl.gz")], {"random_share": RandomShare()})
    with pytest.raises(BadRecords, match="TruncatedStream"):
        Run(plan, tmp_path / "run").go()
    assert not list((tmp_path / "run").rglob("*.part*"))
    lenient = Plan(plan.sources, plan.methods, policy=Policy(on_bad_file="quarantine", max_bad_fraction=1.0))
    read = Run(lenient, tmp_path / "other").go().read
    assert 0 < read.kept < 3000
    assert read.quarantined == 1


def test_what_was_not_measured_of_a_document_is_an_error_and_no_pass():
    """Dolma warns where a line of attributes is missing, and the document passes every filter."""

    class Forgets(RandomShare):
        def tag(self, texts: Texts) -> Marks:
            return Marks(len(texts) - 1, {"number": np.ones(len(texts) - 1)})

    with pytest.raises(ValueError, match="given 3 documents and tells of 2"):
        measured(Forgets(), [texts("a", "b", "c")])


def test_a_document_longer_than_a_file_of_tokens_ends(tmp_path):
    made = write(tmp_path, [[1, 2], list(range(9)), [3]], vocab_size=10, size=4)
    assert [shard["tokens"] for shard in made.shards] == [11, 1]


def test_a_document_that_is_too_large_is_told_of(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(page("short", "x" * 5000))
    policy = Policy(max_document_bytes=1000, max_bad_fraction=1.0)
    read = Run(Plan([Source(f"{tmp_path}/a.jsonl")], {"random_share": RandomShare(1.0)}, policy=policy),
                tmp_path / "run").go().read  # fmt: skip
    assert (read.kept, read.quarantined) == (1, 1)
    with pytest.raises(BadRecords):
        Run(Plan([Source(f"{tmp_path}/a.jsonl")], {}, policy=Policy(max_document_bytes=1000)), tmp_path / "b").go()


@pytest.mark.parametrize("guard", ["isbn", "doi", "#"])
def test_guards_of_numbers_match(guard):
    """A word boundary in a plain string is a backspace, and a guard with it never holds."""
    assert not any(map(len, PII().tag(texts(f"{guard} 555-123-4567")).spans["phone"]))
    assert len(PII().tag(texts("call 555-123-4567")).spans["phone"][0]) == 1


@pytest.mark.parametrize("text", ["x@y.org", "🙂 x@y.org", "x@y.org 🙂", "Write to x@y.org."])
def test_an_address_at_an_end_of_the_text_is_found(text):
    ((span,),) = PII().tag(texts(text)).spans["email"]
    assert text[span[0] : span[1]] == "x@y.org"


def test_ids_beyond_16_bits_do_not_wrap_around(tmp_path):
    made = write(tmp_path / "wide", [[70_000, 1]], vocab_size=70_001)
    assert Shards.open(tmp_path / "wide").rows(np.array([0]), 2)[0].tolist() == [[70_000, 1]]
    assert made.dtype == "<u4"
    with pytest.raises(ValueError, match="outside the vocabulary"):
        write(tmp_path / "narrow", [[70_000]], vocab_size=1 << 16)


def test_a_stopped_run_has_seen_what_it_has_done(tmp_path):
    """Dolma's filter is written at the end: after a crash the finished files count as unseen."""
    (tmp_path / "a.jsonl").write_bytes(page("one text", "another"))
    plan = Plan([Source(f"{tmp_path}/?.jsonl", "web")], {"exact_copies": ExactCopies()})
    assert Run(plan, tmp_path / "run").go().total.kept == 2
    (tmp_path / "b.jsonl").write_bytes(page("one text", "third").replace(b'"d', b'"e'))
    with pytest.raises(RunMismatch):  # what was done was done without the new file
        Run(plan, tmp_path / "run").go()
    assert Run(plan, tmp_path / "run", replace=True).go().total.kept == 3


def test_a_filter_is_never_half_written_and_never_taken_for_another(tmp_path):
    bloom = Bloom(100)
    bloom.save(tmp_path / "f")
    with pytest.raises(ValueError, match="was made with expected 100, not 200"):
        Bloom.load(tmp_path / "f", expected=200)
    (tmp_path / "f").write_bytes((tmp_path / "f").read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged"):
        Bloom.load(tmp_path / "f")
