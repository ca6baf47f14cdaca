"""One run of a comparison: a student trained, audited and measured on the whole split, as far as it is not done."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.auditing.settings import AuditSettings
from understudy.data.dataset import DataSet
from understudy.errors import InputError
from understudy.jobs.audit_job import run_audit, torch_device
from understudy.jobs.comparison_answers import ANSWERS, answers, measure, save_answers
from understudy.jobs.recipe_job import run_distillation
from understudy.jobs.training_job import TrainingRequest
from understudy.models.opening import LoadedModel, open_model
from understudy.training.folder import write_json
from understudy.training.threads import using_threads

MEMORY = "memory.json"


@dataclass(frozen=True)
class RunTask:
    """What one run is asked: names and numbers only where it is to travel to another process.

    `place` is its run folder; `where` the data root, the device and how many of them.
    """

    request: TrainingRequest
    audit: AuditSettings
    split: str
    place: Path
    where: dict[str, Any]

    @property
    def title(self) -> str:
        """ "rkd, seed 1"."""
        return f"{self.request.method}, seed {self.request.seed}"

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.place / "audit" / "audit.json").exists() and (self.place / ANSWERS).exists()


def run_place(folder: Path, method: str, seed: int) -> Path:
    """The run folder of a method and seed: METHOD/SEED, a colon in the name replaced by a dot."""
    return folder / method.replace(":", ".") / str(seed)


def perform(
    task: RunTask, teacher: LoadedModel, test: DataSet, said: Tensor, measure_memory: bool = False
) -> None:
    """Train, audit and measure what is not yet there, on one CPU thread: the last bits depend on how many.

    Args:
        said: (N, C) the teacher's answers on `test`.
        measure_memory: note the training's peak: this process does nothing else.

    Raises:
        InputError, SoundnessError, KeyboardInterrupt: as training and audit do; what was finished is kept.
    """
    place, device = task.place, str(task.where["device"])
    with using_threads(1):
        new = measure_memory and not (place / "model.safetensors").exists()
        before = _peak() if new else 0.0
        train(task)
        if new:
            write_json(place / MEMORY, {"peak_megabytes": round(_peak() - before, 1)})
        student = open_model(place, shape=test.shape, classes=test.classes, low=test.low, high=test.high)
        if not (place / "audit" / "audit.json").exists():
            shutil.rmtree(place / "audit", ignore_errors=True)
            run_audit(teacher, student, test, task.audit, out=place / "audit", device=device, quiet=True)
        if not (place / ANSWERS).exists():
            found = measure(said, answers(student.module, test, torch_device(device)), test.labels)
            save_answers(place / ANSWERS, found)


def train(task: RunTask) -> None:
    """Train the student; a finished one is only held to be what the task asks for.

    Raises:
        InputError: as a training does; or its folder holds a run of another kind.
    """
    started = (task.place / "config.json").exists()
    run_distillation(
        task.request,
        out=None if started else task.place,
        resume=task.place if started else None,
        quiet=True,
        **task.where,
    )


def _peak() -> float:
    """The most memory this process has held so far, in MB (10^6 bytes), with what it has held on a GPU."""
    import resource  # not everywhere; asked for in processes of their own only

    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        held += torch.cuda.max_memory_allocated()
    return held / 1e6


def reason(error: Exception) -> str:
    """Why a run failed, in one line."""
    said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())
