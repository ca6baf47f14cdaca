"""A small corner of digits, small nets, and one call that trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.data import load_data
from understudy.data.dataset import DataSet
from understudy.objectives.base import Objective
from understudy.training.loop import Task, Tick, fit
from understudy.training.runtime import launch
from understudy.training.settings import TrainingSettings

Trained = tuple[dict[str, Tensor], list[dict[str, Any]]]


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture(scope="session")
def digits() -> DataSet:
    return load_data("digits", "train").take(150)


def net(seed: int, width: int = 12, norm: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(width)] if norm else []
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), *middle, nn.ReLU(), nn.Linear(width, 10))


@pytest.fixture
def make_net() -> Callable[..., nn.Module]:
    return net


@pytest.fixture
def train_it(digits: DataSet) -> Callable[..., Trained]:
    """train_it(student, teacher, objective, folder=..., tick=..., data=..., taps=..., **settings)."""

    def run(
        student: nn.Module,
        teacher: nn.Module | None,
        objective: Objective,
        *,
        folder: Path | None = None,
        tick: Tick | None = None,
        data: DataSet = digits,
        taps: dict[str, tuple[str, str]] | None = None,
        **settings: Any,
    ) -> Trained:
        chosen = TrainingSettings(
            **{"epochs": 2, "batch_size": 32, "lr": 0.01, "device": "cpu", "threads": 1, **settings}
        )
        source = objective.source(data.low, data.high)
        if folder is not None:
            folder.mkdir(exist_ok=True)
        return launch(
            chosen, fit, Task(student, teacher, objective, source, data, chosen, taps or {}, folder, tick)
        )

    return run
