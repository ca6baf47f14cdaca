"""The one loop: for each batch, each player whose turn it is takes a step."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from understudy.data.batch import Batch
from understudy.data.dataset import DataSet
from understudy.data.loader import GlobalBatch, batches, in_order, pick, steps_per_epoch
from understudy.data.randomness import Randomness
from understudy.errors import InputError
from understudy.objectives.base import Objective
from understudy.sources.base import Source
from understudy.training.answers import StoredAnswers
from understudy.training.checkpoint import load_checkpoint, save_checkpoint
from understudy.training.folder import RunFolder
from understudy.training.monitor import Monitor
from understudy.training.optim import learning_rate
from understudy.training.player import Player, Taps
from understudy.training.runtime import Runtime
from understudy.training.settings import TrainingSettings

Tick = Callable[[int, int, float | None], None]  # steps done, steps in all, newest epoch's loss
SAVING_SHARE = 0.01  # of a run's time may go into mid-run checkpoints


@dataclass(frozen=True)
class Task:
    """All that a training process is given. Everything in it can travel to another process."""

    student: nn.Module
    teacher: nn.Module | None
    objective: Objective
    source: Source
    data: DataSet
    settings: TrainingSettings
    taps: Taps
    folder: Path | None
    tick: Tick | None = None
    validation: DataSet | None = None
    answers: StoredAnswers | None = None


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Ctrl-C asks the loop to stop after this step, with its state saved; a second one stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def fit(runtime: Runtime, task: Task) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Train `task.student`; (its final state dict on the CPU, one row of metrics an epoch).

    Raises:
        InputError: the loss is no longer finite, or a file cannot be written.
        KeyboardInterrupt: ctrl-C, after the state was saved.
    """
    settings = task.settings
    if runtime.world > 1:  # what came from another process lies in memory that all of them share
        for tensor in (*task.student.parameters(), *task.student.buffers()):
            tensor.data = tensor.data.clone()
    player = Player(
        task.student.to(runtime.device),
        None if task.teacher is None else task.teacher.to(runtime.device),
        task.objective,
        task.source,
        settings,
        task.taps,
        answers=task.answers,
    )
    with torch.random.fork_rng(), _interrupts() as interrupted, player:
        torch.manual_seed(settings.seed)
        return _Training(runtime, task, player).run(interrupted)


class _Training:
    """The state of one training: where it is in the data, what it has measured, when it last saved."""

    def __init__(self, runtime: Runtime, task: Task, player: Player) -> None:
        self.runtime, self.task, self.player = runtime, task, player
        self.random = Randomness(task.settings.seed)
        self.apart = Randomness(task.settings.seed + 104729)
        vectors = task.objective.needs.vectors
        self.monitor = Monitor(player.teacher, task.data, runtime.device, vectors=vectors)
        self.run_folder = None if task.folder is None else RunFolder(task.folder)
        self.per_epoch = steps_per_epoch(len(task.data), task.settings.batch_size)
        self.total = self.per_epoch * task.settings.epochs
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}
        self.seconds, self.saved_at, self.saving = 0.0, time.monotonic(), 0.0

    def run(self, interrupted: list[int]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        settings = self.task.settings
        self._restore()
        while self.step < self.total:
            epoch, start = divmod(self.step, self.per_epoch)
            began = time.monotonic()
            for item in batches(
                self.task.data,
                batch_size=settings.batch_size,
                seed=settings.seed,
                epoch=epoch,
                start_step=start,
                rank=self.runtime.rank,
                world=self.runtime.world,
            ):
                self._take(item)
                self.step += 1
                if self.task.tick is not None and self.runtime.is_main:
                    self.task.tick(self.step, self.total, self.rows[-1]["loss"] if self.rows else None)
                asked = self.runtime.any(bool(interrupted))
                if asked and self.step % self.per_epoch:
                    self.seconds += time.monotonic() - began
                    self._save()
                    raise KeyboardInterrupt
                if self.step % self.per_epoch and self._due():
                    self.seconds, began = self.seconds + time.monotonic() - began, time.monotonic()
                    self._save()
            self.seconds += time.monotonic() - began
            self._finish_epoch(epoch, asked)
            if asked and self.step < self.total:
                raise KeyboardInterrupt
        final = self.player.student.state_dict()
        return {name: value.detach().cpu() for name, value in final.items()}, self.rows

    def _take(self, item: GlobalBatch) -> None:
        """One global step: this process's examples in micro-batches, gradients summed, one optimiser step."""
        progress, epoch = self.step / self.total, self.step // self.per_epoch
        epochs = self.task.settings.epochs
        for batch, rows in _micro_batches(item, self.task.settings.accumulate):
            self.random.begin(self.step, rows, item.total)
            batch = replace(batch, progress=progress, epoch=epoch, epochs=epochs, parts=self._parts())
            batch = _to(batch, self.runtime.device)
            with self.runtime.autocast():
                shares = self.player.contribute(batch, item.total, self.random)
            for name, share in shares.items():
                self.sums[name] = share if name not in self.sums else self.sums[name] + share
        self.runtime.sum_gradients(self.player.parameters)
        self.player.step(progress)

    def _parts(self) -> dict[str, Batch]:
        """A batch of the examples that are kept apart, drawn with replacement from the seed and the step."""
        held = self.task.validation
        if held is None:
            return {}
        self.apart.begin(self.step)
        size = min(self.task.settings.batch_size, len(held))
        index = self.apart.integers(torch.empty(size), 0, len(held))
        return {"validation": _to(pick(held, index), self.runtime.device)}

    def _finish_epoch(self, epoch: int, stopping: bool) -> None:
        """Write the epoch's row and, if time allows, it was the last or the run stops here, a checkpoint."""
        if self.step == self.total:
            self._settle()
        names = sorted(self.sums)
        means = torch.stack([self.sums[n] for n in names]) if names else torch.zeros(0)
        means = self.runtime.sum_tensor(means) / self.per_epoch
        terms = dict(zip(names, means.tolist(), strict=True))
        loss = sum(terms.values())
        if not math.isfinite(loss):
            raise InputError(
                f"the loss is {loss} in epoch {epoch + 1}: the training diverged; a lower learning rate than "
                f"{self.task.settings.lr:g} may help"
            )
        row = {
            "epoch": epoch + 1,
            "step": self.step,
            "loss": loss,
            **({f"loss_{n}": v for n, v in terms.items()} if len(terms) > 1 else {}),
            "lr": learning_rate(self.task.settings, (self.step - 1) / self.total),
            **self.monitor(self.player.student),
            "seconds": round(self.seconds, 3),
        }
        self.rows.append(row)
        self.sums, self.seconds = {}, 0.0
        if self.run_folder is not None and self.runtime.is_main:
            self.run_folder.add_row(row)
        if stopping or self.step == self.total or self._due():
            self._save()

    def _settle(self) -> None:
        """After the last step: averaged weights take their place, the other players' networks are written."""
        whole = in_order(self.task.data, self.task.settings.batch_size)
        self.player.settle(batch.clean.to(self.runtime.device) for batch in whole)
        if self.run_folder is not None and self.runtime.is_main:
            self.run_folder.add_players(self.player.others())

    def _due(self) -> bool:
        """Whether enough time has passed for another checkpoint to cost at most its share; the writer decides."""
        due = self.runtime.is_main and time.monotonic() - self.saved_at >= self.saving / SAVING_SHARE
        return self.run_folder is not None and self.runtime.any(due)

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        if self.run_folder is not None and self.runtime.is_main:
            place = {"step": self.step, "rows": len(self.rows), "seconds": self.seconds}
            tree = {
                **self.player.state(),
                "sums": self.sums,
                "place": place,
                "torch_rng": torch.get_rng_state(),
                "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            }
            save_checkpoint(self.run_folder.checkpoints, self.step, tree)
            self.saving = time.monotonic() - self.saved_at
            self.saved_at += self.saving

    def _restore(self) -> None:
        """Continue from the newest checkpoint, if the run folder holds one."""
        if self.run_folder is None:
            return
        state = load_checkpoint(self.run_folder.checkpoints)
        rows = 0
        if state is not None:
            self.step, self.seconds, rows = (state["place"][name] for name in ("step", "seconds", "rows"))
            self.player.restore(state)
            self.sums = {name: value.to(self.runtime.device) for name, value in state["sums"].items()}
            torch.set_rng_state(state["torch_rng"])
            if state["cuda_rng"] and torch.cuda.is_available():
                torch.cuda.set_rng_state_all(state["cuda_rng"])
        if self.runtime.is_main:
            self.rows = self.run_folder.keep_rows(rows)


def _micro_batches(item: GlobalBatch, parts: int) -> Iterator[tuple[Batch, slice]]:
    """This process's rows in `parts` portions, each with its place in the global batch; empty ones left out."""
    batch, count = item.batch, len(item.batch)
    if parts == 1:
        if count:
            yield batch, item.rows
        return
    size = math.ceil(count / parts)
    for start in range(0, count, size or 1):
        own = slice(start, min(start + size, count))
        views = {name: view[own] for name, view in batch.views.items()}
        labels = None if batch.labels is None else batch.labels[own]
        first = item.rows.start + start
        masks = {name: mask[own] for name, mask in batch.masks.items()}
        yield Batch(views, batch.index[own], labels, masks=masks), slice(first, first + own.stop - own.start)


def _to(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    views = {name: view.to(device, non_blocking=True) for name, view in batch.views.items()}
    labels = None if batch.labels is None else batch.labels.to(device, non_blocking=True)
    masks = {name: mask.to(device, non_blocking=True) for name, mask in batch.masks.items()}
    edges = None if batch.edges is None else batch.edges.to(device, non_blocking=True)
    index = batch.index.to(device, non_blocking=True)
    return replace(batch, views=views, index=index, labels=labels, masks=masks, edges=edges)
