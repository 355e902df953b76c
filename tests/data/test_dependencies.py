"""Treebanks with heads."""

from pathlib import Path

import pytest

from trivium.data.dependencies import Dependencies, dependencies, heads_of

UD = Path(__file__).resolve().parents[3] / "shared" / "data" / "ud"

FRENCH = """# newdoc id = d
# sent_id = s1
# text = Il va au marché.
1	Il	il	PRON	_	_	2	nsubj	_	_
2	va	aller	VERB	_	_	0	root	_	_
3-4	au	_	_	_	_	_	_	_	_
3	à	à	ADP	_	_	5	case	_	_
4	le	le	DET	_	_	5	det	_	_
5	marché	marché	NOUN	_	_	2	obl	_	SpaceAfter=No
5.1	_	_	VERB	_	_	_	_	_	_
6	.	.	PUNCT	_	_	2	punct	_	_

"""


def test_by_hand(tmp_path):
    path = tmp_path / "some.conllu"
    path.write_text(FRENCH, encoding="utf-8")
    (one,) = dependencies(path)
    assert [one.text[start:stop] for start, stop in one.spans] == ["Il", "va", "au", "au", "marché", "."]
    assert one.heads == (1, -1, 4, 4, 1, 1)
    assert one.counts == (True,) * 5 + (False,)
    assert (one.id, one.document) == ("s1", "d")
    labels, groups = heads_of((one, one))
    assert labels.tolist() == [[1, 1], [-1, 1], [4, 1], [4, 1], [1, 1], [1, 0]] * 2
    assert groups.tolist() == [0] * 6 + [1] * 6


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("\t2\tnsubj\t_\t_", "\t2\tnsubj\t_", "line 4 has 9 columns"),
        ("2	va	aller", "2	vais	aller", "the word 'vais' is not what follows"),
        ("\t2\tnsubj", "\t_\tnsubj", "the head of 'Il' is no number"),
        ("\t2\tnsubj", "\t0\tnsubj", "one root and heads among its 6 words"),
        ("\t5\tcase", "\t3\tcase", "from word 2 no root is reached"),
    ],
)
def test_what_is_no_treebank_is_refused(tmp_path, was, becomes, told):
    path = tmp_path / "some.conllu"
    path.write_text(FRENCH.replace(was, becomes), encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        dependencies(path)


def test_sentences_of_other_lengths_are_left_out(tmp_path):
    path = tmp_path / "some.conllu"
    path.write_text(FRENCH, encoding="utf-8")
    with pytest.raises(ValueError, match="no sentence of 7 to 9 words"):
        dependencies(path, least=7, most=9)
    with pytest.raises(ValueError, match="least must be at least 1 and at most most"):
        dependencies(path, least=3, most=2)
    with pytest.raises(ValueError, match="a span, a head and a mark"):
        Dependencies("x", "a", (), (-1,), (True,))


@pytest.mark.skipif(not UD.is_dir(), reason="the treebanks are not beside this checkout, in shared/data/ud")
@pytest.mark.parametrize("name", ["en_ewt", "fr_gsd"])
def test_every_sentence_of_a_treebank_is_read(name):
    got = dependencies(UD / f"{name}-ud-dev.conllu", most=1000, least=1)
    assert len(got) > 1000
    assert all(stop > start for one in got[:300] for start, stop in one.spans)
