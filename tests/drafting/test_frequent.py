"""Guessing among frequent tokens only: the likeliest of these, and the same text whatever is guessed."""

import json
from dataclasses import replace

import pytest
import torch

from tests.decoding.models import tiny
from tests.drafting.trained import PROMPT, made_random, run
from trivium.decoding.greedy import Greedy
from trivium.decoding.sampling import Sampling
from trivium.decoding.speculative import Speculative
from trivium.drafting._trained import likeliest
from trivium.drafting.chimera import Chimera
from trivium.drafting.medusa import Medusa
from trivium.models.trained import CARD

FREQUENT = {"frequent": [7, 3, 60]}
DRAFTERS = [Medusa(heads=3, nodes=12), Medusa(heads=3, own_heads=True, nodes=12), Chimera(steps=3, nodes=12)]


@pytest.mark.parametrize("drafter", DRAFTERS, ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_drafts_are_of_frequent_tokens_and_the_text_stays(tmp_path, drafter, family):
    few = replace(made_random(drafter, tiny(family), tmp_path, facts=FREQUENT), vocabulary=12)
    seen = []
    session = type(few).start

    def start(self, *args, **words):
        made = session(self, *args, **words)
        propose = made.propose

        def watched(*given):
            trees = propose(*given)
            seen.extend(token for tree in trees for token in tree.tokens[1:].tolist())
            return trees

        made.propose = watched
        return made

    for plain in (Greedy(), Sampling(0.9)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(few), "start", start)
            made = run(Speculative(few, of=plain), tiny(family))
        assert torch.equal(made.ids, run(plain, tiny(family)).ids)
    assert len(set(seen)) > 3
    assert set(seen) <= {7, 3, 60, *range(3), 4, 5, 6, *range(8, 11)}


def test_what_is_drafted_is_the_likeliest_of_the_frequent_tokens(tmp_path):
    model = tiny()
    every = made_random(Medusa(heads=2), model, tmp_path, facts=FREQUENT)
    few = replace(every, vocabulary=20)
    hidden = torch.randn(4, model.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, head = every.reading(model)
        logits = whole(hidden, head.matrix)
        part, rows = few.reading(model)
        found = likeliest(part(hidden, rows.matrix), "medusa", rows.tokens)
    outside = torch.ones(64, dtype=torch.bool)
    outside[few.frequent(64)] = False
    assert int((~outside).sum()) == 20
    assert not outside[[7, 3, 60]].any()
    assert torch.equal(found, logits.masked_fill(outside, float("-inf")).topk(10).indices)
    assert replace(every, vocabulary=999).frequent(64) == list(range(64))


def test_what_is_refused(tmp_path):
    for drafter in (Medusa, Chimera):
        with pytest.raises(ValueError, match="at least 1 token, got 0"):
            drafter(folder=str(tmp_path), vocabulary=0)
        with pytest.raises(ValueError, match="only a folder knows"):
            drafter(vocabulary=8)
    old = replace(made_random(Medusa(heads=2, nodes=4), tiny(), tmp_path), vocabulary=8)
    assert "frequent" not in json.loads((tmp_path / CARD).read_text())
    with pytest.raises(ValueError, match="does not say which tokens are frequent"):
        Speculative(old)(tiny(), PROMPT[:1], limit=4, generator=torch.Generator())
