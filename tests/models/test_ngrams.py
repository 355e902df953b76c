from collections import Counter

import pytest
import torch

from trivium.core.errors import NotOffered
from trivium.models.ngrams import ByteNgrams, byte_ngrams
from trivium.models.scoring import Request, score
from trivium.tokenization.byte import ByteTokenizer

TEXTS = ("abracadabra", "the cat sat on the mat", "été", "")
TOKENIZER = ByteTokenizer()


def by_hand(order, history):
    """The law of the byte after a history, by dictionaries."""
    law = [1 / 259] * 259
    for length in range(order):
        context = tuple(([256] * order + list(history))[-length:]) if length else ()
        counts = Counter()
        for text in filter(None, TEXTS):
            ids = [256] * (order - 1) + TOKENIZER.encode(text) + [257]
            for at in range(order - 1, len(ids)):
                if tuple(ids[at - length : at]) == context:
                    counts[ids[at]] += 1
        total, kinds = sum(counts.values()), len(counts)
        if total:
            law = [(counts[v] + kinds * law[v]) / (total + kinds) for v in range(259)]
    return torch.tensor(law)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_equals_counting_by_hand(order):
    model = ByteNgrams(TEXTS, order)
    for history in ("", "abra", "the cxt", "été", "zz"):
        ids = torch.tensor([[256, *TOKENIZER.encode(history)]])
        law = model(ids).logits[0, -1].exp()
        torch.testing.assert_close(law, by_hand(order, TOKENIZER.encode(history)), atol=1e-6, rtol=1e-4)
        assert float(law.sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_row_gives_in_a_batch_what_it_gives_alone():
    model = ByteNgrams(TEXTS, 3)
    rows = [[256, *b"ab"], [256, *b"the ca"]]
    ids = torch.tensor([[0] * 4 + rows[0], rows[1]])
    mask = torch.tensor([[False] * 4 + [True] * 3, [True] * 7])
    together = model(ids, mask=mask).logits
    torch.testing.assert_close(together[0, 4:], model(torch.tensor(rows[:1])).logits[0])
    torch.testing.assert_close(together[1], model(torch.tensor(rows[1:])).logits[0])
    torch.testing.assert_close(model(ids, mask=mask, logits_to_keep=2).logits, together[:, -2:])
    torch.testing.assert_close(model(embeds=model.embed(ids[1:])).logits, together[1:])


def test_it_knows_its_own_texts():
    one, other = byte_ngrams(["the cat sat"] * 3, "one"), byte_ngrams(["0101 1100"] * 3, "other")
    request = [Request("", "the cat")]
    assert score(one, request)[0].total > score(other, request)[0].total + 5


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="order must be 1 to 6"):
        ByteNgrams(TEXTS, 7)
    with pytest.raises(ValueError, match="no text to count"):
        ByteNgrams(["", ""])
    model = ByteNgrams(TEXTS)
    with pytest.raises(NotOffered, match="keep no state"):
        model(torch.tensor([[1]]), keep_state=True)
    with pytest.raises(NotOffered, match="no site 'blocks"):
        model.capture("blocks.0")
    with pytest.raises(NotOffered, match="no site 'blocks"):
        model.edit({"blocks.0": lambda x: x})
