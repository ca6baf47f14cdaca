"""Fixtures that several folders share."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import understudy as us
from understudy.auditing import examine
from understudy.testing import tiny_conv, tiny_mlp


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped, and how many of them for want of data: CI reads this line."""
    skipped = terminalreporter.stats.get("skipped", [])
    for_data = [report for report in skipped if "UNDERSTUDY_DATA" in str(report.longrepr)]
    terminalreporter.write_line(f"tests skipped: {len(skipped)}, for want of data: {len(for_data)}")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are slower on several threads, and their last digits depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of data sets that are not embedded: UNDERSTUDY_DATA, else ../shared/data; skips without one."""
    named = os.environ.get("UNDERSTUDY_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}: set UNDERSTUDY_DATA")
    return folder


@pytest.fixture
def short_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    """How hard EmpLB is searched is another test's matter; fixtures that last longer than a test search in full."""
    short = functools.partial(examine.GapAttack, steps=6, restarts=1, classes=2)
    monkeypatch.setattr(examine, "GapAttack", short)


@pytest.fixture(scope="session")
def digits_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small classifier of digits."""
    place = tmp_path_factory.mktemp("digits") / "teacher"
    us.train("digits", "mlp[24]", epochs=12, out=place, device="cpu")
    return place


@pytest.fixture
def teacher() -> nn.Sequential:
    """A tiny teacher without batch norm, five classes, in eval mode."""
    return tiny_mlp(seed=1).eval()


@pytest.fixture
def student() -> nn.Sequential:
    """A tiny student with batch norm, five classes, in train mode."""
    return tiny_conv(seed=2).train()
