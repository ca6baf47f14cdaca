from __future__ import annotations

import io
import sys

import pytest

from understudy.jobs import progress
from understudy.jobs.progress import Progress


class Terminal(io.StringIO):
    def __init__(self, tty: bool) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.mark.parametrize(
    ("tty", "quiet", "after", "shown"),
    [
        (True, False, 0.0, True),
        (True, True, 0.0, False),
        (False, False, 0.0, False),
        (True, False, 9.0, False),
    ],
)
def test_a_bar_is_for_terminals_and_for_what_takes_its_time(
    monkeypatch: pytest.MonkeyPatch, tty: bool, quiet: bool, after: float, shown: bool
) -> None:
    screen = Terminal(tty)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "AFTER", after)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("train mlp", quiet) as bar:
        for done in range(1, 4):
            bar.update(done, 3, "loss 0.5")
    assert ("train mlp" in screen.getvalue()) is shown
