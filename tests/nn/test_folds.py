import pytest
import torch

from trivium.core.seeds import generator
from trivium.nn.folds import stratified_folds


def made(examples=200, groups=30, seed=0):
    draw = generator(seed, "folds")
    which = torch.randint(groups, (examples,), generator=draw)
    return (torch.rand(examples, generator=draw) < 0.25).long(), 7 * which + 3


def test_groups_stay_whole_and_classes_are_spread_evenly():
    labels, groups = made()
    fold = stratified_folds(labels, groups, 5, generator(0))
    assert fold.unique().tolist() == [0, 1, 2, 3, 4]
    for group in groups.unique():
        assert len(fold[groups == group].unique()) == 1
    for label in (0, 1):
        share = torch.bincount(fold[labels == label], minlength=5) / int((labels == label).sum())
        assert share.min() > 0.12
        assert share.max() < 0.28
    assert torch.equal(fold, stratified_folds(labels, groups, 5, generator(0)))
    assert not torch.equal(fold, stratified_folds(labels, groups, 5, generator(1)))


def test_as_many_folds_as_groups_leave_none_empty():
    labels, groups = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 3])
    fold = stratified_folds(labels, groups, 4, generator(0))
    assert sorted(fold[[0, 2, 4, 5]].tolist()) == [0, 1, 2, 3]


def test_misuse_is_told():
    labels, groups = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 2])
    with pytest.raises(ValueError, match="class 1 is in a single group"):
        stratified_folds(labels, groups, 2, generator(0))
    for folds in (1, 4):
        with pytest.raises(ValueError, match=f"at most the 3 groups there are; got {folds}"):
            stratified_folds(torch.tensor([0, 1, 1, 0]), groups, folds, generator(0))
