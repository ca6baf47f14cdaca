"""What a terminal shows of work that goes on, on the error stream: bars, and lines of a search. Elsewhere nothing."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from understudy.bounds.engine import Step
from understudy.report.words import radius

AFTER = 1.0  # seconds before a bar appears
EVERY = 0.1  # seconds between redraws


class Progress:
    """One bar that appears when its work has lasted a second. Used as a context manager; `update` is cheap."""

    def __init__(self, title: str, quiet: bool = False) -> None:
        self.title = title
        self.on = not quiet and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._began = self._drawn = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show `done` of `total` and a short note."""
        now = time.monotonic()
        if not self.on or now - self._began < AFTER or (now - self._drawn < EVERY and done < total):
            return
        self._drawn = now
        if self._bar is None:
            self._start(total)
        self._bar.update(self._task, completed=done, total=total, note=note)
        if done >= total:  # in another process nobody leaves the block
            self._bar.stop()

    def _start(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        note = TextColumn("{task.fields[note]}")
        self._bar = Progress(
            *columns, TimeRemainingColumn(), note, console=Console(stderr=True), transient=True
        )
        self._task = self._bar.add_task(self.title, total=total, note="")
        self._bar.start()


class SearchLines:
    """A line for where a search stands, redrawn in place, and one kept for every point that it has finished.

    Used as a context manager; quiet, or without a terminal, it shows nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.on = not quiet and sys.stderr.isatty()
        self._live: Any = None
        self._drawn = time.monotonic() - EVERY

    def __enter__(self) -> SearchLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, done: int, total: int, note: str = "") -> None:
        """What is done before a search: the attack on a radius."""
        if done < total:
            self._show(f"{note}: attack", at_once=True)

    def step(self, eps: float, step: Step) -> None:
        """Where the search stands at a point; a finished one keeps its line."""
        if not self.on:
            return
        line = search_line(eps, step)
        self._show("" if step.done else line, step.done)
        if step.done:
            self._live.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _show(self, line: str, at_once: bool) -> None:
        now = time.monotonic()
        if not self.on or (now - self._drawn < EVERY and not at_once):
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._drawn = now
        if self._live is None:
            self._live = Live(console=Console(stderr=True), transient=True)
            self._live.start()
        self._live.update(Text(line, no_wrap=True, overflow="ellipsis"))


def search_line(eps: float, step: Step) -> str:
    """ "point 3 of 8, eps .03: lower .1341 upper .1492 gap .0151, 4,211 nodes, 10.0 s"."""
    gap = step.upper - step.lower
    return (
        f"point {step.point + 1} of {step.points}, eps {radius(eps).removeprefix('0') or '0'}: "
        f"lower {_four(step.lower)} upper {_four(step.upper)} gap {_four(gap)}, "
        f"{step.nodes:,} node{'' if step.nodes == 1 else 's'}, {step.seconds:.1f} s"
    )


def _four(value: float) -> str:
    if 0 < value < 0.00005:
        return "<.0001"
    return f"{value:.4f}".removeprefix("0")
