import pytest

from trivium.data.chrf import chrf

sacrebleu = pytest.importorskip("sacrebleu")


def slow(translation, reference):
    """chrF++ of one pair by counting: 6 orders of characters without spaces, 2 of words; the mean of precision and
    recall over the orders, and F with beta 2."""

    def grams(items, n):
        found = {}
        for at in range(len(items) - n + 1):
            found[tuple(items[at : at + n])] = found.get(tuple(items[at : at + n]), 0) + 1
        return found

    scores = []
    for split, orders in ((lambda t: [c for c in t if not c.isspace()], 6), (str.split, 2)):
        for n in range(1, orders + 1):
            a, b = grams(split(translation), n), grams(split(reference), n)
            if a and b:
                common = sum(min(count, b.get(gram, 0)) for gram, count in a.items())
                scores.append((common / sum(a.values()), common / sum(b.values())))
    p, r = (sum(column) / len(scores) for column in zip(*scores, strict=True))
    return 100 * 5 * p * r / (4 * p + r) if p + r else 0.0


@pytest.mark.parametrize(
    ("translation", "reference"),
    [("the cat sat", "the cat sat"), ("the cat sat down", "a cat sat here"), ("abc", "xyz"), ("Été", "Étés froids")],
)
def test_equals_counting_by_hand(translation, reference):
    assert chrf([translation], [reference]) == pytest.approx(slow(translation, reference), abs=1e-6)


def test_of_all_texts_together():
    both = chrf(["a b c d", "the whole text"], ["x y z w", "the whole text"])
    assert 0 < both < 100
    assert both != pytest.approx((chrf(["a b c d"], ["x y z w"]) + 100) / 2)
    with pytest.raises(ValueError, match="1 translations need as many references, got 2"):
        chrf(["a"], ["a", "b"])
