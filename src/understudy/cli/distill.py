"""`understudy distill`: a student."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from understudy.cli import options as o
from understudy.cli.training import gather, show_run


def distill(
    teacher: o.TeacherMaybe = None,
    model: o.ModelMaybe = None,
    data: o.DataMaybe = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="One of `understudy methods`, or module:Class."),
    ] = None,
    eps: o.Eps = None,
    norm: Annotated[o.Norm | None, typer.Option("--norm", help="Shape of the training ball.")] = None,
    set_: o.Set = None,
    epochs: o.Epochs = None,
    seed: o.Seed = None,
    batch_size: o.BatchSize = None,
    lr: o.LearningRate = None,
    schedule: o.ScheduleOption = None,
    augment: o.AugmentOption = None,
    examples: o.Examples = None,
    labelled: o.Labelled = None,
    stored: o.Stored = None,
    stored_views: o.StoredViews = None,
    teacher_normalize: o.TeacherNormalize = None,
    out: o.Out = None,
    resume: o.Resume = None,
    data_root: o.DataRoot = None,
    device: o.DeviceOption = o.Device.auto,
    devices: o.Devices = 1,
    quiet: o.Quiet = False,
) -> None:
    """Train a student from a teacher by a method of the catalogue or one of your own."""
    given: dict[str, Any] = {
        "teacher": teacher,
        "model": model,
        "data": data,
        "method": method,
        "eps": o.one_radius(eps),
        "norm": None if norm is None else norm.value,
        "options": o.assignments(set_),
        "epochs": epochs,
        "seed": seed,
        "batch_size": batch_size,
        "lr": lr,
        "schedule": None if schedule is None else schedule.value,
        "augment": None if augment is None else augment.value,
        "examples": examples,
        "labelled": labelled,
        "stored": None if stored is None else str(stored),
        "stored_views": stored_views,
        "teacher_normalize": teacher_normalize,
    }
    required = () if resume is not None else _required(method, given["options"])
    request = gather("distill", given, {}, required, out, resume)
    show_run(request, out, resume, data_root, device.value, devices, quiet)


def _required(method: str | None, options: dict[str, str] | None) -> tuple[str, ...]:
    """The options that must be there: no teacher where a method asks none, no model where a recipe fits its own."""
    from understudy.methods import make_method
    from understudy.recipes import is_recipe, kind_of
    from understudy.recipes.estimator import EstimatorRecipe

    found = None if method is None else kind_of(method)
    kind = found if is_recipe(method) else None
    if method is not None and kind is None and not make_method(method, options).needs.teacher:
        return ("model", "data", "method")
    if kind is None or not issubclass(kind, EstimatorRecipe):
        return ("teacher", "model", "data", "method")
    return ("teacher", "data", "method") if kind.needs_teacher else ("data", "method")
