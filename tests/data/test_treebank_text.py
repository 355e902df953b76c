"""Treebanks as corpora: the text of their sentences, by document where the file names documents."""

import pytest

from trivium.data.corpus import Corpus

WORD = "\t".join(["1", "word", "word", "NOUN", "_", "_", "0", "root", "_", "_"])


def read(tmp_path, text):
    (tmp_path / "some.conllu").write_text(text, encoding="utf-8")
    return list(Corpus.read(tmp_path / "some.conllu", validation=0, test=0)["train"])


def sentence(text):
    return f"# sent_id = x\n# text = {text}\n{WORD}\n"


def test_each_sentence_by_itself_or_by_document(tmp_path):
    assert read(tmp_path, "\n".join(map(sentence, ("One.", "Two.")))) == ["One.", "Two."]
    grouped = (
        "# newdoc id = a\n" + sentence("One.") + "\n" + sentence("Two.") + "\n# newdoc id = b\n" + sentence("Ελλάς.")
    )
    assert read(tmp_path, grouped) == ["One.\nTwo.", "Ελλάς."]
    assert list(Corpus.read(tmp_path, validation=0, test=0)["train"]) == ["One.\nTwo.", "Ελλάς."]


def test_what_is_no_treebank(tmp_path):
    with pytest.raises(ValueError, match="ten columns"):
        read(tmp_path, "some plain text\n")
    with pytest.raises(ValueError, match="holds no text"):
        read(tmp_path, WORD + "\n")
