"""A teacher and a student in run folders, made once; plain files of the user's own in a working folder."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

import understudy as us
from understudy.auditing import examine


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _short_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    """How hard EmpLB is searched is another test's matter; fixtures that last longer than a test search in full."""
    short = functools.partial(examine.GapAttack, steps=6, restarts=1, classes=2)
    monkeypatch.setattr(examine, "GapAttack", short)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shared") / "teacher"
    us.train("digits", "mlp[24]", epochs=12, out=place, device="cpu")
    return place


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    place = tmp_path_factory.mktemp("shared") / "student"
    us.distill(
        teacher, "mlp[12]", "digits", method="fd", eps=0.05, options={"steps": "3"}, epochs=6, out=place
    )
    return place


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As users run it: without the tests' own checking of annotations, which comes before our messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
