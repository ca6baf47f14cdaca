from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from understudy.errors import InputError
from understudy.training.optim import learning_rate, make_optimizer
from understudy.training.settings import TrainingSettings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, found 0"),
        ({"batch_size": -1}, "batch_size must be 1 or more"),
        ({"accumulate": 0}, "accumulate must be 1 or more"),
        ({"devices": 0}, "devices must be 1 or more"),
        ({"threads": 0}, "threads must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 2**63}, "below 2\\*\\*63"),
        ({"lr": 0.0}, "lr must be a finite number above 0"),
        ({"lr": math.nan}, "lr must be a finite number above 0, found nan"),
        ({"lr": math.inf}, "lr must be a finite number above 0"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"weight_decay": math.nan}, "weight_decay must be 0 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        TrainingSettings(**changes)


@pytest.mark.parametrize(
    ("progress", "share"), [(0.0, 1.0), (0.25, 0.5 + math.sqrt(0.125)), (0.5, 0.5), (1.0, 0.0)]
)
def test_cosine(progress: float, share: float) -> None:
    assert learning_rate(TrainingSettings(lr=0.2), progress) == pytest.approx(0.2 * share, abs=1e-15)
    assert learning_rate(TrainingSettings(lr=0.2, schedule="constant"), progress) == 0.2


def test_optimisers_are_what_their_names_say() -> None:
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    for name, kind in kinds.items():
        settings = TrainingSettings(optimizer=name, lr=0.3, weight_decay=0.01)  # type: ignore[arg-type]
        made = make_optimizer(nn.Linear(2, 2).parameters(), settings)
        assert type(made) is kind
        assert made.param_groups[0]["lr"] == 0.3
        assert made.param_groups[0]["weight_decay"] == 0.01
    assert made.param_groups[0]["momentum"] == 0.9
    assert made.param_groups[0]["nesterov"]
