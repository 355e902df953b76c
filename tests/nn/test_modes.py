"""Evaluation mode for a block, and every module's own mode back."""

import pytest
from torch import nn

from trivium.nn.modes import evaluating


def test_modes_come_back_one_by_one_and_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Identity()))
    model.train()
    model[1][0].eval()
    before = [module.training for module in model.modules()]
    with pytest.raises(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == before
