"""The command line in this process (`cli(...)`), a teacher and a student to give it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest

import understudy as us
from understudy.auditing import examine
from understudy.cli.main import run


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Ended]


@pytest.fixture(autouse=True, scope="module")
def _one_thread(one_thread: None) -> None:
    """For every test of this folder."""


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short attack, and no checking of annotations, which would come before our own messages."""
    monkeypatch.setattr(
        examine, "GapAttack", functools.partial(examine.GapAttack, steps=6, restarts=1, classes=2)
    )
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """cli("train", "--data", ...): (exit code, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "110")

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        code = run([str(a) for a in arguments])
        return Ended(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def teacher(digits_teacher: Path) -> Path:
    return digits_teacher


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    place = tmp_path_factory.mktemp("cli") / "student"
    us.distill(teacher, "mlp[12]", "digits", method="sd", epochs=6, out=place)
    return place


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, teacher: Path, student: Path) -> Path:
    place = tmp_path_factory.mktemp("cli") / "audit"
    us.audit(teacher, student, "digits", eps=0.05, points=6, out=place)
    return place
