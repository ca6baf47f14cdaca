"""A teacher and a student in run folders, made once; plain files of the user's own in a working folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest

import understudy as us


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture(autouse=True)
def _short_attack(short_attack: None) -> None:
    """For every test of this folder."""


@pytest.fixture(scope="session")
def teacher(digits_teacher: Path) -> Path:
    return digits_teacher


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
