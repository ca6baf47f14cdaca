"""The runs of a comparison, one after the other in this process, or several at once in processes of their own.

A run gives the same numbers wherever it takes place: it depends on its task alone, and uses one CPU thread. A process
does one run and ends. One that is killed is started once more at the end, alone, and goes on from what it has saved;
one whose parent is gone stops at once, so that no two ever write to one folder.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from torch import Tensor

from understudy.data.dataset import DataSet
from understudy.errors import SoundnessError
from understudy.jobs.comparison_answers import read_answers
from understudy.jobs.comparison_run import RunTask, perform, reason
from understudy.jobs.opening import open_data, open_first
from understudy.models.opening import LoadedModel

Tick = Callable[[int, int, str], None]  # runs done, runs in all, the last one's title
Failures = dict[tuple[str, int], str]  # (method, seed) -> why
PRELOADED = [
    "understudy.jobs.comparison_workers", "understudy.bounds.trace", "torch.export", "torch._dynamo",
    "lightning_fabric", "scipy.special", "sklearn.datasets",
]  # fmt: skip


def cores() -> int:
    """How many CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_here(
    tasks: Sequence[RunTask], teacher: LoadedModel, test: DataSet, said: Tensor, tick: Tick
) -> Failures:
    """Every run in this process. A run that fails does not stop the others.

    Raises:
        SoundnessError, KeyboardInterrupt: at once.
    """
    failures: Failures = {}
    for number, task in enumerate(tasks):
        try:
            perform(task, teacher, test, said)
        except SoundnessError:
            raise
        except Exception as error:
            failures[_key(task)] = reason(error)
        tick(number + 1, len(tasks), task.title)
    return failures


def run_apart(tasks: Sequence[RunTask], answers: Path, workers: int, tick: Tick) -> Failures:
    """Every run in a process of its own, `workers` at once. A run that fails does not stop the others.

    Args:
        answers: the file of the teacher's answers.

    Raises:
        SoundnessError: a run found bounds that contradict each other; the others are stopped.
        KeyboardInterrupt: ctrl-C, after the runs have saved their state; a second one stops them at once.
    """
    crew = _Crew(answers)
    waiting, again, finished = deque(tasks), deque[RunTask](), 0
    failures: Failures = {}
    try:
        while waiting or crew.at_work or again:
            alone = not waiting and not crew.at_work
            queue = again if alone else waiting
            while queue and len(crew.at_work) < (1 if alone else workers):
                crew.start(queue.popleft(), second=alone)
            for task, second, said in crew.ended():
                if said == _KILLED and not second:
                    again.append(task)
                    continue
                finished += 1
                if said is not None:
                    failures[_key(task)] = said
                tick(finished, len(tasks), task.title)
    except KeyboardInterrupt:
        crew.stop(politely=True)
        raise
    finally:
        crew.stop(politely=False)
    return failures


_KILLED = "its process was killed, and once more when it was started again (out of memory?)"
_UNSOUND = "unsound: "


def _key(task: RunTask) -> tuple[str, int]:
    return str(task.request.method), task.request.seed


@dataclass(eq=False)
class _Crew:
    """The processes at work: sentinel -> (process, its line to here, its task, whether it is its second start)."""

    answers: Path
    at_work: dict[int, tuple[Any, Connection, RunTask, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        # A fork server forks from a process that has imported torch and never used it: quick, and no thread is lost.
        self.context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            self.context.set_forkserver_preload(PRELOADED)

    def start(self, task: RunTask, second: bool) -> None:
        here, there = self.context.Pipe()
        process: Any = self.context.Process(target=work, args=(task, self.answers, there), daemon=True)  # type: ignore[attr-defined]
        process.start()
        there.close()
        self.at_work[process.sentinel] = (process, here, task, second)

    def ended(self) -> list[tuple[RunTask, bool, str | None]]:
        """Wait until a run has ended; for each that has: its task, its start, why it failed or None."""
        found = []
        for sentinel in wait(list(self.at_work)):
            process, here, task, second = self.at_work.pop(sentinel)  # type: ignore[arg-type]
            process.join()
            said: str | None = _KILLED
            if here.poll():
                try:
                    said = here.recv()
                except EOFError:
                    said = _KILLED
            here.close()
            if said is not None and said.startswith(_UNSOUND):
                raise SoundnessError(f"{task.title}: {said.removeprefix(_UNSOUND)}")
            found.append((task, second, said))
        return found

    def stop(self, politely: bool) -> None:
        """Have every process save its state and end, or end at once."""
        for process, _, _, _ in self.at_work.values():
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT if politely else signal.SIGKILL)
        for process, here, _, _ in self.at_work.values():
            process.join()
            if not politely:
                here.close()
        if not politely:
            self.at_work.clear()


def work(task: RunTask, answers: Path, line: Connection) -> None:
    """What a process does: one run; then None through the line, or why it failed."""
    if hasattr(os, "setsid"):
        os.setsid()  # ctrl-C in the terminal is the parent's to hand on, once
    threading.Thread(target=_end_with_parent, args=(line,), daemon=True).start()
    try:
        request = task.request
        test = open_data(
            request.data, task.split, data_root=task.where["data_root"], valid_range=request.valid_range
        )
        teacher, test = open_first(test, request.data, request.teacher, request.teacher_normalize)
        perform(task, teacher, test, read_answers(answers)["logits"], measure_memory=True)
        line.send(None)
    except KeyboardInterrupt:
        sys.exit(130)
    except SoundnessError as error:
        line.send(_UNSOUND + str(error))
    except Exception as error:
        line.send(reason(error))


def _end_with_parent(line: Connection) -> None:
    """Nothing ever comes through the line: it ends when the parent does."""
    try:
        line.recv()
    except EOFError:
        os._exit(1)
    except OSError:  # closed by this process, which is about to end
        return
