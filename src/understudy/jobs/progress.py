"""Progress bars: on the error stream, only on a terminal, and only for what takes over a second."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

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
