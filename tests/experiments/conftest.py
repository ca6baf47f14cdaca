"""The smallest run of an experiment: it takes a second or two, and its figures mean nothing."""

from __future__ import annotations

import pytest

from understudy.experiments.does_kd_really_work import Sizes


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture(scope="session")
def smallest() -> Sizes:
    return Sizes(
        seeds=(0, 1), teacher="mlp[12]", teacher_examples=120, epochs=8, batch_size=40, teacher_lr=0.2, lr=0.2,
        capacities=("mlp[4]",), examples=(240,), augmentations=("shift", "mixup"), lengths=(2,), starts=(0.0, 0.1),
    )  # fmt: skip
