from types import SimpleNamespace

import pytest

from trivium.core.capabilities import lacking, require_offers
from trivium.core.errors import NotOffered, UnknownName

model = SimpleNamespace(offers=frozenset({"causal", "state"}))


def test_what_is_missing_is_named_with_its_meaning():
    assert lacking(model, ["tree", "causal", "gather"]) == ("gather", "tree")
    with pytest.raises(NotOffered, match=r"speculative needs 'tree' \(custom 4-D masks.*it offers causal, state"):
        require_offers("speculative", model, ["tree"])
    require_offers("greedy", model, ["causal"])


def test_words_outside_the_vocabulary_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'gradient'"):
        lacking(model, ["gradients"])
