from __future__ import annotations

import io
import sys

import pytest

from understudy.bounds.engine import Step
from understudy.jobs import progress
from understudy.jobs.progress import Progress, SearchLines, search_line


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


def step(point: int, done: bool, upper: float = 0.1492) -> Step:
    return Step(point, 8, 0.1341, upper, 4211, 12, 10.0, done)


@pytest.mark.parametrize(
    ("eps", "at", "line"),
    [
        (
            0.03,
            step(2, True),
            "point 3 of 8, eps .03: lower .1341 upper .1492 gap .0151, 4,211 nodes, 10.0 s",
        ),
        (
            8 / 255,
            Step(0, 1, 0.0, 1.0, 1, 1, 0.04, False),
            "point 1 of 1, eps 8/255: lower .0000 upper 1.0000 gap 1.0000, 1 node, 0.0 s",
        ),
        (
            0.0,
            Step(0, 1, 0.25, 0.25002, 0, 0, 0.0, True),
            "point 1 of 1, eps 0: lower .2500 upper .2500 gap <.0001, 0 nodes, 0.0 s",
        ),
    ],
)
def test_a_searchs_line(eps: float, at: Step, line: str) -> None:
    assert search_line(eps, at) == line


@pytest.mark.parametrize(
    ("tty", "quiet", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_lines_of_finished_points_stay(
    monkeypatch: pytest.MonkeyPatch, tty: bool, quiet: bool, shown: bool
) -> None:
    screen = Terminal(tty)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with SearchLines(quiet) as lines:
        lines.update(0, 2, "eps 0.03")
        for point in range(2):
            for upper in (0.9, 0.4):
                lines.step(0.03, step(point, False, upper))
            lines.step(0.03, step(point, True))
        lines.update(2, 2, "done")
    assert screen.getvalue().endswith("\x1b[2K" if shown else "")  # the line in place is gone
    kept = [line for line in screen.getvalue().split("\n") if search_line(0.03, step(1, True)) in line]
    assert bool(kept) is shown
    for point in range(2):
        assert (search_line(0.03, step(point, True)) + "\n" in screen.getvalue()) is shown


def test_lines_end_with_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal(True))
    monkeypatch.setenv("TERM", "xterm")
    lines = SearchLines()

    def interrupted() -> None:
        with lines:
            lines.step(0.03, step(0, False))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not lines._live.is_started
