"""From a document to every place of its tokens, and from every token to its document."""

import pytest

from tests.data.test_curated_packing import packing
from tests.data.test_plan import lines
from trivium.compare.curated import write
from trivium.core.errors import RunMismatch
from trivium.curation.gopher import Gopher
from trivium.data.blends import Blend
from trivium.data.plan import Plan, Run, Source
from trivium.data.planted import planted
from trivium.data.raw.documents import Document, Policy
from trivium.data.rules import Drop, Rules
from trivium.data.tracing import Refused, Trace
from trivium.tokenization.byte import ByteTokenizer

pytest.importorskip("pyarrow")

RULES = Rules((Drop("few", "gopher.word_count < 10"), Drop("short", "gopher.character_count < 60")))


@pytest.fixture
def pages(tmp_path):
    """Two files of 40 documents, of which some are short, two have the id of another, one of these in another source;
    one record is broken."""
    made = [Document(d.id, d.text[: 20 + 37 * (n % 9)], d.source) for n, d in enumerate(planted(38, seed=3))]
    home = tmp_path / "pages"
    home.mkdir()
    (home / "a.jsonl").write_bytes(lines([*made[:20], Document("twice", "the first one " * 9, "web")]))
    others = [Document("twice", "another one " * 9, "web"), Document("twice", "elsewhere again " * 9, "forum")]
    broken = b'{"id": "broken", "text": 7, "note": "torn leaf"}\n'
    (home / "b.jsonl").write_bytes(lines([*made[20:], *others]) + broken)
    return home


def run(pages, folder, mixer=None, rules=RULES, replace=False, asked=True):
    policy = Policy(max_bad_fraction=0.5, on_duplicate_id="suffix")
    plan = Plan([Source(f"{pages}/*.jsonl")], {"gopher": Gopher()}, rules, policy, mixer)
    outcome = Run(plan, folder, replace=replace).go()
    if asked:
        write(folder, plan)
    return outcome


def documents(pages):
    """Of what is to be found: place in its file, and text, by id and source."""
    found = {}
    for name in ("a", "b"):
        from trivium.data.raw.documents import documents as read

        for one in read(pages / f"{name}.jsonl"):
            if isinstance(one, Document):
                id = "twice#2" if (one.id, one.source, name) == ("twice", "web", "b") else one.id
                found[id, one.source] = (str(pages / f"{name}.jsonl"), one.place, one.text)
    return found


@pytest.mark.parametrize("mixer", [None, Blend("documents", {"web": 0.9, "books": 0.05, "forum": 0.05}, size=40)])
@pytest.mark.parametrize("way", ["best_fit", "concatenate"])
def test_every_document_leads_to_its_tokens(pages, tmp_path, way, mixer):
    outcome = run(pages, tmp_path / "run", mixer)
    shards = packing(way).go(outcome.kept, ByteTokenizer())
    trace, order = Trace(tmp_path / "run"), list(outcome.documents())
    stays, fates = {document.id for document in order}, set()
    for (id, source), (file, place, text) in documents(pages).items():
        found = next(one for one in trace.documents(id) if (one.id, one.source) == (id, source))
        assert (found.id, found.source, found.file, found.record, found.text) == (id, source, file, place, text)
        assert found.measures["gopher.character_count"] == len(text)
        comings = [at for at, document in enumerate(order) if (document.id, document.source) == (id, source)]
        assert found.draws == len(comings)
        assert found.packed is not None
        assert [coming.place for coming in found.packed] == comings
        expected = "few" if len(text.split()) < 10 else "short" if len(text) < 60 else ""
        assert found.dropped == expected
        assert (found.dropped in found.rules) == bool(expected)
        for coming in found.packed:
            ids = []
            for piece in coming.pieces:
                assert piece.begin == len(ids)
                shard, row = shards.place(piece.row)
                assert shards.shards[shard]["name"] == piece.shard
                assert piece.at == row * shards.context + piece.column
                ids += shards.ids(shard, row)[piece.column : piece.column + piece.tokens].tolist()
            tokenizer = ByteTokenizer()
            assert ids == ([] if coming.held_out else [tokenizer.bos, *tokenizer.encode(text), tokenizer.eos])
        fates.add("dropped" if found.dropped else "drawn" if id in stays else "never drawn")
    assert fates >= ({"dropped", "drawn"} if mixer is None else {"dropped", "drawn", "never drawn"})


def test_every_token_leads_to_its_document(pages, tmp_path):
    shards = packing(documents=9).go(run(pages, tmp_path / "run").kept, ByteTokenizer())
    trace, tokenizer, truth = Trace(tmp_path / "run"), ByteTokenizer(), documents(pages)
    for number in range(shards.rows):
        shard, row = shards.place(number)
        at = 0
        for standing in trace.row(number):
            assert standing.piece.column == at
            assert standing.piece.at == row * shards.context + at
            _, _, text = truth[standing.id, standing.source]
            whole = [tokenizer.bos, *tokenizer.encode(text), tokenizer.eos]
            assert standing.ids == whole[standing.piece.begin : standing.piece.begin + standing.piece.tokens]
            at += standing.piece.tokens
        name = shards.shards[shard]["name"]
        assert trace.place(f"{name}:{row * shards.context + 3}") == (number, 3)
        assert trace.place(str(number * shards.context + 3)) == (number, 3)
    standing, found = trace.token(2, 5)
    assert standing.piece.column <= 5 < standing.piece.column + standing.piece.tokens
    assert (found.id, found.source) == (standing.id, standing.source)


def test_by_text_refused_and_of_a_run_that_is_not_packed(pages, tmp_path):
    run(pages, tmp_path / "run", asked=False)
    trace = Trace(tmp_path / "run")
    assert all(one.rules == [one.dropped] for one in trace.documents("e", most=50) if one.dropped)
    assert [one.id for one in trace.documents("another one another")] == ["twice#2"]
    assert [one.id for one in trace.documents("one", most=3)] != []
    assert len(trace.documents("e", most=3)) == 3
    assert trace.documents("nowhere at all") == []
    (refused,) = trace.refused("torn leaf")
    assert isinstance(refused, Refused)
    assert (refused.file, refused.record, refused.reason) == (str(pages / "b.jsonl"), 21, "NoText")
    first, *others = trace.documents("twice")
    assert [(one.id, one.source) for one in others] == [("twice#2", "web"), ("twice", "forum")]
    assert (first.packed, first.draws) == (None, 1)
    for ask in (lambda: trace.row(0), lambda: trace.token(0, 0), lambda: trace.place("0")):
        with pytest.raises(ValueError, match="is not packed; run trivium curate again"):
            ask()
    with pytest.raises(ValueError, match="give the id of a document"):
        trace.documents("")


def test_bad_places_and_shards_of_other_documents(pages, tmp_path):
    shards = packing().go(run(pages, tmp_path / "run").kept, ByteTokenizer())
    trace = Trace(tmp_path / "run")
    padded = next(row for row in range(shards.rows) if sum(one.piece.tokens for one in trace.row(row)) < shards.context)
    with pytest.raises(ValueError, match=f"column 99 of row {padded} is padding"):
        trace.token(padded, 99)
    with pytest.raises(ValueError, match="columns 0 to 99, not 100"):
        trace.token(0, 100)
    for bad in ("x", "00009:0", "1:2:3", "-1", ""):
        with pytest.raises(ValueError, match="a token is named by SHARD:TOKEN, such as 00000:0"):
            trace.place(bad)
    with pytest.raises(ValueError, match="places for tokens"):
        trace.place(f"00000:{shards.shards[0]['rows'] * 100}")
    run(pages, tmp_path / "run", rules=Rules(), replace=True)
    with pytest.raises(RunMismatch, match="packed of other documents than those that stay now"):
        Trace(tmp_path / "run").documents("twice")
    with pytest.raises(RunMismatch, match="holds no run of curation"):
        Trace(tmp_path / "nothing")
