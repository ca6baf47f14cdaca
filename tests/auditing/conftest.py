"""A pair of small nets and a few points around which they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jaxtyping
import pytest
import torch
from torch import nn

from understudy.auditing.examine import Examination, examine
from understudy.auditing.settings import AuditSettings
from understudy.data.dataset import DataSet
from understudy.models.opening import LoadedModel, open_model


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the tests' own checking of annotations, which comes before our messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def model(seed: int) -> LoadedModel:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        net[2].weight.mul_(4)
    return open_model(net)


@pytest.fixture(scope="session")
def pair() -> tuple[LoadedModel, LoadedModel]:
    return model(0), model(1)


@pytest.fixture(scope="session")
def points() -> DataSet:
    torch.manual_seed(2)
    inputs = torch.rand(9, 6)
    labels = model(0).module(inputs).argmax(1)
    labels[::3] = (labels[::3] + 1) % 3
    return DataSet("made", "test", inputs, labels, classes=3)


@pytest.fixture(scope="session")
def look(pair: tuple[LoadedModel, LoadedModel], points: DataSet) -> Callable[..., Examination]:
    def run(data: DataSet = points, **more: Any) -> Examination:
        settings = AuditSettings(**{"eps": (0.05, 0.2), **more})
        return examine(*pair, data, settings, torch.device("cpu"))

    return run
