"""Centres of each class: means of its own rows, as many as its share."""

import warnings

import numpy as np
import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn import clusters
from trivium.nn.clusters import centres_by_class


def test_centres_are_found_class_by_class_in_proportion():
    noise = torch.randn(60, 3, generator=generator(0, "noise")) * 0.01
    places = torch.tensor([[0.0, 0, 0], [5, 0, 0], [0, 5, 0]])
    rows = places[torch.arange(60) % 3] + noise
    classes = torch.where(torch.arange(60) % 3 == 2, 7, 2)  # two heaps are of class 2, one is of class 7
    classes[59] = 9
    centres, of = centres_by_class(rows, classes, 0.05)  # of 40, 19 and 1
    assert of.tolist() == [2, 2, 7, 9]
    two = centres[:2][centres[:2, 0].argsort()]
    torch.testing.assert_close(two[0], rows[:60:3].mean(0))
    torch.testing.assert_close(two[1], rows[1:60:3].mean(0))
    torch.testing.assert_close(centres[2], rows[2:59:3].mean(0))
    torch.testing.assert_close(centres[3], rows[59])


def test_a_share_of_one_keeps_every_row_and_copies_are_one_centre():
    rows = torch.randn(20, 4, generator=generator(1, "rows"))
    classes = torch.arange(20) % 3
    centres, of = centres_by_class(rows, classes, 1.0)
    assert torch.equal(centres, rows[classes.argsort(stable=True)])
    assert torch.equal(of, classes.sort().values)
    centres, of = centres_by_class(rows[:2].repeat(10, 1), torch.ones(20, dtype=torch.int64), 0.5)
    assert torch.equal(centres, rows[:2].unique(dim=0))
    assert of.tolist() == [1, 1]


def test_a_centre_without_rows_is_left_out(monkeypatch, recwarn):
    rows, classes = torch.randn(20, 4, generator=generator(1, "rows")), torch.zeros(20, dtype=torch.int64)

    def lost(points, number, **settings):
        warnings.warn("One of the clusters is empty.", UserWarning, stacklevel=2)
        return None, np.where(np.arange(len(points)) < 5, 0, 3)

    monkeypatch.setattr(clusters, "kmeans2", lost)
    centres, of = centres_by_class(rows, classes, 0.2)
    torch.testing.assert_close(centres, torch.stack((rows[:5].mean(0), rows[5:].mean(0))))
    assert of.tolist() == [0, 0]
    assert not recwarn


def test_the_seed_is_in_charge():
    rows, classes = torch.randn(200, 4, generator=generator(1, "rows")), torch.zeros(200, dtype=torch.int64)
    first, again, other = (centres_by_class(rows, classes, 0.1, seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for share in (0.0, 1.2):
        with pytest.raises(ValueError, match="share is of the rows of a class"):
            centres_by_class(rows, classes, share)
