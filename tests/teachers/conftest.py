"""A small teacher of a small data set, and what its answers belong to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.teachers import Identity

UNITS, CLASSES, VIEWS = 100, 30, 2
LOGITS = 3 * torch.randn(VIEWS, UNITS, CLASSES, generator=torch.Generator().manual_seed(0))
Make = Callable[..., Identity]


class Teacher:
    """Gives the logits of a range of units, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def __call__(self, view: int, first: int, stop: int) -> Tensor:
        self.asked.append((view, first, stop))
        return LOGITS[view, first:stop]


@pytest.fixture
def identity() -> Make:
    """Makes the identity of `LOGITS`; fields may be changed."""

    def make(**changes: Any) -> Identity:
        usual = {"teacher": "aa" * 32, "data": "set (train)", "fingerprint": "bb" * 32, "units": UNITS}
        return Identity(**{**usual, "classes": CLASSES, "views": VIEWS, "temperature": 2.0, **changes})

    return make


@pytest.fixture
def logits() -> Tensor:
    """What the teacher says: (views, units, classes)."""
    return LOGITS


@pytest.fixture
def answers() -> Teacher:
    """A teacher that counts."""
    return Teacher()
