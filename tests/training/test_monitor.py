from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.data import DataSet
from understudy.training.monitor import EXAMPLES, Monitor


def test_accuracy_and_agreement_on_the_first_examples() -> None:
    x = torch.rand(EXAMPLES + 100, 4)
    labels = x.argmax(1)
    labels[: EXAMPLES // 2] = (labels[: EXAMPLES // 2] + 1) % 4
    labels[EXAMPLES:] = 0
    data = DataSet("d", "train", x, labels, 4)
    found = Monitor(nn.Identity(), data, torch.device("cpu"))(nn.Identity())
    assert found == {"train_accuracy": 0.5, "agreement": 1.0}


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_not_known_is_left_out(labelled: bool) -> None:
    x = torch.rand(10, 3)
    data = DataSet("d", "train", x, x.argmax(1) if labelled else None, 3)
    student = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).train()
    found = Monitor(None, data, torch.device("cpu"))(student)
    assert set(found) == ({"train_accuracy"} if labelled else set())
    assert student[1].training
