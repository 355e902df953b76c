import textwrap

import pytest

from trivium.data.python_docs import python_code, python_docs

DOCS, CODE = python_docs(), python_code()


def everything(corpus):
    return "\n".join(text for split in corpus.splits for text in corpus[split])


@pytest.mark.parametrize("corpus", [DOCS, CODE])
def test_is_read_from_the_running_python_and_is_large_enough(corpus):
    assert corpus.name.startswith("python-3.")
    assert corpus.bytes("train") > 500_000
    assert corpus.bytes("validation") > 10_000


def test_reads_the_same_twice():
    assert python_code().sha256 == CODE.sha256


def test_prose_is_docstrings_and_code_is_code():
    docs, code = everything(DOCS), everything(CODE)
    sentence = (textwrap.dedent.__doc__ or "").strip().splitlines()[0]
    assert sentence in docs
    assert sentence in code
    assert "def dedent(text" not in docs
    assert "def dedent(text" in code
