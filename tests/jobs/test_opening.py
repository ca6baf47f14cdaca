from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import understudy as us
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.jobs.opening import as_found, open_data, open_first, open_for


def net(classes: int = 10, inputs: int = 64) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))


def test_tensors_are_unbounded_unless_a_range_is_stated() -> None:
    x = torch.rand(5, 64)
    free = open_data((x, None), "train", data_root=None, valid_range=None)
    assert (free.low, free.high) == (-math.inf, math.inf)
    bounded = open_data((x, None), "train", data_root=None, valid_range=(0.0, 2.0))
    assert (bounded.low, bounded.high) == (0.0, 2.0)
    with pytest.raises(InputError, match="for a user's own tensors only"):
        open_data("digits", "train", data_root=None, valid_range=(0.0, 2.0))


def test_labels_of_ones_own_tensors_need_not_reach_the_last_class() -> None:
    x, y = torch.rand(5, 64), torch.tensor([0, 3, 1, 2, 0])
    data = open_data((x, y), "test", data_root=None, valid_range=None)
    assert data.classes == 4
    opened, found = open_first(data, (x, y), net(10))
    assert found.classes == 10
    assert torch.equal(found.labels if found.labels is not None else x, y)
    with pytest.raises(InputError, match=r"tells 3 classes apart, the data's labels go up to 3"):
        open_first(data, (x, y), net(3))
    declared = DataSet("mine", "test", x, y, classes=4)
    with pytest.raises(InputError, match=r"\(2, 10\) for 2 inputs .* \(2, 4\) are needed"):
        open_first(declared, declared, net(10))
    unlabelled = open_data((x, None), "test", data_root=None, valid_range=None)
    assert open_first(unlabelled, (x, None), net(7))[1].classes == 7
    assert open_for(found, net(10)).parameters == opened.parameters
    with pytest.raises(InputError, match=r"\(2, 10\) are needed"):
        open_for(found, net(7))


def test_a_model_that_is_open_already_is_held_against_the_data_too() -> None:
    data = us.load_data("digits", "test")
    for bad in (net(10, 3), net(7)):
        with pytest.raises(InputError, match=r"\(1, 8, 8\)"):
            open_for(data, us.load(bad))
    with pytest.raises(InputError, match="open already"):
        open_for(data, us.load(net()), ".5:.5")
    whole = us.load(net())
    assert open_for(None, whole).module is whole.module


def _use(*models: nn.Module) -> None:
    for model in models:
        model.eval()


def _fail(*models: nn.Module) -> None:
    _use(*models)
    raise RuntimeError("no")


@pytest.mark.parametrize("use", [_use, _fail])
def test_guests_leave_as_they_came(use: Callable[..., None]) -> None:
    one, other = net().train(), nn.Sequential(net().eval(), nn.Dropout().train())
    one[0].eval()
    modes = [part.training for m in (one, other) for part in m.modules()]
    try:
        with as_found(one, other, "digits", None):
            use(one, other)
    except RuntimeError:
        assert use is _fail
    assert [part.training for m in (one, other) for part in m.modules()] == modes


def test_what_is_open_already_is_a_guest_too() -> None:
    opened = us.load(net())
    opened.module.train()
    with as_found(opened, "digits"):
        opened.module.eval()
    assert all(part.training for part in opened.module.modules())


def test_a_guest_without_parameters(tmp_path: Path) -> None:
    model: Any = nn.Flatten().train()
    with as_found(model):
        model.eval()
    assert model.training
