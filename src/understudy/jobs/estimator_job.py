"""A student that is fitted in one go, from options to a run folder: config.json, model.safetensors, metrics.jsonl."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.data.dataset import DataSet
from understudy.data.tabular import Table, columns_of
from understudy.errors import InputError
from understudy.jobs.audit_job import torch_device
from understudy.jobs.opening import open_data, open_first
from understudy.jobs.progress import Progress
from understudy.jobs.training_job import Run, TrainingRequest
from understudy.models.config import ModelConfig
from understudy.models.look import logits_of
from understudy.models.opening import LoadedModel, open_model
from understudy.models.saved import save_model
from understudy.recipes.estimator import EstimatorRecipe, Shown
from understudy.training.folder import RunFolder, differences, nothing_half, write_json
from understudy.version import __version__

REPORT = "report.json"  # what a recipe found beside its student
ROWS = 1024  # examples that the teacher is asked about at once
OF_TRAINING = (
    *("model", "eps", "epochs", "lr", "batch_size", "optimizer", "schedule", "weight_decay", "accumulate"),
    *("precision", "augment", "labelled", "student_normalize"),
)


def run_estimator(
    request: TrainingRequest,
    recipe: EstimatorRecipe,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    quiet: bool = True,
    **_devices: Any,
) -> Run:
    """Fit the recipe's student, and with `out` write it; a finished folder that is resumed is read back.

    A comparison gives every method its settings of training; here they are passed over, otherwise refused.

    Raises:
        InputError: a setting that only a training has, no teacher where one is needed, or anything else in the
            request that cannot be used; nothing has been written then.
    """
    if request.command != "compare":
        _refuse_training(request)
    if recipe.needs_teacher and request.teacher is None:
        raise InputError(f"recipe {request.method} needs a teacher")
    if out is not None and resume is not None:
        raise InputError("give either out, for a new run, or resume, for one that exists")
    data = open_data(
        request.data, request.split, data_root=data_root, valid_range=request.valid_range, quiet=quiet
    )
    if request.examples is not None:
        data = data.take(request.examples)
    teacher = None
    if request.teacher is not None:
        teacher, data = open_first(data, request.data, request.teacher, request.teacher_normalize)
    if data.classes is None:
        raise InputError(f"data set {data.name!r} does not say how many classes it has")
    content = _content(request, recipe, data, teacher)
    place = Path(out or resume) if out or resume else None  # type: ignore[arg-type]
    with nothing_half(out) if out is not None else nullcontext():
        folder = _folder(out, resume, content)
        if folder is not None and folder.finished:
            opened = open_model(
                folder.path, shape=data.shape, classes=data.classes, low=data.low, high=data.high
            )
            curves = folder.rows()
            return Run(opened.module, curves, place, curves[-1]["seconds"])
        with Progress(f"fitting {request.method}", quiet):
            row, student, report = _fitted(recipe, data, teacher, request.seed, torch_device(device))
        if folder is not None:
            if report is not None:
                write_json(folder.path / REPORT, report)
            folder.keep_rows(0)
            folder.add_row(row)
            config = ModelConfig(student.spec, data.shape, data.classes, low=data.low, high=data.high)
            save_model(folder.model_file, student, config)
    return Run(student, [row], place, row["seconds"])


def _fitted(
    recipe: EstimatorRecipe, data: DataSet, teacher: LoadedModel | None, seed: int, device: torch.device
) -> tuple[dict[str, Any], Any, dict[str, Any] | None]:
    """(row of metrics.jsonl, student, report)."""
    began = time.perf_counter()
    assert data.classes is not None
    shown = Shown(
        inputs=data.inputs(slice(None)),
        labels=data.labels,
        classes=data.classes,
        names=columns_of(data),
        ask=None if teacher is None else _asker(teacher, device),
        scores=data.scores if isinstance(data, Table) else None,
        low=data.low,
        high=data.high,
        seed=seed,
    )
    fitted = recipe.fit(shown)
    student = fitted.student.eval()
    said = student(shown.inputs).argmax(1)
    row: dict[str, Any] = {"epoch": 1, "loss": fitted.loss}
    if data.labels is not None:
        row["train_accuracy"] = float((said == data.labels).double().mean())
    if shown.ask is not None:
        row["agreement"] = float((said == shown.ask(shown.inputs).argmax(1)).double().mean())
    return {**row, **fitted.facts, "seconds": time.perf_counter() - began}, student, fitted.report


def _asker(teacher: LoadedModel, device: torch.device) -> Callable[[Tensor], Tensor]:
    module = teacher.module.to(device)

    @torch.no_grad()
    def ask(inputs: Tensor) -> Tensor:
        return torch.cat([logits_of(module(part.to(device))).cpu() for part in inputs.split(ROWS)])

    return ask


def _refuse_training(request: TrainingRequest) -> None:
    known = TrainingRequest.__dataclass_fields__
    wrong = [
        name
        for name in OF_TRAINING
        if getattr(request, name) is not None and getattr(request, name) != known[name].default
    ]
    if wrong:
        raise InputError(
            f"{request.method} fits its student in one go and trains no network: leave out {', '.join(wrong)} "
            f"(its own options are fields: --set FIELD=VALUE)"
        )


def _content(
    request: TrainingRequest, recipe: EstimatorRecipe, data: DataSet, teacher: LoadedModel | None
) -> dict[str, Any]:
    kind = type(recipe)
    return {
        "schema": 1,
        "command": request.command,
        "understudy": __version__,
        "request": request.plain(),
        "data": {"name": data.name, "split": data.split, "examples": len(data), "sha256": data.fingerprint()},
        "teacher": None if teacher is None else {"source": teacher.source, "sha256": teacher.sha256},
        "recipe": {"class": f"{kind.__module__}:{kind.__qualname__}", **asdict(recipe)},  # type: ignore[call-overload]
        "seed": request.seed,
    }


def _folder(out: str | Path | None, resume: str | Path | None, content: dict[str, Any]) -> RunFolder | None:
    """A new run folder, or the one to resume if it was started with the same recipe, data and teacher."""
    if resume is None:
        return None if out is None else RunFolder.create(out, content)
    folder, before = RunFolder.resume(resume)
    content = json.loads(json.dumps(content))
    named = [
        line
        for part in ("data", "teacher", "recipe", "seed")
        for line in differences(part, before.get(part), content[part])
        if line.split(":")[0] != "teacher.source"  # its bytes count, not where they lie
    ]
    if named:
        raise InputError(f"{folder.path} was started with another {'; another '.join(named)}")
    return folder
